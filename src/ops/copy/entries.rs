//! The entries of a selection, flat: the paths in one buffer and a small record of each plain file and directory.
//!
//! A context may have a hundred thousand files, and their entries are there until the layer is written.

use std::sync::Arc;

use super::content::Content;
use super::destination::kind_of;
use super::resolve::join;
use crate::context::ContentHash;
use crate::fsutil::{Dir, Kind, Timestamp};
use crate::layer::{EntryKind, TarEntry};

/// One entry of a selection, by itself.
#[derive(Clone, Debug)]
pub struct SelectedEntry {
    /// Type, mode, owner, time and attributes; the path is relative to the source.
    pub entry: TarEntry,
    /// Where its bytes are.
    pub content: Content,
    /// The hash of its bytes; `None` for what is no regular file.
    pub hash: Option<ContentHash>,
    /// Equal for names of one file within one source (device and inode); `None` if it has one name.
    pub identity: Option<(u64, u64)>,
}

impl SelectedEntry {
    pub(super) fn new(entry: TarEntry) -> Self {
        Self { entry, content: Content::Nothing, hash: None, identity: None }
    }
}

/// Entries, in the order of a layer.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    paths: Vec<u8>,
    records: Vec<Record>,
    others: Vec<SelectedEntry>,
    /// Where the bytes of plain files are.
    tree: Option<Arc<Tree>>,
}

/// A directory below which files are.
#[derive(Debug)]
pub(super) struct Tree {
    /// An open directory.
    pub root: Arc<Dir>,
    /// The path from there to the source.
    pub top: Vec<u8>,
}

/// A plain file or directory, or the place of another entry.
#[derive(Clone, Copy, Debug)]
struct Record {
    form: Form,
    has_hash: bool,
    length: u32,
    path: usize,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Timestamp,
    /// Of a file, its size; of another entry, its place among those.
    number: u64,
    hash: ContentHash,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    File,
    Directory,
    Other,
}

impl Entries {
    /// Starts a list of what is in a tree.
    pub(super) fn of_tree(tree: Arc<Tree>) -> Self {
        Self { tree: Some(tree), ..Self::default() }
    }

    /// A list of one entry.
    pub(super) fn of_one(one: SelectedEntry) -> Self {
        let mut entries = Self::default();
        entries.push_other(one);
        entries
    }

    /// Adds an entry whose bytes, if it has any, are those of the file at its path in the tree.
    pub(super) fn push(&mut self, entry: &TarEntry, hash: Option<ContentHash>, identity: Option<(u64, u64)>) {
        let (form, number) = match &entry.kind {
            EntryKind::File { size } => (Form::File, *size),
            EntryKind::Directory => (Form::Directory, 0),
            _ => (Form::Other, 0),
        };
        if form == Form::Other || identity.is_some() || !entry.xattrs.is_empty() {
            let content = self.content_of(&entry.path, entry.size());
            return self.push_other(SelectedEntry { entry: entry.clone(), content, hash, identity });
        }
        let TarEntry { mode, uid, gid, mtime, .. } = *entry;
        let (path, length) = (self.paths.len(), entry.path.len() as u32);
        self.paths.extend_from_slice(&entry.path);
        let (has_hash, hash) = (hash.is_some(), hash.unwrap_or_default());
        self.records.push(Record { form, has_hash, length, path, mode, uid, gid, mtime, number, hash });
    }

    fn push_other(&mut self, one: SelectedEntry) {
        let record = Record {
            form: Form::Other,
            has_hash: one.hash.is_some(),
            length: 0,
            path: 0,
            mode: one.entry.mode,
            uid: one.entry.uid,
            gid: one.entry.gid,
            mtime: one.entry.mtime,
            number: self.others.len() as u64,
            hash: one.hash.unwrap_or_default(),
        };
        self.records.push(record);
        self.others.push(one);
    }

    /// Adds the entry at `at` of another list of the same tree.
    pub(super) fn push_from(&mut self, list: &Self, at: usize) {
        let record = list.records[at];
        if let Some(other) = list.other(at) {
            return self.push_other(SelectedEntry { hash: list.hash(at), ..other.clone() });
        }
        let path = self.paths.len();
        self.paths.extend_from_slice(list.path(at));
        self.records.push(Record { path, ..record });
    }

    /// Takes the last entry, a plain directory, away.
    pub(super) fn pop(&mut self) {
        if let Some(Record { form, path, .. }) = self.records.pop() {
            match form {
                Form::Other => _ = self.others.pop(),
                _ => self.paths.truncate(path),
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn path(&self, at: usize) -> &[u8] {
        let record = &self.records[at];
        match self.other(at) {
            Some(other) => &other.entry.path,
            None => &self.paths[record.path..][..record.length as usize],
        }
    }

    pub(super) fn kind(&self, at: usize) -> Kind {
        match self.records[at].form {
            Form::File => Kind::File,
            Form::Directory => Kind::Directory,
            Form::Other => self.other(at).map_or(Kind::File, |other| kind_of(&other.entry.kind)),
        }
    }

    /// Returns the number of bytes of its content.
    pub(super) fn size(&self, at: usize) -> u64 {
        self.other(at).map_or(self.records[at].number, |other| other.entry.size())
    }

    pub(super) fn mtime(&self, at: usize) -> Timestamp {
        self.records[at].mtime
    }

    pub(super) fn hash(&self, at: usize) -> Option<ContentHash> {
        let record = &self.records[at];
        record.has_hash.then_some(record.hash)
    }

    pub(super) fn set_hash(&mut self, at: usize, hash: ContentHash) {
        let record = &mut self.records[at];
        (record.has_hash, record.hash) = (true, hash);
    }

    pub(super) fn identity(&self, at: usize) -> Option<(u64, u64)> {
        self.other(at).and_then(|other| other.identity)
    }

    /// Returns the only entry, if there is but one.
    pub(super) fn only(&self) -> Option<SelectedEntry> {
        (self.len() == 1).then(|| self.get(0))
    }

    /// Returns an entry by itself.
    pub fn get(&self, at: usize) -> SelectedEntry {
        let mut entry = TarEntry::plain_directory(Vec::new());
        self.describe(at, &mut entry);
        SelectedEntry { entry, content: self.content(at), hash: self.hash(at), identity: self.identity(at) }
    }

    /// Makes `entry` the one at `at`, in the room that it has.
    pub(super) fn describe(&self, at: usize, entry: &mut TarEntry) {
        if let Some(other) = self.other(at) {
            return entry.clone_from(&other.entry);
        }
        let record = &self.records[at];
        entry.path.clear();
        entry.path.extend_from_slice(self.path(at));
        entry.kind = match record.form {
            Form::File => EntryKind::File { size: record.number },
            _ => EntryKind::Directory,
        };
        (entry.mode, entry.uid, entry.gid, entry.mtime) = (record.mode, record.uid, record.gid, record.mtime);
        entry.xattrs.clear();
    }

    /// Returns where the bytes of an entry are.
    pub(super) fn content(&self, at: usize) -> Content {
        match (self.other(at), self.records[at].form) {
            (Some(other), _) => other.content.clone(),
            (None, Form::File) => self.content_of(self.path(at), self.size(at)),
            (None, _) => Content::Nothing,
        }
    }

    fn content_of(&self, path: &[u8], size: u64) -> Content {
        match &self.tree {
            Some(tree) if size > 0 => Content::Tree { root: tree.root.clone(), path: below(&tree.top, path) },
            _ => Content::Nothing,
        }
    }

    fn other(&self, at: usize) -> Option<&SelectedEntry> {
        let Record { form, number, .. } = self.records[at];
        (form == Form::Other).then(|| &self.others[number as usize])
    }
}

/// Joins the path of a directory and one below it, which may be the directory itself.
fn below(top: &[u8], path: &[u8]) -> Vec<u8> {
    if path.is_empty() { top.to_vec() } else { join(top, path) }
}
