//! Config and layers become an image: pure, and the same input gives the same bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::attestation::Attestation;
use super::document::Document;
use crate::digest::{DiffId, DigestError};
use crate::oci::{self, Compression, Descriptor, ImageConfig, Layer, Platform, Reference, media_type};

/// Which family of media types an image is written with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MediaTypes {
    /// `application/vnd.oci.image.*` (image-spec, media-types.md).
    #[default]
    Oci,
    /// `application/vnd.docker.*` (distribution, manifest-v2-2), for clients of before 2017.
    Docker,
}

impl MediaTypes {
    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_MANIFEST,
            Self::Docker => media_type::DOCKER_MANIFEST,
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_CONFIG,
            Self::Docker => media_type::DOCKER_CONFIG,
        }
    }

    fn index(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_INDEX,
            Self::Docker => media_type::DOCKER_INDEX,
        }
    }

    fn layer(self, compression: Compression) -> &'static str {
        match self {
            Self::Oci => compression.oci_layer(),
            Self::Docker => compression.docker_layer(),
        }
    }
}

/// An image of one platform, ready to be written anywhere.
#[derive(Clone, PartialEq, Debug)]
pub struct Image {
    /// What the image says it runs on.
    pub platform: Platform,
    /// Time of creation, as the config has it (RFC 3339).
    pub created: Option<String>,
    /// The config blob.
    pub config: Document,
    /// The manifest blob.
    pub manifest: Document,
    /// The layers, with the media types of the manifest.
    pub layers: Vec<Layer>,
}

impl Image {
    /// Puts an image together from its documents, as they are. `layers` are those of the manifest, which can be had from `origin` if they
    /// are not here. A config that is none of an image, as that of an artifact, says nothing: a layer is its own diff id then.
    pub fn of(
        config: Document,
        manifest: Document,
        layers: &[Descriptor],
        origin: Option<&Reference>,
    ) -> Result<Self, DigestError> {
        let said: ImageConfig = serde_json::from_slice(&config.bytes).unwrap_or_default();
        let layer = |(at, layer): (usize, &Descriptor)| {
            let own = DiffId(oci::digest_of(layer)?);
            let diff_id = said.rootfs.diff_ids.get(at).copied().unwrap_or(own);
            Ok(Layer { diff_id, descriptor: layer.clone(), origin: origin.cloned() })
        };
        let layers = layers.iter().enumerate().map(layer).collect::<Result<_, DigestError>>()?;
        let platform = Platform::new(&said.os, &said.architecture, said.variant.as_deref());
        Ok(Self { platform, created: said.created, config, manifest, layers })
    }
}

/// What one build makes: one image, or several with an index over them.
#[derive(Clone, PartialEq, Debug)]
pub struct ImageSet {
    /// One per platform; never empty.
    pub images: Vec<Image>,
    /// Lists the images. `None` when there is one image and no need of an index.
    pub index: Option<Document>,
    /// What is said of the images.
    pub attestations: Vec<Attestation>,
}

impl ImageSet {
    /// Makes the set of a single image without an index.
    pub fn single(image: Image) -> Self {
        Self { images: vec![image], index: None, attestations: Vec::new() }
    }

    /// The descriptor a name points to: that of the index, else that of the only manifest.
    pub fn root(&self) -> &Descriptor {
        match &self.index {
            Some(index) => &index.descriptor,
            None => &self.images[0].manifest.descriptor,
        }
    }

    /// All documents, each after those it refers to.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        let of_images = self.images.iter().flat_map(|image| [&image.config, &image.manifest]);
        let of_statements = self.attestations.iter().flat_map(|one| one.parts.iter().chain([&one.manifest]));
        of_images.chain(of_statements).chain(&self.index)
    }

    /// All layers of all images, each blob once, in the order first met.
    pub fn layers(&self) -> Vec<&Layer> {
        let mut seen = BTreeSet::new();
        let all = self.images.iter().flat_map(|image| &image.layers);
        all.filter(|layer| seen.insert(layer.descriptor.digest().to_string())).collect()
    }
}

/// Makes config and manifest of an image.
///
/// `config.rootfs.diff_ids` is set from `layers` (`null` when there are none, as BuildKit writes it).
/// Layers take the media types of `media`; their bytes are those of the same compression in each family.
/// Docker manifests know neither annotations nor zstd, so an image that has either is written as OCI.
pub fn assemble(
    mut config: ImageConfig,
    layers: &[Layer],
    media: MediaTypes,
    annotations: &BTreeMap<String, String>,
) -> Image {
    let zstd = layers.iter().any(|layer| layer.compression() == Compression::Zstd);
    let media = if zstd || !annotations.is_empty() { MediaTypes::Oci } else { media };
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    let platform = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
    let created = config.created.clone();
    let config = Document::of(media.config(), &config);
    let layers: Vec<Layer> = layers.iter().map(|layer| with_media_types(layer, media)).collect();
    let descriptors = layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let mut manifest = oci::manifest(media.manifest(), config.descriptor.clone(), descriptors);
    manifest.set_annotations(unless_empty(annotations));
    Image { platform, created, config, manifest: Document::of(media.manifest(), &manifest), layers }
}

/// Makes the index over `images`. Annotations of a manifest's descriptor ([`Document::annotate`]) are listed with it.
pub fn index(images: &[Image], media: MediaTypes, annotations: &BTreeMap<String, String>) -> Document {
    let is_oci =
        |entry: &Descriptor| entry.media_type().as_ref() == media_type::OCI_MANIFEST || entry.annotations().is_some();
    let entries: Vec<Descriptor> = images.iter().map(platform_descriptor).collect();
    let media = if !annotations.is_empty() || entries.iter().any(is_oci) { MediaTypes::Oci } else { media };
    let mut index = oci::index(media.index(), entries);
    index.set_annotations(unless_empty(annotations));
    Document::of(media.index(), &index)
}

/// Replaces the layers of each image of `set` by what `change` makes of them. A manifest whose layers stay the same keeps its
/// bytes, and one that is written anew keeps all else that it says; so does the index.
pub fn with_layers<E>(set: ImageSet, mut change: impl FnMut(&[Layer]) -> Result<Vec<Layer>, E>) -> Result<ImageSet, E> {
    let mut images = Vec::with_capacity(set.images.len());
    let mut replaced = Vec::new();
    for image in set.images {
        let layers = change(&image.layers)?;
        let manifest = match (layers == image.layers, serde_json::from_slice::<oci::Manifest>(&image.manifest.bytes)) {
            (false, Ok(mut manifest)) => {
                manifest.set_layers(layers.iter().map(|layer| layer.descriptor.clone()).collect());
                Document::of(image.manifest.descriptor.media_type().as_ref(), &manifest)
            }
            _ => image.manifest.clone(),
        };
        replaced.push((image.manifest.digest, manifest.descriptor.clone()));
        images.push(Image { layers, manifest, ..image });
    }
    let mut attestations = Vec::with_capacity(set.attestations.len());
    for one in set.attestations {
        let new = replaced.iter().find(|(old, new)| *old == one.subject && oci::digest_of(new).ok() != Some(*old));
        let now = match new {
            None => one.clone(),
            Some((_, new)) => match one.readdressed(new) {
                Some(readdressed) => readdressed,
                None if one.in_index => one.clone(),
                None => continue,
            },
        };
        replaced.push((one.manifest.digest, now.manifest.descriptor.clone()));
        attestations.push(now);
    }
    let index = set.index.map(|index| match serde_json::from_slice::<oci::Index>(&index.bytes) {
        Ok(parsed) => reindexed(&index, parsed, &replaced),
        Err(_) => index,
    });
    Ok(ImageSet { images, index, attestations })
}

/// The index with other digests and sizes of the manifests.
fn reindexed(index: &Document, mut parsed: oci::Index, replaced: &[(crate::digest::Digest, Descriptor)]) -> Document {
    let mut entries = parsed.manifests().clone();
    for entry in &mut entries {
        let new = replaced.iter().find(|(old, _)| oci::digest_of(entry).ok() == Some(*old));
        if let Some((_, new)) = new {
            entry.set_digest(new.digest().clone());
            entry.set_size(new.size());
            if entry.annotations().as_ref().is_some_and(|all| all.contains_key(oci::REFERENCE_DIGEST)) {
                entry.set_annotations(new.annotations().clone());
            }
        }
    }
    if entries == *parsed.manifests() {
        return index.clone();
    }
    parsed.set_manifests(entries);
    Document::of(index.descriptor.media_type().as_ref(), &parsed)
}

fn unless_empty(annotations: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!annotations.is_empty()).then(|| annotations.clone().into_iter().collect())
}

/// Returns the descriptor of the image's manifest with the platform in it, as indexes list it.
pub fn platform_descriptor(image: &Image) -> Descriptor {
    let mut descriptor = image.manifest.descriptor.clone();
    descriptor.set_platform(Some(image.platform.to_spec()));
    descriptor
}

/// Docker and OCI layers are the same bytes under two names. Layers a registry need not hold keep theirs.
fn with_media_types(layer: &Layer, media: MediaTypes) -> Layer {
    let mut layer = layer.clone();
    if !media_type::is_undistributed_layer(layer.descriptor.media_type().as_ref()) {
        layer.descriptor.set_media_type(media.layer(layer.compression()).into());
    }
    layer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{DiffId, Digest};

    fn layer(name: &str, media_type: &str) -> Layer {
        let digest = Digest::of(name.as_bytes());
        Layer { diff_id: DiffId(digest), descriptor: oci::descriptor(media_type, &digest, 10), origin: None }
    }

    fn config() -> ImageConfig {
        ImageConfig { architecture: "arm".into(), os: "linux".into(), variant: Some("v6".into()), ..Default::default() }
    }

    fn annotations(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn text(document: &Document) -> &str {
        std::str::from_utf8(&document.bytes).unwrap()
    }

    #[test]
    fn the_manifest_names_config_and_layers() {
        let image = assemble(config(), &[layer("a", media_type::OCI_LAYER)], MediaTypes::Oci, &annotations(&[]));
        let (config, a) = (&image.config, Digest::of(b"a"));
        assert!(text(config).contains(&format!(r#""rootfs":{{"type":"layers","diff_ids":["{a}"]}}"#)));
        assert_eq!(
            text(&image.manifest),
            format!(
                concat!(
                    r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                    r#""config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"#,
                    r#""layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":10}}]}}"#,
                ),
                config.digest,
                config.bytes.len(),
                a
            )
        );
        assert_eq!(image.platform.to_string(), "linux/arm/v6");
    }

    #[test]
    fn layers_take_the_media_types_of_the_image() {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let layers = [
            layer("a", media_type::OCI_LAYER),
            layer("b", media_type::DOCKER_LAYER_GZIP),
            layer("c", media_type::OCI_LAYER_GZIP),
            layer("d", foreign),
        ];
        let types = |media| {
            let image = assemble(config(), &layers, media, &annotations(&[]));
            image.layers.iter().map(|layer| layer.descriptor.media_type().to_string()).collect::<Vec<_>>()
        };
        let (oci, docker) = (media_type::OCI_LAYER_GZIP, media_type::DOCKER_LAYER_GZIP);
        assert_eq!(types(MediaTypes::Oci), [media_type::OCI_LAYER, oci, oci, foreign]);
        assert_eq!(types(MediaTypes::Docker), [media_type::DOCKER_LAYER, docker, docker, foreign]);
    }

    #[test]
    fn what_docker_manifests_cannot_say_makes_an_oci_image() {
        let media_type = |layers: &[Layer], with: &[(&str, &str)]| {
            let image = assemble(config(), layers, MediaTypes::Docker, &annotations(with));
            image.manifest.descriptor.media_type().to_string()
        };
        assert_eq!(media_type(&[], &[]), media_type::DOCKER_MANIFEST);
        assert_eq!(media_type(&[layer("a", media_type::OCI_LAYER_ZSTD)], &[]), media_type::OCI_MANIFEST);
        assert_eq!(media_type(&[], &[("a", "b")]), media_type::OCI_MANIFEST);
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let keys: Vec<String> = (0..40).map(|i| format!("key{i}")).collect();
        let with: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
        let make = || assemble(config(), &[], MediaTypes::Oci, &annotations(&with));
        assert_eq!(make(), make());
        let list = || {
            let mut image = make();
            image.manifest.annotate(with.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
            index(&[image], MediaTypes::Oci, &annotations(&with))
        };
        assert_eq!(list(), list());
    }

    #[test]
    fn the_index_lists_platforms() {
        let other = ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..Default::default() };
        let image = |config| assemble(config, &[], MediaTypes::Docker, &annotations(&[]));
        let mut images = [image(config()), image(other)];
        let plain = index(&images, MediaTypes::Docker, &annotations(&[]));
        assert_eq!(plain.descriptor.media_type().as_ref(), media_type::DOCKER_INDEX);
        assert!(text(&plain).contains(r#""platform":{"architecture":"arm","os":"linux","variant":"v6"}}"#));
        assert!(text(&plain).contains(r#""platform":{"architecture":"amd64","os":"linux"}}"#));
        images[1].manifest.annotate([("k", "v".to_owned())]);
        let annotated = index(&images, MediaTypes::Docker, &annotations(&[]));
        assert_eq!(annotated.descriptor.media_type().as_ref(), media_type::OCI_INDEX);
        assert!(text(&annotated).contains(r#""annotations":{"k":"v"},"platform":{"architecture":"amd64""#));
    }

    #[test]
    fn a_layer_used_twice_is_listed_once() {
        let layers =
            [layer("a", media_type::OCI_LAYER), layer("b", media_type::OCI_LAYER), layer("a", media_type::OCI_LAYER)];
        let image = assemble(config(), &layers, MediaTypes::Oci, &annotations(&[]));
        assert_eq!(image.layers.len(), 3);
        assert_eq!(ImageSet::single(image).layers().len(), 2);
    }
}
