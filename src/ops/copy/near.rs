//! What a source that is not there may have been meant to be.

use super::resolve::{follow, join, visible_names};
use crate::context::Source;
use crate::diag;
use crate::fsutil::Kind;

/// How many names are looked at for one that is the same in another directory.
const MOST_NAMES: usize = 5000;
/// How many such names are told.
const MOST_FOUND: usize = 3;

/// Returns paths like `path`: the one with its misspelled parts put right, or else files of that name elsewhere.
pub(super) fn near(source: &Source, path: &[u8]) -> Vec<Vec<u8>> {
    match put_right(source, path) {
        Some(right) => vec![right],
        None => elsewhere(source, path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()),
    }
}

/// Replaces each part that is not there by the nearest name that is.
fn put_right(source: &Source, path: &[u8]) -> Option<Vec<u8>> {
    let mut at = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        let here = join(&at, part);
        if matches!(follow(source, &here), Ok(Some(_))) {
            at = here;
            continue;
        }
        let names = visible_names(source, &at).ok()?;
        let names = names.iter().filter_map(|(name, _)| std::str::from_utf8(name).ok());
        at = join(&at, diag::nearest(&String::from_utf8_lossy(part), names)?.as_bytes());
    }
    Some(at)
}

/// Looks for files called `name`, the nearest to the top first.
fn elsewhere(source: &Source, name: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let (mut level, mut seen) = (vec![Vec::new()], 0);
    while !level.is_empty() && found.len() < MOST_FOUND {
        let mut below = Vec::new();
        for directory in level {
            for (entry, kind) in visible_names(source, &directory).unwrap_or_default() {
                seen += 1;
                if seen > MOST_NAMES {
                    return found;
                }
                let path = join(&directory, &entry);
                if entry == name && found.len() < MOST_FOUND {
                    found.push(path.clone());
                }
                if kind == Kind::Directory {
                    below.push(path);
                }
            }
        }
        level = below;
    }
    found
}
