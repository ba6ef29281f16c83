//! Pushing blobs and manifests (distribution-spec, "Push").

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use tokio::sync::mpsc;

use super::body::{BlobSource, Pieces};
use super::challenge::Scope;
use super::error::Cause;
use super::request::Repository;
use super::route::Need;
use super::upload::{OCTETS, Sending, Upload, location};
use super::{Client, Inner, RegistryError};
use crate::digest::{Digest, Hasher};
use crate::oci::{Descriptor, Reference, descriptor, digest_of};

/// How a blob came to be in the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It was there already.
    WasThere,
    /// It was taken over from another repository of the registry.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

impl Client {
    /// Makes sure that the reference's repository has a blob: it is looked for, then taken over from `mount_from` (a
    /// repository of the same registry), then uploaded. `progress` is told how many bytes went out.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        source: &BlobSource,
        mount_from: Option<&Reference>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Pushed, RegistryError> {
        let subject = || format!("{}@{}", reference.name(), descriptor.digest());
        let mut repository = self.0.push_to(reference, subject)?;
        let from = mount_from.and_then(|from| self.0.route(from, Need::Push).ok()).map(|route| route.origin);
        let from = from.filter(|from| Arc::ptr_eq(&from.host, &repository.host) && from.path != repository.path);
        if let Some(from) = &from {
            repository.scope = repository.scope.and(&Scope::pull(&from.path));
        }
        let from = from.as_ref().map(|from| from.path.as_str());
        let pushed = self.0.push(&repository, descriptor, source, from, progress).await;
        pushed.map_err(|cause| RegistryError::new("push", subject(), repository.address(), cause))
    }

    /// Uploads a blob whose digest is known only at its end, for example a layer while it is compressed. Returns
    /// digest and length in bytes. It cannot be sent twice, so nothing is tried again once it has begun.
    pub async fn push_stream(
        &self,
        reference: &Reference,
        pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    ) -> Result<(Digest, u64), RegistryError> {
        let repository = self.0.push_to(reference, || reference.name())?;
        let pushed = self.0.push_stream(&repository, pieces).await;
        pushed.map_err(|cause| RegistryError::new("push", reference.name(), repository.address(), cause))
    }

    /// Whether a manifest or index with this digest is what a reference names at the place where it would be put. Not known is no.
    pub async fn has_manifest(&self, reference: &Reference, digest: &Digest) -> bool {
        match self.0.push_to(reference, || reference.to_string()) {
            Ok(repository) => self.0.has_manifest(&repository, reference, digest).await,
            Err(_) => false,
        }
    }

    /// Puts a manifest or index under the reference's tag (or `latest`), or, when the reference has only a digest, under that.
    /// Everything it refers to must be there. Returns its descriptor.
    pub async fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Descriptor, RegistryError> {
        let repository = self.0.push_to(reference, || reference.to_string())?;
        let put = self.0.put_manifest(&repository, reference, media_type, bytes).await;
        put.map(|(put, _)| put)
            .map_err(|cause| RegistryError::new("push", reference.to_string(), repository.address(), cause))
    }
}

impl Inner {
    /// Returns the repository that takes what is pushed to a reference.
    pub(super) fn push_to(
        &self,
        reference: &Reference,
        subject: impl Fn() -> String,
    ) -> Result<Repository, RegistryError> {
        let route = self.route(reference, Need::Push);
        let failed = |cause| RegistryError::new("push", subject(), &reference.domain, cause);
        route.map(|route| route.origin).map_err(failed)
    }

    async fn push(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        source: &BlobSource,
        mount_from: Option<&str>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Pushed, Cause> {
        let (digest, size) = (digest_of(descriptor)?, descriptor.size());
        if self.was_pushed(repository, &digest) {
            progress(size);
            return Ok(Pushed::WasThere);
        }
        let _permit = self.transfers.acquire().await.expect("the semaphore is never closed");
        let mut attempts = self.attempts(&repository.host);
        let sent = Arc::new(AtomicU64::new(0));
        let mut chunk = None;
        loop {
            let once = async {
                if self.has_blob(repository, &digest, size).await? {
                    return Ok(Pushed::WasThere);
                }
                let mount = mount_from.map(|from| (&digest, from));
                let Some(upload) = self.begin(repository, mount).await? else {
                    return Ok(Pushed::Mounted);
                };
                let source = source.open()?;
                let mut sending = Sending { digest, size, source: &source, sent: &sent, chunk };
                let uploaded = telling(self.upload(repository, upload, &mut sending), &sent, progress).await;
                chunk = sending.chunk;
                uploaded.map(|()| Pushed::Uploaded)
            };
            match once.await {
                Ok(pushed) => {
                    self.note_pushed(repository, digest);
                    progress(size);
                    return Ok(pushed);
                }
                Err(cause) => attempts.wait_or(cause).await?,
            }
        }
    }

    fn was_pushed(&self, repository: &Repository, digest: &Digest) -> bool {
        let known = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&(repository.address().to_owned(), repository.path.clone(), *digest))
    }

    fn note_pushed(&self, repository: &Repository, digest: Digest) {
        let mut known = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((repository.address().to_owned(), repository.path.clone(), digest));
    }

    /// Whether a blob is there; one of another length is not.
    async fn has_blob(&self, repository: &Repository, digest: &Digest, size: u64) -> Result<bool, Cause> {
        match self.send(repository, |client, base| client.head(format!("{base}/blobs/{digest}"))).await {
            Ok(answer) => {
                let length = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
                Ok(length.is_none_or(|length: u64| length == size))
            }
            Err(Cause::NotFound { .. }) => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    /// Begins an upload; `None` when the blob `mount.0` was taken over from the repository `mount.1`
    /// instead.
    async fn begin(&self, repository: &Repository, mount: Option<(&Digest, &str)>) -> Result<Option<Upload>, Cause> {
        let answer = self.send(repository, |client, base| {
            let request = client.post(format!("{base}/blobs/uploads/")).header(CONTENT_LENGTH, 0);
            match mount {
                Some((digest, from)) => request.query(&[("mount", &*digest.to_string()), ("from", from)]),
                None => request,
            }
        });
        let answer = answer.await?;
        if mount.is_some() && answer.status() == StatusCode::CREATED {
            return Ok(None);
        }
        Upload::begun(&answer).map(Some)
    }

    async fn push_stream(
        &self,
        repository: &Repository,
        pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    ) -> Result<(Digest, u64), Cause> {
        let _permit = self.transfers.acquire().await.expect("the semaphore is never closed");
        let mut attempts = self.attempts(&repository.host);
        let upload = loop {
            match self.begin(repository, None).await {
                Ok(upload) => break upload.expect("nothing is mounted without a repository to mount from"),
                Err(cause) => attempts.wait_or(cause).await?,
            }
        };
        let (hashed, ended) = hashing(pieces);
        // The body is there once; a challenge in the middle of an upload, which would need it again, ends it.
        let body = std::sync::Mutex::new(Some(hashed));
        let answer = self.send(repository, |client, _| {
            let body = body.lock().ok().and_then(|mut body| body.take()).map(Pieces::into_body);
            client.patch(upload.url.clone()).header(CONTENT_TYPE, OCTETS).body(body.unwrap_or_default())
        });
        let answer = answer.await;
        // The error of whoever makes the pieces says more than that of the request it broke.
        let (digest, length) = match ended.await {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => return Err(Cause::Stream(error)),
            Err(_) => {
                let detail = "it came before the end of the content".to_owned();
                return Err(answer.err().unwrap_or(Cause::Malformed { what: "answer to an upload", detail }));
            }
        };
        self.end(repository, location(&answer?)?, &digest).await?;
        self.note_pushed(repository, digest);
        Ok((digest, length))
    }

    /// Also says whether the registry has noted what the manifest refers to.
    pub(super) async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(Descriptor, bool), Cause> {
        let digest = Digest::of(bytes);
        let name = match (&reference.tag, reference.digest) {
            (_, Some(expected)) if expected != digest => return Err(Cause::WrongDigest { expected, actual: digest }),
            (None, Some(expected)) => expected.to_string(),
            _ => reference.tag_or_latest().to_owned(),
        };
        let answer = self.patiently(repository, |client, base| {
            client.put(format!("{base}/manifests/{name}")).header(CONTENT_TYPE, media_type).body(bytes.to_vec())
        });
        let answer = answer.await?;
        check_digest(answer.headers(), &digest)?;
        let is_noted = answer.headers().contains_key("oci-subject");
        Ok((descriptor(media_type, &digest, bytes.len() as u64), is_noted))
    }
}

/// What the registry took must be what was sent, if it says what that is.
pub(super) fn check_digest(headers: &HeaderMap, expected: &Digest) -> Result<(), Cause> {
    let announced = headers.get("docker-content-digest").and_then(|value| value.to_str().ok()?.parse().ok());
    match announced {
        Some(actual) if actual != *expected => Err(Cause::WrongDigest { expected: *expected, actual }),
        _ => Ok(()),
    }
}

/// Tells progress while a future runs.
pub(super) async fn telling<T>(
    work: impl Future<Output = T>,
    sent: &AtomicU64,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(TICK, &mut work).await {
            Ok(done) => return done,
            Err(_) => progress(sent.load(Ordering::Relaxed)),
        }
    }
}

type Ended = tokio::sync::oneshot::Receiver<io::Result<(Digest, u64)>>;

/// Hashes pieces on their way, on a thread that may block. The second part is told the digest and length at the end, or the
/// error that ended the pieces.
fn hashing(mut pieces: mpsc::Receiver<io::Result<Vec<u8>>>) -> (Pieces, Ended) {
    let (forward, hashed) = mpsc::channel(4);
    let (tell, ended) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let (mut hasher, mut length) = (Hasher::default(), 0);
        while let Some(piece) = pieces.blocking_recv() {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    // The request must not end well: a registry could take the part for the whole.
                    let broken = io::Error::new(error.kind(), error.to_string());
                    let _ = forward.blocking_send(Err(broken));
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            hasher.update(&piece);
            length += piece.len() as u64;
            if forward.blocking_send(Ok(piece)).is_err() {
                return;
            }
        }
        let _ = tell.send(Ok((hasher.finish(), length)));
    });
    (Pieces { pieces: hashed, sent: Arc::default() }, ended)
}
