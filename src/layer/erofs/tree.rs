//! The files of one tar as a tree in memory. Whatever would make it depend on more than the tar's own entries ends it.

use std::collections::BTreeMap;

use super::super::entry::{EntryKind, TarEntry, join, split};
use super::super::xattr::is_carried_xattr;
use super::format::{LONGEST_NAME, inode_length};
use crate::fsutil::{Timestamp, Xattrs};

/// More files than this take too much memory: they are unpacked, one after the other.
const MOST_FILES: usize = 1 << 20;
/// As the kernel takes (PATH_MAX, without the NUL).
const LONGEST_LINK: usize = 4095;

/// The root is the first node.
pub(super) struct Tree {
    pub nodes: Vec<Node>,
    /// The directory that the last entry was put in.
    current: (Vec<u8>, usize),
}

/// A file with all its names.
pub(super) struct Node {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timestamp,
    pub links: u32,
    pub xattrs: Xattrs,
    pub body: Body,
}

pub(super) enum Body {
    /// Its bytes begin at `offset` of the tar.
    File {
        size: u64,
        offset: u64,
    },
    Directory(Box<Directory>),
    Symlink(Box<[u8]>),
    CharDevice(u32),
    BlockDevice(u32),
    Fifo,
}

/// The names of a directory and the places of their nodes.
#[derive(Default)]
pub(super) struct Directory {
    pub parent: u32,
    pub names: BTreeMap<Box<[u8]>, u32>,
    /// Nothing of the layers below is seen in it.
    pub opaque: bool,
}

impl Tree {
    pub(super) fn new(root: &TarEntry) -> Self {
        let node = Node::new(root, Body::Directory(Box::default()));
        Self { nodes: vec![node], current: (Vec::new(), 0) }
    }

    /// Adds an entry, whose content, if it is a file, begins at `offset` of the tar.
    pub(super) fn add(&mut self, entry: &TarEntry, offset: Option<u64>) -> Option<()> {
        let body = match &entry.kind {
            EntryKind::File { size } => Body::File { size: *size, offset: offset? },
            EntryKind::Directory => return self.add_directory(entry),
            EntryKind::Hardlink(target) => return self.add_link(&entry.path, target),
            EntryKind::Symlink(target) if target.len() > LONGEST_LINK => return None,
            EntryKind::Symlink(target) => Body::Symlink(target.as_slice().into()),
            // It would be taken for a deletion.
            EntryKind::CharDevice { major: 0, minor: 0 } => return None,
            EntryKind::CharDevice { major, minor } => Body::CharDevice(device(*major, *minor)?),
            EntryKind::BlockDevice { major, minor } => Body::BlockDevice(device(*major, *minor)?),
            EntryKind::Fifo => Body::Fifo,
        };
        self.add_node(&entry.path, Node::new(entry, body))
    }

    /// Hides what the layers below have in a directory. The kernel does not look for the mark on the root.
    pub(super) fn mark_opaque(&mut self, path: &[u8]) -> Option<()> {
        let at = self.find(path).filter(|at| *at > 0)?;
        self.directory(at)?.opaque = true;
        inode_length(&self.nodes[at].xattrs, true).map(drop)
    }

    /// Hides what the layers below have under a name.
    pub(super) fn add_deletion(&mut self, parent: &[u8], name: &[u8]) -> Option<()> {
        let mark = TarEntry { mode: 0, ..TarEntry::plain_directory(Vec::new()) };
        self.add_node(&join(parent, name), Node::new(&mark, Body::CharDevice(0)))
    }

    fn add_directory(&mut self, entry: &TarEntry) -> Option<()> {
        let Some(known) = self.find(&entry.path) else {
            return self.add_node(&entry.path, Node::new(entry, Body::Directory(Box::default())));
        };
        let opaque = self.directory(known)?.opaque;
        inode_length(&entry.xattrs, opaque)?;
        let body = std::mem::replace(&mut self.nodes[known].body, Body::Fifo);
        self.nodes[known] = Node::new(entry, body);
        Some(())
    }

    fn add_link(&mut self, path: &[u8], target: &[u8]) -> Option<()> {
        let target = self.find(target)?;
        match self.nodes[target].body {
            Body::Directory(_) | Body::CharDevice(0) => return None,
            _ => self.nodes[target].links += 1,
        }
        self.add_name(path, target)
    }

    fn add_node(&mut self, path: &[u8], node: Node) -> Option<()> {
        inode_length(&node.xattrs, false)?;
        let at = self.nodes.len();
        self.nodes.push(node);
        if at < MOST_FILES { self.add_name(path, at) } else { None }
    }

    /// Gives a node a name that is free, in a directory that is there.
    fn add_name(&mut self, path: &[u8], node: usize) -> Option<()> {
        let (parent, name) = split(path);
        if self.current.0 != parent {
            self.current = (parent.to_vec(), self.find(parent)?);
        }
        let parent = self.current.1;
        let was = self.directory(parent)?.names.insert(name.into(), node as u32);
        if let Body::Directory(directory) = &mut self.nodes[node].body {
            directory.parent = parent as u32;
        }
        (was.is_none() && !name.is_empty() && name.len() <= LONGEST_NAME).then_some(())
    }

    fn directory(&mut self, at: usize) -> Option<&mut Directory> {
        match &mut self.nodes[at].body {
            Body::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        let mut at = 0;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match &self.nodes[at].body {
                Body::Directory(directory) => at = *directory.names.get(name)? as usize,
                _ => return None,
            }
        }
        Some(at)
    }
}

impl Node {
    fn new(entry: &TarEntry, body: Body) -> Self {
        let TarEntry { mode, uid, gid, mtime, .. } = *entry;
        let mut xattrs = entry.xattrs.clone();
        xattrs.retain(|name, _| is_carried_xattr(name));
        Self { mode: mode & 0o7777, uid, gid, mtime, links: 1, xattrs, body }
    }

    /// Whether nothing of the layers below is seen in it.
    pub(super) fn is_opaque(&self) -> bool {
        matches!(&self.body, Body::Directory(directory) if directory.opaque)
    }
}

/// Returns a device number as the kernel keeps it on disk: 12 bits of major, 20 bits of minor number.
fn device(major: u32, minor: u32) -> Option<u32> {
    let fits = major < 1 << 12 && minor < 1 << 20;
    fits.then_some(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}
