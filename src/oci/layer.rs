//! A layer of an image, wherever its bytes are.

use super::{Descriptor, Reference};
use crate::digest::DiffId;

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of its uncompressed tar.
    pub diff_id: DiffId,
    /// The blob that holds it: as it was pulled, or a plain tar made here (whose digest is the diff id).
    pub descriptor: Descriptor,
    /// Where the blob can be fetched if the store lacks it.
    pub origin: Option<Reference>,
}
