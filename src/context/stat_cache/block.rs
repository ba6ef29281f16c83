//! What is known of the files in one directory.
//!
//! ```text
//! number of records    4
//! records              sorted by name, each: end of its name among the names 4, facts 48, content 32
//! names                without anything between them
//! seal                 16: the begin of blake3 of the directory's key and all of that
//! ```
//!
//! A directory is looked at with its names sorted, so each record is found where the last search ended.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::context::hash::ContentHash;
use crate::fsutil::Metadata;

/// The begin of blake3 of a directory's path, relative to the context.
pub(super) type DirectoryKey = [u8; 16];

const RECORD: usize = 4 + FACTS + 32;
const FACTS: usize = 48;
const SEAL: usize = 16;

pub(super) fn key_of(path: &[u8]) -> DirectoryKey {
    first(blake3::hash(path).as_bytes())
}

fn first(hash: &[u8; 32]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    first
}

/// Everything that must be equal for a file to be the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Facts([u8; FACTS]);

impl Facts {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let mut facts = [0; FACTS];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            facts[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&metadata.size.to_le_bytes());
        for time in [metadata.mtime, metadata.ctime] {
            put(&time.seconds.to_le_bytes());
            put(&time.nanoseconds.to_le_bytes());
        }
        put(&metadata.inode.to_le_bytes());
        put(&metadata.device.to_le_bytes());
        Self(facts)
    }
}

/// What was known of the files in one directory when the build began.
#[derive(Clone, Debug)]
pub struct Block {
    key: DirectoryKey,
    /// Without the seal.
    bytes: Arc<Vec<u8>>,
    records: usize,
    /// Where the next name is expected.
    next: usize,
}

impl Block {
    pub(super) fn empty(key: DirectoryKey) -> Self {
        Self { key, bytes: Arc::default(), records: 0, next: 0 }
    }

    /// Takes the bytes of a block if they add up.
    pub(super) fn parse(key: DirectoryKey, mut bytes: Vec<u8>) -> Option<Self> {
        let end = bytes.len().checked_sub(SEAL)?;
        if seal_of(&key, &bytes[..end]) != bytes[end..] {
            return None;
        }
        bytes.truncate(end);
        let records = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        let room = (end - 4) / RECORD;
        (records <= room).then(|| Self { key, bytes: Arc::new(bytes), records, next: 0 })
    }

    /// Which directory it is of.
    pub(super) fn key(&self) -> &DirectoryKey {
        &self.key
    }

    /// Returns the number of files that are known.
    pub(super) fn len(&self) -> usize {
        self.records
    }

    /// Returns the hash of the file of that name if it is known and the file unchanged.
    pub fn find(&mut self, name: &[u8], metadata: &Metadata) -> Option<ContentHash> {
        let at = self.search(name)?;
        self.next = at + 1;
        let record = self.record(at);
        if record[4..4 + FACTS] != Facts::of(metadata).0 {
            return None;
        }
        record[4 + FACTS..].try_into().ok()
    }

    fn search(&self, name: &[u8]) -> Option<usize> {
        if self.next < self.records && self.name(self.next) == name {
            return Some(self.next);
        }
        let (mut low, mut high) = (0, self.records);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn record(&self, at: usize) -> &[u8] {
        &self.bytes[4 + at * RECORD..][..RECORD]
    }

    fn end(&self, at: usize) -> usize {
        self.record(at).first_chunk().map_or(0, |end| u32::from_le_bytes(*end) as usize)
    }

    /// Whoever wrote the file may have put anything there: then it is the name of no file.
    fn name(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.end(at - 1) };
        let names = &self.bytes[4 + self.records * RECORD..];
        names.get(start..self.end(at)).unwrap_or_default()
    }

    /// Returns the names that are known and not in `names`; both are sorted.
    pub(super) fn without<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> Vec<Vec<u8>> {
        let mut names = names.peekable();
        let mut rest = Vec::new();
        for known in (0..self.records).map(|at| self.name(at)) {
            while names.next_if(|name| *name < known).is_some() {}
            if names.peek() != Some(&known) {
                rest.push(known.to_vec());
            }
        }
        rest
    }

    /// Returns the bytes with the seal.
    pub(super) fn sealed(&self) -> Vec<u8> {
        let seal = seal_of(&self.key, &self.bytes);
        [self.bytes.as_slice(), &seal].concat()
    }

    fn of(key: DirectoryKey, records: &BTreeMap<&[u8], &[u8]>) -> Self {
        let mut bytes = (records.len() as u32).to_le_bytes().to_vec();
        let mut end = 0u32;
        for (name, facts_and_content) in records {
            // Who has four gigabytes of names in one directory gets a block that is not written.
            end = end.wrapping_add(name.len() as u32);
            bytes.extend_from_slice(&end.to_le_bytes());
            bytes.extend_from_slice(facts_and_content);
        }
        records.keys().for_each(|name| bytes.extend_from_slice(name));
        Self { key, bytes: Arc::new(bytes), records: records.len(), next: 0 }
    }
}

fn seal_of(key: &DirectoryKey, bytes: &[u8]) -> [u8; SEAL] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytes).update(key);
    first(hasher.finalize().as_bytes())
}

/// What is new of one directory, in the order it was learned.
#[derive(Debug, Default)]
pub(super) struct Additions {
    names: Vec<u8>,
    records: Vec<(Range<u32>, Option<[u8; FACTS + 32]>)>,
}

impl Additions {
    pub(super) fn add(&mut self, name: &[u8], facts: Facts, content: ContentHash) {
        let mut record = [0; FACTS + 32];
        record[..FACTS].copy_from_slice(&facts.0);
        record[FACTS..].copy_from_slice(&content);
        self.push(name, Some(record));
    }

    pub(super) fn forget(&mut self, name: &[u8]) {
        self.push(name, None);
    }

    fn push(&mut self, name: &[u8], record: Option<[u8; FACTS + 32]>) {
        let start = self.names.len();
        // What does not fit in a block is not remembered.
        if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(start + name.len())) {
            self.names.extend_from_slice(name);
            self.records.push((start..end, record));
        }
    }

    /// Returns the block of what was known and what is new.
    pub(super) fn over(&self, old: &Block) -> Block {
        let mut records: BTreeMap<&[u8], &[u8]> =
            (0..old.records).map(|at| (old.name(at), &old.record(at)[4..])).collect();
        for (name, record) in &self.records {
            let name = &self.names[name.start as usize..name.end as usize];
            match record {
                Some(record) => _ = records.insert(name, record),
                None => _ = records.remove(name),
            }
        }
        Block::of(old.key, &records)
    }
}
