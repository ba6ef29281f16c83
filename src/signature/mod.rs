//! Signatures of images with a key pair, in the form that cosign gave them ("Cosign Signature Specifications"): keys, payloads and the
//! manifests that carry them, as plain data.
//!
//! ```text
//! repository:sha256-<digest of the image>.sig      a manifest
//!   layers[n]                                      a payload: JSON that names the digest of the image
//!   layers[n].annotations                          its signature: ECDSA on P-256 over SHA-256, ASN.1, base64
//! ```
//!
//! A signature says that somebody with the private key meant this digest. The name that the payload carries is not looked at, as the
//! specification has it: a registry gives the same image many names.
//!
//! cosign's other ways are not here: certificates and transparency logs (keyless signing), keys of cloud services, and the bundles that
//! later versions attach as artifacts. The tests read what is written here with others' tools: signatures with openssl, private keys with
//! libsodium. cosign itself was not run.
//!
//! Not here: registries (`registry`), what is signed and when (`images`), where keys and passwords come from (`cli`).

mod boxed;
mod key;
mod manifest;
mod payload;

pub use key::{KeyError, KeyPair, PrivateKey, PublicKey, generate};
pub use manifest::{Signed, add, signed, tag_of};
pub use payload::{Claim, MEDIA_TYPE, Payload};
