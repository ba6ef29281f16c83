//! Blocks of layers that were compressed before: those of the blob that is being written, and those of the last few in the store.
//!
//! ```text
//! <directory>/<blob hex>.<how>.blocks     of each block, in the blob's order: its blake3 hash, its length in the blob and the
//!                                         crc32 of these bytes (little endian); at the end the blake3 hash of all that
//! ```
//!
//! A file in which anything is wrong is no file, and bytes whose crc is another are deflated anew: what is remembered decides how long
//! it takes, and never what is written. Memory does not grow with the layer: of a long one some blocks are forgotten.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::content::Store;
use crate::digest::Digest;
use crate::fsutil::{Dir, write_atomically};
use crate::layer::gzip::{BlockHash, FIRST_BLOCK, Memory};

/// So many blobs are remembered, the last ones.
const BLOBS: usize = 8;
/// Blocks that are remembered: of all earlier blobs together, of one blob on the disk, and of the own blob at least.
const BLOCKS: usize = 32 << 10;
/// No block deflates to more bytes.
const LONGEST: u32 = 4 << 20;
/// Bytes in the file for each block.
const ENTRY: usize = 32 + 4 + 4;
const SUFFIX: &str = "blocks";

/// The blocks that one new blob can be made of.
pub(super) struct Blocks {
    directory: PathBuf,
    how: String,
    earlier: Vec<File>,
    places: HashMap<BlockHash, Place>,
    own: File,
    written: Mutex<Written>,
}

/// Where the deflated bytes of a block are.
#[derive(Clone, Copy)]
struct Place {
    /// Which of the earlier blobs.
    blob: usize,
    offset: u64,
    length: u32,
    checksum: u32,
}

/// What of the own blob is there.
struct Written {
    end: u64,
    /// The last blocks, and those before: when there are too many, the former become the latter.
    last: HashMap<BlockHash, (u64, u32)>,
    before: HashMap<BlockHash, (u64, u32)>,
    /// What the file is going to say.
    entries: Vec<u8>,
}

impl Blocks {
    /// Finds the earlier blobs. `own` is the file that is being written, maybe with a buffer before it.
    pub(super) fn new(directory: &Path, how: &str, store: &Store, own: &Path) -> io::Result<Self> {
        let mut all = Self {
            directory: directory.to_owned(),
            how: how.to_owned(),
            earlier: Vec::new(),
            places: HashMap::new(),
            own: File::open(own)?,
            written: Mutex::new(Written {
                end: FIRST_BLOCK,
                last: HashMap::new(),
                before: HashMap::new(),
                entries: Vec::new(),
            }),
        };
        for (path, blob) in all.files().into_iter().take(BLOBS) {
            if let (Ok(bytes), Ok(blob)) = (std::fs::read(path), store.open_unverified(&blob)) {
                all.add(&bytes, blob);
            }
        }
        Ok(all)
    }

    /// The files of this encoder and the blobs they are about, the last first.
    fn files(&self) -> Vec<(PathBuf, Digest)> {
        let Ok(entries) = Dir::open(&self.directory).and_then(|dir| dir.entries()) else { return Vec::new() };
        let suffix = format!(".{}.{SUFFIX}", self.how);
        let mut found: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                let digest = Digest::from_hex(entry.name.to_str()?.strip_suffix(&suffix)?).ok()?;
                let path = self.directory.join(&entry.name);
                let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
                Some((modified, path, digest))
            })
            .collect();
        found.sort_by(|one, other| other.cmp(one));
        found.into_iter().map(|(_, path, digest)| (path, digest)).collect()
    }

    /// Adds the blocks of an earlier blob; none when the file is damaged.
    fn add(&mut self, bytes: &[u8], blob: File) {
        let Some((entries, seal)) = bytes.split_last_chunk::<32>() else { return };
        if blake3::hash(entries) != *seal || entries.len() % ENTRY != 0 {
            return;
        }
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
        let (index, mut offset) = (self.earlier.len(), FIRST_BLOCK);
        self.earlier.push(blob);
        for entry in entries.chunks_exact(ENTRY) {
            let (hash, rest) = entry.split_at(32);
            let (length, checksum) = (number(&rest[..4]), number(&rest[4..]));
            let mut block = [0; 32];
            block.copy_from_slice(hash);
            if self.places.len() >= BLOCKS || length > LONGEST {
                return;
            }
            self.places.entry(block).or_insert(Place { blob: index, offset, length, checksum });
            offset += u64::from(length);
        }
    }

    fn recall_written(&self, block: &BlockHash, output: &mut Vec<u8>) -> bool {
        let found = self.written.lock().unwrap_or_else(PoisonError::into_inner).find(block);
        // What is still in the buffer of its writer cannot be read yet.
        found.is_some_and(|(offset, length)| read(&self.own, offset, length, output))
    }

    fn recall_earlier(&self, block: &BlockHash, output: &mut Vec<u8>) -> bool {
        let Some(place) = self.places.get(block) else { return false };
        let start = output.len();
        let is_read = read(&self.earlier[place.blob], place.offset, place.length, output);
        let is_sound = is_read && crc32fast::hash(&output[start..]) == place.checksum;
        if !is_sound {
            output.truncate(start);
        }
        is_sound
    }

    /// Remembers the blocks of the own blob, which has become `blob`, and forgets the oldest one. What cannot be written costs
    /// time at the next export, no more.
    pub(super) fn keep(self, blob: &Digest) {
        let path = self.directory.join(format!("{}.{}.{SUFFIX}", blob.hex(), self.how));
        let mut bytes = self.written.lock().unwrap_or_else(PoisonError::into_inner).entries.split_off(0);
        let seal = blake3::hash(&bytes);
        bytes.extend_from_slice(seal.as_bytes());
        if std::fs::create_dir_all(&self.directory).is_ok() && write_atomically(&path, &bytes).is_ok() {
            for (old, _) in self.files().into_iter().skip(BLOBS) {
                let _ = std::fs::remove_file(old);
            }
        }
    }
}

impl Memory for Blocks {
    fn recall(&self, block: &BlockHash, output: &mut Vec<u8>) -> bool {
        self.recall_written(block, output) || self.recall_earlier(block, output)
    }

    fn written(&self, block: &BlockHash, deflated: &[u8]) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).add(block, deflated);
    }
}

impl Written {
    fn find(&self, block: &BlockHash) -> Option<(u64, u32)> {
        self.last.get(block).or_else(|| self.before.get(block)).copied()
    }

    fn add(&mut self, block: &BlockHash, deflated: &[u8]) {
        let length = deflated.len() as u32;
        if self.entries.len() < BLOCKS * ENTRY {
            self.entries.extend_from_slice(block);
            self.entries.extend_from_slice(&length.to_le_bytes());
            self.entries.extend_from_slice(&crc32fast::hash(deflated).to_le_bytes());
        }
        if self.last.len() >= BLOCKS {
            self.before = std::mem::take(&mut self.last);
        }
        self.last.insert(*block, (self.end, length));
        self.end += u64::from(length);
    }
}

/// Adds a part of a file to `output`, or nothing.
fn read(file: &File, offset: u64, length: u32, output: &mut Vec<u8>) -> bool {
    let start = output.len();
    output.resize(start + length as usize, 0);
    let is_read = file.read_exact_at(&mut output[start..], offset).is_ok();
    if !is_read {
        output.truncate(start);
    }
    is_read
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::layer::gzip;

    const HOW: &str = "gzip-1.test";

    struct Bench {
        temp: tempfile::TempDir,
        store: Store,
    }

    impl Bench {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let store = Store::open(&temp.path().join("store")).unwrap();
            Self { temp, store }
        }

        fn records(&self) -> PathBuf {
            self.temp.path().join("records")
        }

        fn blocks(&self) -> Blocks {
            let own = self.temp.path().join("own");
            File::create(&own).unwrap();
            Blocks::new(&self.records(), HOW, &self.store, &own).unwrap()
        }

        /// Writes a blob of these blocks and remembers them.
        fn blob(&self, deflated: &[&[u8]]) -> Digest {
            let mut ingest = self.store.ingest().unwrap();
            let blocks = Blocks::new(&self.records(), HOW, &self.store, ingest.path()).unwrap();
            ingest.write_all(&[0; FIRST_BLOCK as usize]).unwrap();
            for block in deflated {
                ingest.write_all(block).unwrap();
                blocks.written(&name(block), block);
            }
            let (digest, _) = ingest.commit(None).unwrap();
            blocks.keep(&digest);
            digest
        }

        fn file(&self, blob: &Digest) -> PathBuf {
            self.records().join(format!("{}.{HOW}.{SUFFIX}", blob.hex()))
        }
    }

    fn name(block: &[u8]) -> BlockHash {
        *blake3::hash(block).as_bytes()
    }

    fn recalled(blocks: &Blocks, block: &[u8]) -> Option<Vec<u8>> {
        let mut output = b"before ".to_vec();
        let found = blocks.recall(&name(block), &mut output);
        assert!(output.starts_with(b"before ") && (found || output.len() == 7));
        found.then(|| output.split_off(7))
    }

    #[test]
    fn blocks_of_earlier_blobs_are_found() {
        let bench = Bench::new();
        bench.blob(&[b"one", b"two, longer", b""]);
        bench.blob(&[b"three"]);
        let blocks = bench.blocks();
        for known in [&b"one"[..], b"two, longer", b"", b"three"] {
            assert_eq!(recalled(&blocks, known).as_deref(), Some(known));
        }
        assert_eq!(recalled(&blocks, b"four"), None);
    }

    #[test]
    fn what_is_damaged_or_gone_is_not_found() {
        let bench = Bench::new();
        let damaged = bench.blob(&[b"one", b"two"]);
        let path = bench.store.path_of(&damaged);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[FIRST_BLOCK as usize] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(recalled(&bench.blocks(), b"one"), None);
        assert_eq!(recalled(&bench.blocks(), b"two").as_deref(), Some(&b"two"[..]), "the other block is as it was");
        std::fs::write(&path, &bytes[..FIRST_BLOCK as usize + 4]).unwrap();
        assert_eq!(recalled(&bench.blocks(), b"two"), None, "a blob that was cut off");
        let gone = bench.blob(&[b"three"]);
        std::fs::remove_file(bench.store.path_of(&gone)).unwrap();
        assert_eq!(recalled(&bench.blocks(), b"three"), None);
        for at in 0..2 * ENTRY + 32 {
            let file = bench.file(&bench.blob(&[b"four", b"five"]));
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[at] ^= 0x80;
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(
                (recalled(&bench.blocks(), b"four"), recalled(&bench.blocks(), b"five")),
                (None, None),
                "byte {at}"
            );
        }
    }

    #[test]
    fn the_own_blob_is_read_as_far_as_it_is_there() {
        let bench = Bench::new();
        let own = bench.temp.path().join("own");
        let blocks = bench.blocks();
        blocks.written(&name(b"block"), b"block");
        assert_eq!(recalled(&blocks, b"block"), None, "it is in a buffer still");
        std::fs::write(&own, [&[0; FIRST_BLOCK as usize][..], b"block"].concat()).unwrap();
        assert_eq!(recalled(&blocks, b"block").as_deref(), Some(&b"block"[..]));
    }

    #[test]
    fn memory_and_files_are_bounded() {
        let bench = Bench::new();
        let blocks = bench.blocks();
        for number in 0..3 * BLOCKS as u32 {
            blocks.written(&name(&number.to_le_bytes()), b"x");
        }
        let written = blocks.written.lock().unwrap();
        assert!(written.last.len() + written.before.len() <= 2 * BLOCKS && written.entries.len() <= BLOCKS * ENTRY);
        assert!(written.find(&name(&(3 * BLOCKS as u32 - 1).to_le_bytes())).is_some());
        drop(written);
        for number in 0..BLOBS as u32 + 3 {
            bench.blob(&[&number.to_le_bytes()]);
        }
        assert_eq!(bench.blocks().files().len(), BLOBS);
        let last = BLOBS as u32 + 2;
        assert!(recalled(&bench.blocks(), &last.to_le_bytes()).is_some());
    }

    /// Files in which only some are new, compressed with all kinds of memory: the bytes are the same.
    #[test]
    fn what_is_remembered_does_not_show() {
        let bench = Bench::new();
        let tar = |changed: &str| {
            let mut tar = ::tar::Builder::new(Vec::new());
            for number in 0..40u32 {
                let text = format!("{} of {}\n", number, if number == 7 { changed } else { "all" });
                let data = text.repeat(20_000 * (number as usize % 3) / text.len() * 4 + 1);
                // Twice: the second time it is known from the own blob.
                for copy in ["a", "b"] {
                    let mut header = ::tar::Header::new_ustar();
                    header.set_size(data.len() as u64);
                    tar.append_data(&mut header, format!("{copy}/{number}"), data.as_bytes()).unwrap();
                }
            }
            tar.into_inner().unwrap()
        };
        let compressed = |input: &[u8], threads: usize| {
            let mut ingest = bench.store.ingest().unwrap();
            let blocks = Blocks::new(&bench.records(), HOW, &bench.store, ingest.path()).unwrap();
            gzip::compress(input, &mut ingest, 1, threads, &blocks).unwrap();
            let (digest, _) = ingest.commit(None).unwrap();
            blocks.keep(&digest);
            digest
        };
        let input = tar("new");
        let mut plain = Vec::new();
        gzip::compress(input.as_slice(), &mut plain, 1, 1, &gzip::NoMemory).unwrap();
        compressed(&tar("old"), 2);
        for threads in [1, 2, 5] {
            let blob = compressed(&input, threads);
            assert_eq!(std::fs::read(bench.store.path_of(&blob)).unwrap(), plain, "{threads} threads");
        }
        let mut read = Vec::new();
        io::Read::read_to_end(&mut flate2::bufread::GzDecoder::new(plain.as_slice()), &mut read).unwrap();
        assert_eq!(read, input);
    }
}
