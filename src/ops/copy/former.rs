//! The layer that the same step made before, read along with the new one.
//!
//! A file that is in it unchanged is taken from there: reading one tar from end to end takes a fifth of the time of opening each of
//! many small files. Nothing is believed of it: the bytes are taken if they have the hash that the new layer needs.

use std::cmp::Ordering;
use std::fs::File;
use std::io::Read;

use crate::context::{ContentHash, hash_bytes};
use crate::layer::{EntryKind, Limits, Reader, TarEntry, path_order};

/// A larger file is as fast where it is.
const LARGEST: u64 = 64 * 1024;

/// A former layer, and how far it has been read.
pub struct Former {
    reader: Reader<File>,
    /// The last entry, whose content is still to be read; `None` when there is no more.
    at: Option<TarEntry>,
    content: Vec<u8>,
}

impl Former {
    /// Starts reading the tar of a former layer.
    pub fn new(tar: File) -> Self {
        let root = TarEntry::plain_directory(Vec::new());
        Self { reader: Reader::new(tar, Limits::default()), at: Some(root), content: Vec::new() }
    }

    /// Returns the content of the file `entry` if the former layer has it with this hash. Entries are asked for in their order.
    pub(super) fn content(&mut self, entry: &TarEntry, hash: ContentHash) -> Option<&[u8]> {
        if entry.size() > LARGEST || !self.go_to(&entry.path) {
            return None;
        }
        match self.at {
            Some(TarEntry { kind: EntryKind::File { size }, .. }) if size == entry.size() => {}
            _ => return None,
        }
        self.content.resize(entry.size() as usize, 0);
        self.reader.read_exact(&mut self.content).ok()?;
        (hash_bytes(&self.content) == hash).then_some(self.content.as_slice())
    }

    /// Reads up to the entry at `path`, or to the one after its place; returns whether it is there.
    fn go_to(&mut self, path: &[u8]) -> bool {
        while let Some(at) = &self.at {
            match path_order(&at.path, path) {
                Ordering::Less => self.at = self.reader.next_entry().unwrap_or_default(),
                found => return found == Ordering::Equal,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::layer::Writer;

    fn file(path: &str, size: usize) -> TarEntry {
        let kind = EntryKind::File { size: size as u64 };
        TarEntry { kind, ..TarEntry::plain_directory(path.into()) }
    }

    fn former(tar: &[u8]) -> Former {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(tar).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        Former::new(file)
    }

    fn tar() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (path, content) in [("a", "one"), ("b", "two"), ("b-c", "three"), ("d", "four")] {
            writer.append(&file(path, content.len()), &mut content.as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn only_what_is_the_same_is_taken() {
        let mut former = former(&tar());
        let mut ask = |path: &str, content: &str| {
            let found = former.content(&file(path, content.len()), hash_bytes(content.as_bytes()));
            assert!(found.is_none_or(|found| found == content.as_bytes()));
            found.is_some()
        };
        assert!(ask("a", "one"));
        assert!(!ask("aa", "new"));
        assert!(!ask("b", "TWO"), "changed");
        assert!(!ask("b-c", "longer"), "longer");
        assert!(ask("d", "four"));
        assert!(!ask("e", "new"));
    }

    #[test]
    fn a_tar_that_is_none_or_ends_early_has_nothing() {
        let tar = tar();
        let mut cut = former(&tar[..1024 + 512 + 2]);
        assert!(cut.content(&file("a", 3), hash_bytes(b"one")).is_some());
        assert!(cut.content(&file("b", 3), hash_bytes(b"two")).is_none());
        assert!(former(b"no tar").content(&file("a", 3), hash_bytes(b"one")).is_none());
    }
}
