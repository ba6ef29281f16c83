//! What was made of which layer, remembered as one small file each.
//!
//! ```text
//! <directory>/<diff id hex>.<how>     the JSON descriptor of the blob that was made
//! ```
//!
//! `how` names the codec, its level and the version of the encoder, so a record never has to change. A record that cannot be
//! read, or whose blob is gone or has another length, is a miss. Records appear by rename; two processes that make the
//! same blob at once both succeed, as its bytes do not depend on who makes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::content::Store;
use crate::digest::DiffId;
use crate::fsutil::write_atomically;
use crate::oci::{self, Descriptor};

/// The records that this process makes now: a layer is published, pushed and exported at once, and compressed once.
static IN_THE_MAKING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static ONE_LESS: Condvar = Condvar::new();

/// The right to make what a record is of.
pub(super) struct Making(PathBuf);

impl Drop for Making {
    fn drop(&mut self) {
        IN_THE_MAKING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        ONE_LESS.notify_all();
    }
}

/// The record of one layer and one way to write it anew.
pub(super) struct Record {
    path: PathBuf,
}

impl Record {
    pub(super) fn new(directory: &Path, layer: DiffId, how: &str) -> Self {
        Self { path: directory.join(format!("{}.{how}", layer.0.hex())) }
    }

    /// Waits while another thread makes what this is the record of: then it is worth asking again whether it is there.
    pub(super) fn make(&self) -> Making {
        let mut all = IN_THE_MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        while !all.insert(self.path.clone()) {
            all = ONE_LESS.wait(all).unwrap_or_else(PoisonError::into_inner);
        }
        Making(self.path.clone())
    }

    /// Returns the blob that was made, if it is still in `store`.
    pub(super) fn recall(&self, store: &Store) -> Option<Descriptor> {
        let descriptor: Descriptor = serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()?;
        let length = store.length_of(&oci::digest_of(&descriptor).ok()?).ok()??;
        (length == descriptor.size()).then_some(descriptor)
    }

    /// Remembers the blob. A record that cannot be written costs time at the next export, no more.
    pub(super) fn keep(&self, descriptor: &Descriptor) {
        let made = self.path.parent().map(std::fs::create_dir_all);
        if made.is_some_and(|made| made.is_ok()) {
            let _ = write_atomically(&self.path, &oci::to_json(descriptor));
        }
    }
}
