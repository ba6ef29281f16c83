//! Key pairs for ECDSA on P-256, as PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pem::Pem;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};

use super::boxed::{self, Closed};

/// Labels of encrypted keys, the older one first: it is read by every tool, so it is written.
const ENCRYPTED: [&str; 2] = ["ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"];
const PKCS8: &str = "PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// What stands before the point of a public key: `id-ecPublicKey`, `prime256v1` (RFC 5480).
const POINT: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_LENGTH: usize = 65;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// It is no PEM.
    #[error("it is no PEM file")]
    NotPem,
    /// It is a PEM of another kind.
    #[error("it holds a `{label}`, not a {expected}")]
    Label {
        /// What it is.
        label: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The old form of openssl.
    #[error("it is in a form of openssl's own: `openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW` writes the common one")]
    Sec1,
    /// It is for another algorithm.
    #[error("it is not a key for ECDSA on P-256")]
    Algorithm,
    /// An encrypted key that makes no sense.
    #[error("{0}")]
    Malformed(&'static str),
    /// It takes a password, and none was given.
    #[error("it is encrypted")]
    Encrypted,
    /// The password does not open it.
    #[error("the password is wrong")]
    Password,
    /// The kernel has no randomness to give.
    #[error("no randomness can be had")]
    Random,
}

/// Signs.
pub struct PrivateKey(EcdsaKeyPair);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(a private key)")
    }
}

impl PrivateKey {
    /// Whether the key in `pem` takes a password.
    pub fn is_encrypted(pem: &[u8]) -> bool {
        pem::parse(pem).is_ok_and(|pem| ENCRYPTED.contains(&pem.tag()))
    }

    /// Reads a key: cosign's, or PKCS#8 without a password.
    pub fn read(pem: &[u8], password: Option<&[u8]>) -> Result<Self, KeyError> {
        let pem = pem::parse(pem).map_err(|_| KeyError::NotPem)?;
        match pem.tag() {
            label if ENCRYPTED.contains(&label) => {
                let password = password.ok_or(KeyError::Encrypted)?;
                let opened = boxed::open(pem.contents(), password).map_err(|closed| match closed {
                    Closed::Malformed(why) => KeyError::Malformed(why),
                    Closed::Password => KeyError::Password,
                })?;
                Self::of_pkcs8(&opened)
            }
            PKCS8 => Self::of_pkcs8(pem.contents()),
            SEC1 => Err(KeyError::Sec1),
            other => Err(KeyError::Label { label: other.to_owned(), expected: "private key" }),
        }
    }

    fn of_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let read = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new());
        read.map(Self).map_err(|_| KeyError::Algorithm)
    }

    /// Signs `message`; returns the signature in base64.
    pub fn sign(&self, message: &[u8]) -> Result<String, KeyError> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Random)?;
        Ok(STANDARD.encode(signature))
    }

    /// Returns the other half.
    pub fn public(&self) -> PublicKey {
        let point = self.0.public_key().as_ref();
        PublicKey(point.try_into().expect("a point of P-256 that is not compressed has 65 bytes"))
    }
}

/// Verifies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey([u8; POINT_LENGTH]);

impl PublicKey {
    /// Reads a key (SubjectPublicKeyInfo).
    pub fn read(pem: &[u8]) -> Result<Self, KeyError> {
        let pem = pem::parse(pem).map_err(|_| KeyError::NotPem)?;
        if pem.tag() != PUBLIC {
            return Err(KeyError::Label { label: pem.tag().to_owned(), expected: "public key" });
        }
        let point = pem.contents().strip_prefix(POINT).ok_or(KeyError::Algorithm)?;
        point.try_into().map(Self).map_err(|_| KeyError::Algorithm)
    }

    /// Writes it as PEM.
    pub fn pem(&self) -> String {
        encode(PUBLIC, [POINT, &self.0].concat())
    }

    /// Whether `signature`, in base64, is one of `message` by this key.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature.trim()) else { return false };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0).verify(message, &signature).is_ok()
    }
}

/// Both halves, as files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyPair {
    /// Encrypted with the password.
    pub private: String,
    /// For everybody.
    pub public: String,
}

/// Makes a pair.
pub fn generate(password: &[u8]) -> Result<KeyPair, KeyError> {
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
    let made = made.map_err(|_| KeyError::Random)?;
    let mut random = [0; 56];
    getrandom::fill(&mut random).map_err(|_| KeyError::Random)?;
    let public = PrivateKey::of_pkcs8(made.as_ref())?.public().pem();
    Ok(KeyPair { private: encode(ENCRYPTED[0], boxed::close(made.as_ref(), password, &random)), public })
}

fn encode(label: &str, contents: Vec<u8>) -> String {
    let form = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&Pem::new(label, contents), form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_signs_and_verifies() {
        let pair = generate(b"secret").unwrap();
        assert!(PrivateKey::is_encrypted(pair.private.as_bytes()));
        let private = PrivateKey::read(pair.private.as_bytes(), Some(b"secret")).unwrap();
        let public = PublicKey::read(pair.public.as_bytes()).unwrap();
        assert_eq!(private.public(), public);
        let signature = private.sign(b"message").unwrap();
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"another", &signature));
        assert!(!public.verifies(b"message", "AAAA") && !public.verifies(b"message", "?"));
        let other = PublicKey::read(generate(b"").unwrap().public.as_bytes()).unwrap();
        assert!(!other.verifies(b"message", &signature));
    }

    #[test]
    fn what_is_no_key_is_told() {
        let pair = generate(b"secret").unwrap();
        let read = |pem: &str, password: Option<&[u8]>| PrivateKey::read(pem.as_bytes(), password).unwrap_err();
        assert_eq!(read(&pair.private, None), KeyError::Encrypted);
        assert_eq!(read(&pair.private, Some(b"x")), KeyError::Password);
        assert_eq!(read("x", None), KeyError::NotPem);
        assert!(matches!(read(&pair.public, None), KeyError::Label { .. }));
        assert!(matches!(PublicKey::read(pair.private.as_bytes()), Err(KeyError::Label { .. })));
        let cut = encode(PUBLIC, POINT.to_vec());
        assert_eq!(PublicKey::read(cut.as_bytes()), Err(KeyError::Algorithm));
        assert_eq!(read(&encode(PKCS8, vec![1, 2]), None), KeyError::Algorithm);
        assert_eq!(read(&encode(SEC1, vec![1, 2]), None), KeyError::Sec1);
        assert!(matches!(read(&encode(ENCRYPTED[1], b"{}".to_vec()), Some(b"")), KeyError::Malformed(_)));
    }
}
