//! Cache mounts that another machine left in a shared cache: brought here before the first step that uses one, if there is none yet.
//!
//! Nothing of it is trusted: chunks are verified, their tar is unpacked as a layer of an image is, and what does not fit is not used. The
//! mount appears whole or not at all.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FlockOperation;
use tokio::sync::mpsc;

use super::super::layers::blocking;
use super::super::{Inputs, OpError, Worker};
use super::initial::settle;
use super::stack::{LOWEST, Stack};
use super::{failed, waited, wanted};
use crate::cache::Place;
use crate::content;
use crate::diag::chain;
use crate::digest::Digest;
use crate::plan::RunOp;
use crate::progress::{Event, Stream, VertexId};
use crate::remotecache::{SharedMount, mount_key};

/// Chunks that are on their way at once, and that wait to be unpacked.
const AHEAD: usize = 4;

impl Worker {
    /// Brings what shared caches have of the cache mounts of a RUN that this machine does not have.
    pub(in super::super) async fn bring_cache_mounts(
        self: &Arc<Self>,
        op: &RunOp,
        vertex: VertexId,
        inputs: &Inputs,
    ) -> Result<(), OpError> {
        if !self.caches.are_read() {
            return Ok(());
        }
        let names: Vec<String> = wanted(op, inputs).into_keys().collect();
        for name in names {
            let _guard = self.busy.lock(Digest::of(name.as_bytes())).await;
            let (base, key) = (self.cache_mounts.join(&name), mount_key(&name));
            if base.join(LOWEST).is_dir() {
                continue;
            }
            let Some((mount, place)) = self.caches.mount(&key).await else { continue };
            let brought = tokio::select! {
                brought = bring(self, &base, &mount, &place) => brought,
                () = self.canceled() => return Err(OpError::Canceled),
            };
            match brought {
                Ok(()) => {
                    let bytes: u64 = mount.chunks().iter().map(|chunk| chunk.length).sum();
                    let data = format!("kiln: a cache mount of {bytes} bytes is here from {place}\n").into_bytes();
                    self.sink.event(Event::Log { id: vertex, stream: Stream::Stderr, data });
                }
                Err(error) => self.caches.refuse_mount(&key, &place, &chain(&error)),
            }
        }
        Ok(())
    }
}

async fn bring(worker: &Arc<Worker>, base: &Path, mount: &SharedMount, place: &Place) -> Result<(), OpError> {
    let scratch = worker.snapshots.scratch()?;
    let aside = content::Store::open(&scratch.beside("chunks"))?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (unpacker, base) = (worker.clone(), base.to_owned());
    let unpacking = blocking(move || {
        let unpacked = unpacker.snapshots.unpack(Chunks::new(receiver), &[])?;
        let join = || Stack::join(&base, FlockOperation::NonBlockingLockShared).map_err(failed(&base));
        let stack = waited(&unpacker, join)?;
        settle(unpacked.fs(), &stack.lowest()).map_err(failed(&base))
    });
    let (unpacked, ()) = tokio::join!(unpacking, send(worker, mount, place, &aside, sender));
    unpacked
}

/// Sends the chunks of a mount in their order, and then nothing as the last of them, or an error.
async fn send(
    worker: &Arc<Worker>,
    mount: &SharedMount,
    place: &Place,
    aside: &content::Store,
    to: mpsc::Sender<io::Result<Vec<u8>>>,
) {
    let (mut chunks, mut on_their_way) = (mount.chunks().iter(), VecDeque::new());
    loop {
        while on_their_way.len() < AHEAD
            && let Some(chunk) = chunks.next()
        {
            let (worker, chunk, place, aside) = (worker.clone(), chunk.clone(), place.clone(), aside.clone());
            on_their_way.push_back(tokio::spawn(async move { worker.caches.chunk(&place, &chunk, &aside).await }));
        }
        let Some(next) = on_their_way.pop_front() else {
            let _ = to.send(Ok(Vec::new())).await;
            return;
        };
        let content = next.await.ok().flatten().ok_or_else(|| io::Error::other("a chunk of it cannot be had"));
        let is_last = content.is_err();
        if to.send(content).await.is_err() || is_last {
            return;
        }
    }
}

/// The chunks as one stream, whose end is an empty one: a stream that is only cut off could be taken for a shorter archive.
struct Chunks {
    from: mpsc::Receiver<io::Result<Vec<u8>>>,
    now: io::Cursor<Vec<u8>>,
    is_at_end: bool,
}

impl Chunks {
    fn new(from: mpsc::Receiver<io::Result<Vec<u8>>>) -> Self {
        Self { from, now: io::Cursor::default(), is_at_end: false }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.now.read(buffer)?;
            if read > 0 || buffer.is_empty() || self.is_at_end {
                return Ok(read);
            }
            let next = self.from.blocking_recv().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
            self.is_at_end = next.is_empty();
            self.now = io::Cursor::new(next);
        }
    }
}
