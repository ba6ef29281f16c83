//! A layer as a directory: a tar into an overlayfs lower directory, or a tree into a plain one.

use std::collections::BTreeSet;
use std::io::{self, Read};

use super::entry::{TarEntry, shown};
use super::read::{Limits, Reader};
use super::unpack::{Form, Unpacker};
use super::walk::{Marks, Sink, Walk};
use super::whiteout::Mark;
use super::xattr::OverlayNamespace;
use super::{LayerError, Warning};
use crate::fsutil::Dir;

/// How to unpack a layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyOptions {
    /// Overlay marks are `user.overlay.*`, which a user namespace may write, not `trusted.overlay.*`.
    pub userxattr: bool,
    /// Bounds on what the layer may hold.
    pub limits: Limits,
}

/// What was unpacked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ApplySummary {
    /// Entries and deletions.
    pub entries: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
    /// Something was taken from the layers below (a parent directory, the file behind a hard link), so that the
    /// result is right only on top of them.
    pub used_lower: bool,
    /// What was left out.
    pub warnings: Vec<Warning>,
}

/// Unpacks a layer tar (not compressed) into `target`, an empty directory that becomes an overlayfs lower
/// directory. `lower` is the merged view of the layers below.
///
/// The tar may be hostile: nothing outside `target` is read or written but through `lower`, and a tar that
/// breaks the rules is an error, after which `target` holds a part of it and is to be removed. `reader` is read to its
/// end, also after the end of the archive, so that a hash below sees every byte.
pub fn apply(
    reader: impl Read,
    target: &Dir,
    lower: Option<&Dir>,
    options: &ApplyOptions,
) -> Result<ApplySummary, LayerError> {
    let form = Form::Overlay(OverlayNamespace { userxattr: options.userxattr });
    unpack(reader, Unpacker::new(target, lower, form)?, options.limits)
}

/// Unpacks a layer tar (not compressed) over `target`, the whole tree of the layers below, which becomes that of the layer.
/// Files are never written in place, only unlinked: they may be shared with other trees ([`super::link_tree`]).
///
/// Otherwise as [`apply`]: the tar may be hostile, and is read to its end.
pub fn merge(reader: impl Read, target: &Dir, limits: Limits) -> Result<ApplySummary, LayerError> {
    unpack(reader, Unpacker::new(target, None, Form::Merged)?, limits)
}

fn unpack(reader: impl Read, mut unpacker: Unpacker<'_>, limits: Limits) -> Result<ApplySummary, LayerError> {
    let mut reader = Reader::new(reader, limits);
    while let Some(entry) = reader.next_entry()? {
        match Mark::of(&entry.path) {
            Mark::None => unpacker.place(&entry, &mut reader)?,
            Mark::Opaque { parent } => unpacker.opaque(parent)?,
            Mark::Whiteout { parent, name } => unpacker.whiteout(parent, name)?,
            Mark::Ignored => {}
            Mark::Malformed => return Err(LayerError::MalformedWhiteout { path: shown(&entry.path) }),
        }
    }
    let mut summary = unpacker.finish()?;
    let unknown = reader.take_skipped().into_iter().map(|(path, flag)| Warning::UnknownType { path, flag });
    summary.warnings.extend(unknown);
    Ok(summary)
}

/// Copies everything in `view` into the directory `target`, over what is there: files are replaced, directories
/// kept. Modes, times, links and attributes are kept; owners if the process may set them; devices are left out if it
/// may not make them.
pub fn copy_tree(view: &Dir, target: &Dir) -> Result<ApplySummary, LayerError> {
    let mut unpacker = Unpacker::new(target, None, Form::Plain)?;
    let warnings = Walk::new(&mut unpacker, view, None, Marks::None, BTreeSet::new())?.run()?;
    let mut summary = unpacker.finish()?;
    summary.warnings.extend(warnings);
    Ok(summary)
}

impl Sink for Unpacker<'_> {
    fn entry(&mut self, entry: &TarEntry, data: &mut dyn Read) -> Result<(), LayerError> {
        // The directory that receives a tree stays as its owner made it.
        if entry.path.is_empty() { Ok(()) } else { self.place(entry, data) }
    }

    // A plain tree has neither.
    fn whiteout(&mut self, _path: &[u8]) -> Result<(), LayerError> {
        Ok(())
    }

    fn opaque(&mut self, _path: &[u8]) -> Result<(), LayerError> {
        Ok(())
    }
}

/// A reader of nothing, for entries without content.
pub(super) fn nothing() -> impl Read {
    io::empty()
}
