//! The time that SOURCE_DATE_EPOCH comes to, when it names what the time is to be taken from (language rule 17.5).

use std::fs::File;
use std::io;

use super::access::Access;
use super::remote::{blocking, cannot_fetch, download, repository};
use super::{BuildFailure, BuildRequest, ContextSource, NamedContext};
use crate::context::{GitAddress, decompressed};
use crate::expansion;
use crate::plan::Epoch;

/// Returns seconds since 1970; `None` when what was named has no time.
pub(super) async fn resolve(
    request: &BuildRequest,
    access: &Access,
    epoch: Epoch,
) -> Result<Option<i64>, BuildFailure> {
    match epoch {
        Epoch::Unset => Ok(None),
        Epoch::Seconds(seconds) => Ok(Some(seconds)),
        Epoch::Http(url) => http(access, &url).await,
        Epoch::Git(address) => git(access, *address).await.map(Some),
        Epoch::Context(None) => match &request.context {
            ContextSource::Git(url) => git(access, repository(url)?).await.map(Some),
            ContextSource::Http(url) => http(access, url).await,
            _ => Ok(None),
        },
        Epoch::Context(Some(name)) => match request.build_contexts.get(&name) {
            Some(NamedContext::Git(url)) => git(access, repository(url)?).await.map(Some),
            Some(NamedContext::Http(url)) => http(access, url).await,
            _ => Ok(None),
        },
    }
}

/// When the commit was made.
async fn git(access: &Access, address: GitAddress) -> Result<i64, BuildFailure> {
    let (fetcher, cancel, remote) = (access.fetcher.clone(), access.cancel.clone(), address.remote.clone());
    let time = blocking(move || fetcher.commit_time(&address, &|| cancel.is_cancelled()));
    time.await.map_err(|error| BuildFailure {
        message: format!("cannot take SOURCE_DATE_EPOCH from `{remote}`"),
        ..cannot_fetch(&remote, &error)
    })
}

/// What the server says of the file, or else the time of the newest file in the archive that it is.
async fn http(access: &Access, url: &str) -> Result<Option<i64>, BuildFailure> {
    let (downloaded, file) = download(access, url, None).await?;
    match downloaded.modified {
        Some(time) => Ok(Some(time.seconds)),
        None => Ok(blocking(move || newest(file)).await),
    }
}

/// `None` when it is no archive.
fn newest(file: File) -> Option<i64> {
    let (reader, allowance) = expansion::sparing(decompressed(file).ok()?.reader);
    let mut archive = tar::Archive::new(reader);
    let mut newest = None;
    for entry in allowance.over(archive.entries().ok()?) {
        let mut entry = entry.ok()?;
        io::copy(&mut entry, &mut io::sink()).ok()?;
        if entry.header().entry_type().is_file() {
            newest = newest.max(i64::try_from(entry.header().mtime().ok()?).ok());
        }
    }
    newest
}
