//! Where the input repeats itself: a table remembers where each four bytes were seen last, and one look decides.

use std::ops::Range;

use super::symbol::{LONGEST, WINDOW};

/// Few enough entries to stay in a core's nearest cache.
const HASH_BITS: u32 = 13;
/// So many bytes without a match, and one more is passed over each time.
const PATIENCE: u32 = 6;
/// Eight bytes can be read at each of two places before the end.
const MARGIN: usize = 12;
/// As many bytes are copied at once where there is room for them.
const STRIDE: usize = 16;

/// The lowest 16 bits of a place. What they cannot say does not matter: the bytes there are compared, and the window is shorter.
pub(super) type Table = [u16; 1 << HASH_BITS];

pub(super) fn table() -> Box<Table> {
    Box::new([0; 1 << HASH_BITS])
}

/// Some literals, then a match.
#[derive(Clone, Copy, Default)]
pub(super) struct Sequence {
    pub(super) literals: u32,
    pub(super) length: u16,
    pub(super) distance: u16,
}

/// What a part of the input is made of: its sequences, then the literals that are left.
#[derive(Default)]
pub(super) struct Found {
    pub(super) sequences: Vec<Sequence>,
    /// All literals in a row, and after [`Self::count`] bytes without a meaning, at least [`STRIDE`].
    pub(super) literals: Vec<u8>,
    pub(super) count: usize,
}

impl Found {
    fn clear(&mut self, length: usize) {
        self.sequences.clear();
        self.literals.resize(length + 2 * STRIDE, 0);
        self.count = 0;
    }

    #[inline(always)]
    fn literals(&mut self, data: &[u8], from: usize, to: usize) {
        let length = to - from;
        let copied = if length <= STRIDE && from + STRIDE <= data.len() { STRIDE } else { length };
        self.literals[self.count..self.count + copied].copy_from_slice(&data[from..from + copied]);
        self.count += length;
    }
}

/// Finds the matches of `part`; they may begin before it, and end with it.
pub(super) fn find(data: &[u8], part: Range<usize>, table: &mut Table, found: &mut Found) {
    let data = &data[..part.end];
    let limit = part.end.saturating_sub(MARGIN);
    found.clear(part.len());
    let (mut place, mut anchor) = (part.start, part.start);
    while place < limit {
        // Two places a turn: the second one's look-up does not wait for the first one's.
        let bytes = load(data, place);
        let (first, second) = (bytes as u32, (bytes >> 8) as u32);
        let (near, far) = (seen(table, first, place), seen(table, second, place + 1));
        let (at, distance) = if is_match(data, place, near, first) {
            (place, near)
        } else if is_match(data, place + 1, far, second) {
            (place + 1, far)
        } else {
            place += 2 + ((place - anchor) >> PATIENCE);
            continue;
        };
        let length = common(data, at - distance, at);
        found.literals(data, anchor, at);
        // Distances are at most 32,768, lengths 258, a part 128 KiB.
        let sequence = Sequence { literals: (at - anchor) as u32, length: length as u16, distance: distance as u16 };
        found.sequences.push(sequence);
        place = at + length;
        anchor = place;
        if place < limit {
            let bytes = load(data, place - 2);
            table[hash((bytes >> 8) as u32)] = (place - 1) as u16;
            table[hash(bytes as u32)] = (place - 2) as u16;
        }
    }
    found.literals(data, anchor, part.end);
}

/// How far before `place` these four bytes were seen last, as far as 16 bits can say; from now on it is here.
#[inline(always)]
fn seen(table: &mut Table, bytes: u32, place: usize) -> usize {
    let last = std::mem::replace(&mut table[hash(bytes)], place as u16);
    usize::from((place as u16).wrapping_sub(last))
}

#[inline(always)]
fn is_match(data: &[u8], place: usize, distance: usize, bytes: u32) -> bool {
    // A distance of 0 becomes the largest number.
    distance.wrapping_sub(1) < WINDOW.min(place) && load(data, place - distance) as u32 == bytes
}

/// How many bytes two places have in common, of which four are known to be.
#[inline(always)]
fn common(data: &[u8], one: usize, other: usize) -> usize {
    let most = LONGEST.min(data.len() - other);
    let mut length = 4;
    while length + 8 <= most {
        let difference = load(data, one + length) ^ load(data, other + length);
        if difference != 0 {
            return length + (difference.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    while length < most && data[one + length] == data[other + length] {
        length += 1;
    }
    length
}

/// Multiplicative hashing (Knuth): the highest bits of a product with 2^32 divided by the golden ratio.
#[inline(always)]
fn hash(bytes: u32) -> usize {
    (bytes.wrapping_mul(0x9e37_79b1) >> (u32::BITS - HASH_BITS)) as usize
}

#[inline(always)]
fn load(data: &[u8], place: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&data[place..place + 8]);
    u64::from_le_bytes(bytes)
}
