//! `type=image`: an image in the store, under its names.

use super::image::ImageSet;
use crate::content::{ContentError, Store};
use crate::oci::Reference;

/// Puts configs, manifests and index into the store, then sets every name to point to them. The layers are there already, or
/// stay where they are (those of a base image).
pub fn keep(set: &ImageSet, names: &[Reference], store: &Store) -> Result<(), ContentError> {
    for document in set.documents() {
        store.put(&document.bytes)?;
    }
    for name in names {
        store.set_tag(&name.to_string(), set.root().clone())?;
    }
    Ok(())
}
