//! Contexts that are no directory of the user's: unpacked or fetched into a scratch directory, gone with the build.

use std::fs::File;
use std::io::{self, Seek};

use super::access::Access;
use super::failure::{environment, failure};
use super::root::{Root, TEXT_LIMIT, read_text};
use super::store::Open;
use super::{BuildFailure, BuildRequest, FailureKind};
use crate::context::{self, GitAddress, GitError, without_credentials};
use crate::fsutil::{Dir, Timestamp, set_mode};
use crate::ops::{Downloaded, FetchError};
use crate::snapshot::Scratch;

/// The name of a file that was given as a context and is no archive, as with BuildKit.
pub(super) const ALONE: &str = "context";

/// No files at all.
pub(super) fn empty(open: &Open) -> Result<(Root, Scratch), BuildFailure> {
    let made = open.snapshots.scratch().map_err(|error| failure(FailureKind::Environment, &error))?;
    let dir = Dir::open(made.fs()).map_err(|error| environment("cannot open a scratch directory", &error))?;
    Ok((Root { dir, path: None }, made))
}

/// The files of a tar archive, plain or compressed.
pub(super) async fn tar(open: &Open, file: File) -> Result<(Root, Scratch), BuildFailure> {
    let (root, made) = empty(open)?;
    let unpack = blocking(move || context::unpack(file, &root.dir).map(|()| root));
    let root = unpack.await.map_err(|error| BuildFailure {
        kind: FailureKind::User,
        ..environment("cannot unpack the context", &error)
    })?;
    Ok((root, made))
}

/// The tree of a git repository. `is_main`: it is the context itself, which a build argument may ask to keep `.git` of.
pub(super) async fn git(
    request: &BuildRequest,
    access: &Access,
    url: &str,
    is_main: bool,
) -> Result<(Root, Scratch), BuildFailure> {
    let mut address = repository(url)?;
    if is_main && keeps_git_dir(request) {
        address.keep_git_dir = Some(true);
    }
    let (fetcher, cancel, now) = (access.fetcher.clone(), access.cancel.clone(), request.now);
    let fetch = blocking(move || {
        let canceled = || cancel.is_cancelled();
        let commit = fetcher.commit(&address, &canceled)?;
        fetcher.tree(&address, &commit, now, &canceled)
    });
    let (path, made) = fetch.await.map_err(|error| cannot_fetch(url, &error))?;
    let dir = Dir::open(&path).map_err(|error| environment("cannot open the fetched context", &error))?;
    Ok((Root { dir, path: None }, made))
}

/// Reads the address of a context that is a repository.
pub(super) fn repository(url: &str) -> Result<GitAddress, BuildFailure> {
    let address = GitAddress::parse_context(url).map_err(|error| cannot_fetch(url, &GitError::from(error).into()))?;
    let wrong = || BuildFailure::new(FailureKind::User, format!("`{url}` is not the address of a git repository"));
    address.ok_or_else(wrong)
}

/// Rule 8.11.
fn keeps_git_dir(request: &BuildRequest) -> bool {
    let mut given = request.build_args.iter().rev();
    let value = given.find(|(name, _)| name == "BUILDKIT_CONTEXT_KEEP_GIT_DIR").map(|(_, value)| value.as_str());
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// What is behind an `http` address: the files of an archive; or the file itself under the name [`ALONE`], and true.
pub(super) async fn http(open: &Open, access: &Access, url: &str) -> Result<(Root, Scratch, bool), BuildFailure> {
    let (downloaded, mut file) = download(access, url, None).await?;
    let cannot_read = |error: io::Error| environment("cannot read the download", &error);
    if !is_archive(&mut file).map_err(cannot_read)? {
        let (root, made) = alone(open, &downloaded, file)?;
        return Ok((root, made, true));
    }
    let shown = without_credentials(url);
    let (root, made) = tar(open, file)
        .await
        .map_err(|error| BuildFailure { message: format!("cannot unpack the context `{shown}`"), ..error })?;
    Ok((root, made, false))
}

/// The file behind an `http` address, as the only one of a context.
pub(super) async fn http_file(open: &Open, access: &Access, url: &str) -> Result<(Root, Scratch), BuildFailure> {
    let (downloaded, file) = download(access, url, None).await?;
    alone(open, &downloaded, file)
}

/// A text behind an `http` address.
pub(super) async fn text(access: &Access, url: &str) -> Result<Vec<u8>, BuildFailure> {
    let (_, file) = download(access, url, Some(TEXT_LIMIT)).await?;
    read_text(file).map_err(|error| environment(format!("cannot read `{}`", without_credentials(url)), &error))
}

/// Runs work off the scheduler's thread, which must hear of a cancel meanwhile.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Downloads a file, unless the one that is known still holds.
pub(super) async fn download(
    access: &Access,
    url: &str,
    limit: Option<u64>,
) -> Result<(Downloaded, File), BuildFailure> {
    let failed = |error: &FetchError| cannot_fetch(url, error);
    let downloaded = access.fetcher.download(url, limit, &mut |_, _| {}).await.map_err(|error| failed(&error))?;
    let fetcher = access.fetcher.clone();
    let file = blocking(move || fetcher.open(&downloaded)).await.map_err(|error| failed(&error))?;
    Ok((downloaded, file))
}

fn is_archive(file: &mut File) -> io::Result<bool> {
    let is_archive = context::is_archive(&mut *file)?;
    file.rewind()?;
    Ok(is_archive)
}

fn alone(open: &Open, downloaded: &Downloaded, mut file: File) -> Result<(Root, Scratch), BuildFailure> {
    let (root, made) = empty(open)?;
    let mut write = || {
        let mut copy = root.dir.create_file(ALONE.as_ref())?;
        io::copy(&mut file, &mut copy)?;
        set_mode(&copy, 0o600)?;
        root.dir.set_child_mtime(ALONE.as_ref(), downloaded.modified.unwrap_or(Timestamp::from_seconds(0)))
    };
    write().map_err(|error| environment("cannot make a file for the context", &error))?;
    Ok((root, made))
}

/// Makes a failure of what cannot be fetched.
pub(super) fn cannot_fetch(url: &str, error: &FetchError) -> BuildFailure {
    let kind = match error {
        FetchError::Download(_) | FetchError::Git(_) => FailureKind::Network,
        FetchError::Secret { .. } => FailureKind::User,
        FetchError::Store(_) | FetchError::Cache(_) | FetchError::Snapshot(_) => FailureKind::Environment,
    };
    let kind = match error {
        FetchError::Git(GitError::Address(_) | GitError::Secret { .. } | GitError::NoAgent) => FailureKind::User,
        FetchError::Git(GitError::Canceled) => FailureKind::Canceled,
        _ => kind,
    };
    let message = format!("cannot fetch the context `{}`", without_credentials(url));
    let mut failure = BuildFailure { kind, ..environment(message, error) };
    failure.help.extend(error.help());
    failure
}
