//! What a shared cache holds under a key: one small document, written once.
//!
//! ```json
//! {"version":1,"key":"<64 hex>","preimage":"<64 hex>","facts":"op = run/1\n..","diffId":"sha256:..","length":10240,
//!  "layer":{"mediaType":"..","digest":"sha256:..","size":512},"codec":"gzip-6.3","created":"2026-01-01T00:00:00Z",
//!  "milliseconds":1200,"peakMemoryBytes":1048576,"builder":"kiln/0.1.0",
//!  "signatures":[{"key":"<64 hex>","signature":"<base64>"}]}
//! ```
//!
//! `preimage` is the blake3 of `facts`, which may be left out where there is no room for them. Facts have ids and places of secrets, and
//! never a value; but they have what ARG and ENV say, as the history of an image has.
//!
//! Whoever reads one believes nothing of it: [`SharedRecord::accept`].

use serde::{Deserialize, Serialize};

use super::trust::{Distrust, SigningKey, Statement, Trust};
use crate::cache::{Elsewhere, Imported, Key, Place, Record, Signature};
use crate::digest::{DiffId, to_hex};
use crate::oci::{Compression, Descriptor, digest_of, media_type, parse_rfc3339};

/// The version written, and the only one that is read.
const VERSION: u32 = 1;

/// The longest record that is read, in bytes.
pub(super) const RECORD_LIMIT: u64 = 1 << 20;

/// A record as it is in a shared cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedRecord {
    version: u32,
    key: String,
    preimage: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    facts: String,
    diff_id: DiffId,
    length: u64,
    layer: Descriptor,
    codec: String,
    created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peak_memory_bytes: Option<u64>,
    builder: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signatures: Vec<Signature>,
}

/// Why a record is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is no JSON of this form.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// It is of another version.
    #[error("it is of version {0}, and this kiln reads {VERSION}")]
    Version(u32),
    /// It is the record of another step.
    #[error("it is not the record of this step: its {0} differs")]
    OtherStep(&'static str),
    /// What it says of the layer makes no sense.
    #[error("its {0} makes no sense")]
    Senseless(&'static str),
    /// Nobody who is trusted vouches for it.
    #[error(transparent)]
    Distrusted(#[from] Distrust),
}

impl SharedRecord {
    /// Makes the record of a step whose layer is `layer`, as `codec` wrote it. Signatures of a record that says the same stay.
    pub fn new(key: &Key, record: &Record, layer: Descriptor, codec: String) -> Self {
        let preimage = preimage(&record.facts);
        let is_same = |imported: &&Imported| {
            let says = (imported.key == key.hex(), imported.preimage == preimage, imported.codec == codec);
            says == (true, true, true) && is_same_blob(&imported.layer, &layer)
        };
        let same = record.imported.as_ref().filter(is_same);
        let signatures = same.map(|imported| imported.signatures.clone()).unwrap_or_default();
        Self {
            version: VERSION,
            key: key.hex(),
            preimage,
            facts: record.facts.clone(),
            diff_id: record.diff_id,
            length: record.length,
            layer,
            codec,
            created: record.created.clone(),
            milliseconds: record.milliseconds,
            peak_memory_bytes: record.peak_memory,
            builder: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            signatures,
        }
    }

    /// The same with a signature of this key.
    #[must_use]
    pub fn signed(mut self, key: &SigningKey) -> Self {
        let signature = key.sign(&self.statement().to_bytes());
        self.signatures.retain(|known| known.key != signature.key);
        self.signatures.insert(0, signature);
        self
    }

    fn statement(&self) -> Statement<'_> {
        Statement {
            version: self.version,
            key: &self.key,
            preimage: &self.preimage,
            diff_id: self.diff_id,
            length: self.length,
            layer: &self.layer,
            codec: &self.codec,
            created: &self.created,
        }
    }

    /// Gives it back if somebody signed it who is trusted.
    pub(super) fn trusted(self, trust: &Trust) -> Result<Self, RecordError> {
        trust.judge(&self.statement().to_bytes(), &self.signatures)?;
        Ok(self)
    }

    /// The same without its facts.
    #[must_use]
    pub fn without_facts(self) -> Self {
        Self { facts: String::new(), ..self }
    }

    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let malformed = |error: serde_json::Error| RecordError::Malformed(error.to_string());
        /// A later version may be anything else.
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
        match head.version {
            VERSION => serde_json::from_slice(bytes).map_err(malformed),
            other => Err(RecordError::Version(other)),
        }
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::oci::to_json(self)
    }

    /// The key that it says it is the record of.
    pub fn key(&self) -> Option<Key> {
        Key::from_hex(&self.key)
    }

    /// The blob of the layer.
    pub fn layer(&self) -> &Descriptor {
        &self.layer
    }

    /// Gives it back if it agrees with itself, and is the record of this key.
    pub fn of_key(self, key: &Key) -> Result<Self, RecordError> {
        if self.key != key.hex() {
            return Err(RecordError::OtherStep("key"));
        }
        match self.facts.is_empty() || self.preimage == preimage(&self.facts) {
            true => Ok(self),
            false => Err(RecordError::OtherStep("facts")),
        }
    }

    /// Returns what it says of the step with this key and these facts, found at `place`, if it is the record of that step. That the
    /// layer is what it says is seen when its bytes are read.
    pub fn accept(self, key: &Key, facts: &str, place: &Place) -> Result<Record, RecordError> {
        let shared = self.of_key(key)?;
        if shared.preimage != preimage(facts) {
            return Err(RecordError::OtherStep("facts"));
        }
        let kind = shared.layer.media_type().as_ref();
        if Compression::of(kind).is_none()
            || media_type::is_undistributed_layer(kind)
            || digest_of(&shared.layer).is_err()
        {
            return Err(RecordError::Senseless("layer"));
        }
        if parse_rfc3339(&shared.created).is_none() {
            return Err(RecordError::Senseless("time"));
        }
        // Nothing but type, digest and size is taken over: annotations and addresses would reach the image.
        let layer = crate::oci::descriptor(
            kind,
            &digest_of(&shared.layer).map_err(|_| RecordError::Senseless("layer"))?,
            shared.layer.size(),
        );
        let imported = Imported {
            place: place.clone(),
            key: shared.key,
            preimage: shared.preimage,
            layer: layer.clone(),
            codec: shared.codec.clone(),
            signatures: shared.signatures,
        };
        Ok(Record {
            diff_id: shared.diff_id,
            length: shared.length,
            created: shared.created,
            facts: facts.to_owned(),
            milliseconds: shared.milliseconds,
            peak_memory: shared.peak_memory_bytes,
            elsewhere: Some(Elsewhere { layer, codec: shared.codec, places: vec![place.clone()] }),
            imported: Some(imported),
        })
    }
}

/// Whether somebody who is trusted signed the record that a record of this machine came from.
pub(super) fn judge_imported(record: &Record, imported: &Imported, trust: &Trust) -> Result<(), Distrust> {
    let statement = Statement {
        version: VERSION,
        key: &imported.key,
        preimage: &imported.preimage,
        diff_id: record.diff_id,
        length: record.length,
        layer: &imported.layer,
        codec: &imported.codec,
        created: &record.created,
    };
    trust.judge(&statement.to_bytes(), &imported.signatures)
}

fn is_same_blob(one: &Descriptor, other: &Descriptor) -> bool {
    let of = |layer: &Descriptor| (layer.media_type().to_string(), layer.digest().to_string(), layer.size());
    of(one) == of(other)
}

fn preimage(facts: &str) -> String {
    to_hex(blake3::hash(facts.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::oci::descriptor;

    fn key(hex: char) -> Key {
        Key::from_hex(&hex.to_string().repeat(64)).unwrap()
    }

    fn record() -> SharedRecord {
        let made = Record {
            diff_id: DiffId(Digest::of(b"tar")),
            length: 3,
            created: "2026-01-01T00:00:00Z".to_owned(),
            facts: "op = run/1\n".to_owned(),
            milliseconds: Some(7),
            peak_memory: Some(9),
            elsewhere: None,
            imported: None,
        };
        let layer = descriptor(media_type::OCI_LAYER_GZIP, &Digest::of(b"gz"), 2);
        SharedRecord::new(&key('a'), &made, layer, "gzip-6.1".to_owned())
    }

    fn place() -> Place {
        "registry:host.example/cache".parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_accepted() {
        let read = SharedRecord::parse(&record().to_bytes()).unwrap();
        assert_eq!(read, record());
        let accepted = read.accept(&key('a'), "op = run/1\n", &place()).unwrap();
        assert_eq!((accepted.length, accepted.milliseconds, accepted.peak_memory), (3, Some(7), Some(9)));
        assert_eq!(accepted.elsewhere.unwrap().places, [place()]);
        record().without_facts().accept(&key('a'), "op = run/1\n", &place()).unwrap();
    }

    #[test]
    fn the_record_of_another_step_is_refused() {
        let refused = |record: SharedRecord, key: &Key, facts: &str| record.accept(key, facts, &place()).unwrap_err();
        assert_eq!(refused(record(), &key('b'), "op = run/1\n"), RecordError::OtherStep("key"));
        assert_eq!(refused(record(), &key('a'), "op = run/2\n"), RecordError::OtherStep("facts"));
        let forged = SharedRecord { facts: "op = run/2\n".to_owned(), ..record() };
        assert_eq!(refused(forged, &key('a'), "op = run/1\n"), RecordError::OtherStep("facts"));
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |record: SharedRecord| record.accept(&key('a'), "op = run/1\n", &place()).unwrap_err();
        let no_layer = descriptor(media_type::OCI_CONFIG, &Digest::of(b"gz"), 2);
        assert_eq!(refused(SharedRecord { layer: no_layer, ..record() }), RecordError::Senseless("layer"));
        assert_eq!(refused(SharedRecord { created: "now".to_owned(), ..record() }), RecordError::Senseless("time"));
        assert!(matches!(SharedRecord::parse(b"<html>"), Err(RecordError::Malformed(_))));
        assert_eq!(SharedRecord::parse(br#"{"version":2}"#), Err(RecordError::Version(2)));
    }

    #[test]
    fn nothing_of_a_record_but_the_layer_reaches_an_image() {
        let mut tampered = record();
        tampered.layer.set_annotations(Some([("org.example".to_owned(), "x".to_owned())].into()));
        let accepted = tampered.accept(&key('a'), "op = run/1\n", &place()).unwrap();
        assert_eq!(accepted.elsewhere.unwrap().layer.annotations(), &None);
    }
}
