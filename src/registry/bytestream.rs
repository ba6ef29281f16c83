//! Blobs of a service that speaks gRPC, by the names of `google.bytestream.ByteStream`: read and written piece by piece.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use prost::Message;
use prost::bytes::Bytes;
use reqwest::Body;
use tokio::sync::mpsc;

use super::body::{BlobSource, Opened, PIECE, read_pieces};
use super::calls::{CallError, Method, Service};
use super::error::Cause;
use super::fetch::{Origin, Wanted};
use super::frames::{Frames, decoded, framed};
use super::push::telling;
use super::{Client, Inner};
use crate::content::Store;
use crate::digest::Digest;

/// The longest message that services send unless they were told otherwise (gRPC), and some room for what is around its bytes.
const MESSAGE_LIMIT: usize = (4 << 20) + (64 << 10);
const READ: Method = Method { path: "google.bytestream.ByteStream/Read", doing: "read a blob", limit: MESSAGE_LIMIT };
const WRITE: Method =
    Method { path: "google.bytestream.ByteStream/Write", doing: "write a blob", limit: MESSAGE_LIMIT };

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(string, tag = "1")]
    resource_name: String,
    #[prost(int64, tag = "2")]
    read_offset: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(bytes = "bytes", tag = "10")]
    data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(string, tag = "1")]
    resource_name: String,
    #[prost(int64, tag = "2")]
    write_offset: i64,
    #[prost(bool, tag = "3")]
    finish_write: bool,
    #[prost(bytes = "vec", tag = "10")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct WriteResponse {
    #[prost(int64, tag = "1")]
    committed_size: i64,
}

/// A blob of a service, by name.
pub struct Resource<'a> {
    /// Who has it.
    pub service: &'a Service,
    /// What it is called there.
    pub name: String,
}

impl Client {
    /// Fetches a blob into `store`, verified, and resumed where a connection broke. `progress` is told how many bytes are here.
    pub async fn fetch_resource(
        &self,
        resource: &Resource<'_>,
        (digest, size): (Digest, u64),
        store: &Store,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), CallError> {
        let wanted = Wanted { digest, size, store, progress };
        let fetched = self.0.fetch(Origin::Service(resource), &wanted).await;
        fetched.map_err(|cause| resource.service.failed(READ, cause))
    }

    /// Reads a small blob, verified.
    pub async fn read_resource(
        &self,
        resource: &Resource<'_>,
        (digest, size): (Digest, u64),
    ) -> Result<Vec<u8>, CallError> {
        let mut attempts = self.0.service_attempts(resource.service);
        loop {
            let cause = match self.0.read_resource(resource, (digest, size)).await {
                Ok(bytes) => return Ok(bytes),
                Err(cause) => cause,
            };
            attempts.wait_or(cause).await.map_err(|cause| resource.service.failed(READ, cause))?;
        }
    }

    /// Writes a blob of `size` bytes. `progress` is told how many bytes went out.
    pub async fn write_resource(
        &self,
        resource: &Resource<'_>,
        source: &BlobSource,
        size: u64,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), CallError> {
        let written = self.0.write_resource(resource, source, size, progress).await;
        written.map_err(|cause| resource.service.failed(WRITE, cause))
    }
}

impl Inner {
    /// Asks once, for what comes from `offset` on.
    pub(super) async fn ask_resource(&self, resource: &Resource<'_>, offset: u64) -> Result<Pieces, Cause> {
        let (resource_name, read_offset) = (resource.name.clone(), i64::try_from(offset).unwrap_or(i64::MAX));
        let question = framed(&ReadRequest { resource_name, read_offset });
        Ok(Pieces(self.call(resource.service, READ, question.into()).await?))
    }

    async fn read_resource(&self, resource: &Resource<'_>, (digest, size): (Digest, u64)) -> Result<Vec<u8>, Cause> {
        let (mut pieces, mut bytes) = (self.ask_resource(resource, 0).await?, Vec::new());
        while let Some(piece) = pieces.next().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > size {
                return Err(Cause::TooLong { expected: size });
            }
        }
        match Digest::of(&bytes) {
            actual if actual == digest => Ok(bytes),
            actual => Err(Cause::WrongDigest { expected: digest, actual }),
        }
    }

    async fn write_resource(
        &self,
        resource: &Resource<'_>,
        source: &BlobSource,
        size: u64,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), Cause> {
        let _permit = self.transfers.acquire().await.expect("the semaphore is never closed");
        let (opened, sent) = (source.open()?, Arc::new(AtomicU64::new(0)));
        let mut attempts = self.service_attempts(resource.service);
        loop {
            sent.store(0, Ordering::Relaxed);
            let written = async {
                let body = Body::wrap_stream(Writing::of(&opened, resource, size, &sent));
                self.call(resource.service, WRITE, body).await?.only().await
            };
            let cause = match telling(written, &sent, progress).await {
                // What was there already may be answered with before all of it was sent.
                Ok(WriteResponse { committed_size }) if u64::try_from(committed_size) == Ok(size) => return Ok(()),
                Ok(WriteResponse { committed_size }) => {
                    let message = format!("it took {committed_size} of {size} bytes");
                    Cause::Server { message, retry_after: None }
                }
                Err(cause) => cause,
            };
            attempts.wait_or(cause).await?;
        }
    }
}

/// The bytes of a blob as they come.
pub(super) struct Pieces(Frames);

impl Pieces {
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        let Some(message) = self.0.next().await? else { return Ok(None) };
        decoded(message).map(|ReadResponse { data }| Some(data))
    }
}

/// Where pieces to write come from.
enum Source {
    Disk(mpsc::Receiver<io::Result<Vec<u8>>>),
    Memory(VecDeque<Vec<u8>>),
}

/// Pieces as messages.
struct Writing {
    source: Source,
    /// Said in the first message.
    name: String,
    offset: u64,
    size: u64,
    sent: Arc<AtomicU64>,
}

impl Writing {
    /// Must be called within a runtime.
    fn of(opened: &Opened, resource: &Resource<'_>, size: u64, sent: &Arc<AtomicU64>) -> Self {
        let source = match opened {
            Opened::File(file) => Source::Disk(read_pieces(file.clone(), 0..size)),
            Opened::Bytes(bytes) => Source::Memory(bytes.chunks(PIECE).map(<[u8]>::to_vec).collect()),
        };
        Self { source, name: resource.name.clone(), offset: 0, size, sent: sent.clone() }
    }

    fn message(&mut self, data: Vec<u8>) -> Vec<u8> {
        let (resource_name, offset) = (std::mem::take(&mut self.name), self.offset);
        self.offset += data.len() as u64;
        self.sent.store(self.offset, Ordering::Relaxed);
        let write_offset = i64::try_from(offset).unwrap_or(i64::MAX);
        framed(&WriteRequest { resource_name, write_offset, finish_write: self.offset == self.size, data })
    }
}

impl Stream for Writing {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match &mut self.source {
            Source::Disk(pieces) => ready!(pieces.poll_recv(context)),
            Source::Memory(pieces) => pieces.pop_front().map(Ok),
        };
        Poll::Ready(next.map(|piece| Ok(self.message(piece?))))
    }
}
