//! Who uses a store.
//!
//! ```text
//! <root>/lock      flock: shared by each build, exclusive for who forgets all that is unpacked (see `boot`)
//! <root>/leases    what each build uses (see [`Lease`]): a prune leaves it
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::content::{self, ContentError};
use crate::fsutil::Lease;
use crate::snapshot::Snapshots;

/// The lock on a store, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
    lease: Option<Lease>,
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
    /// Joins the builds of the store at `root`, which is made when it is missing. Waits while something is removed.
    pub fn shared(root: &Path) -> Result<Self, LockError> {
        let lock = Self::take(root, FlockOperation::LockShared)?;
        let lease = Lease::take(root).map_err(|source| LockError::Io { root: root.to_owned(), source })?;
        Ok(Self { lease: Some(lease), ..lock })
    }

    /// Keeps builds out of the store at `root`; fails with [`LockError::InUse`] while one runs.
    pub(super) fn exclusive(root: &Path) -> Result<Self, LockError> {
        Self::take(root, FlockOperation::NonBlockingLockExclusive)
    }

    /// Opens the blobs and tags of the store at `root` for this user.
    pub fn content(&self, root: &Path) -> Result<content::Store, ContentError> {
        let store = content::Store::open(root)?;
        Ok(self.lease.clone().map_or(store.clone(), |lease| store.with_lease(lease)))
    }

    /// Makes the use of snapshots that of this user.
    pub(super) fn snapshots(&self, snapshots: Snapshots) -> Snapshots {
        match &self.lease {
            Some(lease) => snapshots.with_lease(lease.clone()),
            None => snapshots,
        }
    }

    fn take(root: &Path, operation: FlockOperation) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { root: root.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
        let options = File::options().create(true).append(true).mode(0o600).open(root.join("lock"));
        let file = options.map_err(failed)?;
        match flock(&file, operation) {
            Ok(()) => Ok(Self { _file: file, lease: None }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::InUse { root: root.to_owned() }),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_share_and_who_forgets_is_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let builds = [StoreLock::shared(&root).unwrap(), StoreLock::shared(&root).unwrap()];
        assert!(matches!(StoreLock::exclusive(&root), Err(LockError::InUse { .. })));
        drop(builds);
        let alone = StoreLock::exclusive(&root).unwrap();
        assert!(matches!(StoreLock::exclusive(&root), Err(LockError::InUse { .. })));
        drop(alone);
        StoreLock::shared(&root).unwrap();
    }
}
