//! `save`: images into an archive, as they are.

use std::collections::BTreeSet;
use std::io::Write;

use super::image::DOCUMENT_LIMIT;
use super::{Image, ImagesError, find};
use crate::content::{ContentError, Store};
use crate::digest::Digest;
use crate::export::{ArchiveError, Report, Saved};
use crate::oci::media_type::is_undistributed_layer;
use crate::oci::{Descriptor, Manifest, Platform, Reference, descriptor, digest_of};

/// Finds the images that `texts` mean; two names of one image are one of two names. With a platform, the image of that platform
/// alone is saved, and not the index that lists it.
pub fn to_save(store: &Store, texts: &[String], platform: Option<&Platform>) -> Result<Vec<Saved>, ImagesError> {
    let mut all: Vec<Saved> = Vec::new();
    for text in texts {
        let image = find(store, text, platform)?;
        let saved = saved(store, &image, text, platform.is_some())?;
        match all.iter_mut().find(|known| known.target == saved.target) {
            Some(known) => {
                known.names.extend(saved.names);
                let mut seen = BTreeSet::new();
                known.names.retain(|name| seen.insert(name.to_string()));
            }
            None => all.push(saved),
        }
    }
    Ok(all)
}

fn saved(store: &Store, image: &Image, text: &str, alone: bool) -> Result<Saved, ImagesError> {
    // What an archive has no place for, such as this store's names, stays here.
    let target = match alone {
        true => descriptor(media_type_of(image), &image.manifest_digest, manifest_length(store, image)?),
        false => descriptor(image.target.media_type().as_ref(), &image.digest, image.target.size()),
    };
    let name = image.name.as_deref().and_then(|name| Reference::parse(name).ok());
    // An image that was asked for by its id is saved without its names, as with docker.
    let is_by_name = Reference::parse(text).is_ok() && store.resolve_tag(text)?.is_some();
    let layers = image.manifest.layers().iter().map(digest_of).collect::<Result<_, _>>();
    let blobs = store.reachable(&target)?;
    check_layers(store, &blobs)?;
    Ok(Saved {
        names: name.filter(|_| is_by_name).into_iter().collect(),
        config: image.id,
        layers: layers.map_err(|_| ImagesError::Nothing { name: text.to_owned(), platform: String::new() })?,
        referrers: referrers(store, &blobs)?,
        blobs,
        target,
    })
}

/// Fails if a manifest among `blobs` names a layer that is not here. An index may list images that are not.
fn check_layers(store: &Store, blobs: &[Digest]) -> Result<(), ImagesError> {
    for digest in blobs {
        if store.length_of(digest)?.is_none_or(|length| length > DOCUMENT_LIMIT) {
            continue;
        }
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&store.read_blob(digest, DOCUMENT_LIMIT)?) else {
            continue;
        };
        for layer in manifest.layers().iter().filter(|layer| !is_undistributed_layer(layer.media_type().as_ref())) {
            let Ok(digest) = digest_of(layer) else { continue };
            store.length_of(&digest)?.ok_or(ContentError::Missing { digest })?;
        }
    }
    Ok(())
}

/// What refers to any of `blobs`.
fn referrers(store: &Store, blobs: &[Digest]) -> Result<Vec<Descriptor>, ImagesError> {
    let mut found = Vec::new();
    for digest in blobs {
        found.extend(store.referrers(digest)?);
    }
    Ok(found)
}

fn media_type_of(image: &Image) -> &str {
    image.manifest.media_type().as_ref().map_or(crate::oci::media_type::OCI_MANIFEST, |kind| kind.as_ref())
}

fn manifest_length(store: &Store, image: &Image) -> Result<u64, ImagesError> {
    Ok(store.length_of(&image.manifest_digest)?.unwrap_or_default())
}

/// Writes what [`to_save`] found.
pub fn save<W: Write>(images: &[Saved], store: &Store, out: W) -> Result<W, ArchiveError> {
    crate::export::write_saved(images, store, out, &Report::silent())
}
