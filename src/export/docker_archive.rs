//! `type=docker`: the tar `docker load` reads. It is an OCI layout with one file more, `manifest.json`, which names
//! config, tags and layers for readers that do not know layouts (moby image-spec v1.2).

use std::collections::BTreeSet;
use std::io::Write;

use serde::Serialize;

use super::image::ImageSet;
use super::oci_layout::{entries, index_json, layout};
use super::parts::{self, ArchiveError, Content, Part, blob_path};
use super::report::Report;
use crate::content::Store;
use crate::digest::Digest;
use crate::oci::{Reference, to_json};

/// An image in `manifest.json`. The keys are docker's.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Entry {
    pub(super) fn new<'a>(config: &Digest, names: &[Reference], layers: impl IntoIterator<Item = &'a Digest>) -> Self {
        Self {
            config: blob_path(config),
            repo_tags: names.iter().map(Reference::familiar).collect(),
            layers: layers.into_iter().map(blob_path).collect(),
        }
    }
}

/// The file `manifest.json`.
pub(super) fn manifest_json(entries: &[Entry]) -> Part {
    Part { path: "manifest.json".to_owned(), content: Content::Bytes(to_json(&entries)) }
}

/// Writes the image of `set` as a docker archive; returns `out` flushed. The same image gives the same bytes.
pub fn write_docker_archive<W: Write>(
    set: &ImageSet,
    names: &[Reference],
    store: &Store,
    out: W,
    report: &Report,
) -> Result<W, ArchiveError> {
    write_docker_archive_without(set, &BTreeSet::new(), names, store, out, report)
}

/// The same without the blobs `left_out`, which the reader has.
pub(super) fn write_docker_archive_without<W: Write>(
    set: &ImageSet,
    left_out: &BTreeSet<Digest>,
    names: &[Reference],
    store: &Store,
    out: W,
    report: &Report,
) -> Result<W, ArchiveError> {
    let [image] = set.images.as_slice() else {
        return Err(ArchiveError::SeveralPlatforms { count: set.images.len() });
    };
    let mut all = layout(set, index_json(entries(set, names)))?;
    let layers = image.layers.iter().map(|layer| layer.digest()).collect::<Result<Vec<_>, _>>()?;
    all.push(manifest_json(&[Entry::new(&image.config.digest, names, &layers)]));
    all.retain(|part| !matches!(&part.content, Content::Blob(digest, _) if left_out.contains(digest)));
    parts::sort(&mut all);
    parts::write_tar(&all, store, out, report)
}
