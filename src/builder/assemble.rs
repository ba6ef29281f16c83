//! What a build gave, and the times and history of its image's config.

use std::sync::Arc;

use crate::export::Image;
use crate::oci::{History, ImageConfig, Layer};
use crate::ops::StepResult;
use crate::plan::HistoryItem;

/// What one platform's build gave.
pub(super) struct Built {
    pub(super) image: Image,
    pub(super) layers: Vec<Layer>,
}

const COMMENT: &str = "buildkit.dockerfile.v0";

/// Fills in `created` and `history` (language rules 17.1 to 17.5). A metadata entry has the time of the layer before
/// it, or of the first new layer. `epoch` is SOURCE_DATE_EPOCH as RFC 3339: it bounds every time.
pub(super) fn finish(
    config: &mut ImageConfig,
    history: &[HistoryItem],
    results: &[Arc<StepResult>],
    epoch: Option<&str>,
) {
    let made = |item: &HistoryItem| match item {
        HistoryItem::New { layer: Some(step), .. } => results[step.index()].created.clone(),
        _ => None,
    };
    let first = history.iter().find_map(made).or_else(|| epoch.map(str::to_owned));
    let mut last = None;
    config.history = history
        .iter()
        .map(|item| match item {
            HistoryItem::Inherited(entry) => entry.clone(),
            HistoryItem::New { created_by, layer } => {
                last = made(item).or_else(|| last.clone());
                History {
                    created: last.clone().or_else(|| first.clone()),
                    created_by: Some(created_by.clone()),
                    comment: Some(COMMENT.to_owned()),
                    empty_layer: layer.is_none(),
                    ..History::default()
                }
            }
        })
        .collect();
    config.created = last.or(first);
    if let Some(epoch) = epoch {
        config.created = Some(epoch.to_owned());
        for entry in &mut config.history {
            // RFC 3339 times in UTC sort as text.
            if entry.created.as_deref().is_some_and(|time| time > epoch) {
                entry.created = Some(epoch.to_owned());
            }
        }
    }
}
