//! A cache in a repository of a registry: one tag per step, so that nobody reads or writes what another step has.
//!
//! ```text
//! REPOSITORY:step-<key>           an image manifest: artifactType application/vnd.kiln.cache.step.v1,
//!                                 config = the record (also in the manifest, `data`), layers = [the layer as an image has it]
//! REPOSITORY:trail-<hash>         the same with artifactType application/vnd.kiln.cache.trail.v1; config = keys, no layer
//! REPOSITORY:mount-<key>          the same with artifactType application/vnd.kiln.cache.mount.v1; layers = the chunks of a cache mount
//! ```
//!
//! A tag in the name of the cache stands before each of these (`main.step-<key>`), so that one repository holds several caches that know
//! nothing of each other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::inline;
use super::mount::MOUNT_LIMIT;
use super::record::{RECORD_LIMIT, SharedRecord};
use super::store::{Blob, Moved, StoreError};
use super::trail;
use crate::cache::Key;
use crate::content::Store as Content;
use crate::digest::Digest;
use crate::oci::{Descriptor, Manifest, Platform, Reference, descriptor, digest_of, media_type, to_json};
use crate::registry::{BlobSource, Cause, Client, RegistryError};

const STEP: &str = "application/vnd.kiln.cache.step.v1";
const TRAIL: &str = "application/vnd.kiln.cache.trail.v1";
const MOUNT: &str = "application/vnd.kiln.cache.mount.v1";

/// Longer documents are only referred to by their manifest, in bytes: manifests of some registries are bounded.
const EMBEDDED_LIMIT: usize = 64 << 10;

/// Longest tag of a cache, in bytes: a step's tag is 128 bytes at most.
pub const TAG_LIMIT: usize = 128 - ".trail-".len() - 64;

pub(super) struct RegistryStore {
    reference: Reference,
    client: Client,
}

impl RegistryStore {
    pub(super) fn new(reference: &Reference, client: &Client) -> Self {
        Self { reference: reference.clone(), client: client.clone() }
    }

    /// The tag of something of this cache.
    fn named(&self, kind: &str, hex: &str) -> Reference {
        let space = self.reference.tag.as_ref().map(|tag| format!("{tag}.")).unwrap_or_default();
        Reference { tag: Some(format!("{space}{kind}-{hex}")), digest: None, ..self.reference.clone() }
    }

    pub(super) async fn record(&self, key: &Key) -> Result<Option<SharedRecord>, StoreError> {
        match self.document(&self.named("step", &key.hex()), RECORD_LIMIT).await? {
            Some(bytes) => Ok(Some(SharedRecord::parse(&bytes)?)),
            None => Ok(None),
        }
    }

    pub(super) async fn has(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(found(self.client.describe(&self.named("step", &key.hex())).await)?.is_some())
    }

    pub(super) async fn publish(
        &self,
        key: &Key,
        record: &SharedRecord,
        layer: &Blob<'_>,
        moved: Moved<'_>,
    ) -> Result<(), StoreError> {
        let name = self.named("step", &key.hex());
        self.client.push_blob(&name, layer.descriptor, &layer.source, layer.origin, moved).await?;
        self.put(&name, STEP, record.to_bytes(), vec![layer.descriptor.clone()]).await
    }

    pub(super) async fn fetch(&self, layer: &Descriptor, to: &Content, moved: Moved<'_>) -> Result<(), StoreError> {
        Ok(self.client.fetch_blob(&self.reference, layer, to, moved).await?)
    }

    pub(super) async fn trail(&self, name: &str) -> Result<Vec<Key>, StoreError> {
        let bytes = self.document(&self.named("trail", name), trail::LIMIT).await?;
        Ok(bytes.map(|bytes| trail::parse(&bytes)).unwrap_or_default())
    }

    pub(super) async fn put_trail(&self, name: &str, keys: &[Key]) -> Result<(), StoreError> {
        self.put(&self.named("trail", name), TRAIL, trail::to_bytes(keys), Vec::new()).await
    }

    pub(super) async fn mount(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.document(&self.named("mount", &key.hex()), MOUNT_LIMIT).await
    }

    pub(super) async fn put_blob(&self, blob: &Blob<'_>, moved: Moved<'_>) -> Result<(), StoreError> {
        self.client.push_blob(&self.reference, blob.descriptor, &blob.source, blob.origin, moved).await?;
        Ok(())
    }

    pub(super) async fn put_mount(
        &self,
        key: &Key,
        record: Vec<u8>,
        chunks: Vec<Descriptor>,
    ) -> Result<(), StoreError> {
        self.put(&self.named("mount", &key.hex()), MOUNT, record, chunks).await
    }

    /// Returns the records in the config of the image that has the name of this cache, if there is one.
    pub(super) async fn inline(&self, platform: &Platform) -> Result<Vec<SharedRecord>, StoreError> {
        match found(self.client.resolve(&self.reference, platform).await) {
            Ok(Some(image)) => Ok(inline::read(&image.config_bytes, &image.manifest)?),
            // A cache need not be an image, nor one for this platform.
            Ok(None) => Ok(Vec::new()),
            Err(error) if matches!(*error.cause, Cause::NoPlatform { .. } | Cause::Malformed { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the config of a manifest; with most registries that takes one request.
    async fn document(&self, name: &Reference, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((_, bytes)) = found(self.client.manifest_of_origin(name).await)? else { return Ok(None) };
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| super::record::RecordError::Malformed(error.to_string()))?;
        let config = manifest.config();
        match embedded(config) {
            Some(bytes) => Ok(Some(bytes)),
            None => Ok(Some(self.client.read_blob(name, config, limit).await?)),
        }
    }

    async fn put(
        &self,
        name: &Reference,
        kind: &str,
        bytes: Vec<u8>,
        layers: Vec<Descriptor>,
    ) -> Result<(), StoreError> {
        let mut config = descriptor(&format!("{kind}+json"), &Digest::of(&bytes), bytes.len() as u64);
        self.client.push_blob(name, &config, &BlobSource::Bytes(bytes.clone()), None, &|_| {}).await?;
        if bytes.len() <= EMBEDDED_LIMIT {
            config.set_data(Some(BASE64.encode(&bytes)));
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": kind,
            "config": config,
            "layers": layers,
        });
        self.client.put_manifest(name, media_type::OCI_MANIFEST, &to_json(&manifest)).await?;
        Ok(())
    }
}

/// The content that a descriptor carries, if it is that which the descriptor names.
fn embedded(of: &Descriptor) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(of.data().as_ref()?).ok()?;
    (bytes.len() as u64 == of.size() && digest_of(of) == Ok(Digest::of(&bytes))).then_some(bytes)
}

/// What is not there is nothing to complain of.
fn found<T>(answer: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(*error.cause, Cause::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Settings;

    #[test]
    fn the_tag_of_a_cache_stands_before_the_tags_in_it() {
        let tag = |name: &str| {
            let store = RegistryStore::new(&Reference::parse(name).unwrap(), &Client::new(Settings::default()));
            store.named("step", &"a".repeat(64)).tag.unwrap()
        };
        assert_eq!(tag("host.example/cache"), format!("step-{}", "a".repeat(64)));
        assert_eq!(tag("host.example/cache:main"), format!("main.step-{}", "a".repeat(64)));
    }

    #[test]
    fn embedded_content_must_be_what_the_descriptor_names() {
        let mut of = descriptor(STEP, &Digest::of(b"{}"), 2);
        assert_eq!(embedded(&of), None);
        of.set_data(Some(BASE64.encode(b"{}")));
        assert_eq!(embedded(&of), Some(b"{}".to_vec()));
        of.set_data(Some(BASE64.encode(b"[]")));
        assert_eq!(embedded(&of), None);
    }
}
