//! Request bodies that are read while they are sent.

use std::fs::File;
use std::io;
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
const PIECE: usize = 256 << 10;
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
    /// Returns a body of all bytes; `sent` counts those that went out. Must be called within a runtime.
    pub(super) fn body(&self, sent: &Arc<AtomicU64>) -> reqwest::Body {
        sent.store(0, Ordering::Relaxed);
        let pieces = match self {
            Self::Bytes(bytes) => {
                sent.store(bytes.len() as u64, Ordering::Relaxed);
                return bytes.clone().into();
            }
            Self::File(file) => read_pieces(file.clone()),
        };
        Pieces { pieces, sent: sent.clone() }.into_body()
    }
}

/// Reads a file from its start on a thread that may block. By position: bodies of one file do not disturb each other.
fn read_pieces(file: Arc<File>) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut position = 0;
        loop {
            let mut piece = vec![0; PIECE];
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
