//! Taking out of a store what is not wanted there.
//!
//! Without more, what no name leads to goes: images without a name, and the step cache of images that are gone. With `images`, named images
//! go too, and cache mounts. Filters leave things out; a cap stops when the store is small enough, and takes what was used longest ago
//! first, images last.
//!
//! Order is safety: names go before what they lead to (tags, then step records, then snapshots, then blobs), so that
//! a prune that is killed leaves a store that is merely larger than it could be. What others use stays, and what was made by
//! those that still run ([`Removal`]); they wait before they use something else, until the prune is done.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::image::Image;
use super::needed::Needed;
use super::usage::{self, Thing, ThingKind, things};
use crate::content::{ContentError, Store};
use crate::digest::ChainId;
use crate::fsutil::{Dir, Removal};
use crate::oci::{Descriptor, digest_of};
use crate::snapshot::{SnapshotError, Snapshots};

/// What a prune shall take.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PruneRequest {
    /// Named images and cache mounts too.
    pub images: bool,
    /// Only what was last used, and images that were made, before this time, in seconds since 1970.
    pub before: Option<i64>,
    /// Only images with all these labels (name, and value if one is asked for), and what they alone lead to.
    pub labels: Vec<(String, Option<String>)>,
    /// Not images with any of these.
    pub not_labels: Vec<(String, Option<String>)>,
    /// Take no more when the store has this many bytes or fewer.
    pub keep: Option<u64>,
}

/// What a prune took away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Tags; none unless images were asked for.
    pub tags: usize,
    /// Images that had no name.
    pub nameless: usize,
    /// Records of steps.
    pub records: usize,
    /// Unpacked layers.
    pub snapshots: usize,
    /// Blobs.
    pub blobs: usize,
    /// Cache mounts; none unless images were asked for.
    pub cache_mounts: usize,
    /// Bytes of the disk that are free now. Beside builds, which take room meanwhile, the sum of what the things took.
    pub bytes: u64,
}

/// Why a prune stopped. What it took away until then stays away, and does no harm.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// Tags or blobs.
    #[error("cannot prune images")]
    Content(#[from] ContentError),
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

/// Removes from the store at `root` what `request` asks for and nobody uses. A store that is not there is pruned already. The process
/// must have entered its namespaces.
pub fn prune(root: &Path, request: &PruneRequest) -> Result<Pruned, PruneError> {
    if !root.exists() {
        return Ok(Pruned::default());
    }
    let removal = Removal::begin(root).map_err(|source| failed(root, source))?;
    let mut prune = Prune::open(root, request, removal)?;
    let before = prune.size()?;
    prune.run(before)?;
    if prune.removal.is_alone() {
        prune.pruned.bytes = before.saturating_sub(prune.size()?);
    }
    Ok(prune.pruned)
}

struct Prune<'a> {
    root: &'a Path,
    request: &'a PruneRequest,
    store: Store,
    snapshots: Vec<Snapshots>,
    removal: Removal,
    pruned: Pruned,
}

impl<'a> Prune<'a> {
    fn open(root: &'a Path, request: &'a PruneRequest, removal: Removal) -> Result<Self, PruneError> {
        let (store, snapshots) = (Store::open(root)?, Snapshots::of_all_kinds(root)?);
        for snapshots in &snapshots {
            snapshots.sweep()?;
        }
        Ok(Self { root, request, store, snapshots, removal, pruned: Pruned::default() })
    }

    fn run(&mut self, size: u64) -> Result<(), PruneError> {
        let mut images = self.eligible_images()?;
        if self.request.keep.is_some_and(|keep| size <= keep) {
            return Ok(());
        }
        // Nameless ones are rubbish to begin with.
        let (nameless, mut named): (Vec<_>, Vec<_>) = images.drain(..).partition(|image| image.name.is_none());
        let mut gone = self.drop_images(&nameless)?;
        if self.request.keep.is_none() {
            gone.extend(self.drop_images(&named)?);
            named.clear();
        }
        self.sweep(&gone)?;
        // Over a cap, images follow, the oldest first, each with what it alone leads to.
        while !named.is_empty() && !self.is_small_enough()? {
            let oldest = named.remove(0);
            gone.extend(self.drop_images(&[oldest])?);
            self.sweep(&gone)?;
        }
        if self.request.images && self.request.labels.is_empty() && !self.is_small_enough()? {
            self.remove_the_rest()?;
        }
        Ok(())
    }

    fn is_small_enough(&self) -> Result<bool, PruneError> {
        match self.request.keep {
            Some(keep) => Ok(self.size()? <= keep),
            None => Ok(false),
        }
    }

    /// The images that may go, oldest first.
    fn eligible_images(&self) -> Result<Vec<Candidate>, PruneError> {
        let mut all = Vec::new();
        for (name, descriptor) in self.store.images()? {
            if name.is_some() && !self.request.images {
                continue;
            }
            // What cannot be read has neither time nor labels.
            let image = Image::read(&self.store, name.clone(), &descriptor, None).ok();
            let created = image.as_ref().and_then(Image::created).unwrap_or(i64::MIN);
            let has = |wanted: &(String, Option<String>)| {
                let found = image.as_ref().and_then(|image| image.config.config.labels.get(&wanted.0));
                found.is_some_and(|found| wanted.1.as_ref().is_none_or(|value| value == found))
            };
            let is_old = self.request.before.is_none_or(|before| created < before);
            if is_old && self.request.labels.iter().all(has) && !self.request.not_labels.iter().any(has) {
                all.push(Candidate { name, descriptor, created });
            }
        }
        all.sort_by_key(|image| image.created);
        Ok(all)
    }

    /// Takes the names away; returns what they led to.
    fn drop_images(&mut self, images: &[Candidate]) -> Result<Vec<Descriptor>, PruneError> {
        for image in images {
            match (&image.name, digest_of(&image.descriptor)) {
                (Some(name), _) => self.pruned.tags += usize::from(self.store.remove_tag(name)?),
                (None, Ok(digest)) => self.pruned.nameless += usize::from(self.store.remove_nameless(&digest)?),
                (None, Err(_)) => {}
            }
        }
        Ok(images.iter().map(|image| image.descriptor.clone()).collect())
    }

    /// Takes away what no image that is left needs, as far as the filters and the cap let it. `gone` are the images that went.
    fn sweep(&mut self, gone: &[Descriptor]) -> Result<(), PruneError> {
        let left: Vec<Descriptor> = self.store.images()?.into_iter().map(|(_, descriptor)| descriptor).collect();
        let needed = Needed::of(&self.store, &left)?.and_used(self.removal.names());
        let mut all = things(self.root, &needed).map_err(|source| failed(self.root, source))?;
        all.retain(|thing| thing.reclaimable && self.request.before.is_none_or(|before| thing.used < before));
        if !self.request.labels.is_empty() {
            // Only images have labels.
            let theirs = Needed::of(&self.store, gone)?;
            all.retain(|thing| match (thing.kind, thing.digest) {
                (ThingKind::Blob, Some(digest)) => theirs.blobs.contains(&digest),
                (ThingKind::Snapshot, Some(digest)) => theirs.chains.contains(&ChainId(digest)),
                _ => false,
            });
        }
        // A record before its blob: one that leads to nothing is a miss, and a blob that nothing leads to is only large.
        match self.request.keep {
            None => all.sort_by_key(|thing| thing.kind),
            Some(_) => all.sort_by_key(|thing| (thing.used, thing.kind)),
        }
        let mut size = self.request.keep.map(|_| self.size()).transpose()?.unwrap_or_default();
        for thing in &all {
            if self.request.keep.is_some_and(|keep| size <= keep) {
                break;
            }
            self.remove(thing)?;
            self.pruned.bytes += thing.bytes;
            size = size.saturating_sub(thing.bytes);
        }
        self.store.forget_lone_referrers()?;
        Ok(())
    }

    fn remove(&mut self, thing: &Thing) -> Result<(), PruneError> {
        match (thing.kind, thing.digest) {
            (ThingKind::Blob, Some(digest)) => {
                self.store.remove_blob(&digest)?;
                self.pruned.blobs += 1;
            }
            (ThingKind::Snapshot, Some(chain)) => self.remove_snapshot(&thing.path, ChainId(chain))?,
            (ThingKind::StepRecord, _) => {
                self.remove_path(&thing.path)?;
                self.pruned.records += 1;
            }
            _ => self.remove_path(&thing.path)?,
        }
        Ok(())
    }

    fn remove_snapshot(&mut self, path: &Path, chain: ChainId) -> Result<(), PruneError> {
        for snapshots in &self.snapshots {
            if snapshots.is_at(&self.root.join(path)) {
                snapshots.remove(chain)?;
                self.pruned.snapshots += 1;
            }
        }
        Ok(())
    }

    /// What is about layers and files that are gone with the images, and cache mounts.
    fn remove_the_rest(&mut self) -> Result<(), PruneError> {
        let before = self.request.before;
        let all = things(self.root, &Needed::default()).map_err(|source| failed(self.root, source))?;
        let mut size = self.size()?;
        for thing in all.iter().filter(|thing| before.is_none_or(|before| thing.used < before)) {
            if self.request.keep.is_some_and(|keep| size <= keep) {
                break;
            }
            let is_removed = match thing.kind {
                ThingKind::CacheMount => self.remove_cache_mount(&thing.path)?,
                ThingKind::Note => self.remove_path(&thing.path).map(|()| true)?,
                _ => false,
            };
            if is_removed {
                self.pruned.bytes += thing.bytes;
                size = size.saturating_sub(thing.bytes);
            }
        }
        Ok(())
    }

    /// Removes a cache mount that no step has at this moment; says whether it did.
    fn remove_cache_mount(&mut self, path: &Path) -> Result<bool, PruneError> {
        let whole = self.root.join(path);
        let lock = Dir::open(&whole).map_err(|source| failed(&whole, source))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        self.remove_path(path)?;
        self.pruned.cache_mounts += 1;
        Ok(true)
    }

    fn remove_path(&self, path: &Path) -> Result<(), PruneError> {
        let whole = self.root.join(path);
        let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else { return Ok(()) };
        let removed = Dir::open(parent).and_then(|dir| dir.remove_tree(name));
        removed.map_err(|source| failed(&whole, source))
    }

    fn size(&self) -> Result<u64, PruneError> {
        usage::size(self.root).map_err(|source| failed(self.root, source))
    }
}

/// An image that may go.
struct Candidate {
    name: Option<String>,
    descriptor: Descriptor,
    created: i64,
}

fn failed(path: &Path, source: io::Error) -> PruneError {
    PruneError::Directory { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builder::StoreLock;
    use crate::cache::LocalCache;
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
            snapshots.commit(scratch, ChainId::of(chain).unwrap()).unwrap();
            let mut key = KeyHasher::default();
            key.field("layer", &layer.to_string());
            let diff_id = layers[layer];
            let (created, facts) = (String::new(), String::new());
            let record = Record {
                diff_id,
                length: 4,
                created,
                facts,
                milliseconds: None,
                peak_memory: None,
                elsewhere: None,
                imported: None,
            };
            cache.put(&key.finish(), &record).unwrap();
        }
        std::fs::create_dir_all(root.join("mounts/id/fs")).unwrap();
        std::fs::write(root.join("mounts/id/fs/cached"), "123").unwrap();
        layers
    }

    fn all() -> PruneRequest {
        PruneRequest { images: true, ..PruneRequest::default() }
    }

    #[test]
    fn what_a_tag_leads_to_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        assert_eq!(prune(&root, &all()).unwrap(), Pruned::default());
        let layers = store(&root);
        let pruned = prune(&root, &PruneRequest::default()).unwrap();
        assert!(pruned.bytes > 18, "{pruned:?}");
        assert_eq!(pruned, Pruned { records: 2, snapshots: 2, blobs: 2, bytes: pruned.bytes, ..Pruned::default() });
        let snapshots = Snapshots::open(&root, Snapshotter::Overlay, false).unwrap();
        assert!(ChainId::each_of(&layers[..2]).into_iter().all(|chain| snapshots.has(chain)));
        assert!(root.join("mounts/id/fs/cached").exists());
        assert_eq!(prune(&root, &PruneRequest::default()).unwrap(), Pruned::default());
    }

    #[test]
    fn everything_is_everything() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        store(&root);
        let pruned = prune(&root, &all()).unwrap();
        assert_eq!((pruned.tags, pruned.records, pruned.snapshots, pruned.cache_mounts), (1, 4, 4, 1));
        assert_eq!(Store::open(&root).unwrap().blobs().unwrap(), []);
        assert_eq!(Dir::open(&root.join("cache/steps")).unwrap().entries().unwrap(), []);
    }

    #[test]
    fn what_a_running_build_uses_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let layers = store(&root);
        let build = StoreLock::shared(&root).unwrap();
        let used = build.content(&root).unwrap();
        assert_eq!(used.length_of(&layers[2].0).unwrap(), Some(4));
        let made = used.put(b"made").unwrap();
        let mount = Dir::open(&root.join("mounts/id")).unwrap();
        flock(&mount, FlockOperation::LockShared).unwrap();
        let pruned = prune(&root, &all()).unwrap();
        assert_eq!((pruned.tags, pruned.records, pruned.snapshots, pruned.cache_mounts), (1, 3, 4, 0));
        assert!(pruned.bytes > 0);
        let left: Vec<_> = used.blobs().unwrap().into_iter().map(|(digest, _)| digest).collect();
        assert!(left.len() == 2 && left.contains(&layers[2].0) && left.contains(&made), "{left:?}");
        assert_eq!(used.length_of(&layers[3].0).unwrap(), None);
        drop((build, used, mount));
        let pruned = prune(&root, &all()).unwrap();
        assert_eq!((pruned.records, pruned.blobs, pruned.cache_mounts), (1, 2, 1));
    }
}
