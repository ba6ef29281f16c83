//! Digests: the names of stored bytes.
//!
//! A [`Digest`] is the sha256 of stored bytes as OCI writes it (`sha256:<64 hex>`; image-spec,
//! descriptor.md "Digests"). A [`DiffId`] is the digest of a layer's *uncompressed* tar, a [`ChainId`]
//! that of a stack of layers. Cache keys are blake3 and live in `cache`; the types do not mix.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// The sha256 of some bytes, shown as `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest `{text}`: expected sha256:<64 hex digits>")]
pub struct DigestError {
    /// What was given.
    pub text: String,
}

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Returns the 64 lower-case hex digits, without the `sha256:`.
    pub fn hex(&self) -> String {
        to_hex(&self.0)
    }

    /// Parses 64 lower-case hex digits.
    pub fn from_hex(hex: &str) -> Result<Self, DigestError> {
        let bad = || DigestError { text: hex.to_owned() };
        let bytes = hex.as_bytes();
        if bytes.len() != 64 {
            return Err(bad());
        }
        let mut out = [0u8; 32];
        for (i, pair) in bytes.chunks_exact(2).enumerate() {
            let high = hex_value(pair[0]).ok_or_else(bad)?;
            let low = hex_value(pair[1]).ok_or_else(bad)?;
            out[i] = high << 4 | low;
        }
        Ok(Self(out))
    }

    /// Returns the 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Returns lower-case hex of `bytes`.
pub fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|nibble| b"0123456789abcdef"[usize::from(nibble)]);
    String::from_utf8(digits.collect()).expect("hex digits are ASCII")
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let bad = || DigestError { text: text.to_owned() };
        let hex = text.strip_prefix("sha256:").ok_or_else(bad)?;
        Self::from_hex(hex).map_err(|_| bad())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The digest of a layer's uncompressed tar (image-spec, config.md "Layer DiffID").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a stack of layers, bottom first (image-spec, config.md "Layer ChainID").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// Returns the chain id of `layers` (bottom first), or `None` for an empty stack.
    pub fn of(layers: &[DiffId]) -> Option<Self> {
        layers.iter().fold(None, |below, layer| Some(Self::on(below, *layer)))
    }

    /// Returns the chain ids of all stacks that begin with the lowest of `layers` (bottom first), the lowest one first.
    pub fn each_of(layers: &[DiffId]) -> Vec<Self> {
        let mut below = None;
        let on = |layer: &DiffId| *below.insert(Self::on(below, *layer));
        layers.iter().map(on).collect()
    }

    /// Returns the chain id of the stack `below`, `None` if it is empty, with `layer` on top.
    pub fn on(below: Option<Self>, layer: DiffId) -> Self {
        below.map_or(Self(layer.0), |below| Self(Digest::of(format!("{} {}", below.0, layer.0).as_bytes())))
    }
}

/// Computes a [`Digest`] piece by piece.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of everything added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// A writer that hashes and counts what passes through to `inner`.
pub struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
    length: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Wraps `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::default(), length: 0 }
    }

    /// Returns the digest and the length in bytes of what was written so far.
    pub fn so_far(&self) -> (Digest, u64) {
        (self.hasher.clone().finish(), self.length)
    }

    /// Returns the inner writer, the digest and the length in bytes of what was written.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.length)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.length += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A reader that hashes and counts what is read from `inner`.
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    length: u64,
}

impl<R: Read> HashingReader<R> {
    /// Wraps `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::default(), length: 0 }
    }

    /// Returns the inner reader, the digest and the length in bytes of what was read so far.
    pub fn finish(self) -> (R, Digest, u64) {
        (self.inner, self.hasher.finish(), self.length)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        self.length += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_prints_and_parses() {
        let digest = Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn a_digest_refuses_other_text() {
        for text in ["", "sha256:", "sha512:00", "sha256:ZZ", &format!("sha256:{}", "A".repeat(64))] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_chain_of_one_layer_is_the_layer() {
        let layer = DiffId(Digest::of(b"a"));
        assert_eq!(ChainId::of(&[layer]), Some(ChainId(layer.0)));
        assert_eq!(ChainId::of(&[]), None);
    }

    #[test]
    fn each_layer_has_a_chain_id_with_those_below() {
        let layers = [b"a", b"b", b"c"].map(|name| DiffId(Digest::of(name)));
        let each: Vec<_> = (1..=3).filter_map(|count| ChainId::of(&layers[..count])).collect();
        assert_eq!(ChainId::each_of(&layers), each);
    }
}
