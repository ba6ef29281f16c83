//! An index and its entries as JSON: what kiln does not know of them stays, and `os.version` has its name (`oci-spec` writes another).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::ImagesError;
use crate::digest::Digest;
use crate::export::Document;
use crate::oci::{Descriptor, Platform, REFERENCE_DIGEST, media_type};

/// An entry of an index.
#[derive(Clone, PartialEq, Debug)]
pub struct Listed(pub(super) Map<String, Value>);

impl Listed {
    /// Reads a descriptor; it must have a type, a digest and a size.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Descriptor>(text)?;
        Ok(Self(serde_json::from_str(text)?))
    }

    pub(super) fn of(descriptor: &Descriptor) -> Self {
        match serde_json::to_value(descriptor) {
            Ok(Value::Object(fields)) => Self(fields),
            _ => Self(Map::new()),
        }
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn digest(&self) -> Result<Digest, ImagesError> {
        self.text("digest")
            .parse()
            .map_err(|error: crate::digest::DigestError| ImagesError::Descriptor { problem: error.to_string() })
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.0.get("size")?.as_u64()
    }

    pub(super) fn is_index(&self) -> bool {
        media_type::is_index(self.text("mediaType"))
    }

    pub(super) fn platform(&self) -> Option<Platform> {
        let platform = self.0.get("platform")?;
        let text = |name: &str| platform.get(name).and_then(Value::as_str);
        Some(Platform::new(text("os")?, text("architecture")?, text("variant")))
    }

    /// The image of the same index that this says something of, if it is no image itself.
    pub(super) fn subject(&self) -> Option<Digest> {
        self.0.get("annotations")?.get(REFERENCE_DIGEST)?.as_str()?.parse().ok()
    }

    /// Adds annotations to those that are there.
    pub(super) fn annotate(&mut self, with: BTreeMap<String, String>) {
        annotate(&mut self.0, with);
    }

    /// Takes over what `given` says beyond type, digest and size.
    pub(super) fn overlay(&mut self, given: &Self) {
        for (name, value) in &given.0 {
            match (name.as_str(), value) {
                ("mediaType" | "digest" | "size", _) => {}
                ("annotations", Value::Object(all)) => {
                    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
                    self.annotate(all.iter().filter_map(text).collect());
                }
                (name, value) => drop(self.0.insert(name.to_owned(), value.clone())),
            }
        }
    }
}

/// Adds annotations to a document or a descriptor.
pub(super) fn annotate(fields: &mut Map<String, Value>, with: BTreeMap<String, String>) {
    if with.is_empty() {
        return;
    }
    if !fields.get("annotations").is_some_and(Value::is_object) {
        fields.insert("annotations".to_owned(), json!({}));
    }
    if let Some(Value::Object(all)) = fields.get_mut("annotations") {
        all.extend(with.into_iter().map(|(key, value)| (key, Value::from(value))));
    }
}

/// The fields of an index, and its entries.
pub(super) type Parts = (Map<String, Value>, Vec<Listed>);

/// Reads an index.
pub(super) fn read(bytes: &[u8]) -> Result<Parts, ImagesError> {
    let wrong = |source| ImagesError::Parse { digest: Digest::of(bytes), source };
    // What is no index is found by the type that says what one is.
    serde_json::from_slice::<crate::oci::Index>(bytes).map_err(wrong)?;
    let mut fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(wrong)?;
    let entries = match fields.get_mut("manifests").map(Value::take) {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    let entry = |entry| match entry {
        Value::Object(fields) => Listed(fields),
        _ => Listed(Map::new()),
    };
    Ok((fields, entries.into_iter().map(entry).collect()))
}

/// The fields of an index that says nothing yet.
pub(super) fn new() -> Map<String, Value> {
    let fields = [("schemaVersion", json!(2)), ("mediaType", Value::Null), ("manifests", Value::Null)];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Writes an index. It is one of docker's if all it lists is docker's, and nothing in it is beyond what docker's can say.
pub(super) fn write(mut fields: Map<String, Value>, entries: &[Listed]) -> Document {
    let is_docker =
        |entry: &Listed| entry.text("mediaType") == media_type::DOCKER_MANIFEST && !entry.0.contains_key("annotations");
    let docker = !entries.is_empty() && !fields.contains_key("annotations") && entries.iter().all(is_docker);
    let kind = if docker { media_type::DOCKER_INDEX } else { media_type::OCI_INDEX };
    fields.insert("mediaType".to_owned(), Value::from(kind));
    fields.insert("manifests".to_owned(), entries.iter().map(|entry| Value::Object(entry.0.clone())).collect());
    Document::of(kind, &Value::Object(fields))
}
