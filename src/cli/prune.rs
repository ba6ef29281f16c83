//! `kiln prune`.

use std::io::{self, IsTerminal as _};

use super::environment::Environment;
use super::image_args::PruneArguments;
use super::report::{self, Exit};
use super::usage::UsageError;
use super::{size, terminal};
use crate::dockerfile;
use crate::fsutil::Timestamp;
use crate::images::{self, PruneRequest, Pruned};
use crate::oci::parse_rfc3339;

/// Removes, says how much, and how to exit. The process must have entered its namespaces.
pub(super) fn run(typed: &PruneArguments) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        Ok((environment.store(typed.store.store.as_deref())?, request(typed, environment.now)?))
    });
    let (root, request) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    if !typed.force && io::stdin().is_terminal() && !is_sure(typed.all) {
        return Exit::Canceled;
    }
    match images::prune(&root, &request) {
        Ok(pruned) => report::printed(terminal::print(&text(&pruned))),
        Err(error) => report::failed("cannot prune", &error),
    }
}

/// Asks as docker does, and as docker only where somebody can answer.
fn is_sure(all: bool) -> bool {
    let what = if all { "all images, the step cache and all cache mounts" } else { "all that no named image needs" };
    terminal::print_error(&format!("WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] "));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y")
}

const KEYS: [&str; 3] = ["until", "label", "label!"];

fn request(typed: &PruneArguments, now: Timestamp) -> Result<PruneRequest, UsageError> {
    let mut request = PruneRequest { images: typed.all, ..PruneRequest::default() };
    if let Some(text) = &typed.keep_storage {
        let malformed = || UsageError::malformed("--keep-storage", text, "expected a size, as in `10gb` or `512m`");
        request.keep = Some(dockerfile::size::parse(text).ok_or_else(malformed)?);
    }
    for filter in &typed.filter {
        let pair = filter.split_once("!=").map(|(key, value)| (format!("{key}!"), value.to_owned()));
        let pair = pair.or_else(|| filter.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())));
        let missing = || UsageError::malformed("--filter", filter, "must be a key=value pair");
        let (key, value) = pair.ok_or_else(missing)?;
        let label = || match value.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (value.clone(), None),
        };
        match key.as_str() {
            "until" => request.before = Some(until(filter, &value, now)?),
            "label" => request.labels.push(label()),
            "label!" => request.not_labels.push(label()),
            other => return Err(UsageError::unknown("--filter", filter, other, &KEYS)),
        }
    }
    Ok(request)
}

/// A duration before now, a time, or seconds since 1970.
fn until(filter: &str, value: &str, now: Timestamp) -> Result<i64, UsageError> {
    if let Ok(seconds) = value.parse() {
        return Ok(seconds);
    }
    if let Some(time) = parse_rfc3339(value).or_else(|| parse_rfc3339(&format!("{value}T00:00:00Z"))) {
        return Ok(time.seconds);
    }
    let malformed =
        |_| UsageError::malformed("--filter", filter, "expected a duration, as `24h`, or a time, as `2024-12-31`");
    let before = dockerfile::duration::parse(value).map_err(malformed)?;
    Ok(now.seconds.saturating_sub(i64::try_from(before.as_secs()).unwrap_or(i64::MAX)))
}
fn text(pruned: &Pruned) -> String {
    let mut text = String::new();
    let counts = [
        (pruned.tags, "image name"),
        (pruned.nameless, "nameless image"),
        (pruned.records, "step record"),
        (pruned.snapshots, "unpacked layer"),
        (pruned.blobs, "blob"),
        (pruned.cache_mounts, "cache mount"),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!("removed {count} {what}{}\n", if count == 1 { "" } else { "s" }));
    }
    text.push_str(&format!("Total reclaimed space: {}\n", size::bytes(pruned.bytes)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_went_is_told() {
        let pruned = Pruned { snapshots: 2, blobs: 1, bytes: 4_210_000, ..Pruned::default() };
        assert_eq!(text(&pruned), "removed 2 unpacked layers\nremoved 1 blob\nTotal reclaimed space: 4.21MB\n");
        assert_eq!(text(&Pruned::default()), "Total reclaimed space: 0B\n");
    }
}
