//! Layers that are compressed while the step that makes them writes them: nobody has to read them again, and they may go out
//! meanwhile.
//!
//! What comes of it is a record like any other, so [`super::compressed`] finds the work done; what goes wrong here is done there.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::blocks::Blocks;
use super::compress::{Codec, Format};
use super::growing::{Growing, growing};
use super::records::Record;
use crate::content::Store;
use crate::digest::DiffId;
use crate::layer::gzip;
use crate::oci;

/// Pieces of a layer that may wait to be compressed.
const QUEUE: usize = 8;

/// Compresses layers with gzip ahead of their export.
pub struct Ahead {
    state: Mutex<State>,
    /// Held by who waits: whoever else comes to wait must not find that nothing runs before it has ended.
    settling: Mutex<()>,
}

struct State {
    /// `None` once the export has begun.
    work: Option<Work>,
    running: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Work {
    store: Store,
    records: PathBuf,
    codec: Codec,
    threads: usize,
    begun: Arc<dyn Fn(Growing) + Send + Sync>,
}

/// A layer on its way. Dropped before its end, it is forgotten.
pub struct LayerAhead {
    pieces: SyncSender<Vec<u8>>,
    layer: Sender<DiffId>,
}

impl Ahead {
    /// As [`super::compressed_telling`], which is going to be called with the same; `None` if `codec` is not gzip.
    pub fn new(
        store: Store,
        records: PathBuf,
        codec: Codec,
        threads: usize,
        begun: Arc<dyn Fn(Growing) + Send + Sync>,
    ) -> Option<Self> {
        let work = Work { store, records, codec, threads, begun };
        let state = State { work: Some(work), running: Vec::new() };
        (codec.format == Format::Gzip).then(|| Self { state: Mutex::new(state), settling: Mutex::default() })
    }

    /// Begins a layer, on threads of its own; `None` after [`Self::wait`].
    pub fn begin(&self) -> Option<LayerAhead> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let work = state.work.clone()?;
        let (pieces, received) = sync_channel(QUEUE);
        let (layer, said) = channel();
        let input = Input { received, piece: Vec::new(), at: 0 };
        // A layer that could not be compressed here is compressed when it is exported, and what is wrong is said then.
        state.running.push(std::thread::spawn(move || _ = work.compress(input, &said)));
        Some(LayerAhead { pieces, layer })
    }

    /// Waits for what has begun.
    pub fn settle(&self) {
        let _alone = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let running = std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).running);
        running.into_iter().for_each(|thread| _ = thread.join());
    }

    /// The same; nothing begins any more, and nobody is told.
    pub fn wait(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).work = None;
        self.settle();
    }
}

impl LayerAhead {
    /// Takes the next bytes of the tar, and waits while too many are there; false when it has failed.
    pub fn bytes(&mut self, bytes: &[u8]) -> bool {
        self.pieces.send(bytes.to_vec()).is_ok()
    }

    /// Says that this was all, and of which layer. Does not wait.
    pub fn end(self, layer: DiffId) {
        let _ = self.layer.send(layer);
    }
}

impl Work {
    fn compress(&self, input: Input, layer: &Receiver<DiffId>) -> io::Result<()> {
        let mut ingest = self.store.ingest().map_err(io::Error::other)?;
        let (path, how) = (ingest.path().to_owned(), self.codec.to_string());
        let blocks = Blocks::new(&self.records, &how, &self.store, &path)?;
        let (mut out, reader) = growing(&path, &mut ingest)?;
        (self.begun)(reader);
        gzip::compress(input, &mut out, self.codec.level(), self.threads, &blocks)?;
        // The end of the pieces may be that of a step that failed.
        let layer = layer.recv().map_err(|_| io::ErrorKind::UnexpectedEof)?;
        out.finish()?;
        let (digest, length) = ingest.commit(None).map_err(io::Error::other)?;
        blocks.keep(&digest);
        let media_type = self.codec.format.compression().oci_layer();
        Record::new(&self.records, layer, &how).keep(&oci::descriptor(media_type, &digest, length));
        Ok(())
    }
}

/// Pieces as a reader.
struct Input {
    received: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Ok(piece) = self.received.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
        }
        let length = buffer.len().min(self.piece.len() - self.at);
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Report;
    use super::*;
    use crate::digest::Digest;
    use crate::oci::{Layer, media_type};

    const GZIP: Codec = Codec { format: Format::Gzip, level: None, force: false };

    struct Bench {
        temp: tempfile::TempDir,
        store: Store,
        told: Arc<Mutex<Vec<Growing>>>,
    }

    impl Bench {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let store = Store::open(&temp.path().join("store")).unwrap();
            Self { temp, store, told: Arc::default() }
        }

        fn ahead(&self, codec: Codec) -> Option<Ahead> {
            let told = self.told.clone();
            let begun = Arc::new(move |growing| told.lock().unwrap().push(growing));
            Ahead::new(self.store.clone(), self.temp.path().join("records"), codec, 2, begun)
        }

        /// The layer as an export compresses it, and how many blobs that adds.
        fn exported(&self, tar: &[u8]) -> (Layer, usize) {
            let digest = self.store.put(tar).unwrap();
            let descriptor = oci::descriptor(media_type::OCI_LAYER, &digest, tar.len() as u64);
            let layers = [Layer { diff_id: DiffId(digest), descriptor, origin: None }];
            let (records, before) = (self.temp.path().join("records"), self.store.blobs().unwrap().len());
            let layers = super::super::compressed(&layers, &self.store, GZIP, &records, 1, &Report::silent()).unwrap();
            (layers[0].clone(), self.store.blobs().unwrap().len() - before)
        }
    }

    fn tar() -> Vec<u8> {
        (0..5_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn feed(layer: &mut LayerAhead, tar: &[u8]) {
        assert!(tar.chunks(100_000).all(|piece| layer.bytes(piece)));
    }

    #[test]
    fn an_export_finds_the_work_done() {
        let (bench, tar) = (Bench::new(), tar());
        let ahead = bench.ahead(GZIP).unwrap();
        let mut layer = ahead.begin().unwrap();
        feed(&mut layer, &tar);
        layer.end(DiffId(Digest::of(&tar)));
        ahead.wait();
        assert_eq!(bench.exported(&tar), (Bench::new().exported(&tar).0, 0));
        assert!(ahead.begin().is_none(), "the export has begun");
        assert_eq!(bench.told.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_layer_that_comes_to_nothing_leaves_nothing() {
        let (bench, tar) = (Bench::new(), tar());
        let ahead = bench.ahead(GZIP).unwrap();
        let mut layer = ahead.begin().unwrap();
        feed(&mut layer, &tar);
        drop(layer);
        ahead.wait();
        assert_eq!(bench.store.blobs().unwrap().len(), 0);
        let mut pieces = bench.told.lock().unwrap().remove(0).pieces();
        let mut last = None;
        while let Some(piece) = pieces.recv().await {
            last = Some(piece.is_ok());
        }
        assert_eq!(last, Some(false), "who reads it is told");
        assert_eq!(bench.exported(&tar).1, 1);
    }

    #[test]
    fn other_formats_wait_for_the_export() {
        let bench = Bench::new();
        for format in [Format::Plain, Format::Zstd, Format::Estargz] {
            assert!(bench.ahead(Codec { format, ..GZIP }).is_none());
        }
    }
}
