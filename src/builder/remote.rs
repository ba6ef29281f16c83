//! Contexts that are no directory of the user's: unpacked or fetched into a scratch directory, gone with the build.

use std::fs::File;
use std::io::Write;

use super::failure::{environment, failure};
use super::root::{Root, read_text};
use super::store::Open;
use super::{BuildFailure, FailureKind};
use crate::context::{self, Downloaded, GitAddress};
use crate::fsutil::Dir;
use crate::snapshot::Scratch;

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

/// The tree of a git repository.
pub(super) async fn git(open: &Open, url: &str) -> Result<(Root, Scratch), BuildFailure> {
    let failed = |error: &(dyn std::error::Error + 'static)| BuildFailure {
        kind: FailureKind::Network,
        ..environment(format!("cannot fetch the context `{url}`"), error)
    };
    let address = GitAddress::parse(url).map_err(|error| failed(&error))?;
    let made = open.snapshots.scratch().map_err(|error| failure(FailureKind::Environment, &error))?;
    let into = made.fs().to_owned();
    let path = blocking(move || address.fetch(&into, false, None)).await.map_err(|error| failed(&error))?;
    let dir = Dir::open(&path).map_err(|error| environment("cannot open the fetched context", &error))?;
    Ok((Root { dir, path: None }, made))
}

/// A file behind HTTP: the files of a tar archive, or a Dockerfile alone, which is returned as text.
pub(super) async fn http(open: &Open, url: &str) -> Result<(Root, Option<String>, Scratch), BuildFailure> {
    let (root, made) = empty(open)?;
    let (file, _) = download(open, url, &made).await?;
    let unpack = blocking(move || context::unpack_download(file, &root.dir).map(|unpacked| (unpacked, root)));
    let (unpacked, root) = unpack.await.map_err(|error| BuildFailure {
        kind: FailureKind::User,
        ..environment(format!("cannot unpack the context `{url}`"), &error)
    })?;
    match unpacked {
        Downloaded::Tree => Ok((root, None, made)),
        Downloaded::Dockerfile(text) => Ok((root, Some(text), made)),
    }
}

/// A text behind HTTP.
pub(super) async fn text(open: &Open, url: &str) -> Result<Vec<u8>, BuildFailure> {
    let (_, made) = empty(open)?;
    let (file, _) = download(open, url, &made).await?;
    read_text(file).map_err(|error| environment(format!("cannot read `{url}`"), &error))
}

/// Runs work off the scheduler's thread, which must hear of a cancel meanwhile.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// A file behind HTTP, put beside `scratch`, and its `Last-Modified`.
pub(super) async fn download(
    open: &Open,
    url: &str,
    scratch: &Scratch,
) -> Result<(File, Option<String>), BuildFailure> {
    let path = scratch.beside("download");
    let mut file = File::create(&path).map_err(|error| environment("cannot make a file for the download", &error))?;
    let mut take = |bytes: &[u8], _: Option<u64>| file.write_all(bytes);
    let fetched = open.registry.download(url, &mut take).await;
    let fetched = fetched.map_err(|error| BuildFailure {
        kind: FailureKind::Network,
        ..environment(format!("cannot fetch `{url}`"), &error)
    })?;
    let file = File::open(&path).map_err(|error| environment("cannot open the download", &error))?;
    Ok((file, fetched.last_modified))
}
