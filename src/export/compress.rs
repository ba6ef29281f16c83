//! Layers for the road: compressed once, remembered for ever.
//!
//! New layers are kept as plain tars. When an image leaves the store they are compressed, on all cores, and the
//! blob stays in the store. What was made of what is remembered, so the next export of the same layer compresses nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use super::document::annotate;
use super::records::Record;
use super::report::Report;
use crate::content::{ContentError, Store};
use crate::digest::{DiffId, Digest, DigestError, HashingReader};
use crate::layer;
use crate::oci::{self, Compression, Descriptor, Layer};

/// What the blob of a layer is written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A plain tar: new layers stay as they are.
    Plain,
    /// gzip, one member.
    Gzip,
    /// zstd.
    Zstd,
    /// gzip with a member for each file and a table of them ([`layer::estargz`]). The layer gets another diff id.
    Estargz,
}

impl Format {
    fn compression(self) -> Compression {
        match self {
            Self::Plain => Compression::None,
            Self::Gzip | Self::Estargz => Compression::Gzip,
            Self::Zstd => Compression::Zstd,
        }
    }

    /// An eStargz layer is gzip too, and only its annotation tells.
    fn is_that_of(self, layer: &Layer) -> bool {
        let annotations = layer.descriptor.annotations().as_ref();
        let is_estargz = annotations.is_some_and(|all| all.contains_key(layer::estargz::TABLE_DIGEST));
        layer.compression() == self.compression() && (self != Self::Estargz || is_estargz)
    }
}

/// How the layers of an image shall be compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Codec {
    /// The format.
    pub format: Format,
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
    #[error("cannot compress layer {layer} with {format:?}")]
    Encode {
        /// The layer.
        layer: DiffId,
        /// The format.
        format: Format,
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
        let level = self.level();
        match self.format {
            Format::Plain => f.write_str("none"),
            Format::Gzip => write!(f, "gzip-{level}.{}", layer::gzip::ENCODER_VERSION),
            Format::Zstd => write!(f, "zstd-{level}.{}", layer::zstd::ENCODER_VERSION),
            Format::Estargz => {
                let [form, encoder] = [layer::estargz::ENCODER_VERSION, layer::gzip::ENCODER_VERSION];
                write!(f, "estargz{form}-{level}.{encoder}")
            }
        }
    }
}

impl Codec {
    fn level(&self) -> i32 {
        self.level.unwrap_or(match self.format {
            Format::Plain => 0,
            Format::Gzip | Format::Estargz => layer::gzip::DEFAULT_LEVEL,
            Format::Zstd => layer::zstd::DEFAULT_LEVEL,
        })
    }

    /// Whether `layer` must be written anew: it is a plain tar that shall be compressed, or force is asked for and its format
    /// is another. Such a layer must be in the store before [`compressed`] is called.
    pub fn applies_to(&self, layer: &Layer) -> bool {
        !self.format.is_that_of(layer) && (layer.compression() == Compression::None || self.force)
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
    let mut made: BTreeMap<DiffId, Layer> = BTreeMap::new();
    let mut result = Vec::with_capacity(layers.len());
    for layer in layers {
        if !codec.applies_to(layer) {
            result.push(layer.clone());
            continue;
        }
        let new = match made.get(&layer.diff_id) {
            Some(new) => new.clone(),
            None => compressed_layer(layer, store, codec, records, threads, report)?,
        };
        made.insert(layer.diff_id, new.clone());
        result.push(new);
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
) -> Result<Layer, CompressError> {
    let record = Record::new(records, layer.diff_id, &codec.to_string());
    let descriptor = match record.recall(store) {
        Some(descriptor) => descriptor,
        None => {
            let descriptor = compress(layer, store, codec, threads, report)?;
            record.keep(&descriptor);
            descriptor
        }
    };
    Ok(made_of(layer, descriptor))
}

/// In a record, says that the layer got another diff id.
const DIFF_ID: &str = "containerd.io/uncompressed";

/// The layer whose blob was made of `layer`. The blob is in no repository yet.
fn made_of(layer: &Layer, mut descriptor: Descriptor) -> Layer {
    let mut annotations = descriptor.annotations().clone().unwrap_or_default();
    let own = annotations.remove(DIFF_ID).and_then(|text| text.parse().ok()).map(DiffId);
    descriptor.set_annotations((!annotations.is_empty()).then_some(annotations));
    Layer { diff_id: own.unwrap_or(layer.diff_id), descriptor, origin: None }
}

fn compress(
    layer: &Layer,
    store: &Store,
    codec: Codec,
    threads: usize,
    report: &Report,
) -> Result<Descriptor, CompressError> {
    let in_store = |source| CompressError::Store { layer: layer.diff_id, source };
    let failed = |source| CompressError::Encode { layer: layer.diff_id, format: codec.format, source };
    let blob = store.open_blob(&layer.digest()?).map_err(in_store)?;
    let blob = report.reading(layer.diff_id.to_string(), layer.descriptor.size(), blob);
    let tar = layer::decoder(layer.compression(), blob).map_err(failed)?;
    let mut tar = HashingReader::new(tar);
    let mut ingest = store.ingest().map_err(in_store)?;
    let annotations = match codec.format {
        Format::Plain => io::copy(&mut tar, &mut ingest).map(|_| Vec::new()),
        Format::Gzip => layer::gzip::compress(&mut tar, &mut ingest, codec.level(), threads).map(|()| Vec::new()),
        Format::Zstd => layer::zstd::compress(&mut tar, &mut ingest, codec.level(), threads).map(|()| Vec::new()),
        Format::Estargz => layer::estargz::compress(&mut tar, &mut ingest, codec.level(), threads).map(annotations_of),
    }
    .map_err(failed)?;
    let (_, actual, _) = tar.finish();
    if actual != layer.diff_id.0 {
        return Err(CompressError::DiffId { layer: layer.diff_id, actual });
    }
    let (digest, length) = ingest.commit(None).map_err(in_store)?;
    let mut descriptor = oci::descriptor(codec.format.compression().oci_layer(), &digest, length);
    annotate(&mut descriptor, annotations);
    Ok(descriptor)
}

fn annotations_of(written: layer::estargz::Written) -> Vec<(&'static str, String)> {
    vec![
        (layer::estargz::TABLE_DIGEST, written.table.to_string()),
        (layer::estargz::UNCOMPRESSED_SIZE, written.uncompressed.to_string()),
        (DIFF_ID, written.diff_id.0.to_string()),
    ]
}
