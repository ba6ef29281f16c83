//! Choosing one image of an index.

use oci_spec::image::{Descriptor, ImageIndex};

use super::{Platform, media_type};

/// Says that a manifest describes another one (BuildKit's attestations), and is no image.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The digest of the manifest that it describes.
pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// Returns the manifest that suits `platform` best, the earlier one of equals; `None` if none does. A single manifest
/// that names no platform suits all.
pub fn choose_manifest<'a>(index: &'a ImageIndex, platform: &Platform) -> Option<&'a Descriptor> {
    let images: Vec<&Descriptor> = index.manifests().iter().filter(|manifest| is_image(manifest)).collect();
    let best = images
        .iter()
        .filter_map(|manifest| {
            let offered = Platform::of(manifest.platform().as_ref()?);
            Some((platform.preference(&offered)?, *manifest))
        })
        .min_by_key(|(preference, _)| *preference);
    match (best, &images[..]) {
        (Some((_, manifest)), _) => Some(manifest),
        (None, [only]) if only.platform().is_none() => Some(only),
        _ => None,
    }
}

fn is_image(manifest: &Descriptor) -> bool {
    let describes_another =
        manifest.annotations().as_ref().is_some_and(|annotations| annotations.contains_key(REFERENCE_TYPE));
    let kind = manifest.media_type().as_ref();
    let is_artifact = manifest.artifact_type().is_some();
    !describes_another && !is_artifact && (media_type::is_manifest(kind) || media_type::is_index(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::oci::descriptor;

    fn index(platforms: &[&str]) -> ImageIndex {
        let manifests: Vec<Descriptor> = platforms
            .iter()
            .map(|text| {
                let mut made = descriptor(media_type::OCI_MANIFEST, &Digest::of(text.as_bytes()), 1);
                made.set_platform((!text.is_empty()).then(|| text.parse::<Platform>().unwrap().to_spec()));
                made
            })
            .collect();
        let mut index = ImageIndex::default();
        index.set_manifests(manifests);
        index
    }

    #[track_caller]
    fn check(offered: &[&str], wanted: &str, expected: Option<&str>) {
        let index = index(offered);
        let chosen = choose_manifest(&index, &wanted.parse().unwrap()).map(|manifest| manifest.digest().to_string());
        assert_eq!(chosen, expected.map(|text| Digest::of(text.as_bytes()).to_string()));
    }

    #[test]
    fn the_best_platform_is_chosen() {
        check(&["linux/arm64", "linux/amd64"], "linux/amd64", Some("linux/amd64"));
        check(&["linux/386", "linux/amd64"], "linux/amd64", Some("linux/amd64"));
        check(&["linux/386", "linux/amd64"], "linux/amd64/v3", Some("linux/amd64"));
        check(&["linux/arm/v5", "linux/arm/v7", "linux/arm64/v8"], "linux/arm/v7", Some("linux/arm/v7"));
        check(&["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", Some("linux/arm/v6"));
        check(&["linux/arm64/v8"], "linux/arm64", Some("linux/arm64/v8"));
        check(&["linux/arm64"], "linux/amd64", None);
        check(&["unknown/unknown", "linux/amd64"], "linux/amd64", Some("linux/amd64"));
        check(&[""], "linux/amd64", Some(""));
        check(&["", "linux/arm64"], "linux/amd64", None);
        check(&[], "linux/amd64", None);
    }
}
