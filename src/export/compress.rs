//! Layers for the road: compressed once, remembered for ever.
//!
//! New layers are kept as plain tars. When an image leaves the store they are compressed, on all cores, and the
//! blob stays in the store. What was made of what is remembered, so the next export of the same layer compresses nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use super::records::Record;
use super::report::Report;
use crate::content::{ContentError, Store};
use crate::digest::{DiffId, Digest, DigestError, HashingReader};
use crate::layer;
use crate::oci::{self, Compression, Descriptor, Layer};

/// How the layers of an image shall be compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Codec {
    /// The format; [`Compression::None`] leaves new layers as they are.
    pub compression: Compression,
    /// The encoder's level; `None` is its usual one.
    pub level: Option<i32>,
    /// Whether layers that are compressed already (those of base images) are written anew when they differ.
    pub force: bool,
}

/// Why a layer could not be compressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// A layer is named by something else than a sha256.
    #[error("cannot compress a layer")]
    Digest(#[from] DigestError),
    /// The store could not give or take a blob.
    #[error("cannot compress layer {layer}")]
    Store {
        /// The layer.
        layer: DiffId,
        /// What the store says.
        source: ContentError,
    },
    /// Reading, compressing or writing failed.
    #[error("cannot compress layer {layer} with {compression:?}")]
    Encode {
        /// The layer.
        layer: DiffId,
        /// The format.
        compression: Compression,
        /// What went wrong.
        source: io::Error,
    },
    /// The blob does not unpack to what its diff id says.
    #[error("layer {layer} unpacks to {actual}: the config of its image names another diff id")]
    DiffId {
        /// The layer as the config names it.
        layer: DiffId,
        /// Digest of its uncompressed bytes.
        actual: Digest,
    },
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.compression {
            Compression::None => f.write_str("none"),
            Compression::Gzip => write!(f, "gzip-{}.{}", self.level(), layer::gzip::ENCODER_VERSION),
            Compression::Zstd => write!(f, "zstd-{}.{}", self.level(), layer::zstd::ENCODER_VERSION),
        }
    }
}

impl Codec {
    fn level(&self) -> i32 {
        self.level.unwrap_or(match self.compression {
            Compression::None => 0,
            Compression::Gzip => layer::gzip::DEFAULT_LEVEL,
            Compression::Zstd => layer::zstd::DEFAULT_LEVEL,
        })
    }

    /// Whether `layer` must be written anew: it is a plain tar that shall be compressed, or force is asked for and its format
    /// is another. Such a layer must be in the store before [`compressed`] is called.
    pub fn applies_to(&self, layer: &Layer) -> bool {
        let present = layer.compression();
        present != self.compression && (present == Compression::None || self.force)
    }
}

/// Returns `layers` with the descriptors of their compressed blobs, which are in `store` afterwards.
///
/// Layers to which the codec does not apply come back as they are. `records` is the directory of the records; it is made when
/// it is not there. One layer after the other, each on `threads` threads; the bytes do not depend on their number.
pub fn compressed(
    layers: &[Layer],
    store: &Store,
    codec: Codec,
    records: &Path,
    threads: usize,
    report: &Report,
) -> Result<Vec<Layer>, CompressError> {
    let mut made: BTreeMap<DiffId, Descriptor> = BTreeMap::new();
    let mut result = Vec::with_capacity(layers.len());
    for layer in layers {
        if !codec.applies_to(layer) {
            result.push(layer.clone());
            continue;
        }
        let descriptor = match made.get(&layer.diff_id) {
            Some(descriptor) => descriptor.clone(),
            None => compressed_layer(layer, store, codec, records, threads, report)?,
        };
        made.insert(layer.diff_id, descriptor.clone());
        // The new blob is in no repository yet.
        result.push(Layer { diff_id: layer.diff_id, descriptor, origin: None });
    }
    Ok(result)
}

fn compressed_layer(
    layer: &Layer,
    store: &Store,
    codec: Codec,
    records: &Path,
    threads: usize,
    report: &Report,
) -> Result<Descriptor, CompressError> {
    let record = Record::new(records, layer.diff_id, &codec.to_string());
    if let Some(descriptor) = record.recall(store) {
        return Ok(descriptor);
    }
    let descriptor = compress(layer, store, codec, threads, report)?;
    record.keep(&descriptor);
    Ok(descriptor)
}

fn compress(
    layer: &Layer,
    store: &Store,
    codec: Codec,
    threads: usize,
    report: &Report,
) -> Result<Descriptor, CompressError> {
    let in_store = |source| CompressError::Store { layer: layer.diff_id, source };
    let failed = |source| CompressError::Encode { layer: layer.diff_id, compression: codec.compression, source };
    let blob = store.open_blob(&layer.digest()?).map_err(in_store)?;
    let blob = report.reading(layer.diff_id.to_string(), layer.descriptor.size(), blob);
    let tar = layer::decoder(layer.compression(), blob).map_err(failed)?;
    let mut tar = HashingReader::new(tar);
    let mut ingest = store.ingest().map_err(in_store)?;
    match codec.compression {
        Compression::None => io::copy(&mut tar, &mut ingest).map(|_| ()),
        Compression::Gzip => layer::gzip::compress(&mut tar, &mut ingest, codec.level(), threads),
        Compression::Zstd => layer::zstd::compress(&mut tar, &mut ingest, codec.level(), threads),
    }
    .map_err(failed)?;
    let (_, actual, _) = tar.finish();
    if actual != layer.diff_id.0 {
        return Err(CompressError::DiffId { layer: layer.diff_id, actual });
    }
    let (digest, length) = ingest.commit(None).map_err(in_store)?;
    Ok(oci::descriptor(codec.compression.oci_layer(), &digest, length))
}
