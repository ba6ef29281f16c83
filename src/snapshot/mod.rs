//! Snapshots: layers unpacked on disk, stacked by overlayfs.
//!
//! A snapshot is one layer as an overlayfs lower directory, named by the [`ChainId`] of the stack it
//! completes (as containerd does): what an unpacked layer holds may depend on what is below it, because a tar
//! may leave out parent directories or link to a file of a lower layer, and a RUN's upper directory may hold
//! unchanged copies.
//!
//! ```text
//! snapshots/<chain id hex>/   finished: appeared by rename, never changed afterwards
//! snapshots/empty/            an empty directory: the bottom of every stack
//! scratch/<random>/fs, work   being made; its owner holds a flock on scratch/<random>
//! ```
//!
//! A stack is looked at through a view ([`Snapshots::view`]): a *detached* read-only overlay mount held by a file descriptor, which
//! no path leads to and which the kernel drops with the descriptor. So nothing is ever left mounted.
//!
//! Not here: how a layer is unpacked (`layer`), when (`ops`), or running anything in it (`sandbox`).
//! Any number of processes use one directory at once; two that make the same snapshot both succeed.

mod scratch;
mod view;

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::digest::{ChainId, DiffId, Digest};
use crate::fsutil::{Dir, Entry, Owners};

pub use scratch::Scratch;

/// What went wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file operation failed.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// A verb phrase.
        doing: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The overlay mount was refused.
    #[error("cannot mount an overlay of {layers} layers: {source}")]
    Overlay {
        /// How many lower directories there are; the kernel takes 500.
        layers: usize,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl SnapshotError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// The snapshots of one store.
#[derive(Debug, Clone)]
pub struct Snapshots {
    finished: PathBuf,
    scratch: PathBuf,
    userxattr: bool,
    owners: Owners,
}

impl Snapshots {
    /// Opens the snapshots below the store's `root`, making the directories if they are missing.
    /// `userxattr`: overlay marks are `user.overlay.*`, which a user namespace may write.
    pub fn open(root: &Path, userxattr: bool) -> Result<Self, SnapshotError> {
        let owners = Owners::Real;
        let snapshots = Self { finished: root.join("snapshots"), scratch: root.join("scratch"), userxattr, owners };
        std::fs::create_dir_all(root).map_err(SnapshotError::io("create the directory", root))?;
        // Closed to others even if `root` is not: layers hold set-user-id programs. `empty` is seen as a root directory.
        let empty = snapshots.finished.join("empty");
        for (dir, mode) in [(&snapshots.finished, 0o700), (&empty, 0o755), (&snapshots.scratch, 0o700)] {
            create_dir(dir, mode).map_err(SnapshotError::io("create the directory", dir))?;
        }
        Ok(snapshots)
    }

    /// Whether overlay marks are `user.overlay.*`.
    pub fn userxattr(&self) -> bool {
        self.userxattr
    }

    /// Says how snapshots keep the owners of files; by the kernel, if nothing is said.
    pub fn with_owners(self, owners: Owners) -> Self {
        Self { owners, ..self }
    }

    /// Returns how they keep the owners of files.
    pub fn owners(&self) -> Owners {
        self.owners
    }

    /// Opens a directory that is, or becomes, a snapshot.
    pub fn tree(&self, path: &Path) -> io::Result<Dir> {
        Ok(Dir::open(path)?.with_owners(self.owners))
    }

    /// Returns the directory of the snapshot on top of `chain` (bottom first), if it is there.
    pub fn find(&self, chain: &[DiffId]) -> Option<PathBuf> {
        let path = self.path_of(ChainId::of(chain)?);
        path.is_dir().then_some(path)
    }

    /// Returns the overlay lower directories of `chain`, bottom first, the empty one included.
    /// The caller has made sure that each snapshot is there.
    pub fn lowers(&self, chain: &[DiffId]) -> Vec<PathBuf> {
        let mut lowers = vec![self.finished.join("empty")];
        let mut id = None;
        for layer in chain {
            let next = id.map_or(ChainId(layer.0), |below: ChainId| below.with(*layer));
            lowers.push(self.path_of(next));
            id = Some(next);
        }
        lowers
    }

    /// Opens the merged, read-only view of `chain`, all of whose snapshots are there.
    pub fn view(&self, chain: &[DiffId]) -> Result<Dir, SnapshotError> {
        let lowers = self.lowers(chain);
        match lowers.as_slice() {
            [only] => self.tree(only).map_err(SnapshotError::io("open the directory", only)),
            _ => Ok(view::mount(&lowers, self.userxattr)?.with_owners(self.owners)),
        }
    }

    /// Makes a fresh scratch directory, swept by a later process if this one dies.
    pub fn scratch(&self) -> Result<Scratch, SnapshotError> {
        Scratch::create(&self.scratch)
    }

    /// Removes scratch directories whose owners are gone.
    pub fn sweep(&self) -> Result<(), SnapshotError> {
        scratch::sweep(&self.scratch)
    }

    /// Publishes the `fs` directory of `scratch` as the snapshot on top of `chain`. If another process was
    /// first, its equal snapshot stays.
    pub fn commit(&self, scratch: Scratch, chain: &[DiffId]) -> Result<(), SnapshotError> {
        let Some(id) = ChainId::of(chain) else { return Ok(()) };
        let path = self.path_of(id);
        match std::fs::rename(scratch.fs(), &path) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => Ok(()),
            Err(error) => Err(SnapshotError::io("publish the snapshot", &path)(error)),
        }
    }

    /// Returns the names of all finished snapshots.
    pub fn all(&self) -> Result<Vec<ChainId>, SnapshotError> {
        let entries = Dir::open(&self.finished).and_then(|dir| dir.entries());
        let entries = entries.map_err(SnapshotError::io("list", &self.finished))?;
        let named = |entry: &Entry| Digest::from_hex(entry.name.to_str()?).ok().map(ChainId);
        Ok(entries.iter().filter_map(named).collect())
    }

    /// Removes a snapshot that nobody uses; returns the bytes of its files. It goes through a scratch directory, so
    /// that one half removed is never taken for a finished one.
    pub fn remove(&self, chain: ChainId) -> Result<u64, SnapshotError> {
        let path = self.path_of(chain);
        let scratch = self.scratch()?;
        let failed = || SnapshotError::io("remove the snapshot", &path);
        std::fs::rename(&path, scratch.fs()).map_err(failed())?;
        let inside = scratch.fs().parent().map(Dir::open).transpose().map_err(failed())?;
        inside.map_or(Ok(0), |dir| dir.tree_size(OsStr::new("fs"))).map_err(failed())
    }

    fn path_of(&self, chain: ChainId) -> PathBuf {
        self.finished.join(chain.0.hex())
    }
}

/// Makes a directory with this mode whatever the umask, unless it is there.
fn create_dir(path: &Path, mode: u32) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use std::path::Path;

    fn layer(name: &str) -> DiffId {
        DiffId(Digest::of(name.as_bytes()))
    }

    fn commit(snapshots: &Snapshots, chain: &[DiffId], files: &[(&str, &str)]) {
        let scratch = snapshots.scratch().unwrap();
        for (name, text) in files {
            std::fs::write(scratch.fs().join(name), text).unwrap();
        }
        snapshots.commit(scratch, chain).unwrap();
    }

    #[test]
    fn a_view_shows_the_upper_layer_over_the_lower() {
        let store = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(store.path(), false).unwrap();
        let (a, b) = (layer("a"), layer("b"));
        commit(&snapshots, &[a], &[("one", "a"), ("two", "a")]);
        commit(&snapshots, &[a, b], &[("two", "b")]);
        let view = snapshots.view(&[a, b]).unwrap();
        let read = |name| std::io::read_to_string(view.open_file_in_root(Path::new(name)).unwrap()).unwrap();
        assert_eq!((read("one"), read("/two")), ("a".to_owned(), "b".to_owned()));
        assert!(snapshots.find(&[b]).is_none());
    }

    #[test]
    fn an_empty_chain_is_an_empty_directory() {
        let store = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(store.path(), false).unwrap();
        assert_eq!(snapshots.view(&[]).unwrap().entries().unwrap(), []);
    }

    #[test]
    fn a_sweep_takes_the_dead_and_leaves_the_living() {
        let store = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(store.path(), false).unwrap();
        let living = snapshots.scratch().unwrap();
        let dead = store.path().join("scratch/0123456789abcdef");
        std::fs::create_dir_all(dead.join("work/work")).unwrap();
        snapshots.sweep().unwrap();
        assert!(living.fs().is_dir());
        assert!(!dead.exists());
    }

    #[test]
    fn a_dropped_scratch_is_gone() {
        let store = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(store.path(), false).unwrap();
        let fs = snapshots.scratch().unwrap().fs().to_owned();
        assert!(!fs.exists());
    }
}
