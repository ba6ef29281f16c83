//! One file of a layer, as data, and the order of files in a layer.

use std::cmp::Ordering;

use crate::fsutil::{Timestamp, Xattrs};

/// One entry of a layer tar, without its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TarEntry {
    /// Relative, without leading or trailing slash, `.` or `..`; bytes as the file system has them.
    /// Empty for the root directory.
    pub path: Vec<u8>,
    /// The type and what belongs to it.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification. The writer keeps whole seconds only (rounded down).
    pub mtime: Timestamp,
    /// Extended attributes. The writer writes them as they are; see [`super::is_carried_xattr`].
    pub xattrs: Xattrs,
}

/// The type of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A regular file of `size` bytes.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link with this target, kept as it is.
    Symlink(Vec<u8>),
    /// Another name of the file at this path of the layer (same form as [`TarEntry::path`]).
    Hardlink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

impl TarEntry {
    /// Makes a directory of root with mode 0755 and time 0, as for a parent nobody described.
    pub fn plain_directory(path: Vec<u8>) -> Self {
        Self {
            path,
            kind: EntryKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: Xattrs::new(),
        }
    }

    /// Returns the number of bytes that follow the header.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            _ => 0,
        }
    }
}

/// Compares two paths in the order of a layer: as a walk meets them that visits each directory's names
/// sorted by bytes, a directory before what is in it (`a`, `a/x`, `a-b`).
pub fn path_order(left: &[u8], right: &[u8]) -> Ordering {
    // Neighbours in a layer have most of their paths in common: words are compared before bytes.
    let (words, _) = left.as_chunks::<8>();
    let (others, _) = right.as_chunks::<8>();
    let same = 8 * words.iter().zip(others).take_while(|(a, b)| a == b).count();
    let differ = left[same..].iter().zip(&right[same..]).position(|(a, b)| a != b);
    match differ.map(|at| same + at) {
        // A name cannot hold a 0 byte, so a slash sorts before every byte of a longer name.
        Some(at) => {
            let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
            rank(left[at]).cmp(&rank(right[at]))
        }
        None => left.len().cmp(&right.len()),
    }
}

/// Splits a path into the parent's path and the last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// Joins a parent's path and a name; the parent may be the root (empty).
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    if !parent.is_empty() {
        path.extend_from_slice(parent);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Returns a path for people: control bytes escaped, what is not UTF-8 replaced.
pub(super) fn shown(path: &[u8]) -> String {
    match path {
        [] => "/".to_owned(),
        path => String::from_utf8_lossy(path).escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_comes_before_its_content_and_its_longer_neighbours() {
        let sorted: [&[u8]; 7] = [b"", b"a", b"a/x", b"a/x/y", b"a-b", b"a.b/c", b"b"];
        for (i, left) in sorted.iter().enumerate() {
            for (j, right) in sorted.iter().enumerate() {
                assert_eq!(path_order(left, right), i.cmp(&j), "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn paths_split_and_join() {
        for path in [&b"a"[..], b"a/b", b"a/b/c"] {
            let (parent, name) = split(path);
            assert_eq!(join(parent, name), path);
        }
    }
}
