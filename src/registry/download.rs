//! Plain downloads, for ADD of a URL.

use std::io;

use reqwest::header::LAST_MODIFIED;

use super::Client;
use super::error::Cause;
use super::transport::Security;

/// What the server said besides the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Download {
    /// The `Last-Modified` header as it came.
    pub last_modified: Option<String>,
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
    /// The bytes could not be taken.
    #[error("cannot write the download: {0}")]
    Write(#[source] io::Error),
    /// No answer, or half of one.
    #[error(transparent)]
    Connection(#[from] Box<Cause>),
}

impl Client {
    /// Reads `url` and hands its bytes to `take`. Redirects are
    /// followed; `https` is never left for `http`. Tried once: what was handed out cannot be taken back.
    pub async fn download(&self, url: &str, take: &mut Take<'_>) -> Result<Download, DownloadError> {
        let security = if url.starts_with("https://") { Security::Verified } else { Security::Plain };
        let http = |error: reqwest::Error| DownloadError::Connection(Box::new(Cause::http(error)));
        let client = self.0.transport.client(security, &self.0.settings).map_err(Box::new)?;
        let mut answer = client.get(url).send().await.map_err(http)?;
        if !answer.status().is_success() {
            return Err(DownloadError::Status { status: answer.status().as_u16() });
        }
        let total = answer.content_length();
        while let Some(bytes) = answer.chunk().await.map_err(http)? {
            take(&bytes, total).map_err(DownloadError::Write)?;
        }
        let header = answer.headers().get(LAST_MODIFIED).and_then(|value| value.to_str().ok());
        Ok(Download { last_modified: header.map(str::to_owned) })
    }
}
