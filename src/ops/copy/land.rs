//! Where entries land, and what may replace what (11.2-11.8).

use super::destination::{Destination, Node, parent};
use super::error::{CopyError, shown};
use super::resolve::join;
use super::select::{Selected, Shape};
use super::write::Owner;
use crate::context::glob::clean;
use crate::dockerfile::chmod::Chmod;
use crate::fsutil::{Kind, Timestamp};
use crate::layer::{EntryKind, TarEntry};

/// The destination as written.
pub(super) struct Target {
    /// Clean, from the root, links not followed.
    pub path: Vec<u8>,
    /// Whether it is written as a directory: it ends in `/`, `/.`, or is nothing but dots.
    pub is_directory: bool,
}

impl Target {
    /// Reads a destination, relative to `working_directory` (11.2).
    pub(super) fn new(working_directory: &str, written: &str) -> Self {
        let last = written.rsplit('/').next().unwrap_or_default();
        let top = if written.starts_with('/') { "" } else { working_directory };
        let path = clean(format!("{top}/{written}").as_bytes());
        Self { path, is_directory: matches!(last, "" | "." | "..") }
    }
}

/// `--chown` and `--chmod`.
#[derive(Clone, Copy)]
pub(super) struct Changes<'a> {
    pub owner: Option<Owner>,
    pub mode: Option<&'a Chmod>,
}

impl Changes<'_> {
    pub(super) fn apply(&self, entry: &mut TarEntry) {
        if let Some(owner) = self.owner {
            (entry.uid, entry.gid) = (owner.uid, owner.gid);
        }
        if let Some(change) = self.mode
            && !matches!(entry.kind, EntryKind::Symlink(_))
        {
            entry.mode = change.apply(entry.mode, entry.kind == EntryKind::Directory);
        }
    }
}

/// Lays the entries of source number `number` over the destination.
pub(super) fn land(
    destination: &mut Destination,
    number: usize,
    selected: &Selected,
    target: &Target,
    changes: Changes,
) -> Result<(), CopyError> {
    let top = destination.follow(b"", &target.path)?;
    match &selected.shape {
        Shape::File { name, .. } if name.contains(&b'/') => Err(CopyError::HeredocName { path: shown(name) }),
        Shape::File { name, .. } => {
            let is_directory = target.is_directory || destination.kind_at(&top)? == Some(Kind::Directory);
            let (directory, path) =
                if is_directory { (top.clone(), join(&top, name)) } else { (parent(&top).to_vec(), top) };
            destination.make_directories(&directory)?;
            put(destination, path, Node::selected(number, 0, selected.entries.kind(0)))
        }
        Shape::Directory { mtime } => land_tree(destination, number, selected, (top, target), Some(*mtime), changes),
        Shape::Parents { mtime } => land_tree(destination, number, selected, (top, target), *mtime, changes),
    }
}

fn land_tree(
    destination: &mut Destination,
    number: usize,
    selected: &Selected,
    (top, target): (Vec<u8>, &Target),
    mtime: Option<Timestamp>,
    changes: Changes,
) -> Result<(), CopyError> {
    if !matches!(destination.kind_at(&top)?, None | Some(Kind::Directory)) && !target.is_directory {
        return Err(CopyError::CopyToNonDirectory { path: shown(&top) });
    }
    destination.make_directories(&top)?;
    if let Some(mtime) = mtime {
        destination.touch(&top, mtime, changes);
    }
    let entries = &selected.entries;
    for at in 0..entries.len() {
        put(destination, join(&top, entries.path(at)), Node::selected(number, at, entries.kind(at)))?;
    }
    Ok(())
}

/// Puts a copied entry at its place, if it may replace what is there.
fn put(destination: &mut Destination, path: Vec<u8>, node: Node) -> Result<(), CopyError> {
    let there = destination.there(&path)?;
    match (there.kind, node.is_dir()) {
        (None | Some(Kind::Directory), true) => {}
        (Some(_), true) => return Err(CopyError::CopyToNonDirectory { path: shown(&path) }),
        (Some(Kind::Directory), false) => return Err(CopyError::ReplaceDirectory { path: shown(&path) }),
        (_, false) => {}
    }
    destination.put(path, node, there);
    Ok(())
}
