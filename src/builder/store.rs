//! The store of a build: everything below `$KILN_ROOT`, opened.
//!
//! ```text
//! lock          shared flock while a build runs, exclusive while `prune` removes
//! content/      blobs and tags (an OCI image layout)
//! snapshots/    unpacked layers; scratch/ those being made
//! cache/        step records, stat caches, resolved references, compressed layers
//! mounts/       cache mounts
//! ```

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::failure::{environment, failure};
use super::{BuildFailure, BuildRequest, FailureKind};
use crate::cache::LocalCache;
use crate::content;
use crate::registry;
use crate::snapshot::Snapshots;

/// The rooms of an open store.
pub(super) struct Open {
    pub(super) content: content::Store,
    pub(super) snapshots: Snapshots,
    pub(super) cache: LocalCache,
    pub(super) registry: registry::Client,
    _lock: File,
}

impl Open {
    /// Opens the store of `request`, and sweeps what dead processes left unfinished.
    pub(super) fn store(request: &BuildRequest) -> Result<Self, BuildFailure> {
        let root = &request.store;
        let lock = lock(root, FlockOperation::LockShared)?;
        let wrong = |error: &dyn std::error::Error| failure(FailureKind::Environment, error);
        let content = content::Store::open(root).map_err(|error| wrong(&error))?;
        let snapshots = Snapshots::open(root, request.user_namespace).map_err(|error| wrong(&error))?;
        snapshots.sweep().map_err(|error| wrong(&error))?;
        let cache = LocalCache::open(root).map_err(|error| wrong(&error))?;
        let registry = registry::Client::new(settings(request)?);
        Ok(Self { content, snapshots, cache, registry, _lock: lock })
    }
}

/// Makes the root directory if it is missing and takes its lock.
pub(super) fn lock(root: &Path, operation: FlockOperation) -> Result<File, BuildFailure> {
    let cannot = |doing: &str, error: &dyn std::error::Error| {
        let mut failure = environment(format!("cannot {doing} the store `{}`", root.display()), error);
        failure.help.push("name another place for it: `--root DIR`, or KILN_ROOT".to_owned());
        failure
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|error| cannot("make", &error))?;
    let file = File::options().create(true).truncate(false).write(true).open(root.join("lock"));
    let file = file.map_err(|error| cannot("open", &error))?;
    flock(&file, operation).map_err(|error| cannot("lock", &error))?;
    Ok(file)
}

fn settings(request: &BuildRequest) -> Result<registry::Settings, BuildFailure> {
    let mut settings = registry::Settings {
        insecure: registry::Insecure::Hosts(request.registry.insecure_hosts.iter().cloned().collect()),
        ..registry::Settings::default()
    };
    if let Some(path) = &request.registry.docker_config {
        settings.docker_config =
            registry::DockerConfig::read(path).map_err(|error| failure(FailureKind::User, &error))?;
    }
    Ok(settings)
}
