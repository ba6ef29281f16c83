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

/// Fills in `created` and `history` (language rules 17.1 to 17.5) as BuildKit's exporter does. A new layer's entry has the
/// time of its step, or `epoch`, which is SOURCE_DATE_EPOCH as RFC 3339 and bounds the time of every new entry.
pub(super) fn finish(
    config: &mut ImageConfig,
    history: &[HistoryItem],
    results: &[Arc<StepResult>],
    epoch: Option<&str>,
) {
    let entry = |item: &HistoryItem| match item {
        HistoryItem::Inherited(entry) => entry.clone(),
        HistoryItem::New { created_by, layer } => {
            let made =
                layer.and_then(|step| epoch.map(str::to_owned).or_else(|| results[step.index()].created.clone()));
            History {
                created: made,
                created_by: Some(created_by.clone()),
                comment: Some(COMMENT.to_owned()),
                empty_layer: layer.is_none(),
                author: None,
            }
        }
    };
    config.history = history.iter().map(entry).collect();
    date(&mut config.history);
    if let Some(epoch) = epoch {
        let inherited = history.iter().take_while(|item| matches!(item, HistoryItem::Inherited(_))).count();
        for entry in &mut config.history[inherited..] {
            // RFC 3339 times in UTC sort as text.
            if entry.created.as_deref().is_none_or(|time| time > epoch) {
                entry.created = Some(epoch.to_owned());
            }
        }
    }
    config.created = config.history.iter().rev().find_map(|entry| entry.created.clone());
}

/// Gives the entries without a time one: that of the first entry after them that has a time of its own, or else of the
/// last one before them. All such entries up to the second new layer have the same.
fn date(history: &mut [History]) {
    let dated_after_first_gap = history.iter().skip_while(|entry| entry.created.is_some()).find_map(created);
    let mut time = dated_after_first_gap.or_else(|| history.iter().rev().find_map(created));
    let mut after_gap = false;
    for entry in history {
        match &entry.created {
            Some(own) if after_gap => time = Some(own.clone()),
            Some(_) => {}
            None => {
                after_gap = true;
                entry.created = time.clone();
            }
        }
    }
}

fn created(entry: &History) -> Option<String> {
    entry.created.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(given: &[Option<&str>]) -> Vec<Option<String>> {
        let entry = |time: &Option<&str>| History { created: time.map(str::to_owned), ..History::default() };
        let mut history: Vec<History> = given.iter().map(entry).collect();
        date(&mut history);
        history.into_iter().map(|entry| entry.created).collect()
    }

    #[test]
    fn entries_without_a_layer_have_the_time_of_a_layer_nearby() {
        let check = |given: &[Option<&str>], want: &[Option<&str>]| {
            let want: Vec<_> = want.iter().map(|time| time.map(str::to_owned)).collect();
            assert_eq!(times(given), want, "{given:?}");
        };
        check(&[], &[]);
        check(&[None, None], &[None, None]);
        check(&[Some("1"), None], &[Some("1"), Some("1")]);
        check(&[None, Some("1"), None], &[Some("1"), Some("1"), Some("1")]);
        check(&[Some("1"), None, Some("2"), None], &[Some("1"), Some("2"), Some("2"), Some("2")]);
        check(&[Some("1"), None, Some("2"), None, Some("3")], &[Some("1"), Some("2"), Some("2"), Some("2"), Some("3")]);
    }
}
