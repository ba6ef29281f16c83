//! A base image of one's own: an OCI layout to be given as a named context.

use std::path::Path;

use kiln::digest::Digest;
use serde_json::{Value, json};

use super::support::{scratch, write};

/// A layout with one image of one layer, in which `/layer` is a file.
pub(crate) struct Layout(tempfile::TempDir);

impl Layout {
    /// An image with this config; the platform is that of this machine unless it says another.
    pub(crate) fn of(config: Value) -> Self {
        let directory = scratch();
        let blob = |media_type: &str, bytes: &[u8]| {
            let digest = Digest::of(bytes);
            write(directory.path(), &format!("blobs/sha256/{}", digest.hex()), bytes);
            json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
        };
        let of_oci = |name: &str| format!("application/vnd.oci.image.{name}");
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        let content = b"of the layout";
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, "layer", &content[..]).expect("a tar");
        let layer = blob(&of_oci("layer.v1.tar"), &tar.into_inner().expect("a tar"));
        let host = kiln::oci::Platform::host();
        let mut whole = json!({"architecture": host.architecture, "os": host.os});
        whole.as_object_mut().expect("a map").extend(config.as_object().expect("a map").clone());
        whole["rootfs"] = json!({"type": "layers", "diff_ids": [layer["digest"]]});
        let config = blob(&of_oci("config.v1+json"), whole.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": of_oci("manifest.v1+json"), "config": config, "layers": [layer],
        });
        let manifest = blob(&of_oci("manifest.v1+json"), manifest.to_string().as_bytes());
        write(directory.path(), "index.json", json!({"schemaVersion": 2, "manifests": [manifest]}).to_string());
        write(directory.path(), "oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        Self(directory)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
