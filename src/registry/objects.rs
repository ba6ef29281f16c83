//! Objects behind URLs that carry a signature, for stores that are no registries: buckets of S3 and what is like it. Connections, patience
//! and the bound on transfers are those of the client; redirects are not followed, since a signature is for one host.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, HeaderName, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::body::BlobSource;
use super::error::{Cause, of_xml};
use super::fetch::{Origin, Wanted};
use super::push::telling;
use super::request::{Attempts, read_document};
use super::transport::Security;
use super::upload::OCTETS;
use super::{Client, Inner};
use crate::content::Store;
use crate::context::http_date;
use crate::digest::Digest;

/// The most of a document that a store answers with, in bytes.
const ANSWER_LIMIT: u64 = 64 << 10;

/// A request that is signed. Its URL is not shown: whoever has it may do the same for a while.
pub struct Signed {
    /// Where to, with the signature.
    pub url: Url,
    /// Headers that were signed.
    pub headers: Vec<(&'static str, String)>,
    /// The object, as errors name it.
    pub object: String,
}

/// A failure, with what was being done to what, where. It shows no signature.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} `{object}` at {host}: {cause}")]
pub struct ObjectError {
    /// A verb.
    pub doing: &'static str,
    /// The object.
    pub object: String,
    /// Host and port that were asked.
    pub host: String,
    /// What happened.
    #[source]
    pub cause: Box<Cause>,
}

/// What a store says of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its length in bytes.
    pub length: Option<u64>,
    /// How long ago it was written, by the store's own clock.
    pub age: Option<Duration>,
}

/// What became of an object that was to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It is written.
    Written,
    /// A condition does not hold: it is there already.
    WasThere,
    /// The store knows no conditions.
    NoConditions,
}

impl Client {
    /// Looks for an object.
    pub async fn look_at_object(&self, request: &Signed) -> Result<Option<Stored>, ObjectError> {
        let answer = self.0.ask_patiently(Method::HEAD, request).await;
        Ok(found(answer).map_err(|cause| request.failed("look at", cause))?.map(|answer| stored(&answer)))
    }

    /// Reads a small object.
    pub async fn read_object(&self, request: &Signed, limit: u64) -> Result<Option<Vec<u8>>, ObjectError> {
        let read = async {
            let Some(answer) = found(self.0.ask_patiently(Method::GET, request).await)? else { return Ok(None) };
            read_document(answer, "the object", limit).await.map(Some)
        };
        read.await.map_err(|cause| request.failed("read", cause))
    }

    /// Fetches an object into `store`, verified, and resumed where a connection broke. `progress` is told how many bytes are here.
    pub async fn fetch_object(
        &self,
        request: &Signed,
        (digest, size): (Digest, u64),
        store: &Store,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), ObjectError> {
        let wanted = Wanted { digest, size, store, progress };
        self.0.fetch(Origin::Store(request), &wanted).await.map_err(|cause| request.failed("read", cause))
    }

    /// Writes an object in one request. `progress` is told how many bytes went out.
    pub async fn put_object(
        &self,
        request: &Signed,
        source: &BlobSource,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Put, ObjectError> {
        let put = async {
            let all = (source, 0..source.length()?);
            let answer = self.0.send_bytes(Method::PUT, request, all, progress).await?;
            Ok(request.outcome(answer.status()).unwrap_or(Put::Written))
        };
        put.await.map_err(|cause| request.failed("write", cause))
    }

    /// Writes a part of an object; returns the entity tag that the store gave it. `progress` is told how many bytes of the source went
    /// out, with those before the part.
    pub async fn put_part(
        &self,
        request: &Signed,
        part: (&BlobSource, Range<u64>),
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<String, ObjectError> {
        let put = async {
            let answer = self.0.send_bytes(Method::PUT, request, part, progress).await?;
            let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            tag.ok_or(Cause::Malformed { what: "answer", detail: "a part has no entity tag".to_owned() })
        };
        put.await.map_err(|cause| request.failed("write", cause))
    }

    /// Has something done with an object that a document asks for; returns what the store says of it.
    pub async fn post_object(&self, request: &Signed, body: String) -> Result<String, ObjectError> {
        let body = BlobSource::Bytes(body.into_bytes());
        self.0.post(request, &body).await.map_err(|cause| request.failed("write", cause))
    }

    /// Removes what a request names, if it is there.
    pub async fn remove_object(&self, request: &Signed) -> Result<(), ObjectError> {
        let removed = found(self.0.ask_patiently(Method::DELETE, request).await);
        removed.map(drop).map_err(|cause| request.failed("remove", cause))
    }
}

impl Inner {
    /// Sends some bytes, until there is an answer to them that counts.
    async fn send_bytes(
        &self,
        method: Method,
        request: &Signed,
        (source, range): (&BlobSource, Range<u64>),
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Response, Cause> {
        let _permit = self.transfers.acquire().await.expect("the semaphore is never closed");
        let (opened, sent) = (source.open()?, Arc::new(AtomicU64::new(0)));
        let mut attempts = self.store_attempts(request);
        loop {
            let prepared = self.prepare(method.clone(), request)?;
            // One that is empty gets no length of its own accord.
            let length = range.end - range.start;
            let prepared = prepared.header(CONTENT_LENGTH, length).header(CONTENT_TYPE, OCTETS);
            let answer = telling(prepared.body(opened.body(range.clone(), &sent)).send(), &sent, progress).await;
            let cause = match answer.map_err(Cause::http) {
                Ok(answer) if request.outcome(answer.status()).is_some() => return Ok(answer),
                // Somebody else is writing it: a moment later it is there.
                Ok(answer) if answer.status() == StatusCode::CONFLICT => {
                    Cause::Server { message: answer.status().to_string(), retry_after: None }
                }
                Ok(answer) => refusal(answer).await,
                Err(cause) => cause,
            };
            attempts.wait_or(cause).await?;
        }
    }

    async fn post(&self, request: &Signed, body: &BlobSource) -> Result<String, Cause> {
        let mut attempts = self.store_attempts(request);
        loop {
            let answer = self.send_bytes(Method::POST, request, (body, 0..body.length()?), &|_| {}).await?;
            let said = read_document(answer, "the answer", ANSWER_LIMIT).await?;
            // What takes a store a while succeeds before it fails.
            match of_xml(&said) {
                Some(message) => attempts.wait_or(Cause::Server { message, retry_after: None }).await?,
                None => return Ok(String::from_utf8_lossy(&said).into_owned()),
            }
        }
    }

    async fn ask_patiently(&self, method: Method, request: &Signed) -> Result<Response, Cause> {
        let mut attempts = self.store_attempts(request);
        loop {
            match self.ask(method.clone(), request, 0).await {
                Ok(answer) => return Ok(answer),
                Err(cause) => attempts.wait_or(cause).await?,
            }
        }
    }

    /// Asks once, for what comes from `offset` on.
    pub(super) async fn ask(&self, method: Method, request: &Signed, offset: u64) -> Result<Response, Cause> {
        let prepared = self.prepare(method, request)?;
        let prepared = if offset == 0 { prepared } else { prepared.header(RANGE, format!("bytes={offset}-")) };
        let answer = prepared.send().await.map_err(Cause::http)?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }

    fn prepare(&self, method: Method, request: &Signed) -> Result<RequestBuilder, Cause> {
        let security = if request.url.scheme() == "https" { Security::Verified } else { Security::Plain };
        let prepared = self.transport.client(security, &self.settings)?.request(method, request.url.clone());
        Ok(request.headers.iter().fold(prepared, |prepared, (name, value)| prepared.header(*name, value)))
    }

    pub(super) fn store_attempts(&self, request: &Signed) -> Attempts {
        Attempts::of(self.settings.retry, self.sink.clone(), format!("store {}", request.host()))
    }
}

impl Signed {
    fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// What a status says that is no failure.
    fn outcome(&self, status: StatusCode) -> Option<Put> {
        let is_conditional = self.headers.iter().any(|(name, _)| *name == IF_NONE_MATCH.as_str());
        match status {
            status if status.is_success() => Some(Put::Written),
            StatusCode::PRECONDITION_FAILED if is_conditional => Some(Put::WasThere),
            status if is_conditional && knows_no_conditions(status) => Some(Put::NoConditions),
            _ => None,
        }
    }

    fn failed(&self, doing: &'static str, cause: Cause) -> ObjectError {
        ObjectError { doing, object: self.object.clone(), host: self.host(), cause: Box::new(cause) }
    }
}

/// What an answer that is no success says. That a bucket is not there is another thing than that an object is not.
async fn refusal(answer: Response) -> Cause {
    match Cause::of_answer(answer, true).await {
        Cause::NotFound { message } if message.contains("NoSuchBucket") => Cause::Refused { status: 404, message },
        cause => cause,
    }
}

/// Stores that know none say so in one way or the other. What else may be wrong is seen when it is tried without.
fn knows_no_conditions(status: StatusCode) -> bool {
    [StatusCode::NOT_IMPLEMENTED, StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED].contains(&status)
}

/// An object that is not there is nothing to complain of.
fn found(answer: Result<Response, Cause>) -> Result<Option<Response>, Cause> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Cause::NotFound { .. }) => Ok(None),
        Err(cause) => Err(cause),
    }
}

fn stored(answer: &Response) -> Stored {
    let text = |name: HeaderName| answer.headers().get(name)?.to_str().ok();
    let seconds = |name| text(name).and_then(http_date);
    let age = seconds(DATE).zip(seconds(LAST_MODIFIED)).map(|(now, then)| now.saturating_sub(then));
    Stored {
        length: text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        age: age.map(|age| Duration::from_secs(age.try_into().unwrap_or(0))),
    }
}
