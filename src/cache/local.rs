//! Records on this machine.
//!
//! ```text
//! cache/steps/<key hex>     one JSON object, written once by rename; no lock, no index
//! cache/former/<key hex>    the digest of the layer that a step made last, whatever its files were
//! ```
//!
//! Beside them `cache/turns` (see [`turn`]) and `cache/builds` (see [`last`]).

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::last::{self, LastBuild};
use super::turn::{self, Turn};
use super::{Key, Place};
use crate::digest::DiffId;
use crate::fsutil::{Dir, Entry, write_atomically};
use crate::oci::Descriptor;

/// What a step made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The layer, as an uncompressed tar blob of the store.
    pub diff_id: DiffId,
    /// Its length in bytes.
    pub length: u64,
    /// When it was made, RFC 3339: becomes `created` of the layer's history entry, so that a cached build
    /// gives the very same image.
    pub created: String,
    /// The facts behind the key, as `cache::explain` writes them.
    pub facts: String,
    /// How long it took to make, in milliseconds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    /// The most memory that a process of its command had, in bytes, where there was one and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Where the layer can be had, if a shared cache knew the step: its blob need not be in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Elsewhere>,
    /// What a shared cache said, if the step was not done on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

/// The record of a shared cache that a record of this machine came from, as far as it says more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Where it was.
    pub place: Place,
    /// The key it had there.
    pub key: String,
    /// The hash of its facts.
    pub preimage: String,
    /// The blob of its layer.
    pub layer: Descriptor,
    /// What wrote the blob.
    pub codec: String,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Signature>,
}

/// A signature of a record of a shared cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The public key, 64 hex digits.
    pub key: String,
    /// The signature, base64.
    pub signature: String,
}

/// A layer in shared caches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// Its blob, as it is there.
    pub layer: Descriptor,
    /// What wrote the blob, in the words of `export::Codec`: an export that would write the same takes it as it is.
    pub codec: String,
    /// Where.
    pub places: Vec<Place>,
}

/// Why a record could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} `{}`: {source}", path.display())]
pub struct CacheError {
    pub(super) doing: &'static str,
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// The records of one store.
#[derive(Debug, Clone)]
pub struct LocalCache {
    steps: PathBuf,
    former: PathBuf,
    builds: PathBuf,
    turns: PathBuf,
}

impl LocalCache {
    /// Opens the records below the store's `root`.
    pub fn open(root: &Path) -> Result<Self, CacheError> {
        let steps = root.join("cache/steps");
        std::fs::create_dir_all(&steps).map_err(|source| CacheError {
            doing: "create the directory",
            path: steps.clone(),
            source,
        })?;
        let place = |name: &str| root.join("cache").join(name);
        let (former, builds, turns) = (place("former"), place("builds"), place("turns"));
        turn::sweep(&turns);
        Ok(Self { steps, former, builds, turns })
    }

    /// Returns the record of `key`; none, or a damaged one, is `None`. A damaged one is removed. The time of the file says when
    /// it was last asked for, by which a prune goes.
    pub fn get(&self, key: &Key) -> Option<Record> {
        let path = self.path_of(key);
        let bytes = std::fs::read(&path).ok()?;
        let record = serde_json::from_slice(&bytes).ok();
        match record {
            None => drop(std::fs::remove_file(&path)),
            Some(_) => touch(&path),
        }
        record
    }

    /// Returns the layer that a step made last, by a key that its files are not part of.
    pub fn former(&self, key: &Key) -> Option<DiffId> {
        std::fs::read_to_string(self.former.join(key.hex())).ok()?.parse().ok().map(DiffId)
    }

    /// Remembers what [`LocalCache::former`] returns.
    pub fn put_former(&self, key: &Key, layer: DiffId) -> Result<(), CacheError> {
        let path = self.former.join(key.hex());
        let written = std::fs::create_dir_all(&self.former)
            .and_then(|()| write_atomically(&path, layer.0.to_string().as_bytes()));
        written.map_err(|source| CacheError { doing: "write", path, source })
    }

    /// Writes the record of `key`, over an older one if there is any.
    pub fn put(&self, key: &Key, record: &Record) -> Result<(), CacheError> {
        let path = self.path_of(key);
        let bytes = serde_json::to_vec(record).expect("a record is strings and numbers");
        write_atomically(&path, &bytes).map_err(|source| CacheError { doing: "write the record", path, source })
    }

    /// Returns what the steps of a build were when it last had something to do.
    pub fn last_build(&self, build: &Key) -> Option<LastBuild> {
        last::read(&self.builds, build)
    }

    /// Remembers what [`LocalCache::last_build`] returns.
    pub fn put_last_build(&self, build: &Key, steps: &LastBuild) -> Result<(), CacheError> {
        last::write(&self.builds, build, steps)
    }

    /// Takes the turn to do the step of `key`; `None` while somebody else does it.
    pub fn turn(&self, key: &Key) -> Result<Option<Turn>, CacheError> {
        turn::take(&self.turns, key)
    }

    /// Returns all records that can be read, in no order that means anything.
    pub fn all(&self) -> Result<Vec<Record>, CacheError> {
        let failed = |source| CacheError { doing: "list", path: self.steps.clone(), source };
        let entries = Dir::open(&self.steps).and_then(|dir| dir.entries()).map_err(failed)?;
        let read = |entry: &Entry| serde_json::from_slice(&std::fs::read(self.steps.join(&entry.name)).ok()?).ok();
        Ok(entries.iter().filter_map(read).collect())
    }

    fn path_of(&self, key: &Key) -> PathBuf {
        self.steps.join(key.hex())
    }
}

/// Gives a file the time of now. That it cannot be had makes the record older than it is.
fn touch(path: &Path) {
    let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = rustix::fs::Timestamps { last_access: omit, last_modification: now };
    let _ = rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{KeyHasher, KeySink};
    use crate::digest::Digest;

    #[test]
    fn a_damaged_record_is_a_miss_and_goes() {
        let root = tempfile::tempdir().unwrap();
        let cache = LocalCache::open(root.path()).unwrap();
        let mut hasher = KeyHasher::default();
        hasher.field("op", "run/1");
        let key = hasher.finish();
        let record = Record {
            diff_id: DiffId(Digest::of(b"")),
            length: 0,
            created: "2026-01-01T00:00:00Z".to_owned(),
            facts: String::new(),
            milliseconds: None,
            peak_memory: None,
            elsewhere: None,
            imported: None,
        };
        assert_eq!(cache.get(&key), None);
        cache.put(&key, &record).unwrap();
        assert_eq!(cache.get(&key), Some(record));
        std::fs::write(cache.path_of(&key), b"{").unwrap();
        assert_eq!(cache.get(&key), None);
        assert!(!cache.path_of(&key).exists());
    }
}
