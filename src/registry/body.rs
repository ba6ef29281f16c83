//! Request bodies that are read while they are sent.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;

use super::error::Cause;

/// How much is read and sent at a time, in bytes.
pub(super) const PIECE: usize = 256 << 10;
/// Pieces that may wait between the disk and the network.
const QUEUE: usize = 4;

/// Where the bytes of a blob to push come from. They may be read more than once: a push that breaks starts over.
#[derive(Clone, Debug)]
pub enum BlobSource {
    /// A file, for example [`Store::path_of`](crate::content::Store::path_of) the blob.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Vec<u8>),
}

/// A source that is open.
pub(super) enum Opened {
    File(Arc<File>),
    Bytes(Vec<u8>),
}

impl BlobSource {
    pub(super) fn length(&self) -> Result<u64, Cause> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(path) => {
                let metadata = std::fs::metadata(path);
                metadata.map(|file| file.len()).map_err(|source| Cause::Source { path: path.clone(), source })
            }
        }
    }

    pub(super) fn open(&self) -> Result<Opened, Cause> {
        Ok(match self {
            Self::Bytes(bytes) => Opened::Bytes(bytes.clone()),
            Self::File(path) => {
                let file = File::open(path).map_err(|source| Cause::Source { path: path.clone(), source })?;
                Opened::File(Arc::new(file))
            }
        })
    }
}

impl Opened {
    /// Returns a body of some of the bytes; `sent` counts those that went out, with those before. Must be called within a runtime.
    pub(super) fn body(&self, range: Range<u64>, sent: &Arc<AtomicU64>) -> reqwest::Body {
        sent.store(range.start, Ordering::Relaxed);
        let pieces = match self {
            Self::Bytes(bytes) => {
                sent.store(range.end, Ordering::Relaxed);
                let at = |place: u64| usize::try_from(place).map_or(bytes.len(), |place| place.min(bytes.len()));
                return bytes[at(range.start)..at(range.end)].to_vec().into();
            }
            Self::File(file) => read_pieces(file.clone(), range),
        };
        Pieces { pieces, sent: sent.clone() }.into_body()
    }
}

/// Reads a part of a file on a thread that may block. By position: bodies of one file do not disturb each other.
pub(super) fn read_pieces(file: Arc<File>, range: Range<u64>) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut position = range.start;
        loop {
            let left = usize::try_from(range.end - position).unwrap_or(PIECE);
            let mut piece = vec![0; PIECE.min(left)];
            let read = file.read_at(&mut piece, position);
            let is_last = !matches!(read, Ok(1..));
            if let Ok(0) = read {
                return;
            }
            let piece = read.map(|length| {
                position += length as u64;
                piece.truncate(length);
                piece
            });
            // Nobody listens any more when the request failed.
            if sender.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// Returns a body of pieces that somebody makes meanwhile; an error among them ends the request.
pub fn streamed(pieces: mpsc::Receiver<io::Result<Vec<u8>>>) -> reqwest::Body {
    Pieces { pieces, sent: Arc::default() }.into_body()
}

/// A channel of pieces as a stream.
pub(super) struct Pieces {
    pub(super) pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    pub(super) sent: Arc<AtomicU64>,
}

impl Pieces {
    pub(super) fn into_body(self) -> reqwest::Body {
        reqwest::Body::wrap_stream(self)
    }
}

impl Stream for Pieces {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.pieces.poll_recv(context);
        if let Poll::Ready(Some(Ok(piece))) = &next {
            self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        next
    }
}
