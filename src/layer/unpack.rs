//! Making the files of a layer in a directory.
//!
//! The way to the current directory stays open, so that entries in order cost no path walk, and each step of it is
//! one name that is not followed. A symbolic link on the way is followed by hand, inside the target.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use super::apply::{ApplySummary, nothing};
use super::entry::{EntryKind, TarEntry, join, shown, split};
use super::merged::forget_xattrs;
use super::read::ReadError;
use super::tree::{directory_entry, read_entry};
use super::write::WriteError;
use super::xattr::{OverlayNamespace, is_carried_xattr};
use super::{LayerError, Warning};
use crate::fsutil::{Dir, DirStack, Kind, Timestamp, Xattrs, set_mode, set_mtime, set_xattr};

const BUFFER: usize = 256 * 1024;
/// As the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// What the target is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// An overlayfs lower directory.
    Overlay(OverlayNamespace),
    /// The whole tree of a stack of layers, of which the target holds those below.
    Merged,
    /// A directory for people.
    Plain,
}

/// Makes files below one directory.
pub(super) struct Unpacker<'a> {
    pub(super) root: Dir,
    lower: Option<&'a Dir>,
    pub(super) form: Form,
    pub(super) way: DirStack<Level>,
    /// The paths that this layer has, in a merged tree.
    pub(super) placed: BTreeSet<Vec<u8>>,
    /// The path, as given, that led to the last directory of the way.
    current: Option<Vec<u8>>,
    buffer: Box<[u8]>,
    opaque_root: bool,
    summary: ApplySummary,
}

/// A directory on the way.
pub(super) struct Level {
    pub(super) name: Vec<u8>,
    /// Set when it is left, because making files in it changes it.
    mtime: Timestamp,
    /// Nothing of the layers below is seen in it.
    hides: bool,
}

/// What a step of the way met.
enum Step {
    Entered,
    Link(Vec<u8>),
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(target: &Dir, lower: Option<&'a Dir>, form: Form) -> Result<Self, LayerError> {
        let open = || {
            let level = Level { name: Vec::new(), mtime: target.metadata()?.mtime, hides: false };
            Ok((target.try_clone()?, DirStack::new(target.try_clone()?, level)?))
        };
        let (root, way) = open().map_err(LayerError::file("open", b""))?;
        Ok(Self {
            root,
            lower,
            form,
            way,
            placed: BTreeSet::new(),
            current: None,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            opaque_root: false,
            summary: ApplySummary::default(),
        })
    }

    /// Makes one entry, in place of what has its name.
    pub(super) fn place(&mut self, entry: &TarEntry, data: &mut dyn Read) -> Result<(), LayerError> {
        self.summary.entries += 1;
        if let EntryKind::Hardlink(target) = &entry.kind {
            return self.place_link(entry, target);
        }
        if entry.path.is_empty() {
            return self.place_root(entry);
        }
        let (parent, name) = split(&entry.path);
        self.enter(parent, &entry.path)?;
        self.place_here(entry, OsStr::from_bytes(name), data)
    }

    /// Says that `name` in `parent` is deleted from the layers below. What this layer has there stays.
    pub(super) fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<(), LayerError> {
        self.summary.entries += 1;
        let path = join(parent, name);
        self.enter(parent, &path)?;
        let name = OsStr::from_bytes(name);
        if self.form == Form::Merged {
            return self.delete(name).map_err(LayerError::file("delete", &path));
        }
        let marked = match self.way.top().create_node(name, Kind::CharDevice, (0, 0)) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => self.mark_existing(name),
            other => other,
        };
        marked.map_err(LayerError::file("mark as deleted", &path))
    }

    /// Says that nothing of the layers below is seen in the directory `path`.
    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<(), LayerError> {
        self.summary.entries += 1;
        self.enter(path, path)?;
        self.opaque_root |= self.way.depth() == 0;
        self.mark_opaque().map_err(LayerError::file("mark as opaque", path))
    }

    /// Sets the times of the directories still open.
    pub(super) fn finish(mut self) -> Result<ApplySummary, LayerError> {
        self.leave_to(0)?;
        self.hide_root().map_err(LayerError::file("mark as opaque", b""))?;
        let mtime = self.way.data(0).mtime;
        set_mtime(&self.root, mtime).map_err(LayerError::file("set the time of", b""))?;
        Ok(self.summary)
    }

    fn place_root(&mut self, entry: &TarEntry) -> Result<(), LayerError> {
        self.leave_to(0)?;
        self.way.top_data().mtime = entry.mtime;
        self.describe_directory(entry)
    }

    fn place_here(&mut self, entry: &TarEntry, name: &OsStr, data: &mut dyn Read) -> Result<(), LayerError> {
        self.note(name);
        let failed = |doing| LayerError::file(doing, &entry.path);
        match &entry.kind {
            EntryKind::Directory => return self.place_directory(entry, name),
            EntryKind::File { size } => {
                let file = self.create(name, |dir| dir.create_file(name)).map_err(failed("create"))?;
                self.fill(&file, *size, entry, data)?;
                return self.describe(&file, entry);
            }
            EntryKind::Symlink(target) => {
                let target = OsStr::from_bytes(target);
                self.create(name, |dir| dir.create_symlink(name, target)).map_err(failed("create"))?;
            }
            EntryKind::Fifo => self.place_node(entry, name, Kind::Fifo, (0, 0))?,
            EntryKind::CharDevice { major: 0, minor: 0 } if self.form != Form::Plain => return self.skip_device(entry),
            EntryKind::CharDevice { major, minor } => {
                if !self.place_device(entry, name, Kind::CharDevice, (*major, *minor))? {
                    return Ok(());
                }
            }
            EntryKind::BlockDevice { major, minor } => {
                if !self.place_device(entry, name, Kind::BlockDevice, (*major, *minor))? {
                    return Ok(());
                }
            }
            EntryKind::Hardlink(_) => return Ok(()),
        }
        let owned = self.way.top().set_child_owner(name, entry.uid, entry.gid);
        self.check_owner(owned, entry)?;
        if !matches!(entry.kind, EntryKind::Symlink(_)) {
            self.way.top().set_child_mode(name, entry.mode).map_err(failed("set the mode of"))?;
        }
        self.way.top().set_child_mtime(name, entry.mtime).map_err(failed("set the time of"))
    }

    fn place_node(&mut self, entry: &TarEntry, name: &OsStr, kind: Kind, device: (u32, u32)) -> Result<(), LayerError> {
        let made = self.create(name, |dir| dir.create_node(name, kind, device));
        made.map_err(LayerError::file("create", &entry.path))
    }

    /// Returns whether the device could be made.
    fn place_device(
        &mut self,
        entry: &TarEntry,
        name: &OsStr,
        kind: Kind,
        device: (u32, u32),
    ) -> Result<bool, LayerError> {
        match self.place_node(entry, name, kind, device) {
            Err(LayerError::File { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {
                self.skip_device(entry).map(|()| false)
            }
            other => other.map(|()| true),
        }
    }

    fn skip_device(&mut self, entry: &TarEntry) -> Result<(), LayerError> {
        self.summary.warnings.push(Warning::Device { path: entry.path.clone() });
        Ok(())
    }

    fn place_directory(&mut self, entry: &TarEntry, name: &OsStr) -> Result<(), LayerError> {
        let replaced = self.make_directory(name).map_err(LayerError::file("create", &entry.path))?;
        self.push(name, entry.mtime, replaced).map_err(LayerError::file("enter", &entry.path))?;
        self.describe_directory(entry)?;
        self.current = Some(entry.path.clone());
        Ok(())
    }

    /// Makes a directory or keeps one; returns whether it took the place of something else of this layer.
    fn make_directory(&mut self, name: &OsStr) -> io::Result<bool> {
        let dir = self.way.top();
        match dir.create_dir(name, 0o700) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            other => return other.map(|()| false),
        }
        if dir.child_metadata(name)?.is_some_and(|metadata| metadata.is_dir()) {
            return Ok(false);
        }
        dir.remove_tree(name)?;
        dir.create_dir(name, 0o700).map(|()| true)
    }

    fn push(&mut self, name: &OsStr, mtime: Timestamp, replaced: bool) -> io::Result<()> {
        let dir = self.way.top().child_dir(name)?;
        let hides = self.way.top_data().hides;
        self.way.push(dir, Level { name: name.as_bytes().to_vec(), mtime, hides })?;
        // What was here, a deletion or a file, hid a directory of the layers below; so does this.
        if replaced { self.mark_opaque() } else { Ok(()) }
    }

    fn describe_directory(&mut self, entry: &TarEntry) -> Result<(), LayerError> {
        let owned = self.way.top().set_owner_of(self.way.top(), entry.uid, entry.gid);
        self.check_owner(owned, entry)?;
        let top = self.way.top();
        let forgotten = if self.form == Form::Merged { forget_xattrs(top, &entry.xattrs) } else { Ok(()) };
        forgotten
            .and_then(|()| set_mode(top, entry.mode))
            .and_then(|()| set_xattrs(top, &entry.xattrs))
            .map_err(LayerError::file("set the attributes of", &entry.path))
    }

    /// Sets everything but content; the owner first, because that clears setuid and capabilities.
    fn describe(&mut self, file: &File, entry: &TarEntry) -> Result<(), LayerError> {
        self.check_owner(self.way.top().set_owner_of(file, entry.uid, entry.gid), entry)?;
        set_mode(file, entry.mode)
            .and_then(|()| set_xattrs(file, &entry.xattrs))
            .and_then(|()| set_mtime(file, entry.mtime))
            .map_err(LayerError::file("set the attributes of", &entry.path))
    }

    fn check_owner(&self, result: io::Result<()>, entry: &TarEntry) -> Result<(), LayerError> {
        let Err(source) = result else { return Ok(()) };
        match source.raw_os_error() {
            Some(libc::EPERM) if self.form == Form::Plain => Ok(()),
            Some(libc::EINVAL) => {
                Err(LayerError::UnmappedOwner { path: shown(&entry.path), uid: entry.uid, gid: entry.gid })
            }
            _ => Err(LayerError::file("set the owner of", &entry.path)(source)),
        }
    }

    /// Creates something under a free name: what has the name goes first, and nothing is followed.
    fn create<T>(&self, name: &OsStr, make: impl Fn(&Dir) -> io::Result<T>) -> io::Result<T> {
        let dir = self.way.top();
        match make(dir) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            other => return other,
        }
        // A whole directory of this layer may go, but not one of a user's.
        if self.form == Form::Plain && dir.child_metadata(name)?.is_some_and(|metadata| metadata.is_dir()) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        dir.remove_tree(name)?;
        make(dir)
    }

    /// Writes the content. Long runs of zeros become holes.
    fn fill(&mut self, file: &File, size: u64, entry: &TarEntry, data: &mut dyn Read) -> Result<(), LayerError> {
        let mut at = 0;
        let mut ends_in_hole = false;
        while at < size {
            let wanted = usize::try_from(size - at).unwrap_or(usize::MAX).min(self.buffer.len());
            let piece = &mut self.buffer[..wanted];
            let filled = fill_buffer(data, piece).map_err(|error| content_error(error, entry))?;
            if filled < wanted {
                let missing = size - at - filled as u64;
                return Err(WriteError::Shrunk { path: shown(&entry.path), missing }.into());
            }
            ends_in_hole = wanted == BUFFER && piece.iter().all(|byte| *byte == 0);
            if !ends_in_hole {
                file.write_all_at(piece, at).map_err(LayerError::file("write", &entry.path))?;
            }
            at += wanted as u64;
        }
        if ends_in_hole {
            file.set_len(size).map_err(LayerError::file("write", &entry.path))?;
        }
        self.summary.bytes += size;
        Ok(())
    }

    fn mark_existing(&mut self, name: &OsStr) -> io::Result<()> {
        let dir = self.way.top();
        if !dir.child_metadata(name)?.is_some_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
        match self.form {
            Form::Overlay(namespace) => set_xattr(&dir.child_dir(name)?, namespace.opaque(), b"y"),
            Form::Merged | Form::Plain => Ok(()),
        }
    }

    fn mark_opaque(&mut self) -> io::Result<()> {
        self.way.top_data().hides = true;
        match self.form {
            Form::Overlay(namespace) => set_xattr(self.way.top(), namespace.opaque(), b"y"),
            Form::Merged => self.clear_here(),
            Form::Plain => Ok(()),
        }
    }

    /// The kernel does not look for the mark on a layer's root, so each name below is hidden by itself.
    fn hide_root(&mut self) -> io::Result<()> {
        let Some(lower) = self.lower.filter(|_| self.opaque_root) else { return Ok(()) };
        self.summary.used_lower = true;
        for entry in lower.entries()? {
            match self.root.create_node(&entry.name, Kind::CharDevice, (0, 0)) {
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => self.mark_existing(&entry.name)?,
                other => other?,
            }
        }
        Ok(())
    }

    /// Makes another name of a file of this layer, or of one below, which is then copied up.
    fn place_link(&mut self, entry: &TarEntry, target: &[u8]) -> Result<(), LayerError> {
        let refused = |reason| LayerError::HardLink { path: shown(&entry.path), target: shown(target), reason };
        if target == entry.path || target.is_empty() {
            return Err(refused("is not another file"));
        }
        let (target_parent, target_name) = split(target);
        let target_name = OsStr::from_bytes(target_name);
        let (parent, name) = split(&entry.path);
        let name = OsStr::from_bytes(name);
        let is_here = match self.find(target_parent, target_name) {
            Ok(found) => found,
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(refused("is behind a symbolic link"));
            }
            Err(error) => return Err(LayerError::file("find", target)(error)),
        };
        match is_here.map(|metadata| (metadata.kind, metadata.device_node)) {
            Some((Kind::Directory, _)) => return Err(refused("is a directory")),
            Some((Kind::CharDevice, (0, 0))) => return Err(refused("is deleted")),
            Some(_) => {}
            None => self.copy_up(target, &refused)?,
        }
        self.enter(parent, &entry.path)?;
        self.note(name);
        let link = |dir: &Dir| {
            if target_parent == parent {
                return dir.create_hard_link(name, dir, target_name);
            }
            dir.create_hard_link(name, &self.root.open_dir_without_links(target_parent)?, target_name)
        };
        self.create(name, link).map_err(LayerError::file("create the hard link", &entry.path))
    }

    fn find(&self, parent: &[u8], name: &OsStr) -> io::Result<Option<crate::fsutil::Metadata>> {
        if self.current.as_deref() == Some(parent) {
            return self.way.top().child_metadata(name);
        }
        match self.root.open_dir_without_links(parent) {
            Ok(dir) => dir.child_metadata(name),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Copies a file of the layers below to its own name in this one, as a link to it would in an overlay.
    fn copy_up(&mut self, path: &[u8], refused: &dyn Fn(&'static str) -> LayerError) -> Result<(), LayerError> {
        let (parent, name) = split(path);
        let name = OsStr::from_bytes(name);
        let Some(lower) = self.lower else { return Err(refused("is not there")) };
        let found = lower.open_dir_without_links(parent).and_then(|dir| read_entry(&dir, name, path.to_vec()));
        let Ok(Some(mut found)) = found else { return Err(refused("is not there")) };
        if found.metadata.is_dir() {
            return Err(refused("is a directory"));
        }
        self.summary.used_lower = true;
        self.enter(parent, path)?;
        match &mut found.data {
            Some(data) => self.place_here(&found.entry, name, data),
            None => self.place_here(&found.entry, name, &mut nothing()),
        }
    }

    /// Goes to the directory `parent`, making what is missing. `path` is what it is for.
    fn enter(&mut self, parent: &[u8], path: &[u8]) -> Result<(), LayerError> {
        if self.current.as_deref() == Some(parent) {
            return Ok(());
        }
        let mut names: Vec<Vec<u8>> = components(parent);
        let (mut depth, mut links) = (0, 0);
        while let Some(name) = names.pop() {
            if name == b".." {
                depth = usize::saturating_sub(depth, 1);
                continue;
            }
            if depth < self.way.depth() && self.way.data(depth + 1).name == name {
                depth += 1;
                continue;
            }
            self.leave_to(depth)?;
            match self.step(&name, path)? {
                Step::Entered => depth += 1,
                Step::Link(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(LayerError::TooManyLinks { path: shown(path) });
                    }
                    if target.starts_with(b"/") {
                        depth = 0;
                    }
                    names.extend(components(&target));
                }
            }
        }
        self.leave_to(depth)?;
        self.current = Some(parent.to_vec());
        Ok(())
    }

    /// Enters one name of the last directory, making it if it is missing.
    fn step(&mut self, name: &[u8], path: &[u8]) -> Result<Step, LayerError> {
        let name = OsStr::from_bytes(name);
        let found = self.way.top().child_metadata(name).map_err(LayerError::file("find", path))?;
        match found.map(|metadata| (metadata.kind, metadata.mtime)) {
            Some((Kind::Directory, mtime)) => {
                self.note(name);
                self.push(name, mtime, false).map_err(LayerError::file("enter", path))?;
                Ok(Step::Entered)
            }
            Some((Kind::Symlink, _)) => {
                let target = self.way.top().child_link(name).map_err(LayerError::file("read the link", path))?;
                Ok(Step::Link(target.as_os_str().as_bytes().to_vec()))
            }
            None if !self.way.top_data().hides => self.step_below(name, path),
            // A file or a deletion of this layer: a later entry needs a directory there, and wins.
            _ => self.imply(name, TarEntry::plain_directory(path.to_vec())),
        }
    }

    /// Enters a name that this layer does not have as the layers below have it: a directory described as there, or a link.
    fn step_below(&mut self, name: &OsStr, path: &[u8]) -> Result<Step, LayerError> {
        let plain = TarEntry::plain_directory(path.to_vec());
        let Some(lower) = self.lower else { return self.imply(name, plain) };
        let mut parent = Vec::new();
        for depth in 1..=self.way.depth() {
            parent = join(&parent, &self.way.data(depth).name);
        }
        let below = || {
            let dir = lower.open_dir_without_links(&parent)?;
            match dir.child_metadata(name)?.map(|metadata| metadata.kind) {
                Some(Kind::Directory) => directory_entry(&dir.child_dir(name)?, path.to_vec()).map(Ok),
                Some(Kind::Symlink) => dir.child_link(name).map(Err),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        };
        match below() {
            Ok(Ok(entry)) => {
                self.summary.used_lower = true;
                self.imply(name, entry)
            }
            Ok(Err(target)) => {
                self.summary.used_lower = true;
                Ok(Step::Link(target.as_os_str().as_bytes().to_vec()))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.imply(name, plain)
            }
            Err(error) => Err(LayerError::file("find below", path)(error)),
        }
    }

    /// Makes a directory that the layer does not mention.
    fn imply(&mut self, name: &OsStr, entry: TarEntry) -> Result<Step, LayerError> {
        self.note(name);
        let replaced = self.make_directory(name).map_err(LayerError::file("create a parent of", &entry.path))?;
        self.push(name, entry.mtime, replaced).map_err(LayerError::file("enter", &entry.path))?;
        self.describe_directory(&entry)?;
        Ok(Step::Entered)
    }

    /// Leaves directories until the way is `depth` long.
    fn leave_to(&mut self, depth: usize) -> Result<(), LayerError> {
        if self.way.depth() > depth {
            self.current = None;
        }
        while self.way.depth() > depth {
            let left = self.way.pop().and_then(|left| match left {
                Some((dir, level)) => set_mtime(&dir, level.mtime),
                None => Ok(()),
            });
            left.map_err(LayerError::file("leave a directory below", b""))?;
        }
        Ok(())
    }
}

/// Returns the names of a path, last first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.rsplit(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.map(<[u8]>::to_vec).collect()
}

fn set_xattrs(file: impl std::os::fd::AsFd, xattrs: &Xattrs) -> io::Result<()> {
    for (name, value) in xattrs.iter().filter(|(name, _)| is_carried_xattr(name)) {
        match set_xattr(&file, name, value) {
            // A file system without them (tmpfs of older kernels) still holds the rest of the layer.
            Err(error) if error.raw_os_error() == Some(libc::ENOTSUP) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the content ends.
fn fill_buffer(data: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match data.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn content_error(error: io::Error, entry: &TarEntry) -> LayerError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Truncated { after: shown(&entry.path) }.into(),
        _ => ReadError::Input(error).into(),
    }
}
