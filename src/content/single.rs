//! One image of the store as a layout of its own, for programs that are told of an image by a directory.
//!
//! ```text
//! tmp/layout-XXXX/oci-layout, index.json    one entry, without a name
//! tmp/layout-XXXX/blobs                     a link to the blobs of the store
//! ```
//!
//! The directory is locked while it is used; a sweep removes one whose user is gone.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{ContentError, Store};
use crate::fsutil::{Dir, random_name};
use crate::oci::{self, Descriptor, media_type, to_json};

const PREFIX: &str = "layout-";

/// A layout of one image, gone when it is dropped.
#[derive(Debug)]
pub struct SingleImage {
    path: PathBuf,
    /// Keeps the lock.
    _lock: File,
}

impl SingleImage {
    /// The directory of the layout; its name is made of small letters, digits and a dash.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SingleImage {
    fn drop(&mut self) {
        // What cannot be removed now is swept by a later open.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Store {
    /// Makes a layout in which `descriptor` is the only image. It lasts as long as the value.
    pub fn single(&self, descriptor: &Descriptor) -> Result<SingleImage, ContentError> {
        let path = self.temporary.join(format!("{PREFIX}{}", random_name()));
        std::fs::create_dir(&path).map_err(ContentError::io("create", &path))?;
        let lock = File::open(&path).map_err(ContentError::io("open", &path))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| ContentError::io("lock", &path)(error.into()))?;
        let single = SingleImage { path, _lock: lock };
        let index = to_json(&oci::index(media_type::OCI_INDEX, vec![descriptor.clone()]));
        let version: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
        for (name, content) in [("oci-layout", version), ("index.json", &index)] {
            let file = single.path.join(name);
            std::fs::write(&file, content).map_err(ContentError::io("write", &file))?;
        }
        let blobs = single.path.join("blobs");
        let target = std::path::absolute(self.layout.join("blobs")).map_err(ContentError::io("find", &self.layout))?;
        std::os::unix::fs::symlink(target, &blobs).map_err(ContentError::io("create", &blobs))?;
        Ok(single)
    }
}

/// Removes the layout `name` in `temporary` if it is one, and nobody uses it.
pub(super) fn sweep(temporary: &Dir, name: &OsStr) -> io::Result<()> {
    if !name.to_str().is_some_and(|name| name.starts_with(PREFIX)) {
        return Ok(());
    }
    match temporary.child_dir(name) {
        Ok(dir) if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() => temporary.remove_tree(name),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn it_lasts_as_long_as_it_is_used() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let digest = store.put(b"{}").unwrap();
        let single = store.single(&oci::descriptor(media_type::OCI_MANIFEST, &digest, 2)).unwrap();
        let blob = single.path().join("blobs/sha256").join(Digest::of(b"{}").hex());
        assert_eq!(std::fs::read(&blob).unwrap(), b"{}");
        Store::open(temp.path()).unwrap();
        assert!(blob.exists(), "one that is used is not swept");
        let path = single.path().to_owned();
        drop(single);
        assert!(!path.exists());
        std::fs::create_dir(&path).unwrap();
        Store::open(temp.path()).unwrap();
        assert!(!path.exists(), "one that was left is swept");
        assert_eq!(store.read_blob(&digest, 2).unwrap(), b"{}");
    }
}
