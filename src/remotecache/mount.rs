//! What a shared cache holds of a cache mount: a list of chunks, which together are a tar of its files. The last one written counts.
//!
//! ```json
//! {"version":1,"key":"<64 hex>","created":"2026-01-01T00:00:00Z","builder":"kiln/0.1.0",
//!  "chunks":[{"blob":"sha256:..","size":300000,"content":"sha256:..","length":524288}, ..],
//!  "signatures":[{"key":"<64 hex>","signature":"<base64>"}]}
//! ```
//!
//! A chunk is some bytes of the tar (`content`, `length`), cut where their content says (`chunks`), and compressed with zstd (`blob`,
//! `size`). What is signed is all but builder and signatures, each field with its length before it, as of a step's record (`trust`).

use serde::{Deserialize, Serialize};

use super::chunks::LONGEST;
use super::record::RecordError;
use super::trust::{SigningKey, Trust};
use crate::cache::{Key, KeyHasher, KeySink, Signature};
use crate::digest::Digest;
use crate::oci::{Descriptor, descriptor};

/// The version written, and the only one that is read.
const VERSION: u32 = 1;

/// Stands before what is signed.
const DOMAIN: &str = "kiln cache mount signature v1";

/// The media type of a chunk.
const CHUNK: &str = "application/vnd.kiln.cache.chunk.v1+zstd";

/// The most chunks of a mount: about 4 GiB. A registry's manifest names each of them.
pub const CHUNKS_LIMIT: usize = 8192;

/// The longest record that is read, in bytes.
pub(super) const MOUNT_LIMIT: u64 = 4 << 20;

/// The record of a cache mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedMount {
    version: u32,
    key: String,
    created: String,
    builder: String,
    chunks: Vec<Chunk>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signatures: Vec<Signature>,
}

/// One chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The digest of its blob.
    pub blob: Digest,
    /// The length of its blob.
    pub size: u64,
    /// The digest of what it is when it is not compressed.
    pub content: Digest,
    /// The length of that.
    pub length: u64,
}

impl Chunk {
    /// Describes the blob.
    pub fn descriptor(&self) -> Descriptor {
        descriptor(CHUNK, &self.blob, self.size)
    }
}

/// Names the cache mount that has this name in the stores of all machines.
pub fn mount_key(name: &str) -> Key {
    let mut hasher = KeyHasher::default();
    hasher.field("op", "cache-mount/1");
    hasher.field("mount", name);
    hasher.finish()
}

impl SharedMount {
    /// Makes the record of a mount that was read at `created`, RFC 3339.
    pub fn new(key: &Key, chunks: Vec<Chunk>, created: String) -> Self {
        let builder = concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned();
        Self { version: VERSION, key: key.hex(), created, builder, chunks, signatures: Vec::new() }
    }

    /// The same with a signature of this key.
    #[must_use]
    pub fn signed(mut self, key: &SigningKey) -> Self {
        self.signatures = vec![key.sign(&self.statement())];
        self
    }

    /// Its chunks, in order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::oci::to_json(self)
    }

    /// Reads the record of a key, which somebody must have signed who is trusted. That a chunk is what it says is seen when its bytes
    /// are read.
    pub(super) fn read(bytes: &[u8], key: &Key, trust: &Trust) -> Result<Self, RecordError> {
        let mount: Self = serde_json::from_slice(bytes).map_err(|error| RecordError::Malformed(error.to_string()))?;
        if mount.version != VERSION {
            return Err(RecordError::Version(mount.version));
        }
        if mount.key != key.hex() {
            return Err(RecordError::OtherStep("key"));
        }
        let is_one = |chunk: &Chunk| (1..=LONGEST as u64).contains(&chunk.length);
        if mount.chunks.len() > CHUNKS_LIMIT || !mount.chunks.iter().all(is_one) {
            return Err(RecordError::Senseless("list of chunks"));
        }
        trust.judge(&mount.statement(), &mount.signatures)?;
        Ok(mount)
    }

    fn statement(&self) -> Vec<u8> {
        let chunk = |chunk: &Chunk| {
            [chunk.blob.to_string(), chunk.size.to_string(), chunk.content.to_string(), chunk.length.to_string()]
        };
        let head = [DOMAIN.to_owned(), self.version.to_string(), self.key.clone(), self.created.clone()];
        let fields = head.into_iter().chain(self.chunks.iter().flat_map(chunk));
        fields.flat_map(|field| [&(field.len() as u64).to_be_bytes(), field.as_bytes()].concat()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(key: &Key) -> SharedMount {
        let chunk = Chunk { blob: Digest::of(b"z"), size: 1, content: Digest::of(b"plain"), length: 5 };
        SharedMount::new(key, vec![chunk], "2026-01-01T00:00:00Z".to_owned())
    }

    #[test]
    fn what_is_written_is_read_under_its_key_only() {
        let (key, other) = (mount_key("a"), mount_key("b"));
        let read = |bytes: &[u8], key| SharedMount::read(bytes, key, &Trust::default());
        assert_eq!(read(&mount(&key).to_bytes(), &key), Ok(mount(&key)));
        assert_eq!(read(&mount(&key).to_bytes(), &other), Err(RecordError::OtherStep("key")));
        assert!(matches!(read(b"<html>", &key), Err(RecordError::Malformed(_))));
        let mut large = mount(&key);
        large.chunks[0].length = LONGEST as u64 + 1;
        assert_eq!(read(&large.to_bytes(), &key), Err(RecordError::Senseless("list of chunks")));
    }
}
