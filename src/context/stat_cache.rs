//! The stat cache: content hashes of files that have not changed since they were last read.
//!
//! A record says: the file of this name in this directory, with this size, mtime, ctime, inode and device, had this content.
//! ctime cannot be set back by a program, so a changed file is seen even if its mtime was restored.
//!
//! **Racy-clean rule.** A file that is changed twice within one tick of the file system's clock looks the
//! same after both changes. So a record is only kept when the file's last change lies more than a tick before
//! the start of the build that read it: any later change then shows in its ctime.
//!
//! **On disk**, all numbers little-endian:
//!
//! ```text
//! header                       16 bytes
//! blocks                       one of each directory: its records, see `block`
//! index, sorted by directory   of each block: the hash of the directory's path 16, place 8, length 4, age 1
//! place of the index           8
//! seal                         32: blake3 of the index and its place
//! ```
//!
//! Only the index is read when a build begins; a block is read, and its own seal compared, by who looks at its directory. What does
//! not add up is taken as empty. The file is written by rename and only when there is something new; blocks without
//! anything new are copied. Of several processes writing at once the last wins; what is lost that way is hashed again.

mod block;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

pub use block::Block;
use block::{Additions, DirectoryKey, Facts};

use super::hash::ContentHash;
use crate::fsutil::{Metadata, Timestamp, replace};

const HEADER: &[u8; 16] = b"kiln stat 2\n\0\0\0\0";
/// Bytes of the index for each block.
const ENTRY: usize = 16 + 8 + 4 + 1;
/// Bytes at the end of the file: the place of the index, and the seal.
const END: u64 = 8 + 32;
/// A block is dropped after the cache was written this many times without anybody asking for it.
const OLDEST: u8 = 16;

/// Content hashes by path and stat, shared between the threads of a build.
#[derive(Debug)]
pub struct StatCache {
    path: PathBuf,
    started: Timestamp,
    file: Option<File>,
    /// Sorted by key.
    index: Vec<Entry>,
    changed: Mutex<BTreeMap<DirectoryKey, Additions>>,
}

/// Where a block is.
#[derive(Debug)]
struct Entry {
    key: DirectoryKey,
    offset: u64,
    length: u32,
    age: u8,
    was_asked_for: AtomicBool,
}

impl StatCache {
    /// Opens the cache at `path`; one that is missing or damaged is empty.
    ///
    /// `started` is the time of day before any file is read in this build.
    pub fn open(path: &Path, started: Timestamp) -> Self {
        let file = File::open(path).ok();
        let index = file.as_ref().and_then(|file| read_index(file).ok()).unwrap_or_default();
        Self { path: path.to_owned(), started, file, index, changed: Mutex::default() }
    }

    /// Returns the name of the cache file for the context whose absolute path is `context`.
    pub fn file_name(context: &Path) -> String {
        use std::os::unix::ffi::OsStrExt;
        blake3::hash(context.as_os_str().as_bytes()).to_hex().to_string()
    }

    /// Returns the name of this cache's file: which context it is of.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns what is known of the files in the directory at `path` (relative to the context).
    pub fn directory(&self, path: &[u8]) -> Block {
        let key = block::key_of(path);
        let found = self.index.binary_search_by(|entry| entry.key.cmp(&key)).ok().map(|at| &self.index[at]);
        let Some(entry) = found else { return Block::empty(key) };
        entry.was_asked_for.store(true, Ordering::Relaxed);
        self.read(entry).and_then(|bytes| Block::parse(key, bytes)).unwrap_or_else(|| Block::empty(key))
    }

    /// Remembers the hash of a file read in this build. `metadata` is from *before* it was read.
    pub fn add(&self, directory: &[u8], name: &[u8], metadata: &Metadata, content: ContentHash) {
        if settled(metadata.ctime, self.started) {
            self.change(&block::key_of(directory), |changes| changes.add(name, Facts::of(metadata), content));
        }
    }

    /// Hears all names of a directory that was looked at, sorted. Where more files are known than there are, those that are gone
    /// are forgotten.
    pub fn listed<'n>(&self, block: &Block, names: impl ExactSizeIterator<Item = &'n [u8]>) {
        if block.len() > names.len() {
            let gone = block.without(names);
            self.change(block.key(), |changes| gone.iter().for_each(|name| changes.forget(name)));
        }
    }

    fn change(&self, directory: &DirectoryKey, change: impl FnOnce(&mut Additions)) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        change(changed.entry(*directory).or_default());
    }

    /// Writes the cache if anything was added, and makes the directory it is in.
    pub fn save(&self) -> io::Result<()> {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.is_empty() {
            return Ok(());
        }
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        replace(&self.path, 0o666, |file| self.write(&changed, file))
    }

    fn write(&self, changed: &BTreeMap<DirectoryKey, Additions>, file: &mut File) -> io::Result<()> {
        let mut writing = Writing { out: BufWriter::with_capacity(64 * 1024, file), at: 0, index: Vec::new() };
        writing.put(HEADER)?;
        let mut changed = changed.iter().peekable();
        for entry in &self.index {
            while let Some((key, added)) = changed.next_if(|(key, _)| **key < entry.key) {
                writing.block(key, &added.over(&Block::empty(*key)))?;
            }
            if let Some((key, added)) = changed.next_if(|(key, _)| **key == entry.key) {
                let old = self.read(entry).and_then(|bytes| Block::parse(*key, bytes));
                writing.block(key, &added.over(&old.unwrap_or_else(|| Block::empty(*key))))?;
                continue;
            }
            let age = if entry.was_asked_for.load(Ordering::Relaxed) { 0 } else { entry.age.saturating_add(1) };
            if let Some(bytes) = self.read(entry).filter(|_| age <= OLDEST) {
                writing.sealed(&entry.key, &bytes, age)?;
            }
        }
        for (key, added) in changed {
            writing.block(key, &added.over(&Block::empty(*key)))?;
        }
        writing.finish()
    }

    /// Returns a block's bytes as they are.
    fn read(&self, entry: &Entry) -> Option<Vec<u8>> {
        let mut bytes = vec![0; entry.length as usize];
        self.file.as_ref()?.read_exact_at(&mut bytes, entry.offset).ok()?;
        Some(bytes)
    }
}

fn read_index(file: &File) -> io::Result<Vec<Entry>> {
    let length = file.metadata()?.len();
    let mut header = [0; HEADER.len()];
    file.read_exact_at(&mut header, 0)?;
    let mut end = [0; END as usize];
    let end_at = length.checked_sub(END).ok_or(io::ErrorKind::InvalidData)?;
    file.read_exact_at(&mut end, end_at)?;
    let (place, seal) = end.split_at(8);
    let place = number(place);
    let size =
        end_at.checked_sub(place).filter(|size| size.is_multiple_of(ENTRY as u64) && place >= HEADER.len() as u64);
    let mut sealed = Vec::new();
    let mut part = PartOf { file, at: place }.take(size.ok_or(io::ErrorKind::InvalidData)? + 8);
    part.read_to_end(&mut sealed)?;
    if header != *HEADER || blake3::hash(&sealed).as_bytes() != seal {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let entries: Vec<Entry> = sealed[..sealed.len() - 8].chunks_exact(ENTRY).map(Entry::parse).collect();
    // No block reaches into the index, so no length is longer than the file.
    let is_inside = |entry: &Entry| entry.offset.checked_add(entry.length.into()).is_some_and(|end| end <= place);
    if entries.iter().all(is_inside) { Ok(entries) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Entry {
    fn parse(bytes: &[u8]) -> Self {
        let mut key = DirectoryKey::default();
        key.copy_from_slice(&bytes[..16]);
        let (offset, length) = (number(&bytes[16..24]), number(&bytes[24..28]) as u32);
        Self { key, offset, length, age: bytes[28], was_asked_for: AtomicBool::new(false) }
    }
}

/// Reads a file from a place of its own.
struct PartOf<'f> {
    file: &'f File,
    at: u64,
}

impl Read for PartOf<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// A cache that is being written.
struct Writing<W: Write> {
    out: BufWriter<W>,
    at: u64,
    index: Vec<u8>,
}

impl<W: Write> Writing<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn block(&mut self, key: &DirectoryKey, block: &Block) -> io::Result<()> {
        if block.len() == 0 { Ok(()) } else { self.sealed(key, &block.sealed(), 0) }
    }

    fn sealed(&mut self, key: &DirectoryKey, bytes: &[u8], age: u8) -> io::Result<()> {
        let Ok(length) = u32::try_from(bytes.len()) else { return Ok(()) };
        self.index.extend_from_slice(key);
        self.index.extend_from_slice(&self.at.to_le_bytes());
        self.index.extend_from_slice(&length.to_le_bytes());
        self.index.push(age);
        self.put(bytes)
    }

    fn finish(mut self) -> io::Result<()> {
        let mut sealed = std::mem::take(&mut self.index);
        sealed.extend_from_slice(&self.at.to_le_bytes());
        let seal = blake3::hash(&sealed);
        self.put(&sealed)?;
        self.put(seal.as_bytes())?;
        self.out.flush()
    }
}

/// Whether a change at or after `started` is bound to show a ctime later than `changed`.
fn settled(changed: Timestamp, started: Timestamp) -> bool {
    // Whole seconds come from a file system with a coarse clock (FAT: 2 s); else a tick is at most 10 ms.
    let tick = if changed.nanoseconds == 0 { 2_000_000_000 } else { 20_000_000 };
    let nanoseconds = |time: Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    nanoseconds(changed) + tick < nanoseconds(started)
}

#[cfg(test)]
mod tests;
