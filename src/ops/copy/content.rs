//! The bytes of a selected file: where they are, and their hash.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::error::CopyError;
use crate::context::{ContentHash, Source, hash_bytes, hash_reader};
use crate::fsutil::{Dir, Metadata};

/// Where the bytes of an entry are.
#[derive(Clone, Debug)]
pub enum Content {
    /// It has none.
    Nothing,
    /// A file below an open directory.
    Tree {
        /// The top of the tree.
        root: Arc<Dir>,
        /// Path from there.
        path: Vec<u8>,
    },
    /// In memory.
    Bytes(Arc<[u8]>),
    /// A part of an open file, up to the length the entry says.
    Part {
        /// The file.
        file: Arc<File>,
        /// Where the part begins, in bytes.
        offset: u64,
    },
}

impl Content {
    /// Opens the bytes for reading.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Nothing => Box::new(io::empty()),
            Self::Tree { root, path } => Box::new(root.open_file_in_root(as_path(path))?),
            Self::Bytes(bytes) => Box::new(Cursor::new(bytes.clone())),
            Self::Part { file, offset } => Box::new(PartReader { file: file.clone(), offset: *offset }),
        })
    }
}

/// Reads at its own place: the file's position is shared with every other handle.
struct PartReader {
    file: Arc<File>,
    offset: u64,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

/// Hashes what passes through.
pub(super) struct HashedReader<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> HashedReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: blake3::Hasher::new() }
    }

    pub(super) fn finish(&self) -> ContentHash {
        self.hasher.finalize().into()
    }
}

impl<R: Read> Read for HashedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

/// A file whose hash is not known yet.
pub(super) struct Wanted {
    /// Path from the top of the source.
    pub path: Vec<u8>,
    /// As it was when the path was walked.
    pub metadata: Metadata,
}

/// Below this many files to read, starting threads costs more than it saves.
const WORTH_A_THREAD: usize = 32;

/// Returns the hashes of files by reading them on as many threads as there are cores.
pub(super) fn hashes(source: &Source, wanted: &[Wanted]) -> Result<Vec<ContentHash>, CopyError> {
    let mut found = vec![[0; 32]; wanted.len()];
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = wanted.get(at) else { return Ok(done) };
            done.push((at, read_hash(source, file)?));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(wanted.len().div_ceil(WORTH_A_THREAD));
    let results: Vec<Result<_, CopyError>> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut results = vec![work()];
        results.extend(others.into_iter().map(|other| other.join().expect("hashing does not panic")));
        results
    });
    for result in results {
        for (at, hash) in result? {
            found[at] = hash;
        }
    }
    Ok(found)
}

fn read_hash(source: &Source, wanted: &Wanted) -> Result<ContentHash, CopyError> {
    let file = source.root.open_file_in_root(as_path(&wanted.path)).map_err(CopyError::io("read", &wanted.path))?;
    let (hash, length) = hash_reader(file).map_err(CopyError::io("read", &wanted.path))?;
    remember(source, wanted, hash, length)
}

/// Returns the hash of a small file in an open directory.
pub(super) fn read_hash_of_child(
    source: &Source,
    directory: &Dir,
    name: &OsStr,
    wanted: &Wanted,
    buffer: &mut Vec<u8>,
) -> Result<ContentHash, CopyError> {
    let file = directory.child_file(name).map_err(CopyError::io("read", &wanted.path))?;
    buffer.clear();
    // A byte more than it should have: then one call tells that this was all.
    let room = wanted.metadata.size + 1;
    buffer.reserve(room as usize);
    let length = file.take(room).read_to_end(buffer).map_err(CopyError::io("read", &wanted.path))?;
    remember(source, wanted, hash_bytes(buffer), length as u64)
}

fn remember(source: &Source, wanted: &Wanted, hash: ContentHash, length: u64) -> Result<ContentHash, CopyError> {
    if length != wanted.metadata.size {
        return Err(CopyError::Changed { path: super::error::shown(&wanted.path) });
    }
    if let Some(cache) = &source.cache {
        let (directory, name) = split(&wanted.path);
        cache.add(directory, name, &wanted.metadata, hash);
    }
    Ok(hash)
}

/// Splits a path into that of the directory and the last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Returns bytes as a path; the top itself is `.`.
pub(super) fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(if path.is_empty() { b"." } else { path }))
}
