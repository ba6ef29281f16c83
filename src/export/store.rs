//! `type=image`: an image in the store, under its names.

use super::image::ImageSet;
use crate::content::{ContentError, Store};
use crate::digest::DigestError;
use crate::oci::Layer;
use crate::oci::Reference;

/// Why the store cannot be asked for layers.
#[derive(Debug, thiserror::Error)]
pub enum AbsentError {
    /// A layer is named by something else than a sha256.
    #[error("cannot look for a layer")]
    Digest(#[from] DigestError),
    /// The store does not answer.
    #[error("cannot look for a layer")]
    Store(#[from] ContentError),
}

/// Puts configs, manifests and index into the store, then sets every name to point to them; without
/// names, the image is listed by its digest. The layers are there already, or
/// stay where they are (those of a base image).
pub fn keep(set: &ImageSet, names: &[Reference], store: &Store) -> Result<(), ContentError> {
    for document in set.documents() {
        store.put(&document.bytes)?;
    }
    for one in set.attestations.iter().filter(|one| one.manifest.descriptor.artifact_type().is_some()) {
        store.set_referrer(one.manifest.descriptor.clone(), &one.subject)?;
    }
    for name in names {
        store.set_tag(&name.to_string(), set.root().clone())?;
    }
    match names {
        [] => store.set_nameless(set.root().clone()),
        _ => Ok(()),
    }
}

/// Returns the layers whose blobs are not in the store, each blob once. They must be fetched before they are written to files;
/// a push may leave them where they are.
pub fn absent<'a>(layers: &'a [Layer], store: &Store) -> Result<Vec<&'a Layer>, AbsentError> {
    let mut absent: Vec<&Layer> = Vec::new();
    for layer in layers {
        let known = absent.iter().any(|other| other.descriptor.digest() == layer.descriptor.digest());
        if !known && store.length_of(&layer.digest()?)?.is_none() {
            absent.push(layer);
        }
    }
    Ok(absent)
}
