//! Prefix codes: from how often each symbol comes to how long its code is, and from there to the codes (RFC 1951, 3.2.2).

/// A code as one number: its bits in the lowest 16, the first one lowest; how many they are above. 0 for a symbol that never comes.
pub(super) type Code = u32;

/// Returns how long the code of each symbol is, at most `longest`; 0 for those that never come, of which two are given a code when
/// less than two others have one, since not every reader takes a code of one word.
pub(super) fn lengths<const N: usize>(counts: &[u32; N], longest: usize) -> [u8; N] {
    let mut lengths = [0; N];
    let mut symbols: Vec<usize> = (0..N).filter(|symbol| counts[*symbol] > 0).collect();
    let others = (0..N).filter(|symbol| counts[*symbol] == 0);
    symbols.extend(others.take(2usize.saturating_sub(symbols.len())));
    // The rarest first; the symbol decides between equals.
    symbols.sort_unstable_by_key(|symbol| (counts[*symbol], *symbol));
    let rarest_first: Vec<u32> = symbols.iter().map(|symbol| counts[*symbol]).collect();
    let mut symbols = symbols.into_iter();
    for (length, count) in numbers(&rarest_first, longest).into_iter().enumerate().rev() {
        for symbol in symbols.by_ref().take(count) {
            lengths[symbol] = length as u8;
        }
    }
    lengths
}

/// How many codes there are of each length up to `longest`.
fn numbers(rarest_first: &[u32], longest: usize) -> Vec<usize> {
    let mut numbers = vec![0; longest + 1];
    for depth in depths(rarest_first) {
        numbers[depth.min(longest)] += 1;
    }
    // Those cut short took more of the code space than there is (Kraft): a shorter code makes room by becoming the parent of one of them.
    let mut taken: usize = (1..=longest).map(|length| numbers[length] << (longest - length)).sum();
    while taken > 1 << longest {
        let parent = (1..longest)
            .rev()
            .find(|length| numbers[*length] > 0)
            .expect("the longest codes alone do not fill the space");
        numbers[longest] -= 1;
        numbers[parent] -= 1;
        numbers[parent + 1] += 2;
        taken -= 1;
    }
    numbers
}

/// How deep each leaf is in Huffman's tree; two leaves at least, the rarest first. Inner nodes come into being in the order of their
/// weights, so two queues do.
fn depths(leaves: &[u32]) -> Vec<usize> {
    let count = leaves.len();
    let mut weights: Vec<u64> = leaves.iter().map(|weight| u64::from(*weight)).collect();
    let mut parents = vec![0; 2 * count - 1];
    let (mut leaf, mut inner) = (0, count);
    for made in count..2 * count - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let takes_leaf = leaf < count && (inner == made || weights[leaf] <= weights[inner]);
            let child = if takes_leaf { &mut leaf } else { &mut inner };
            weight += weights[*child];
            parents[*child] = made;
            *child += 1;
        }
        weights.push(weight);
    }
    let mut depths = vec![0; 2 * count - 1];
    for node in (0..2 * count - 2).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    depths.truncate(count);
    depths
}

/// Gives each symbol its code: shorter ones first, then by symbol.
pub(super) fn codes<const N: usize>(lengths: &[u8; N]) -> [Code; N] {
    let mut next = [0u32; 17];
    for length in lengths.iter().filter(|length| **length > 0) {
        next[usize::from(*length) + 1] += 1;
    }
    for length in 1..next.len() {
        next[length] = (next[length] + next[length - 1]) << 1;
    }
    lengths.map(|length| {
        if length == 0 {
            return 0;
        }
        let code = next[usize::from(length)];
        next[usize::from(length)] += 1;
        (code.reverse_bits() >> (32 - u32::from(length))) | u32::from(length) << 16
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let codes = codes(&[3, 3, 3, 3, 3, 2, 4, 4]);
        let written = codes.map(|code| {
            let length = code >> 16;
            format!("{:0width$b}", (code & 0xffff).reverse_bits() >> (32 - length), width = length as usize)
        });
        assert_eq!(written, ["010", "011", "100", "101", "110", "00", "1110", "1111"]);
    }

    #[test]
    fn frequent_symbols_have_short_codes() {
        assert_eq!(lengths(&[8, 4, 2, 1, 1, 0], 15), [1, 2, 3, 4, 4, 0]);
        assert_eq!(lengths(&[0, 7, 0], 15), [1, 1, 0]);
        assert_eq!(lengths(&[0, 0, 0], 15), [1, 1, 0]);
    }

    #[test]
    fn no_code_is_longer_than_the_limit_and_the_space_is_full() {
        let mut fibonacci = [1u32; 40];
        for symbol in 2..40 {
            fibonacci[symbol] = fibonacci[symbol - 1] + fibonacci[symbol - 2];
        }
        for longest in [7, 14, 15] {
            let lengths = lengths(&fibonacci, longest);
            assert!(lengths.iter().all(|length| (1..=longest).contains(&usize::from(*length))), "{lengths:?}");
            let taken: usize = lengths.iter().map(|length| 1 << (longest - usize::from(*length))).sum();
            assert_eq!(taken, 1 << longest);
        }
    }
}
