//! The stat cache: content hashes of files that have not changed since they were last read.
//!
//! A record says: the file at this path, with this size, mtime, ctime, inode and device, had this content.
//! ctime cannot be set back by a program, so a changed file is seen even if its mtime was restored.
//!
//! **Racy-clean rule.** A file that is changed twice within one tick of the file system's clock looks the
//! same after both changes. So a record is only kept when the file's last change lies more than a tick before
//! the start of the build that read it: any later change then shows in its ctime.
//!
//! **On disk**: 16 bytes of header, then records of [`RECORD`] bytes sorted by their first 16 (a hash of
//! the path), all numbers little-endian, and a blake3 of it all at the end. A file that does not add up is
//! taken as empty. It is written by rename and only when there is something new. Of several processes writing
//! at once the last wins; what is lost that way is hashed again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use super::hash::ContentHash;
use crate::fsutil::{Metadata, Timestamp, write_atomically};

const HEADER: &[u8; 16] = b"kiln stat 1\n\0\0\0\0";
/// Path 16, size 8, mtime 12, ctime 12, inode 8, device 8, content 32, age 1.
const RECORD: usize = 97;
const FACTS: std::ops::Range<usize> = 0..64;
const CONTENT: std::ops::Range<usize> = 64..96;
const AGE: usize = 96;
/// A record is dropped after the cache was written this many times without anybody asking for it.
const OLDEST: u8 = 16;
const MOST_GUESSES: u32 = 8;

/// Content hashes by path and stat, shared between the threads of a build.
#[derive(Debug)]
pub struct StatCache {
    path: PathBuf,
    started: Timestamp,
    /// The whole file but for its checksum, or nothing.
    file: Vec<u8>,
    /// One flag per record: whether it was asked for.
    seen: Vec<AtomicBool>,
    added: Mutex<BTreeMap<[u8; 64], ContentHash>>,
}

impl StatCache {
    /// Reads the cache at `path`; one that is missing or damaged is empty.
    ///
    /// `started` is the time of day before any file is read in this build.
    pub fn open(path: &Path, started: Timestamp) -> Self {
        let file = fs::read(path).ok().and_then(checked).unwrap_or_default();
        let seen = (0..file.len() / RECORD).map(|_| AtomicBool::new(false)).collect();
        Self { path: path.to_owned(), started, file, seen, added: Mutex::default() }
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

    /// Returns the hash of the file at `path` (relative to the context) if it is known and the file unchanged.
    pub fn find(&self, path: &[u8], metadata: &Metadata) -> Option<ContentHash> {
        let facts = facts(path, metadata);
        let at = self.search(&facts)?;
        let record = self.record(at);
        if record[FACTS] != facts {
            return None;
        }
        self.seen[at].store(true, Ordering::Relaxed);
        record[CONTENT].try_into().ok()
    }

    /// Remembers the hash of a file read in this build. `metadata` is from *before* it was read.
    pub fn add(&self, path: &[u8], metadata: &Metadata, content: ContentHash) {
        if settled(metadata.ctime, self.started) {
            let mut added = self.added.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            added.insert(facts(path, metadata), content);
        }
    }

    /// Writes the cache if anything was added, and makes the directory it is in.
    pub fn save(&self) -> io::Result<()> {
        let added = self.added.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if added.is_empty() {
            return Ok(());
        }
        let mut records: BTreeMap<[u8; 16], [u8; RECORD]> = BTreeMap::new();
        for at in 0..self.seen.len() {
            let old = self.record(at);
            let seen = self.seen[at].load(Ordering::Relaxed);
            let age = if seen { 0 } else { old[AGE].saturating_add(1) };
            if age <= OLDEST
                && let Ok(mut record) = <[u8; RECORD]>::try_from(old)
            {
                record[AGE] = age;
                records.insert(key(old), record);
            }
        }
        for (facts, content) in &*added {
            let mut record = [0; RECORD];
            record[FACTS].copy_from_slice(facts);
            record[CONTENT].copy_from_slice(content);
            records.insert(key(facts), record);
        }
        let mut bytes = HEADER.to_vec();
        bytes.extend(records.values().flatten());
        let check = blake3::hash(&bytes);
        bytes.extend(check.as_bytes());
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        write_atomically(&self.path, &bytes)
    }

    fn record(&self, at: usize) -> &[u8] {
        &self.file[HEADER.len() + at * RECORD..][..RECORD]
    }

    /// The keys are hashes, spread evenly, so that a guess lands close by: a few looks into the file, where halving takes one for
    /// each doubling of it.
    fn search(&self, facts: &[u8; 64]) -> Option<usize> {
        let wanted = head(facts);
        let (mut low, mut high) = (0, self.seen.len());
        let (mut least, mut most) = (0, u64::MAX);
        let mut guesses = 0;
        while low < high {
            // In halves of numbers, whose product fits.
            let [above, range] = [wanted, most].map(|end| end.saturating_sub(least) >> 32);
            let share = above * (high - low) as u64 / (range + 1);
            guesses += 1;
            // Whoever wrote the file may have spread them otherwise, or not have sorted them.
            let guess = (low + share as usize).min(high - 1);
            let middle = if guesses <= MOST_GUESSES { guess } else { usize::midpoint(low, high) };
            let record = self.record(middle);
            match record[..16].cmp(&facts[..16]) {
                std::cmp::Ordering::Less => (low, least) = (middle + 1, head(record)),
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => (high, most) = (middle, head(record)),
            }
        }
        None
    }
}

/// Returns the first part of a record's key as a number that orders as the key does.
fn head(record: &[u8]) -> u64 {
    record.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// Returns a file's bytes without the checksum, if they add up.
fn checked(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let end = bytes.len().checked_sub(32)?;
    let whole = bytes.starts_with(HEADER) && (end.checked_sub(HEADER.len())?).is_multiple_of(RECORD);
    if !whole || blake3::hash(&bytes[..end]).as_bytes() != &bytes[end..] {
        return None;
    }
    bytes.truncate(end);
    Some(bytes)
}

fn key(record: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&record[..16]);
    key
}

/// Everything that must be equal for a file to be the same: the first 64 bytes of a record.
fn facts(path: &[u8], metadata: &Metadata) -> [u8; 64] {
    let mut facts = [0; 64];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        facts[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&blake3::hash(path).as_bytes()[..16]);
    put(&metadata.size.to_le_bytes());
    for time in [metadata.mtime, metadata.ctime] {
        put(&time.seconds.to_le_bytes());
        put(&time.nanoseconds.to_le_bytes());
    }
    put(&metadata.inode.to_le_bytes());
    put(&metadata.device.to_le_bytes());
    facts
}

/// Whether a change at or after `started` is bound to show a ctime later than `changed`.
fn settled(changed: Timestamp, started: Timestamp) -> bool {
    // Whole seconds come from a file system with a coarse clock (FAT: 2 s); else a tick is at most 10 ms.
    let tick = if changed.nanoseconds == 0 { 2_000_000_000 } else { 20_000_000 };
    let nanoseconds = |time: Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    nanoseconds(changed) + tick < nanoseconds(started)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsutil::Kind;

    const NOW: Timestamp = Timestamp { seconds: 1000, nanoseconds: 0 };

    fn metadata() -> Metadata {
        let time = |seconds| Timestamp { seconds, nanoseconds: 5 };
        Metadata {
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 3,
            disk: 4096,
            mtime: time(10),
            ctime: time(20),
            inode: 7,
            device: 8,
            links: 1,
            device_node: (0, 0),
        }
    }

    #[test]
    fn a_file_is_known_again_only_if_nothing_about_it_changed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cache/stat/name");
        let cache = StatCache::open(&path, NOW);
        assert_eq!(cache.find(b"a", &metadata()), None);
        for name in [&b"a"[..], b"b", b"c"] {
            cache.add(name, &metadata(), [name[0]; 32]);
        }
        cache.save().unwrap();
        let cache = StatCache::open(&path, NOW);
        assert_eq!(cache.find(b"b", &metadata()), Some([b'b'; 32]));
        assert_eq!(cache.find(b"d", &metadata()), None);
        let later = Timestamp { seconds: 10, nanoseconds: 6 };
        let changes: [fn(&mut Metadata, Timestamp); 5] = [
            |metadata, _| metadata.size = 4,
            |metadata, later| metadata.mtime = later,
            |metadata, later| metadata.ctime = later,
            |metadata, _| metadata.inode = 9,
            |metadata, _| metadata.device = 9,
        ];
        for change in changes {
            let mut changed = metadata();
            change(&mut changed, later);
            assert_eq!(cache.find(b"b", &changed), None, "{changed:?}");
        }
    }

    #[test]
    fn a_file_changed_just_before_the_build_is_not_remembered() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cache");
        let cache = StatCache::open(&path, NOW);
        let at = |seconds, nanoseconds| Metadata { ctime: Timestamp { seconds, nanoseconds }, ..metadata() };
        for (ctime, kept) in [((999, 1), true), ((999, 990_000_000), false), ((1000, 1), false), ((999, 0), false)] {
            let metadata = at(ctime.0, ctime.1);
            cache.add(b"a", &metadata, [1; 32]);
            cache.save().unwrap();
            assert_eq!(StatCache::open(&path, NOW).find(b"a", &metadata).is_some(), kept, "{ctime:?}");
            let _ = fs::remove_file(&path);
            cache.added.lock().unwrap().clear();
        }
    }

    #[test]
    fn a_damaged_cache_is_empty() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cache");
        let cache = StatCache::open(&path, NOW);
        cache.add(b"a", &metadata(), [1; 32]);
        cache.save().unwrap();
        let whole = fs::read(&path).unwrap();
        for at in [0, 20, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(StatCache::open(&path, NOW).find(b"a", &metadata()), None);
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(StatCache::open(&path, NOW).find(b"a", &metadata()), None);
        }
    }

    #[test]
    fn a_file_that_is_not_sorted_finds_nothing_or_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let mut bytes = HEADER.to_vec();
        for first in [250u8, 3, 200, 1, 128, 0, 255, 90] {
            bytes.extend([first; RECORD]);
        }
        let check = blake3::hash(&bytes);
        bytes.extend(check.as_bytes());
        fs::write(&path, bytes).unwrap();
        let cache = StatCache::open(&path, Timestamp { seconds: 0, nanoseconds: 0 });
        assert_eq!(cache.seen.len(), 8);
        for first in 0..=255u8 {
            let found = cache.search(&[first; 64]);
            assert!(found.is_none_or(|at| cache.record(at)[0] == first), "{first}");
        }
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_in_time() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cache");
        let first = StatCache::open(&path, NOW);
        first.add(b"old", &metadata(), [1; 32]);
        first.save().unwrap();
        for round in 0..=OLDEST {
            let cache = StatCache::open(&path, NOW);
            cache.add(&[round], &metadata(), [2; 32]);
            cache.save().unwrap();
        }
        assert_eq!(StatCache::open(&path, NOW).find(b"old", &metadata()), None);
    }
}
