//! A cache in the config of an image: what its own steps made, for who has nothing but the image.
//!
//! ```json
//! {"architecture":"amd64", .., "io.kiln.cache.v1":[{"version":1,"key":"..", .., "layer":{..}}], ..}
//! ```
//!
//! The records have no facts (their hashes only), and their layers are those of the manifest: a record whose layer the manifest does not
//! list is left out.

use serde_json::Value;

use super::record::{RecordError, SharedRecord};
use crate::oci::{ImageConfig, Manifest};

/// The most records that are read of one image.
const RECORDS_LIMIT: usize = 512;

/// Puts records into a config.
pub fn write(config: &mut ImageConfig, records: &[SharedRecord]) {
    let records = records.iter().cloned().map(SharedRecord::without_facts);
    let records: Result<Vec<Value>, _> = records.map(serde_json::to_value).collect();
    config.cache = records.ok().filter(|records| !records.is_empty()).map(Value::Array);
}

/// Reads the records of an image that is not trusted.
pub(super) fn read(config: &[u8], manifest: &Manifest) -> Result<Vec<SharedRecord>, RecordError> {
    let config: ImageConfig =
        serde_json::from_slice(config).map_err(|error| RecordError::Malformed(error.to_string()))?;
    let Some(Value::Array(records)) = config.cache else { return Ok(Vec::new()) };
    let read = |record: Value| SharedRecord::parse(record.to_string().as_bytes()).ok();
    let is_listed =
        |record: &SharedRecord| manifest.layers().iter().any(|layer| layer.digest() == record.layer().digest());
    Ok(records.into_iter().take(RECORDS_LIMIT).filter_map(read).filter(is_listed).collect())
}
