//! The records of an EROFS image, little-endian, as bytes (fs/erofs/erofs_fs.h).

use crate::fsutil::{Timestamp, Xattrs};

/// The block size: what a tar is aligned to.
pub(super) use super::super::header::BLOCK;
/// Inodes are counted in slots of this size from the first one on.
pub(super) const SLOT: u64 = 32;
/// Before the first inode.
pub(super) const START: usize = 2048;
/// An inode of the extended form.
pub(super) const INODE: usize = 64;
/// The fixed part of an entry of a directory.
pub(super) const DIRENT: usize = 12;
/// The longest name.
pub(super) const LONGEST_NAME: usize = 255;

const SUPER_BLOCK: usize = 1024;
const DEVICE: usize = SUPER_BLOCK + 128;
const MAGIC: u32 = 0xE0F5_E1E2;
/// There are other devices than the image itself.
const DEVICE_TABLE: u32 = 8;
/// Extended form, content in one run.
const FORMAT: u16 = 1;

/// Everything before the first inode. The tar of `data_blocks` blocks follows the image of `blocks` blocks in one space of
/// addresses.
pub(super) fn head(inodes: u64, blocks: u32, data_blocks: u32) -> [u8; START] {
    let mut head = [0; START];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(SUPER_BLOCK, &MAGIC.to_le_bytes());
    put(SUPER_BLOCK + 0x0c, &[BLOCK.trailing_zeros() as u8]);
    put(SUPER_BLOCK + 0x10, &inodes.to_le_bytes());
    put(SUPER_BLOCK + 0x24, &blocks.to_le_bytes());
    put(SUPER_BLOCK + 0x28, &((START / BLOCK) as u32).to_le_bytes());
    put(SUPER_BLOCK + 0x50, &DEVICE_TABLE.to_le_bytes());
    put(SUPER_BLOCK + 0x56, &1u16.to_le_bytes());
    put(SUPER_BLOCK + 0x58, &((DEVICE / 128) as u16).to_le_bytes());
    put(DEVICE + 64, &data_blocks.to_le_bytes());
    put(DEVICE + 68, &blocks.to_le_bytes());
    head
}

/// What an inode says beside its attributes.
pub(super) struct Inode {
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timestamp,
    pub links: u32,
    pub size: u64,
    /// The first block of the content, or the device number.
    pub place: u32,
    pub number: u32,
}

impl Inode {
    /// Appends the inode with its attributes, up to where another one may begin.
    pub(super) fn write(&self, xattrs: &Xattrs, opaque: bool, out: &mut Vec<u8>) {
        let end = out.len() + inode_length(xattrs, opaque).expect("what does not fit was refused") as usize;
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&xattr_count(xattrs, opaque).unwrap_or_default().to_le_bytes());
        out.extend_from_slice(&(self.mode as u16).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.size.to_le_bytes());
        for word in [self.place, self.number, self.uid, self.gid] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.mtime.seconds.to_le_bytes());
        for word in [self.mtime.nanoseconds, self.links] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&[0; 16]);
        let mut attributes = attributes(xattrs, opaque).peekable();
        if attributes.peek().is_some() {
            out.extend_from_slice(&[0; XATTR_HEAD]);
        }
        for (kind, name, value) in attributes {
            out.extend_from_slice(&[name.len() as u8, kind]);
            out.extend_from_slice(&(value.len() as u16).to_le_bytes());
            out.extend_from_slice(name);
            out.extend_from_slice(value);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out.resize(end, 0);
    }
}

const XATTR_HEAD: usize = 12;
const XATTR_ENTRY: usize = 4;

/// Returns the attributes with the number of their prefix and the rest of their name.
fn attributes(xattrs: &Xattrs, opaque: bool) -> impl Iterator<Item = (u8, &[u8], &[u8])> {
    let own = xattrs.iter().filter_map(|(name, value)| {
        let (kind, rest) = match name.strip_prefix(b"user.") {
            Some(rest) => (1, rest),
            None => (6, name.strip_prefix(b"security.")?),
        };
        Some((kind, rest, value.as_slice()))
    });
    own.chain(opaque.then_some((4, &b"overlay.opaque"[..], &b"y"[..])))
}

/// Returns what an inode says of the room that its attributes take; `None` if they do not fit.
fn xattr_count(xattrs: &Xattrs, opaque: bool) -> Option<u16> {
    let mut length = 0usize;
    for (_, name, value) in attributes(xattrs, opaque) {
        u8::try_from(name.len()).ok()?;
        u16::try_from(value.len()).ok()?;
        length += (XATTR_ENTRY + name.len() + value.len()).next_multiple_of(4);
    }
    if length == 0 { Some(0) } else { u16::try_from(length / 4 + 1).ok() }
}

/// Returns how far it is from one inode to the next; `None` if the attributes do not fit. Inodes begin at multiples of their own
/// size, so that none stands in two blocks.
pub(super) fn inode_length(xattrs: &Xattrs, opaque: bool) -> Option<u64> {
    let attributes = match xattr_count(xattrs, opaque)? {
        0 => 0,
        count => XATTR_HEAD + (usize::from(count) - 1) * 4,
    };
    Some((INODE + attributes).next_multiple_of(INODE) as u64)
}

/// Returns the length in bytes of a directory of names of these lengths, in order: entries stand in blocks, each with its names.
pub(super) fn directory_length(names: impl Iterator<Item = usize>) -> u64 {
    let (mut whole, mut used) = (0, 0);
    for name in names {
        if used + DIRENT + name > BLOCK {
            (whole, used) = (whole + BLOCK as u64, 0);
        }
        used += DIRENT + name;
    }
    whole + used as u64
}

/// An entry of a directory: name, number of the inode, type.
pub(super) type Dirent<'a> = (&'a [u8], u64, u8);

/// Appends a directory of these entries, sorted by name, `.` and `..` among them.
pub(super) fn write_directory(mut entries: &[Dirent], out: &mut Vec<u8>) {
    while !entries.is_empty() {
        let mut used = 0;
        let fits = |(name, ..): &&Dirent| {
            used += DIRENT + name.len();
            used <= BLOCK
        };
        let count = entries.iter().take_while(fits).count();
        let (block, rest) = entries.split_at(count);
        let start = out.len();
        let mut name_at = DIRENT * count;
        for (name, number, kind) in block {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&(name_at as u16).to_le_bytes());
            out.extend_from_slice(&[*kind, 0]);
            name_at += name.len();
        }
        block.iter().for_each(|(name, ..)| out.extend_from_slice(name));
        if !rest.is_empty() {
            out.resize(start + BLOCK, 0);
        }
        entries = rest;
    }
}
