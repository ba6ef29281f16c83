//! A tree made a second time: its files shared, for a tree that nobody writes in place, or copied, for one that a step may
//! write as it likes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::vec;

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::LayerError;
use super::original::Original;
use super::xattr::is_carried_xattr;
use crate::fsutil::{Dir, DirStack, Entry, Kind, Metadata, set_mode, set_mtime, set_xattr, xattrs_of};

/// Makes in `to`, an empty directory on the file system of `from`, a tree whose files are those of `from`, by other
/// names, and whose directories are its own. Neither tree may be written in place afterwards: a change unlinks first.
pub fn link_tree(from: &Dir, to: &Dir) -> Result<(), LayerError> {
    Duplicate::new(from, to, Files::Shared)?.run().map(drop)
}

/// Copies everything in `from` to `to`, an empty directory: content (as the file system's own copies where it can),
/// holes, several names of one file, owners, modes, times, carried attributes. Returns what [`super::diff_trees`] needs
/// to know of it.
pub fn private_copy(from: &Dir, to: &Dir) -> Result<Original, LayerError> {
    Duplicate::new(from, to, Files::Copied { clones: true })?.run()
}

/// What becomes of everything that is no directory.
enum Files {
    Shared,
    /// `clones` until the file system refuses to share blocks.
    Copied {
        clones: bool,
    },
}

struct Duplicate {
    files: Files,
    from: DirStack<vec::IntoIter<Entry>>,
    to: DirStack<()>,
    path: Vec<u8>,
    /// Files with several names, by device and inode of `from`: the first of them.
    first_names: BTreeMap<(u64, u64), Vec<u8>>,
    root: Dir,
    original: Original,
}

impl Duplicate {
    fn new(from: &Dir, to: &Dir, files: Files) -> Result<Self, LayerError> {
        let start = || {
            let names = from.entries()?.into_iter();
            let (root, original) = (to.try_clone()?, Original::default());
            let (from, to) = (DirStack::new(from.try_clone()?, names)?, DirStack::new(to.try_clone()?, ())?);
            Ok(Self { files, from, to, path: Vec::new(), first_names: BTreeMap::new(), root, original })
        };
        start().map_err(LayerError::file("open", b""))
    }

    fn run(mut self) -> Result<Original, LayerError> {
        loop {
            match self.from.top_data().next() {
                Some(entry) => {
                    let length = self.path.len();
                    if length > 0 {
                        self.path.push(b'/');
                    }
                    self.path.extend_from_slice(entry.name.as_bytes());
                    self.make(&entry).map_err(LayerError::file("copy", &self.path))?;
                    if entry.kind != Kind::Directory {
                        self.path.truncate(length);
                    }
                }
                None => {
                    describe_directory(self.from.top(), self.to.top()).map_err(LayerError::file("copy", &self.path))?;
                    if self.from.depth() == 0 {
                        break;
                    }
                    self.leave().map_err(LayerError::file("leave", &self.path))?;
                }
            }
        }
        // The last thing done to the copy: whatever changes from now on changes later.
        self.original.end(&self.root).map_err(LayerError::file("read", b""))?;
        Ok(self.original)
    }

    fn leave(&mut self) -> io::Result<()> {
        self.from.pop()?;
        self.to.pop()?;
        let end = self.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.path.truncate(end);
        Ok(())
    }

    fn make(&mut self, entry: &Entry) -> io::Result<()> {
        let name = entry.name.as_os_str();
        if entry.kind == Kind::Directory {
            self.to.top().create_dir(name, 0o700)?;
            let (from, to) = (self.from.top().child_dir(name)?, self.to.top().child_dir(name)?);
            self.original.add_directory(&self.path, &to)?;
            let names = from.entries()?.into_iter();
            self.from.push(from, names)?;
            return self.to.push(to, ());
        }
        match self.files {
            Files::Shared => match self.to.top().create_hard_link(name, self.from.top(), name) {
                // A file has as many names as its file system allows.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMLINK | libc::EPERM | libc::EXDEV)) => {}
                other => return other,
            },
            Files::Copied { .. } => {}
        }
        self.copy(name)
    }

    fn copy(&mut self, name: &OsStr) -> io::Result<()> {
        let (from, to) = (self.from.top(), self.to.top());
        let Some(metadata) = from.child_metadata(name)? else { return Err(io::ErrorKind::NotFound.into()) };
        let identity = (metadata.device, metadata.inode);
        if let Some(first) = self.first_names.get(&identity) {
            let (parent, first_name) = super::entry::split(first);
            let parent = self.root.open_dir_without_links(parent)?;
            to.create_hard_link(name, &parent, OsStr::from_bytes(first_name))?;
        } else {
            // Not what the directory says: a note may make a device of a file.
            let kind = metadata.kind;
            match kind {
                Kind::File => self.copy_file(name)?,
                Kind::Symlink => to.create_symlink(name, from.child_link(name)?.as_os_str())?,
                // No layer has one.
                Kind::Socket => return Ok(()),
                kind => to.create_node(name, kind, metadata.device_node)?,
            }
            if kind != Kind::File {
                describe(self.to.top(), name, &metadata)?;
            }
            if metadata.links > 1 {
                self.first_names.insert(identity, self.path.clone());
            }
        }
        self.original.add_file(&self.path, self.to.top().child_metadata(name)?, metadata.links > 1);
        Ok(())
    }

    fn copy_file(&mut self, name: &OsStr) -> io::Result<()> {
        let source = self.from.top().child_file(name)?;
        let target = self.to.top().create_file(name)?;
        let metadata = self.from.top().metadata_of(&source)?;
        if let Files::Copied { clones: clones @ true } = &mut self.files
            && metadata.size > 0
        {
            *clones = ioctl_ficlone(&target, &source).is_ok();
        }
        if !matches!(self.files, Files::Copied { clones: true }) {
            copy_content(&source, &target, metadata.size)?;
        }
        self.to.top().set_owner_of(&target, metadata.uid, metadata.gid)?;
        set_mode(&target, metadata.mode)?;
        for (name, value) in xattrs_of(&source, is_carried_xattr)? {
            set_xattr(&target, &name, &value)?;
        }
        set_mtime(&target, metadata.mtime)
    }
}

/// Sets everything of what is no regular file.
fn describe(to: &Dir, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
    to.set_child_owner(name, metadata.uid, metadata.gid)?;
    if metadata.kind != Kind::Symlink {
        to.set_child_mode(name, metadata.mode)?;
    }
    to.set_child_mtime(name, metadata.mtime)
}

/// When everything is in it, because that changes its time.
fn describe_directory(from: &Dir, to: &Dir) -> io::Result<()> {
    for (name, value) in xattrs_of(from, is_carried_xattr)? {
        set_xattr(to, &name, &value)?;
    }
    to.copy_metadata_of(from)
}

/// Copies the parts that are no holes.
fn copy_content(from: &File, to: &File, size: u64) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(start))?.min(size);
        copy_range(from, to, start, end)?;
        at = end.max(at + 1);
    }
    to.set_len(size)
}

fn copy_range(mut from: &File, mut to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut at, mut to_at) = (start, start);
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut at), to, Some(&mut to_at), length) {
            // Cut short meanwhile: what is missing becomes a hole.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::NOSYS | Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                seek(from, SeekFrom::Start(at))?;
                seek(to, SeekFrom::Start(at))?;
                io::copy(&mut Read::take(&mut from, end - at), &mut to)?;
                return to.flush();
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
