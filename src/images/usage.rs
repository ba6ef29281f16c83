//! What is in a store, how much room each thing takes, how old it is, and whether a prune may take it.
//!
//! Sizes are those of the disk, in blocks, so that they add up to what `du` says of the store's directory. A thing is as old as
//! the last step that used it (a record says when), or else as old as itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::needed::Needed;
use super::{ImagesError, PruneError};
use crate::content::Store;
use crate::digest::{ChainId, DiffId, Digest};
use crate::fsutil::{Dir, DiskUsage};

/// What kind of thing it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ThingKind {
    /// What a step made, by its key.
    StepRecord,
    /// Something a build remembers to be faster: what a file was, what a registry answered, how a layer was compressed.
    Note,
    /// An unpacked layer.
    Snapshot,
    /// A layer, a config, a manifest.
    Blob,
    /// The directory of a cache mount.
    CacheMount,
    /// What is being made, or was left by a process that was killed.
    Unfinished,
    /// The rest: locks, the list of images, directories.
    Store,
}

/// One thing of a store.
#[derive(Clone, PartialEq, Debug)]
pub struct Thing {
    /// What it is.
    pub kind: ThingKind,
    /// Where, below the store's root.
    pub path: PathBuf,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When it was last used, or made, in seconds since 1970.
    pub used: i64,
    /// Whether a prune that takes no named image may take it.
    pub reclaimable: bool,
    /// The digest of a blob, the layer of a record, the chain of a snapshot.
    pub digest: Option<Digest>,
}

/// Where things of each kind are.
const PLACES: [(&str, ThingKind); 12] = [
    ("cache/steps", ThingKind::StepRecord),
    ("cache/stat", ThingKind::Note),
    ("cache/former", ThingKind::Note),
    ("cache/builds", ThingKind::Note),
    ("cache/images", ThingKind::Note),
    ("cache/downloads", ThingKind::Note),
    ("cache/compressed", ThingKind::Note),
    ("snapshots", ThingKind::Snapshot),
    ("trees", ThingKind::Snapshot),
    ("content/blobs/sha256", ThingKind::Blob),
    // After the blobs, which are in them under another name, and count there.
    ("packed", ThingKind::Snapshot),
    ("mounts", ThingKind::CacheMount),
];
const UNFINISHED: [&str; 2] = ["tmp", "scratch"];

/// Lists all things of the store at `root`; their sizes add up to its own. The process must have entered its namespaces.
pub fn usage(root: &Path) -> Result<Vec<Thing>, ImagesError> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    let store = Store::open(root)?;
    let named: Vec<_> = store.tags()?.into_iter().map(|(_, descriptor)| descriptor).collect();
    let needed = Needed::of(&store, &named)?;
    things(root, &needed).map_err(|source| PruneError::Directory { path: root.to_owned(), source }.into())
}

/// Lists all things, and says which `needed` does not need.
pub(super) fn things(root: &Path, needed: &Needed) -> io::Result<Vec<Thing>> {
    let (top, mut usage) = (Dir::open(root)?, DiskUsage::default());
    let mut all = Vec::new();
    for (place, kind) in PLACES {
        all.extend(of_place(&top, place, kind, needed, &mut usage)?);
    }
    for place in UNFINISHED {
        all.extend(of_place(&top, place, ThingKind::Unfinished, needed, &mut usage)?);
    }
    touch_by_records(&mut all);
    let listed: u64 = all.iter().map(|thing| thing.bytes).sum();
    let (kind, path, digest) = (ThingKind::Store, PathBuf::new(), None);
    let bytes = size(root)?.saturating_sub(listed);
    all.push(Thing { kind, path, bytes, used: i64::MAX, reclaimable: false, digest });
    Ok(all)
}

/// What the store at `root` takes on the disk, as `du` says.
pub(super) fn size(root: &Path) -> io::Result<u64> {
    let parent = Dir::open(root.parent().unwrap_or(root))?;
    DiskUsage::default().of(&parent, root.file_name().unwrap_or(OsStr::new(".")))
}

fn of_place(top: &Dir, place: &str, kind: ThingKind, needed: &Needed, usage: &mut DiskUsage) -> io::Result<Vec<Thing>> {
    let dir = match top.open_dir_in_root(Path::new(place)) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for entry in dir.entries()? {
        let Some(found) = dir.child_metadata(&entry.name)? else { continue };
        let digest = entry.name.to_str().and_then(|hex| Digest::from_hex(hex).ok());
        let reclaimable = match (kind, digest) {
            (ThingKind::Blob, Some(digest)) => !needed.blobs.contains(&digest),
            (ThingKind::Snapshot, Some(digest)) => !needed.chains.contains(&ChainId(digest)),
            // Records are looked into below. What else has no digest belongs to the place itself.
            (ThingKind::StepRecord, _) => true,
            _ => false,
        };
        let digest = digest.filter(|_| kind != ThingKind::StepRecord);
        if matches!(kind, ThingKind::Snapshot | ThingKind::Blob) && digest.is_none() {
            continue;
        }
        let bytes = usage.of(&dir, &entry.name)?;
        let path = Path::new(place).join(&entry.name);
        // The time of an unpacked root directory is the image's; when it got its name is not.
        let used = if found.is_dir() { found.ctime.seconds } else { found.mtime.seconds };
        all.push(Thing { kind, path, bytes, used, reclaimable, digest });
    }
    if kind == ThingKind::StepRecord {
        for thing in &mut all {
            let record = top.open_file_in_root(&thing.path).ok().and_then(|file| record_of(file).ok());
            thing.reclaimable = record.is_none_or(|layer| !needed.layers.contains(&layer));
            thing.digest = record.map(|layer| layer.0);
        }
    }
    Ok(all)
}

/// The part of a [`crate::cache::Record`] that matters here.
#[derive(Deserialize)]
struct Made {
    diff_id: DiffId,
}

fn record_of(file: std::fs::File) -> Result<DiffId, serde_json::Error> {
    let made: Made = serde_json::from_reader(io::BufReader::new(file))?;
    Ok(made.diff_id)
}

/// A layer was used when a step last found it.
fn touch_by_records(all: &mut [Thing]) {
    let mut last: BTreeMap<Digest, i64> = BTreeMap::new();
    for thing in all.iter().filter(|thing| thing.kind == ThingKind::StepRecord) {
        let Some(layer) = thing.digest else { continue };
        let known = last.entry(layer).or_insert(i64::MIN);
        *known = thing.used.max(*known);
    }
    for thing in all.iter_mut().filter(|thing| thing.kind == ThingKind::Blob) {
        if let Some(used) = thing.digest.and_then(|digest| last.get(&digest)) {
            thing.used = thing.used.max(*used);
        }
    }
}
