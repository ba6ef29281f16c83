//! `rewrite-timestamp`: file times in layers that are later than a given one become it.
//!
//! For new layers only: those of a base image keep their bytes, or nobody could share them. The result is remembered as the
//! compressed blobs are.

use std::io::Read;
use std::path::Path;

use super::records::Record;
use super::report::Report;
use crate::content::{ContentError, Store};
use crate::digest::{DiffId, DigestError};
use crate::layer::{Limits, ReadError, Reader, TarEntry, WriteError, Writer};
use crate::oci::{self, Compression, Layer};

/// Why the times in a layer could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum ClampError {
    /// A layer is named by something else than a sha256.
    #[error("cannot rewrite the times of a layer")]
    Digest(#[from] DigestError),
    /// The store could not give or take a blob.
    #[error("cannot rewrite the times of layer {layer}")]
    Store {
        /// The layer.
        layer: DiffId,
        /// What the store says.
        #[source]
        source: ContentError,
    },
    /// The layer is no tar that can be read.
    #[error("cannot rewrite the times of layer {layer}")]
    Read {
        /// The layer.
        layer: DiffId,
        /// What is wrong with it.
        #[source]
        source: ReadError,
    },
    /// The new layer could not be written.
    #[error("cannot rewrite the times of layer {layer}")]
    Write {
        /// The layer.
        layer: DiffId,
        /// What went wrong.
        #[source]
        source: WriteError,
    },
}

/// Returns `layers` with no time later than `latest` (seconds since 1970) in those that are new: plain tars in `store`
/// without an origin. Others come back as they are, and a layer without a later time keeps its digest. `records` is the
/// directory of the records.
pub fn clamped(
    layers: &[Layer],
    store: &Store,
    latest: i64,
    records: &Path,
    report: &Report,
) -> Result<Vec<Layer>, ClampError> {
    let is_new = |layer: &Layer| layer.compression() == Compression::None && layer.origin.is_none();
    let clamp = |layer: &Layer| match is_new(layer) {
        true => clamped_layer(layer, store, latest, records, report),
        false => Ok(layer.clone()),
    };
    layers.iter().map(clamp).collect()
}

fn clamped_layer(
    layer: &Layer,
    store: &Store,
    latest: i64,
    records: &Path,
    report: &Report,
) -> Result<Layer, ClampError> {
    let record = Record::new(records, layer.diff_id, &format!("latest-{latest}.1"));
    let descriptor = match record.recall(store) {
        Some(descriptor) => descriptor,
        None => {
            let in_store = |source| ClampError::Store { layer: layer.diff_id, source };
            let blob = store.open_blob(&layer.digest()?).map_err(in_store)?;
            let blob = report.reading(layer.diff_id.to_string(), layer.descriptor.size(), blob);
            let out = Writer::new(store.ingest().map_err(in_store)?);
            let out = copy(blob, out, latest, layer.diff_id)?;
            let (digest, length) = out.commit(None).map_err(in_store)?;
            let descriptor = oci::descriptor(Compression::None.oci_layer(), &digest, length);
            record.keep(&descriptor);
            descriptor
        }
    };
    Ok(Layer { diff_id: DiffId(oci::digest_of(&descriptor)?), descriptor, origin: None })
}

fn copy<W: std::io::Write>(tar: impl Read, mut out: Writer<W>, latest: i64, layer: DiffId) -> Result<W, ClampError> {
    let unwritten = |source| ClampError::Write { layer, source };
    let mut reader = Reader::new(tar, Limits::default());
    while let Some(mut entry) = reader.next_entry().map_err(|source| ClampError::Read { layer, source })? {
        if entry.mtime.seconds >= latest {
            entry.mtime = crate::fsutil::Timestamp::from_seconds(latest);
        }
        append(&mut out, &entry, &mut reader).map_err(unwritten)?;
    }
    out.finish().map_err(unwritten)
}

/// Deletions are entries to the reader and calls to the writer.
fn append<W: std::io::Write>(out: &mut Writer<W>, entry: &TarEntry, data: &mut dyn Read) -> Result<(), WriteError> {
    let at = entry.path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let (parent, name) = entry.path.split_at(at);
    match name.strip_prefix(b".wh.") {
        None => out.append(entry, data),
        Some(b".wh..opq") => out.opaque(parent.strip_suffix(b"/").unwrap_or(parent)),
        Some(deleted) => out.whiteout(&[parent, deleted].concat()),
    }
}
