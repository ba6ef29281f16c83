//! Image references and platforms as they are typed.

use super::usage::UsageError;
use crate::oci::{Platform, Reference};

/// Reads one reference.
pub(super) fn reference(flag: &'static str, text: &str) -> Result<Reference, UsageError> {
    Reference::parse(text).map_err(|error| UsageError::malformed(flag, text, error.to_string()))
}

/// Reads names to give to an image: each gets a tag, none may have a digest, repeated ones count once.
pub(super) fn tags<'a>(flag: &'static str, typed: impl Iterator<Item = &'a str>) -> Result<Vec<Reference>, UsageError> {
    let mut all = Vec::new();
    for text in typed {
        let malformed = |error: String| UsageError::malformed(flag, text, error);
        let name = reference(flag, text)?;
        if name.digest.is_some() {
            return Err(malformed("refusing to create a tag with a digest reference".to_owned()));
        }
        let tag = name.with_tag(name.tag_or_latest()).map_err(|error| malformed(error.to_string()))?;
        if !all.contains(&tag) {
            all.push(tag);
        }
    }
    Ok(all)
}

/// Reads all `--platform`; `local` is this machine's.
pub(super) fn platforms(typed: &[String]) -> Result<Vec<Platform>, UsageError> {
    let mut all = Vec::new();
    for text in typed.iter().filter(|text| !text.is_empty()) {
        let platform = platform("--platform", text)?;
        if !all.contains(&platform) {
            all.push(platform);
        }
    }
    Ok(all)
}

/// Reads one platform.
pub(super) fn platform(flag: &'static str, text: &str) -> Result<Platform, UsageError> {
    if text == "local" {
        return Ok(Platform::host());
    }
    text.parse().map_err(|error: crate::oci::PlatformError| UsageError::malformed(flag, text, error.to_string()))
}

/// Returns the form under which a named context is looked up: `alpine` for `docker.io/library/alpine:latest`.
pub(super) fn context_name(text: &str) -> String {
    match Reference::parse(text) {
        Ok(name) => {
            let familiar = name.familiar();
            familiar.strip_suffix(":latest").map_or(familiar.clone(), str::to_owned)
        }
        Err(_) => text.to_owned(),
    }
}
