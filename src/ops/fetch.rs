//! Files behind http and trees of git repositories, brought to this machine: for ADD, and for contexts.
//!
//! A download becomes a blob of the store. The next build asks the server whether it still holds, which costs an answer
//! without a body. A repository is asked for its commit first.
//!
//! | secret                                                         | goes to                                 |
//! |----------------------------------------------------------------|-----------------------------------------|
//! | `HTTP_AUTH_TOKEN_<host>`, `HTTP_AUTH_HEADER_<host>`            | `http` and `https` downloads from `host` |
//! | `GIT_AUTH_HEADER[.<host>]`, `GIT_AUTH_TOKEN[.<host>]`          | repositories at `host`, by `http(s)`    |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::Fetched;
use crate::cache::{CacheError, DownloadCache, DownloadRecord};
use crate::content::{self, ContentError};
use crate::context::{GitAccess, GitAddress, GitCommit, GitError, GitRemote, header_text, http_date};
use crate::digest::Digest;
use crate::fsutil::Timestamp;
use crate::registry::{self, Download, DownloadError, DownloadRequest};
use crate::snapshot::{Scratch, SnapshotError, Snapshots};

/// A file that was modified shorter ago than this may be modified again without a new time (RFC 9110, 8.8.2.2), in seconds.
const SETTLED_SECONDS: i64 = 60;

/// Brings files and trees here.
#[derive(Clone)]
pub struct Fetcher {
    /// Where downloads are kept.
    pub store: content::Store,
    /// Where trees are put.
    pub snapshots: Snapshots,
    /// Who downloads.
    pub registry: registry::Client,
    /// What is known of earlier downloads.
    pub downloads: DownloadCache,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Agent sockets by id.
    pub agents: BTreeMap<String, PathBuf>,
    /// The user's list of known ssh hosts.
    pub known_hosts: Option<PathBuf>,
    /// What came so far.
    pub fetched: Fetched,
}

/// A file of a server, as a blob of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Downloaded {
    /// Its bytes.
    pub digest: Digest,
    /// When the server says it was modified.
    pub modified: Option<Timestamp>,
    /// Whether the bytes came just now, and so were verified.
    is_new: bool,
}

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A download.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// A secret for a download that cannot be sent.
    #[error("the secret {name} is no text of one line")]
    Secret {
        /// Its id.
        name: String,
    },
    /// A repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The store.
    #[error(transparent)]
    Store(#[from] ContentError),
    /// What is remembered of downloads.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A place for a tree.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl FetchError {
    /// What the user may do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Git(error) => error.help().map(str::to_owned),
            Self::Download(DownloadError::Status { status: 401 | 403 }) => {
                Some("if it needs a token, give it to the build: `--secret id=HTTP_AUTH_TOKEN_<host>,env=TOKEN`".into())
            }
            _ => None,
        }
    }
}

/// Hears of the bytes that came so far, and of how many there will be.
pub type Progress<'a> = dyn FnMut(u64, Option<u64>) + Send + 'a;

impl Fetcher {
    /// Downloads a file of at most `limit` bytes, unless the one that is known still holds.
    pub async fn download(
        &self,
        url: &str,
        limit: Option<u64>,
        progress: &mut Progress<'_>,
    ) -> Result<Downloaded, FetchError> {
        let is_here = |record: &DownloadRecord| {
            self.store.length_of(&record.digest).is_ok_and(|length| length == Some(record.length))
        };
        let known = self.downloads.get(url).filter(is_here);
        let authorization = self.authorization(url)?;
        let etag = known.as_ref().and_then(|known| known.etag.as_deref());
        // A time says less than a tag.
        let time = known.as_ref().filter(|known| known.is_settled && known.etag.is_none());
        let request = DownloadRequest {
            url,
            authorization: authorization.as_deref(),
            etag,
            last_modified: time.and_then(|known| known.last_modified.as_deref()),
        };
        let mut ingest = self.store.ingest()?;
        let mut take = |bytes: &[u8], total: Option<u64>| {
            ingest.write_all(bytes)?;
            if limit.is_some_and(|limit| ingest.length() > limit) {
                let text = format!("it is longer than {} MiB", limit.unwrap_or(0) >> 20);
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
            }
            progress(ingest.length(), total);
            Ok(())
        };
        let answer = self.registry.download(request, &mut take).await?;
        let (record, is_new) = match (answer, known) {
            (Some(answer), _) => {
                let (digest, length) = ingest.commit(None)?;
                let record = record(answer, digest, length);
                self.downloads.put(url, &record)?;
                (record, true)
            }
            (None, Some(known)) => (known, false),
            (None, None) => unreachable!("without a condition no file stays unsent"),
        };
        self.fetched.file(url, &record.digest);
        let modified = record.last_modified.as_deref().and_then(http_date).map(Timestamp::from_seconds);
        Ok(Downloaded { digest: record.digest, modified, is_new })
    }

    /// Opens a downloaded file. Its bytes are verified.
    pub fn open(&self, downloaded: &Downloaded) -> Result<File, FetchError> {
        if !downloaded.is_new {
            let read = self.store.open_blob(&downloaded.digest).map(|mut blob| drain(&mut blob))?;
            read.map_err(ContentError::of_io("read", &self.store.path_of(&downloaded.digest)))?;
        }
        Ok(self.store.open_unverified(&downloaded.digest)?)
    }

    /// Asks a repository for the commit that `address` means. Blocks.
    pub fn commit(&self, address: &GitAddress, canceled: &(dyn Fn() -> bool + Sync)) -> Result<GitCommit, FetchError> {
        let beside = self.snapshots.scratch()?;
        let access = self.access(address)?;
        let commit = GitRemote { address, access: &access, beside: beside.work(), canceled }.resolve()?;
        self.fetched.commit(address, &commit);
        Ok(commit)
    }

    /// Fetches the tree of a commit; it is there as long as the scratch directory. Blocks.
    pub fn tree(
        &self,
        address: &GitAddress,
        commit: &GitCommit,
        now: Timestamp,
        canceled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(PathBuf, Scratch), FetchError> {
        let scratch = self.snapshots.scratch()?;
        let access = self.access(address)?;
        let remote = GitRemote { address, access: &access, beside: scratch.work(), canceled };
        let path = remote.fetch(commit, scratch.fs(), now)?;
        Ok((path, scratch))
    }

    /// Asks a repository when the commit that `address` means was made, in seconds since 1970. Blocks.
    pub fn commit_time(&self, address: &GitAddress, canceled: &(dyn Fn() -> bool + Sync)) -> Result<i64, FetchError> {
        let commit = self.commit(address, canceled)?;
        let scratch = self.snapshots.scratch()?;
        let access = self.access(address)?;
        let remote = GitRemote { address, access: &access, beside: scratch.work(), canceled };
        Ok(remote.time(&commit, scratch.fs())?)
    }

    fn access(&self, address: &GitAddress) -> Result<GitAccess, GitError> {
        GitAccess::of(address, &self.secrets, &self.agents, self.known_hosts.as_deref())
    }

    /// The value of the `Authorization` header for a URL.
    fn authorization(&self, url: &str) -> Result<Option<String>, FetchError> {
        let host = host_of(url);
        for (name, before) in [(format!("HTTP_AUTH_TOKEN_{host}"), "Bearer "), (format!("HTTP_AUTH_HEADER_{host}"), "")]
        {
            if let Some(secret) = self.secrets.get(&name) {
                let text = header_text(secret).ok_or(FetchError::Secret { name })?;
                return Ok(Some(format!("{before}{text}")));
            }
        }
        Ok(None)
    }
}

fn drain(reader: &mut impl Read) -> io::Result<u64> {
    io::copy(reader, &mut io::sink())
}

fn record(answer: Download, digest: Digest, length: u64) -> DownloadRecord {
    let seconds = |header: &Option<String>| header.as_deref().and_then(http_date);
    let is_settled = match (seconds(&answer.date), seconds(&answer.last_modified)) {
        (Some(now), Some(modified)) => now - modified >= SETTLED_SECONDS,
        _ => false,
    };
    DownloadRecord { digest, length, etag: answer.etag, last_modified: answer.last_modified, is_settled }
}

/// The host of a URL, without user and port.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_out_of_urls() {
        for (url, host) in [
            ("https://h.example/f", "h.example"),
            ("http://u:p@h.example:81?x", "h.example"),
            ("http://[::1]:81/f", "::1"),
            ("http://u@x@h/@", "h"),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }

    #[test]
    fn a_time_tells_contents_apart_only_when_it_is_old() {
        let settled = |date: &str, modified: &str| {
            let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let answer = Download { etag: None, last_modified: given(modified), date: given(date) };
            record(answer, Digest::of(b""), 0).is_settled
        };
        let modified = "Fri, 14 Jul 2017 02:40:00 GMT";
        assert!(settled("Fri, 14 Jul 2017 02:41:00 GMT", modified));
        assert!(!settled("Fri, 14 Jul 2017 02:40:59 GMT", modified));
        assert!(!settled("", modified) && !settled(modified, ""));
    }
}
