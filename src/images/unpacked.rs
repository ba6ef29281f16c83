//! The files of images: layers unpacked, as builds keep them.

use std::path::Path;

use super::{Image, ImagesError};
use crate::builder::{StoreLock, open_snapshots};
use crate::content::Store;
use crate::digest::ChainId;
use crate::fsutil::Dir;
use crate::oci::Stack;
use crate::ops;
use crate::sandbox::idmap::Entered;
use crate::snapshot::Snapshots;

/// A store whose layers may be looked into. While this is held nothing is removed of what was found in it.
#[derive(Debug)]
pub struct Unpacked {
    /// Blobs and names.
    pub store: Store,
    pub(super) snapshots: Snapshots,
    /// The namespaces that this process is in.
    pub(super) entered: Entered,
    _lock: StoreLock,
}

impl Unpacked {
    /// Opens the store at `root`.
    pub fn open(root: &Path, entered: Entered) -> Result<Self, ImagesError> {
        let (lock, snapshots, _) =
            open_snapshots(root, entered, None).map_err(|failure| ImagesError::Unpacked(Box::new(failure)))?;
        Ok(Self { store: lock.content(root)?, snapshots, entered, _lock: lock })
    }

    /// Unpacks what is not yet; returns the stack.
    pub(super) fn unpack(&self, image: &Image) -> Result<Vec<ChainId>, ImagesError> {
        let layers: Stack = image.layers().into_iter().collect();
        let chain = layers.chain();
        for (below, layer) in layers.layers().enumerate() {
            if !self.snapshots.has(chain[below]) {
                ops::unpack(&self.store, &self.snapshots, &chain[..=below], layer)?;
            }
        }
        Ok(chain)
    }

    /// Returns the files of an image.
    pub(super) fn view(&self, image: &Image) -> Result<Dir, ImagesError> {
        Ok(self.snapshots.view(&self.unpack(image)?)?)
    }
}
