//! Reading a layer tar, which may have been made by anyone, or by an enemy.
//!
//! Reads ustar, old (v7) and GNU headers, pax headers (also global ones), GNU long names, numbers in
//! base 256, and sparse files. Memory is bounded whatever the archive claims. Paths come out clean: relative, without
//! `.` or empty names; a `..` ends the reading.

use std::io::{self, BufReader, Read};

use super::entry::{EntryKind, TarEntry, shown};
use super::header::{self, BLOCK, Header, flag};
use super::pax::{self, Records};
use super::sparse;
use crate::fsutil::{Timestamp, Xattrs};

/// Largest pax header, long name or long link (a path is at most 4 KiB, but attributes may be larger).
const LARGEST_RECORDS: u64 = 1024 * 1024;
const BUFFER: usize = 128 * 1024;

/// Bounds on what one archive may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Headers of any type.
    pub entries: u64,
    /// Sum of the sizes of all files, and, apart from them, of the bytes after the end of the archive.
    pub bytes: u64,
}

impl Default for Limits {
    /// Far above any image seen, and below what fills a machine before anyone notices.
    fn default() -> Self {
        Self { entries: 10_000_000, bytes: 1 << 40 }
    }
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The reader below failed, or the compressed stream is corrupt.
    #[error("cannot read the layer")]
    Input(#[source] io::Error),
    /// It ends in the middle of an entry.
    #[error("the layer is cut short after `{after}`")]
    Truncated {
        /// The last entry.
        after: String,
    },
    /// A header has a wrong checksum, or follows a zero block.
    #[error("the layer is not a tar, or is corrupt, after `{after}`")]
    NotATar {
        /// The last good entry.
        after: String,
    },
    /// A field of a header makes no sense.
    #[error("`{path}` in the layer has a malformed {field}")]
    Malformed {
        /// The entry.
        path: String,
        /// The field.
        field: &'static str,
    },
    /// A pax header or a long name above 1 MiB.
    #[error("the layer has an extended header of {size} bytes after `{after}`; at most 1 MiB is allowed")]
    LargeRecords {
        /// The last good entry.
        after: String,
        /// What the header says.
        size: u64,
    },
    /// A path that climbs.
    #[error("`{path}` in the layer has a `..` in it")]
    ParentInPath {
        /// The path as it stands.
        path: String,
    },
    /// More than [`Limits`] allow.
    #[error("the layer holds more than {limit} {what}")]
    Limit {
        /// The bound.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
}

/// Reads the entries of an archive one by one. Between two calls of [`Reader::next_entry`] it is, as an
/// [`io::Read`], the content of the last entry; what is not read is skipped.
pub struct Reader<R: Read> {
    input: BufReader<Counted<R>>,
    limits: Limits,
    headers: u64,
    bytes: u64,
    /// Stored bytes of this entry not read yet, and the padding after them.
    left: u64,
    padding: u64,
    sparse: Option<sparse::Map>,
    global: Records,
    last: Vec<u8>,
    ended: bool,
    skipped: Vec<(Vec<u8>, u8)>,
}

impl<R: Read> Reader<R> {
    /// Starts reading an archive that is not compressed.
    pub fn new(input: R, limits: Limits) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER, Counted { input, count: 0 }),
            limits,
            headers: 0,
            bytes: 0,
            left: 0,
            padding: 0,
            sparse: None,
            global: Records::new(),
            last: Vec::new(),
            ended: false,
            skipped: Vec::new(),
        }
    }

    /// Returns the next entry, or `None` at the end, which is two zero blocks or the end of the input
    /// between two entries. What follows the end is read to the last byte, so that a hash below sees it.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, ReadError> {
        let mut records = Records::new();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip_content()?;
            let Some(header) = self.read_header()? else { return Ok(None) };
            match header.type_flag() {
                flag::PAX => {
                    records.clear();
                    let bytes = self.read_records(&header)?;
                    pax::parse(&bytes, &mut records).ok_or_else(|| self.malformed("pax header"))?;
                }
                flag::PAX_GLOBAL => {
                    let bytes = self.read_records(&header)?;
                    let parsed = pax::parse(&bytes, &mut self.global);
                    parsed.ok_or_else(|| self.malformed("global pax header"))?;
                    self.check_global()?;
                }
                flag::GNU_LONG_NAME => long_name = Some(self.read_long(&header)?),
                flag::GNU_LONG_LINK => long_link = Some(self.read_long(&header)?),
                _ => {
                    let names = (long_name.take(), long_link.take());
                    let entry = self.entry(&header, std::mem::take(&mut records), names)?;
                    if entry.is_some() {
                        return Ok(entry);
                    }
                }
            }
        }
    }

    /// Returns the entries of unknown type passed over since the last call: path and type flag.
    pub fn take_skipped(&mut self) -> Vec<(Vec<u8>, u8)> {
        std::mem::take(&mut self.skipped)
    }

    /// Returns how many bytes of the archive have been read.
    pub(super) fn position(&self) -> u64 {
        self.input.get_ref().count - self.input.buffer().len() as u64
    }

    /// Returns where in the archive the content of the entry just returned stands in one run; `None` if it has holes.
    pub(super) fn content_offset(&self) -> Option<u64> {
        if self.sparse.is_none() { Some(self.position()) } else { None }
    }

    /// Makes an entry of a header; `None` if its type is unknown.
    fn entry(
        &mut self,
        header: &Header,
        records: Records,
        (long_name, long_link): (Option<Vec<u8>>, Option<Vec<u8>>),
    ) -> Result<Option<TarEntry>, ReadError> {
        let fields = Fields { header, records: &records, global: &self.global };
        let sparse_name = fields.record(b"GNU.sparse.name").map(<[u8]>::to_vec);
        let raw = long_name.or(sparse_name).unwrap_or_else(|| fields.text(b"path", || header.name()));
        self.last.clone_from(&raw);
        let path = self.clean(&raw)?;
        let link = long_link.unwrap_or_else(|| fields.text(b"linkpath", || header.bytes(header::LINK).to_vec()));
        let number = |field| header.number(field).and_then(|number| u32::try_from(number).ok());
        let stored = fields.size().ok_or_else(|| self.malformed("size"))?;
        let device = || {
            let major = number(header::MAJOR).ok_or_else(|| self.malformed("device number"))?;
            let minor = number(header::MINOR).ok_or_else(|| self.malformed("device number"))?;
            Ok((major, minor))
        };
        let is_pax_sparse = sparse::is_pax(&records);
        let kind = match header.type_flag() {
            flag::FILE | flag::OLD_FILE | flag::CONTIGUOUS if raw.ends_with(b"/") => EntryKind::Directory,
            flag::FILE | flag::OLD_FILE | flag::CONTIGUOUS | flag::GNU_SPARSE => EntryKind::File { size: stored },
            flag::HARDLINK => EntryKind::Hardlink(self.clean(&link)?),
            flag::SYMLINK if link.is_empty() => return Err(self.malformed("link target")),
            flag::SYMLINK => EntryKind::Symlink(link),
            flag::CHAR_DEVICE => device().map(|(major, minor)| EntryKind::CharDevice { major, minor })?,
            flag::BLOCK_DEVICE => device().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
            flag::DIRECTORY => EntryKind::Directory,
            flag::FIFO => EntryKind::Fifo,
            other => {
                self.skipped.push((path, other));
                self.set_content(stored)?;
                return Ok(None);
            }
        };
        let mut entry = TarEntry {
            mode: header.number(header::MODE).ok_or_else(|| self.malformed("mode"))? as u32 & 0o7777,
            uid: fields.id(b"uid", header::UID).ok_or_else(|| self.malformed("uid"))?,
            gid: fields.id(b"gid", header::GID).ok_or_else(|| self.malformed("gid"))?,
            mtime: fields.mtime().ok_or_else(|| self.malformed("mtime"))?,
            xattrs: fields.xattrs(),
            path,
            kind,
        };
        if let EntryKind::File { size } = &mut entry.kind {
            self.set_content(stored)?;
            if header.type_flag() == flag::GNU_SPARSE || is_pax_sparse {
                let map = self.read_sparse_map(header, &records, stored)?;
                *size = map.size();
                self.sparse = Some(map);
            }
            self.bytes = self.bytes.saturating_add(*size);
            if self.bytes > self.limits.bytes {
                return Err(ReadError::Limit { limit: self.limits.bytes, what: "bytes" });
            }
        }
        Ok(Some(entry))
    }

    fn read_sparse_map(&mut self, header: &Header, records: &Records, stored: u64) -> Result<sparse::Map, ReadError> {
        let read = if header.type_flag() == flag::GNU_SPARSE {
            // The continuation of an old map stands before the content and is not counted in its size.
            sparse::read_old(header, stored, &mut self.input)
        } else {
            sparse::read_pax(records, stored, &mut self.input)
        };
        let (map, consumed) =
            read.map_err(|error| self.input_error(error))?.ok_or_else(|| self.malformed("sparse map"))?;
        self.left -= consumed;
        Ok(map)
    }

    /// Returns the next header; `None` at the end of the archive.
    fn read_header(&mut self) -> Result<Option<Header>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let Some(header) = self.read_block()? else {
            self.ended = true;
            return Ok(None);
        };
        if header.is_zero() {
            self.ended = true;
            if self.read_block()?.is_some_and(|second| !second.is_zero()) {
                return Err(self.not_a_tar());
            }
            self.drain()?;
            return Ok(None);
        }
        self.headers += 1;
        if self.headers > self.limits.entries {
            return Err(ReadError::Limit { limit: self.limits.entries, what: "entries" });
        }
        if header.is_intact() { Ok(Some(header)) } else { Err(self.not_a_tar()) }
    }

    /// Returns the next block; `None` if the input ends before it.
    fn read_block(&mut self) -> Result<Option<Header>, ReadError> {
        let mut header = Header([0; BLOCK]);
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut header.0[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.truncated()),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::Input(error)),
            }
        }
        Ok(Some(header))
    }

    /// Reads the rest of the input: padding, or anything.
    fn drain(&mut self) -> Result<(), ReadError> {
        let limit = self.limits.bytes;
        let read = io::copy(&mut (&mut self.input).take(limit), &mut io::sink()).map_err(ReadError::Input)?;
        if read == limit && limit > 0 {
            return Err(ReadError::Limit { limit, what: "bytes after its end" });
        }
        Ok(())
    }

    fn set_content(&mut self, stored: u64) -> Result<(), ReadError> {
        self.left = stored;
        self.padding = stored.wrapping_neg() % BLOCK as u64;
        self.sparse = None;
        // Any size this large is a lie, and would not add up below.
        if stored > i64::MAX as u64 { Err(self.malformed("size")) } else { Ok(()) }
    }

    fn skip_content(&mut self) -> Result<(), ReadError> {
        let left = self.left + self.padding;
        self.left = 0;
        self.padding = 0;
        self.sparse = None;
        let skipped = io::copy(&mut (&mut self.input).take(left), &mut io::sink()).map_err(ReadError::Input)?;
        if skipped < left { Err(self.truncated()) } else { Ok(()) }
    }

    /// Reads the content of a header that describes another one.
    fn read_records(&mut self, header: &Header) -> Result<Vec<u8>, ReadError> {
        let size = header.number(header::SIZE).and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| self.malformed("size"))?;
        if size > LARGEST_RECORDS {
            return Err(ReadError::LargeRecords { after: shown(&self.last), size });
        }
        self.set_content(size)?;
        let mut bytes = Vec::with_capacity(size as usize);
        self.read_to_end(&mut bytes).map_err(|error| self.input_error(error))?;
        Ok(bytes)
    }

    fn read_long(&mut self, header: &Header) -> Result<Vec<u8>, ReadError> {
        let mut bytes = self.read_records(header)?;
        bytes.truncate(header::until_nul(&bytes).len());
        Ok(bytes)
    }

    /// Global records stay in memory, however many headers add to them.
    fn check_global(&self) -> Result<(), ReadError> {
        let size = self.global.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        if size > LARGEST_RECORDS {
            return Err(ReadError::LargeRecords { after: shown(&self.last), size });
        }
        Ok(())
    }

    fn clean(&self, raw: &[u8]) -> Result<Vec<u8>, ReadError> {
        if raw.is_empty() || raw.contains(&0) {
            return Err(self.malformed("name"));
        }
        clean_path(raw).ok_or_else(|| ReadError::ParentInPath { path: shown(raw) })
    }

    fn malformed(&self, field: &'static str) -> ReadError {
        ReadError::Malformed { path: shown(&self.last), field }
    }

    fn truncated(&self) -> ReadError {
        ReadError::Truncated { after: shown(&self.last) }
    }

    fn not_a_tar(&self) -> ReadError {
        ReadError::NotATar { after: shown(&self.last) }
    }

    pub(super) fn input_error(&self, error: io::Error) -> ReadError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated(),
            _ => ReadError::Input(error),
        }
    }
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        self.count += n as u64;
        Ok(n)
    }
}

impl<R: Read> Read for Reader<R> {
    /// Reads the content of the last entry, holes as zeros. An input that ends early is `UnexpectedEof`.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut wanted = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if let Some(map) = &mut self.sparse {
            match map.next(buf.len()) {
                sparse::Piece::Hole(length) => {
                    buf[..length].fill(0);
                    return Ok(length);
                }
                sparse::Piece::Data(length) => wanted = wanted.min(length),
            }
        }
        if wanted == 0 {
            return Ok(0);
        }
        let n = self.input.read(&mut buf[..wanted])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        if let Some(map) = &mut self.sparse {
            map.advance(n);
        }
        Ok(n)
    }
}

/// Removes slashes at both ends, empty names and `.`; `None` if a name is `..`.
pub(super) fn clean_path(raw: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(raw.len());
    for name in raw.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => return None,
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    Some(path)
}

/// A header with the records that override it.
struct Fields<'a> {
    header: &'a Header,
    records: &'a Records,
    global: &'a Records,
}

impl Fields<'_> {
    fn record(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.get(key).or_else(|| self.global.get(key)).map(Vec::as_slice)
    }

    fn text(&self, key: &[u8], header: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        self.record(key).map_or_else(header, <[u8]>::to_vec)
    }

    fn size(&self) -> Option<u64> {
        match self.record(b"size") {
            Some(digits) => pax::decimal(digits),
            None => u64::try_from(self.header.number(header::SIZE)?).ok(),
        }
    }

    fn id(&self, key: &[u8], field: header::Field) -> Option<u32> {
        match self.record(key) {
            Some(digits) => u32::try_from(pax::decimal(digits)?).ok(),
            None => u32::try_from(self.header.number(field)?).ok(),
        }
    }

    fn mtime(&self) -> Option<Timestamp> {
        match self.record(b"mtime") {
            Some(value) => pax::time(value),
            None => {
                let clamped = self.header.number(header::MTIME)?.clamp(i64::MIN.into(), i64::MAX.into());
                Some(Timestamp::from_seconds(clamped as i64))
            }
        }
    }

    fn xattrs(&self) -> Xattrs {
        let all = self.global.iter().chain(self.records);
        all.filter_map(|(key, value)| Some((key.strip_prefix(pax::XATTR)?.to_vec(), value.clone()))).collect()
    }
}
