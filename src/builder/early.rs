//! Layers of an image that is to be pushed: they leave while later steps run, a long one while its own step still writes it; and the
//! config while the image is exported.
//!
//! What fails here is no failure, and is not told: the export finds out what the registry lacks, sends it again, and says what is wrong. A
//! build that fails later has sent blobs that no manifest names, which registries remove in time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};

use super::BuildRequest;
use super::outputs::first_push;
use super::store::Open;
use crate::content::Store;
use crate::digest::DiffId;
use crate::executor::CancelFlag;
use crate::export::{self, Ahead, Codec, Document, LayerAhead, Report};
use crate::oci::{Descriptor, Layer, Reference, digest_of};
use crate::ops::{Followed, Follower, Following, StepResult, Worker};
use crate::plan::{StepGraph, StepId};
use crate::registry::{BlobSource, Client};

/// Sends layers from its start to its end.
pub(super) struct Early {
    /// The steps whose layers the images have.
    wanted: BTreeSet<StepId>,
    /// `None` once all were told.
    blobs: Option<UnboundedSender<Blob>>,
    /// Layers of the images that were there before.
    waiting: RefCell<Vec<Blob>>,
    /// Something new was made.
    has_begun: Cell<bool>,
    sending: JoinHandle<()>,
    /// Sends what `ahead` compresses.
    streaming: JoinHandle<()>,
    ahead: Option<Arc<Ahead>>,
}

enum Blob {
    Layer(Layer),
    Config(Document),
}

impl Early {
    /// Starts; `None` when nothing is to be pushed as it is made.
    pub(super) fn start(
        request: &BuildRequest,
        open: &Open,
        worker: &Worker,
        graph: &StepGraph,
        wanted: impl IntoIterator<Item = StepId>,
    ) -> Option<Self> {
        let (name, codec) = first_push(request)?;
        let wanted: BTreeSet<StepId> = wanted.into_iter().collect();
        let (tell, begun) = unbounded_channel();
        let streaming = tokio::spawn(export::push_early(name.clone(), open.registry.clone(), begun));
        let (store, records) = (open.content.clone(), request.store.join("cache/compressed"));
        let ahead = Ahead::new(store, records, codec, threads(), Arc::new(move |growing| _ = tell.send(growing)));
        let ahead = ahead.map(Arc::new);
        if let Some(ahead) = &ahead {
            let steps = wanted.iter().map(|step| graph.step(*step).span).collect();
            let _ = worker.followed.set(Followed { steps, follower: Arc::new(Compressing(ahead.clone())) });
        }
        let sender = Arc::new(Sender {
            name,
            codec,
            store: open.content.clone(),
            records: request.store.join("cache/compressed"),
            client: open.registry.clone(),
            cancel: worker.cancel.clone(),
            at_once: Semaphore::new(AT_ONCE),
            ahead: ahead.clone(),
        });
        let (blobs, made) = unbounded_channel();
        let sending = tokio::spawn(sender.send_all(made));
        Some(Self {
            wanted,
            blobs: Some(blobs),
            waiting: RefCell::default(),
            has_begun: Cell::default(),
            sending,
            streaming,
            ahead,
        })
    }

    /// Who compresses long layers while their steps write them.
    pub(super) fn ahead(&self) -> Option<Arc<Ahead>> {
        self.ahead.clone()
    }

    /// Hears what a step gave. Nothing is sent before something new is made: all else is there, mostly.
    pub(super) fn made(&self, step: StepId, result: &StepResult) {
        if !self.wanted.contains(&step) {
            return;
        }
        let is_new = !result.cached;
        let is_image = result.created.is_none();
        let lower = if is_image { 0 } else { result.layers.height().saturating_sub(1) };
        let mut waiting = self.waiting.borrow_mut();
        waiting.extend(result.layers.layers().skip(lower).cloned().map(Blob::Layer));
        if is_new || self.has_begun.get() {
            self.has_begun.set(true);
            waiting.drain(..).for_each(|blob| self.send(blob));
        }
    }

    /// Hears what the config of an image is.
    pub(super) fn config(&self, config: &Document) {
        if self.has_begun.get() {
            self.send(Blob::Config(config.clone()));
        }
    }

    /// Waits for what is on its way, but not beyond the end of the build.
    pub(super) async fn end(mut self, worker: &Worker) {
        self.blobs = None;
        if let Some(ahead) = self.ahead.take() {
            let _ = tokio::task::spawn_blocking(move || ahead.wait()).await;
        }
        tokio::select! {
            _ = async { (&mut self.sending).await.and((&mut self.streaming).await) } => {}
            () = worker.canceled() => {}
        }
    }

    fn send(&self, blob: Blob) {
        if let Some(blobs) = &self.blobs {
            let _ = blobs.send(blob);
        }
    }
}

impl Drop for Early {
    /// Of a build that failed: what is being compressed comes to nothing, and leaves nothing.
    fn drop(&mut self) {
        self.sending.abort();
        self.streaming.abort();
        if let Some(ahead) = self.ahead.take() {
            ahead.wait();
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

struct Compressing(Arc<Ahead>);

impl Follower for Compressing {
    fn begin(&self) -> Option<Box<dyn Following>> {
        self.0.begin().map(|layer| Box::new(One(layer)) as Box<dyn Following>)
    }
}

struct One(LayerAhead);

impl Following for One {
    fn bytes(&mut self, bytes: &[u8]) -> bool {
        self.0.bytes(bytes)
    }

    fn end(self: Box<Self>, layer: DiffId) {
        self.0.end(layer);
    }
}

/// What it takes to send layers.
struct Sender {
    name: Reference,
    codec: Codec,
    store: Store,
    records: PathBuf,
    client: Client,
    cancel: CancelFlag,
    /// Bounds the memory that compressing takes.
    at_once: Semaphore,
    /// What may have compressed a layer already, or be about to have.
    ahead: Option<Arc<Ahead>>,
}

/// Layers that are compressed at once; each uses all cores it can get.
const AT_ONCE: usize = 2;

impl Sender {
    async fn send_all(self: Arc<Self>, mut made: UnboundedReceiver<Blob>) {
        let (mut tasks, mut seen) = (JoinSet::new(), BTreeSet::new());
        while let Some(blob) = made.recv().await {
            match blob {
                Blob::Layer(layer) if seen.insert(layer.diff_id) => {
                    tasks.spawn(self.clone().layer(layer));
                }
                Blob::Layer(_) => {}
                Blob::Config(config) => {
                    let sender = self.clone();
                    let source = BlobSource::Bytes(config.bytes);
                    tasks.spawn(async move { sender.push(&config.descriptor, &source, None).await });
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn layer(self: Arc<Self>, layer: Layer) {
        let origin = layer.origin.clone();
        let packed = if self.codec.applies_to(&layer) { self.clone().packed(layer).await } else { Some(layer) };
        let Some(layer) = packed else { return };
        let Ok(digest) = digest_of(&layer.descriptor) else { return };
        let source = BlobSource::File(self.store.path_of(&digest));
        self.push(&layer.descriptor, &source, origin.as_ref()).await;
    }

    async fn push(&self, descriptor: &Descriptor, source: &BlobSource, origin: Option<&Reference>) {
        let _ = self.client.push_blob(&self.name, descriptor, source, origin, &|_| ()).await;
    }

    /// Returns a layer as it leaves. A long one is sent while it is compressed.
    async fn packed(self: Arc<Self>, layer: Layer) -> Option<Layer> {
        let permit = self.at_once.acquire().await;
        let (tell, begun) = unbounded_channel();
        let stream = tokio::spawn(export::push_early(self.name.clone(), self.client.clone(), begun));
        let here = self.clone();
        let packed = tokio::task::spawn_blocking(move || here.compress(&layer, &|growing| _ = tell.send(growing)));
        let packed = packed.await;
        drop(permit);
        let _ = stream.await;
        packed.ok().flatten()
    }

    fn compress(&self, layer: &Layer, begun: &(dyn Fn(export::Growing) + Sync)) -> Option<Layer> {
        let (layers, report) = (std::slice::from_ref(layer), Report::silent_until(self.cancel.clone()));
        if let Some(ahead) = &self.ahead {
            ahead.settle();
        }
        let (store, records) = (&self.store, &self.records);
        let made = export::compressed_telling(layers, store, self.codec, records, threads(), &report, begun).ok()?;
        made.into_iter().next()
    }
}
