//! The layer of a COPY, ADD or WORKDIR.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use super::archive;
use super::content::{Content, HashedReader};
use super::destination::{Destination, Node, What};
use super::error::{CopyError, shown};
use super::former::Former;
use super::land::{Changes, Target, land};
use super::select::{Provenance, Selected, Shape};
use crate::context::ContentHash;
use crate::dockerfile::chmod::Chmod;
use crate::fsutil::{Dir, Timestamp};
use crate::layer::erofs::Names;
use crate::layer::{EntryKind, TarEntry, Writer};

/// Numbers of a user and a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Which single files are unpacked if they are archives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unpack {
    /// None: COPY, `ADD --unpack=false`.
    #[default]
    Never,
    /// Local files but not downloads: ADD.
    Local,
    /// Downloads too: `ADD --unpack=true`.
    All,
}

/// How a selection becomes a layer.
#[derive(Clone, Copy)]
pub struct LayerOptions<'a> {
    /// Where relative destinations start.
    pub working_directory: &'a str,
    /// The destination as written, expanded.
    pub destination: &'a str,
    /// `--chown`, resolved by [`crate::ops::users::resolve_owner`].
    pub owner: Option<Owner>,
    /// `--chmod`.
    pub mode: Option<&'a Chmod>,
    /// What becomes of archives.
    pub unpack: Unpack,
    /// The time of directories that are made.
    pub time: Timestamp,
    /// An existing directory for files without a name.
    pub scratch: &'a Path,
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Entries of the layer.
    pub entries: u64,
    /// Bytes of the tar.
    pub bytes: u64,
}

/// What goes along with the writing of a layer.
#[derive(Default)]
pub struct Along<'a> {
    /// Where to note what is written.
    pub names: Option<&'a mut Names>,
    /// Where files may be read instead, if they are there as they are wanted.
    pub former: Option<Former>,
}

/// Returns about how long the tar of a layer with `selected` will be, in bytes.
pub fn tar_length(selected: &[Selected]) -> u64 {
    let sizes = |source: &'_ Selected| -> u64 {
        (0..source.entries.len()).map(|at| 512 + source.entries.size(at).next_multiple_of(512)).sum()
    };
    selected.iter().map(sizes).sum()
}

/// Writes the layer that puts `selected` over `view` to `out` (not flushed). `view` is `None` for an
/// empty filesystem, which is also what `--link` copies to (11.19).
pub fn write_layer(
    selected: &[Selected],
    view: Option<&Dir>,
    options: &LayerOptions,
    out: impl Write,
    along: Along,
) -> Result<Summary, CopyError> {
    let target = Target::new(options.working_directory, options.destination);
    let changes = Changes { owner: options.owner, mode: options.mode };
    let without_mode = Changes { mode: None, ..changes };
    let mut destination = Destination::new(view, selected, made(changes, options.time));
    for (number, source) in selected.iter().enumerate() {
        if let Some(archive) = unpacked(source, options)? {
            destination.made = made(without_mode, options.time);
            archive::land(&mut destination, number, &archive, &target, without_mode)?;
            destination.made = made(changes, options.time);
        } else {
            land(&mut destination, number, source, &target, changes)?;
        }
    }
    write_nodes(destination, (selected, changes), out, along)
}

/// Writes the layer that makes the directory `path` (absolute), with all above it, where it is missing:
/// WORKDIR (13.2). Links are followed.
pub fn write_directory_layer(
    path: &str,
    view: Option<&Dir>,
    owner: Owner,
    time: Timestamp,
    out: impl Write,
) -> Result<Summary, CopyError> {
    let changes = Changes { owner: Some(owner), mode: None };
    let mut destination = Destination::new(view, &[], made(changes, time));
    let path = destination.follow(b"", &Target::new("/", path).path)?;
    destination.make_directories(&path)?;
    write_nodes(destination, (&[], changes), out, Along::default())
}

/// What a directory looks like that is made on the way (11.2).
fn made(changes: Changes, time: Timestamp) -> TarEntry {
    let mut entry = TarEntry { mtime: time, ..TarEntry::plain_directory(Vec::new()) };
    Changes { mode: None, ..changes }.apply(&mut entry);
    entry.mode = changes.mode.map_or(entry.mode, Chmod::made_directory);
    entry
}

fn unpacked(source: &Selected, options: &LayerOptions) -> Result<Option<archive::Archive>, CopyError> {
    let Shape::File { name, from } = &source.shape else { return Ok(None) };
    let wanted = match from {
        Provenance::Local => options.unpack != Unpack::Never,
        Provenance::Download => options.unpack == Unpack::All,
        Provenance::Heredoc => false,
    };
    match source.entries.only() {
        Some(entry) if wanted => archive::Archive::open(name, &entry, options.scratch),
        _ => Ok(None),
    }
}

/// What of a node goes into the tar.
struct Piece {
    entry: TarEntry,
    hash: Option<ContentHash>,
    identity: Option<(u32, u64, u64)>,
}

fn write_nodes(
    destination: Destination,
    (selected, changes): (&[Selected], Changes),
    out: impl Write,
    mut along: Along,
) -> Result<Summary, CopyError> {
    let mut writer = Writer::new(out);
    let mut first_names: BTreeMap<(u32, u64, u64), Vec<u8>> = BTreeMap::new();
    let mut piece = Piece { entry: TarEntry::plain_directory(Vec::new()), hash: None, identity: None };
    for (path, node) in destination.into_nodes() {
        piece.fill(&node, selected, changes);
        piece.entry.path = path;
        if is_plain_root(&node, &piece.entry) {
            continue;
        }
        // What the tar says, and so what is noted.
        piece.entry.mtime.nanoseconds = 0;
        let first = piece.identity.and_then(|identity| first_names.get(&identity));
        let is_repeated = first.is_some();
        if let Some(first) = first {
            piece.entry.kind = EntryKind::Hardlink(first.clone());
        }
        let content = || if is_repeated { Content::Nothing } else { content_of(&node, selected) };
        if !write_from_former(&mut writer, &piece, &node, along.former.as_mut())? {
            write_node(&mut writer, &piece, &content())?;
        }
        if node.is_opaque() {
            writer.opaque(&piece.entry.path)?;
        }
        if let Some(names) = &mut along.names {
            note(names, &node, &piece.entry, writer.written().1);
        }
        if let Some(identity) = piece.identity {
            first_names.entry(identity).or_insert(piece.entry.path.clone());
        }
    }
    let (entries, bytes) = writer.written();
    writer.finish()?;
    // The end of the tar: two empty blocks.
    Ok(Summary { entries, bytes: bytes + 1024 })
}

impl Piece {
    fn fill(&mut self, node: &Node, selected: &[Selected], changes: Changes) {
        let of = |source: u32| move |(device, inode): (u64, u64)| (source, device, inode);
        match &node.what {
            What::Own(own, source) => {
                self.entry.clone_from(&own.entry);
                (self.hash, self.identity) = (own.hash, own.identity.map(of(*source)));
            }
            What::Selected(source, at) => {
                let (entries, at) = (&selected[*source as usize].entries, *at as usize);
                entries.describe(at, &mut self.entry);
                changes.apply(&mut self.entry);
                (self.hash, self.identity) = (entries.hash(at), entries.identity(at).map(of(*source)));
            }
        }
    }
}

fn content_of(node: &Node, selected: &[Selected]) -> Content {
    match &node.what {
        What::Own(own, _) => own.content.clone(),
        What::Selected(source, at) => selected[*source as usize].entries.content(*at as usize),
    }
}

/// Notes an entry of the tar, which is `written` bytes long with it.
fn note(names: &mut Names, node: &Node, entry: &TarEntry, written: u64) {
    // Only directories have a mark behind them.
    let offset = written - entry.size().next_multiple_of(512);
    names.add(entry, Some(offset));
    if node.is_opaque() {
        names.opaque(&entry.path);
    }
}

/// Writes a file whose content the former layer has; returns whether it has.
fn write_from_former<W: Write>(
    writer: &mut Writer<W>,
    piece: &Piece,
    node: &Node,
    former: Option<&mut Former>,
) -> Result<bool, CopyError> {
    let (What::Selected(..), Some(hash), Some(former)) = (&node.what, piece.hash, former) else { return Ok(false) };
    if piece.entry.size() == 0 {
        return Ok(false);
    }
    let Some(mut content) = former.content(&piece.entry, hash) else { return Ok(false) };
    writer.append(&piece.entry, &mut content)?;
    Ok(true)
}

fn write_node<W: Write>(writer: &mut Writer<W>, piece: &Piece, content: &Content) -> Result<(), CopyError> {
    let path = &piece.entry.path;
    match (content, piece.hash) {
        (Content::Nothing, _) => writer.append(&piece.entry, &mut io::empty())?,
        (content, None) => {
            let mut data = content.open().map_err(CopyError::io("read", path))?;
            writer.append(&piece.entry, &mut data)?;
        }
        (content, Some(hash)) => {
            // What is copied must be what the key was made of, or later builds would be given the wrong layer.
            let mut data = HashedReader::new(content.open().map_err(CopyError::io("read", path))?);
            writer.append(&piece.entry, &mut data)?;
            if data.finish() != hash {
                return Err(CopyError::Changed { path: shown(path) });
            }
        }
    }
    Ok(())
}

/// Whether an entry says no more of the root than its absence would.
fn is_plain_root(node: &Node, entry: &TarEntry) -> bool {
    entry.path.is_empty()
        && node.taken_over
        && (entry.mode, entry.uid, entry.gid) == (0o755, 0, 0)
        && entry.xattrs.is_empty()
}
