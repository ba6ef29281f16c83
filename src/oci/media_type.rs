//! Media types of image documents and layers: those of OCI and the older ones of Docker.

/// Manifest of one image (OCI).
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Index of images by platform (OCI).
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Image config (OCI).
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Layer, not compressed (OCI).
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Layer, gzip (OCI).
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Layer, zstd (OCI).
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Manifest of one image (Docker, schema 2).
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Index of images by platform (Docker's manifest list).
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Image config (Docker).
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Layer, not compressed (Docker).
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Layer, gzip (Docker).
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Layer, zstd (Docker; written by some tools, never registered).
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// Manifest of the form retired in 2017; it has no config and cannot be verified by digest of its parts.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// The same, signed.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Layers that a registry need not hold: Windows base layers, and their OCI successors.
const UNDISTRIBUTED_LAYERS: [&str; 5] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

/// How a layer's tar is compressed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// Returns how layers of this media type are compressed; `None` if it is not a layer.
    pub fn of(media_type: &str) -> Option<Self> {
        if !is_layer(media_type) {
            return None;
        }
        Some(match media_type {
            _ if media_type.ends_with("gzip") => Self::Gzip,
            _ if media_type.ends_with("zstd") => Self::Zstd,
            _ => Self::None,
        })
    }

    /// Returns the OCI media type of a layer compressed this way.
    pub fn oci_layer(self) -> &'static str {
        match self {
            Self::None => OCI_LAYER,
            Self::Gzip => OCI_LAYER_GZIP,
            Self::Zstd => OCI_LAYER_ZSTD,
        }
    }

    /// Returns the Docker media type of a layer compressed this way.
    pub fn docker_layer(self) -> &'static str {
        match self {
            Self::None => DOCKER_LAYER,
            Self::Gzip => DOCKER_LAYER_GZIP,
            Self::Zstd => DOCKER_LAYER_ZSTD,
        }
    }
}

/// Whether this is a layer, of any kind.
pub fn is_layer(media_type: &str) -> bool {
    let plain = [OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD];
    plain.contains(&media_type) || UNDISTRIBUTED_LAYERS.contains(&media_type)
}

/// Whether this is a layer that registries need not hold and that is not pushed.
pub fn is_undistributed_layer(media_type: &str) -> bool {
    UNDISTRIBUTED_LAYERS.contains(&media_type)
}

/// Whether this is the manifest of one image.
pub fn is_manifest(media_type: &str) -> bool {
    [OCI_MANIFEST, DOCKER_MANIFEST].contains(&media_type)
}

/// Whether this is an index (a manifest list).
pub fn is_index(media_type: &str) -> bool {
    [OCI_INDEX, DOCKER_INDEX].contains(&media_type)
}

/// Whether this is an image config.
pub fn is_config(media_type: &str) -> bool {
    [OCI_CONFIG, DOCKER_CONFIG].contains(&media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_read_off_the_media_type() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert_eq!(Compression::of(compression.oci_layer()), Some(compression));
            assert_eq!(Compression::of(compression.docker_layer()), Some(compression));
        }
        assert_eq!(Compression::of(OCI_CONFIG), None);
        assert_eq!(Compression::of("application/gzip"), None);
        assert_eq!(Compression::of(UNDISTRIBUTED_LAYERS[1]), Some(Compression::Gzip));
    }
}
