//! Statements about the images of a set, on manifests of their own.
//!
//! | form           | where it is found                                   | config                              | statements   |
//! |----------------|-----------------------------------------------------|-------------------------------------|--------------|
//! | [`Referrers`]  | among what refers to the image (its `subject`)      | the empty one                       | one each     |
//! | [`InIndex`]    | in the index, as `unknown/unknown`                  | of an image, whose layers they are  | all on one   |
//! | [`Artifact`]   | in the index, and by its `subject`                  | the empty one                       | all on one   |
//!
//! [`Referrers`]: Form::Referrers
//! [`InIndex`]: Form::InIndex
//! [`Artifact`]: Form::Artifact
//!
//! The first is that of image-spec ("Guidelines for Artifact Usage") and leaves the image as it is, so that no tool takes a statement
//! for a platform. The others are BuildKit's (its "Attestation Storage"), with `oci-artifact=false` and `=true`.

use serde_json::{Value, json};

use super::document::Document;
use super::image::{ImageSet, MediaTypes, index};
use crate::attest::{self, PREDICATE_TYPE, Predicate, STATEMENT};
use crate::digest::Digest;
use crate::oci::{self, Descriptor, Index, Manifest, REFERENCE_DIGEST, REFERENCE_TYPE, Reference, media_type};

/// How statements are attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// As artifacts that refer to the image.
    #[default]
    Referrers,
    /// In the index, as an image of an unknown platform.
    InIndex,
    /// In the index, as an artifact that also refers to the image.
    Artifact,
}

/// What BuildKit calls its artifacts.
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The config of what needs none (image-spec, "Guidance for an Empty Descriptor").
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A manifest with statements about an image.
#[derive(Clone, PartialEq, Debug)]
pub struct Attestation {
    /// The manifest of the image.
    pub subject: Digest,
    /// The config and the statements.
    pub parts: Vec<Document>,
    /// The manifest. Its descriptor is as the index, or whoever lists what refers to the image, has it.
    pub manifest: Document,
    /// Whether the index lists it.
    pub in_index: bool,
}

impl Attestation {
    fn new(form: Form, image: &Descriptor, statements: Vec<Document>) -> Self {
        let subject = oci::digest_of(image).expect("the manifest of an image is named by kiln");
        let layers: Vec<Descriptor> = statements.iter().map(|statement| statement.descriptor.clone()).collect();
        let config = match form {
            Form::InIndex => Document::of(media_type::OCI_CONFIG, &unknown_config(&statements)),
            Form::Referrers | Form::Artifact => Document::of(EMPTY, &json!({})),
        };
        let mut manifest = oci::manifest(media_type::OCI_MANIFEST, config.descriptor.clone(), layers);
        let kind = match form {
            Form::InIndex => None,
            Form::Referrers => Some(STATEMENT),
            Form::Artifact => Some(ARTIFACT),
        };
        if let Some(kind) = kind {
            manifest.set_artifact_type(Some(kind.into()));
            manifest.set_subject(Some(plain(image)));
        }
        if form == Form::Referrers {
            manifest
                .set_annotations(statements.first().and_then(|statement| statement.descriptor.annotations().clone()));
        }
        let mut document = Document::of(media_type::OCI_MANIFEST, &manifest);
        document.descriptor.set_artifact_type(manifest.artifact_type().clone());
        match form {
            Form::Referrers => {
                document.descriptor.set_annotations(manifest.annotations().clone());
            }
            Form::InIndex | Form::Artifact => {
                let reference =
                    [(REFERENCE_TYPE, "attestation-manifest".to_owned()), (REFERENCE_DIGEST, subject.to_string())];
                document.annotate(reference);
                document.descriptor.set_platform(Some(oci::Platform::new("unknown", "unknown", None).to_spec()));
                // BuildKit's index says nothing of the type.
                document.descriptor.set_artifact_type(None);
            }
        }
        let parts = std::iter::once(config).chain(statements).collect();
        Self { subject, parts, manifest: document, in_index: form != Form::Referrers }
    }

    /// Whether the manifest names its subject, so that it is found by it.
    pub(super) fn refers(&self) -> bool {
        serde_json::from_slice::<Manifest>(&self.manifest.bytes).is_ok_and(|manifest| manifest.subject().is_some())
    }

    /// Reads one from the bytes of its manifest; `read` gives the documents it names. `listed` is its descriptor in an index or list.
    pub fn read<E>(
        subject: Digest,
        manifest: Document,
        in_index: bool,
        read: impl FnMut(&Descriptor) -> Result<Document, E>,
    ) -> Result<Self, E> {
        let parsed: Option<Manifest> = serde_json::from_slice(&manifest.bytes).ok();
        let named = parsed.iter().flat_map(|manifest| std::iter::once(manifest.config()).chain(manifest.layers()));
        let parts = named.map(read).collect::<Result<_, _>>()?;
        Ok(Self { subject, parts, manifest, in_index })
    }

    /// Says the same of another manifest: the same image, with layers compressed in another way. What is no statement, as a signature, cannot.
    pub(super) fn readdressed(&self, image: &Descriptor) -> Option<Self> {
        let manifest: Manifest = serde_json::from_slice(&self.manifest.bytes).ok()?;
        let form = match (manifest.subject().is_some(), self.in_index) {
            (_, false) => Form::Referrers,
            (false, true) => Form::InIndex,
            (true, true) => Form::Artifact,
        };
        let subject = oci::digest_of(image).unwrap_or(self.subject);
        let statement = |part: &Document| {
            let is_statement = part.descriptor.media_type().as_ref() == STATEMENT;
            let said: Value = serde_json::from_slice(&part.bytes).ok().filter(|_| is_statement)?;
            Some(written(&attest::about(said, &subject)))
        };
        let statements = self.parts.iter().skip(1).map(statement).collect::<Option<_>>()?;
        Some(Self::new(form, image, statements))
    }
}

/// The digest, size and media type alone.
fn plain(of: &Descriptor) -> Descriptor {
    let mut plain = of.clone();
    plain.set_annotations(None);
    plain.set_platform(None);
    plain
}

/// What readers that want the config of an image find.
fn unknown_config(statements: &[Document]) -> Value {
    let digests: Vec<String> = statements.iter().map(|statement| statement.digest.to_string()).collect();
    json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": digests },
    })
}

/// The statement as a blob.
fn written(statement: &Value) -> Document {
    let mut document = Document::of(STATEMENT, statement);
    document.annotate([(PREDICATE_TYPE, statement["predicateType"].as_str().unwrap_or_default().to_owned())]);
    document
}

/// Attaches what is said of each image of `set`, in their order. `names` are those of the image.
pub fn attach(set: ImageSet, said: &[Vec<Predicate>], names: &[Reference], form: Form) -> ImageSet {
    let mut attestations = Vec::new();
    for (image, predicates) in set.images.iter().zip(said) {
        let names: Vec<String> = names.iter().map(|name| attest::of_image(name, &image.platform)).collect();
        let statement = |said: &Predicate| written(&attest::statement(said, &names, &image.manifest.digest));
        let statements: Vec<Document> = predicates.iter().map(statement).collect();
        let about = &image.manifest.descriptor;
        match form {
            _ if statements.is_empty() => {}
            Form::Referrers => {
                attestations.extend(statements.into_iter().map(|one| Attestation::new(form, about, vec![one])));
            }
            Form::InIndex | Form::Artifact => attestations.push(Attestation::new(form, about, statements)),
        }
    }
    let listed: Vec<Descriptor> =
        attestations.iter().filter(|one| one.in_index).map(|one| one.manifest.descriptor.clone()).collect();
    let index = match (set.index, listed.is_empty()) {
        (index, true) => index,
        (index, false) => {
            let index = index.unwrap_or_else(|| index_of(&set.images));
            Some(with_entries(&index, listed))
        }
    };
    ImageSet { index, attestations, ..set }
}

fn index_of(images: &[super::Image]) -> Document {
    index(images, MediaTypes::Oci, &std::collections::BTreeMap::new())
}

/// The index with more entries; it is an OCI one, since docker's has no place for annotations.
fn with_entries(index: &Document, more: Vec<Descriptor>) -> Document {
    let mut parsed: Index = serde_json::from_slice(&index.bytes).expect("the index was written a moment ago");
    parsed.set_manifests(parsed.manifests().iter().cloned().chain(more).collect());
    parsed.set_media_type(Some(media_type::OCI_INDEX.into()));
    let mut document = Document::of(media_type::OCI_INDEX, &parsed);
    document.descriptor.set_annotations(index.descriptor.annotations().clone());
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{Image, assemble};
    use crate::oci::ImageConfig;
    use std::collections::BTreeMap;

    fn image() -> Image {
        let config = ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..ImageConfig::default() };
        assemble(config, &[], MediaTypes::Oci, &BTreeMap::new())
    }

    fn said() -> Vec<Vec<Predicate>> {
        let of = |kind| Predicate { kind, value: json!({ "of": kind }) };
        vec![vec![of("https://a.example"), of("https://b.example")]]
    }

    fn attached(form: Form) -> ImageSet {
        attach(ImageSet::single(image()), &said(), &[Reference::parse("app:1").unwrap()], form)
    }

    fn parsed(document: &Document) -> Value {
        serde_json::from_slice(&document.bytes).unwrap()
    }

    #[test]
    fn referrers_leave_the_image_as_it_is() {
        let set = attached(Form::Referrers);
        assert_eq!((&set.images[0], &set.index), (&image(), &None));
        assert_eq!(set.attestations.len(), 2);
        let manifest = parsed(&set.attestations[1].manifest);
        assert_eq!(manifest["artifactType"], STATEMENT);
        assert_eq!(manifest["config"]["mediaType"], EMPTY);
        assert_eq!(manifest["subject"]["digest"], set.images[0].manifest.digest.to_string());
        assert_eq!(manifest["annotations"][PREDICATE_TYPE], "https://b.example");
        assert_eq!(manifest["layers"][0]["annotations"][PREDICATE_TYPE], "https://b.example");
        let statement = parsed(&set.attestations[1].parts[1]);
        assert_eq!(statement["subject"][0]["name"], "pkg:docker/app@1?platform=linux%2Famd64");
        assert_eq!(statement["subject"][0]["digest"]["sha256"], set.images[0].manifest.digest.hex());
    }

    #[test]
    fn the_index_lists_statements_as_buildkit_does() {
        let set = attached(Form::InIndex);
        let [attestation] = set.attestations.as_slice() else { panic!("one manifest for all") };
        let index = parsed(set.index.as_ref().unwrap());
        let entry = &index["manifests"][1];
        assert_eq!(entry["digest"], attestation.manifest.digest.to_string());
        assert_eq!(entry["platform"], json!({"architecture": "unknown", "os": "unknown"}));
        let subject = set.images[0].manifest.digest.to_string();
        let annotations = json!({ REFERENCE_DIGEST: subject, REFERENCE_TYPE: "attestation-manifest" });
        assert_eq!(entry["annotations"], annotations);
        let manifest = parsed(&attestation.manifest);
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        assert!(manifest.get("subject").is_none() && manifest.get("artifactType").is_none());
        let config = parsed(&attestation.parts[0]);
        assert_eq!(config["os"], "unknown");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
    }

    #[test]
    fn artifacts_of_the_index_refer_to_the_image() {
        let set = attached(Form::Artifact);
        let manifest = parsed(&set.attestations[0].manifest);
        assert_eq!(manifest["artifactType"], ARTIFACT);
        assert_eq!(manifest["subject"]["digest"], set.images[0].manifest.digest.to_string());
        assert_eq!(parsed(set.index.as_ref().unwrap())["manifests"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_same_is_said_of_another_manifest() {
        let other = assemble(
            ImageConfig {
                os: "linux".into(),
                architecture: "amd64".into(),
                author: "x".into(),
                ..ImageConfig::default()
            },
            &[],
            MediaTypes::Oci,
            &BTreeMap::new(),
        );
        let names = [Reference::parse("app:1").unwrap()];
        for form in [Form::Referrers, Form::InIndex, Form::Artifact] {
            let moved = attached(form)
                .attestations
                .iter()
                .map(|one| one.readdressed(&other.manifest.descriptor).unwrap())
                .collect::<Vec<_>>();
            assert_eq!(moved, attach(ImageSet::single(other.clone()), &said(), &names, form).attestations, "{form:?}");
        }
    }

    #[test]
    fn nothing_said_changes_nothing() {
        let set = ImageSet::single(image());
        assert_eq!(attach(set.clone(), &[Vec::new()], &[], Form::InIndex), set);
    }
}
