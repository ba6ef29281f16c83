//! JSON that is named by its digest: configs, manifests, indexes.

use serde::Serialize;

use crate::digest::Digest;
use crate::oci::{self, Descriptor};

/// A JSON blob and the descriptor that names it. The bytes are never written anew once they are here.
#[derive(Clone, PartialEq, Debug)]
pub struct Document {
    /// Media type, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// What is stored and sent, byte for byte.
    pub bytes: Vec<u8>,
}

impl Document {
    /// Writes `value` with [`oci::to_json`]: equal values give equal bytes.
    pub fn of(media_type: &str, value: &impl Serialize) -> Self {
        let bytes = oci::to_json(value);
        let digest = Digest::of(&bytes);
        Self { descriptor: oci::descriptor(media_type, &digest, bytes.len() as u64), digest, bytes }
    }

    /// Adds annotations to the descriptor; the document itself stays as it is. They show where the descriptor does: in
    /// an index, and in the `index.json` of a layout.
    pub fn annotate<K: Into<String>>(&mut self, with: impl IntoIterator<Item = (K, String)>) {
        annotate(&mut self.descriptor, with);
    }
}

/// Adds annotations to those a descriptor has.
pub(super) fn annotate<K: Into<String>>(descriptor: &mut Descriptor, with: impl IntoIterator<Item = (K, String)>) {
    let mut all = descriptor.annotations().clone().unwrap_or_default();
    all.extend(with.into_iter().map(|(key, value)| (key.into(), value)));
    descriptor.set_annotations((!all.is_empty()).then_some(all));
}
