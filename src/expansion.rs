//! How much compressed bytes may become.
//!
//! A few kilobytes of zstd or bzip2 can stand for terabytes, and whoever unpacks them would be busy for days even if
//! nothing is written. gzip cannot: it makes at most 1032 bytes of one. So a stream is refused that makes more than
//! [`MOST`] bytes of each of its own, beyond [`FREE`]: real layers and archives, long files of zeros included, stay far below. What a stream
//! below that makes is for the file system to bear or to refuse.

use std::io::{self, Read};
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
}
