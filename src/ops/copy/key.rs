//! The facts of a selection, as one hash.
//!
//! | fact | why |
//! |---|---|
//! | shape; name of a single file | decides where entries land |
//! | where a single file is from | ADD unpacks archives of a tree and not those of a URL |
//! | path, type, mode, uid, gid of each entry | are in the layer |
//! | size and content hash of a file | are in the layer |
//! | target of a link, numbers of a device | are in the layer |
//! | extended attributes | are in the layer |
//! | first name of a file with several | is in the layer |
//!
//! Never a time: a checkout would miss the cache (16.4). Not the top directory's mode and owner: nothing takes them over.

use std::collections::BTreeMap;

use super::select::{Selected, Shape};
use crate::context::ContentHash;
use crate::layer::{EntryKind, TarEntry};

/// Returns the hash of everything in `selected` that may show in a layer. Part of a step's key, together with
/// the destination and the options.
pub fn content_key<'a>(selected: impl IntoIterator<Item = &'a Selected>) -> [u8; 32] {
    let mut facts = Facts::default();
    facts.text(b"copy/2");
    for source in selected {
        match &source.shape {
            Shape::File { name, from } => {
                facts.text(b"file");
                facts.text(name);
                facts.text(format!("{from:?}").as_bytes());
            }
            Shape::Directory { .. } => facts.text(b"directory"),
            Shape::Parents { .. } => facts.text(b"parents"),
        }
        facts.number(source.entries.len() as u64);
        let mut first_names = BTreeMap::new();
        let mut entry = TarEntry::plain_directory(Vec::new());
        for at in 0..source.entries.len() {
            source.entries.describe(at, &mut entry);
            let path = source.entries.path(at);
            let first = source.entries.identity(at).map(|identity| *first_names.entry(identity).or_insert(path));
            write_entry(&mut facts, &entry, source.entries.hash(at), first.filter(|first| *first != path));
        }
    }
    facts.finish()
}

/// What is there in every entry comes first, and says what follows.
fn write_entry(facts: &mut Facts, entry: &TarEntry, hash: Option<ContentHash>, first_name: Option<&[u8]>) {
    let device = |major: &u32, minor: &u32| u64::from(*major) << 32 | u64::from(*minor);
    let (kind, target, number): (u8, Option<&[u8]>, u64) = match &entry.kind {
        EntryKind::File { size } => (b'f', None, *size),
        EntryKind::Directory => (b'd', None, 0),
        EntryKind::Symlink(target) => (b'l', Some(target), 0),
        EntryKind::Hardlink(target) => (b'h', Some(target), 0),
        EntryKind::CharDevice { major, minor } => (b'c', None, device(major, minor)),
        EntryKind::BlockDevice { major, minor } => (b'b', None, device(major, minor)),
        EntryKind::Fifo => (b'p', None, 0),
    };
    facts.bytes(&[kind, hash.is_some().into(), first_name.is_some().into()]);
    for number in [entry.mode, entry.uid, entry.gid, entry.xattrs.len() as u32] {
        facts.bytes(&number.to_le_bytes());
    }
    facts.number(number);
    facts.text(&entry.path);
    target.into_iter().for_each(|target| facts.text(target));
    for (name, value) in &entry.xattrs {
        facts.text(name);
        facts.text(value);
    }
    hash.into_iter().for_each(|hash| facts.bytes(&hash));
    first_name.into_iter().for_each(|name| facts.text(name));
}

/// What has no length of its own is framed by it, so that no two lists of facts give the same bytes.
#[derive(Default)]
struct Facts {
    hasher: blake3::Hasher,
    /// Facts are short: hashing them in large pieces is several times faster.
    pending: Vec<u8>,
}

/// Facts that are hashed at once, in bytes.
const AT_ONCE: usize = 64 * 1024;

impl Facts {
    fn text(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.bytes(value);
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= AT_ONCE {
            // Whole pieces: what is left of one would be hashed alone.
            let whole = self.pending.len() / AT_ONCE * AT_ONCE;
            self.hasher.update(&self.pending[..whole]);
            self.pending.drain(..whole);
        }
    }

    fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.pending);
        self.hasher.finalize().into()
    }
}
