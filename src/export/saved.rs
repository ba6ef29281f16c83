//! `save`: images of the store as they are, in an archive that is an OCI layout and a docker archive at once, as `docker save` writes it.

use std::io::Write;

use serde::Serialize;

use super::document::annotate;
use super::oci_layout::{IMAGE_NAME, REF_NAME, index_json};
use super::parts::{self, ArchiveError, Content, Part, blob_path};
use super::report::Report;
use crate::content::Store;
use crate::digest::Digest;
use crate::oci::{Descriptor, Reference, to_json};

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
    /// All blobs that `target` leads to, itself included.
    pub blobs: Vec<Digest>,
}

/// An image in `manifest.json`. The keys are docker's.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
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
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
    let entries = images.iter().flat_map(entries_of).collect();
    let docker: Vec<Entry> = images.iter().map(docker_entry).collect();
    for (path, bytes) in
        [("oci-layout", version), ("index.json", index_json(entries)), ("manifest.json", to_json(&docker))]
    {
        all.push(Part { path: path.to_owned(), content: Content::Bytes(bytes) });
    }
    parts::sort(&mut all);
    parts::write_tar(&all, store, out, report)
}

fn entries_of(image: &Saved) -> Vec<Descriptor> {
    let named = |name: &Reference| {
        let mut entry = image.target.clone();
        annotate(&mut entry, [(REF_NAME, name.tag_or_latest().to_owned()), (IMAGE_NAME, name.to_string())]);
        entry
    };
    match image.names.as_slice() {
        [] => vec![image.target.clone()],
        names => names.iter().map(named).collect(),
    }
}

fn docker_entry(image: &Saved) -> Entry {
    Entry {
        config: blob_path(&image.config),
        repo_tags: image.names.iter().map(Reference::familiar).collect(),
        layers: image.layers.iter().map(blob_path).collect(),
    }
}
