//! The door for cache mounts: their records, and their chunks one by one.

use std::sync::atomic::{AtomicU64, Ordering};

use super::mount::{Chunk, SharedMount};
use super::store::{Blob, StoreError};
use super::{Caches, chunks, lock};
use crate::cache::{Key, Place};
use crate::content::Store as Content;
use crate::progress::Event;
use crate::registry::BlobSource;

impl Caches {
    /// Returns the record of a cache mount from the first store that has one, in the order they were named.
    pub async fn mount(&self, key: &Key) -> Option<(SharedMount, Place)> {
        for watched in &self.from {
            let found = async {
                let bytes = watched.store.mount(key).await?;
                Ok::<_, StoreError>(bytes.map(|bytes| SharedMount::read(&bytes, key, &watched.trust)).transpose()?)
            };
            let found = async { found.await.inspect_err(|error| self.blame(key, error)) };
            if let Some(mount) = watched.guard.question(found).await.flatten() {
                return Some((mount, watched.place.clone()));
            }
        }
        None
    }

    /// Brings a chunk of a cache mount here, by way of the store `aside`, which keeps nothing of it.
    pub async fn chunk(&self, place: &Place, chunk: &Chunk, aside: &Content) -> Option<Vec<u8>> {
        let _permit = self.fetching.acquire().await;
        let (watched, moved) = (self.source(place), AtomicU64::new(0));
        let telling = |bytes| moved.store(bytes, Ordering::Relaxed);
        let fetched = async {
            watched.store.fetch(&chunk.descriptor(), aside, &telling).await?;
            let blob = aside.read_blob(&chunk.blob, chunk.size)?;
            let content =
                chunks::unpack(chunk, &blob).map_err(|error| super::RecordError::Malformed(error.to_string()))?;
            aside.remove_blob(&chunk.blob)?;
            Ok::<_, StoreError>(content)
        };
        watched.guard.transfer(&moved, fetched).await
    }

    /// Says that a cache mount that a store offers is not used.
    pub fn refuse_mount(&self, key: &Key, place: &Place, why: &str) {
        if lock(&self.spoilt).insert(*key) {
            let text = format!("WARNING: cache {place}: a cache mount is not used, and begins as a new one: {why}");
            self.sink.event(Event::Notice(text));
        }
    }

    /// Returns the record of a cache mount that the cache `to` has, if it is of use to who writes another; `None` if the cache cannot
    /// be written.
    pub async fn mount_there(&self, to: usize, key: &Key) -> Option<Option<SharedMount>> {
        let watched = &self.to[to];
        let bytes = watched.guard.question(watched.store.mount(key)).await?;
        // Whoever found it damaged, or by somebody he does not trust, replaces it whole.
        let is_of_use = watched.store.keeps_what_is_named() && !self.is_spoilt(key) && !self.is_distrusted(key);
        let known = bytes.filter(|_| is_of_use);
        Some(known.and_then(|bytes| SharedMount::read(&bytes, key, &watched.trust).ok()))
    }

    /// Puts a chunk into the cache `to`. Whether that worked.
    pub async fn put_chunk(&self, to: usize, chunk: &Chunk, blob: Vec<u8>) -> bool {
        let _permit = self.publishing.acquire().await;
        let (watched, moved) = (&self.to[to], AtomicU64::new(0));
        let telling = |bytes| moved.store(bytes, Ordering::Relaxed);
        let descriptor = chunk.descriptor();
        let blob = Blob { descriptor: &descriptor, source: BlobSource::Bytes(blob), origin: None };
        watched.guard.transfer(&moved, watched.store.put_blob(&blob, &telling)).await.is_some()
    }

    /// Puts the record of a cache mount into the cache `to`, over what is there; its chunks are there. Whether that worked.
    pub async fn put_mount(&self, to: usize, key: &Key, mount: &SharedMount) -> bool {
        let watched = &self.to[to];
        let mut chunks: Vec<_> = mount.chunks().iter().map(Chunk::descriptor).collect();
        // One that is there twice is one blob.
        let mut known = std::collections::BTreeSet::new();
        chunks.retain(|chunk| known.insert(chunk.digest().to_string()));
        let put = watched.store.put_mount(key, mount.to_bytes(), chunks);
        watched.guard.transfer(&AtomicU64::new(0), put).await.is_some()
    }
}
