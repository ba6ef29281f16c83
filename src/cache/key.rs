//! Keys: what makes two steps the same step.

use std::fmt;

use crate::digest::{Digest, to_hex};

/// The blake3 of a step's facts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Returns 64 hex digits.
    pub fn hex(&self) -> String {
        to_hex(&self.0)
    }

    /// Reads 64 hex digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        // Thirty-two bytes as hex are written the same whatever was hashed.
        Digest::from_hex(hex).ok().map(|bytes| Self(*bytes.as_bytes()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// Takes the facts of a step, in order.
pub trait KeySink {
    /// Takes one named fact. Values are text (digests in hex), so that they can be explained.
    fn field(&mut self, name: &str, value: &str);
}

/// Something with a key. The walk is written once and read by every sink, so that an explanation
/// cannot drift from the key it explains.
pub trait Keyed {
    /// Hands every fact to `sink`, the operation and its version (`run/1`) first.
    fn write_key(&self, sink: &mut dyn KeySink);
}

/// Hashes facts: each name and value framed by its length (64-bit little-endian), so that no two
/// sequences of facts give the same bytes.
#[derive(Default)]
pub struct KeyHasher(blake3::Hasher);

impl KeyHasher {
    /// Returns the key of all facts taken.
    pub fn finish(&self) -> Key {
        Key(*self.0.finalize().as_bytes())
    }
}

impl KeySink for KeyHasher {
    fn field(&mut self, name: &str, value: &str) {
        for part in [name, value] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part.as_bytes());
        }
    }
}

/// Writes facts as `name = value` lines.
#[derive(Default)]
pub struct Explanation(String);

impl KeySink for Explanation {
    fn field(&mut self, name: &str, value: &str) {
        self.0.push_str(name);
        self.0.push_str(" = ");
        self.0.push_str(&value.escape_debug().to_string());
        self.0.push('\n');
    }
}

/// Returns the key of `step`.
pub fn key_of(step: &dyn Keyed) -> Key {
    let mut sink = KeyHasher::default();
    step.write_key(&mut sink);
    sink.finish()
}

/// Returns the facts of `step` as text, a line each.
pub fn explain(step: &dyn Keyed) -> String {
    let mut sink = Explanation::default();
    step.write_key(&mut sink);
    sink.0
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Facts(&'static [(&'static str, &'static str)]);

    impl Keyed for Facts {
        fn write_key(&self, sink: &mut dyn KeySink) {
            for (name, value) in self.0 {
                sink.field(name, value);
            }
        }
    }

    #[test]
    fn framing_keeps_facts_apart() {
        let keys = [
            key_of(&Facts(&[("a", "bc")])),
            key_of(&Facts(&[("ab", "c")])),
            key_of(&Facts(&[("a", "b"), ("", "c")])),
            key_of(&Facts(&[("a", "b"), ("c", "")])),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn an_explanation_is_the_same_walk() {
        assert_eq!(explain(&Facts(&[("op", "run/1"), ("argv", "a\nb")])), "op = run/1\nargv = a\\nb\n");
    }
}
