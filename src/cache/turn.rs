//! Turns: of several kilns that need the same step at the same time, one does it, and the others take what it made.
//!
//! ```text
//! cache/turns/<key hex>     flock: held by whoever does the step now, removed when it is done
//! ```
//!
//! A turn saves work and decides nothing: two that do the same step at once write the same record, or either's. The kernel
//! gives a turn back when its process ends, however that comes.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{CacheError, Key};
use crate::fsutil::Dir;

/// The right to do a step, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    _file: File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While it is held: whoever opened the file before sees that it has no name any more.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes the turn to do the step of `key`; `None` while somebody else has it.
pub(super) fn take(directory: &Path, key: &Key) -> Result<Option<Turn>, CacheError> {
    let path = directory.join(key.hex());
    let failed = |source| CacheError { doing: "lock", path: path.clone(), source };
    loop {
        let file = open(directory, &path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        // Else it was the turn of somebody who has just ended it, and the next one makes a new file.
        if file.metadata().map_err(failed)?.nlink() > 0 {
            return Ok(Some(Turn { path, _file: file }));
        }
    }
}

/// Removes what killed processes left.
pub(super) fn sweep(directory: &Path) {
    let Ok(entries) = Dir::open(directory).and_then(|dir| dir.entries()) else { return };
    for entry in entries {
        let path = directory.join(&entry.name);
        if let Ok(file) = File::open(&path)
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
        {
            drop(Turn { path, _file: file });
        }
    }
}

fn open(directory: &Path, path: &Path) -> io::Result<File> {
    let open = || File::options().create(true).append(true).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(directory)?;
            open()
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::cache::{KeyHasher, KeySink};

    fn key(name: &str) -> Key {
        let mut hasher = KeyHasher::default();
        hasher.field("op", name);
        hasher.finish()
    }

    #[test]
    fn one_has_the_turn_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("turns");
        let first = take(&directory, &key("a")).unwrap().expect("nobody else");
        assert!(take(&directory, &key("a")).unwrap().is_none());
        assert!(take(&directory, &key("b")).unwrap().is_some(), "another step");
        drop(first);
        assert!(take(&directory, &key("a")).unwrap().is_some());
        assert_eq!(Dir::open(&directory).unwrap().entries().unwrap().len(), 0);
    }

    #[test]
    fn what_the_dead_left_goes_and_what_is_held_stays() {
        let root = tempfile::tempdir().unwrap();
        let held = take(root.path(), &key("held")).unwrap().expect("nobody else");
        std::fs::write(root.path().join(key("dead").hex()), "").unwrap();
        sweep(root.path());
        let left = Dir::open(root.path()).unwrap().entries().unwrap();
        let left: Vec<_> = left.iter().map(|entry| root.path().join(&entry.name)).collect();
        assert_eq!(left, std::slice::from_ref(&held.path));
    }

    #[test]
    fn never_two_at_once() {
        let root = tempfile::tempdir().unwrap();
        let (inside, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while done.load(Ordering::SeqCst) < 500 {
                        if let Some(turn) = take(root.path(), &key("a")).unwrap() {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            done.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(turn);
                        }
                    }
                });
            }
        });
    }
}
