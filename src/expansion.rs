//! How much compressed bytes may become.
//!
//! A few kilobytes of zstd or bzip2 can stand for terabytes, and whoever unpacks them would be busy for days even if
//! nothing is written. gzip cannot: it makes at most 1032 bytes of one. So a stream is refused that makes more than
//! [`MOST`] bytes of each of its own, beyond [`FREE`]: real layers and archives, long files of zeros included, stay far below. What a stream
//! below that makes is for the file system to bear or to refuse. Names and attributes in a tar are kept in memory, and bounded as such
//! ([`sparing`]).

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that one compressed byte may become.
pub const MOST: u64 = 10_000;
/// Bytes that do not count.
pub const FREE: u64 = 256 << 20;

/// Counts what a decoder reads.
pub struct Metered<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

/// What a decoder makes, as long as it is in proportion to what it reads.
pub struct Bounded<D> {
    decoder: D,
    read: Arc<AtomicU64>,
    made: u64,
}

/// A stream makes too much of too little.
#[derive(Debug, thiserror::Error)]
#[error("{read} compressed bytes stand for more than {made}: such a stream is a bomb, and is refused")]
pub struct BombError {
    read: u64,
    made: u64,
}

/// Lets `decode` make a decoder of `input`, and bounds what it makes.
pub fn bounded<R, D>(input: R, decode: impl FnOnce(Metered<R>) -> io::Result<D>) -> io::Result<Bounded<D>> {
    let read = Arc::new(AtomicU64::new(0));
    let decoder = decode(Metered { inner: input, read: read.clone() })?;
    Ok(Bounded { decoder, read, made: 0 })
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl<D: Read> Read for Bounded<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.decoder.read(buffer)?;
        self.made += n as u64;
        let read = self.read.load(Ordering::Relaxed);
        if self.made > FREE.saturating_add(read.saturating_mul(MOST)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, BombError { read, made: self.made }));
        }
        Ok(n)
    }
}

/// Bytes of headers, long names and attributes that one entry of a tar may have.
const HEADERS: u64 = 1 << 20;
/// Bytes of them that every entry may have, and that do not count.
const HEADERS_FREE: u64 = 4096;
/// Bytes beyond those that all entries may have together.
const HEADERS_OF_ALL: u64 = 64 << 20;

/// Passes a tar on. The crate `tar` keeps long names and attributes in memory, however long they say they are, and so would a bomb be
/// kept: while an [`Allowance`] looks for the next entry, only so much is read.
pub struct Sparing<R> {
    inner: R,
    left: Arc<AtomicU64>,
}

/// How much may be read for the next entry of a [`Sparing`] tar.
pub struct Allowance {
    left: Arc<AtomicU64>,
    of_all: u64,
}

/// The headers of an archive are longer than any that is real.
#[derive(Debug, thiserror::Error)]
#[error("the names and attributes in it are longer than any real ones: such an archive is a bomb, and is refused")]
pub struct HeadersError;

/// Bounds what is read of a tar beside the contents of its files.
pub fn sparing<R>(inner: R) -> (Sparing<R>, Allowance) {
    let left = Arc::new(AtomicU64::new(HEADERS));
    (Sparing { inner, left: left.clone() }, Allowance { left, of_all: HEADERS_OF_ALL })
}

impl Allowance {
    /// The entries of the tar. The content of each must have been read when the next is asked for, unless the reader seeks.
    pub fn over<I: Iterator>(mut self, mut entries: I) -> impl Iterator<Item = I::Item> {
        std::iter::from_fn(move || {
            let granted = HEADERS_FREE + self.of_all.min(HEADERS);
            self.left.store(granted, Ordering::Relaxed);
            let entry = entries.next();
            let used = granted - self.left.swap(u64::MAX, Ordering::Relaxed);
            self.of_all = self.of_all.saturating_sub(used.saturating_sub(HEADERS_FREE));
            entry
        })
    }
}

impl<R: Read> Read for Sparing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == u64::MAX || buffer.is_empty() {
            return self.inner.read(buffer);
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, HeadersError));
        }
        let read = self.inner.read(&mut buffer[..most])?;
        self.left.store(left - read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<R: Seek> Seek for Sparing<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_bounded_by_what_it_is_made_of() {
        let made = |compressed: usize| {
            let input = vec![0; compressed];
            let mut stream = bounded(input.as_slice(), |mut input| {
                input.read_to_end(&mut Vec::new())?;
                Ok(io::repeat(0).take(FREE + 3 * MOST))
            })
            .unwrap();
            io::copy(&mut stream, &mut io::sink())
        };
        assert_eq!(made(3).unwrap(), FREE + 3 * MOST);
        let error = made(2).unwrap_err();
        assert!(error.to_string().starts_with("2 compressed bytes stand for more than"), "{error}");
    }

    /// A tar of files with names of this length each, and one byte of content.
    fn archive(files: usize, name: u64) -> impl Read {
        let header = |kind, size| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(size);
            header.set_cksum();
            io::Cursor::new(header.as_bytes().to_vec())
        };
        let padded =
            |byte, length: u64| io::repeat(byte).take(length).chain(io::repeat(0).take(length.wrapping_neg() % 512));
        let mut all: Box<dyn Read> = Box::new(io::repeat(0).take(1024));
        for _ in 0..files {
            let long = header(tar::EntryType::GNULongName, name).chain(padded(b'a', name));
            all = Box::new(long.chain(header(tar::EntryType::Regular, 1)).chain(padded(b'x', 1)).chain(all));
        }
        all
    }

    #[test]
    fn names_in_a_tar_are_bounded_one_by_one_and_together() {
        let entries = |files, name| {
            let (reader, allowance) = sparing(archive(files, name));
            let mut archive = tar::Archive::new(reader);
            let mut read = 0;
            for entry in allowance.over(archive.entries()?) {
                read += io::copy(&mut entry?, &mut io::sink())?;
            }
            Ok::<_, io::Error>(read)
        };
        assert_eq!(entries(3, 200).unwrap(), 3);
        assert_eq!(entries(1, HEADERS).unwrap(), 1);
        for (files, name) in [(1, 2 * HEADERS), (70, HEADERS)] {
            let error = entries(files, name).unwrap_err();
            assert!(error.to_string().contains("bomb"), "{error}");
        }
    }
}
