//! What servers said of files that were downloaded earlier, so that they can be asked whether they still hold.
//!
//! ```text
//! cache/downloads/<blake3 of the URL>    one JSON object, replaced by rename; the bytes are a blob of the store
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::CacheError;
use crate::digest::Digest;
use crate::fsutil::write_atomically;

/// A file as it was downloaded last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadRecord {
    /// Its bytes.
    pub digest: Digest,
    /// Their number.
    pub length: u64,
    /// The `ETag` header as it came.
    pub etag: Option<String>,
    /// The `Last-Modified` header as it came.
    pub last_modified: Option<String>,
    /// Whether `last_modified` was old enough to tell this content from any later one.
    pub is_settled: bool,
}

/// The records of one store.
#[derive(Debug, Clone)]
pub struct DownloadCache {
    directory: PathBuf,
}

impl DownloadCache {
    /// Opens the records below the store's `root`.
    pub fn open(root: &Path) -> Result<Self, CacheError> {
        let directory = root.join("cache/downloads");
        match std::fs::create_dir_all(&directory) {
            Ok(()) => Ok(Self { directory }),
            Err(source) => Err(CacheError { doing: "create the directory", path: directory, source }),
        }
    }

    /// Returns what is known of the file at `url`. A damaged record is none.
    pub fn get(&self, url: &str) -> Option<DownloadRecord> {
        serde_json::from_slice(&std::fs::read(self.path_of(url)).ok()?).ok()
    }

    /// Writes what is known of the file at `url`. The record does not show the URL, which may hold a password.
    pub fn put(&self, url: &str, record: &DownloadRecord) -> Result<(), CacheError> {
        let path = self.path_of(url);
        let bytes = serde_json::to_vec(record).expect("a record is strings and numbers");
        write_atomically(&path, &bytes).map_err(|source| CacheError { doing: "write the record", path, source })
    }

    fn path_of(&self, url: &str) -> PathBuf {
        self.directory.join(blake3::hash(url.as_bytes()).to_hex().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_do_not_show_the_address() {
        let root = tempfile::tempdir().unwrap();
        let cache = DownloadCache::open(root.path()).unwrap();
        let url = "https://user:secret@h.example/f";
        let record = DownloadRecord {
            digest: Digest::of(b""),
            length: 0,
            etag: Some("\"1\"".to_owned()),
            last_modified: None,
            is_settled: false,
        };
        assert_eq!(cache.get(url), None);
        cache.put(url, &record).unwrap();
        assert_eq!(cache.get(url), Some(record));
        assert_eq!(cache.get("https://h.example/f"), None);
        let path = cache.path_of(url);
        let written = format!("{} {}", path.display(), std::fs::read_to_string(&path).unwrap());
        assert!(!written.contains("secret"), "{written}");
        std::fs::write(&path, b"{").unwrap();
        assert_eq!(cache.get(url), None);
    }
}
