//! Who may take things out of a store.
//!
//! ```text
//! <root>/lock    flock: shared by each build, exclusive for prune
//! ```
//!
//! Builds add to a store and never remove what another may use, so they share. A prune removes what no tag leads to,
//! which for a build that runs is everything it has just made: so it waits for none and runs beside none.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The lock on a store, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

/// Why a store could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be made or locked.
    #[error("cannot lock the store at `{}`", root.display())]
    Io {
        /// The store.
        root: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody else holds it.
    #[error("the store at `{}` is in use: wait for the builds to end", root.display())]
    InUse {
        /// The store.
        root: PathBuf,
    },
}

impl StoreLock {
    /// Joins the builds of the store at `root`, which is made when it is missing. Waits for a prune to end.
    pub fn shared(root: &Path) -> Result<Self, LockError> {
        Self::take(root, FlockOperation::LockShared)
    }

    /// Keeps builds out of the store at `root`; fails with [`LockError::InUse`] while one runs.
    pub fn exclusive(root: &Path) -> Result<Self, LockError> {
        Self::take(root, FlockOperation::NonBlockingLockExclusive)
    }

    fn take(root: &Path, operation: FlockOperation) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { root: root.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
        let options = File::options().create(true).append(true).mode(0o600).open(root.join("lock"));
        let file = options.map_err(failed)?;
        match flock(&file, operation) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::InUse { root: root.to_owned() }),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_share_and_a_prune_is_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let builds = [StoreLock::shared(&root).unwrap(), StoreLock::shared(&root).unwrap()];
        assert!(matches!(StoreLock::exclusive(&root), Err(LockError::InUse { .. })));
        drop(builds);
        let prune = StoreLock::exclusive(&root).unwrap();
        assert!(matches!(StoreLock::exclusive(&root), Err(LockError::InUse { .. })));
        drop(prune);
        StoreLock::shared(&root).unwrap();
    }
}
