//! From what a user calls an image to the entries of an index.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::find::find;
use super::super::set::{is_whole, set_of};
use super::super::transfer::compressed;
use super::super::{ImagesError, is_received};
use super::listed::read;
use super::{Entry, Listed, What};
use crate::content::Store;
use crate::digest::{Digest, DigestError};
use crate::export::{self, Attestation, Document, ImageSet, Report};
use crate::oci::{Descriptor, Platform, Reference, descriptor, digest_of, media_type};
use crate::registry::{Client, Resolved};

/// One thing that shall be listed.
#[derive(Clone, PartialEq, Debug)]
pub enum Source {
    /// A name, with or without tag and digest; an id or a digest alone.
    Named(String),
    /// A descriptor, whose platform, annotations and so on count more than those of what has its digest.
    Described(Listed),
}

/// Where images are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the store, and in a registry if they are not there.
    Store,
    /// In registries only.
    Registries,
}

/// Everything that images can be had from.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The store's directory.
    pub root: &'a Path,
    /// The store.
    pub store: &'a Store,
    /// The registries.
    pub client: &'a Client,
    /// Which of them are asked.
    pub place: Place,
    /// The repository that a digest alone is looked for in.
    pub home: Option<Reference>,
}

/// What a name means: the index, if it is one, and its images.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) index: Option<Document>,
    pub(super) entries: Vec<Entry>,
    /// What refers to the images without being listed.
    pub(super) beside: Vec<Attestation>,
}

/// Bytes of all documents that an index of a registry leads to: they are kept in memory.
const DOCUMENTS_LIMIT: u64 = 256 << 20;
/// How a name says that it is one of a registry, as with skopeo and podman.
const TRANSPORT: &str = "docker://";

impl Sources<'_> {
    /// Finds what is meant.
    pub(super) async fn find(&self, source: &Source) -> Result<Found, ImagesError> {
        match source {
            Source::Named(text) => self.named(text).await,
            Source::Described(given) => {
                let mut found = self.named(given.text("digest")).await?;
                for entry in &mut found.entries {
                    entry.listed.overlay(given);
                }
                Ok(Found { index: None, ..found })
            }
        }
    }

    /// Finds the images that a name means.
    pub(super) async fn named(&self, text: &str) -> Result<Found, ImagesError> {
        let mut reference = self.reference(text);
        if self.place == Place::Store && !text.starts_with(TRANSPORT) {
            match find(self.store, text, None) {
                Ok(image) if is_here(self.store, &image.target)? => return self.in_store(&image).await,
                // Not all of an index need have been pulled; the rest is where it came from.
                Ok(image) => {
                    let named = image.name.as_deref().and_then(|name| Reference::parse(name).ok());
                    reference = named.map(|name| name.with_digest(image.digest)).ok_or_else(|| missing(text));
                }
                Err(ImagesError::NoSuchImage { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.in_registry(&reference?).await
    }

    /// The reference that `text` is for a registry.
    pub(super) fn reference(&self, text: &str) -> Result<Reference, ImagesError> {
        let name = text.strip_prefix(TRANSPORT).unwrap_or(text);
        match (name.parse::<Digest>(), &self.home) {
            (Ok(digest), Some(home)) => Ok(home.with_digest(digest)),
            (Ok(_), None) => Err(missing(text)),
            (Err(_), _) => Ok(Reference::parse(name)?),
        }
    }

    async fn in_store(&self, image: &super::super::Image) -> Result<Found, ImagesError> {
        let set = set_of(self.store, image, false)?;
        let set = match is_received(&image.target) {
            true => set,
            false => compressed(self.root, self.store, set, None, &Report::silent()).await?,
        };
        found(set)
    }

    async fn in_registry(&self, reference: &Reference) -> Result<Found, ImagesError> {
        let (top, bytes) = self.client.manifest(reference).await?;
        let top = Document { digest: digest(&top)?, descriptor: top, bytes };
        let at = |digest| reference.with_digest(digest);
        if !media_type::is_index(top.descriptor.media_type().as_ref()) {
            let resolved = self.client.resolve(&at(top.digest), &Platform::host()).await?;
            return found(ImageSet::single(fetched(resolved, reference)?));
        }
        let (mut images, mut left) = (Vec::new(), DOCUMENTS_LIMIT);
        for child in read(&top.bytes)?.1 {
            if child.is_index() {
                return Err(ImagesError::NestedIndex { digest: child.digest()? });
            }
            let resolved = self.client.resolve(&at(child.digest()?), &Platform::host()).await?;
            let (length, listed) = (resolved.manifest_bytes.len() as u64, child.size());
            if listed != Some(length) {
                let problem = format!("{} has {length} bytes, and is not as long as it is listed", child.digest()?);
                return Err(ImagesError::Descriptor { problem });
            }
            left = left.checked_sub(length + resolved.config_bytes.len() as u64).ok_or_else(|| {
                let problem = format!("the documents that {} lists are more than 256 MiB", top.digest);
                ImagesError::Descriptor { problem }
            })?;
            images.push(fetched(resolved, reference)?);
        }
        found(ImageSet { images, index: Some(top), attestations: Vec::new() })
    }
}

/// Whether all that an index lists is in the store, or is known to be elsewhere; so it is of what is no index.
fn is_here(store: &Store, target: &Descriptor) -> Result<bool, ImagesError> {
    Ok(!media_type::is_index(target.media_type().as_ref()) || is_whole(store, target)?)
}

fn missing(text: &str) -> ImagesError {
    ImagesError::NoSuchImage { name: text.to_owned(), near: None }
}

fn digest(of: &Descriptor) -> Result<Digest, ImagesError> {
    digest_of(of).map_err(unusable)
}

fn unusable(error: DigestError) -> ImagesError {
    ImagesError::Descriptor { problem: error.to_string() }
}

/// An image of a registry, whose layers stay there.
fn fetched(resolved: Resolved, from: &Reference) -> Result<export::Image, ImagesError> {
    let document = |descriptor: Descriptor, bytes: Vec<u8>| {
        let digest = digest(&descriptor)?;
        let descriptor = self::descriptor(descriptor.media_type().as_ref(), &digest, bytes.len() as u64);
        Ok::<_, ImagesError>(Document { descriptor, digest, bytes })
    };
    let config = document(resolved.manifest.config().clone(), resolved.config_bytes)?;
    let manifest = document(resolved.descriptor, resolved.manifest_bytes)?;
    export::Image::of(config, manifest, resolved.manifest.layers(), Some(from)).map_err(unusable)
}

/// The entries of a set: as its index lists them, or with the platform that the config names.
fn found(set: ImageSet) -> Result<Found, ImagesError> {
    let (listed, beside): (Vec<_>, Vec<_>) = set.attestations.into_iter().partition(|one| one.in_index);
    let image = |image: export::Image| What::Image(Box::new(image));
    let Some(index) = set.index else {
        let entries = set.images.into_iter().map(|of| {
            let mut listed = export::platform_descriptor(&of);
            let is_known = !of.platform.os.is_empty() && !of.platform.architecture.is_empty();
            listed.set_platform(listed.platform().clone().filter(|_| is_known));
            Entry { listed: Listed::of(&listed), what: image(of) }
        });
        return Ok(Found { index: None, entries: entries.collect(), beside });
    };
    let attestation = |one: Attestation| What::Attestation(Box::new(one));
    let images = set.images.into_iter().map(|of| (of.manifest.digest, image(of)));
    let attestations = listed.into_iter().map(|one| (one.manifest.digest, attestation(one)));
    let known: BTreeMap<Digest, What> = images.chain(attestations).collect();
    let mut entries = Vec::new();
    for listed in read(&index.bytes)?.1 {
        let what = known.get(&listed.digest()?).cloned();
        entries.extend(what.map(|what| Entry { listed, what }));
    }
    Ok(Found { index: Some(index), entries, beside })
}
