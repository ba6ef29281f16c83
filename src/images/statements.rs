//! What is said of an image beside it (see [`crate::attest`]), as the store has it: attached to the image, or listed in its index.

use serde_json::{Value, json};

use super::image::document;
use super::transfer::index_of;
use super::{Image, ImagesError};
use crate::attest::{SLSA, SPDX, STATEMENT};
use crate::content::Store;
use crate::oci::{Descriptor, Manifest, REFERENCE_DIGEST, digest_of, media_type};

/// The longest statement, in bytes.
const LIMIT: u64 = 256 << 20;

/// Returns the bill of materials of an image and its provenance, each as `docker buildx imagetools inspect` has it: `{"SPDX": ..}` and
/// `{"SLSA": ..}`, or `null` where nothing is said.
pub fn statements(store: &Store, image: &Image) -> Result<(Value, Value), ImagesError> {
    let (mut sbom, mut provenance) = (Value::Null, Value::Null);
    for manifest in manifests(store, image)? {
        for layer in manifest.layers().iter().filter(|layer| layer.media_type().as_ref() == STATEMENT) {
            let digest = digest_of(layer).map_err(|error| ImagesError::archive(error.to_string()))?;
            let bytes = store.read_blob(&digest, LIMIT)?;
            let mut said: Value =
                serde_json::from_slice(&bytes).map_err(|source| ImagesError::Parse { digest, source })?;
            let predicate = said.get_mut("predicate").map(Value::take).unwrap_or_default();
            match said.get("predicateType").and_then(Value::as_str) {
                Some(SPDX) => sbom = json!({ "SPDX": predicate }),
                Some(SLSA) => provenance = json!({ "SLSA": predicate }),
                _ => {}
            }
        }
    }
    Ok((sbom, provenance))
}

/// The manifests that carry statements about an image.
fn manifests(store: &Store, image: &Image) -> Result<Vec<Manifest>, ImagesError> {
    let mut found = store.referrers(&image.manifest_digest)?;
    if media_type::is_index(image.target.media_type().as_ref()) {
        let about = |entry: &Descriptor| {
            let subject = entry.annotations().as_ref().and_then(|all| all.get(REFERENCE_DIGEST));
            subject.is_some_and(|subject| *subject == image.manifest_digest.to_string())
        };
        found.extend(index_of(store, &image.target)?.manifests().iter().filter(|entry| about(entry)).cloned());
    }
    let read = |entry: &Descriptor| document(store, digest_of(entry).map_err(|e| ImagesError::archive(e.to_string()))?);
    found.iter().map(read).collect()
}
