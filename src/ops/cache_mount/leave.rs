//! A cache mount as others are to have it: all its layers as one tree, which stays as it is while it is looked at.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::super::OpError;
use super::stack::Stack;
use super::{POLL, failed};
use crate::fsutil::Dir;
use crate::snapshot::Snapshots;

/// How long it may take until the layers are folded.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cache mount that nobody changes meanwhile; where overlayfs cannot be had, steps may.
pub struct FrozenMount {
    tree: Dir,
    _stack: Stack,
}

impl FrozenMount {
    /// Opens the cache mount of this name below `mounts`; `None` if it is gone.
    pub fn open(mounts: &Path, name: &str, snapshots: &Snapshots) -> Result<Option<Self>, OpError> {
        let (base, began) = (mounts.join(name), Instant::now());
        while base.is_dir() {
            if let Some(stack) = Stack::join(&base, FlockOperation::NonBlockingLockShared).map_err(failed(&base))? {
                let layers = stack.layers().map_err(failed(&base))?;
                let is_there = layers.first().is_some_and(|lowest| lowest.is_dir());
                let frozen = || Ok(Self { tree: snapshots.view_of(&layers)?, _stack: stack });
                return is_there.then(frozen).transpose();
            }
            if began.elapsed() > PATIENCE {
                break;
            }
            std::thread::sleep(POLL);
        }
        Ok(None)
    }

    /// Returns its files.
    pub fn tree(&self) -> &Dir {
        &self.tree
    }
}
