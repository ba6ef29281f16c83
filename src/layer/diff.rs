//! A tree as a layer: the upper directory of an overlay, or a whole merged tree.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::entry::{EntryKind, TarEntry, join};
use super::original::Original;
use super::read::clean_path;
use super::tree::directory_entry;
use super::walk::{Marks, Sink, Walk};
use super::write::Writer;
use super::xattr::OverlayNamespace;
use super::{LayerError, Warning};
use crate::fsutil::{Dir, Timestamp};

/// How to read an upper directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiffOptions<'a> {
    /// Files and directories that the builder made for its mounts, as paths in the tree. Each is left out if it is
    /// still an empty file, or a directory in which nothing else changed.
    pub skip: &'a [PathBuf],
    /// The overlay was mounted with `userxattr`: its marks are `user.overlay.*`, not `trusted.overlay.*`.
    pub userxattr: bool,
}

/// What a layer holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DiffSummary {
    /// Entries and deletions. 0: nothing changed.
    pub entries: u64,
    /// Length of the tar.
    pub bytes: u64,
    /// What was left out.
    pub warnings: Vec<Warning>,
}

/// Writes the changes in `upper`, the upper directory of an overlay that nobody writes any more, as a layer.
///
/// `lower` is the merged view below: what is the same there is no change, and a deletion of what is not there is
/// none. Without it everything in `upper` is written. The files written lose the fractions of their times in `upper` too.
/// `out` is not flushed.
pub fn diff(
    upper: &Dir,
    lower: Option<&Dir>,
    options: &DiffOptions,
    out: impl Write,
) -> Result<DiffSummary, LayerError> {
    let skip = options.skip.iter().filter_map(|path| clean_path(path.as_os_str().as_bytes())).collect();
    write(upper, lower, Marks::Overlay(OverlayNamespace { userxattr: options.userxattr }), skip, Writer::new(out))
}

/// Writes what `tree` holds that `below` does not, or no more, as a layer: the same that [`diff`] writes of an overlay in
/// which the same was done. `original` is what `tree` was as a private copy of `below`; nobody writes either any more.
///
/// One thing cannot be told: which of several names of a file in `below` was written to. All of them are the changed
/// file, where an overlay would part them. `out` is not flushed.
pub fn diff_trees(
    tree: &Dir,
    below: &Dir,
    original: &Original,
    skip: &[PathBuf],
    out: impl Write,
) -> Result<DiffSummary, LayerError> {
    let skip = skip.iter().filter_map(|path| clean_path(path.as_os_str().as_bytes())).collect();
    write(tree, Some(below), Marks::Original(original), skip, Writer::new(out))
}

/// Writes everything in `root` (a merged view, or any tree) as one tar. The same files give the same bytes.
/// `out` is not flushed.
pub fn write_tree(root: &Dir, out: impl Write) -> Result<DiffSummary, LayerError> {
    write_tree_at(root, None, out)
}

/// As [`write_tree`], with the same time for all entries when there is one.
pub fn write_tree_at(root: &Dir, time: Option<Timestamp>, out: impl Write) -> Result<DiffSummary, LayerError> {
    let writer = Writer::new(out).with_time(time);
    write(root, None, Marks::None, BTreeSet::new(), writer)
}

/// Writes several trees as one tar, each in a directory of its name, which has no slash. Otherwise as [`write_tree_at`].
pub fn write_trees(
    trees: &BTreeMap<String, Dir>,
    time: Option<Timestamp>,
    out: impl Write,
) -> Result<DiffSummary, LayerError> {
    let mut writer = Writer::new(out).with_time(time);
    let mut warnings = Vec::new();
    for (name, tree) in trees {
        let top =
            directory_entry(tree, name.clone().into_bytes()).map_err(LayerError::file("read", name.as_bytes()))?;
        writer.append(&top, &mut io::empty())?;
        let mut below = Below { name: name.as_bytes(), writer: &mut writer };
        warnings.extend(Walk::new(&mut below, tree, None, Marks::None, BTreeSet::new())?.run()?);
    }
    finish(writer, warnings)
}

/// Puts the entries of a tree into a directory of another.
struct Below<'a, W: Write> {
    name: &'a [u8],
    writer: &'a mut Writer<W>,
}

impl<W: Write> Sink for Below<'_, W> {
    fn entry(&mut self, entry: &TarEntry, data: &mut dyn Read) -> Result<(), LayerError> {
        if entry.path.is_empty() {
            // The top was written as the directory itself.
            return Ok(());
        }
        let mut entry = TarEntry { path: join(self.name, &entry.path), ..entry.clone() };
        if let EntryKind::Hardlink(first) = &mut entry.kind {
            *first = join(self.name, first);
        }
        Ok(self.writer.append(&entry, data)?)
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), LayerError> {
        Ok(self.writer.whiteout(&join(self.name, path))?)
    }

    fn opaque(&mut self, path: &[u8]) -> Result<(), LayerError> {
        Ok(self.writer.opaque(&join(self.name, path))?)
    }
}

fn write<W: Write>(
    tree: &Dir,
    lower: Option<&Dir>,
    marks: Marks<'_>,
    skip: BTreeSet<Vec<u8>>,
    mut writer: Writer<W>,
) -> Result<DiffSummary, LayerError> {
    let warnings = Walk::new(&mut writer, tree, lower, marks, skip)?.run()?;
    finish(writer, warnings)
}

fn finish<W: Write>(writer: Writer<W>, warnings: Vec<Warning>) -> Result<DiffSummary, LayerError> {
    let (entries, bytes) = writer.written();
    writer.finish()?;
    // The two blocks at the end.
    Ok(DiffSummary { entries, bytes: bytes + 1024, warnings })
}

impl<W: Write> Sink for Writer<W> {
    fn entry(&mut self, entry: &TarEntry, data: &mut dyn Read) -> Result<(), LayerError> {
        Ok(self.append(entry, data)?)
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), LayerError> {
        Ok(Writer::whiteout(self, path)?)
    }

    fn opaque(&mut self, path: &[u8]) -> Result<(), LayerError> {
        Ok(Writer::opaque(self, path)?)
    }
}
