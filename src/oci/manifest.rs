//! Making manifests and indexes.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, ImageManifestBuilder};

/// The most a manifest or an index may measure, in bytes. Registries refuse larger ones (distribution-spec,
/// "Pushing Manifests", asks for 4 MiB at least).
pub const MANIFEST_LIMIT: u64 = 4 << 20;

/// Makes the manifest of an image of this media type; layers bottom first.
pub fn manifest(media_type: &str, config: Descriptor, layers: Vec<Descriptor>) -> ImageManifest {
    ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(media_type)
        .config(config)
        .layers(layers)
        .build()
        .expect("all fields that must be set are set")
}

/// Makes an index of this media type.
pub fn index(media_type: &str, manifests: Vec<Descriptor>) -> ImageIndex {
    let mut index = ImageIndex::default();
    index.set_schema_version(2);
    index.set_media_type(Some(media_type.into()));
    index.set_manifests(manifests);
    index
}
