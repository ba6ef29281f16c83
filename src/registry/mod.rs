//! The distribution client: finds, fetches and pushes images in registries (OCI distribution-spec 1.1).
//!
//! ```text
//! GET  /v2/<path>/manifests/<tag|digest>            resolve, describe (HEAD)
//! GET  /v2/<path>/blobs/<digest>                    fetch_blob, with Range to resume
//! HEAD, POST ?mount=&from=, PATCH, PUT ?digest=     push_blob, push_stream
//! PUT  /v2/<path>/manifests/<tag|digest>            put_manifest
//! ```
//!
//! What a registry says is not trusted: everything named by a digest is verified, everything is bounded in size. Failures that
//! pass (connections, 429, 5xx) are tried again with growing waits. Credentials come from a [`DockerConfig`] and the
//! programs it names; they are sent to the registry and its token server only, and shown nowhere.
//!
//! A registry on a loopback address, or one that the [`Settings`] call insecure, may speak plain HTTP. Nothing is initialised,
//! read or connected before the first request.
//!
//! Not here: which image is wanted, what its layers hold, progress as users see it.
//!
//! A [`Client`] is shared by everything that talks to registries in one process, and cheap to clone. Its methods are async, must
//! run in a tokio runtime with time and IO, and may be dropped at any point. Locks are held only while a token is fetched.

mod body;
mod challenge;
mod docker_config;
mod download;
mod error;
mod fetch;
mod helper;
mod host;
mod push;
mod request;
mod resolve;
mod secret;
mod settings;
mod token;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinError;

pub use body::BlobSource;
pub use docker_config::{DockerConfig, DockerConfigError};
pub use download::{Download, DownloadError, DownloadRequest, Take};
pub use error::{Cause, RegistryError};
pub use push::Pushed;
pub use resolve::Resolved;
pub use settings::{Insecure, Proxies, Retry, Settings};

use crate::oci::Reference;
use challenge::Scope;
use host::Host;
use request::Repository;
use transport::Transport;

/// Talks to registries. Clones share connections, tokens and the bound on parallel transfers.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    transport: Transport,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
    transfers: Semaphore,
}

impl Client {
    /// Makes a client; nothing is read or connected yet.
    pub fn new(settings: Settings) -> Self {
        let transfers = Semaphore::new(settings.concurrency.max(1));
        Self(Arc::new(Inner { settings, transport: Transport::default(), hosts: Mutex::default(), transfers }))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Inner {
    /// Returns what is known of a registry.
    fn host(&self, domain: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(domain.to_owned()).or_insert_with(|| Arc::new(Host::new(domain, &self.settings))).clone()
    }

    /// Returns the reference's repository at a registry.
    fn repository(&self, domain: &str, reference: &Reference, scope: Scope) -> Repository {
        Repository { host: self.host(domain), path: reference.path.clone(), scope }
    }

    /// Returns where to read a reference's repository: at the mirrors of its domain, whose failures do not count, and then
    /// at the domain itself.
    fn sources(&self, reference: &Reference) -> (Vec<Repository>, Repository) {
        let at = |domain: &str| self.repository(domain, reference, Scope::pull(&reference.path));
        let mirrors = self.settings.mirrors.get(&reference.domain).map_or(&[][..], Vec::as_slice);
        (mirrors.iter().map(|mirror| at(mirror)).collect(), at(&reference.domain))
    }
}

impl RegistryError {
    fn new(doing: &'static str, subject: String, host: &Host, cause: Cause) -> Self {
        Self { doing, subject, registry: host.address.clone(), cause: Box::new(cause) }
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
    use crate::oci::{Descriptor, Platform};

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
    }
}
