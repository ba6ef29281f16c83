//! Content hashes of files: blake3, never stored as OCI digests.

use std::io::{self, Read};

/// The blake3 of a file's bytes.
pub type ContentHash = [u8; 32];

/// Returns the hash and the length of everything `reader` gives.
pub fn hash_reader(mut reader: impl Read) -> io::Result<(ContentHash, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finalize().into(), length)),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                length += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the hash of `bytes`.
pub fn hash_bytes(bytes: &[u8]) -> ContentHash {
    blake3::hash(bytes).into()
}
