//! The texts of `--metadata-file` and `--iidfile`, with the keys buildx uses.

use serde_json::{Map, Value, json};

use super::document::annotate;
use super::image::{ImageSet, platform_descriptor};
use crate::digest::Digest;
use crate::oci::{Descriptor, Platform, Reference, media_type};

const PROVENANCE: &str = "buildx.build.provenance";

/// Returns the descriptor of `set` as reports show it: an index as it is; a single manifest with its platform, and with the
/// digest of its config and its time of creation as annotations (`config.digest`, `org.opencontainers.image.created`).
pub fn described(set: &ImageSet) -> Descriptor {
    let [image] = set.images.as_slice() else { return set.root().clone() };
    if set.index.is_some() {
        return set.root().clone();
    }
    let mut descriptor = platform_descriptor(image);
    let created = image.created.iter().map(|time| ("org.opencontainers.image.created", time.clone()));
    annotate(&mut descriptor, created.chain([("config.digest", image.config.digest.to_string())]));
    descriptor
}

/// Returns the content of `--iidfile`: the digest of the config, or that of the index when `descriptor` is one.
pub fn image_id(descriptor: &Descriptor, config: Digest) -> String {
    if is_index(descriptor) { descriptor.digest().to_string() } else { config.to_string() }
}

/// Returns the content of `--metadata-file`: one JSON object, keys sorted, indented by two spaces, no newline at its end.
///
/// `image` is what was made, as [`described`] returns it, and the digest of its config; `None` is a build whose outputs are
/// no images, and its object has no `containerimage.*` keys. `provenance` is that of each platform, if it was asked for.
pub fn metadata_file(
    image: Option<(&Descriptor, Digest)>,
    names: &[Reference],
    provenance: &[(Platform, Value)],
) -> String {
    let mut fields = Map::new();
    if let Some((descriptor, config)) = image {
        if !is_index(descriptor) {
            fields.insert("containerimage.config.digest".to_owned(), json!(config.to_string()));
        }
        fields.insert("containerimage.descriptor".to_owned(), json!(descriptor));
        fields.insert("containerimage.digest".to_owned(), json!(descriptor.digest().to_string()));
        if !names.is_empty() {
            fields.insert(
                "image.name".to_owned(),
                json!(names.iter().map(Reference::to_string).collect::<Vec<_>>().join(",")),
            );
        }
    }
    for (platform, value) in provenance {
        let key = match provenance.len() {
            1 => PROVENANCE.to_owned(),
            _ => format!("{PROVENANCE}/{platform}"),
        };
        fields.insert(key, value.clone());
    }
    let mut value = Value::Object(fields);
    value.sort_all_objects();
    format!("{value:#}")
}

fn is_index(descriptor: &Descriptor) -> bool {
    media_type::is_index(descriptor.media_type().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::descriptor;

    #[test]
    fn one_image_is_reported_as_buildx_does() {
        let (manifest, config) = (Digest::of(b"manifest"), Digest::of(b"config"));
        let mut image = descriptor(media_type::OCI_MANIFEST, &manifest, 8);
        annotate(&mut image, [("config.digest", config.to_string()), ("a", "b".to_owned())]);
        let names = ["a:latest", "example.com/b:1"].map(|name| Reference::parse(name).unwrap());
        let expected = format!(
            r#"{{
  "containerimage.config.digest": "{config}",
  "containerimage.descriptor": {{
    "annotations": {{
      "a": "b",
      "config.digest": "{config}"
    }},
    "digest": "{manifest}",
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "size": 8
  }},
  "containerimage.digest": "{manifest}",
  "image.name": "docker.io/library/a:latest,example.com/b:1"
}}"#
        );
        assert_eq!(metadata_file(Some((&image, config)), &names, &[]), expected);
        assert_eq!(image_id(&image, config), config.to_string());
    }

    #[test]
    fn an_index_is_its_own_id() {
        let index = descriptor(media_type::OCI_INDEX, &Digest::of(b"index"), 5);
        assert_eq!(image_id(&index, Digest::of(b"config")), Digest::of(b"index").to_string());
        assert!(!metadata_file(Some((&index, Digest::of(b"config"))), &[], &[]).contains("config.digest"));
    }

    #[test]
    fn provenance_is_told_by_platform() {
        let of = |platforms: &[&str]| {
            let all: Vec<_> = platforms.iter().map(|text| (text.parse().unwrap(), json!({"a": 1}))).collect();
            serde_json::from_str::<Value>(&metadata_file(None, &[], &all)).unwrap()
        };
        assert_eq!(of(&["linux/amd64"]), json!({"buildx.build.provenance": {"a": 1}}));
        let several = of(&["linux/amd64", "linux/arm64"]);
        assert_eq!(several["buildx.build.provenance/linux/arm64"], json!({"a": 1}));
    }

    #[test]
    fn a_build_without_an_image_reports_nothing() {
        assert_eq!(metadata_file(None, &[Reference::parse("a").unwrap()], &[]), "{}");
    }
}
