//! Putting things into a root directory without mounts: what had the name goes aside, and comes back afterwards.
//!
//! A mount point cannot be moved or removed by what runs above it; these things can. So afterwards each of them is looked
//! for where it was put, by its inode. A secret or a cache that is not there would be in the layer under another name, and
//! fails the step.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::{Errno, Result};
use serde::{Deserialize, Serialize};

use super::target::{INSIDE, Links, PLACE, PlaceKind, Root, open_retrying};
use crate::fsutil::Dir;

/// A place in the root directory that something was put in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Covered {
    /// Relative to the root, without links.
    pub(super) path: PathBuf,
    /// Where what had the name is.
    aside: PathBuf,
    /// Where what was put there belongs; otherwise it is removed.
    back: Option<PathBuf>,
    /// Device and inode of what was put there.
    identity: (u64, u64),
    /// It may be neither moved nor removed.
    must_stay: bool,
}

/// What is put into a place.
pub(super) enum Thing<'a> {
    Directory {
        mode: u32,
    },
    File {
        data: &'a [u8],
        mode: u32,
        uid: u32,
        gid: u32,
        must_stay: bool,
    },
    /// A file or directory of the builder's, on the same file system.
    Own(&'a Path),
}

impl Root {
    /// Puts `thing` at `path`. What has the name meanwhile is in `aside`.
    pub(super) fn cover(&mut self, path: &Path, thing: &Thing<'_>, aside: &Path) -> Result<()> {
        let (kind, links) = match thing {
            Thing::Directory { .. } if is_standard(path) => (PlaceKind::Directory, Links::Refused),
            Thing::Directory { .. } => (PlaceKind::Directory, Links::Followed),
            Thing::File { .. } => (PlaceKind::File, Links::Followed),
            Thing::Own(source) if std::fs::symlink_metadata(source).is_ok_and(|found| found.is_dir()) => {
                (PlaceKind::Directory, Links::Followed)
            }
            Thing::Own(_) => (PlaceKind::File, Links::Followed),
        };
        let place = self.resolve(path, kind, links)?;
        let (parent, name) = self.parent_of(&place)?;
        let before = self.modified_of(&parent)?;
        let aside = aside.join(self.stubs.covered.len().to_string());
        fs::renameat(&parent, name, CWD, &aside)?;
        let mut covered = Covered { path: place.clone(), aside, back: None, identity: (0, 0), must_stay: false };
        let put = thing.put(&parent, name, &mut covered);
        let found = fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        covered.identity = found.map(|found| (found.st_dev, found.st_ino)).unwrap_or_default();
        self.stubs.covered.push(covered);
        self.note_change(&place, &parent, before)?;
        put
    }
}

impl Thing<'_> {
    fn put(&self, parent: &OwnedFd, name: &OsStr, covered: &mut Covered) -> Result<()> {
        match self {
            Self::Directory { mode } => {
                fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
                fs::chmodat(parent, name, Mode::from_raw_mode(*mode), AtFlags::empty())
            }
            Self::File { data, mode, uid, gid, must_stay } => {
                covered.must_stay = *must_stay;
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
                let mut file = File::from(fs::openat(parent, name, flags, Mode::empty())?);
                file.write_all(data).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                fs::fchown(&file, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))?;
                fs::fchmod(&file, Mode::from_raw_mode(*mode))
            }
            Self::Own(source) => {
                fs::renameat(CWD, *source, parent, name)?;
                covered.back = Some((*source).to_owned());
                covered.must_stay = true;
                Ok(())
            }
        }
    }
}

impl Covered {
    /// Takes away what was put into `root` and brings back what was there. Returns whether it was still where it was put.
    pub(super) fn uncover(&self, root: &OwnedFd) -> Result<bool> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(false) };
        let Ok(parent) = open_retrying(root, parent, OFlags::RDONLY | OFlags::DIRECTORY, INSIDE) else {
            return Ok(false);
        };
        let found = fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let is_directory = |mode| FileType::from_raw_mode(mode) == FileType::Directory;
        let is_it = found.is_some_and(|found| {
            (found.st_dev, found.st_ino) == self.identity && (is_directory(found.st_mode) || found.st_nlink == 1)
        });
        match &self.back {
            Some(back) if is_it => fs::renameat(&parent, name, CWD, back)?,
            _ => {
                let dir = Dir::from_fd(parent.try_clone().map_err(|_| Errno::MFILE)?);
                dir.remove_tree(name).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            }
        }
        fs::renameat(CWD, &self.aside, parent.as_fd(), name)?;
        Ok(is_it || !self.must_stay)
    }
}

fn is_standard(path: &Path) -> bool {
    ["/proc", "/sys", "/dev"].iter().any(|standard| path == Path::new(standard))
}

/// Opens the parent directory of a place without links.
impl Root {
    fn parent_of<'a>(&self, place: &'a Path) -> Result<(OwnedFd, &'a OsStr)> {
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { return Err(Errno::INVAL) };
        Ok((open_retrying(&self.dir, parent, PLACE | OFlags::DIRECTORY, INSIDE)?, name))
    }
}
