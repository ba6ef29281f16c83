//! The store of a build: everything below `$KILN_ROOT`, opened.
//!
//! ```text
//! lock          shared flock while a build runs; leases/ what each uses, which `prune` leaves
//! content/      blobs and tags (an OCI image layout)
//! snapshots/    unpacked layers, packed/ those that are mounted as they are, trees/ whole trees where there is no overlayfs;
//!               scratch/ those being made
//! cache/        step records, stat caches, resolved references, compressed layers
//! mounts/       cache mounts
//! boot          id of the boot in which snapshots were unpacked (see `boot`)
//! ```

use std::path::Path;
use std::sync::Arc;

use super::failure::failure;
use super::remote::blocking;
use super::{BuildFailure, BuildRequest, FailureKind, StoreLock, boot, platforms};
use crate::cache::{DownloadCache, LocalCache};
use crate::content;
use crate::fsutil::Owners;
use crate::progress::SharedSink;
use crate::registry;
use crate::remotecache::Caches;
use crate::sandbox::idmap::{Entered, Rung};
use crate::snapshot::{self, Snapshots, Snapshotter};

/// The rooms of an open store.
pub(super) struct Open {
    pub(super) content: content::Store,
    pub(super) snapshots: Snapshots,
    /// Why snapshots are not overlays, if nobody asked for that.
    pub(super) no_overlay: Option<String>,
    pub(super) cache: LocalCache,
    pub(super) downloads: DownloadCache,
    pub(super) registry: registry::Client,
    pub(super) caches: Arc<Caches>,
    _lock: StoreLock,
}

impl Open {
    /// Opens the store of `request`, and sweeps what dead processes left unfinished. `sink` hears of registries that make wait.
    pub(super) async fn store(request: &BuildRequest, sink: SharedSink) -> Result<Self, BuildFailure> {
        let root = &request.store;
        let (own, entered, asked) = (root.clone(), request.entered, request.snapshotter);
        // It waits for a prune that runs, and the user may not want to.
        let opened = blocking(move || open_snapshots(&own, entered, asked)).await;
        let (lock, snapshots, no_overlay) = opened?;
        let wrong = |error: &(dyn std::error::Error + 'static)| failure(FailureKind::Environment, error);
        let content = lock.content(root).map_err(|error| wrong(&error))?;
        let cache = LocalCache::open(root).map_err(|error| wrong(&error))?;
        let downloads = DownloadCache::open(root).map_err(|error| wrong(&error))?;
        let registry = request.registry.client(sink.clone());
        let caches = caches(request, sink)?;
        Ok(Self { content, snapshots, no_overlay, cache, downloads, registry, caches, _lock: lock })
    }
}

/// The shared caches of a build. Nothing is connected yet.
fn caches(request: &BuildRequest, sink: SharedSink) -> Result<Arc<Caches>, BuildFailure> {
    let shared = &request.shared_caches;
    let to = shared.to.iter().map(|target| target.place.clone()).collect();
    // Steps that must be done twice are done here.
    let from = if request.verify_reproducible { &[][..] } else { &shared.from };
    let from = from.iter().map(|source| (source.place.clone(), source.trust.clone())).collect();
    let (platforms, client) = (platforms::platforms(request), request.registry.impatient_client());
    Ok(Caches::open(from, to, shared.trust.clone(), shared.accounts.clone(), platforms, client, sink))
}

/// Joins the users of the store at `root`, and opens its unpacked layers as who has entered namespaces so keeps them. The text
/// says why they are no overlays, if nobody asked for that. Blobs are opened by the lock ([`StoreLock::content`]).
pub fn open_snapshots(
    root: &Path,
    entered: Entered,
    asked: Option<Snapshotter>,
) -> Result<(StoreLock, Snapshots, Option<String>), BuildFailure> {
    let owners = if entered.rung == Rung::SingleId { Owners::Noted } else { Owners::Real };
    boot::forget_earlier(root, owners).map_err(|error| {
            let mut failure = failure(FailureKind::Environment, &error);
            let help = "when no other build runs, remove the store (with subordinate ids: `kiln prune`; without: as root), or \
                        name another: `--store DIR`, KILN_ROOT";
            failure.help.push(help.to_owned());
            failure
        })?;
    let lock = StoreLock::shared(root).map_err(|error| {
        let mut failure = failure(FailureKind::Environment, &error);
        failure.help.push("name another place for the store: `--store DIR`, or KILN_ROOT".to_owned());
        failure
    })?;
    let wrong = |error: &(dyn std::error::Error + 'static)| failure(FailureKind::Environment, error);
    let userxattr = entered.user_namespace;
    let (snapshotter, no_overlay) = match asked {
        Some(asked) => (asked, None),
        None if entered.rung == Rung::Chroot => (Snapshotter::Copy, None),
        None => match snapshot::refusal(root, userxattr).map_err(|error| wrong(&error))? {
            None => (Snapshotter::Overlay, None),
            refused => (Snapshotter::Copy, refused),
        },
    };
    let snapshots = Snapshots::open(root, snapshotter, userxattr).map_err(|error| wrong(&error))?;
    let snapshots = lock.snapshots(snapshots.with_owners(owners));
    // What cannot be swept now harms nobody; a later build tries again.
    let _ = snapshots.sweep();
    Ok((lock, snapshots, no_overlay))
}
