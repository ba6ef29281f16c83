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

use super::select::{Selected, SelectedEntry, Shape};
use crate::layer::EntryKind;

/// Returns the hash of everything in `selected` that may show in a layer. Part of a step's key, together with
/// the destination and the options.
pub fn content_key<'a>(selected: impl IntoIterator<Item = &'a Selected>) -> [u8; 32] {
    let mut facts = Facts::default();
    facts.field("copy", b"1");
    for source in selected {
        match &source.shape {
            Shape::File { name, from } => {
                facts.field("file", name);
                facts.field("from", format!("{from:?}").as_bytes());
            }
            Shape::Directory { .. } => facts.field("directory", b""),
            Shape::Parents { .. } => facts.field("parents", b""),
        }
        let mut first_names = BTreeMap::new();
        for entry in &source.entries {
            let path = entry.entry.path.as_slice();
            let first = entry.identity.map(|identity| *first_names.entry(identity).or_insert(path));
            write_entry(&mut facts, entry, first.filter(|first| *first != path));
        }
    }
    facts.finish()
}

fn write_entry(facts: &mut Facts, selected: &SelectedEntry, first_name: Option<&[u8]>) {
    let entry = &selected.entry;
    facts.field("path", &entry.path);
    let device = |major: &u32, minor: &u32| u64::from(*major) << 32 | u64::from(*minor);
    let (kind, target, number): (&[u8], &[u8], u64) = match &entry.kind {
        EntryKind::File { size } => (b"file", b"", *size),
        EntryKind::Directory => (b"directory", b"", 0),
        EntryKind::Symlink(target) => (b"symlink", target, 0),
        EntryKind::Hardlink(target) => (b"hardlink", target, 0),
        EntryKind::CharDevice { major, minor } => (b"character device", b"", device(major, minor)),
        EntryKind::BlockDevice { major, minor } => (b"block device", b"", device(major, minor)),
        EntryKind::Fifo => (b"fifo", b"", 0),
    };
    facts.field("type", kind);
    facts.field("target", target);
    facts.field("number", &number.to_le_bytes());
    let mut owner = [0; 12];
    for (at, number) in [entry.mode, entry.uid, entry.gid].into_iter().enumerate() {
        owner[at * 4..at * 4 + 4].copy_from_slice(&number.to_le_bytes());
    }
    facts.field("mode and owner", &owner);
    for (name, value) in &entry.xattrs {
        facts.field("attribute", name);
        facts.field("value", value);
    }
    if let Some(hash) = &selected.hash {
        facts.field("content", hash);
    }
    if let Some(name) = first_name {
        facts.field("same file as", name);
    }
}

/// Frames each name and value by its length, so that no two lists of facts give the same bytes.
#[derive(Default)]
struct Facts {
    hasher: blake3::Hasher,
    /// Facts are short: hashing them in large pieces is several times faster.
    pending: Vec<u8>,
}

impl Facts {
    fn field(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.pending.extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.pending.extend_from_slice(part);
        }
        if self.pending.len() > 64 * 1024 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.hasher.update(&self.pending);
        self.pending.clear();
    }

    fn finish(mut self) -> [u8; 32] {
        self.flush();
        self.hasher.finalize().into()
    }
}
