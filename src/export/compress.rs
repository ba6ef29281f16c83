//! Layers for the road: compressed once, remembered for ever.
//!
//! New layers are kept as plain tars. When an image leaves the store they are compressed, on all cores, and the
//! blob stays in the store. What was made of what is remembered, so the next export of the same layer compresses nothing,
//! and one of a layer like it little ([`super::blocks`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::blocks::Blocks;
use super::document::annotate;
use super::growing::{Growing, growing};
use super::records::Record;
use super::report::Report;
use crate::content::{ContentError, Store};
use crate::digest::{DiffId, Digest, DigestError, HashingReader};
use crate::layer::{self, gzip::Memory};
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
    pub(super) fn compression(self) -> Compression {
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
    pub(super) fn level(&self) -> i32 {
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

/// Shorter layers are compressed before a thread has started.
const WORTH_THREADS: u64 = 256 << 10;
/// Layers that are compressed at once.
const AT_ONCE: usize = 4;
/// Shorter layers are compressed before anybody could make use of their beginning, or find out what of them is known.
const LONG: u64 = 4 << 20;

/// Returns `layers` with the descriptors of their compressed blobs, which are in `store` afterwards.
///
/// Layers to which the codec does not apply come back as they are. `records` is the directory of the records; it is made when
/// it is not there. Some at once, on `threads` threads together; the bytes do not depend on their number.
pub fn compressed(
    layers: &[Layer],
    store: &Store,
    codec: Codec,
    records: &Path,
    threads: usize,
    report: &Report,
) -> Result<Vec<Layer>, CompressError> {
    compressed_telling(layers, store, codec, records, threads, report, &|_| {})
}

/// The same; `begun` gets each long blob that has to be made now, to be read while it is written.
pub fn compressed_telling(
    layers: &[Layer],
    store: &Store,
    codec: Codec,
    records: &Path,
    threads: usize,
    report: &Report,
    begun: &(dyn Fn(Growing) + Sync),
) -> Result<Vec<Layer>, CompressError> {
    let mut work = Work { store, codec, records, threads, report, begun };
    let mut made = BTreeMap::new();
    let mut pending = Vec::new();
    let mut seen = BTreeSet::new();
    for layer in layers.iter().filter(|layer| codec.applies_to(layer) && seen.insert(layer.diff_id)) {
        match work.known(layer) {
            Some(known) => _ = made.insert(layer.diff_id, known),
            None => pending.push(layer),
        }
    }
    let at_once = pending.len().clamp(1, AT_ONCE);
    work.threads = threads.div_ceil(at_once);
    made.extend(work.all(&pending, at_once)?);
    Ok(layers
        .iter()
        .map(|layer| made.get(&layer.diff_id).filter(|_| codec.applies_to(layer)).unwrap_or(layer).clone())
        .collect())
}

/// What it takes to compress a layer.
struct Work<'a> {
    store: &'a Store,
    codec: Codec,
    records: &'a Path,
    threads: usize,
    report: &'a Report,
    begun: &'a (dyn Fn(Growing) + Sync),
}

impl Work<'_> {
    /// Compresses all layers, `at_once` at a time; the first failure ends it.
    fn all(&self, pending: &[&Layer], at_once: usize) -> Result<BTreeMap<DiffId, Layer>, CompressError> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let made = Mutex::new(Vec::new());
        let one_after_the_other = || {
            while !failed.load(Ordering::Relaxed)
                && let Some(layer) = pending.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let done = self.layer(layer);
                failed.fetch_or(done.is_err(), Ordering::Relaxed);
                made.lock().unwrap_or_else(PoisonError::into_inner).push(done.map(|new| (layer.diff_id, new)));
            }
        };
        // One of them is this thread: a single layer needs no other.
        std::thread::scope(|scope| {
            (1..at_once).for_each(|_| _ = scope.spawn(one_after_the_other));
            one_after_the_other();
        });
        made.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
    }

    fn record(&self, layer: &Layer) -> Record {
        Record::new(self.records, layer.diff_id, &self.codec.to_string())
    }

    /// Returns what was made of a layer before.
    fn known(&self, layer: &Layer) -> Option<Layer> {
        Some(made_of(layer, self.record(layer).recall(self.store)?))
    }

    fn layer(&self, layer: &Layer) -> Result<Layer, CompressError> {
        let record = self.record(layer);
        let _making = record.make();
        if let Some(descriptor) = record.recall(self.store) {
            return Ok(made_of(layer, descriptor));
        }
        let descriptor = self.compress(layer)?;
        record.keep(&descriptor);
        Ok(made_of(layer, descriptor))
    }

    fn compress(&self, layer: &Layer) -> Result<Descriptor, CompressError> {
        let in_store = |source| CompressError::Store { layer: layer.diff_id, source };
        let failed = |source| CompressError::Encode { layer: layer.diff_id, format: self.codec.format, source };
        let own = layer.digest()?;
        let blob = self.store.open_blob(&own).map_err(in_store)?;
        let mut blob = self.report.reading(layer.diff_id.to_string(), layer.descriptor.size(), blob);
        let mut ingest = self.store.ingest().map_err(in_store)?;
        let path = ingest.path().to_owned();
        let blocks = self.blocks(layer, &path).map_err(failed)?;
        let memory = blocks.as_ref().map_or(&layer::gzip::NoMemory as &dyn Memory, |blocks| blocks);
        let (mut out, reader) = growing(&path, &mut ingest).map_err(failed)?;
        if layer.descriptor.size() >= LONG {
            (self.begun)(reader);
        }
        let threads = if layer.descriptor.size() < WORTH_THREADS { 1 } else { self.threads };
        let (annotations, actual) = match layer.compression() {
            // The reader of the blob verifies it, and its digest is that of the tar.
            Compression::None => (encode(self.codec, &mut blob, &mut out, threads, memory).map_err(failed)?, own),
            packed => {
                let mut tar = HashingReader::new(layer::decoder(packed, blob).map_err(failed)?);
                let annotations = encode(self.codec, &mut tar, &mut out, threads, memory).map_err(failed)?;
                (annotations, tar.finish().1)
            }
        };
        if actual != layer.diff_id.0 {
            return Err(CompressError::DiffId { layer: layer.diff_id, actual });
        }
        out.finish().map_err(failed)?;
        let (digest, length) = ingest.commit(None).map_err(in_store)?;
        if let Some(blocks) = blocks {
            blocks.keep(&digest);
        }
        let mut descriptor = oci::descriptor(self.codec.format.compression().oci_layer(), &digest, length);
        annotate(&mut descriptor, annotations);
        Ok(descriptor)
    }

    /// What is remembered for a layer that will be written to `path`.
    fn blocks(&self, layer: &Layer, path: &Path) -> io::Result<Option<Blocks>> {
        let is_worth_it = self.codec.format == Format::Gzip && layer.descriptor.size() >= LONG;
        is_worth_it.then(|| Blocks::new(self.records, &self.codec.to_string(), self.store, path)).transpose()
    }
}

/// Writes `tar` as the codec says; returns the annotations of the blob.
fn encode(
    codec: Codec,
    tar: &mut impl io::Read,
    out: &mut impl io::Write,
    threads: usize,
    memory: &dyn Memory,
) -> io::Result<Vec<(&'static str, String)>> {
    match codec.format {
        Format::Plain => io::copy(tar, out).map(|_| Vec::new()),
        Format::Gzip => layer::gzip::compress(tar, out, codec.level(), threads, memory).map(|()| Vec::new()),
        Format::Zstd => layer::zstd::compress(tar, out, codec.level(), threads).map(|()| Vec::new()),
        Format::Estargz => layer::estargz::compress(tar, out, codec.level(), threads).map(annotations_of),
    }
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

fn annotations_of(written: layer::estargz::Written) -> Vec<(&'static str, String)> {
    vec![
        (layer::estargz::TABLE_DIGEST, written.table.to_string()),
        (layer::estargz::UNCOMPRESSED_SIZE, written.uncompressed.to_string()),
        (DIFF_ID, written.diff_id.0.to_string()),
    ]
}
