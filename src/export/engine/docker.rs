//! Docker's daemon, by its HTTP interface (Engine API; the paths without a version are of any).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{EngineError, Taken};
use crate::content::Store;
use crate::digest::Digest;
use crate::export::docker_archive::write_docker_archive_without;
use crate::export::image::{Image, ImageSet};
use crate::export::oci_layout::write_oci_tar;
use crate::export::parts::ArchiveError;
use crate::export::pieces::PieceWriter;
use crate::export::report::Report;
use crate::oci::{Platform, Reference};
use crate::registry;

/// A daemon on this machine answers at once, or it is none.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest answer read, in bytes: a list of its images has less than a kilobyte of each.
const ANSWER_LIMIT: usize = 64 << 20;

/// A daemon that answered.
#[derive(Debug)]
pub(super) struct Daemon {
    client: reqwest::Client,
    /// Where paths begin.
    base: String,
}

/// `GET /info`, of which one thing is asked.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
}

/// `GET /images/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

/// `GET /images/ID/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(rename = "RootFS")]
    root: Root,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Root {
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// A line of what it says while it loads.
#[derive(Deserialize)]
struct Said {
    error: Option<String>,
}

impl Daemon {
    /// Looks for the daemon at `address`.
    pub(super) async fn at(address: &str) -> Result<Self, EngineError> {
        let unspoken = || EngineError::Address { address: address.to_owned() };
        registry::use_ring();
        // It is on this machine, or where the user says, and sends nobody elsewhere.
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let (builder, base) = match address.split_once("://") {
            Some(("unix", path)) => (builder.unix_socket(std::path::Path::new(path)), "http://docker".to_owned()),
            Some(("tcp" | "http", host)) => (builder, format!("http://{}", host.trim_end_matches('/'))),
            _ => return Err(unspoken()),
        };
        let daemon = Self { client: builder.build().map_err(EngineError::Daemon)?, base };
        let unreachable = |source| EngineError::Unreachable { address: address.to_owned(), source };
        let answer = daemon.client.get(daemon.path("_ping")).timeout(PATIENCE).send().await.map_err(unreachable)?;
        answer.error_for_status().map_err(unreachable)?;
        Ok(daemon)
    }

    fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let answer = self.client.get(self.path(path)).send().await.and_then(reqwest::Response::error_for_status);
        let text = whole(answer.map_err(EngineError::Daemon)?).await?;
        let unread = |error: serde_json::Error| EngineError::Refused { said: format!("GET /{path}: {error}") };
        serde_json::from_slice(&text).map_err(unread)
    }

    pub(super) async fn load(
        &self,
        set: &ImageSet,
        names: &[Reference],
        store: &Store,
        report: &Report,
    ) -> Result<Taken, EngineError> {
        if self.has_store_of_containerd().await? {
            self.send(Archive::of(set, BTreeSet::new()), names, store, report).await?;
            return Ok(Taken { known: 0 });
        }
        let image = own_platform(set)?;
        let known = self.known_layers(image).await?;
        let is_above: BTreeSet<&str> =
            image.layers[known..].iter().map(|layer| layer.descriptor.digest().as_ref()).collect();
        let left_out =
            image.layers[..known].iter().filter(|layer| !is_above.contains(layer.descriptor.digest().as_ref()));
        let left_out: BTreeSet<Digest> = left_out.filter_map(|layer| layer.digest().ok()).collect();
        let single = ImageSet::single(image.clone());
        let sent = self.send(Archive::of(&single, left_out.clone()), names, store, report).await;
        match sent {
            // It may have removed a layer since it was asked.
            Err(EngineError::Refused { .. }) if !left_out.is_empty() => {
                self.send(Archive::of(&single, BTreeSet::new()), names, store, report).await?;
                Ok(Taken { known: 0 })
            }
            sent => sent.map(|()| Taken { known }),
        }
    }

    async fn has_store_of_containerd(&self) -> Result<bool, EngineError> {
        let info: Info = self.get("info").await?;
        let is_it = |pair: &Vec<String>| pair.iter().any(|word| word == "io.containerd.snapshotter.v1");
        Ok(info.driver_status.unwrap_or_default().iter().any(is_it))
    }

    /// How many of the image's layers, from the bottom on, an image of the daemon begins with.
    async fn known_layers(&self, image: &Image) -> Result<usize, EngineError> {
        let wanted: Vec<String> = image.layers.iter().map(|layer| layer.diff_id.0.to_string()).collect();
        let images: Vec<Listed> = self.get("images/json").await?;
        let mut known = 0;
        for listed in images {
            if known == wanted.len() {
                break;
            }
            // One that is removed meanwhile helps nobody.
            let Ok(found) = self.get::<Inspected>(&format!("images/{}/json", listed.id)).await else { continue };
            let layers = found.root.layers.unwrap_or_default();
            known = known.max(wanted.iter().zip(&layers).take_while(|(one, other)| one == other).count());
        }
        Ok(known)
    }

    /// Sends an archive while it is written.
    async fn send(
        &self,
        archive: Archive,
        names: &[Reference],
        store: &Store,
        report: &Report,
    ) -> Result<(), EngineError> {
        let (out, pieces) = PieceWriter::new();
        let (names, store, report) = (names.to_vec(), store.clone(), report.clone());
        let write = tokio::task::spawn_blocking(move || archive.write(&names, &store, out, &report));
        let request = self.client.post(self.path("images/load?quiet=1"));
        let request = request.header("content-type", "application/x-tar").body(registry::streamed(pieces)).send();
        let (answer, written) = tokio::join!(request, write);
        // A daemon that says no in the middle breaks the pipe: its word is the reason.
        let written = written.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let answer = match (answer, written) {
            (Ok(answer), _) => answer,
            (Err(_), Err(error)) if !error.is_broken_pipe() => return Err(error.into()),
            (Err(error), _) => return Err(EngineError::Daemon(error)),
        };
        let is_ok = answer.status().is_success();
        let text = String::from_utf8_lossy(&whole(answer).await?).into_owned();
        let error = text.lines().filter_map(|line| serde_json::from_str::<Said>(line).ok()?.error).next();
        match error {
            Some(said) => Err(EngineError::Refused { said }),
            None if is_ok => Ok(()),
            None => Err(EngineError::Refused { said: message(&text) }),
        }
    }
}

/// An answer, which no daemon makes long.
async fn whole(mut answer: reqwest::Response) -> Result<Vec<u8>, EngineError> {
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(EngineError::Daemon)? {
        text.extend_from_slice(&chunk);
        if text.len() > ANSWER_LIMIT {
            return Err(EngineError::Refused { said: "its answer is longer than 64 MiB".to_owned() });
        }
    }
    Ok(text)
}

/// The words of an answer that is an error.
fn message(text: &str) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    serde_json::from_str::<Message>(text).map_or_else(|_| text.trim().to_owned(), |said| said.message)
}

/// What is sent.
struct Archive {
    set: ImageSet,
    left_out: BTreeSet<Digest>,
}

impl Archive {
    fn of(set: &ImageSet, left_out: BTreeSet<Digest>) -> Self {
        Self { set: set.clone(), left_out }
    }

    /// One image as an archive that every daemon reads; several, which only containerd's store takes, as a layout.
    fn write(&self, names: &[Reference], store: &Store, out: PieceWriter, report: &Report) -> Result<(), ArchiveError> {
        let out = match self.set.images.as_slice() {
            [_] => write_docker_archive_without(&self.set, &self.left_out, names, store, out, report),
            _ => write_oci_tar(&self.set, names, store, out, report),
        };
        out?.finish().map_err(|source| ArchiveError::Tar { part: "end".to_owned(), source })
    }
}

/// The image for this machine; of one image, that one.
fn own_platform(set: &ImageSet) -> Result<&Image, EngineError> {
    let host = Platform::host();
    let of_host = |image: &&Image| image.platform.os == host.os && image.platform.architecture == host.architecture;
    match set.images.as_slice() {
        [image] => Ok(image),
        several => several.iter().find(of_host).ok_or(EngineError::Platforms { count: several.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_that_are_not_spoken_are_named() {
        for address in ["ssh://me@host", "npipe:////./pipe/docker", "/var/run/docker.sock", ""] {
            let error = Daemon::at(address).await.unwrap_err();
            assert!(matches!(error, EngineError::Address { .. }), "{address}");
        }
        let error = Daemon::at("unix:///nowhere/docker.sock").await.unwrap_err();
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error}");
    }

    #[test]
    fn errors_are_found_in_both_forms() {
        assert_eq!(message(r#"{"message":"no space left on device"}"#), "no space left on device");
        assert_eq!(message("plain words\n"), "plain words");
        let said: Said = serde_json::from_str(r#"{"errorDetail":{"message":"x"},"error":"x"}"#).unwrap();
        assert_eq!(said.error.as_deref(), Some("x"));
    }
}
