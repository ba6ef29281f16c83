//! How lengths and distances are said: a symbol, and extra bits behind it (RFC 1951, 3.2.5).

/// Symbols for literals, the end of a block (256) and lengths (from 257). The last two never come; they count in the fixed codes.
pub(super) const LITERALS_AND_LENGTHS: usize = 288;
/// Symbols for distances.
pub(super) const DISTANCES: usize = 30;
/// Ends a block.
pub(super) const END: usize = 256;
/// The shortest match there is a symbol for, and the longest.
pub(super) const SHORTEST: usize = 3;
pub(super) const LONGEST: usize = 258;
/// How far back a match may be.
pub(super) const WINDOW: usize = 32 * 1024;

/// A number as symbol and extra bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Symbol {
    pub(super) symbol: u16,
    /// How many extra bits, and their value.
    pub(super) extra: u8,
    pub(super) value: u16,
}

/// Both tables grow in the same way: after some symbols without extra bits there are `1 << doubling` symbols for each number of
/// extra bits. `number` counts from 0.
#[inline(always)]
const fn symbol(number: u32, doubling: u32) -> Symbol {
    if number < 2 << doubling {
        return Symbol { symbol: number as u16, extra: 0, value: 0 };
    }
    let extra = 31 - number.leading_zeros() - doubling;
    let symbol = (extra << doubling) + (number >> extra);
    Symbol { symbol: symbol as u16, extra: extra as u8, value: (number & ((1 << extra) - 1)) as u16 }
}

/// Distances 1 to 32,768 as symbols 0 to 29.
#[inline(always)]
pub(super) fn of_distance(distance: u16) -> Symbol {
    symbol(u32::from(distance) - 1, 1)
}

/// Lengths 3 to 258 as symbols 257 to 285; entries of other lengths mean nothing.
pub(super) static LENGTHS: [Symbol; 512] = lengths();

const fn lengths() -> [Symbol; 512] {
    let mut all = [Symbol { symbol: 0, extra: 0, value: 0 }; 512];
    let mut length = SHORTEST;
    while length < LONGEST {
        all[length] = symbol((length - SHORTEST) as u32, 2);
        all[length].symbol += 257;
        length += 1;
    }
    // The longest has a symbol of its own.
    all[LONGEST] = Symbol { symbol: 285, extra: 0, value: 0 };
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_the_rfc() {
        // First length of each symbol, and its extra bits.
        for (length, symbol, extra) in [
            (3, 257, 0),
            (10, 264, 0),
            (11, 265, 1),
            (17, 268, 1),
            (19, 269, 2),
            (35, 273, 3),
            (131, 281, 5),
            (227, 284, 5),
            (258, 285, 0),
        ] {
            assert_eq!(LENGTHS[length], Symbol { symbol, extra, value: 0 }, "{length}");
        }
        assert_eq!(LENGTHS[257], Symbol { symbol: 284, extra: 5, value: 30 });
        for (distance, symbol, extra) in
            [(1, 0, 0), (4, 3, 0), (5, 4, 1), (7, 5, 1), (9, 6, 2), (257, 16, 7), (16_385, 28, 13), (24_577, 29, 13)]
        {
            assert_eq!(of_distance(distance), Symbol { symbol, extra, value: 0 }, "{distance}");
        }
        assert_eq!(of_distance(32_768), Symbol { symbol: 29, extra: 13, value: 8191 });
    }
}
