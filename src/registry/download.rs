//! Plain downloads: ADD of a URL, and contexts behind http.

use std::io;

use reqwest::StatusCode;
use reqwest::header::{
    AUTHORIZATION, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};

use super::Client;
use super::error::Cause;
use super::transport::Security;

/// A file that is asked for.
#[derive(Clone, Copy, Default)]
pub struct DownloadRequest<'a> {
    /// Where it is.
    pub url: &'a str,
    /// The value of the `Authorization` header. It is not sent to another host that the server redirects to.
    pub authorization: Option<&'a str>,
    /// The file is wanted only if its `ETag` is another one.
    pub etag: Option<&'a str>,
    /// The file is wanted only if it was modified later.
    pub last_modified: Option<&'a str>,
}

/// What the server said besides the bytes: headers as they came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Download {
    /// Of the file.
    pub etag: Option<String>,
    /// Of the file.
    pub last_modified: Option<String>,
    /// Of the answer.
    pub date: Option<String>,
}

/// Takes the bytes of a download as they come, with the length the server announced.
pub type Take<'a> = dyn FnMut(&[u8], Option<u64>) -> io::Result<()> + Send + 'a;

/// Why a URL could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The server answered, but not with the file.
    #[error("invalid response status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// A header that cannot be sent.
    #[error("the value for the header {name} cannot be sent")]
    Header {
        /// Its name.
        name: &'static str,
    },
    /// The bytes could not be taken.
    #[error("cannot write the download: {0}")]
    Write(#[source] io::Error),
    /// No answer, or half of one.
    #[error(transparent)]
    Connection(#[from] Box<Cause>),
}

impl Client {
    /// Reads a file and hands its bytes to `take`; `None` if the one that is known still holds. Redirects are
    /// followed; `https` is never left for `http`. Tried once: what was handed out cannot be taken back.
    pub async fn download(
        &self,
        request: DownloadRequest<'_>,
        take: &mut Take<'_>,
    ) -> Result<Option<Download>, DownloadError> {
        let is_secure = request.url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
        let security = if is_secure { Security::Verified } else { Security::Plain };
        let http = |error: reqwest::Error| DownloadError::Connection(Box::new(Cause::http(error)));
        let client = self.0.downloads.client(security, &self.0.settings).map_err(Box::new)?;
        let mut answer = client.get(request.url).headers(headers(&request)?).send().await.map_err(http)?;
        let is_conditional = request.etag.is_some() || request.last_modified.is_some();
        if is_conditional && answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        if !answer.status().is_success() {
            return Err(DownloadError::Status { status: answer.status().as_u16() });
        }
        let total = answer.content_length();
        while let Some(bytes) = answer.chunk().await.map_err(http)? {
            take(&bytes, total).map_err(DownloadError::Write)?;
        }
        let header = |name: HeaderName| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        Ok(Some(Download { etag: header(ETAG), last_modified: header(LAST_MODIFIED), date: header(DATE) }))
    }
}

fn headers(request: &DownloadRequest<'_>) -> Result<HeaderMap, DownloadError> {
    let mut headers = HeaderMap::new();
    for (header, name, value) in [
        (AUTHORIZATION, "Authorization", request.authorization),
        (IF_NONE_MATCH, "If-None-Match", request.etag),
        (IF_MODIFIED_SINCE, "If-Modified-Since", request.last_modified),
    ] {
        let Some(value) = value else { continue };
        let mut value = HeaderValue::from_str(value).map_err(|_| DownloadError::Header { name })?;
        value.set_sensitive(header == AUTHORIZATION);
        headers.insert(header, value);
    }
    Ok(headers)
}
