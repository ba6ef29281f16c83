//! One file of a directory as an entry of a layer.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::entry::{EntryKind, TarEntry};
use super::xattr::{carried, is_carried_xattr};
use crate::fsutil::{Dir, Kind, Metadata, Xattrs, xattrs_of};

/// From this size a file is asked for its holes, which costs a system call.
const LARGE: u64 = 256 * 1024;

/// A file as it was found: what `stat` says, what a layer says of it, and its content.
#[derive(Debug)]
pub struct Found {
    /// What `stat` says.
    pub metadata: Metadata,
    /// As a layer has it, with the carried attributes. Several names of one file look like several files: who
    /// walks knows which came first ([`Metadata::links`], `device` and `inode`).
    pub entry: TarEntry,
    /// The content of a regular file.
    pub data: Option<FileData>,
}

/// Reads the child `name` of `dir`, not followed, as the entry `path`. `None` if it is not there, or is a socket,
/// which no tar can hold.
pub fn read_entry(dir: &Dir, name: &OsStr, path: Vec<u8>) -> io::Result<Option<Found>> {
    let Some(raw) = RawFound::read(dir, name, is_carried_xattr)? else { return Ok(None) };
    raw.into_found(dir, name, path)
}

/// Returns an open directory as the entry `path`.
pub fn directory_entry(dir: &Dir, path: Vec<u8>) -> io::Result<TarEntry> {
    let metadata = dir.metadata()?;
    Ok(entry_of(&metadata, EntryKind::Directory, path, xattrs_of(dir, is_carried_xattr)?))
}

/// A file with attributes yet to be interpreted.
pub(super) struct RawFound {
    pub metadata: Metadata,
    pub xattrs: Xattrs,
    /// Of a regular file.
    pub file: Option<File>,
}

impl RawFound {
    pub(super) fn read(dir: &Dir, name: &OsStr, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Option<Self>> {
        let Some(metadata) = dir.child_metadata(name)? else { return Ok(None) };
        if metadata.kind != Kind::File {
            let xattrs = dir.child_xattrs(name, wanted)?;
            return Ok(Some(Self { metadata, xattrs, file: None }));
        }
        let file = dir.child_file(name)?;
        // The name may mean something else by now; the open file is what is read.
        let metadata = dir.metadata_of(&file)?;
        if metadata.kind != Kind::File {
            return Err(io::Error::from_raw_os_error(libc::ESTALE));
        }
        let xattrs = xattrs_of(&file, wanted)?;
        Ok(Some(Self { metadata, xattrs, file: Some(file) }))
    }

    pub(super) fn into_found(self, dir: &Dir, name: &OsStr, path: Vec<u8>) -> io::Result<Option<Found>> {
        let metadata = self.metadata;
        let (major, minor) = metadata.device_node;
        let kind = match metadata.kind {
            Kind::File => EntryKind::File { size: metadata.size },
            Kind::Directory => EntryKind::Directory,
            Kind::Symlink => EntryKind::Symlink(dir.child_link(name)?.into_os_string().into_vec()),
            Kind::CharDevice => EntryKind::CharDevice { major, minor },
            Kind::BlockDevice => EntryKind::BlockDevice { major, minor },
            Kind::Fifo => EntryKind::Fifo,
            Kind::Socket => return Ok(None),
        };
        let data = self.file.map(|file| FileData::new(file, metadata.size));
        Ok(Some(Found { metadata, entry: entry_of(&metadata, kind, path, self.xattrs), data }))
    }
}

pub(super) fn entry_of(metadata: &Metadata, kind: EntryKind, path: Vec<u8>, xattrs: Xattrs) -> TarEntry {
    let Metadata { mode, uid, gid, mtime, .. } = *metadata;
    TarEntry { path, kind, mode, uid, gid, mtime, xattrs: carried(xattrs) }
}

/// The content of a regular file. The holes of a large one come as zeros without being read.
#[derive(Debug)]
pub struct FileData {
    file: File,
    /// Where the next hole begins, and where it ends; both at the end of the file if there is no more.
    hole: (u64, u64),
    at: u64,
    size: u64,
}

impl FileData {
    pub(super) fn new(file: File, size: u64) -> Self {
        let hole = if size < LARGE { (u64::MAX, u64::MAX) } else { (0, 0) };
        Self { file, hole, at: 0, size }
    }

    /// Finds the first hole that ends after `at`.
    fn find_hole(&mut self) -> io::Result<()> {
        let seek = |to| match rustix::fs::seek(&self.file, to) {
            Ok(offset) => Ok(Some(offset)),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(io::Error::from(error)),
        };
        let start = seek(SeekFrom::Hole(self.at))?.unwrap_or(self.size);
        let end = if start < self.size { seek(SeekFrom::Data(start))?.unwrap_or(self.size) } else { u64::MAX };
        self.hole = if start < self.size { (start, end) } else { (u64::MAX, u64::MAX) };
        seek(SeekFrom::Start(self.at))?;
        Ok(())
    }
}

impl Read for FileData {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.hole.1 && self.hole.1 != u64::MAX {
            self.find_hole()?;
        }
        let bounded = |length: u64| usize::try_from(length).unwrap_or(usize::MAX).min(buf.len());
        if self.at >= self.hole.0 {
            let zeros = bounded(self.hole.1.min(self.size) - self.at);
            buf[..zeros].fill(0);
            self.at += zeros as u64;
            return Ok(zeros);
        }
        let wanted = bounded(self.hole.0 - self.at);
        let n = self.file.read(&mut buf[..wanted])?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    #[test]
    fn holes_are_zeros() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("sparse");
        let mut file = File::create(&path).unwrap();
        file.seek(SeekFrom::Start(1 << 20)).unwrap();
        file.write_all(&[1; 5000]).unwrap();
        file.seek(SeekFrom::Start(3 << 20)).unwrap();
        file.write_all(&[2; 10]).unwrap();
        file.set_len(4 << 20).unwrap();
        let expected = std::fs::read(&path).unwrap();
        let mut data = FileData::new(File::open(&path).unwrap(), 4 << 20);
        let mut read = Vec::new();
        data.read_to_end(&mut read).unwrap();
        assert!(read == expected);
    }

    #[test]
    fn a_plain_large_file_is_read_whole() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("plain");
        let expected: Vec<u8> = (0..1_000_003u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &expected).unwrap();
        let mut read = Vec::new();
        FileData::new(File::open(&path).unwrap(), expected.len() as u64).read_to_end(&mut read).unwrap();
        assert!(read == expected);
    }
}
