//! Fetching blobs and unpacking layers: done once per layer, and only when a step must look into a filesystem or
//! an output needs the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use super::{OpError, StepResult, Worker};
use crate::content::{ContentError, Store, damaged_blob};
use crate::digest::{ChainId, Digest, HashingReader};
use crate::fsutil::Dir;
use crate::layer;
use crate::oci::{Layer, Reference, Stack, descriptor, media_type};
use crate::plan::ImageOp;
use crate::progress::{Event, VertexId};
use crate::snapshot::{SnapshotError, Snapshots};

/// One lock per digest, so that two steps of this process do not fetch or unpack the same layer. (Two processes
/// may: both succeed, and one result stays.)
#[derive(Default)]
pub struct Busy {
    locks: Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// Stacks whose snapshots are all there. They stay: this process uses them.
    whole: Mutex<BTreeSet<ChainId>>,
}

impl Busy {
    pub(super) async fn lock(&self, digest: Digest) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = self.locks.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_default().clone();
        lock.lock_owned().await
    }

    /// Returns how many of the lowest layers of `chain` are known to be there.
    fn known(&self, chain: &[ChainId]) -> usize {
        let whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        chain.iter().rposition(|id| whole.contains(id)).map_or(0, |at| at + 1)
    }

    fn know(&self, chain: &[ChainId]) {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).extend(chain.last());
    }
}

/// Returns the filesystem of an image; nothing is fetched.
pub(super) fn of_image(image: &ImageOp) -> StepResult {
    let layers = image.layers.iter().map(|(diff_id, descriptor)| Layer {
        diff_id: *diff_id,
        descriptor: descriptor.clone(),
        origin: Some(image.reference.clone()),
    });
    StepResult { layers: layers.collect(), created: None, cached: true }
}

impl Worker {
    /// Makes sure that the blobs of `layers` are in the store, fetching what is missing, several at once.
    pub async fn fetch(self: &Arc<Self>, layers: &[Layer], vertex: VertexId) -> Result<(), OpError> {
        let mut tasks = tokio::task::JoinSet::new();
        for layer in layers {
            let (worker, layer) = (self.clone(), layer.clone());
            tasks.spawn(async move { worker.fetch_one(&layer, vertex).await });
        }
        let mut missing = None;
        while let Some(joined) = tasks.join_next().await {
            match joined.map_err(OpError::panicked)? {
                // What is to be made again shall be known as a whole.
                Err(error) if damaged_blob(&error).is_some() => _ = missing.get_or_insert(error),
                fetched => fetched?,
            }
        }
        missing.map_or(Ok(()), Err)
    }

    async fn fetch_one(self: &Arc<Self>, layer: &Layer, vertex: VertexId) -> Result<(), OpError> {
        let digest = blob_digest(layer)?;
        let _guard = self.busy.lock(digest).await;
        // A power loss may have cut it short.
        if self.store.length_of(&digest)? == Some(layer.descriptor.size()) {
            return Ok(());
        }
        let total = layer.descriptor.size();
        let report = |current: u64, done: bool| {
            self.sink.event(Event::Status { id: vertex, part: digest.to_string(), current, total, done });
        };
        let moved = |current| report(current, false);
        moved(0);
        let fetch = async {
            let shared = self.caches.layer(&digest);
            if let Some(elsewhere) = &shared
                && self.caches.fetch(elsewhere, &self.store, &moved).await
            {
                return Ok(());
            }
            // The same layer may be one of a base image.
            let is_cache = |origin: &&Reference| {
                shared.iter().flat_map(|shared| &shared.places).any(|place| place.repository() == Some(*origin))
            };
            match layer.origin.as_ref().filter(|origin| !is_cache(origin)) {
                Some(origin) => Ok(self.registry.fetch_blob(origin, &layer.descriptor, &self.store, &moved).await?),
                // What made it makes it again.
                None => Err(OpError::from(ContentError::Missing { digest })),
            }
        };
        tokio::select! {
            fetched = fetch => fetched?,
            () = self.canceled() => return Err(OpError::Canceled),
        }
        report(total, true);
        Ok(())
    }

    /// Makes sure that every layer of the stack is fetched and unpacked.
    pub async fn materialize(self: &Arc<Self>, layers: &Stack, vertex: VertexId) -> Result<(), OpError> {
        let chain = layers.chain();
        let missing = |height: &usize| !self.snapshots.has(chain[*height]);
        let missing: Vec<usize> = (self.busy.known(&chain)..chain.len()).filter(missing).collect();
        let to_fetch: Vec<Layer> = missing.iter().filter_map(|height| layers.layer(*height)).cloned().collect();
        self.fetch(&to_fetch, vertex).await?;
        for (height, layer) in missing.into_iter().zip(to_fetch) {
            let _guard = self.busy.lock(chain[height].0).await;
            if self.snapshots.has(chain[height]) {
                continue;
            }
            let (worker, chain, task_layer) = (self.clone(), chain[..=height].to_vec(), layer.clone());
            let unpacked = blocking(move || unpack(&worker.store, &worker.snapshots, &chain, &task_layer)).await;
            unpacked.map_err(|error| self.blamed(&layer, error))?;
        }
        self.busy.know(&chain);
        Ok(())
    }

    /// A layer of a shared cache that is not what its record says is as good as none.
    fn blamed(&self, layer: &Layer, error: OpError) -> OpError {
        let Ok(digest) = layer.digest() else { return error };
        let is_its_fault = matches!(error, OpError::Unpack { .. } | OpError::WrongDiffId { .. });
        if !is_its_fault || self.caches.layer(&digest).is_none() {
            return error;
        }
        self.caches.lose(&digest, &crate::diag::chain(&error));
        ContentError::Missing { digest }.into()
    }

    /// Makes plain tars of the layers of shared caches among `layers`, as if they had been made here.
    pub async fn settle(self: &Arc<Self>, layers: &[Layer], vertex: VertexId) -> Result<Vec<Layer>, OpError> {
        let is_shared = |layer: &Layer| layer.digest().is_ok_and(|digest| self.caches.layer(&digest).is_some());
        let shared: Vec<Layer> = layers.iter().filter(|layer| is_shared(layer)).cloned().collect();
        self.fetch(&shared, vertex).await?;
        let mut settled = Vec::with_capacity(layers.len());
        for layer in layers {
            settled.push(if is_shared(layer) { self.settle_one(layer).await? } else { layer.clone() });
        }
        Ok(settled)
    }

    async fn settle_one(self: &Arc<Self>, layer: &Layer) -> Result<Layer, OpError> {
        let (worker, packed) = (self.clone(), layer.clone());
        let length = blocking(move || worker.plain(&packed)).await.map_err(|error| self.blamed(layer, error))?;
        let descriptor = descriptor(media_type::OCI_LAYER, &layer.diff_id.0, length);
        Ok(Layer { diff_id: layer.diff_id, descriptor, origin: None })
    }

    /// Writes the tar of a layer into the store; returns its length.
    fn plain(&self, layer: &Layer) -> Result<u64, OpError> {
        if let Some(length) = self.store.length_of(&layer.diff_id.0)? {
            return Ok(length);
        }
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| OpError::Unpack { layer: layer.diff_id, source };
        let blob = self.store.open_blob(&blob_digest(layer)?)?;
        let mut decoded = layer::decoder(layer.compression(), blob).map_err(|error| failed(error.into()))?;
        let mut ingest = self.store.ingest()?;
        std::io::copy(&mut decoded, &mut ingest).map_err(|error| failed(error.into()))?;
        let wanted = layer.diff_id.0;
        match ingest.commit(Some(&wanted)) {
            Err(ContentError::WrongDigest { actual, .. }) => {
                Err(OpError::WrongDiffId { layer: layer.diff_id, found: actual })
            }
            committed => Ok(committed?.1),
        }
    }

    /// Returns the merged read-only view of a stack, unpacking what is not yet.
    pub(super) async fn view(self: &Arc<Self>, layers: &Stack, vertex: VertexId) -> Result<Dir, OpError> {
        self.materialize(layers, vertex).await?;
        Ok(self.snapshots.view(&layers.chain())?)
    }
}

/// Unpacks the last layer of `chain`, whose blob is in the store, or packs it. Its digest and its diff id are checked before the
/// snapshot appears.
pub fn unpack(store: &Store, snapshots: &Snapshots, chain: &[ChainId], layer: &Layer) -> Result<(), OpError> {
    let Some((id, below)) = chain.split_last() else { return Ok(()) };
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpError::Unpack { layer: layer.diff_id, source };
    let wrong = |error| match error {
        SnapshotError::Layer(error) => failed(error.into()),
        error => error.into(),
    };
    let digest = blob_digest(layer)?;
    // A plain tar: what verifies the blob verifies the layer.
    if digest == layer.diff_id.0 && snapshots.packs(layer.descriptor.size()) {
        let blob = store.open_blob(&digest)?;
        if snapshots.pack(blob, &store.path_of(&digest), chain).map_err(wrong)? {
            return Ok(());
        }
    }
    let decoded = layer::decoder(layer.compression(), store.open_blob(&digest)?);
    let mut hashed = HashingReader::new(decoded.map_err(|error| failed(error.into()))?);
    let unpacked = snapshots.unpack(&mut hashed, below).map_err(wrong)?;
    // What follows the end of the archive counts for the digests.
    drain(&mut hashed).map_err(|error| failed(error.into()))?;
    let (_, found, _) = hashed.finish();
    if found != layer.diff_id.0 {
        return Err(OpError::WrongDiffId { layer: layer.diff_id, found });
    }
    Ok(snapshots.commit(unpacked, *id)?)
}

fn drain(reader: &mut impl Read) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while reader.read(&mut buffer)? > 0 {}
    Ok(())
}

fn blob_digest(layer: &Layer) -> Result<Digest, OpError> {
    layer.digest().map_err(|error| OpError::user("layer", format!("a layer of the base image has an {error}")))
}

/// Runs blocking work off the scheduler's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpError> + Send + 'static,
) -> Result<T, OpError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(OpError::panicked(error)),
    }
}
