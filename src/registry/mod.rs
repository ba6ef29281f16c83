//! The distribution client: finds, fetches and pushes images in registries (OCI distribution-spec 1.1).
//!
//! ```text
//! GET  /v2/<path>/manifests/<tag|digest>            resolve, describe (HEAD)
//! GET  /v2/<path>/blobs/<digest>                    fetch_blob, with Range to resume
//! HEAD, POST ?mount=&from=, PATCH, PUT ?digest=     push_blob, push_stream; GET to resume
//! PUT  /v2/<path>/manifests/<tag|digest>            put_manifest, put_referrer
//! GET  /v2/<path>/referrers/<digest>                referrers, else the tag `sha256-<hex>`
//! ```
//!
//! What a registry says is not trusted: everything named by a digest is verified, everything is bounded in size. Failures that
//! pass (connections, 429, 5xx) are tried again with growing waits. Credentials come from a [`DockerConfig`] and the
//! programs it names; they are sent to the registry and its token server only, and shown nowhere.
//!
//! A registry on a loopback address, or one that the [`Settings`] call insecure, may speak plain HTTP. Nothing is initialised,
//! read or connected before the first request.
//!
//! Beside that it moves objects of other stores ([`Signed`]), and calls services that speak gRPC ([`Service`]), by the same rules.
//!
//! Not here: how requests to those are signed, what services mean by their messages, which image is wanted, what its layers hold, progress as users see it.
//!
//! A [`Client`] is shared by everything that talks to registries in one process, and cheap to clone. Its methods are async, must
//! run in a tokio runtime with time and IO, and may be dropped at any point. Locks are held only while a token is fetched.

mod account;
mod body;
mod bytestream;
mod calls;
mod challenge;
mod config;
mod docker_config;
mod download;
mod error;
mod fetch;
mod frames;
mod helper;
mod host;
mod objects;
mod push;
mod redirect;
mod referrers;
mod request;
mod resolve;
mod route;
mod secret;
mod settings;
mod several;
mod token;
mod transport;
mod upload;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinError;

pub use account::{Account, AccountError, Kept, forget};
pub use body::{BlobSource, streamed};
pub use bytestream::Resource;
pub use calls::{Access, CallError, Method, Service, is_of_this_machine};
pub use config::{ConfigError, ConfigFiles};
pub use docker_config::DockerConfig;
pub use download::{Download, DownloadError, DownloadRequest, Take};
pub use error::{Cause, RegistryError};
pub use objects::{ObjectError, Put, Signed, Stored};
pub use push::Pushed;
pub use resolve::Resolved;
pub use settings::{Insecure, Proxies, Retry, Settings};
pub use transport::use_ring;

use crate::digest::Digest;
use crate::progress::{SharedSink, Silent};
use config::Configuration;
use host::{Host, Site};
use transport::{Security, Transport};

/// Talks to registries. Clones share connections, tokens and the bound on parallel transfers.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// Hears of waits.
    sink: SharedSink,
    configuration: OnceLock<Configuration>,
    credentials: OnceLock<Vec<DockerConfig>>,
    /// Connections to registries without certificates of their own.
    transport: Transport,
    /// Connections to servers that are no registries.
    downloads: Transport,
    hosts: Mutex<Vec<Arc<Host>>>,
    transfers: Semaphore,
    /// What was sent or found, so that nobody asks for it again: address, path and digest.
    pushed: Mutex<BTreeSet<(String, String, Digest)>>,
}

impl Client {
    /// Makes a client; nothing is read or connected yet.
    pub fn new(settings: Settings) -> Self {
        Self::telling(settings, Arc::new(Silent))
    }

    /// The same, for a build that is told when a registry has to be waited for.
    pub fn telling(settings: Settings, sink: SharedSink) -> Self {
        let transfers = Semaphore::new(settings.concurrency.max(1));
        Self(Arc::new(Inner {
            settings,
            sink,
            configuration: OnceLock::new(),
            credentials: OnceLock::new(),
            transport: Transport::default(),
            downloads: Transport::following(),
            hosts: Mutex::default(),
            transfers,
            pushed: Mutex::default(),
        }))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Inner {
    /// Returns the configuration of the machine and the user.
    fn configuration(&self) -> Result<&Configuration, ConfigError> {
        // A few small files, so they are read in place. Two that come here at once both read, and one result is kept.
        match self.configuration.get() {
            Some(known) => Ok(known),
            None => {
                let read = Configuration::read(&self.settings.files)?;
                Ok(self.configuration.get_or_init(|| read))
            }
        }
    }

    /// Returns what is known of accounts, what counts first before the rest.
    fn credentials(&self) -> Result<&[DockerConfig], ConfigError> {
        match self.credentials.get() {
            Some(known) => Ok(known),
            None => {
                let mut all: Vec<DockerConfig> = self.settings.docker_config.iter().cloned().collect();
                all.extend(config::credentials(&self.settings.files)?);
                Ok(self.credentials.get_or_init(|| all))
            }
        }
    }

    /// Returns what is known of a registry.
    fn host(&self, site: Site) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.iter().find(|host| host.site == site) {
            return known.clone();
        }
        let host = Arc::new(Host::new(site));
        hosts.push(host.clone());
        host
    }

    /// Returns the client for a kind of connection to a registry.
    fn client(&self, host: &Host, security: Security) -> Result<reqwest::Client, Cause> {
        host.transport.as_ref().unwrap_or(&self.transport).client(security, &self.settings)
    }
}

impl RegistryError {
    fn new(doing: &'static str, subject: String, registry: &str, cause: Cause) -> Self {
        Self { doing, subject, registry: registry.to_owned(), cause: Box::new(cause) }
    }
}

/// Returns what a blocking task returned. A panic in it is one here. Tasks are not cancelled while someone waits.
fn joined<T>(result: Result<T, JoinError>) -> T {
    result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Store;
    use crate::oci::{Descriptor, Platform, Reference};

    fn is_send<T: Send>(_: T) {}

    /// The solver spawns these.
    #[expect(dead_code, reason = "compiled, not called")]
    fn futures_move_between_threads(
        client: &Client,
        reference: &Reference,
        platform: &Platform,
        store: &Store,
        blob: &Descriptor,
    ) {
        is_send(client.resolve(reference, platform));
        is_send(client.describe(reference));
        is_send(client.fetch_blob(reference, blob, store, &|_| {}));
        is_send(client.push_blob(reference, blob, &BlobSource::Bytes(Vec::new()), None, &|_| {}));
        is_send(client.push_stream(reference, tokio::sync::mpsc::channel(1).1));
        is_send(client.put_manifest(reference, "", &[]));
        is_send(client.put_referrer(reference, &[]));
        is_send(client.referrers(reference, &crate::digest::Digest::of(b""), None));
    }
}
