//! What is signed: a text that names the digest of an image ("Simple Signing", containers-signature(5)).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::oci::{DEFAULT_DOMAIN, Reference, to_json};

/// Media type of a payload.
pub const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

const TYPE: &str = "cosign container image signature";

/// A payload, as read from a signature.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Payload {
    critical: Critical,
    #[serde(default)]
    optional: Option<BTreeMap<String, Value>>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Image {
    // The specification writes a capital in places.
    #[serde(rename = "docker-manifest-digest", alias = "Docker-manifest-digest")]
    digest: String,
}

/// What a signature must say.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// The digest of the image.
    pub digest: Digest,
    /// Annotations that it must carry; others may be there, too.
    pub annotations: &'a BTreeMap<String, String>,
}

impl Payload {
    /// Makes the payload of an image.
    pub fn new(image: &Reference, digest: &Digest, annotations: &BTreeMap<String, String>) -> Self {
        // cosign knows Docker Hub by the name of its old index.
        let name = match image.domain.as_str() {
            DEFAULT_DOMAIN => format!("index.{}", image.name()),
            _ => image.name(),
        };
        let optional = annotations.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        Self {
            critical: Critical {
                identity: Identity { reference: name },
                image: Image { digest: digest.to_string() },
                kind: TYPE.to_owned(),
            },
            optional: (!annotations.is_empty()).then(|| optional.collect()),
        }
    }

    /// Reads one; `None` if the bytes are none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// What is signed, byte for byte.
    pub fn bytes(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Whether it says what it must; otherwise what it lacks.
    pub fn says(&self, claim: &Claim<'_>) -> Result<(), String> {
        if self.critical.kind != TYPE {
            return Err(format!("it is a `{}`, not a `{TYPE}`", self.critical.kind));
        }
        if self.critical.image.digest != claim.digest.to_string() {
            return Err(format!("it is about {}", self.critical.image.digest));
        }
        for (name, value) in claim.annotations {
            let found = self.optional.as_ref().and_then(|optional| optional.get(name));
            if found.and_then(Value::as_str) != Some(value) {
                return Err(format!("it has no annotation {name}={value}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_written_as_cosign_writes_it() {
        let (digest, none) = (Digest::of(b""), BTreeMap::new());
        let of = |name: &str, annotations: &BTreeMap<String, String>| {
            String::from_utf8(Payload::new(&Reference::parse(name).unwrap(), &digest, annotations).bytes()).unwrap()
        };
        assert_eq!(
            of("reg.example:5000/a:1", &none),
            format!(
                r#"{{"critical":{{"identity":{{"docker-reference":"reg.example:5000/a"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
            )
        );
        let annotations = BTreeMap::from([("b".to_owned(), "<2>".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let text = of("alpine", &annotations);
        assert!(text.contains(r#""docker-reference":"index.docker.io/library/alpine""#), "{text}");
        assert!(text.ends_with(r#""optional":{"a":"1","b":"\u003c2\u003e"}}"#), "{text}");
    }

    #[test]
    fn a_payload_must_say_what_is_claimed() {
        let (digest, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let annotations = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let payload = Payload::new(&Reference::parse("x").unwrap(), &digest, &annotations);
        let payload = Payload::read(&payload.bytes()).unwrap();
        let none = BTreeMap::new();
        assert_eq!(payload.says(&Claim { digest, annotations: &none }), Ok(()));
        assert_eq!(payload.says(&Claim { digest, annotations: &annotations }), Ok(()));
        assert!(payload.says(&Claim { digest: other, annotations: &none }).is_err());
        let wrong = BTreeMap::from([("a".to_owned(), "2".to_owned())]);
        assert_eq!(payload.says(&Claim { digest, annotations: &wrong }), Err("it has no annotation a=2".to_owned()));
        let text = String::from_utf8(payload.bytes()).unwrap().replace("cosign container", "atomic container");
        assert!(Payload::read(text.as_bytes()).unwrap().says(&Claim { digest, annotations: &none }).is_err());
        assert_eq!(Payload::read(b"{}"), None);
    }
}
