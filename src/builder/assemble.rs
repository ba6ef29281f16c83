//! What a build gave, and the times and history of its image's config.

use std::sync::Arc;

use crate::export::Image;
use crate::oci::{History, ImageConfig, Layer, Platform, parse_rfc3339};
use crate::ops::StepResult;
use crate::plan::{HistoryItem, Op, Root, StepGraph, StepId};

/// What one platform's build gave.
pub(super) struct Built {
    pub(super) image: Image,
    pub(super) layers: Vec<Layer>,
    /// Its steps.
    pub(super) steps: Vec<StepId>,
}

/// `comment` of an entry that an instruction wrote.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// `comment` of an entry made up for a layer that the history does not tell of.
const MADE_UP: &str = "buildkit.exporter.image.v0";

/// What is known of one layer.
pub(super) struct Made {
    /// When; `None` for those of a base image.
    created: Option<String>,
    by: String,
}

/// Returns what is known of the layers of `root`, bottom first.
pub(super) fn layers(graph: &StepGraph, root: Root, results: &[Arc<StepResult>]) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    for id in graph.chain(root) {
        let (step, result) = (graph.step(id), &results[id.index()]);
        let by = match &step.op {
            Op::Image(image) => format!("pulled from {}", image.reference),
            _ => step.name.clone(),
        };
        made.resize_with(result.layers.height(), || Made { created: result.created.clone(), by: by.clone() });
    }
    made
}

/// Says what the image runs on (language rule 17.6): the platform built for where the request asked for one, otherwise what
/// the base image says.
pub(super) fn set_platform(config: &mut ImageConfig, platform: Platform, asked: bool) {
    let base = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
    let same_machine = (&base.os, &base.architecture) == (&platform.os, &platform.architecture);
    let unknown = config.os.is_empty() || config.architecture.is_empty();
    let stays = !unknown && (!asked || same_machine && platform.variant.is_none());
    if !stays && !same_machine {
        config.os_version = None;
    }
    let platform = if stays { base } else { platform };
    (config.os, config.architecture, config.variant) = (platform.os, platform.architecture, platform.variant);
}

/// Fills in `created` and `history` (language rules 17.1 to 17.5). `epoch` is SOURCE_DATE_EPOCH as RFC 3339.
pub(super) fn finish(config: &mut ImageConfig, history: &[HistoryItem], layers: &[Made], epoch: Option<&str>) {
    let mut entries: Vec<History> = history.iter().map(|item| entry(item, epoch)).collect();
    account(&mut entries, layers);
    fill_times(&mut entries, layers);
    if let Some(epoch) = epoch {
        bound_times(&mut entries, history, epoch);
    }
    config.created = entries.iter().rev().find_map(|entry| entry.created.clone());
    config.history = entries;
}

fn entry(item: &HistoryItem, epoch: Option<&str>) -> History {
    match item {
        HistoryItem::Inherited(entry) => entry.clone(),
        HistoryItem::New { created_by, layer } => History {
            created: epoch.map(str::to_owned),
            created_by: created_by.clone(),
            comment: COMMENT.to_owned(),
            empty_layer: layer.is_none(),
            ..History::default()
        },
    }
}

/// Makes as many entries have a layer as there are layers: base images may tell of more, or of fewer.
fn account(entries: &mut Vec<History>, layers: &[Made]) {
    let with_layer = entries.iter_mut().filter(|entry| !entry.empty_layer);
    with_layer.skip(layers.len()).for_each(|entry| entry.empty_layer = true);
    let told = entries.iter().filter(|entry| !entry.empty_layer).count();
    let untold = layers.iter().skip(told).map(|layer| History {
        created: layer.created.clone(),
        created_by: layer.by.clone(),
        comment: MADE_UP.to_owned(),
        ..History::default()
    });
    entries.extend(untold);
}

/// An entry with a layer has that layer's time. One without has the time of the first new layer, or of the one before it.
fn fill_times(entries: &mut [History], layers: &[Made]) {
    for (entry, layer) in entries.iter_mut().filter(|entry| !entry.empty_layer).zip(layers) {
        entry.created = entry.created.take().or_else(|| layer.created.clone());
    }
    let without_time = entries.iter().position(|entry| entry.created.is_none()).unwrap_or(entries.len());
    let (before, after) = entries.split_at_mut(without_time);
    let first_new = after.iter().find_map(|entry| entry.created.clone());
    let mut time = first_new.or_else(|| before.last().and_then(|entry| entry.created.clone()));
    for entry in after {
        match &entry.created {
            Some(created) => time = Some(created.clone()),
            None => entry.created.clone_from(&time),
        }
    }
}

/// No time is after `epoch`; but what a base image said before anything new stays.
fn bound_times(entries: &mut [History], history: &[HistoryItem], epoch: &str) {
    let bound = parse_rfc3339(epoch);
    let inherited = entries.iter().zip(history);
    let kept = inherited.take_while(|(entry, item)| matches!(item, HistoryItem::Inherited(was) if was == *entry));
    let kept = kept.count();
    for entry in &mut entries[kept..] {
        if entry.created.as_deref().is_none_or(|created| parse_rfc3339(created) > bound) {
            entry.created = Some(epoch.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // language 17.6
    #[test]
    fn the_platform_is_the_one_asked_for_or_else_the_base_images() {
        let set = |base: &str, platform: &str, asked| {
            let base: Platform = base.parse().unwrap();
            let os_version = Some("1".to_owned());
            let Platform { os, architecture, variant } = base;
            let mut config = ImageConfig { os, architecture, variant, os_version, ..ImageConfig::default() };
            set_platform(&mut config, platform.parse().unwrap(), asked);
            let now = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
            format!("{now} {}", config.os_version.unwrap_or_default())
        };
        assert_eq!(set("linux/arm64", "linux/amd64", false), "linux/arm64 1");
        assert_eq!(set("linux/arm64", "linux/amd64", true), "linux/amd64 ");
        assert_eq!(set("linux/amd64/v3", "linux/amd64", true), "linux/amd64/v3 1");
        assert_eq!(set("linux/amd64/v3", "linux/amd64/v2", true), "linux/amd64/v2 1");
        let mut silent = ImageConfig::default();
        set_platform(&mut silent, "linux/arm/v7".parse().unwrap(), false);
        assert_eq!((silent.os.as_str(), silent.architecture.as_str()), ("linux", "arm"));
    }

    fn inherited(created: Option<&str>, created_by: &str, empty_layer: bool) -> HistoryItem {
        let created = created.map(str::to_owned);
        HistoryItem::Inherited(History {
            created,
            created_by: created_by.to_owned(),
            empty_layer,
            ..History::default()
        })
    }

    fn new(created_by: &str, layer: Option<u32>) -> HistoryItem {
        HistoryItem::New { created_by: created_by.to_owned(), layer: layer.map(StepId) }
    }

    fn year(year: u32) -> String {
        format!("{year}-01-01T00:00:00Z")
    }

    /// Prints the history of an image whose layers were made in these years (0 is unknown): year, text, whether with a
    /// layer; and last the year of the image.
    fn finished(history: &[HistoryItem], layers: &[u32], epoch: Option<u32>) -> Vec<String> {
        let made = |layer: &u32| Made { created: (*layer > 0).then(|| year(*layer)), by: format!("by {layer}") };
        let mut config = ImageConfig::default();
        let layers: Vec<Made> = layers.iter().map(made).collect();
        finish(&mut config, history, &layers, epoch.map(year).as_deref());
        let shown = |time: &Option<String>| time.as_deref().map_or("none", |time| &time[..4]).to_owned();
        let line = |entry: &History| {
            let layer = if entry.empty_layer { "" } else { " +" };
            format!("{} {}{layer}", shown(&entry.created), entry.created_by)
        };
        let own = config.history.iter().map(line);
        own.chain([format!("image {}", shown(&config.created))]).collect()
    }

    // language 17.1
    #[test]
    fn entries_without_a_layer_have_the_time_of_the_first_new_layer_or_of_the_one_before() {
        let base = [inherited(Some("2001-01-01T00:00:00Z"), "b", false)];
        let built = [new("ENV", None), new("RUN", Some(1)), new("LABEL", None), new("COPY", Some(2)), new("CMD", None)];
        let expected = ["2001 b +", "2011 ENV", "2011 RUN +", "2011 LABEL", "2012 COPY +", "2012 CMD", "image 2012"];
        assert_eq!(finished(&[&base[..], &built].concat(), &[0, 2011, 2012], None), expected);
        // Without a new layer the base image's last time is the only one there is.
        assert_eq!(finished(&[&base[..], &built[..1]].concat(), &[0], None), ["2001 b +", "2001 ENV", "image 2001"]);
        assert_eq!(finished(&built[..1], &[], None), ["none ENV", "image none"]);
    }

    #[test]
    fn a_base_image_may_tell_of_fewer_layers_than_it_has() {
        let built = [new("ENV", None), new("RUN", Some(1))];
        let expected = ["2011 ENV", "2011 RUN +", "2011 by 2011 +", "image 2011"];
        assert_eq!(finished(&built, &[0, 2011], None), expected);
        assert_eq!(finished(&[], &[0], None), ["none by 0 +", "image none"]);
    }

    #[test]
    fn a_base_image_may_tell_of_more_layers_than_it_has() {
        let history = [inherited(None, "a", false), inherited(Some("2001-01-01T00:00:00Z"), "b", false)];
        assert_eq!(finished(&history, &[0], None), ["2001 a +", "2001 b", "image 2001"]);
    }

    #[test]
    fn the_epoch_is_the_time_of_all_that_is_new_and_bounds_nothing_of_the_base() {
        let base = [
            inherited(Some("2031-01-01T00:00:00Z"), "b", false),
            inherited(None, "untimed", true),
            inherited(Some("2032-01-01T01:00:00+02:00"), "late", true),
            inherited(Some("2002-01-01T00:00:00Z"), "early", true),
        ];
        let history = [&base[..], &[new("RUN", Some(1))]].concat();
        let expected = ["2031 b +", "2020 untimed", "2020 late", "2002 early", "2020 RUN +", "image 2020"];
        assert_eq!(finished(&history, &[0, 2025], Some(2020)), expected);
    }
}
