//! Places of shared caches: plain names, so that a record can say where its layer can be had.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::oci::{Reference, ReferenceError};

/// Where a shared cache is. As text `registry:REPOSITORY[:TAG]` or `local:/DIRECTORY`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Place {
    /// A repository of a registry; a tag keeps several caches in it apart.
    Registry(Reference),
    /// A directory, by absolute path.
    Directory(PathBuf),
}

/// Why a text names no place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Another kind of place, of a newer version.
    #[error("`{0}` is no place of a shared cache that this version knows")]
    Kind(String),
    /// The name of a repository.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl Place {
    /// The repository that layers can be taken over from, if it is one.
    pub fn repository(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            Self::Directory(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "registry:{reference}"),
            Self::Directory(path) => write!(f, "local:{}", path.display()),
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.split_once(':') {
            Some(("registry", rest)) => Ok(Self::Registry(Reference::parse(rest)?)),
            Some(("local", rest)) if rest.starts_with('/') => Ok(Self::Directory(PathBuf::from(rest))),
            _ => Err(PlaceError::Kind(text.to_owned())),
        }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl TryFrom<String> for Place {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_its_text() {
        for text in ["registry:host.example:5000/cache:main", "registry:host.example/a/b", "local:/var/cache"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["local:relative", "s3:bucket", "registry:host.example/UPPER", ""] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
