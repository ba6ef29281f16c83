//! Sources of ADD that are not here yet: URLs and git repositories.
//!
//! They are fetched anew by each build that has not the step cached by content: what an address serves can only be
//! known by asking. A fetched file or tree lives in a scratch directory until the step is done.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::copy::Selected;
use super::copy_step::whole_tree;
use super::layers::blocking;
use super::{OpError, Worker};
use crate::context::{GitAddress, http_date};
use crate::digest::{Digest, Hasher};
use crate::fsutil::Timestamp;
use crate::plan::{CopyOp, CopySource};
use crate::progress::VertexId;
use crate::snapshot::Scratch;
use crate::source::Span;

/// The remote sources of one ADD, in order.
pub(super) type Fetched = Vec<Remote>;

/// One remote source, now local. Its scratch directory goes with it.
pub(super) enum Remote {
    File { name: String, file: std::fs::File, modified: Timestamp, _scratch: Scratch },
    Tree { path: PathBuf, _scratch: Scratch },
}

impl Remote {
    /// Returns it as the copy room wants it. Its files are there as long as `self` is.
    pub(super) fn selected(&self, exclude: &[String]) -> Result<Vec<Selected>, OpError> {
        match self {
            Self::File { name, file, modified, .. } => {
                let selected = file.try_clone().and_then(|file| Selected::download(name, file, *modified));
                Ok(vec![selected.map_err(OpError::io("read the downloaded file"))?])
            }
            Self::Tree { path, .. } => whole_tree(path, exclude),
        }
    }
}

/// Fetches every remote source of an ADD.
pub(super) async fn fetch_all(worker: &Arc<Worker>, op: &CopyOp, vertex: VertexId) -> Result<Fetched, OpError> {
    let checksum = op.add.as_ref().and_then(|add| add.checksum.as_deref());
    let mut fetched = Fetched::new();
    for source in &op.sources {
        match source {
            CopySource::Url { url, span } => fetched.push(download(worker, url, *span, checksum, vertex).await?),
            CopySource::Git { url, span } => {
                let keep = op.add.as_ref().is_some_and(|add| add.keep_git_dir);
                fetched.push(clone(worker, url, *span, keep, checksum).await?);
            }
            _ => {}
        }
    }
    Ok(fetched)
}

async fn download(
    worker: &Arc<Worker>,
    url: &str,
    span: Span,
    checksum: Option<&str>,
    vertex: VertexId,
) -> Result<Remote, OpError> {
    let scratch = worker.snapshots.scratch()?;
    let path = scratch.beside("download");
    let mut file = std::fs::File::create(&path).map_err(OpError::io("make a file for the download"))?;
    let mut hasher = Hasher::default();
    let mut current = 0;
    let mut take = |bytes: &[u8], total: Option<u64>| {
        hasher.update(bytes);
        current += bytes.len() as u64;
        let (part, total) = (url.to_owned(), total.unwrap_or(0));
        worker.sink.event(crate::progress::Event::Status { id: vertex, part, current, total, done: false });
        file.write_all(bytes)
    };
    let response = tokio::select! {
        response = worker.registry.download(url, &mut take) => response,
        () = worker.canceled() => return Err(OpError::Canceled),
    };
    let response = response.map_err(|error| match error {
        crate::registry::DownloadError::Status { status } => OpError::User {
            code: "download",
            message: format!("{url}: invalid response status {status}"),
            help: Vec::new(),
            span: Some(span),
        },
        other => OpError::User {
            code: "download",
            message: format!("cannot fetch {url}: {other}"),
            help: Vec::new(),
            span: Some(span),
        },
    })?;
    check(hasher.finish(), checksum, span)?;
    let modified = response.last_modified.as_deref().and_then(http_date).map(Timestamp::from_seconds);
    let modified = modified.unwrap_or(worker.settings.time);
    let file = std::fs::File::open(&path).map_err(OpError::io("open the download"))?;
    Ok(Remote::File { name: file_name(url), file, modified, _scratch: scratch })
}

/// Rule 12.5.
fn check(found: Digest, wanted: Option<&str>, span: Span) -> Result<(), OpError> {
    match wanted {
        Some(wanted) if wanted != found.to_string() => Err(OpError::User {
            code: "checksum",
            message: format!("digest mismatch {found}: {wanted}"),
            help: vec!["the file at this address is not the one the Dockerfile asks for".to_owned()],
            span: Some(span),
        }),
        _ => Ok(()),
    }
}

/// Rule 12.4: the last part of the path that is not empty, without the query.
fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    match path.split_once('/').and_then(|(_, path)| path.rsplit('/').find(|part| !part.is_empty())) {
        Some(name) => name.to_owned(),
        _ => "__unnamed__".to_owned(),
    }
}

async fn clone(
    worker: &Arc<Worker>,
    url: &str,
    span: Span,
    keep_git_dir: bool,
    checksum: Option<&str>,
) -> Result<Remote, OpError> {
    let failed = |message: String| OpError::User { code: "git", message, help: Vec::new(), span: Some(span) };
    let address = GitAddress::parse(url).map_err(|error| failed(error.to_string()))?;
    let (task_worker, checksum) = (worker.clone(), checksum.map(str::to_owned));
    let fetched = blocking(move || {
        let scratch = task_worker.snapshots.scratch()?;
        let tree = address
            .fetch(scratch.fs(), keep_git_dir, checksum.as_deref())
            .map_err(|error| OpError::user("git", error.to_string()))?;
        Ok(Remote::Tree { path: tree, _scratch: scratch })
    });
    fetched.await.map_err(|error| match error {
        OpError::User { code, message, help, .. } => OpError::User { code, message, help, span: Some(span) },
        other => other,
    })
}
