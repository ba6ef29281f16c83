//! A layer of an image, wherever its bytes are.

use super::{Compression, Descriptor, Reference, digest_of};
use crate::digest::{DiffId, Digest, DigestError};

/// One layer of an image, bottom first in every list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layer {
    /// Digest of its uncompressed tar.
    pub diff_id: DiffId,
    /// The blob that holds it: as it was pulled, or a plain tar made here (whose digest is the diff id).
    pub descriptor: Descriptor,
    /// Where the blob can be fetched if the store lacks it.
    pub origin: Option<Reference>,
}

impl Layer {
    /// Returns the digest of the blob. Fails for algorithms other than sha256.
    pub fn digest(&self) -> Result<Digest, DigestError> {
        digest_of(&self.descriptor)
    }

    /// How the blob is compressed, by its media type.
    pub fn compression(&self) -> Compression {
        Compression::of(self.descriptor.media_type().as_ref()).unwrap_or(Compression::None)
    }
}
