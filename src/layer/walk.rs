//! The walk over a tree that finds what a layer must hold.
//!
//! One stack of open directories for the tree (for a diff: the overlay's upper directory) and one beside it for
//! the merged view below, as long as both have the same directories. A directory that is itself unchanged is
//! kept back until something below it is found changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::vec;

use super::entry::{EntryKind, TarEntry, shown};
use super::original::Original;
use super::tree::{Found, RawFound, directory_entry, entry_of};
use super::whiteout::is_reserved_name;
use super::xattr::{OverlayNamespace, OverlayNotes, carried, is_carried_xattr};
use super::{LayerError, Warning};
use crate::fsutil::{Dir, DirStack, Entry, Kind, Metadata, Timestamp, xattrs_of};

/// Takes what a walk finds, in the order of a layer.
pub(super) trait Sink {
    fn entry(&mut self, entry: &TarEntry, data: &mut dyn Read) -> Result<(), LayerError>;
    fn whiteout(&mut self, path: &[u8]) -> Result<(), LayerError>;
    fn opaque(&mut self, path: &[u8]) -> Result<(), LayerError>;
}

/// What tells of changes beside the files themselves.
#[derive(Clone, Copy)]
pub(super) enum Marks<'a> {
    /// Nothing: the tree is written whole.
    None,
    /// Devices and attributes of an overlay's upper directory.
    Overlay(OverlayNamespace),
    /// What the tree was as a private copy of what is below.
    Original(&'a Original),
}

/// A walk, to be run once.
pub(super) struct Walk<'a, S> {
    sink: &'a mut S,
    tree: DirStack<Frame>,
    /// Stands at the twin of the last directory of `tree` that has one.
    below: Option<DirStack<()>>,
    marks: Marks<'a>,
    /// The tree's own root.
    root: Dir,
    skip: BTreeSet<Vec<u8>>,
    path: Vec<u8>,
    /// Device and inode of files with several names, and the first of them.
    first_names: BTreeMap<(u64, u64), Vec<u8>>,
    warnings: Vec<Warning>,
}

/// A directory being walked.
struct Frame {
    names: vec::IntoIter<Name>,
    path_length: usize,
    /// The directory's own entry, if it is not written yet.
    kept_back: Option<TarEntry>,
    has_twin: bool,
    /// It is the directory of the private copy, and none made since.
    is_original: bool,
}

/// A name of a directory being walked.
enum Name {
    There(Entry),
    /// Only the directory below has it.
    Gone(Entry),
}

/// Returns the names of `dir`, and of its twin those that it lacks, sorted by bytes.
fn names(dir: &Dir, twin: Option<&Dir>) -> io::Result<vec::IntoIter<Name>> {
    let there = dir.entries()?;
    let Some(twin) = twin else { return Ok(there.into_iter().map(Name::There).collect::<Vec<_>>().into_iter()) };
    let lacks = |entry: &Entry| there.binary_search_by(|known| known.name.cmp(&entry.name)).is_err();
    let gone: Vec<Entry> = twin.entries()?.into_iter().filter(lacks).collect();
    let mut all: Vec<Name> = there.into_iter().map(Name::There).chain(gone.into_iter().map(Name::Gone)).collect();
    all.sort_unstable_by(|left, right| left.entry().name.cmp(&right.entry().name));
    Ok(all.into_iter())
}

impl Name {
    fn entry(&self) -> &Entry {
        match self {
            Self::There(entry) | Self::Gone(entry) => entry,
        }
    }
}

impl<'a, S: Sink> Walk<'a, S> {
    pub(super) fn new(
        sink: &'a mut S,
        tree: &Dir,
        below: Option<&Dir>,
        marks: Marks<'a>,
        skip: BTreeSet<Vec<u8>>,
    ) -> Result<Self, LayerError> {
        let start = || {
            let is_original = matches!(marks, Marks::Original(_));
            let frame = Frame {
                names: names(tree, below.filter(|_| is_original))?,
                path_length: 0,
                kept_back: None,
                has_twin: below.is_some(),
                is_original,
            };
            let below = below.map(|below| DirStack::new(below.try_clone()?, ())).transpose()?;
            Ok((DirStack::new(tree.try_clone()?, frame)?, below, tree.try_clone()?))
        };
        let (tree, below, root) = start().map_err(LayerError::file("open", b""))?;
        let (path, first_names, warnings) = Default::default();
        Ok(Self { sink, tree, below, marks, root, skip, path, first_names, warnings })
    }

    /// Walks the whole tree.
    pub(super) fn run(mut self) -> Result<Vec<Warning>, LayerError> {
        self.visit_root()?;
        loop {
            let frame = self.tree.top_data();
            self.path.truncate(frame.path_length);
            match frame.names.next() {
                Some(Name::There(entry)) => self.visit(&entry)?,
                Some(Name::Gone(entry)) => self.visit_gone(&entry)?,
                None if self.tree.depth() == 0 => return Ok(self.warnings),
                None => {
                    let left = self.leave();
                    left.map_err(LayerError::file("leave", &self.path))?;
                }
            }
        }
    }

    /// The root is written only if it is not as it was: every layer would hold it otherwise.
    fn visit_root(&mut self) -> Result<(), LayerError> {
        let read = || {
            let before = match &self.below {
                Some(below) => directory_entry(below.top(), Vec::new())?,
                None => TarEntry::plain_directory(Vec::new()),
            };
            Ok((directory_entry(self.tree.top(), Vec::new())?, before))
        };
        let (entry, before) = read().map_err(LayerError::file("read", b""))?;
        if is_same_directory(&entry, &before) { Ok(()) } else { self.sink.entry(&entry, &mut io::empty()) }
    }

    fn push_name(&mut self, entry: &Entry) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(entry.name.as_bytes());
    }

    fn visit_gone(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.push_name(entry);
        self.write_kept_back()?;
        self.sink.whiteout(&self.path)
    }

    fn visit(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.push_name(entry);
        if is_reserved_name(entry.name.as_bytes()) {
            self.warnings.push(Warning::ReservedName { path: self.path.clone() });
            return Ok(());
        }
        match entry.kind {
            Kind::Directory => self.visit_directory(entry),
            Kind::Socket => Ok(()),
            _ => self.visit_file(entry),
        }
    }

    fn visit_file(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if self.is_untouched(entry).map_err(LayerError::file("read", &self.path))? {
            return Ok(());
        }
        let marks = self.marks;
        let wanted = |name: &[u8]| match marks {
            Marks::Overlay(overlay) => overlay.is_wanted(name),
            _ => is_carried_xattr(name),
        };
        let raw = RawFound::read(self.tree.top(), &entry.name, wanted);
        let Some(raw) = raw.map_err(LayerError::file("read", &self.path))? else { return Ok(()) };
        let notes = self.notes(&raw)?;
        if notes.whiteout {
            return self.visit_whiteout(entry);
        }
        let metadata = raw.metadata;
        if metadata.kind == Kind::File && metadata.size == 0 && self.skip.contains(&self.path) {
            return Ok(());
        }
        let is_linked = self.is_linked(&metadata).map_err(LayerError::file("read", &self.path))?;
        if is_linked {
            if let Some(first) = self.first_names.get(&(metadata.device, metadata.inode)) {
                let kind = EntryKind::Hardlink(first.clone());
                let entry = TarEntry { kind, ..entry_of(&metadata, EntryKind::Fifo, self.path.clone(), raw.xattrs) };
                return self.write(&entry, &mut io::empty());
            }
        } else if self.is_unchanged(entry, &raw).map_err(LayerError::file("compare", &self.path))? {
            return Ok(());
        }
        let name = &entry.name;
        let found = raw.into_found(self.tree.top(), name, self.path.clone());
        let Some(Found { entry, data, .. }) = found.map_err(LayerError::file("read", &self.path))? else {
            return Ok(());
        };
        match data {
            Some(mut data) => self.write(&entry, &mut data)?,
            None => self.write(&entry, &mut io::empty())?,
        }
        self.cut_time(name, &metadata).map_err(LayerError::file("set the time of", &entry.path))?;
        if is_linked {
            self.first_names.insert((metadata.device, metadata.inode), entry.path);
        }
        Ok(())
    }

    /// Gives a file of an upper directory the time that the layer says it has: what lies below the next step is then the
    /// same, whether this was kept or is unpacked.
    fn cut_time(&self, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        let time = Timestamp::from_seconds(metadata.mtime.seconds);
        match self.marks {
            Marks::Overlay(_) if metadata.mtime != time => self.tree.top().set_child_mtime(name, time),
            _ => Ok(()),
        }
    }

    /// Whether nobody can have changed it since the tree was copied.
    fn is_untouched(&mut self, entry: &Entry) -> io::Result<bool> {
        let Marks::Original(original) = self.marks else { return Ok(false) };
        if !self.tree.top_data().is_original {
            return Ok(false);
        }
        let metadata = self.tree.top().child_metadata(&entry.name)?;
        Ok(metadata.is_some_and(|metadata| original.is_untouched(&self.path, &metadata)))
    }

    /// Whether the file stands in the layer as one of several names.
    fn is_linked(&self, metadata: &Metadata) -> io::Result<bool> {
        match self.marks {
            Marks::Original(original) if metadata.links > 1 => original.is_linked(&self.root, &self.path, metadata),
            _ => Ok(metadata.links > 1),
        }
    }

    /// Reads what the overlay noted on a file that is no directory.
    fn notes(&self, raw: &RawFound) -> Result<OverlayNotes, LayerError> {
        let Marks::Overlay(overlay) = self.marks else { return Ok(OverlayNotes::default()) };
        let mut notes = overlay.notes(&raw.xattrs);
        if notes.elsewhere {
            return Err(LayerError::Elsewhere { path: shown(&self.path) });
        }
        notes.whiteout = match raw.metadata.kind {
            Kind::CharDevice => raw.metadata.device_node == (0, 0),
            Kind::File => notes.whiteout && raw.metadata.size == 0,
            _ => false,
        };
        Ok(notes)
    }

    /// Writes a deletion, unless there is nothing to delete.
    fn visit_whiteout(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let hides = match self.twin() {
            Twin::Unknown => true,
            Twin::None => false,
            Twin::Dir(below) => {
                below.child_metadata(&entry.name).map_err(LayerError::file("read", &self.path))?.is_some()
            }
        };
        if hides {
            self.write_kept_back()?;
            self.sink.whiteout(&self.path)?;
        }
        Ok(())
    }

    fn visit_directory(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let opened = self.open_directory(entry).map_err(LayerError::file("read", &self.path))?;
        let (dir, own, opaque, elsewhere) = opened;
        if elsewhere {
            return Err(LayerError::Elsewhere { path: shown(&self.path) });
        }
        let compared = self.compare_directory(entry, &own, opaque).map_err(LayerError::file("compare", &self.path))?;
        let (twin, hides, unchanged) = compared;
        let is_stub = self.skip.contains(&self.path);
        let entered = self.enter(dir, own, twin);
        entered.map_err(LayerError::file("enter", &self.path))?;
        if hides || !(unchanged || is_stub) {
            self.write_kept_back()?;
        }
        if hides { self.sink.opaque(&self.path) } else { Ok(()) }
    }

    fn open_directory(&self, entry: &Entry) -> io::Result<(Dir, TarEntry, bool, bool)> {
        let dir = self.tree.top().child_dir(&entry.name)?;
        let metadata = dir.metadata()?;
        let Marks::Overlay(overlay) = self.marks else {
            let xattrs = xattrs_of(&dir, is_carried_xattr)?;
            let own = entry_of(&metadata, EntryKind::Directory, self.path.clone(), xattrs);
            let is_made_anew = match self.marks {
                Marks::Original(original) => !original.is_directory(&self.path, &dir)?,
                _ => false,
            };
            return Ok((dir, own, is_made_anew, false));
        };
        let xattrs = xattrs_of(&dir, |name| overlay.is_wanted(name))?;
        let notes = overlay.notes(&xattrs);
        let own = entry_of(&metadata, EntryKind::Directory, self.path.clone(), xattrs);
        Ok((dir, own, notes.opaque, notes.elsewhere))
    }

    /// Returns the directory below to compare with, whether the new one hides it, and whether it is the same itself.
    fn compare_directory(&self, entry: &Entry, own: &TarEntry, opaque: bool) -> io::Result<(Option<Dir>, bool, bool)> {
        let twin = match self.twin() {
            Twin::Unknown => return Ok((None, opaque, false)),
            Twin::None => None,
            Twin::Dir(below) => match below.child_dir(&entry.name) {
                Ok(dir) => Some(dir),
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => None,
                Err(error) => return Err(error),
            },
        };
        match twin {
            Some(_) if opaque => Ok((None, true, false)),
            Some(twin) => {
                let unchanged = is_same_directory(own, &directory_entry(&twin, Vec::new())?);
                Ok((Some(twin), false, unchanged))
            }
            None => Ok((None, false, false)),
        }
    }

    fn enter(&mut self, dir: Dir, own: TarEntry, twin: Option<Dir>) -> io::Result<()> {
        let is_original = match self.marks {
            Marks::Original(original) => self.tree.top_data().is_original && original.is_directory(&self.path, &dir)?,
            _ => false,
        };
        let names = names(&dir, twin.as_ref().filter(|_| matches!(self.marks, Marks::Original(_))))?;
        let (path_length, has_twin) = (self.path.len(), twin.is_some());
        let frame = Frame { names, path_length, kept_back: Some(own), has_twin, is_original };
        self.tree.push(dir, frame)?;
        match (&mut self.below, twin) {
            (Some(below), Some(twin)) => below.push(twin, ()),
            _ => Ok(()),
        }
    }

    fn leave(&mut self) -> io::Result<()> {
        let left = self.tree.pop()?;
        if let (Some((_, Frame { has_twin: true, .. })), Some(below)) = (left, &mut self.below) {
            below.pop()?;
        }
        Ok(())
    }

    fn twin(&self) -> Twin<'_> {
        match &self.below {
            None => Twin::Unknown,
            Some(below) if self.tree.data(self.tree.depth()).has_twin => Twin::Dir(below.top()),
            Some(_) => Twin::None,
        }
    }

    fn is_unchanged(&self, entry: &Entry, raw: &RawFound) -> io::Result<bool> {
        let Twin::Dir(below) = self.twin() else { return Ok(false) };
        let name = &entry.name;
        match below.child_metadata(name)? {
            Some(metadata) if is_same_file(&raw.metadata, &metadata) => {}
            _ => return Ok(false),
        }
        let Some(before) = RawFound::read(below, name, is_carried_xattr)? else { return Ok(false) };
        if carried(before.xattrs) != carried(raw.xattrs.clone()) {
            return Ok(false);
        }
        match (&raw.file, &before.file) {
            (Some(file), Some(before)) => have_same_bytes(file, before),
            (None, None) if raw.metadata.kind == Kind::Symlink => {
                Ok(self.tree.top().child_link(name)? == below.child_link(name)?)
            }
            (None, None) => Ok(true),
            _ => Ok(false),
        }
    }

    fn write(&mut self, entry: &TarEntry, data: &mut dyn Read) -> Result<(), LayerError> {
        self.write_kept_back()?;
        self.sink.entry(entry, data)
    }

    /// Writes the directories on the way here that were kept back: the last ones, as a directory is never
    /// written before its parent.
    fn write_kept_back(&mut self) -> Result<(), LayerError> {
        let depth = self.tree.depth();
        let kept_back = (1..=depth).rev().take_while(|at| self.tree.data(*at).kept_back.is_some()).count();
        for at in depth + 1 - kept_back..=depth {
            if let Some(entry) = self.tree.data_mut(at).kept_back.take() {
                self.sink.entry(&entry, &mut io::empty())?;
            }
        }
        Ok(())
    }
}

/// What the layers below have where the walk stands.
enum Twin<'a> {
    /// There is no view of them.
    Unknown,
    /// No directory, or it is hidden.
    None,
    Dir(&'a Dir),
}

/// A directory's time and size follow what happens in it, so they are no change of their own.
fn is_same_directory(left: &TarEntry, right: &TarEntry) -> bool {
    (left.mode, left.uid, left.gid) == (right.mode, right.uid, right.gid) && left.xattrs == right.xattrs
}

/// Compares exact times. What is below came out of a tar, or was cut to what one holds, and a copy of it has its time; what
/// was written just now has a fraction of a second. Whole seconds would let the moment decide: what a command writes again,
/// as it was, would be a change unless it was first written in the same second.
fn is_same_file(left: &Metadata, right: &Metadata) -> bool {
    let facts = |m: &Metadata| (m.kind, m.mode, m.uid, m.gid, m.size, m.mtime, m.device_node);
    facts(left) == facts(right)
}

fn have_same_bytes(left: &File, right: &File) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut at = 0;
    loop {
        let n = left.read_at(&mut a, at)?;
        if n == 0 {
            return Ok(right.read_at(&mut b, at)? == 0);
        }
        match right.read_exact_at(&mut b[..n], at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        if a[..n] != b[..n] {
            return Ok(false);
        }
        at += n as u64;
    }
}
