//! Reading a blob that is verified while it is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::ContentError;
use crate::digest::{Digest, Hasher};

/// Reads one blob. The last bytes are not handed out before the digest of all matched, so whoever got to the end
/// has read the truth. A blob that is found corrupt is removed: what is not there is fetched or made again, what is
/// wrong would fail every build. Errors are `io::Error`s that wrap [`ContentError`].
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    path: PathBuf,
    expected: Digest,
    length: u64,
    remaining: u64,
    state: State,
}

enum State {
    Reading(Hasher),
    Verified,
    Corrupt(Digest),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reading(_) => "Reading",
            Self::Verified => "Verified",
            Self::Corrupt(_) => "Corrupt",
        })
    }
}

impl BlobReader {
    pub(super) fn new(file: File, path: PathBuf, expected: Digest) -> Result<Self, ContentError> {
        let length = file.metadata().map_err(ContentError::io("look at", &path))?.len();
        Ok(Self { file, path, expected, length, remaining: length, state: State::Reading(Hasher::default()) })
    }

    /// Returns the length of the blob in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Ends the hashing, once: compares with the expected digest, and removes a blob that has another.
    fn verify(&mut self) {
        if let State::Reading(hasher) = &mut self.state {
            let actual = std::mem::take(hasher).finish();
            self.state = if actual == self.expected { State::Verified } else { State::Corrupt(actual) };
            if let State::Corrupt(_) = self.state {
                // Best effort: somebody else may have removed it already.
                let _ = std::fs::remove_file(&self.path);
            }
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.remaining).map_or(buffer.len(), |remaining| remaining.min(buffer.len()));
        let read = self
            .file
            .read(&mut buffer[..wanted])
            .map_err(|source| ContentError::Io { doing: "read", path: self.path.clone(), source }.into_io())?;
        if let State::Reading(hasher) = &mut self.state {
            hasher.update(&buffer[..read]);
        }
        self.remaining -= read as u64;
        let was_cut = read == 0 && wanted > 0;
        if self.remaining == 0 || was_cut {
            self.verify();
        }
        match self.state {
            State::Corrupt(actual) => {
                let (path, expected) = (self.path.clone(), self.expected);
                Err(ContentError::Corrupt { path, expected, actual }.into_io())
            }
            _ => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(content: &[u8], expected: Digest) -> BlobReader {
        let mut temp = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut temp, content).unwrap();
        BlobReader::new(temp.reopen().unwrap(), temp.path().to_owned(), expected).unwrap()
    }

    #[test]
    fn good_blobs_are_read_in_pieces_of_any_size() {
        for content in [&b""[..], b"x", b"some content"] {
            for size in 1..15 {
                let mut reader = reader(content, Digest::of(content));
                let (mut read, mut piece) = (Vec::new(), vec![0; size]);
                while let n @ 1.. = reader.read(&mut piece).unwrap() {
                    read.extend_from_slice(&piece[..n]);
                }
                assert_eq!(read, content);
            }
        }
    }

    #[test]
    fn the_last_bytes_of_a_corrupt_blob_are_kept_back() {
        let mut reader = reader(b"some content", Digest::of(b"other"));
        let mut piece = [0; 8];
        assert_eq!(reader.read(&mut piece).unwrap(), 8);
        for _ in 0..2 {
            let error = reader.read(&mut piece).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn an_empty_blob_is_verified_too() {
        assert!(reader(b"", Digest::of(b"x")).read(&mut [0; 1]).is_err());
    }
}
