//! `annotate`: what an index of the store says of itself and of its images.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::ImagesError;
use super::{Listed, Lock, Sources, index_in_store, listed};
use crate::digest::Digest;

/// What shall be said of one entry, or of the index. What is `None` stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// The operating system.
    pub os: Option<String>,
    /// The architecture.
    pub architecture: Option<String>,
    /// Its variant; an empty one is none.
    pub variant: Option<String>,
    /// The version of the operating system; an empty one is none.
    pub os_version: Option<String>,
    /// What the operating system must have.
    pub os_features: Vec<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Changes what the index `list` of the store says of `entry` (a digest, the start of one, or a name), or of itself.
pub async fn annotate(
    sources: &Sources<'_>,
    list: &str,
    entry: Option<&str>,
    change: &Change,
) -> Result<(), ImagesError> {
    let _alone = Lock::take(sources.root)?;
    let (name, target, (mut fields, mut entries)) = index_in_store(sources.store, list)?;
    let name = name.ok_or_else(|| ImagesError::NotAnIndex { name: list.to_owned() })?;
    match entry {
        Some(entry) => {
            let at = position(sources, &entries, entry).await?;
            let at = at.ok_or_else(|| ImagesError::NoEntry { list: list.to_owned(), entry: entry.to_owned() })?;
            of_entry(&mut entries[at], change);
        }
        None => listed::annotate(&mut fields, change.annotations.clone()),
    }
    let mut made = listed::write(fields, &entries);
    sources.store.put(&made.bytes)?;
    // What the store remembers of it goes with it.
    let remembered = target.annotations().clone().unwrap_or_default();
    made.annotate(remembered.into_iter().filter(|(key, _)| key.starts_with("io.kiln.")));
    Ok(sources.store.set_tag(&name, made.descriptor)?)
}

/// Which entry is meant. A name of the store counts before the start of a digest that it looks like.
async fn position(sources: &Sources<'_>, entries: &[Listed], text: &str) -> Result<Option<usize>, ImagesError> {
    let digits = text.rsplit_once('@').map_or(text, |(_, digest)| digest);
    let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
    let digests: Vec<_> = entries.iter().map(|entry| entry.digest().ok()).collect();
    let is_name = digits == text && matches!(sources.store.resolve_tag(text), Ok(Some(_)));
    let begins = |at: &usize| {
        let is_start = |digest: &Digest| !digits.is_empty() && !is_name && digest.hex().starts_with(digits);
        digests[*at].as_ref().is_some_and(is_start)
    };
    let found: Vec<usize> = (0..entries.len()).filter(begins).collect();
    match found[..] {
        [at] => return Ok(Some(at)),
        [] => {}
        _ => {
            let ids = found.iter().filter_map(|at| Some(digests[*at]?.hex()[..12].to_owned())).collect();
            return Err(ImagesError::Ambiguous { prefix: text.to_owned(), ids });
        }
    }
    if digits != text {
        return Ok(None);
    }
    let named = match sources.named(text).await {
        Ok(named) => named,
        Err(ImagesError::NoSuchImage { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_named = |digest| named.entries.iter().any(|entry| Some(entry.digest()) == digest);
    Ok(digests.into_iter().position(is_named))
}

fn of_entry(entry: &mut Listed, change: &Change) {
    let mut platform = match entry.0.get("platform") {
        Some(Value::Object(platform)) => platform.clone(),
        _ => Map::new(),
    };
    for (name, value) in [
        ("architecture", &change.architecture),
        ("os", &change.os),
        ("os.version", &change.os_version),
        ("variant", &change.variant),
    ] {
        match value.as_deref() {
            None => {}
            Some("") => drop(platform.shift_remove(name)),
            Some(value) => drop(platform.insert(name.to_owned(), Value::from(value))),
        }
    }
    if !change.os_features.is_empty() {
        platform.insert("os.features".to_owned(), Value::from(change.os_features.clone()));
    }
    if !platform.is_empty() {
        entry.0.insert("platform".to_owned(), Value::Object(platform));
    }
    entry.annotate(change.annotations.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{descriptor, media_type};

    #[test]
    fn what_is_said_of_an_entry_is_changed_and_the_rest_stays() {
        let mut entry = Listed::of(&descriptor(media_type::DOCKER_MANIFEST, &Digest::of(b"x"), 1));
        entry.0.insert("unknown".to_owned(), Value::from("stays"));
        let before = entry.clone();
        of_entry(&mut entry, &Change::default());
        assert_eq!(entry, before);
        let change = Change {
            os: Some("windows".to_owned()),
            architecture: Some("arm".to_owned()),
            variant: Some("v7".to_owned()),
            os_version: Some("10.0".to_owned()),
            os_features: vec!["win32k".to_owned()],
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        };
        of_entry(&mut entry, &change);
        of_entry(&mut entry, &Change { variant: Some(String::new()), ..Change::default() });
        assert_eq!(
            Value::Object(entry.0.clone())["platform"],
            serde_json::json!({ "architecture": "arm", "os": "windows", "os.version": "10.0", "os.features": ["win32k"] })
        );
        assert_eq!(entry.text("unknown"), "stays");
        let index = |entry: Listed| listed::write(listed::new(), &[entry]).descriptor.media_type().to_string();
        assert_eq!(index(entry.clone()), media_type::OCI_INDEX);
        entry.0.shift_remove("annotations");
        assert_eq!(index(entry), media_type::DOCKER_INDEX);
    }
}
