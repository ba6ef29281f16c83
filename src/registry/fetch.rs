//! Fetching a blob into the store: verified, and resumed where a broken connection left off.

use std::io::Write;

use prost::bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::bytestream::{self, Resource};
use super::error::Cause;
use super::objects::Signed;
use super::request::{Attempts, Repository};
use super::route::Need;
use super::{Client, Inner, RegistryError, joined};
use crate::content::{ContentError, Ingest, Store};
use crate::digest::Digest;
use crate::oci::{Descriptor, Reference, digest_of};

/// Pieces that may wait between the network and the disk.
const QUEUE: usize = 16;

impl Client {
    /// Fetches a blob of the reference's repository into `store`, unless it is there already. `progress` is told how many
    /// bytes are here, as they come. What does not match the descriptor is never stored.
    pub async fn fetch_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        store: &Store,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), RegistryError> {
        let subject = || format!("{}@{}", reference.name(), descriptor.digest());
        let failed = |registry: &str, cause| RegistryError::new("fetch", subject(), registry, cause);
        let digest = digest_of(descriptor).map_err(|error| failed(&reference.domain, error.into()))?;
        let route = self.0.route(reference, Need::Blob).map_err(|cause| failed(&reference.domain, cause))?;
        let wanted = Wanted { digest, size: descriptor.size(), store, progress };
        for mirror in &route.mirrors {
            if self.0.fetch(Origin::Registry(mirror), &wanted).await.is_ok() {
                return Ok(());
            }
        }
        self.0
            .fetch(Origin::Registry(&route.origin), &wanted)
            .await
            .map_err(|cause| failed(route.origin.address(), cause))
    }
}

/// Where bytes come from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A repository.
    Registry(&'a Repository),
    /// An object of a store.
    Store(&'a Signed),
    /// A blob of a service.
    Service(&'a Resource<'a>),
}

/// The bytes of an answer as they come.
enum Pieces {
    Body(Response),
    Messages(bytestream::Pieces),
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        match self {
            Self::Body(answer) => answer.chunk().await.map_err(Cause::http),
            Self::Messages(pieces) => pieces.next().await,
        }
    }

    /// Returns the offset at which they start: the one asked for, or 0.
    fn start(&self, asked: u64) -> Result<u64, Cause> {
        match self {
            Self::Body(answer) => starts_at(answer, asked),
            Self::Messages(_) => Ok(asked),
        }
    }
}

/// What is fetched, and where it goes.
pub(super) struct Wanted<'a> {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) store: &'a Store,
    pub(super) progress: &'a (dyn Fn(u64) + Send + Sync),
}

impl Inner {
    pub(super) async fn fetch(&self, origin: Origin<'_>, wanted: &Wanted<'_>) -> Result<(), Cause> {
        if wanted.store.length_of(&wanted.digest)? == Some(wanted.size) {
            (wanted.progress)(wanted.size);
            return Ok(());
        }
        let _permit = self.transfers.acquire().await.expect("the semaphore is never closed");
        let mut attempts = self.attempts_at(origin);
        let mut ingest = wanted.store.ingest()?;
        loop {
            let before = ingest.length();
            let (ended, result) = self.fetch_on(origin, wanted, ingest).await;
            match result {
                Ok(()) => return commit(ended, wanted).await,
                Err(cause) => {
                    if ended.length() > before {
                        attempts.reset();
                    }
                    attempts.wait_or(cause).await?;
                }
            }
            ingest = ended;
        }
    }

    /// Goes on with a download; gives the ingest back with all that came.
    async fn fetch_on(&self, origin: Origin<'_>, wanted: &Wanted<'_>, ingest: Ingest) -> (Ingest, Result<(), Cause>) {
        let offset = ingest.length();
        let answer = match self.ask_for(origin, &wanted.digest, offset).await {
            Ok(answer) => answer,
            // Nothing is there to go on with: the blob is shorter than its descriptor says.
            Err(Cause::Refused { .. }) if offset > 0 => {
                return (ingest, Err(Cause::Interrupted { received: offset, expected: wanted.size }));
            }
            Err(cause) => return (ingest, Err(cause)),
        };
        let ingest = match (offset, answer.start(offset)) {
            (_, Err(cause)) => return (ingest, Err(cause)),
            (1.., Ok(0)) => match wanted.store.ingest() {
                // The registry does not resume: from the start again.
                Ok(anew) => anew,
                Err(error) => return (ingest, Err(error.into())),
            },
            _ => ingest,
        };
        receive(answer, ingest, wanted).await
    }

    async fn ask_for(&self, origin: Origin<'_>, digest: &Digest, offset: u64) -> Result<Pieces, Cause> {
        let repository = match origin {
            Origin::Registry(repository) => repository,
            Origin::Store(request) => return self.ask(Method::GET, request, offset).await.map(Pieces::Body),
            Origin::Service(resource) => return self.ask_resource(resource, offset).await.map(Pieces::Messages),
        };
        let answer = self.send(repository, |client, base| {
            let request = client.get(format!("{base}/blobs/{digest}"));
            if offset == 0 { request } else { request.header(RANGE, format!("bytes={offset}-")) }
        });
        answer.await.map(Pieces::Body)
    }

    fn attempts_at(&self, origin: Origin<'_>) -> Attempts {
        match origin {
            Origin::Registry(repository) => self.attempts(&repository.host),
            Origin::Store(request) => self.store_attempts(request),
            Origin::Service(resource) => self.service_attempts(resource.service),
        }
    }
}

/// Returns the offset at which the body starts: the one asked for, or 0.
fn starts_at(answer: &Response, asked: u64) -> Result<u64, Cause> {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(0);
    }
    let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let start = range.strip_prefix("bytes ").and_then(|range| range.split('-').next()?.parse().ok());
    match start {
        Some(start) if start == asked => Ok(start),
        _ => Err(Cause::Malformed { what: "answer", detail: format!("asked for byte {asked}, got range `{range}`") }),
    }
}

/// Moves a body into an ingest: the network here, hashing and disk on a thread that may block.
async fn receive(mut answer: Pieces, ingest: Ingest, wanted: &Wanted<'_>) -> (Ingest, Result<(), Cause>) {
    let mut received = ingest.length();
    let (sender, writer) = spawn_writer(ingest);
    let result = loop {
        match answer.next().await {
            Ok(Some(chunk)) => {
                received += chunk.len() as u64;
                if received > wanted.size {
                    break Err(Cause::TooLong { expected: wanted.size });
                }
                // A writer that stopped has its reason, which comes below.
                if sender.send(chunk).await.is_err() {
                    break Ok(());
                }
                (wanted.progress)(received);
            }
            Ok(None) if received < wanted.size => {
                break Err(Cause::Interrupted { received, expected: wanted.size });
            }
            Ok(None) => break Ok(()),
            Err(cause) => break Err(cause),
        }
    };
    drop(sender);
    let (ingest, written) = joined(writer.await);
    (ingest, written.map_err(Cause::from).and(result))
}

type Written = (Ingest, Result<(), ContentError>);

fn spawn_writer<T: AsRef<[u8]> + Send + 'static>(mut ingest: Ingest) -> (mpsc::Sender<T>, JoinHandle<Written>) {
    let (sender, mut receiver) = mpsc::channel::<T>(QUEUE);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(piece) = receiver.blocking_recv() {
            if let Err(error) = ingest.write_all(piece.as_ref()) {
                let error = ContentError::of_io("write", ingest.path())(error);
                return (ingest, Err(error));
            }
        }
        (ingest, Ok(()))
    });
    (sender, writer)
}

async fn commit(ingest: Ingest, wanted: &Wanted<'_>) -> Result<(), Cause> {
    let expected = wanted.digest;
    match joined(tokio::task::spawn_blocking(move || ingest.commit(Some(&expected))).await) {
        Ok(_) => Ok(()),
        Err(ContentError::WrongDigest { expected, actual, .. }) => Err(Cause::WrongDigest { expected, actual }),
        Err(error) => Err(error.into()),
    }
}
