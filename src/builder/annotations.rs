//! `--annotation`: what is written on manifests, on the index, and on the descriptors that name them.

use std::collections::BTreeMap;

use super::{Annotation, AnnotationLevel};
use crate::export::{self, Image, ImageSet, MediaTypes};
use crate::oci::{ImageConfig, Layer, Platform};

/// The annotations of a request.
#[derive(Clone, Copy)]
pub(super) struct Annotations<'a>(pub(super) &'a [Annotation]);

impl Annotations<'_> {
    /// Returns those of one level, for one platform; of equal keys the last one counts.
    fn of(self, level: AnnotationLevel, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let applies = |annotation: &&Annotation| {
            annotation.level == level && (annotation.platform.is_none() || annotation.platform.as_ref() == platform)
        };
        self.0.iter().filter(applies).map(|found| (found.key.clone(), found.value.clone())).collect()
    }

    /// Makes an image of `config` and `layers` with its annotations.
    pub(super) fn assemble(self, config: ImageConfig, layers: &[Layer], media: MediaTypes) -> Image {
        let platform = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
        let on_manifest = self.of(AnnotationLevel::Manifest, Some(&platform));
        let mut image = export::assemble(config, layers, media, &on_manifest);
        image.manifest.annotate(self.of(AnnotationLevel::ManifestDescriptor, Some(&platform)));
        image
    }

    /// Puts images together, under an index if there may be several.
    pub(super) fn set(self, images: Vec<Image>, several: bool, media: MediaTypes) -> ImageSet {
        let index = several.then(|| {
            let mut index = export::index(&images, media, &self.of(AnnotationLevel::Index, None));
            index.annotate(self.of(AnnotationLevel::IndexDescriptor, None));
            index
        });
        ImageSet { images, index, attestations: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(level: AnnotationLevel, platform: Option<&str>, key: &str, value: &str) -> Annotation {
        let platform = platform.map(|text| text.parse().unwrap());
        Annotation { level, platform, key: key.to_owned(), value: value.to_owned() }
    }

    fn image(annotations: Annotations<'_>, architecture: &str) -> Image {
        let config =
            ImageConfig { os: "linux".to_owned(), architecture: architecture.to_owned(), ..ImageConfig::default() };
        annotations.assemble(config, &[], MediaTypes::Oci)
    }

    #[test]
    fn each_annotation_is_where_it_belongs() {
        use AnnotationLevel::{Index, IndexDescriptor, Manifest, ManifestDescriptor};
        let all = [
            annotation(Manifest, None, "everywhere", "old"),
            annotation(Manifest, None, "everywhere", "new"),
            annotation(Manifest, Some("linux/arm64"), "here", "1"),
            annotation(Index, None, "index", "2"),
            annotation(ManifestDescriptor, None, "entry", "3"),
            annotation(IndexDescriptor, None, "top", "4"),
        ];
        let annotations = Annotations(&all);
        let images = vec![image(annotations, "amd64"), image(annotations, "arm64")];
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text(&images[0].manifest.bytes).ends_with(r#""annotations":{"everywhere":"new"}}"#));
        assert!(text(&images[1].manifest.bytes).ends_with(r#""annotations":{"everywhere":"new","here":"1"}}"#));
        let set = annotations.set(images, true, MediaTypes::Oci);
        let index = set.index.as_ref().unwrap();
        assert!(text(&index.bytes).contains(r#""annotations":{"entry":"3"},"platform""#));
        assert!(text(&index.bytes).ends_with(r#""annotations":{"index":"2"}}"#));
        assert_eq!(set.root().annotations().as_ref().unwrap()["top"], "4");
    }

    #[test]
    fn a_single_image_has_an_index_only_when_asked() {
        let set = |several| Annotations(&[]).set(vec![image(Annotations(&[]), "amd64")], several, MediaTypes::Oci);
        assert!(set(false).index.is_none());
        assert!(set(true).index.is_some());
    }
}
