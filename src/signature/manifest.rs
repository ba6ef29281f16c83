//! The manifest that carries the signatures of an image: one for each image, under a tag made of its digest.

use serde_json::json;

use super::payload::MEDIA_TYPE;
use crate::digest::Digest;
use crate::oci::{self, Descriptor, Manifest, descriptor, media_type, to_json};

/// Annotation: the signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A payload that is signed.
#[derive(Clone, PartialEq, Debug)]
pub struct Signed {
    /// The payload, which is a blob.
    pub payload: Descriptor,
    /// Its signature, in base64.
    pub signature: String,
}

/// Returns the tag under which the signatures of an image are.
pub fn tag_of(image: &Digest) -> String {
    format!("sha256-{}.sig", image.hex())
}

/// Returns the signatures of a manifest, in order.
pub fn signed(manifest: &Manifest) -> Vec<Signed> {
    let of = |layer: &Descriptor| {
        let signature = layer.annotations().as_ref()?.get(SIGNATURE)?.clone();
        (layer.media_type().as_ref() == MEDIA_TYPE).then(|| Signed { payload: layer.clone(), signature })
    };
    manifest.layers().iter().filter_map(of).collect()
}

/// Adds a signature to those of `before`; returns config and manifest.
pub fn add(before: Option<&Manifest>, payload: &[u8], signature: &str) -> (Vec<u8>, Vec<u8>) {
    let mut layer = descriptor(MEDIA_TYPE, &Digest::of(payload), payload.len() as u64);
    layer.set_annotations(Some([(SIGNATURE.to_owned(), signature.to_owned())].into()));
    let mut layers = before.map(|manifest| manifest.layers().clone()).unwrap_or_default();
    layers.push(layer);
    let config = config(&layers);
    let named = descriptor(media_type::OCI_CONFIG, &Digest::of(&config), config.len() as u64);
    let mut manifest = oci::manifest(media_type::OCI_MANIFEST, named, layers);
    if let Some(before) = before {
        manifest.set_annotations(before.annotations().clone());
    }
    (config, to_json(&manifest))
}

/// The config of an image whose layers these are, as readers that want one expect.
fn config(layers: &[Descriptor]) -> Vec<u8> {
    let digests: Vec<String> = layers.iter().map(|layer| layer.digest().to_string()).collect();
    to_json(&json!({
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "history": digests.iter().map(|_| json!({ "created": "0001-01-01T00:00:00Z" })).collect::<Vec<_>>(),
        "os": "",
        "rootfs": { "type": "layers", "diff_ids": digests },
        "config": {},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_added_to_those_that_are_there() {
        let (_, first) = add(None, b"one", "s1");
        let first: Manifest = serde_json::from_slice(&first).unwrap();
        let (config, both) = add(Some(&first), b"two", "s2");
        let both: Manifest = serde_json::from_slice(&both).unwrap();
        let found = signed(&both);
        let told: Vec<_> = found.iter().map(|one| (one.payload.digest().to_string(), one.signature.as_str())).collect();
        assert_eq!(told, [(Digest::of(b"one").to_string(), "s1"), (Digest::of(b"two").to_string(), "s2")]);
        assert_eq!(both.config().digest().to_string(), Digest::of(&config).to_string());
        assert!(tag_of(&Digest::of(b"")).starts_with("sha256-e3b0c442"));
    }

    #[test]
    fn what_is_no_signature_is_none() {
        let layer = descriptor(media_type::OCI_LAYER, &Digest::of(b""), 0);
        let config = descriptor(media_type::OCI_CONFIG, &Digest::of(b""), 0);
        assert_eq!(signed(&oci::manifest(media_type::OCI_MANIFEST, config, vec![layer])), []);
    }
}
