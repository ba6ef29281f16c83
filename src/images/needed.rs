//! What images lead to: the blobs, layers and unpacked chains that must stay.

use std::collections::BTreeSet;

use super::image::DOCUMENT_LIMIT;
use crate::content::{ContentError, Store};
use crate::digest::{ChainId, DiffId, Digest};
use crate::oci::{Descriptor, ImageConfig};
use crate::snapshot::Snapshots;

/// Everything that some images lead to.
#[derive(Debug, Default)]
pub(super) struct Needed {
    pub(super) blobs: BTreeSet<Digest>,
    pub(super) layers: BTreeSet<DiffId>,
    pub(super) chains: BTreeSet<ChainId>,
}

impl Needed {
    /// Returns what these manifests and indexes lead to, as far as it is here.
    pub(super) fn of<'a>(
        store: &Store,
        images: impl IntoIterator<Item = &'a Descriptor>,
    ) -> Result<Self, ContentError> {
        let mut needed = Self::default();
        for descriptor in images {
            needed.blobs.extend(store.reachable(descriptor)?);
        }
        for digest in needed.blobs.clone() {
            // A layer is neither; that a blob is long enough to be no document is seen before it is read.
            if store.length_of(&digest)?.is_some_and(|length| length <= DOCUMENT_LIMIT) {
                needed.add_layers_of(&store.read_blob(&digest, DOCUMENT_LIMIT)?);
            }
        }
        // The uncompressed blob of a layer belongs to the image even where its manifest names a compressed one.
        needed.blobs.extend(needed.layers.iter().map(|layer| layer.0));
        Ok(needed)
    }

    /// Adds what is in use: by the names that things have in leases.
    pub(super) fn and_used(mut self, names: &BTreeSet<String>) -> Self {
        for name in names {
            let Some((kind, digest)) = name.split_once(' ') else { continue };
            let Ok(digest) = Digest::from_hex(digest) else { continue };
            if *name == Store::name_in_lease(&digest) {
                self.blobs.insert(digest);
                self.layers.insert(DiffId(digest));
            } else if *name == Snapshots::name_in_lease(ChainId(digest)) {
                self.chains.insert(ChainId(digest));
            } else {
                debug_assert!(false, "{kind} is no kind of thing");
            }
        }
        self
    }

    /// Takes the layers that a config lists; what is no config lists none.
    fn add_layers_of(&mut self, bytes: &[u8]) {
        let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) else { return };
        let layers = &config.rootfs.diff_ids;
        self.layers.extend(layers);
        self.chains.extend(ChainId::each_of(layers));
    }
}
