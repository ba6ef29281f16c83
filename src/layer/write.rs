//! Writing a layer tar: one dialect, so that the same entries give the same bytes everywhere.
//!
//! ustar, with a pax header only for what ustar cannot say. Numeric owners, empty owner names, no access or
//! change times, whole seconds; pax records sorted by key; two zero blocks at the end and no more padding.

use std::io::{self, Read, Write};

use super::entry::{EntryKind, TarEntry, path_order, shown};
use super::header::{self, BLOCK, Header, flag};
use super::{pax, whiteout};
use crate::fsutil::Timestamp;

/// Gathered before anything is handed to the writer below.
const BUFFER: usize = 256 * 1024;

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The writer below failed.
    #[error("cannot write the layer")]
    Output(#[source] io::Error),
    /// The content of a file could not be read.
    #[error("cannot read `{path}`")]
    Content {
        /// The entry.
        path: String,
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// A file held less than its size said.
    #[error("`{path}` became shorter while it was read: {missing} bytes are missing")]
    Shrunk {
        /// The entry.
        path: String,
        /// Bytes that did not come.
        missing: u64,
    },
    /// Entries did not come in [`path_order`], or one came twice.
    #[error("`{path}` comes after `{after}`: the entries of a layer must be sorted")]
    Order {
        /// The entry.
        path: String,
        /// The one before.
        after: String,
    },
    /// A name that would be read as a deletion.
    #[error("`{path}` cannot be in a layer: names that begin with `.wh.` stand for deletions")]
    ReservedName {
        /// The entry.
        path: String,
    },
    /// A name or attribute with a byte that no tar can hold.
    #[error("`{path}` or one of its attributes has a name that a tar cannot hold")]
    Unrepresentable {
        /// The entry.
        path: String,
    },
}

/// Writes the entries of one layer, which come in [`path_order`]. A whiteout stands where the file it deletes
/// would; an opaque mark follows its directory.
pub struct Writer<W: Write> {
    out: Blocks<W>,
    /// The last path; `None` before the first.
    last: Option<Vec<u8>>,
    entries: u64,
    /// The time of every entry, whatever it says itself.
    time: Option<Timestamp>,
    name: Vec<u8>,
    records: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts a layer.
    pub fn new(out: W) -> Self {
        let out = Blocks { out, buffer: vec![0; BUFFER].into_boxed_slice(), filled: 0, written: 0 };
        Self { out, last: None, entries: 0, time: None, name: Vec::new(), records: Vec::new() }
    }

    /// Gives all entries the same time; `None` leaves each its own.
    #[must_use]
    pub fn with_time(self, time: Option<Timestamp>) -> Self {
        Self { time, ..self }
    }

    /// Writes one entry. `data` is read for a file of size above 0 only, and only that many bytes of it.
    pub fn append(&mut self, entry: &TarEntry, data: &mut dyn Read) -> Result<(), WriteError> {
        let (_, name) = super::entry::split(&entry.path);
        if whiteout::is_reserved_name(name) {
            return Err(WriteError::ReservedName { path: shown(&entry.path) });
        }
        self.check_order(&entry.path)?;
        self.name.clear();
        self.name.extend_from_slice(if entry.path.is_empty() { b"." } else { &entry.path });
        if entry.kind == EntryKind::Directory {
            self.name.push(b'/');
        }
        self.write_header(entry)?;
        self.write_data(entry, data)
    }

    /// Says that `path` of the layers below is deleted.
    pub fn whiteout(&mut self, path: &[u8]) -> Result<(), WriteError> {
        self.check_order(path)?;
        let (parent, name) = super::entry::split(path);
        self.mark(super::entry::join(parent, &[whiteout::PREFIX, name].concat()))
    }

    /// Says that the directory `path`, which was the last entry, hides what the layers below have in it.
    pub fn opaque(&mut self, path: &[u8]) -> Result<(), WriteError> {
        if self.last.as_deref().unwrap_or_default() != path {
            return Err(self.out_of_order(path));
        }
        self.mark(super::entry::join(path, whiteout::OPAQUE))
    }

    /// Returns the number of entries and marks, and of bytes, written so far.
    pub fn written(&self) -> (u64, u64) {
        (self.entries, self.out.written)
    }

    /// Ends the layer and returns the writer below, not flushed.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.out.write(&[0; 2 * BLOCK]).map_err(WriteError::Output)?;
        self.out.finish().map_err(WriteError::Output)
    }

    fn check_order(&mut self, path: &[u8]) -> Result<(), WriteError> {
        match &mut self.last {
            None => self.last = Some(path.to_vec()),
            Some(last) if path_order(last, path).is_lt() => {
                last.clear();
                last.extend_from_slice(path);
            }
            Some(_) => return Err(self.out_of_order(path)),
        }
        Ok(())
    }

    fn out_of_order(&self, path: &[u8]) -> WriteError {
        WriteError::Order { path: shown(path), after: shown(self.last.as_deref().unwrap_or_default()) }
    }

    /// Writes a marker: an empty file of nobody's, at no time.
    fn mark(&mut self, path: Vec<u8>) -> Result<(), WriteError> {
        let entry = TarEntry { kind: EntryKind::File { size: 0 }, mode: 0, ..TarEntry::plain_directory(path) };
        self.name.clear();
        self.name.extend_from_slice(&entry.path);
        self.write_header(&entry)
    }

    /// Writes the header of `entry` under `self.name`, after a pax header if one is needed.
    fn write_header(&mut self, entry: &TarEntry) -> Result<(), WriteError> {
        self.records.clear();
        if !self.is_representable(entry) {
            return Err(WriteError::Unrepresentable { path: shown(&entry.path) });
        }
        let time = self.time.unwrap_or(entry.mtime);
        let block = describe(entry, time, &self.name, &mut self.records).finish();
        self.write_records().and_then(|()| self.out.write(&block)).map_err(WriteError::Output)?;
        self.entries += 1;
        Ok(())
    }

    fn is_representable(&self, entry: &TarEntry) -> bool {
        let link = match &entry.kind {
            EntryKind::Symlink(target) | EntryKind::Hardlink(target) => target.as_slice(),
            _ => b"",
        };
        let names = entry.xattrs.keys().all(|name| !name.is_empty() && !name.contains(&b'=') && !name.contains(&0));
        names && !self.name.contains(&0) && !link.contains(&0)
    }

    fn write_records(&mut self) -> io::Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let mut header = Header::new(flag::PAX);
        header.set_bytes(header::NAME, b"PaxHeader");
        header.set_number(header::MODE, 0o644);
        header.set_number(header::SIZE, self.records.len() as u64);
        self.out.write(&header.finish())?;
        self.out.write(&self.records)?;
        self.out.pad()
    }

    fn write_data(&mut self, entry: &TarEntry, data: &mut dyn Read) -> Result<(), WriteError> {
        let size = entry.size();
        if size == 0 {
            return Ok(());
        }
        let missing = self.out.copy(data, size).map_err(|error| match error {
            CopyError::Read(source) => WriteError::Content { path: shown(&entry.path), source },
            CopyError::Write(error) => WriteError::Output(error),
        })?;
        if missing > 0 {
            return Err(WriteError::Shrunk { path: shown(&entry.path), missing });
        }
        self.out.pad().map_err(WriteError::Output)
    }
}

/// Fills a header, and `records`, sorted by key, with what does not fit in it.
fn describe(entry: &TarEntry, time: Timestamp, name: &[u8], records: &mut Vec<u8>) -> Header {
    let (type_flag, link, device) = match &entry.kind {
        EntryKind::File { .. } => (flag::FILE, None, (0, 0)),
        EntryKind::Directory => (flag::DIRECTORY, None, (0, 0)),
        EntryKind::Symlink(target) => (flag::SYMLINK, Some(target), (0, 0)),
        EntryKind::Hardlink(target) => (flag::HARDLINK, Some(target), (0, 0)),
        EntryKind::CharDevice { major, minor } => (flag::CHAR_DEVICE, None, (*major, *minor)),
        EntryKind::BlockDevice { major, minor } => (flag::BLOCK_DEVICE, None, (*major, *minor)),
        EntryKind::Fifo => (flag::FIFO, None, (0, 0)),
    };
    let mut header = Header::new(type_flag);
    header.set_number(header::MODE, u64::from(entry.mode & 0o7777));
    header.set_number(header::MAJOR, u64::from(device.0));
    header.set_number(header::MINOR, u64::from(device.1));
    // Another name of a file repeats none of its attributes.
    if !matches!(entry.kind, EntryKind::Hardlink(_)) {
        for (name, value) in &entry.xattrs {
            pax::push(records, (pax::XATTR, name), value);
        }
    }
    if !header.set_number(header::GID, u64::from(entry.gid)) {
        pax::push(records, (b"gid", b""), entry.gid.to_string().as_bytes());
    }
    if let Some(link) = link.filter(|link| !header.set_bytes(header::LINK, link)) {
        pax::push(records, (b"linkpath", b""), link);
    }
    let fits = u64::try_from(time.seconds).is_ok_and(|seconds| header.set_number(header::MTIME, seconds));
    if !fits {
        pax::push(records, (b"mtime", b""), time.seconds.to_string().as_bytes());
    }
    if !header.set_name(name) {
        pax::push(records, (b"path", b""), name);
    }
    if !header.set_number(header::SIZE, entry.size()) {
        pax::push(records, (b"size", b""), entry.size().to_string().as_bytes());
    }
    if !header.set_number(header::UID, u64::from(entry.uid)) {
        pax::push(records, (b"uid", b""), entry.uid.to_string().as_bytes());
    }
    header
}

enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// A buffer that files are read straight into, and that is written in large pieces.
struct Blocks<W> {
    out: W,
    buffer: Box<[u8]>,
    filled: usize,
    written: u64,
}

impl<W: Write> Blocks<W> {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.room()?;
            let n = room.len().min(bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            self.advance(n);
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Copies `size` bytes of `data`; returns how many were missing.
    fn copy(&mut self, data: &mut dyn Read, mut size: u64) -> Result<u64, CopyError> {
        while size > 0 {
            let room = self.room().map_err(CopyError::Write)?;
            let wanted = usize::try_from(size).unwrap_or(usize::MAX).min(room.len());
            match data.read(&mut room[..wanted]) {
                Ok(0) => break,
                Ok(n) => {
                    self.advance(n);
                    size -= n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CopyError::Read(error)),
            }
        }
        Ok(size)
    }

    fn pad(&mut self) -> io::Result<()> {
        let over = (self.written % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.write(&[0; BLOCK][over..]) }
    }

    /// Returns the free part of the buffer, never empty.
    fn room(&mut self) -> io::Result<&mut [u8]> {
        if self.filled == self.buffer.len() {
            self.out.write_all(&self.buffer)?;
            self.filled = 0;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    fn advance(&mut self, n: usize) {
        self.filled += n;
        self.written += n as u64;
    }

    fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&self.buffer[..self.filled])?;
        Ok(self.out)
    }
}
