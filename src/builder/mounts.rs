//! Cache mounts that a build changed go to shared caches at its end: as a tar cut into chunks, of which only those move that a cache
//! lacks. Few chunks are in memory at once, and the record follows when all are there.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::publish::{Publisher, Target, lock};
use super::remote::blocking;
use crate::diag::chain;
use crate::digest::Digest;
use crate::layer;
use crate::ops::{FrozenMount, OpError};
use crate::progress::Event;
use crate::remotecache::{CHUNKS_LIMIT, Chunk, Cutter, SharedMount, mount_key, pack};
use crate::snapshot::Snapshots;

/// Chunks that wait to be sent, and that are sent at once.
const WAITING: usize = 2;
const AT_ONCE: usize = 4;

type Packed = (Chunk, Vec<u8>);

impl Publisher {
    /// Hears that there is something new in the cache mount of this name.
    pub(super) fn changed(&self, name: &str) {
        lock(&self.changed).insert(name.to_owned());
    }

    /// Publishes the cache mounts that changed.
    pub(super) async fn publish_mounts(&self) {
        let changed = lock(&self.changed).clone();
        for (to, target) in self.targets.iter().enumerate() {
            for name in &changed {
                if !self.publish_mount(to, target, name).await {
                    target.failed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    async fn publish_mount(&self, to: usize, target: &Target, name: &str) -> bool {
        let key = mount_key(name);
        let Some(there) = self.caches.mount_there(to, &key).await else { return false };
        let there: Vec<Chunk> = there.map(|mount| mount.chunks().to_vec()).unwrap_or_default();
        let (sender, receiver) = mpsc::channel(WAITING);
        let (mounts, snapshots, known) = (self.mounts.clone(), self.snapshots.clone(), there.clone());
        let named = name.to_owned();
        let reading = blocking(move || cut(&mounts, &named, &snapshots, known, &sender));
        let (read, is_sent) = tokio::join!(reading, self.send(to, receiver));
        let chunks = match read {
            Ok(Some(chunks)) if is_sent => chunks,
            Ok(Some(_)) => return false,
            // It was pruned meanwhile.
            Ok(None) => return true,
            // Then the cache said why.
            Err(_) if !is_sent => return false,
            Err(error) => {
                let text = format!("WARNING: a cache mount is not published: {}", chain(&error));
                self.sink.event(Event::Notice(text));
                return false;
            }
        };
        if chunks == there && target.request.sign.is_none() {
            return true;
        }
        let mount = SharedMount::new(&key, chunks, self.created.clone());
        let mount = match &target.request.sign {
            Some(key) => mount.signed(key),
            None => mount,
        };
        self.caches.put_mount(to, &key, &mount).await
    }

    /// Whether all were sent.
    async fn send(&self, to: usize, mut chunks: mpsc::Receiver<Packed>) -> bool {
        let (mut sending, mut is_sent) = (JoinSet::new(), true);
        while let Some((chunk, blob)) = chunks.recv().await {
            if sending.len() >= AT_ONCE {
                is_sent &= matches!(sending.join_next().await, Some(Ok(true)));
            }
            if !is_sent {
                return false;
            }
            let caches = self.caches.clone();
            sending.spawn(async move { caches.put_chunk(to, &chunk, blob).await });
        }
        while let Some(sent) = sending.join_next().await {
            is_sent &= matches!(sent, Ok(true));
        }
        is_sent
    }
}

/// Reads a cache mount and sends what is not `known`; returns all its chunks, in order.
fn cut(
    mounts: &Path,
    name: &str,
    snapshots: &Snapshots,
    known: Vec<Chunk>,
    to: &mpsc::Sender<Packed>,
) -> Result<Option<Vec<Chunk>>, OpError> {
    let Some(mount) = FrozenMount::open(mounts, name, snapshots)? else { return Ok(None) };
    let mut known: BTreeMap<Digest, Chunk> = known.into_iter().map(|chunk| (chunk.content, chunk)).collect();
    let mut chunks = Vec::new();
    let mut cutter = Cutter::new(|content: &[u8]| {
        if chunks.len() == CHUNKS_LIMIT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {CHUNKS_LIMIT} chunks")));
        }
        if let Some(chunk) = known.get(&Digest::of(content)) {
            chunks.push(chunk.clone());
            return Ok(());
        }
        let (chunk, blob) = pack(content)?;
        known.insert(chunk.content, chunk.clone());
        chunks.push(chunk.clone());
        to.blocking_send((chunk, blob)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    });
    layer::write_tree(mount.tree(), &mut cutter).map_err(|error| OpError::Layer(error.into()))?;
    cutter.finish().map_err(|error| OpError::Layer(error.into()))?;
    Ok(Some(chunks))
}
