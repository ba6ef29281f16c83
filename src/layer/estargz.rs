//! eStargz: a gzip layer whose files can be fetched one by one (stargz-snapshotter, docs/estargz.md).
//!
//! ```text
//! member: header of `.no.prefetch.landmark`
//! member: 0x0f, padding, headers up to the first file that is not empty
//! member: up to 4 MiB of that file; its last one also has the padding, and headers up to the next such file
//! ...
//! member: `stargz.index.json`, the table: name, owner, place and digests of everything before; the end of the tar
//! member: nothing, with the place of the table in its extra field: 51 bytes
//! ```
//!
//! Together the members are a plain gzip tar, which every reader takes. It is not the tar that came in: the landmark and the
//! table are files of it, so it has a diff id of its own. The members do not depend on who deflates them. Kept in memory are
//! a few members and the table: some 300 bytes for each file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::gzip;
use crate::digest::{DiffId, Digest, Hasher};
use crate::fsutil::Timestamp;
use crate::oci;

/// Names the form, for what remembers a blob, beside [`gzip::ENCODER_VERSION`].
pub const ENCODER_VERSION: &str = "1";

/// The table, which is the last file.
pub const TABLE: &str = "stargz.index.json";
/// Says that no file is worth fetching before it is asked for.
pub const LANDMARK: &str = ".no.prefetch.landmark";
const LANDMARK_CONTENT: [u8; 1] = [0x0f];

/// Annotation of the layer's descriptor: the digest of the table.
pub const TABLE_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// Annotation of the layer's descriptor: the length of the uncompressed tar.
pub const UNCOMPRESSED_SIZE: &str = "io.containers.estargz.uncompressed-size";

/// Bytes of a file in one member.
const CHUNK: u64 = 4 << 20;
/// A run of headers longer than this is parted.
const HEADERS: usize = 1 << 20;
const BLOCK: u64 = 512;
/// What may pass between two files, their headers, is no longer than this beside a piece of a file.
const SEEN_LIMIT: u64 = CHUNK + (16 << 20);

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Its length in bytes.
    pub uncompressed: u64,
    /// Digest of the table.
    pub table: Digest,
}

/// Writes the layer `tar` to `output` (not flushed); all of `tar` is read. `level` is 0 to 9, clamped; `threads` deflate.
pub fn compress(tar: impl Read, mut output: impl Write, level: i32, threads: usize) -> io::Result<Written> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let mut archive = ::tar::Archive::new(Tee { inner: tar, seen: seen.clone() });
    let mut places = Vec::new();
    let mut end = 0;
    let mut write = |member: &gzip::Batch| {
        places.push(end);
        end += member.write_member(&mut output)?;
        Ok(())
    };
    let mut members = Members::new(archive.entries()?, seen)?;
    gzip::deflate_members(level, threads, &mut |block| members.next(block), &mut write)?;
    let (table, mut hasher, mut uncompressed) = members.finish(&places);
    io::copy(&mut archive.into_inner().inner, &mut io::sink())?;
    let digest = Digest::of(&table);
    let mut last = header(TABLE, table.len() as u64)?.as_bytes().to_vec();
    last.extend_from_slice(&table);
    drop(table);
    last.resize(last.len().next_multiple_of(BLOCK as usize) + 2 * BLOCK as usize, 0);
    hasher.update(&last);
    uncompressed += last.len() as u64;
    gzip::compress(last.as_slice(), &mut output, level, threads, &gzip::NoMemory)?;
    output.write_all(&footer(end))?;
    Ok(Written { diff_id: DiffId(hasher.finish()), uncompressed, table: digest })
}

/// An empty member whose extra field (RFC 1952, 2.3.1.1) says where the table is.
fn footer(table: u64) -> [u8; 51] {
    let mut footer = [0; 51];
    footer[..16].copy_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, b'S', b'G', 22, 0]);
    footer[16..38].copy_from_slice(format!("{table:016x}STARGZ").as_bytes());
    // One stored block, final, of no bytes; its checksum and length are zero.
    footer[38..43].copy_from_slice(&[1, 0, 0, 0xff, 0xff]);
    footer
}

fn header(name: &str, size: u64) -> io::Result<::tar::Header> {
    let mut header = ::tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

/// One entry of the table. The names are the specification's.
#[derive(Clone, Default, Serialize)]
struct Row {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    modtime: String,
    #[serde(rename = "linkName", skip_serializing_if = "String::is_empty")]
    link_name: String,
    mode: u32,
    uid: u64,
    gid: u64,
    #[serde(rename = "devMajor", skip_serializing_if = "Option::is_none")]
    major: Option<u32>,
    #[serde(rename = "devMinor", skip_serializing_if = "Option::is_none")]
    minor: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    digest: String,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(rename = "chunkOffset", skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(rename = "chunkSize", skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(rename = "chunkDigest", skip_serializing_if = "String::is_empty")]
    chunk_digest: String,
    /// The member that begins with its bytes.
    #[serde(skip)]
    member: Option<usize>,
}

#[derive(Serialize)]
struct Table {
    version: u32,
    entries: Vec<Row>,
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A reader that keeps what passes through until it is taken: the headers of a tar as they are written.
struct Tee<R> {
    inner: R,
    seen: Rc<RefCell<Vec<u8>>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let mut seen = self.seen.borrow_mut();
        if seen.len() as u64 > SEEN_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the headers of one file of the layer are too long",
            ));
        }
        seen.extend_from_slice(&buffer[..n]);
        Ok(n)
    }
}

/// The file whose bytes come next.
struct File<'a> {
    data: Box<dyn Read + 'a>,
    /// Its first row.
    row: usize,
    size: u64,
    read: u64,
    hasher: Hasher,
}

/// Cuts a tar into members, and makes the rows of the table on the way.
struct Members<'a, R: Read> {
    entries: ::tar::Entries<'a, Tee<R>>,
    seen: Rc<RefCell<Vec<u8>>>,
    /// Where the bytes begin that `seen` holds.
    seen_from: u64,
    /// Where the next header begins.
    next_header: u64,
    file: Option<File<'a>>,
    rows: Vec<Row>,
    /// Members that are complete.
    count: usize,
    hasher: Hasher,
    length: u64,
    at_end: bool,
}

impl<'a, R: Read + 'a> Members<'a, R> {
    fn new(entries: ::tar::Entries<'a, Tee<R>>, seen: Rc<RefCell<Vec<u8>>>) -> io::Result<Self> {
        let (hasher, rows) = (Hasher::default(), Vec::new());
        let (seen_from, next_header, count, length) = (0, 0, 0, 0);
        Ok(Self { entries, seen, seen_from, next_header, file: None, rows, count, hasher, length, at_end: false })
    }

    /// Fills in the next member; false when there is none.
    fn next(&mut self, member: &mut Vec<u8>) -> io::Result<bool> {
        member.clear();
        if self.count == 0 {
            self.landmark(member)?;
        } else if !self.at_end {
            self.payload(member)?;
            if self.file.is_none() {
                self.headers(member)?;
            }
        }
        self.count += 1;
        self.hasher.update(member);
        self.length += member.len() as u64;
        Ok(!member.is_empty())
    }

    fn landmark(&mut self, member: &mut Vec<u8>) -> io::Result<()> {
        member.extend_from_slice(header(LANDMARK, LANDMARK_CONTENT.len() as u64)?.as_bytes());
        let size = LANDMARK_CONTENT.len() as u64;
        self.rows.push(Row { name: LANDMARK.to_owned(), kind: "reg", mode: 0o644, size, ..Row::default() });
        let data = Box::new(io::Cursor::new(LANDMARK_CONTENT));
        self.file = Some(File { data, row: 0, size, read: 0, hasher: Hasher::default() });
        Ok(())
    }

    /// The next piece of the file, with the padding after its last one.
    fn payload(&mut self, member: &mut Vec<u8>) -> io::Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let length = CHUNK.min(file.size - file.read);
        let read = (&mut file.data).take(length).read_to_end(member)?;
        if (read as u64) < length {
            let name = &self.rows[file.row].name;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("the layer ends within `{name}`")));
        }
        self.forget_seen();
        file.hasher.update(member);
        let is_last = file.read + length == file.size;
        let first = &self.rows[file.row];
        let mut row = match file.read {
            0 => first.clone(),
            _ => Row {
                kind: "chunk",
                name: first.name.clone(),
                mode: first.mode,
                uid: first.uid,
                gid: first.gid,
                ..Row::default()
            },
        };
        row.chunk_offset = file.read;
        row.chunk_size = if is_last { 0 } else { length };
        row.chunk_digest = Digest::of(member).to_string();
        row.member = Some(self.count);
        match file.read {
            0 => self.rows[file.row] = row,
            _ => self.rows.push(row),
        }
        file.read += length;
        if is_last {
            self.rows[file.row].digest = file.hasher.finish().to_string();
            member.resize(member.len() + padding(file.size), 0);
        } else {
            self.file = Some(file);
        }
        Ok(())
    }

    /// Headers, up to that of a file with bytes.
    fn headers(&mut self, member: &mut Vec<u8>) -> io::Result<()> {
        while self.file.is_none() && member.len() < HEADERS {
            let Some(entry) = self.entries.next() else {
                self.at_end = true;
                break;
            };
            self.entry(entry?, member)?;
        }
        Ok(())
    }

    fn entry(&mut self, mut entry: ::tar::Entry<'a, Tee<R>>, member: &mut Vec<u8>) -> io::Result<()> {
        let row = row(&mut entry)?;
        let (from, data, size) = (self.next_header, entry.raw_file_position(), entry.size());
        self.next_header = (data + size).next_multiple_of(BLOCK);
        // A table of before is of no use any more: this one takes its place.
        if matches!(row.name.trim_start_matches("./"), TABLE | LANDMARK) {
            return self.skip(&mut entry);
        }
        member.extend_from_slice(self.seen_between(from, data)?.as_slice());
        self.forget_seen();
        if row.size > 0 {
            let (row, size) = (self.rows.len(), row.size);
            self.file = Some(File { data: Box::new(entry), row, size, read: 0, hasher: Hasher::default() });
        }
        self.rows.push(row);
        Ok(())
    }

    fn skip(&mut self, data: &mut dyn Read) -> io::Result<()> {
        self.forget_seen();
        while io::copy(&mut data.take(HEADERS as u64), &mut io::sink())? > 0 {
            self.forget_seen();
        }
        Ok(())
    }

    fn seen_between(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let seen = self.seen.borrow();
        let [from, to] = [from, to].map(|at| usize::try_from(at.saturating_sub(self.seen_from)).unwrap_or(usize::MAX));
        let found = seen.get(from..to).map(<[u8]>::to_vec);
        found.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the headers of the layer are not where they should be")
        })
    }

    fn forget_seen(&mut self) {
        let mut seen = self.seen.borrow_mut();
        self.seen_from += seen.len() as u64;
        seen.clear();
    }

    /// Returns the table as JSON; `places` are those of the members in the blob.
    fn finish(mut self, places: &[u64]) -> (Vec<u8>, Hasher, u64) {
        for row in &mut self.rows {
            row.offset = row.member.and_then(|member| places.get(member)).copied().unwrap_or_default();
        }
        let table = oci::to_json(&Table { version: 1, entries: self.rows });
        (table, self.hasher, self.length)
    }
}

fn padding(size: u64) -> usize {
    (size.next_multiple_of(BLOCK) - size) as usize
}

/// What the table says of an entry, but for places and digests.
fn row<R: Read>(entry: &mut ::tar::Entry<'_, R>) -> io::Result<Row> {
    let name = text(&entry.path_bytes())?;
    let mut xattrs = BTreeMap::new();
    let mut seconds = None;
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        if let Some(key) = record.key_bytes().strip_prefix(b"SCHILY.xattr.") {
            xattrs.insert(text(key)?, BASE64.encode(record.value_bytes()));
        } else if record.key_bytes() == b"mtime" {
            seconds = record.value().ok().and_then(|time| time.split('.').next()?.parse().ok());
        } else if record.key_bytes().starts_with(b"GNU.sparse.") {
            return Err(unfit(&name, "is a sparse file"));
        }
    }
    let kind = match entry.header().entry_type() {
        ::tar::EntryType::Directory => "dir",
        ::tar::EntryType::Regular | ::tar::EntryType::Continuous => "reg",
        ::tar::EntryType::Symlink => "symlink",
        ::tar::EntryType::Link => "hardlink",
        ::tar::EntryType::Char => "char",
        ::tar::EntryType::Block => "block",
        ::tar::EntryType::Fifo => "fifo",
        ::tar::EntryType::GNUSparse => return Err(unfit(&name, "is a sparse file")),
        _ => return Err(unfit(&name, "is of no type that it knows")),
    };
    if kind != "reg" && entry.size() > 0 {
        return Err(unfit(&name, "has bytes and is no file"));
    }
    let link_name = match kind {
        "symlink" | "hardlink" => text(&entry.link_name_bytes().unwrap_or_default())?,
        _ => String::new(),
    };
    let is_device = matches!(kind, "char" | "block");
    let header = entry.header();
    let device = |number: Option<u32>| number.filter(|_| is_device);
    let seconds = match seconds {
        Some(seconds) => seconds,
        None => i64::try_from(header.mtime().unwrap_or_default()).unwrap_or_default(),
    };
    Ok(Row {
        kind,
        size: if kind == "reg" { entry.size() } else { 0 },
        modtime: if seconds == 0 { String::new() } else { oci::rfc3339(Timestamp::from_seconds(seconds)) },
        link_name,
        // An empty field is a zero.
        mode: header.mode().unwrap_or_default(),
        uid: header.uid().unwrap_or_default(),
        gid: header.gid().unwrap_or_default(),
        major: device(header.device_major().unwrap_or_default()),
        minor: device(header.device_minor().unwrap_or_default()),
        xattrs,
        // Of a file without bytes; others get theirs when they were read.
        digest: if kind == "reg" { Digest::of(b"").to_string() } else { String::new() },
        name,
        ..Row::default()
    })
}

/// The table is JSON, whose strings are text.
fn text(bytes: &[u8]) -> io::Result<String> {
    let unfit = |_| unfit(&super::entry::shown(bytes), "is no UTF-8");
    String::from_utf8(bytes.to_vec()).map_err(unfit)
}

fn unfit(name: &str, why: &str) -> io::Error {
    let message = format!("an eStargz layer cannot hold `{name}`, which {why}: use another compression");
    io::Error::new(io::ErrorKind::InvalidData, message)
}
