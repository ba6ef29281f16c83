//! Private keys at rest: JSON with a NaCl secret box whose key scrypt makes of a password, as `cosign generate-key-pair` writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};

/// log2 of scrypt's N: the one that every version of the format reads, then those that later ones write.
const COSTS: [u8; 3] = [15, 16, 17];
const BLOCK: u32 = 8;
const PARALLEL: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Boxed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Why a box stays closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It is none, or of a kind that is not known.
    Malformed(&'static str),
    /// The password is another one, or the box was changed.
    Password,
}

/// Opens a box.
pub(super) fn open(json: &[u8], password: &[u8]) -> Result<Vec<u8>, Closed> {
    let boxed: Boxed =
        serde_json::from_slice(json).map_err(|_| Closed::Malformed("it holds no JSON of the known form"))?;
    if boxed.kdf.name != "scrypt" || boxed.cipher.name != "nacl/secretbox" {
        return Err(Closed::Malformed("it is encrypted in an unknown way"));
    }
    let Cost { n, r, p } = boxed.kdf.params;
    // Any other cost could keep the machine busy forever.
    let cost = COSTS.into_iter().find(|cost| 1 << cost == n).filter(|_| (r, p) == (BLOCK, PARALLEL));
    let cost = cost.ok_or(Closed::Malformed("the cost of its password is unusual"))?;
    let decoded = |text: &str| STANDARD.decode(text).map_err(|_| Closed::Malformed("it is no base64"));
    let nonce: [u8; 24] =
        decoded(&boxed.cipher.nonce)?.try_into().map_err(|_| Closed::Malformed("its nonce has another length"))?;
    let cipher = XSalsa20Poly1305::new(&key(password, &decoded(&boxed.kdf.salt)?, cost));
    cipher.decrypt(&Nonce::from(nonce), &decoded(&boxed.ciphertext)?[..]).map_err(|_| Closed::Password)
}

/// Closes a box; `random` are 56 bytes that were never used before.
pub(super) fn close(secret: &[u8], password: &[u8], random: &[u8; 56]) -> Vec<u8> {
    let (salt, nonce) = random.split_at(32);
    let cipher = XSalsa20Poly1305::new(&key(password, salt, COSTS[0]));
    let ciphertext = cipher.encrypt(Nonce::from_slice(nonce), secret).expect("a key is shorter than any limit");
    let boxed = Boxed {
        kdf: Kdf {
            name: "scrypt".to_owned(),
            params: Cost { n: 1 << COSTS[0], r: BLOCK, p: PARALLEL },
            salt: STANDARD.encode(salt),
        },
        cipher: Cipher { name: "nacl/secretbox".to_owned(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    };
    serde_json::to_vec(&boxed).expect("strings and numbers")
}

fn key(password: &[u8], salt: &[u8], cost: u8) -> Key {
    let parameters = scrypt::Params::new(cost, BLOCK, PARALLEL).expect("costs of the table");
    let mut key = [0; 32];
    scrypt::scrypt(password, salt, &parameters, &mut key).expect("a key of 32 bytes");
    Key::from(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_opens_a_box() {
        let boxed = close(b"secret", b"password", &[7; 56]);
        assert_eq!(open(&boxed, b"password"), Ok(b"secret".to_vec()));
        assert_eq!(open(&boxed, b"Password"), Err(Closed::Password));
        let text = String::from_utf8(boxed).unwrap();
        assert!(text.starts_with(r#"{"kdf":{"name":"scrypt","params":{"N":32768,"r":8,"p":1},"salt":"BwcH"#), "{text}");
        let changed = text.replace("32768", "1073741824");
        assert_eq!(
            open(changed.as_bytes(), b"password"),
            Err(Closed::Malformed("the cost of its password is unusual"))
        );
        assert!(matches!(open(b"{}", b""), Err(Closed::Malformed(_))));
    }
}
