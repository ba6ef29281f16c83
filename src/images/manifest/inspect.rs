//! `inspect`: a manifest or an index, here or in a registry, without its layers.

use serde_json::{Map, Value, json};

use super::super::find::find;
use super::super::image::DOCUMENT_LIMIT;
use super::super::{Image, ImagesError};
use super::{Place, Sources};
use crate::oci::{Descriptor, ImageConfig, Platform, Reference, digest_of, media_type};

/// A manifest or an index.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The whole name, or what was asked for.
    pub name: String,
    /// The repository, if it has a name.
    pub reference: Option<Reference>,
    /// Type, digest and length of `bytes`.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
}

/// Reads what `text` names.
pub async fn inspect(sources: &Sources<'_>, text: &str) -> Result<Looked, ImagesError> {
    if sources.place == Place::Store {
        match find(sources.store, text, None) {
            Ok(image) => return in_store(sources, text, &image),
            Err(ImagesError::NoSuchImage { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let reference = sources.reference(text)?;
    let (descriptor, bytes) = sources.client.manifest(&reference).await?;
    Ok(Looked { name: reference.complete(), reference: Some(reference), descriptor, bytes })
}

fn in_store(sources: &Sources<'_>, text: &str, image: &Image) -> Result<Looked, ImagesError> {
    let bytes = sources.store.read_blob(&image.digest, DOCUMENT_LIMIT)?;
    let reference = image.name.as_deref().and_then(|name| Reference::parse(name).ok());
    let name = reference.as_ref().map_or_else(|| text.to_owned(), Reference::complete);
    Ok(Looked { name, reference, descriptor: image.target.clone(), bytes })
}

impl Looked {
    /// The document, as JSON.
    pub fn value(&self) -> Result<Value, ImagesError> {
        let digest = crate::digest::Digest::of(&self.bytes);
        serde_json::from_slice(&self.bytes).map_err(|source| ImagesError::Parse { digest, source })
    }

    /// Whether it is an index.
    pub fn is_index(&self) -> bool {
        media_type::is_index(self.descriptor.media_type().as_ref())
    }

    /// What a template sees: `Name`, `Manifest` (the document with its digest and size), `Image` (the config; of an index, that of
    /// each platform).
    pub async fn shown(&self, sources: &Sources<'_>) -> Result<Value, ImagesError> {
        let mut manifest = self.value()?;
        manifest["digest"] = json!(self.descriptor.digest());
        manifest["size"] = json!(self.descriptor.size());
        let configs = self.configs(sources, &manifest).await?;
        Ok(json!({ "Name": self.name, "Manifest": manifest, "Image": configs }))
    }

    async fn configs(&self, sources: &Sources<'_>, manifest: &Value) -> Result<Value, ImagesError> {
        if !self.is_index() {
            let digest = digest_of(&self.descriptor).map_err(|error| ImagesError::archive(error.to_string()))?;
            return self.config(sources, &digest).await;
        }
        let mut all = Map::new();
        for entry in manifest["manifests"].as_array().into_iter().flatten() {
            let Ok(entry) = serde_json::from_value::<Descriptor>(entry.clone()) else { continue };
            let platform = entry.platform().as_ref().map(Platform::of);
            let (Some(platform), Ok(digest)) = (platform, digest_of(&entry)) else { continue };
            if platform.os != "unknown" && media_type::is_manifest(entry.media_type().as_ref()) {
                all.insert(platform.to_string(), self.config(sources, &digest).await?);
            }
        }
        Ok(Value::Object(all))
    }

    /// The config of the image with this manifest.
    async fn config(&self, sources: &Sources<'_>, digest: &crate::digest::Digest) -> Result<Value, ImagesError> {
        let bytes = match (sources.store.length_of(digest)?, &self.reference) {
            (None, Some(reference)) => {
                sources.client.resolve(&reference.with_digest(*digest), &Platform::host()).await?.config_bytes
            }
            _ => {
                let manifest: crate::oci::Manifest = super::super::image::document(sources.store, *digest)?;
                let config = digest_of(manifest.config()).map_err(|error| ImagesError::archive(error.to_string()))?;
                sources.store.read_blob(&config, DOCUMENT_LIMIT)?
            }
        };
        // What is no image has no config that means something.
        Ok(match serde_json::from_slice::<ImageConfig>(&bytes) {
            Ok(_) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => Value::Null,
        })
    }
}
