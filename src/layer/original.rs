//! What a private copy of a tree was when a step got it, to tell afterwards what the step left alone, what it made anew in
//! the place of something, and what it gave another name: an upper directory of an overlay shows that by itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use super::entry::split;
use crate::fsutil::{Dir, Kind, Metadata, Timestamp};

/// A private copy as it was, by paths in it.
#[derive(Debug, Default)]
pub struct Original {
    directories: BTreeMap<Vec<u8>, Identity>,
    /// When each file last changed.
    files: BTreeMap<Vec<u8>, Timestamp>,
    /// All names of the files that have several, by device and inode.
    names: BTreeMap<(u64, u64), Vec<Vec<u8>>>,
    /// When the copy was complete. A file that last changed then may have changed again in the same moment.
    complete: Timestamp,
}

/// Tells a directory from one made later in its place, which may well get its inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Identity {
    Born(Timestamp),
    /// Of a file system that does not keep the time of birth.
    Inode(u64),
}

impl Identity {
    fn of(dir: &Dir) -> io::Result<Self> {
        Ok(match dir.birth()? {
            Some(time) => Self::Born(time),
            None => Self::Inode(dir.metadata()?.inode),
        })
    }
}

impl Original {
    pub(super) fn add_directory(&mut self, path: &[u8], dir: &Dir) -> io::Result<()> {
        self.directories.insert(path.to_vec(), Identity::of(dir)?);
        Ok(())
    }

    pub(super) fn add_file(&mut self, path: &[u8], made: Option<Metadata>, has_several_names: bool) {
        let Some(made) = made else { return };
        self.files.insert(path.to_vec(), made.ctime);
        if has_several_names {
            self.names.entry((made.device, made.inode)).or_default().push(path.to_vec());
        }
    }

    pub(super) fn end(&mut self, root: &Dir) -> io::Result<()> {
        self.complete = root.metadata()?.ctime;
        Ok(())
    }

    /// Whether the directory at `path` is the one that was copied, and not one made since.
    pub(super) fn is_directory(&self, path: &[u8], dir: &Dir) -> io::Result<bool> {
        Ok(path.is_empty() || self.directories.get(path) == Some(&Identity::of(dir)?))
    }

    /// Whether the file at `path`, in a directory that was copied, was not touched since: the kernel sets the time of
    /// change for everything, a new name included, and nobody else can.
    pub(super) fn is_untouched(&self, path: &[u8], metadata: &Metadata) -> bool {
        metadata.kind != Kind::Directory
            && self.files.get(path).is_some_and(|time| *time == metadata.ctime && *time < self.complete)
    }

    /// Whether the file at `path`, which has several names, belongs together with another name in a layer. In an overlay
    /// the names of a file below part when one is written to, and only those given since stand for one file. Of the
    /// names it had, the first one is taken for that which got another.
    pub(super) fn is_linked(&self, root: &Dir, path: &[u8], metadata: &Metadata) -> io::Result<bool> {
        let identity = (metadata.device, metadata.inode);
        let Some(before) = self.names.get(&identity).filter(|names| names.iter().any(|name| name == path)) else {
            return Ok(true);
        };
        let mut still = Vec::new();
        for name in before {
            if has_name(root, name, identity)? {
                still.push(name.as_slice());
            }
        }
        Ok(metadata.links > still.len() as u64 && still.first() == Some(&path))
    }
}

fn has_name(root: &Dir, path: &[u8], identity: (u64, u64)) -> io::Result<bool> {
    let (parent, name) = split(path);
    let found = root.open_dir_without_links(parent).and_then(|dir| dir.child_metadata(OsStr::from_bytes(name)));
    match found {
        Ok(found) => Ok(found.is_some_and(|metadata| (metadata.device, metadata.inode) == identity)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => Ok(false),
        Err(error) => Err(error),
    }
}
