//! The files that say what was built: `--metadata-file` and `--iidfile`.

use std::io;
use std::path::Path;

use serde_json::json;

use crate::builder::BuiltImage;
use crate::fsutil::write_atomically;

/// Writes what `docker buildx build --metadata-file` writes: digests, descriptor and names. A build without an
/// image writes an empty object.
pub(super) fn write_metadata(path: &Path, image: Option<&BuiltImage>) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(&metadata(image))?;
    text.push('\n');
    write_atomically(path, text.as_bytes())
}

fn metadata(image: Option<&BuiltImage>) -> serde_json::Value {
    let Some(image) = image else { return json!({}) };
    let mut value = json!({
        "containerimage.config.digest": image.config_digest,
        "containerimage.descriptor": image.descriptor,
        "containerimage.digest": image.descriptor.digest().to_string(),
    });
    if !image.names.is_empty() {
        let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
        value["image.name"] = names.join(",").into();
    }
    value
}

/// Writes the image id. As with docker that is the digest of the config; that of the manifest is in the metadata.
pub(super) fn write_image_id(path: &Path, image: &BuiltImage) -> io::Result<()> {
    write_atomically(path, image.config_digest.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::oci::{Reference, descriptor, media_type};

    #[test]
    fn both_files_have_dockers_shape() {
        let scratch = tempfile::tempdir().unwrap();
        let manifest = Digest::of(b"manifest");
        let image = BuiltImage {
            descriptor: descriptor(media_type::OCI_MANIFEST, &manifest, 7),
            config_digest: Digest::of(b"config"),
            names: vec![Reference::parse("a:1").unwrap(), Reference::parse("localhost:5000/b:2").unwrap()],
        };
        let (iid, file) = (scratch.path().join("iid"), scratch.path().join("meta"));
        write_image_id(&iid, &image).unwrap();
        write_metadata(&file, Some(&image)).unwrap();
        assert_eq!(std::fs::read_to_string(iid).unwrap(), Digest::of(b"config").to_string());
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!(value["containerimage.digest"], manifest.to_string());
        assert_eq!(value["containerimage.descriptor"]["size"], 7);
        assert_eq!(value["image.name"], "docker.io/library/a:1,localhost:5000/b:2");
        assert_eq!(metadata(None), json!({}));
    }
}
