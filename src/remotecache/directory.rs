//! A cache in a directory, for example on a disk that machines share. Any number of builders read and write it at once.
//!
//! ```text
//! oci-layout, index.json      as an OCI image layout has them; the index lists nothing
//! blobs/sha256/<hex>          layers
//! steps/<key>                 records, a file each
//! trails/<hash>               lists of keys
//! mounts/<key>                records of cache mounts, whose chunks are blobs
//! ```
//!
//! Every file appears by rename, after what it refers to. Whoever reads one does not trust it: links are not followed out of the
//! directory, nothing but a plain file is read, lengths are bounded, and a layer is verified on its way into the store.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::mount::MOUNT_LIMIT;
use super::record::{RECORD_LIMIT, SharedRecord};
use super::store::{Blob, Moved, StoreError};
use super::trail;
use crate::cache::Key;
use crate::content::{ContentError, Store as Content};
use crate::digest::{Digest, HashingReader};
use crate::fsutil::{Dir, replace, write_atomically};
use crate::oci::{Descriptor, digest_of};
use crate::registry::BlobSource;

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &[u8] = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

#[derive(Clone)]
pub(super) struct DirectoryStore {
    path: PathBuf,
}

impl DirectoryStore {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) async fn record(&self, key: &Key) -> Result<Option<SharedRecord>, StoreError> {
        let (store, name) = (self.clone(), format!("steps/{}", key.hex()));
        match blocking(move || store.read(&name, RECORD_LIMIT)).await? {
            Some(bytes) => Ok(Some(SharedRecord::parse(&bytes)?)),
            None => Ok(None),
        }
    }

    pub(super) async fn has(&self, key: &Key) -> Result<bool, StoreError> {
        let (store, name) = (self.clone(), format!("steps/{}", key.hex()));
        blocking(move || Ok(store.open(&name)?.is_some())).await
    }

    pub(super) async fn publish(
        &self,
        key: &Key,
        record: &SharedRecord,
        layer: &Blob<'_>,
        moved: Moved<'_>,
    ) -> Result<(), StoreError> {
        let (store, key, record) = (self.clone(), key.hex(), record.to_bytes());
        let digest = digest_of(layer.descriptor).map_err(|_| super::record::RecordError::Senseless("layer"))?;
        let source = layer.source.clone();
        moving(moved, move |count| {
            store.prepare()?;
            store.put_blob_of(&digest, &source, count)?;
            store.write(&format!("steps/{key}"), &record)
        })
        .await
    }

    pub(super) async fn fetch(&self, layer: &Descriptor, to: &Content, moved: Moved<'_>) -> Result<(), StoreError> {
        let digest = digest_of(layer).map_err(|_| super::record::RecordError::Senseless("layer"))?;
        let (store, size, to) = (self.clone(), layer.size(), to.clone());
        moving(moved, move |count| {
            let name = blob_name(&digest);
            let file = store.open(&name)?.ok_or(ContentError::Missing { digest })?;
            let mut ingest = to.ingest()?;
            // A byte more than there should be is seen too.
            let mut file = Counted(file.take(size.saturating_add(1)), count);
            io::copy(&mut file, &mut ingest).map_err(store.failed("read", &name))?;
            ingest.commit(Some(&digest))?;
            Ok(())
        })
        .await
    }

    pub(super) async fn trail(&self, name: &str) -> Result<Vec<Key>, StoreError> {
        let (store, name) = (self.clone(), format!("trails/{name}"));
        let bytes = blocking(move || store.read(&name, trail::LIMIT)).await?;
        Ok(bytes.map(|bytes| trail::parse(&bytes)).unwrap_or_default())
    }

    pub(super) async fn put_trail(&self, name: &str, keys: &[Key]) -> Result<(), StoreError> {
        let (store, name, bytes) = (self.clone(), format!("trails/{name}"), trail::to_bytes(keys));
        blocking(move || {
            store.prepare()?;
            store.write(&name, &bytes)
        })
        .await
    }

    pub(super) async fn mount(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        let (store, name) = (self.clone(), format!("mounts/{}", key.hex()));
        blocking(move || store.read(&name, MOUNT_LIMIT)).await
    }

    pub(super) async fn put_blob(&self, blob: &Blob<'_>, moved: Moved<'_>) -> Result<(), StoreError> {
        let digest = digest_of(blob.descriptor).map_err(|_| super::record::RecordError::Senseless("layer"))?;
        let (store, source) = (self.clone(), blob.source.clone());
        moving(moved, move |count| {
            store.prepare()?;
            store.put_blob_of(&digest, &source, count)
        })
        .await
    }

    pub(super) async fn put_mount(&self, key: &Key, record: Vec<u8>) -> Result<(), StoreError> {
        let (store, name) = (self.clone(), format!("mounts/{}", key.hex()));
        blocking(move || {
            store.prepare()?;
            store.write(&name, &record)
        })
        .await
    }

    /// Makes what is missing of the directory.
    fn prepare(&self) -> Result<(), StoreError> {
        for name in ["blobs/sha256", "steps", "trails", "mounts"] {
            std::fs::create_dir_all(self.path.join(name)).map_err(self.failed("create", name))?;
        }
        for (name, bytes) in [("oci-layout", LAYOUT), ("index.json", INDEX)] {
            if !self.path.join(name).exists() {
                self.write(name, bytes)?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        write_atomically(&self.path.join(name), bytes).map_err(self.failed("write", name))
    }

    /// Copies a blob unless it is there, whole.
    fn put_blob_of(&self, digest: &Digest, source: &BlobSource, count: Arc<AtomicU64>) -> Result<(), StoreError> {
        let name = blob_name(digest);
        let path = self.path.join(&name);
        match source {
            BlobSource::Bytes(bytes) => self.write(&name, bytes),
            BlobSource::File(from) => {
                let failed = |source| StoreError::Directory { doing: "read", path: from.clone(), source };
                let file = File::open(from).map_err(failed)?;
                let length = file.metadata().map_err(failed)?.len();
                if self.is_whole(&name, digest, length, count.clone()) {
                    return Ok(());
                }
                let mut file = Counted(file, count);
                let copy = |to: &mut File| {
                    io::copy(&mut file, to)?;
                    to.flush()
                };
                replace(&path, 0o666, copy).map_err(self.failed("write", &name))
            }
        }
    }

    /// Whether a blob of this length is there, with the right bytes: nobody else would mend it.
    fn is_whole(&self, name: &str, digest: &Digest, length: u64, count: Arc<AtomicU64>) -> bool {
        let Ok(Some(file)) = self.open(name) else { return false };
        if !file.metadata().is_ok_and(|known| known.len() == length) {
            return false;
        }
        let mut file = HashingReader::new(Counted(file, count));
        io::copy(&mut file, &mut io::sink()).is_ok() && file.finish().1 == *digest
    }

    /// Reads a small file; none is `None`.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(self.failed("read", name))?;
        if bytes.len() as u64 > limit {
            let text = format!("it is longer than {limit} bytes");
            return Err(super::record::RecordError::Malformed(text).into());
        }
        Ok(Some(bytes))
    }

    fn open(&self, name: &str) -> Result<Option<File>, StoreError> {
        let opened = Dir::open(&self.path).and_then(|dir| dir.open_file_in_root(Path::new(name)));
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("open", name)(error)),
        };
        match file.metadata().map_err(self.failed("look at", name))?.is_file() {
            true => Ok(Some(file)),
            false => Err(super::record::RecordError::Malformed(format!("`{name}` is no file")).into()),
        }
    }

    fn failed(&self, doing: &'static str, name: &str) -> impl Fn(io::Error) -> StoreError + use<> {
        let path = self.path.join(name);
        move |source| StoreError::Directory { doing, path: path.clone(), source }
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A reader whose bytes are counted, beside those of others.
struct Counted<R>(R, Arc<AtomicU64>);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buf)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// How often is told how much moved.
const TICK: Duration = Duration::from_secs(1);

/// The same as [`blocking`], of work that counts the bytes that it moves.
async fn moving<T: Send + 'static>(
    moved: Moved<'_>,
    work: impl FnOnce(Arc<AtomicU64>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let mut work = std::pin::pin!(blocking(move || work(counted)));
    loop {
        match tokio::time::timeout(TICK, &mut work).await {
            Ok(done) => return done,
            Err(_) => moved(count.load(Ordering::Relaxed)),
        }
    }
}

/// Runs work on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
