//! An image of the store as what exporters write: its documents as the bytes that they are.

use super::image::DOCUMENT_LIMIT;
use super::manifest::origin::{Origins, origins};
use super::transfer::index_of;
use super::{Image, ImagesError};
use crate::content::Store;
use crate::digest::Digest;
use crate::export::{self, Attestation, Document, ImageSet};
use crate::oci::{Descriptor, Manifest, REFERENCE_DIGEST, REFERENCE_TYPE, descriptor, digest_of, media_type};

/// The longest that all statements about an image may be together, in bytes: one may list every package of it.
const STATEMENT_LIMIT: u64 = 256 << 20;

/// Whether everything that an index lists is here, or is known to be elsewhere.
pub(super) fn is_whole(store: &Store, target: &Descriptor) -> Result<bool, ImagesError> {
    let origins = origins(target);
    for child in index_of(store, target)?.manifests() {
        let Ok(digest) = digest_of(child) else { return Ok(false) };
        if store.length_of(&digest)?.is_none() {
            return Ok(false);
        }
        if origins.contains_key(&digest) {
            continue;
        }
        let manifest: Manifest = parsed(&document(store, child)?)?;
        for blob in std::iter::once(manifest.config()).chain(manifest.layers()) {
            let is_here = match digest_of(blob) {
                Ok(digest) => store.length_of(&digest)?.is_some(),
                Err(_) => false,
            };
            if !is_here && !media_type::is_undistributed_layer(blob.media_type().as_ref()) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Returns what `image` leads to; `alone` leaves the index out. Layers that an index remembers to be elsewhere say so.
pub(super) fn set_of(store: &Store, image: &Image, alone: bool) -> Result<ImageSet, ImagesError> {
    let mut left = STATEMENT_LIMIT;
    let origins = origins(&image.target);
    let one = |of: &Descriptor| one(store, of, &origins);
    if alone || !media_type::is_index(image.target.media_type().as_ref()) {
        let length = store.length_of(&image.manifest_digest)?.unwrap_or_default();
        let kind = image.manifest.media_type().as_ref().map_or(media_type::OCI_MANIFEST, |kind| kind.as_ref());
        let mut set = ImageSet::single(one(&descriptor(kind, &image.manifest_digest, length))?);
        set.attestations = referrers(store, &set.images, &mut left)?;
        return Ok(set);
    }
    let index = index_of(store, &image.target)?;
    let (mut images, mut listed) = (Vec::new(), Vec::new());
    for child in index.manifests() {
        // What was left elsewhere is moved as the image that it looks like.
        let is_elsewhere = digest_of(child).is_ok_and(|digest| origins.contains_key(&digest));
        match subject_of(child).filter(|_| !is_elsewhere) {
            Some(subject) => listed.push(attestation(store, subject, child, true, &mut left)?),
            None => images.push(one(child)?),
        }
    }
    let mut attestations = referrers(store, &images, &mut left)?;
    attestations.extend(listed);
    Ok(ImageSet { images, index: Some(document(store, &image.target)?), attestations })
}

/// The image that an entry of an index describes, if it is no image itself.
fn subject_of(entry: &Descriptor) -> Option<Digest> {
    let annotations = entry.annotations().as_ref().filter(|all| all.contains_key(REFERENCE_TYPE))?;
    annotations.get(REFERENCE_DIGEST)?.parse().ok()
}

/// What the store has about the images and does not list in their index.
fn referrers(store: &Store, images: &[export::Image], left: &mut u64) -> Result<Vec<Attestation>, ImagesError> {
    let mut all = Vec::new();
    for image in images {
        for entry in store.referrers(&image.manifest.digest)? {
            all.push(attestation(store, image.manifest.digest, &entry, false, left)?);
        }
    }
    Ok(all)
}

/// `left` is how many bytes of statements may still be read.
fn attestation(
    store: &Store,
    subject: Digest,
    entry: &Descriptor,
    in_index: bool,
    left: &mut u64,
) -> Result<Attestation, ImagesError> {
    let manifest = Document { descriptor: entry.clone(), ..document(store, entry)? };
    Attestation::read(subject, manifest, in_index, |part| {
        let read = bounded(store, part, *left)?;
        *left -= read.bytes.len() as u64;
        Ok(Document { descriptor: part.clone(), ..read })
    })
}

fn one(store: &Store, of: &Descriptor, origins: &Origins) -> Result<export::Image, ImagesError> {
    let manifest = document(store, of)?;
    let origin = origins.get(&manifest.digest);
    let read: Manifest = parsed(&manifest)?;
    let config = document(store, read.config())?;
    export::Image::of(config, manifest, read.layers(), origin).map_err(|error| ImagesError::archive(error.to_string()))
}

fn document(store: &Store, of: &Descriptor) -> Result<Document, ImagesError> {
    bounded(store, of, DOCUMENT_LIMIT)
}

fn bounded(store: &Store, of: &Descriptor, limit: u64) -> Result<Document, ImagesError> {
    let digest = digest_of(of).map_err(|error| ImagesError::archive(error.to_string()))?;
    let bytes = store.read_blob(&digest, limit)?;
    let descriptor = descriptor(of.media_type().as_ref(), &digest, bytes.len() as u64);
    Ok(Document { descriptor, digest, bytes })
}

fn parsed<T: serde::de::DeserializeOwned>(document: &Document) -> Result<T, ImagesError> {
    let digest = document.digest;
    serde_json::from_slice(&document.bytes).map_err(|source| ImagesError::Parse { digest, source })
}
