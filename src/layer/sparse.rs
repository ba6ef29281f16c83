//! Sparse files in a tar: a map says where the stored bytes belong; between them are holes.
//!
//! Three forms (GNU tar manual, "Storing Sparse Files"): the old GNU one, in the header and blocks after
//! it; pax 0.0 and 0.1, in records; pax 1.0, as decimal lines before the content.

use std::io::{self, Read};

use super::header::{BLOCK, Header, number};
use super::pax::{Records, decimal};

/// Pieces a map may have: more than any file made in earnest, and little memory.
const MOST_PIECES: usize = 64 * 1024;

/// Where the stored bytes belong, and how far the reading has come.
#[derive(Debug)]
pub(super) struct Map {
    /// Offset and length, ascending, not overlapping; no empty ones.
    pieces: Vec<(u64, u64)>,
    size: u64,
    piece: usize,
    at: u64,
}

/// What comes next in a sparse file.
pub(super) enum Piece {
    /// So many zeros, already counted as read.
    Hole(usize),
    /// At most so many stored bytes, to be counted with [`Map::advance`].
    Data(usize),
}

impl Map {
    /// Checks a map; `None` if it goes back, beyond `size`, or does not hold `stored` bytes.
    fn new(pieces: Vec<(u64, u64)>, size: u64, stored: u64) -> Option<Self> {
        let (mut end, mut total) = (0u64, 0u64);
        for (offset, length) in &pieces {
            if *offset < end {
                return None;
            }
            end = offset.checked_add(*length)?;
            total = total.checked_add(*length)?;
        }
        if end > size || total != stored {
            return None;
        }
        let pieces = pieces.into_iter().filter(|(_, length)| *length > 0).collect();
        Some(Self { pieces, size, piece: 0, at: 0 })
    }

    /// Returns the length of the whole file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn next(&mut self, room: usize) -> Piece {
        let bounded = |length: u64| usize::try_from(length).unwrap_or(usize::MAX).min(room);
        let (offset, length) = self.pieces.get(self.piece).copied().unwrap_or((self.size, 0));
        if self.at < offset {
            let hole = bounded(offset - self.at);
            self.at += hole as u64;
            return Piece::Hole(hole);
        }
        Piece::Data(bounded(offset + length - self.at))
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.at += n as u64;
        if self.pieces.get(self.piece).is_some_and(|(offset, length)| self.at == offset + length) {
            self.piece += 1;
        }
    }
}

/// Returns whether the records describe a sparse file.
pub(super) fn is_pax(records: &Records) -> bool {
    records.contains_key(&b"GNU.sparse.major"[..])
        || records.contains_key(&b"GNU.sparse.map"[..])
        || records.contains_key(&b"GNU.sparse.size"[..])
}

/// Reads the map of an old GNU header and of the blocks after it. The second number is 0: nothing of the
/// `stored` bytes was read. `None` if it is malformed.
pub(super) fn read_old(header: &Header, stored: u64, input: &mut impl Read) -> io::Result<Option<(Map, u64)>> {
    let mut pieces = Vec::new();
    let mut more = header.0[482] != 0;
    if !old_pieces(&header.0[386..482], &mut pieces) {
        return Ok(None);
    }
    while more {
        let mut block = [0; BLOCK];
        input.read_exact(&mut block)?;
        more = block[504] != 0;
        if !old_pieces(&block[..504], &mut pieces) || pieces.len() > MOST_PIECES {
            return Ok(None);
        }
    }
    let size = number(&header.0[483..495]).and_then(|size| u64::try_from(size).ok());
    Ok(size.and_then(|size| Map::new(pieces, size, stored)).map(|map| (map, 0)))
}

fn old_pieces(fields: &[u8], pieces: &mut Vec<(u64, u64)>) -> bool {
    for pair in fields.chunks_exact(24).take_while(|pair| pair[0] != 0) {
        let value = |field| number(field).and_then(|value| u64::try_from(value).ok());
        let (Some(offset), Some(length)) = (value(&pair[..12]), value(&pair[12..])) else { return false };
        pieces.push((offset, length));
    }
    true
}

/// Reads the map of a pax sparse file; the second number is how many of the `stored` bytes it took.
/// `None` if it is malformed, or of form 0.0, whose repeated records were never usual.
pub(super) fn read_pax(records: &Records, stored: u64, input: &mut impl Read) -> io::Result<Option<(Map, u64)>> {
    let value = |key: &[u8]| records.get(key).and_then(|digits| decimal(digits));
    let size = value(b"GNU.sparse.realsize").or_else(|| value(b"GNU.sparse.size"));
    let Some(size) = size else { return Ok(None) };
    if value(b"GNU.sparse.major") == Some(1) {
        let Some((pieces, consumed)) = read_lines(stored, input)? else { return Ok(None) };
        return Ok(Map::new(pieces, size, stored - consumed).map(|map| (map, consumed)));
    }
    let Some(map) = records.get(&b"GNU.sparse.map"[..]) else { return Ok(None) };
    let numbers: Option<Vec<u64>> = map.split(|byte| *byte == b',').map(decimal).collect();
    let Some(numbers) = numbers.filter(|numbers| numbers.len() % 2 == 0) else { return Ok(None) };
    let pieces = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    Ok(Map::new(pieces, size, stored).map(|map| (map, 0)))
}

type Lines = (Vec<(u64, u64)>, u64);

/// Reads a form 1.0 map: the number of pieces, then each offset and length, one number a line, padded to a
/// block.
fn read_lines(stored: u64, input: &mut impl Read) -> io::Result<Option<Lines>> {
    let mut numbers = Vec::new();
    let mut line = Vec::new();
    let mut consumed = 0u64;
    loop {
        let mut block = [0; BLOCK];
        if stored - consumed < BLOCK as u64 {
            return Ok(None);
        }
        input.read_exact(&mut block)?;
        consumed += BLOCK as u64;
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let Some(number) = decimal(&line) else { return Ok(None) };
            line.clear();
            numbers.push(number);
            let count = usize::try_from(numbers[0]).unwrap_or(usize::MAX);
            if count > MOST_PIECES {
                return Ok(None);
            }
            if numbers.len() == 1 + 2 * count {
                let pieces = numbers[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                return Ok(Some((pieces, consumed)));
            }
        }
        if line.len() > 20 {
            return Ok(None);
        }
    }
}
