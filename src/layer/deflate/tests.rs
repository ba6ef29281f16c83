//! What is written is read back by another implementation.

use std::io::Read;

use proptest::prelude::*;

use super::Encoder;

/// Ends what `deflate` made, and unpacks it.
fn inflated(mut deflated: Vec<u8>) -> Vec<u8> {
    deflated.extend([3, 0]);
    let mut out = Vec::new();
    flate2::read::DeflateDecoder::new(deflated.as_slice()).read_to_end(&mut out).expect("a deflate stream");
    out
}

fn deflated(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().deflate(input, &mut out);
    out
}

/// Numbers that look random, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn inputs_of_every_kind_come_back() {
    let text: Vec<u8> = (0..60_000u32).flat_map(|number| format!("line {number} of a file\n").into_bytes()).collect();
    let near_and_far: Vec<u8> = [noise(40_000), vec![0; 70_000], noise(40_000), noise(32_768), noise(32_768)].concat();
    let skewed: Vec<u8> = noise(300_000).iter().map(|byte| byte.leading_zeros() as u8 * 31).collect();
    for (name, input) in [
        ("nothing", Vec::new()),
        ("a byte", vec![7]),
        ("less than the margin", b"abcabcabcab".to_vec()),
        ("one byte over and over", vec![b'a'; 1_000_000]),
        ("noise", noise(1 << 20)),
        ("text", text),
        ("repeats inside the window, at its edge and behind it", near_and_far),
        ("very different counts", skewed),
    ] {
        assert!(inflated(deflated(&input)) == input, "{name}");
    }
}

#[test]
fn noise_is_stored_and_few_bytes_take_the_fixed_codes() {
    let input = noise(1 << 20);
    assert!(deflated(&input).len() <= input.len() + 5 * (8 * 3 + 1), "{}", deflated(&input).len());
    assert!(deflated(b"hello").len() <= 5 + 2 + 5, "{}", deflated(b"hello").len());
}

#[test]
fn what_came_before_does_not_matter() {
    let (one, other) = (noise(200_000), b"some text, some text, some text".to_vec());
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    encoder.deflate(&one, &mut out);
    out.clear();
    encoder.deflate(&other, &mut out);
    assert_eq!(out, deflated(&other));
}

proptest! {
    /// Runs, repeats from any distance, and noise in any order.
    #[test]
    fn mixed_inputs_come_back(pieces in prop::collection::vec((0u8..3, any::<u8>(), 1usize..3000, 1usize..40_000), 0..40)) {
        let mut input = Vec::new();
        for (kind, byte, length, distance) in pieces {
            match kind {
                0 => input.resize(input.len() + length, byte),
                1 if !input.is_empty() => {
                    let from = input.len().saturating_sub(distance);
                    let repeated: Vec<u8> = input[from..].iter().cycle().take(length).copied().collect();
                    input.extend(repeated);
                }
                _ => input.extend(noise(length).iter().map(|noise| noise ^ byte)),
            }
        }
        prop_assert!(inflated(deflated(&input)) == input);
    }
}
