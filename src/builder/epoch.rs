//! The time that SOURCE_DATE_EPOCH comes to, when it names what the time is to be taken from (language rule 17.5).

use std::fs::File;

use super::failure::environment;
use super::store::Open;
use super::{BuildFailure, BuildRequest, ContextSource, FailureKind, NamedContext, remote};
use crate::context::{GitAddress, decompressed, http_date};
use crate::plan::Epoch;

/// Returns seconds since 1970; `None` when what was named has no time.
pub(super) async fn resolve(request: &BuildRequest, open: &Open, epoch: Epoch) -> Result<Option<i64>, BuildFailure> {
    match epoch {
        Epoch::Unset => Ok(None),
        Epoch::Seconds(seconds) => Ok(Some(seconds)),
        Epoch::Http(url) => http(open, &url).await,
        Epoch::Git(url) => git(open, &url).await.map(Some),
        Epoch::Context(None) => match &request.context {
            ContextSource::Git(url) => git(open, url).await.map(Some),
            ContextSource::Http(url) => http(open, url).await,
            _ => Ok(None),
        },
        Epoch::Context(Some(name)) => match request.build_contexts.get(&name) {
            Some(NamedContext::Git(url)) => git(open, url).await.map(Some),
            Some(NamedContext::Http(url)) => http(open, url).await,
            _ => Ok(None),
        },
    }
}

/// When the commit was made.
async fn git(open: &Open, url: &str) -> Result<i64, BuildFailure> {
    let failed = |error: &(dyn std::error::Error + 'static)| BuildFailure {
        kind: FailureKind::Network,
        ..environment(format!("cannot take SOURCE_DATE_EPOCH from `{url}`"), error)
    };
    let address = GitAddress::parse(url).map_err(|error| failed(&error))?;
    let (_, made) = remote::empty(open)?;
    let into = made.fs().to_owned();
    remote::blocking(move || address.commit_time(&into)).await.map_err(|error| failed(&error))
}

/// What the server says of the file, or else the time of the newest file in the archive that it is.
async fn http(open: &Open, url: &str) -> Result<Option<i64>, BuildFailure> {
    let (_, made) = remote::empty(open)?;
    let (file, modified) = remote::download(open, url, &made).await?;
    match modified.as_deref().and_then(http_date) {
        Some(seconds) => Ok(Some(seconds)),
        None => Ok(remote::blocking(move || newest(file)).await),
    }
}

/// `None` when it is no archive.
fn newest(file: File) -> Option<i64> {
    let mut archive = tar::Archive::new(decompressed(file).ok()?.reader);
    let mut newest = None;
    for entry in archive.entries().ok()? {
        let entry = entry.ok()?;
        if entry.header().entry_type().is_file() {
            newest = newest.max(i64::try_from(entry.header().mtime().ok()?).ok());
        }
    }
    newest
}
