//! Taking out of a store what no image in it needs.
//!
//! Order is safety: names go before what they lead to (tags, then step records, then snapshots, then blobs), so that
//! a prune that is killed leaves a store that is merely larger than it could be.

use std::io;
use std::path::{Path, PathBuf};

use super::needed::Needed;
use crate::builder::{LockError, StoreLock};
use crate::cache::{CacheError, LocalCache};
use crate::content::{ContentError, Store};
use crate::fsutil::Dir;
use crate::oci::digest_of;
use crate::snapshot::{SnapshotError, Snapshots};

/// What a prune took away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Tags; none unless everything was asked for.
    pub tags: usize,
    /// Images that had no name.
    pub nameless: usize,
    /// Records of steps.
    pub records: usize,
    /// Unpacked layers.
    pub snapshots: usize,
    /// Blobs.
    pub blobs: usize,
    /// Cache mounts; none unless everything was asked for.
    pub cache_mounts: usize,
    /// Bytes of files that are gone.
    pub bytes: u64,
}

/// Why a prune stopped. What it took away until then stays away, and does no harm.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// Builds are running, or the store cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Tags or blobs.
    #[error("cannot prune images")]
    Content(#[from] ContentError),
    /// Step records.
    #[error("cannot prune step records")]
    Cache(#[from] CacheError),
    /// Unpacked layers.
    #[error("cannot prune snapshots")]
    Snapshot(#[from] SnapshotError),
    /// A directory of the store.
    #[error("cannot remove what is in `{}`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Removes from the store at `root` what no tag leads to; with `everything`, tags, cache and cache mounts too.
/// Fails when a build uses the store. A store that is not there is pruned already.
pub fn prune(root: &Path, everything: bool) -> Result<Pruned, PruneError> {
    let mut pruned = Pruned::default();
    if !root.exists() {
        return Ok(pruned);
    }
    let _alone = StoreLock::exclusive(root)?;
    let store = Store::open(root)?;
    if everything {
        for (name, _) in store.tags()? {
            pruned.tags += usize::from(store.remove_tag(&name)?);
        }
        let (mounts, bytes) = empty(&root.join("mounts"))?;
        (pruned.cache_mounts, pruned.bytes) = (mounts, bytes);
    }
    for (_, descriptor) in store.images()?.iter().filter(|(name, _)| name.is_none()) {
        if let Ok(digest) = digest_of(descriptor) {
            pruned.nameless += usize::from(store.remove_nameless(&digest)?);
        }
    }
    let needed = Needed::of(&store, store.tags()?.iter().map(|(_, descriptor)| descriptor))?;
    pruned.records = LocalCache::open(root)?.retain(|record| needed.layers.contains(&record.diff_id))?;
    if everything {
        // What else the cache remembers is about layers and files that are gone with the images.
        pruned.bytes += empty(&root.join("cache"))?.1;
    }
    for snapshots in Snapshots::of_all_kinds(root)? {
        snapshots.sweep()?;
        for chain in snapshots.all()? {
            if !needed.chains.contains(&chain) {
                pruned.bytes += snapshots.remove(chain)?;
                pruned.snapshots += 1;
            }
        }
    }
    for (digest, length) in store.blobs()? {
        if !needed.blobs.contains(&digest) {
            store.remove_blob(&digest)?;
            pruned.blobs += 1;
            pruned.bytes += length;
        }
    }
    Ok(pruned)
}

/// Removes everything in a directory; returns how many entries there were, and the bytes of their files.
fn empty(path: &Path) -> Result<(usize, u64), PruneError> {
    let remove = || -> io::Result<(usize, u64)> {
        let directory = match Dir::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
            other => other?,
        };
        let (mut count, mut bytes) = (0, 0);
        for entry in directory.entries()? {
            bytes += directory.tree_size(&entry.name)?;
            directory.remove_tree(&entry.name)?;
            count += 1;
        }
        Ok((count, bytes))
    };
    remove().map_err(|source| PruneError::Directory { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::{KeyHasher, KeySink, Record};
    use crate::digest::DiffId;
    use crate::oci::{descriptor, media_type};
    use crate::snapshot::Snapshotter;

    /// A store with one tagged image of two layers, and as much that nothing leads to.
    fn store(root: &Path) -> [DiffId; 4] {
        let store = Store::open(root).unwrap();
        let layers = [b"one!", b"two!", b"old!", b"gone"].map(|bytes| DiffId(store.put(bytes).unwrap()));
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": layers[..2] }, "history": [],
        });
        let config = config.to_string();
        let id = store.put(config.as_bytes()).unwrap();
        let layer = |layer: &DiffId| descriptor(media_type::OCI_LAYER, &layer.0, 4);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, &id, config.len() as u64),
            "layers": layers[..2].iter().map(layer).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string();
        let digest = store.put(manifest.as_bytes()).unwrap();
        store.set_tag("a:1", descriptor(media_type::OCI_MANIFEST, &digest, manifest.len() as u64)).unwrap();

        let (snapshots, cache) =
            (Snapshots::open(root, Snapshotter::Overlay, false).unwrap(), LocalCache::open(root).unwrap());
        for (chain, layer) in [(&layers[..1], 0), (&layers[..2], 1), (&layers[2..3], 2), (&layers[1..2], 3)] {
            let scratch = snapshots.scratch().unwrap();
            std::fs::write(scratch.fs().join("file"), "12345").unwrap();
            snapshots.commit(scratch, chain).unwrap();
            let mut key = KeyHasher::default();
            key.field("layer", &layer.to_string());
            let diff_id = layers[layer];
            let record = Record { diff_id, length: 4, created: String::new(), facts: String::new() };
            cache.put(&key.finish(), &record).unwrap();
        }
        std::fs::create_dir_all(root.join("mounts/id/fs")).unwrap();
        std::fs::write(root.join("mounts/id/fs/cached"), "123").unwrap();
        layers
    }

    #[test]
    fn what_a_tag_leads_to_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        assert_eq!(prune(&root, true).unwrap(), Pruned::default());
        let layers = store(&root);
        let pruned = prune(&root, false).unwrap();
        assert_eq!(pruned, Pruned { records: 2, snapshots: 2, blobs: 2, bytes: 18, ..Pruned::default() });
        let snapshots = Snapshots::open(&root, Snapshotter::Overlay, false).unwrap();
        assert!(snapshots.find(&layers[..1]).is_some() && snapshots.find(&layers[..2]).is_some());
        assert!(root.join("mounts/id/fs/cached").exists());
        assert_eq!(prune(&root, false).unwrap(), Pruned::default());
    }

    #[test]
    fn everything_is_everything() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        store(&root);
        let pruned = prune(&root, true).unwrap();
        assert_eq!((pruned.tags, pruned.records, pruned.snapshots, pruned.cache_mounts), (1, 4, 4, 1));
        assert_eq!(Store::open(&root).unwrap().blobs().unwrap(), []);
        assert_eq!(Dir::open(&root.join("cache")).unwrap().entries().unwrap(), []);
    }

    #[test]
    fn a_running_build_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let _build = StoreLock::shared(&root).unwrap();
        assert!(matches!(prune(&root, true), Err(PruneError::Lock(LockError::InUse { .. }))));
    }
}
