//! One block: which of the three kinds is smallest, its head, its symbols (RFC 1951, 3.2.3 to 3.2.7).

use super::bits::BitWriter;
use super::code::{self, Code};
use super::find::Found;
use super::symbol::{self, DISTANCES, END, LENGTHS, LITERALS_AND_LENGTHS};

/// By so many bytes a part may grow at most, and some to spare: three heads of stored blocks, or what is added at its end.
pub(super) const OVERHEAD: usize = 64;

/// Four codes of literals fit between two flushes.
const LONGEST_CODE: usize = 14;
const LONGEST_DISTANCE_CODE: usize = 15;
const LONGEST_STORED: usize = 0xffff;

/// Writes `found` as a block with the codes that suit it or the fixed ones, or `plain`, the same as it is.
pub(super) fn write(found: &Found, plain: &[u8], bits: &mut BitWriter<'_>) {
    let counts = Counts::of(found);
    let own = Lengths {
        literals: code::lengths(&counts.literals, LONGEST_CODE),
        distances: code::lengths(&counts.distances, LONGEST_DISTANCE_CODE),
    };
    let head = Head::of(&own);
    let fixed = Lengths::fixed();
    let (own_size, fixed_size) = (head.size() + counts.size(&own), counts.size(&fixed));
    if own_size.min(fixed_size) >= stored_size(plain.len()) {
        store(plain, bits);
    } else if own_size < fixed_size {
        bits.add(0b100, 3);
        head.write(bits);
        symbols(found, &own, bits);
    } else {
        bits.add(0b010, 3);
        symbols(found, &fixed, bits);
    }
}

/// In bits, when the first head needs a whole byte to itself.
fn stored_size(length: usize) -> usize {
    8 * (length + 5 * length.div_ceil(LONGEST_STORED))
}

/// Writes `plain` as it is; nothing at all becomes one empty block, which ends at a byte boundary.
pub(super) fn store(plain: &[u8], bits: &mut BitWriter<'_>) {
    let empty: &[u8] = &[];
    let pieces = plain.chunks(LONGEST_STORED).chain(plain.is_empty().then_some(empty));
    for piece in pieces {
        let length = piece.len() as u32;
        bits.flush();
        bits.add(0b000, 3);
        bits.align();
        bits.add(length, 16);
        bits.add(!length & 0xffff, 16);
        bits.flush();
        bits.bytes(piece);
    }
}

/// How often each symbol comes.
struct Counts {
    literals: [u32; LITERALS_AND_LENGTHS],
    distances: [u32; DISTANCES],
    /// Extra bits of all matches.
    extra: usize,
}

impl Counts {
    fn of(found: &Found) -> Self {
        let mut all = Self { literals: [0; LITERALS_AND_LENGTHS], distances: [0; DISTANCES], extra: 0 };
        // Four tables: the same byte twice in a row would have to wait for itself.
        let mut bytes = [[0u32; 256]; 4];
        let mut fours = found.literals[..found.count].chunks_exact(4);
        for four in &mut fours {
            for (table, byte) in bytes.iter_mut().zip(four) {
                table[usize::from(*byte)] += 1;
            }
        }
        for byte in fours.remainder() {
            bytes[0][usize::from(*byte)] += 1;
        }
        for byte in 0..256 {
            all.literals[byte] = bytes.iter().map(|table| table[byte]).sum();
        }
        for sequence in &found.sequences {
            let (length, distance) = (LENGTHS[usize::from(sequence.length)], symbol::of_distance(sequence.distance));
            all.literals[usize::from(length.symbol)] += 1;
            all.distances[usize::from(distance.symbol)] += 1;
            all.extra += usize::from(length.extra + distance.extra);
        }
        all.literals[END] = 1;
        all
    }

    /// Bits of the symbols with such codes.
    fn size(&self, lengths: &Lengths) -> usize {
        let of = |counts: &[u32], lengths: &[u8]| -> usize {
            counts.iter().zip(lengths).map(|(count, length)| *count as usize * usize::from(*length)).sum()
        };
        of(&self.literals, &lengths.literals) + of(&self.distances, &lengths.distances) + self.extra
    }
}

/// How long the code of each symbol is.
struct Lengths {
    literals: [u8; LITERALS_AND_LENGTHS],
    distances: [u8; DISTANCES],
}

impl Lengths {
    fn fixed() -> Self {
        let literals = std::array::from_fn(|symbol| match symbol {
            0..144 => 8,
            144..256 => 9,
            256..280 => 7,
            _ => 8,
        });
        Self { literals, distances: [5; DISTANCES] }
    }
}

fn symbols(found: &Found, lengths: &Lengths, bits: &mut BitWriter<'_>) {
    let literals = code::codes(&lengths.literals);
    let distances: [Code; DISTANCES] = code::codes(&lengths.distances);
    let mut rest = &found.literals[..];
    let mut left = found.count;
    for sequence in &found.sequences {
        let mut run = sequence.literals as usize;
        left -= run;
        while run >= 4 {
            for byte in &rest[..4] {
                bits.add_code(literals[usize::from(*byte)]);
            }
            bits.flush();
            rest = &rest[4..];
            run -= 4;
        }
        // Three more without asking how many there are: those that are not have no bits.
        for (byte, mask) in rest[..3].iter().zip(MASKS[run]) {
            bits.add_code(literals[usize::from(*byte)] & mask);
        }
        bits.flush();
        rest = &rest[run..];
        let length = LENGTHS[usize::from(sequence.length) % LENGTHS.len()];
        bits.add_code(literals[usize::from(length.symbol)]);
        bits.add(u32::from(length.value), u32::from(length.extra));
        let distance = symbol::of_distance(sequence.distance);
        bits.add_code(distances[usize::from(distance.symbol)]);
        bits.add(u32::from(distance.value), u32::from(distance.extra));
        bits.flush();
    }
    for byte in &rest[..left] {
        bits.add_code(literals[usize::from(*byte)]);
        bits.flush();
    }
    bits.add_code(literals[END]);
    bits.flush();
}

const MASKS: [[Code; 3]; 4] = [[0, 0, 0], [!0, 0, 0], [!0, !0, 0], [!0, !0, !0]];

/// The order in which the lengths of the head's own codes are written.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The lengths of a block's codes as its head says them (RFC 1951, 3.2.7).
struct Head {
    /// How many lengths of each kind are said.
    literals: usize,
    distances: usize,
    /// A length, or how often the last one (16) or zero (17, 18) comes again; with extra bits and their number.
    words: Vec<(u8, u8, u8)>,
    lengths: [u8; 19],
    /// How many of `lengths` are said.
    said: usize,
}

impl Head {
    fn of(lengths: &Lengths) -> Self {
        let until_last = |lengths: &[u8]| lengths.iter().rposition(|length| *length > 0).map_or(0, |last| last + 1);
        let literals = until_last(&lengths.literals).max(END + 1);
        let distances = until_last(&lengths.distances).max(1);
        let words = words(&[&lengths.literals[..literals], &lengths.distances[..distances]].concat());
        let mut counts = [0; 19];
        for (word, _, _) in &words {
            counts[usize::from(*word)] += 1;
        }
        let own = code::lengths(&counts, 7);
        let said = ORDER.iter().rposition(|word| own[*word] > 0).map_or(0, |last| last + 1).max(4);
        Self { literals, distances, words, lengths: own, said }
    }

    /// In bits.
    fn size(&self) -> usize {
        let word = |(word, _, extra): &(u8, u8, u8)| usize::from(self.lengths[usize::from(*word)] + extra);
        5 + 5 + 4 + 3 * self.said + self.words.iter().map(word).sum::<usize>()
    }

    fn write(&self, bits: &mut BitWriter<'_>) {
        bits.add((self.literals - 257) as u32, 5);
        bits.add((self.distances - 1) as u32, 5);
        bits.add((self.said - 4) as u32, 4);
        bits.flush();
        for word in &ORDER[..self.said] {
            bits.add(u32::from(self.lengths[*word]), 3);
            bits.flush();
        }
        let codes = code::codes(&self.lengths);
        for (word, value, extra) in &self.words {
            bits.add_code(codes[usize::from(*word)]);
            bits.add(u32::from(*value), u32::from(*extra));
            bits.flush();
        }
    }
}

/// Runs of the same length are said with fewer words.
fn words(lengths: &[u8]) -> Vec<(u8, u8, u8)> {
    let mut words = Vec::new();
    for run in lengths.chunk_by(|one, other| one == other) {
        let (length, mut left) = (run[0], run.len());
        if length != 0 {
            words.push((length, 0, 0));
            left -= 1;
        }
        while left > 0 {
            let (word, most, least, extra) = match (length, left) {
                (0, 11..) => (18, 138, 11, 7),
                (0, 3..) => (17, 10, 3, 3),
                (1.., 3..) => (16, 6, 3, 2),
                _ => (length, 1, 1, 0),
            };
            let taken = left.min(most);
            words.push((word, (taken - least) as u8, extra));
            left -= taken;
        }
    }
    words
}
