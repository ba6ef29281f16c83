//! A stream cut into chunks where its content says so (FastCDC, as of 2020): what is before and after a change is cut as it was.

use std::io::{self, Read, Write};

use fastcdc::v2020::FastCDC;

use super::mount::Chunk;
use crate::digest::Digest;

/// The shortest chunk but for the last, in bytes.
const SHORTEST: usize = 128 << 10;
/// The usual one.
const USUAL: usize = 512 << 10;
/// The longest.
pub(super) const LONGEST: usize = 2 << 20;

/// How chunks are compressed.
const LEVEL: i32 = 3;

/// Takes a stream and hands on its chunks, whole.
pub struct Cutter<F> {
    left: Vec<u8>,
    take: F,
}

impl<F: FnMut(&[u8]) -> io::Result<()>> Cutter<F> {
    /// Makes one that hands them to `take`.
    pub fn new(take: F) -> Self {
        Self { left: Vec::with_capacity(2 * LONGEST), take }
    }

    fn cut(&mut self) -> io::Result<()> {
        let (_, end) = FastCDC::new(&self.left, SHORTEST, USUAL, LONGEST).cut(0, self.left.len());
        (self.take)(&self.left[..end])?;
        self.left.drain(..end);
        Ok(())
    }

    /// Hands on the rest.
    pub fn finish(mut self) -> io::Result<()> {
        while !self.left.is_empty() {
            self.cut()?;
        }
        Ok(())
    }
}

impl<F: FnMut(&[u8]) -> io::Result<()>> Write for Cutter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(LONGEST);
        self.left.extend_from_slice(&bytes[..taken]);
        while self.left.len() >= LONGEST {
            self.cut()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses a chunk; returns its blob.
pub fn pack(content: &[u8]) -> io::Result<(Chunk, Vec<u8>)> {
    let mut blob = Vec::new();
    crate::layer::zstd::compress(content, &mut blob, LEVEL, 1)?;
    let chunk = Chunk {
        blob: Digest::of(&blob),
        size: blob.len() as u64,
        content: Digest::of(content),
        length: content.len() as u64,
    };
    Ok((chunk, blob))
}

/// Returns what a blob, which was verified, is when it is not compressed, if it is what the chunk says.
pub(super) fn unpack(chunk: &Chunk, blob: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // A byte more than there should be is seen too.
    let decoder = crate::layer::decoder(crate::oci::Compression::Zstd, blob)?;
    decoder.take(chunk.length.min(LONGEST as u64) + 1).read_to_end(&mut content)?;
    match content.len() as u64 == chunk.length && Digest::of(&content) == chunk.content {
        true => Ok(content),
        false => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("the chunk {} is not what it says", chunk.blob)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: &[u8], at_once: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut cutter = Cutter::new(|chunk: &[u8]| {
            all.push(chunk.to_vec());
            Ok(())
        });
        bytes.chunks(at_once).for_each(|part| cutter.write_all(part).unwrap());
        cutter.finish().unwrap();
        all
    }

    #[test]
    fn a_change_moves_no_cut_far_from_it() {
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        let one: Vec<u8> = (0..12 << 20).map(|_| noise()).collect();
        let chunks = cut(&one, 10_000);
        assert_eq!(chunks, cut(&one, 3_000_000));
        assert_eq!(chunks.concat(), one);
        let (inner, last) = chunks.split_at(chunks.len() - 1);
        assert!(inner.iter().chain(last).all(|chunk| chunk.len() <= LONGEST));
        assert!(inner.iter().all(|chunk| chunk.len() >= SHORTEST));
        let other = [&one[..5_000_000], b"something new", &one[5_000_000..]].concat();
        let new = cut(&other, 10_000).into_iter().filter(|chunk| !chunks.contains(chunk)).count();
        assert!((1..4).contains(&new), "{new} of {}", chunks.len());
        assert_eq!(cut(b"", 1), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_chunk_is_what_it_says_or_nothing() {
        let (chunk, blob) = pack(b"content").unwrap();
        assert_eq!(unpack(&chunk, &blob).unwrap(), b"content");
        let other = pack(b"another").unwrap().1;
        assert!(unpack(&chunk, &other).is_err() && unpack(&chunk, b"").is_err());
    }
}
