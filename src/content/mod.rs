//! Blobs by digest on the local disk, in an OCI image layout that any other tool can read.
//!
//! ```text
//! <root>/content/oci-layout            {"imageLayoutVersion":"1.0.0"}
//! <root>/content/index.json            one entry per tag; appears by rename
//! <root>/content/blobs/sha256/<hex>    finished blobs; appear by rename, never changed
//! <root>/content.lock                  flock of whoever changes index.json
//! <root>/tmp/ingest-<random>           blobs being written; their writer holds a flock
//! ```
//!
//! A tag's entry carries `org.opencontainers.image.ref.name` with the familiar name (`alpine:3.19`), so that
//! `skopeo inspect oci:<root>/content:alpine:3.19` finds it, and `io.containerd.image.name` with the full one.
//!
//! An entry with an `artifactType` is what refers to an image, and no image: see `referrers`.
//!
//! Not here: what blobs mean (`oci`, `layer`), where they come from (`registry`), which may go (`images`).
//! There is no trait: this is the one store there is.
//!
//! Any number of processes and threads share a store. Reading takes no lock. Two writers of one blob both
//! succeed, and what a store [with a lease](Store::with_lease) looked for or wrote is not removed beside it; changes of tags wait for each other. A process killed at any moment leaves at most an unfinished ingest,
//! which the next [`Store::open`] removes. Blobs are not synced one by one: whoever reads one verifies it, so that a power
//! loss costs a blob but not the truth. [`Store::set_tag`] syncs what the tag refers to before the tag is written.
//!
//! Everything here blocks; call it from a blocking thread.

mod blob;
mod error;
mod ingest;
mod referrers;
mod single;
mod tags;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub use blob::BlobReader;
pub use error::{ContentError, damaged_blob};
pub use ingest::Ingest;

use crate::digest::Digest;
use crate::fsutil::{Dir, Lease, write_atomically};

/// The header of an image layout (image-spec, image-layout.md).
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The local blob store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    layout: PathBuf,
    blobs: PathBuf,
    temporary: PathBuf,
    lock: PathBuf,
    lease: Option<Lease>,
}

impl Store {
    /// Opens the store below `root`, making what is missing (`root` itself with mode 0700), and removes unfinished
    /// ingests whose writers are gone.
    pub fn open(root: &Path) -> Result<Self, ContentError> {
        let layout = root.join("content");
        let store = Self {
            blobs: layout.join("blobs/sha256"),
            temporary: root.join("tmp"),
            lock: root.join("content.lock"),
            layout,
            lease: None,
        };
        let private = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        private.map_err(ContentError::io("create the store", root))?;
        for dir in [&store.blobs, &store.temporary] {
            std::fs::create_dir_all(dir).map_err(ContentError::io("create the directory", dir))?;
        }
        let header = store.layout.join("oci-layout");
        if !header.exists() {
            write_atomically(&header, LAYOUT).map_err(ContentError::io("write", &header))?;
        }
        store.create_index_if_missing()?;
        ingest::sweep(&store.temporary)?;
        Ok(store)
    }

    /// Says whose use of blobs this is: one that was asked for, or was written, is not removed beside them.
    #[must_use]
    pub fn with_lease(self, lease: Lease) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// The name that a blob has in a [`Lease`].
    pub fn name_in_lease(digest: &Digest) -> String {
        format!("blob {}", digest.hex())
    }

    fn hold(&self, digest: &Digest) -> Result<(), ContentError> {
        hold(self.lease.as_ref(), digest, &self.blobs)
    }

    /// Returns the directory that is an OCI image layout.
    pub fn layout(&self) -> &Path {
        &self.layout
    }

    /// Returns where the blob is, or would be.
    pub fn path_of(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// Returns the length of the blob in bytes; `None` when it is not here.
    pub fn length_of(&self, digest: &Digest) -> Result<Option<u64>, ContentError> {
        let path = self.path_of(digest);
        self.hold(digest)?;
        match std::fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ContentError::io("look at", &path)(source)),
        }
    }

    /// Opens the blob for reading with verification: the last bytes are handed out only when all matched the digest.
    pub fn open_blob(&self, digest: &Digest) -> Result<BlobReader, ContentError> {
        BlobReader::new(self.open_unverified(digest)?, self.path_of(digest), *digest)
    }

    /// Opens the blob as a plain file; for blobs that were verified a moment ago.
    pub fn open_unverified(&self, digest: &Digest) -> Result<File, ContentError> {
        let path = self.path_of(digest);
        self.hold(digest)?;
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ContentError::Missing { digest: *digest }),
            Err(source) => Err(ContentError::io("open", &path)(source)),
        }
    }

    /// Returns a small blob, verified. One longer than `limit` bytes is refused before it is read.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ContentError> {
        let mut reader = self.open_blob(digest)?;
        if reader.length() > limit {
            return Err(ContentError::TooLarge { digest: *digest, length: reader.length(), limit });
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(ContentError::of_io("read", &self.path_of(digest)))?;
        Ok(bytes)
    }

    /// Begins a blob whose digest is known at its end.
    pub fn ingest(&self) -> Result<Ingest, ContentError> {
        Ok(Ingest::new(&self.temporary, &self.blobs)?.with_lease(self.lease.clone()))
    }

    /// Stores small bytes; when they are here already, nothing changes.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ContentError> {
        let digest = Digest::of(bytes);
        if self.length_of(&digest)? == Some(bytes.len() as u64) && self.read_blob(&digest, u64::MAX).is_ok() {
            return Ok(digest);
        }
        let mut ingest = self.ingest()?;
        ingest.write_all(bytes).map_err(ContentError::of_io("write", &self.path_of(&digest)))?;
        ingest.commit(Some(&digest))?;
        Ok(digest)
    }

    /// Returns all blobs with their lengths in bytes, sorted by digest.
    pub fn blobs(&self) -> Result<Vec<(Digest, u64)>, ContentError> {
        let list = || -> io::Result<Vec<(Digest, u64)>> {
            let dir = Dir::open(&self.blobs)?;
            let mut found = Vec::new();
            for entry in dir.entries()? {
                let digest = entry.name.to_str().and_then(|hex| Digest::from_hex(hex).ok());
                // A name that is no digest was put here by someone else; a name that is gone was just removed.
                let (Some(digest), Some(metadata)) = (digest, dir.child_metadata(&entry.name)?) else { continue };
                found.push((digest, metadata.size));
            }
            Ok(found)
        };
        list().map_err(ContentError::io("list", &self.blobs))
    }

    /// Removes a blob, for example a corrupt one. Nothing there is no error. Open readers are not disturbed.
    pub fn remove_blob(&self, digest: &Digest) -> Result<(), ContentError> {
        let path = self.path_of(digest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ContentError::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}

/// Notes in a lease that a blob is in use.
fn hold(lease: Option<&Lease>, digest: &Digest, blobs: &Path) -> Result<(), ContentError> {
    match lease {
        Some(lease) => {
            lease.hold(&Store::name_in_lease(digest)).map_err(ContentError::io("note what is used of", blobs))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(&temp.path().join("root")).unwrap();
        (temp, store)
    }

    #[test]
    fn a_new_store_is_an_image_layout_of_its_owner() {
        let (temp, store) = store();
        let root = std::fs::metadata(temp.path().join("root")).unwrap();
        assert_eq!(root.permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read(store.layout().join("oci-layout")).unwrap(), LAYOUT);
        assert_eq!(
            std::fs::read_to_string(store.layout().join("index.json")).unwrap(),
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#
        );
    }

    #[test]
    fn what_is_put_is_read() {
        let (_temp, store) = store();
        let digest = store.put(b"hello").unwrap();
        assert_eq!(store.put(b"hello").unwrap(), digest);
        assert_eq!(store.length_of(&digest).unwrap(), Some(5));
        assert_eq!(store.read_blob(&digest, 5).unwrap(), b"hello");
        assert_eq!(store.blobs().unwrap(), [(digest, 5)]);
        assert!(matches!(store.read_blob(&digest, 4), Err(ContentError::TooLarge { length: 5, limit: 4, .. })));
        store.remove_blob(&digest).unwrap();
        store.remove_blob(&digest).unwrap();
        assert_eq!(store.length_of(&digest).unwrap(), None);
        assert!(matches!(store.open_blob(&digest), Err(ContentError::Missing { .. })));
    }

    #[test]
    fn a_corrupt_blob_is_told_and_put_again() {
        let (_temp, store) = store();
        let digest = store.put(b"hello").unwrap();
        std::fs::write(store.path_of(&digest), "hellO").unwrap();
        let error = store.read_blob(&digest, 99).unwrap_err();
        assert!(matches!(&error, ContentError::Corrupt { expected, .. } if *expected == digest), "{error}");
        store.put(b"hello").unwrap();
        assert_eq!(store.read_blob(&digest, 99).unwrap(), b"hello");
    }
}
