//! Whose records are believed: signatures (Ed25519, RFC 8032) over what decides a result, and the keys that may make them.
//!
//! What is signed is a sequence of fields, each with its length in bytes before it (64 bits, big endian): the words
//! [`DOMAIN`], then version, key, preimage, diff id, length, media type, digest and size of the layer's blob, codec and time, as
//! text. Where a record is stands nowhere in it, so a copy of a record in another store is as good as the record.
//!
//! Keys are PEM files as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them (RFC 8410).

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::cache::Signature;
use crate::digest::{DiffId, to_hex};
use crate::oci::Descriptor;

/// Stands before what is signed: no signature of anything else is one of a record.
const DOMAIN: &str = "kiln cache record signature v1";

/// What stands before the 32 bytes of a public key: SubjectPublicKeyInfo with id-Ed25519 (RFC 8410).
const PUBLIC_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The most signatures of a record that are looked at.
const SIGNATURES_LIMIT: usize = 8;

/// Why a file has no key that can be used. Nothing of the file is in it but the kind that it says it has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is no PEM.
    #[error("it is no PEM file")]
    NotPem,
    /// It is a PEM of another kind.
    #[error("it holds a `{label}`, not a `{expected}`")]
    Label {
        /// What it is.
        label: String,
        /// What it should be.
        expected: &'static str,
    },
    /// It takes a password.
    #[error("it is encrypted; `openssl pkey -in KEY -out PLAIN` writes one that is not")]
    Encrypted,
    /// It is for another algorithm.
    #[error("it is not a key for Ed25519; `openssl genpkey -algorithm ed25519` makes one")]
    Algorithm,
}

/// Why the signatures of a record are not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// There is none.
    #[error("it is not signed")]
    Unsigned,
    /// All are by others.
    #[error("it is signed by no key that is trusted")]
    OtherKey,
    /// One that says it is by a trusted key is not one of this record.
    #[error("its signature is not one of what it says")]
    Wrong,
}

/// Signs records.
#[derive(Clone)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

impl SigningKey {
    /// Reads a private key: PKCS#8 as PEM, without a password.
    pub fn read(pem: &[u8]) -> Result<Self, KeyError> {
        let pem = pem::parse(pem).map_err(|_| KeyError::NotPem)?;
        match pem.tag() {
            "PRIVATE KEY" => {}
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
            other => return Err(KeyError::Label { label: other.to_owned(), expected: "PRIVATE KEY" }),
        }
        // openssl writes no public half beside the private one, which is what `maybe` is for.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pem.contents()).map_err(|_| KeyError::Algorithm)?;
        Ok(Self(Arc::new(pair)))
    }

    fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(super) fn sign(&self, statement: &[u8]) -> Signature {
        Signature { key: to_hex(self.public()), signature: BASE64.encode(self.0.sign(statement)) }
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.public() == other.public()
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(the private half of {})", to_hex(self.public()))
    }
}

/// The public keys whose records are used; with none, any record is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust(Vec<Vec<u8>>);

impl Trust {
    /// Adds the public keys of a file, one or more.
    pub fn add(&mut self, pem: &[u8]) -> Result<(), KeyError> {
        let all = pem::parse_many(pem).map_err(|_| KeyError::NotPem)?;
        if all.is_empty() {
            return Err(KeyError::NotPem);
        }
        for pem in all {
            if pem.tag() != "PUBLIC KEY" {
                return Err(KeyError::Label { label: pem.tag().to_owned(), expected: "PUBLIC KEY" });
            }
            let key = pem.contents().strip_prefix(PUBLIC_PREFIX).filter(|key| key.len() == 32);
            self.0.push(key.ok_or(KeyError::Algorithm)?.to_owned());
        }
        Ok(())
    }

    /// Adds the keys of another.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Whether signatures are asked for.
    pub fn is_asked(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether one of the signatures is by one of the keys.
    pub(super) fn judge(&self, statement: &[u8], signatures: &[Signature]) -> Result<(), Distrust> {
        if !self.is_asked() {
            return Ok(());
        }
        let mut why = if signatures.is_empty() { Distrust::Unsigned } else { Distrust::OtherKey };
        for signature in signatures.iter().take(SIGNATURES_LIMIT) {
            let Some(key) = self.0.iter().find(|key| to_hex(key) == signature.key) else { continue };
            let bytes = BASE64.decode(&signature.signature).unwrap_or_default();
            if UnparsedPublicKey::new(&ED25519, key).verify(statement, &bytes).is_ok() {
                return Ok(());
            }
            why = Distrust::Wrong;
        }
        Err(why)
    }
}

/// What decides a result.
pub(super) struct Statement<'a> {
    pub(super) version: u32,
    pub(super) key: &'a str,
    pub(super) preimage: &'a str,
    pub(super) diff_id: DiffId,
    pub(super) length: u64,
    pub(super) layer: &'a Descriptor,
    pub(super) codec: &'a str,
    pub(super) created: &'a str,
}

impl Statement<'_> {
    /// What is signed of it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (version, length, size) =
            (self.version.to_string(), self.length.to_string(), self.layer.size().to_string());
        let (diff_id, digest) = (self.diff_id.0.to_string(), self.layer.digest().to_string());
        let kind = self.layer.media_type().to_string();
        let fields = [
            DOMAIN,
            &version,
            self.key,
            self.preimage,
            &diff_id,
            &length,
            &kind,
            &digest,
            &size,
            self.codec,
            self.created,
        ];
        let framed = |field: &&str| [&(field.len() as u64).to_be_bytes(), field.as_bytes()].concat();
        fields.iter().flat_map(framed).collect()
    }
}
