//! A trail: the keys that the last build of the same stages had, in no order that means anything. Whoever begins such a build asks for
//! all of them at once, where it would otherwise learn the key of each step from the record of the one before.
//!
//! It is advice. Two builds that write one at once lose one of two lists, which costs a later build time and nothing else.

use crate::cache::Key;

/// The most keys that are written, or read and asked for.
pub(super) const KEYS_LIMIT: usize = 512;

/// The longest list that is read, in bytes.
pub(super) const LIMIT: u64 = 64 << 10;

/// Writes keys, a line each.
pub(super) fn to_bytes(keys: &[Key]) -> Vec<u8> {
    keys.iter().take(KEYS_LIMIT).flat_map(|key| (key.hex() + "\n").into_bytes()).collect()
}

/// Reads keys; what is no key is left out.
pub(super) fn parse(bytes: &[u8]) -> Vec<Key> {
    String::from_utf8_lossy(bytes).lines().filter_map(Key::from_hex).take(KEYS_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_bounded() {
        let key = |number: usize| Key::from_hex(&format!("{number:064x}")).unwrap();
        let keys: Vec<Key> = (0..KEYS_LIMIT + 5).map(key).collect();
        let written = to_bytes(&keys);
        assert!(written.len() as u64 <= LIMIT);
        assert_eq!(parse(&written), keys[..KEYS_LIMIT]);
        assert_eq!(parse(b"\xff\nnot a key\n"), []);
    }
}
