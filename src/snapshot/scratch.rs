//! Scratch directories: layers being made.
//!
//! The owner holds an exclusive flock on its directory; the lock goes with the process, however that ends. A sweep
//! removes what it can lock. Between creating a directory and locking it the creator holds a shared lock
//! on the parent, and a sweep an exclusive one, so a newborn directory is never swept.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::SnapshotError;
use crate::fsutil::{Dir, random_name};

/// A directory with an empty `fs` (an upper, or a layer being unpacked) and an empty `work` (overlay's own).
/// Removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    parent: PathBuf,
    name: String,
    fs: PathBuf,
    work: PathBuf,
    _lock: OwnedFd,
}

impl Scratch {
    pub(super) fn create(parent: &Path) -> Result<Self, SnapshotError> {
        let name = random_name();
        let path = parent.join(&name);
        let (fs, work) = (path.join("fs"), path.join("work"));
        let _newborn = Locked::new(open(parent)?, FlockOperation::LockShared)
            .map_err(|error| SnapshotError::io("lock", parent)(error.into()))?;
        for dir in [&path, &fs, &work] {
            // The process umask must not show in a layer: `fs` becomes the root directory of a RUN.
            std::fs::create_dir(dir)
                .and_then(|()| Ok(rustix::fs::chmod(dir, Mode::from_raw_mode(0o755))?))
                .map_err(SnapshotError::io("create the directory", dir))?;
        }
        let lock = open(&path)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|e| SnapshotError::io("lock", &path)(e.into()))?;
        Ok(Self { parent: parent.to_owned(), name, fs, work, _lock: lock })
    }

    /// Returns the directory that becomes the snapshot.
    pub fn fs(&self) -> &Path {
        &self.fs
    }

    /// Returns a path for a file or directory beside `fs`, gone with the scratch directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.parent.join(&self.name).join(name)
    }

    /// Returns overlayfs' work directory: fresh, as `volatile` demands.
    pub fn work(&self) -> &Path {
        &self.work
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sweep.
        if let Ok(parent) = Dir::open(&self.parent) {
            let _ = parent.remove_tree(OsStr::new(&self.name));
        }
    }
}

pub(super) fn sweep(parent: &Path) -> Result<(), SnapshotError> {
    // Fails while somebody is creating a directory: the next process sweeps.
    let Ok(_all) = Locked::new(open(parent)?, FlockOperation::NonBlockingLockExclusive) else { return Ok(()) };
    let dir = Dir::open(parent).map_err(SnapshotError::io("open", parent))?;
    for entry in dir.entries().map_err(SnapshotError::io("read", parent))? {
        let path = parent.join(&entry.name);
        let Ok(owned) = open(&path) else { continue };
        if flock(owned.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok() {
            dir.remove_tree(&entry.name).map_err(SnapshotError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// A lock for a while. It is given back by name: a process that another thread starts meanwhile has the descriptor, too, until
/// it becomes its program, and would keep the lock so long.
struct Locked(OwnedFd);

impl Locked {
    fn new(file: OwnedFd, how: FlockOperation) -> rustix::io::Result<Self> {
        flock(&file, how)?;
        Ok(Self(file))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

fn open(path: &Path) -> Result<OwnedFd, SnapshotError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| SnapshotError::io("open", path)(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_descriptor_in_another_process_keeps_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        for how in [FlockOperation::LockShared, FlockOperation::NonBlockingLockExclusive] {
            let file = open(dir.path()).unwrap();
            let of_another = file.try_clone().unwrap();
            let locked = Locked::new(file, how).unwrap();
            let lock_again =
                || Locked::new(open(dir.path()).unwrap(), FlockOperation::NonBlockingLockExclusive).is_ok();
            assert!(!lock_again());
            drop(locked);
            assert!(lock_again());
            drop(of_another);
        }
    }
}
