//! Sources of ADD that are not here yet: URLs and git repositories.
//!
//! First each is asked what it stands for now, which is the key of the step (16.7): a file for its bytes, time and name, a
//! repository for its commit. Only when the step has to be done their files are opened or fetched.

use std::path::PathBuf;
use std::sync::Arc;

use super::copy::Selected;
use super::copy_step::whole_tree;
use super::fetch::{Downloaded, FetchError};
use super::layers::blocking;
use super::{OpError, Worker};
use crate::context::{GitAddress, GitCommit, percent_decoded, without_credentials};
use crate::digest::Digest;
use crate::fsutil::Timestamp;
use crate::plan::{CopyOp, CopySource};
use crate::progress::{Event, VertexId};
use crate::registry::DownloadError;
use crate::snapshot::Scratch;
use crate::source::Span;

/// One remote source of an ADD, known but not here.
pub(super) struct Remote {
    /// Its place among the sources.
    at: usize,
    span: Span,
    kind: Kind,
}

enum Kind {
    /// A file that was downloaded, or is known to be the one of an earlier download.
    File { url: String, file: Downloaded },
    /// A file whose digest the Dockerfile states: it need not be asked for.
    Pinned { url: String, digest: String },
    /// A tree of a repository.
    Tree { address: Box<GitAddress>, commit: GitCommit },
}

/// The files of a remote source. They are there as long as this.
pub(super) struct Local {
    files: Files,
    _scratch: Option<Scratch>,
}

enum Files {
    File { name: String, file: std::fs::File, modified: Timestamp },
    Tree(PathBuf),
}

/// Asks every remote source of an ADD what it stands for, in order.
pub(super) async fn ask_all(worker: &Arc<Worker>, op: &CopyOp, vertex: VertexId) -> Result<Vec<Remote>, OpError> {
    let checksum = op.add.as_ref().and_then(|add| add.checksum.clone());
    let mut known = Vec::new();
    for (at, source) in op.sources.iter().enumerate() {
        known.push(match source {
            CopySource::Url { url, span } => {
                let (url, span) = (url.clone(), *span);
                let kind = match &checksum {
                    Some(digest) => Kind::Pinned { url, digest: digest.clone() },
                    None => Kind::File { file: download(worker, &url, span, vertex).await?, url },
                };
                Remote { at, span, kind }
            }
            CopySource::Git { address, span, .. } => {
                let (task_worker, address, span) = (worker.clone(), address.clone(), *span);
                let asked = blocking(move || {
                    let canceled = || task_worker.cancel.is_cancelled();
                    let commit = task_worker.fetcher.commit(&address, &canceled);
                    commit.map(|commit| (address, commit)).map_err(|error| explain(error, span))
                });
                let (address, commit) = asked.await?;
                Remote { at, span, kind: Kind::Tree { address, commit } }
            }
            CopySource::Path { .. } | CopySource::InPlace { .. } | CopySource::Inline { .. } => continue,
        });
    }
    Ok(known)
}

impl Remote {
    /// Everything that decides which files it gives.
    pub(super) fn identity(&self) -> String {
        let what = match &self.kind {
            Kind::File { url, file } => {
                let time = file.modified.map(|time| time.seconds.to_string()).unwrap_or_default();
                format!("file {} {time} {}", file.digest, file_name(url))
            }
            Kind::Pinned { url, digest } => format!("file {digest} pinned {}", file_name(url)),
            Kind::Tree { address, commit } => format!("git {}", commit.key(address)),
        };
        format!("{} {what}", self.at)
    }

    /// Brings its files here.
    pub(super) async fn fetch(self, worker: &Arc<Worker>, vertex: VertexId) -> Result<Local, OpError> {
        let span = self.span;
        match self.kind {
            Kind::File { url, file } => open(worker, &url, file, span).await,
            Kind::Pinned { url, digest } => {
                let file = download(worker, &url, span, vertex).await?;
                check(file.digest, &digest, span)?;
                open(worker, &url, file, span).await
            }
            Kind::Tree { address, commit } => {
                let worker = worker.clone();
                blocking(move || {
                    let (canceled, now) = (|| worker.cancel.is_cancelled(), worker.settings.time);
                    let fetched = worker.fetcher.tree(&address, &commit, now, &canceled);
                    let (path, scratch) = fetched.map_err(|error| explain(error, span))?;
                    Ok(Local { files: Files::Tree(path), _scratch: Some(scratch) })
                })
                .await
            }
        }
    }
}

impl Local {
    /// Returns it as the copy room wants it.
    pub(super) fn selected(&self, exclude: &[String]) -> Result<Vec<Selected>, OpError> {
        match &self.files {
            Files::File { name, file, modified } => {
                let selected = file.try_clone().and_then(|file| Selected::download(name, file, *modified));
                Ok(vec![selected.map_err(OpError::io("read the downloaded file"))?])
            }
            Files::Tree(path) => whole_tree(path, exclude),
        }
    }
}

async fn download(worker: &Arc<Worker>, url: &str, span: Span, vertex: VertexId) -> Result<Downloaded, OpError> {
    let shown = without_credentials(url);
    let mut progress = |current: u64, total: Option<u64>| {
        let (part, total) = (shown.clone(), total.unwrap_or(0));
        worker.sink.event(Event::Status { id: vertex, part, current, total, done: false });
    };
    let downloaded = tokio::select! {
        downloaded = worker.fetcher.download(url, None, &mut progress) => downloaded,
        () = worker.canceled() => return Err(OpError::Canceled),
    };
    downloaded.map_err(|error| {
        let message = match &error {
            FetchError::Download(cause @ DownloadError::Status { .. }) => format!("{shown}: {cause}"),
            FetchError::Download(cause) => format!("cannot fetch {shown}: {cause}"),
            _ => return explain(error, span),
        };
        OpError::User { code: "download", message, help: error.help().into_iter().collect(), span: Some(span) }
    })
}

async fn open(worker: &Arc<Worker>, url: &str, downloaded: Downloaded, span: Span) -> Result<Local, OpError> {
    let (task_worker, name) = (worker.clone(), file_name(url));
    let modified = downloaded.modified.unwrap_or(Timestamp::from_seconds(0));
    let file = blocking(move || task_worker.fetcher.open(&downloaded).map_err(|error| explain(error, span))).await?;
    Ok(Local { files: Files::File { name, file, modified }, _scratch: None })
}

fn explain(error: FetchError, span: Span) -> OpError {
    match error {
        FetchError::Store(error) => error.into(),
        FetchError::Snapshot(error) => error.into(),
        FetchError::Cache(error) => error.into(),
        FetchError::Git(crate::context::GitError::Canceled) => OpError::Canceled,
        other => {
            let help = other.help().into_iter().collect();
            OpError::User { code: "git", message: crate::diag::chain(&other), help, span: Some(span) }
        }
    }
}

/// Rule 12.5.
fn check(found: Digest, wanted: &str, span: Span) -> Result<(), OpError> {
    if wanted == found.to_string() {
        return Ok(());
    }
    Err(OpError::User {
        code: "checksum",
        message: format!("digest mismatch {found}: {wanted}"),
        help: vec!["the file at this address is not the one the Dockerfile asks for".to_owned()],
        span: Some(span),
    })
}

/// Rule 12.4: the last part of the path that is not empty, without the query.
fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let path = percent_decoded(rest.split_once('/').map_or("", |(_, path)| path));
    match path.rsplit('/').find(|part| !part.is_empty()) {
        None | Some("." | "..") => "__unnamed__".to_owned(),
        Some(name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_the_path() {
        for (url, name) in [
            ("http://h/a/b.txt?c=/d#/e", "b.txt"),
            ("http://h/a%20b%2Fc%20d", "c d"),
            ("http://h/a/", "a"),
            ("http://h", "__unnamed__"),
            ("http://h/?x", "__unnamed__"),
            ("http://h/a/..", "__unnamed__"),
            ("http://h/%2e%2e", "__unnamed__"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }
}
