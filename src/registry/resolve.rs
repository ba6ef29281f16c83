//! From a reference to the manifest and config of one image.

use reqwest::Response;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use serde::de::DeserializeOwned;

use super::error::Cause;
use super::request::{Repository, read_document};
use super::route::Need;
use super::{Client, Inner, RegistryError};
use crate::digest::Digest;
use crate::oci::{
    Descriptor, Index, MANIFEST_LIMIT, Manifest, Platform, Reference, choose_manifest, descriptor, digest_of,
    media_type,
};

/// An image in a registry: everything but its layers. The documents are kept as the bytes that have their digests.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Of the manifest.
    pub descriptor: Descriptor,
    /// The manifest, parsed.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// Of the index the reference names, when it names one.
    pub index: Option<Descriptor>,
    /// The index's bytes.
    pub index_bytes: Option<Vec<u8>>,
    /// Digest of the config; its descriptor is in the manifest.
    pub config_digest: Digest,
    /// The config's bytes.
    pub config_bytes: Vec<u8>,
}

/// Largest config, in bytes. Labels and history make some of them long.
const CONFIG_LIMIT: u64 = 8 << 20;
/// An index may hold indexes, but not without end.
const DEPTH_LIMIT: usize = 4;
const DIGEST_HEADER: &str = "docker-content-digest";

/// A manifest or an index as it came.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    media_type: String,
    digest: Digest,
}

impl Document {
    fn descriptor(&self) -> Descriptor {
        descriptor(&self.media_type, &self.digest, self.bytes.len() as u64)
    }
}

impl Client {
    /// Finds the image a reference means on a platform, and fetches its manifest and config. Of a reference with tag and
    /// digest the digest counts. Everything is verified: what is named by a digest has that digest.
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, RegistryError> {
        let failed = |registry: &str, cause| RegistryError::new("resolve", reference.to_string(), registry, cause);
        let route = self.0.route(reference, Need::of(reference)).map_err(|cause| failed(&reference.domain, cause))?;
        for mirror in &route.mirrors {
            if let Ok(found) = self.0.resolve(mirror, reference, platform).await {
                return Ok(found);
            }
        }
        let resolved = self.0.resolve(&route.origin, reference, platform).await;
        resolved.map_err(|cause| failed(route.origin.address(), cause))
    }

    /// Fetches the manifest or index that a reference names, and nothing that it names in turn.
    pub async fn manifest(&self, reference: &Reference) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let failed = |registry: &str, cause| RegistryError::new("fetch", reference.to_string(), registry, cause);
        let route = self.0.route(reference, Need::of(reference)).map_err(|cause| failed(&reference.domain, cause))?;
        for mirror in &route.mirrors {
            if let Ok(found) = self.0.document(mirror, &name(reference), reference.digest).await {
                return Ok((found.descriptor(), found.bytes));
            }
        }
        self.manifest_of_origin(reference).await
    }

    /// The same, and no mirror is asked.
    pub async fn manifest_of_origin(&self, reference: &Reference) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let failed = |registry: &str, cause| RegistryError::new("fetch", reference.to_string(), registry, cause);
        let route = self.0.route(reference, Need::of(reference)).map_err(|cause| failed(&reference.domain, cause))?;
        let found = self.0.document(&route.origin, &name(reference), reference.digest).await;
        let found = found.map_err(|cause| failed(route.origin.address(), cause))?;
        Ok((found.descriptor(), found.bytes))
    }

    /// Returns a small blob of the reference's repository, verified; one longer than `limit` bytes is refused.
    pub async fn read_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let subject = || format!("{}@{}", reference.name(), blob.digest());
        let failed = |registry: &str, cause| RegistryError::new("fetch", subject(), registry, cause);
        let route = self.0.route(reference, Need::Blob).map_err(|cause| failed(&reference.domain, cause))?;
        let digest = digest_of(blob).map_err(|error| failed(&reference.domain, error.into()))?;
        let read = self.0.read_blob(&route.origin, &digest, "blob", limit).await;
        read.map_err(|cause| failed(route.origin.address(), cause))
    }

    /// Returns the descriptor of what a reference names (a manifest or an index) without fetching it where the registry
    /// allows that; a cheap way to see whether a tag moved.
    pub async fn describe(&self, reference: &Reference) -> Result<Descriptor, RegistryError> {
        let failed = |registry: &str, cause| RegistryError::new("look up", reference.to_string(), registry, cause);
        let route = self.0.route(reference, Need::of(reference)).map_err(|cause| failed(&reference.domain, cause))?;
        for mirror in &route.mirrors {
            if let Ok(found) = self.0.describe(mirror, reference).await {
                return Ok(found);
            }
        }
        let described = self.0.describe(&route.origin, reference).await;
        described.map_err(|cause| failed(route.origin.address(), cause))
    }
}

impl Inner {
    async fn resolve(
        &self,
        repository: &Repository,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Resolved, Cause> {
        let mut document = self.document(repository, &name(reference), reference.digest).await?;
        let (mut index, mut index_bytes) = (None, None);
        for _ in 0..DEPTH_LIMIT {
            if media_type::is_manifest(&document.media_type) {
                return self.resolve_manifest(repository, document, index, index_bytes).await;
            }
            let chosen = choose(&parse(&document.bytes, "index")?, platform)?;
            let next = self.document(repository, &chosen.to_string(), Some(chosen)).await?;
            index.get_or_insert_with(|| document.descriptor());
            index_bytes.get_or_insert(std::mem::replace(&mut document, next).bytes);
        }
        Err(Cause::Malformed { what: "index", detail: "indexes are nested too deeply".to_owned() })
    }

    async fn resolve_manifest(
        &self,
        repository: &Repository,
        document: Document,
        index: Option<Descriptor>,
        index_bytes: Option<Vec<u8>>,
    ) -> Result<Resolved, Cause> {
        let manifest: Manifest = parse(&document.bytes, "manifest")?;
        let config_digest = digest_of(manifest.config())?;
        let config_bytes = self.read_blob(repository, &config_digest, "image config", CONFIG_LIMIT).await?;
        let descriptor = document.descriptor();
        let manifest_bytes = document.bytes;
        Ok(Resolved { descriptor, manifest, manifest_bytes, index, index_bytes, config_digest, config_bytes })
    }

    async fn read_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        what: &'static str,
        limit: u64,
    ) -> Result<Vec<u8>, Cause> {
        let mut attempts = self.attempts(&repository.host);
        loop {
            let once = async {
                let answer = self.send(repository, |client, base| client.get(format!("{base}/blobs/{digest}"))).await?;
                verified(read_document(answer, what, limit).await?, Some(*digest))
            };
            match once.await {
                Ok((bytes, _)) => return Ok(bytes),
                Err(cause) => attempts.wait_or(cause).await?,
            }
        }
    }

    /// Fetches a manifest or index by tag or digest.
    pub(super) async fn document(
        &self,
        repository: &Repository,
        name: &str,
        expected: Option<Digest>,
    ) -> Result<Document, Cause> {
        let mut attempts = self.attempts(&repository.host);
        loop {
            let once = async {
                let answer = self.send(repository, |client, base| {
                    client.get(format!("{base}/manifests/{name}")).header(ACCEPT, ACCEPTED.join(", "))
                });
                document(answer.await?, expected).await
            };
            match once.await {
                Ok(document) => return Ok(document),
                Err(cause) => attempts.wait_or(cause).await?,
            }
        }
    }

    /// Asks once, and believes what the registry says of itself.
    pub(super) async fn has_manifest(&self, repository: &Repository, reference: &Reference, digest: &Digest) -> bool {
        let head = self.head(repository, &name(reference)).await;
        head.ok().flatten().is_some_and(|found| digest_of(&found) == Ok(*digest))
    }

    /// Asks for the headers of a manifest; `None` when they do not say what it is.
    async fn head(&self, repository: &Repository, name: &str) -> Result<Option<Descriptor>, Cause> {
        let answer = self.send(repository, |client, base| {
            client.head(format!("{base}/manifests/{name}")).header(ACCEPT, ACCEPTED.join(", "))
        });
        Ok(announced(answer.await?.headers()))
    }

    async fn describe(&self, repository: &Repository, reference: &Reference) -> Result<Descriptor, Cause> {
        let name = name(reference);
        let mut attempts = self.attempts(&repository.host);
        let announced = loop {
            match self.head(repository, &name).await {
                Ok(announced) => break announced,
                // Some registries answer only to GET.
                Err(Cause::Refused { .. }) => break None,
                Err(cause) => attempts.wait_or(cause).await?,
            }
        };
        match announced.filter(|found| reference.digest.is_none_or(|digest| digest_of(found) == Ok(digest))) {
            Some(found) => Ok(found),
            None => Ok(self.document(repository, &name, reference.digest).await?.descriptor()),
        }
    }
}

const ACCEPTED: [&str; 4] =
    [media_type::OCI_INDEX, media_type::DOCKER_INDEX, media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST];

/// The last part of the URL: the digest, or else the tag.
fn name(reference: &Reference) -> String {
    reference.digest.map_or_else(|| reference.tag_or_latest().to_owned(), |digest| digest.to_string())
}

/// Reads type, length and digest off the headers, when all are there.
fn announced(headers: &HeaderMap) -> Option<Descriptor> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let digest: Digest = text(DIGEST_HEADER)?.parse().ok()?;
    let kind = plain_type(text(CONTENT_TYPE.as_str())?);
    let length = text(CONTENT_LENGTH.as_str())?.parse().ok()?;
    ACCEPTED.contains(&kind).then(|| descriptor(kind, &digest, length))
}

fn plain_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

async fn document(answer: Response, expected: Option<Digest>) -> Result<Document, Cause> {
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let announced = header(DIGEST_HEADER).and_then(|text| text.parse().ok());
    let content_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let bytes = read_document(answer, "manifest", MANIFEST_LIMIT).await?;
    let (bytes, digest) = verified(bytes, expected.or(announced))?;
    let media_type = kind_of(&bytes, plain_type(&content_type))?;
    Ok(Document { bytes, media_type, digest })
}

/// What a document says of itself.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    schema_version: Option<u32>,
    media_type: Option<String>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

/// Decides what a document is. What could be read as both a manifest and an index is refused: the same bytes must not
/// mean two images (image-spec, "mediaType" in manifest.md).
fn kind_of(bytes: &[u8], content_type: &str) -> Result<String, Cause> {
    let malformed = |detail: String| Cause::Malformed { what: "manifest", detail };
    let header: Header = parse(bytes, "manifest")?;
    let schema_one = [media_type::DOCKER_SCHEMA1, media_type::DOCKER_SCHEMA1_SIGNED];
    if header.schema_version == Some(1) || schema_one.contains(&content_type) {
        return Err(Cause::SchemaOne);
    }
    if header.layers.is_some() && header.manifests.is_some() {
        return Err(malformed("it has both layers and manifests".to_owned()));
    }
    let by_content = if header.manifests.is_some() { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
    let kind = match header.media_type {
        Some(kind) if !kind.is_empty() => kind,
        _ if ACCEPTED.contains(&content_type) => content_type.to_owned(),
        _ => by_content.to_owned(),
    };
    if !ACCEPTED.contains(&kind.as_str()) {
        return Err(malformed(format!("unknown media type {kind}")));
    }
    if media_type::is_index(&kind) != header.manifests.is_some() {
        return Err(malformed(format!("its content is not {kind}")));
    }
    Ok(kind)
}

fn choose(index: &Index, platform: &Platform) -> Result<Digest, Cause> {
    match choose_manifest(index, platform) {
        Some(chosen) => Ok(digest_of(chosen)?),
        None => {
            let offered =
                index.manifests().iter().filter_map(|manifest| manifest.platform().as_ref()).map(Platform::of);
            let offered = offered.filter(|platform| platform.os != "unknown").collect();
            Err(Cause::NoPlatform { wanted: platform.clone(), offered })
        }
    }
}

fn verified(bytes: Vec<u8>, expected: Option<Digest>) -> Result<(Vec<u8>, Digest), Cause> {
    let actual = Digest::of(&bytes);
    match expected {
        Some(expected) if expected != actual => Err(Cause::WrongDigest { expected, actual }),
        _ => Ok((bytes, actual)),
    }
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Cause> {
    serde_json::from_slice(bytes).map_err(|error| Cause::Malformed { what, detail: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, content_type: &str, expected: Result<&str, &str>) {
        let kind = kind_of(text.as_bytes(), content_type).map_err(|cause| cause.to_string());
        match (kind, expected) {
            (Ok(kind), Ok(expected)) => assert_eq!(kind, expected),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (kind, expected) => panic!("{kind:?} is not {expected:?}"),
        }
    }

    #[test]
    fn documents_say_what_they_are() {
        check(r#"{"schemaVersion":2,"layers":[]}"#, media_type::DOCKER_MANIFEST, Ok(media_type::DOCKER_MANIFEST));
        check(r#"{"layers":[]}"#, "application/json", Ok(media_type::OCI_MANIFEST));
        check(r#"{"manifests":[]}"#, "", Ok(media_type::OCI_INDEX));
        let docker = format!(r#"{{"mediaType":"{}","manifests":[]}}"#, media_type::DOCKER_INDEX);
        check(&docker, "text/plain", Ok(media_type::DOCKER_INDEX));
        check(&docker, media_type::OCI_MANIFEST, Ok(media_type::DOCKER_INDEX));
        check(r#"{"schemaVersion":1}"#, "", Err("schema 1"));
        check("{}", media_type::DOCKER_SCHEMA1_SIGNED, Err("schema 1"));
        check(r#"{"layers":[],"manifests":[]}"#, "", Err("both layers and manifests"));
        check(r#"{"layers":[]}"#, media_type::OCI_INDEX, Err("its content is not"));
        check(r#"{"mediaType":"text/html"}"#, media_type::OCI_INDEX, Err("unknown media type text/html"));
        check("<html>", "text/html", Err("invalid manifest"));
    }
}
