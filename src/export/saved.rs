//! `save`: images of the store as they are, in an archive that is an OCI layout and a docker archive at once, as `docker save` writes it.

use std::io::Write;

use super::docker_archive::{Entry, manifest_json};
use super::oci_layout::{documents, index_json, named};
use super::parts::{self, ArchiveError, Content, Part, blob_path};
use super::report::Report;
use crate::content::Store;
use crate::digest::Digest;
use crate::oci::{Descriptor, Reference};

/// An image to save.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Its manifest or index.
    pub target: Descriptor,
    /// Its names; without any it is found by its digest.
    pub names: Vec<Reference>,
    /// The config of the image that readers of docker archives see.
    pub config: Digest,
    /// The layers of that image, bottom first.
    pub layers: Vec<Digest>,
    /// What refers to it or to what it lists.
    pub referrers: Vec<Descriptor>,
    /// All blobs that `target` leads to, itself included.
    pub blobs: Vec<Digest>,
}

/// Writes `images` as one archive; returns `out` flushed. Every document and layer has the bytes that it has in `store`.
pub fn write_saved<W: Write>(images: &[Saved], store: &Store, out: W, report: &Report) -> Result<W, ArchiveError> {
    let mut all = Vec::new();
    for digest in images.iter().flat_map(|image| &image.blobs) {
        let missing = |source| ArchiveError::Blob { digest: *digest, source };
        let length = store.length_of(digest).map_err(missing)?;
        let length = length.ok_or(crate::content::ContentError::Missing { digest: *digest }).map_err(missing)?;
        all.push(Part { path: blob_path(digest), content: Content::Blob(*digest, length) });
    }
    let images_of = images.iter().flat_map(|image| named(image.target.clone(), &image.names));
    let entries = images_of.chain(images.iter().flat_map(|image| image.referrers.clone())).collect();
    all.extend(documents(index_json(entries)));
    let docker: Vec<Entry> =
        images.iter().map(|image| Entry::new(&image.config, &image.names, &image.layers)).collect();
    all.push(manifest_json(&docker));
    parts::sort(&mut all);
    parts::write_tar(&all, store, out, report)
}
