//! Sending the bytes of one blob (distribution-spec, "Pushing blobs in chunks").
//!
//! A small blob goes in the request that names its digest. A larger one goes in one request before that, or in chunks: where the
//! registry speaks of chunks (`OCI-Chunk-Min-Length`), where it takes no request of that length (413), and after a connection broke,
//! so that the next break costs less. After a break the registry is asked how much it has.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE};
use reqwest::{RequestBuilder, Response, Url};

use super::Inner;
use super::body::Opened;
use super::error::Cause;
use super::push::check_digest;
use super::request::{Attempts, Repository};
use crate::digest::Digest;

/// Up to this many bytes are sent together with the digest, which saves a request; more go in a request of their own.
const TOGETHER_LIMIT: u64 = 4 << 20;
/// Chunks where the registry speaks of chunks, in bytes, unless they have to be longer.
const USUAL_CHUNK: u64 = 64 << 20;
/// Shorter chunks than this would take too many requests, in bytes.
const SHORTEST_CHUNK: u64 = 64 << 10;
pub(super) const OCTETS: &str = "application/octet-stream";

/// An upload that has begun.
pub(super) struct Upload {
    /// Where it goes on.
    pub(super) url: Url,
    /// The shortest chunk that is taken, except for the last.
    shortest: Option<u64>,
    /// Bytes that the registry has.
    offset: u64,
    /// The most that it ever had.
    best: u64,
}

/// What is sent, and how it was found best to send it, which outlives an upload that has to start over.
pub(super) struct Sending<'a> {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) source: &'a Opened,
    /// Counts bytes that went out.
    pub(super) sent: &'a Arc<AtomicU64>,
    /// Bytes for each request; `None` is all.
    pub(super) chunk: Option<u64>,
}

impl Upload {
    /// Reads the answer that began it.
    pub(super) fn begun(answer: &Response) -> Result<Self, Cause> {
        let shortest = text(answer.headers(), "oci-chunk-min-length").and_then(|text| text.parse().ok());
        Ok(Self { url: location(answer)?, shortest, offset: 0, best: 0 })
    }
}

impl Sending<'_> {
    fn is_short(&self) -> bool {
        self.size <= TOGETHER_LIMIT && self.chunk.is_none()
    }

    /// Makes the next request shorter than the one from `offset` was; whether it can be.
    fn shorten(&mut self, upload: &Upload) -> bool {
        let was = self.chunk.unwrap_or(self.size).min(self.size - upload.offset);
        let shorter = (was / 4).max(SHORTEST_CHUNK).max(upload.shortest.unwrap_or(0));
        if shorter < was {
            self.chunk = Some(shorter);
        }
        shorter < was
    }
}

impl Inner {
    /// Sends what the upload lacks, and ends it. An error that is temporary asks for another upload from the start.
    pub(super) async fn upload(
        &self,
        repository: &Repository,
        mut upload: Upload,
        sending: &mut Sending<'_>,
    ) -> Result<(), Cause> {
        if let Some(shortest) = upload.shortest.filter(|_| sending.size > TOGETHER_LIMIT) {
            sending.chunk.get_or_insert(USUAL_CHUNK.max(shortest));
        }
        let mut attempts = self.attempts(&repository.host);
        if sending.is_short() {
            match self.send_together(repository, &upload, sending).await {
                Err(Cause::Refused { status: 413, .. }) if sending.shorten(&upload) => {
                    self.find_position(repository, &mut upload).await?;
                }
                other => return other,
            }
        }
        while upload.offset < sending.size {
            if let Err(cause) = self.send_chunk(repository, &mut upload, sending).await {
                self.mend(repository, &mut upload, sending, &mut attempts, cause).await?;
            }
        }
        self.end(repository, upload.url, &sending.digest).await
    }

    async fn send_together(
        &self,
        repository: &Repository,
        upload: &Upload,
        sending: &Sending<'_>,
    ) -> Result<(), Cause> {
        let end = with_digest(upload.url.clone(), &sending.digest);
        let answer =
            self.send(repository, |client, _| octets(client.put(end.clone()), sending, 0, sending.size)).await?;
        check_digest(answer.headers(), &sending.digest)
    }

    async fn send_chunk(
        &self,
        repository: &Repository,
        upload: &mut Upload,
        sending: &Sending<'_>,
    ) -> Result<(), Cause> {
        let start = upload.offset;
        let end = sending.chunk.map_or(sending.size, |chunk| sending.size.min(start + chunk));
        let answer = self.send(repository, |client, _| {
            let request = octets(client.patch(upload.url.clone()), sending, start, end);
            // Old registries take no range for the whole.
            let is_whole = start == 0 && end == sending.size;
            if is_whole { request } else { request.header(CONTENT_RANGE, format!("{start}-{}", end - 1)) }
        });
        let answer = answer.await?;
        upload.url = location(&answer)?;
        upload.offset = match received(answer.headers()) {
            Some(offset) if offset <= start || offset > end => {
                let detail = format!("of the bytes up to {end} it claims to have {offset}");
                return Err(Cause::Malformed { what: "answer to an upload", detail });
            }
            Some(offset) => offset,
            None => end,
        };
        Ok(())
    }

    /// Finds out how to go on after a failure; gives it back when there is no way.
    async fn mend(
        &self,
        repository: &Repository,
        upload: &mut Upload,
        sending: &mut Sending<'_>,
        attempts: &mut Attempts,
        cause: Cause,
    ) -> Result<(), Cause> {
        let before = upload.offset;
        match cause {
            Cause::Refused { status: 413, .. } if sending.shorten(upload) => {
                self.find_position(repository, upload).await
            }
            Cause::Refused { status: 416, .. } => {
                self.find_position(repository, upload).await?;
                // The same range again would be refused again.
                if upload.offset == before {
                    return Err(cause);
                }
                attempts.wait_or(Cause::UploadLost { error: cause.to_string() }).await
            }
            cause if cause.is_temporary() => {
                let error = cause.to_string();
                attempts.wait_or(cause).await?;
                sending.shorten(upload);
                let found = self.find_position(repository, upload).await;
                if upload.offset > upload.best {
                    upload.best = upload.offset;
                    attempts.reset();
                }
                found.map_err(|_| Cause::UploadLost { error })
            }
            cause => Err(cause),
        }
    }

    /// Asks the registry how much it has. One that does not know the upload any more wants all of it anew.
    async fn find_position(&self, repository: &Repository, upload: &mut Upload) -> Result<(), Cause> {
        let lost = |error: &dyn std::fmt::Display| Cause::UploadLost { error: error.to_string() };
        let answer = self.send(repository, |client, _| client.get(upload.url.clone())).await;
        let answer = answer.map_err(|cause| lost(&cause))?;
        // `0-0` is said of nothing as well as of one byte.
        let offset = received(answer.headers()).filter(|offset| *offset != 1).unwrap_or(0);
        upload.url = location(&answer).unwrap_or_else(|_| upload.url.clone());
        upload.offset = offset;
        Ok(())
    }

    /// Ends an upload whose bytes are all there.
    pub(super) async fn end(&self, repository: &Repository, upload: Url, digest: &Digest) -> Result<(), Cause> {
        let end = with_digest(upload, digest);
        let answer = self.send(repository, |client, _| client.put(end.clone()).header(CONTENT_LENGTH, 0)).await?;
        check_digest(answer.headers(), digest)
    }
}

fn octets(request: RequestBuilder, sending: &Sending<'_>, start: u64, end: u64) -> RequestBuilder {
    let request = request.header(CONTENT_TYPE, OCTETS).header(CONTENT_LENGTH, end - start);
    request.body(sending.source.body(start..end, sending.sent))
}

/// Reads where an upload goes on; registries may answer with a path alone.
pub(super) fn location(answer: &Response) -> Result<Url, Cause> {
    let malformed = |detail: &str| Cause::Malformed { what: "answer to an upload", detail: detail.to_owned() };
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| malformed("it has no Location"))?;
    let url = answer.url().join(location).map_err(|_| malformed("its Location is not a URL"))?;
    match url.scheme() == answer.url().scheme() || url.scheme() == "https" {
        true => Ok(url),
        false => Err(malformed("its Location leaves https")),
    }
}

/// Reads how many bytes there are: `Range: 0-99` (or `bytes=0-99`) are a hundred.
fn received(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, RANGE.as_str())?;
    let (first, last) = range.trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    (first.trim() == "0").then(|| last.checked_add(1)).flatten()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Adds the digest to what the registry wrote into the query.
fn with_digest(mut upload: Url, digest: &Digest) -> Url {
    upload.query_pairs_mut().append_pair("digest", &digest.to_string());
    upload
}
