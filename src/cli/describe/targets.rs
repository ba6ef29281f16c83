//! `--call=targets`: BuildKit's `frontend.targets`.

use serde::Serialize;

use super::{Location, columns, dockerfile, in_base64, pretty};
use crate::plan;
use crate::source::Sources;

#[derive(Serialize)]
struct Result<'a> {
    targets: Vec<Target<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Target<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    base: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    platform: &'a str,
    location: Location,
}

pub(super) fn json(targets: &[plan::Target], sources: &Sources) -> String {
    let targets = targets.iter().map(|target| Target {
        name: &target.name,
        default: target.is_default,
        description: &target.description,
        base: &target.base,
        platform: &target.platform,
        location: Location::of(Some(target.lines), sources),
    });
    pretty(&Result { targets: targets.collect(), sources: [in_base64(dockerfile(sources))] })
}

pub(super) fn text(targets: &[plan::Target]) -> String {
    let shown = |target: &plan::Target| match (target.name.as_str(), target.is_default) {
        ("", true) => "(default)".to_owned(),
        (name, true) => format!("{name} (default)"),
        (name, false) => name.to_owned(),
    };
    let names: Vec<String> = targets.iter().map(shown).collect();
    let rows = names.iter().zip(targets).map(|(name, target)| vec![name.as_str(), &target.description]);
    columns(&std::iter::once(vec!["TARGET", "DESCRIPTION"]).chain(rows).collect::<Vec<_>>(), 1)
}
