//! Which file of a COPY is not what it was: what is selected now, beside the layer that the same COPY made last.

use std::collections::BTreeMap;
use std::io::Read;

use super::select::{Selected, Shape};
use crate::context::{ContentHash, hash_reader};
use crate::layer::{EntryKind, Limits, Reader, TarEntry};

/// How a COPY changes what it copies.
#[derive(Clone, Copy, Debug)]
pub struct Changes {
    /// Modes are its own.
    pub mode: bool,
    /// Owners are its own.
    pub owner: bool,
}

/// An entry of the former layer.
struct Was {
    entry: TarEntry,
    hash: Option<ContentHash>,
    is_selected: bool,
}

/// What happened to a file, what is told first first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Change {
    Content,
    New,
    Gone,
    Kind,
    Mode { was: u32, is: u32 },
    Owner,
}

/// Says what differs between the files of `selected`, as they land at `destination`, and those of the layer `tar`; `None` if
/// nothing can be seen.
pub fn changed<'a>(
    selected: impl IntoIterator<Item = &'a Selected>,
    destination: &str,
    changes: Changes,
    tar: impl Read,
) -> Option<String> {
    let top = destination.trim_matches('/');
    let mut was = read(tar)?;
    let mut found = Vec::new();
    let mut of_directory = false;
    for source in selected {
        of_directory |= !matches!(source.shape, Shape::File { .. });
        for at in 0..source.entries.len() {
            let now = source.entries.get(at);
            let path = place(top, destination.ends_with('/'), &source.shape, &now.entry.path, &was);
            let Some(before) = was.get_mut(&path) else {
                found.push((Change::New, path));
                continue;
            };
            before.is_selected = true;
            found.extend(compare(before, &now.entry, now.hash, changes).map(|change| (change, path)));
        }
    }
    if of_directory {
        let below = [top.as_bytes(), b"/"].concat();
        let is_below = |path: &[u8]| top.is_empty() || path.starts_with(&below);
        let gone = was.iter().filter(|(path, was)| !was.is_selected && is_below(path));
        found.extend(gone.map(|(path, _)| (Change::Gone, path.clone())));
    }
    found.sort();
    let (change, path) = found.first()?;
    let more = match found.len() {
        1 => String::new(),
        many => format!(", and {} more", many - 1),
    };
    Some(format!("{}{more}", words(*change, &path.escape_ascii().to_string())))
}

fn words(change: Change, path: &str) -> String {
    match change {
        Change::Content => format!("`/{path}` changed"),
        Change::New => format!("`/{path}` is new"),
        Change::Gone => format!("`/{path}` is gone"),
        Change::Kind => format!("`/{path}` is another kind of file"),
        Change::Mode { was, is } => {
            format!("the mode of `/{path}` is {is:04o} and was {was:04o} (by chmod, or the umask of a checkout)")
        }
        Change::Owner => format!("`/{path}` has another owner"),
    }
}

/// Where an entry lands.
fn place(top: &str, into: bool, shape: &Shape, path: &[u8], was: &BTreeMap<Vec<u8>, Was>) -> Vec<u8> {
    let below = |path: &[u8]| if top.is_empty() { path.to_vec() } else { [top.as_bytes(), b"/", path].concat() };
    match shape {
        // A destination that is a directory already takes the file into it.
        Shape::File { name, .. } if into || was.contains_key(&below(name)) => below(name),
        Shape::File { .. } => top.as_bytes().to_vec(),
        _ => below(path),
    }
}

fn compare(was: &Was, now: &TarEntry, hash: Option<ContentHash>, changes: Changes) -> Option<Change> {
    let before = &was.entry;
    let same_kind = match (&before.kind, &now.kind) {
        // The later names of one file.
        (EntryKind::Hardlink(_), EntryKind::File { .. }) => return None,
        (EntryKind::Symlink(was), EntryKind::Symlink(is)) if was != is => return Some(Change::Content),
        (was, is) => std::mem::discriminant(was) == std::mem::discriminant(is),
    };
    match same_kind {
        false => Some(Change::Kind),
        true if was.hash != hash => Some(Change::Content),
        true if !changes.mode && before.mode != now.mode => Some(Change::Mode { was: before.mode, is: now.mode }),
        true if !changes.owner && (before.uid, before.gid) != (now.uid, now.gid) => Some(Change::Owner),
        true => None,
    }
}

fn read(tar: impl Read) -> Option<BTreeMap<Vec<u8>, Was>> {
    let mut reader = Reader::new(tar, Limits::default());
    let mut all = BTreeMap::new();
    while let Some(entry) = reader.next_entry().ok()? {
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        let hash = if is_file { Some(hash_reader(&mut reader).ok()?.0) } else { None };
        all.insert(entry.path.clone(), Was { entry, hash, is_selected: false });
    }
    Some(all)
}
