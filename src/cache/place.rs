//! Places of shared caches: plain names, so that a record can say where its layer can be had.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::reapi::ReapiPlace;
use super::s3::S3Place;
use crate::oci::{Reference, ReferenceError};

/// Where a shared cache is. As text `registry:REPOSITORY[:TAG]`, `local:/DIRECTORY`, `s3:bucket=B,region=R..` or
/// `reapi:endpoint=E..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Place {
    /// A repository of a registry; a tag keeps several caches in it apart.
    Registry(Reference),
    /// A directory, by absolute path.
    Directory(PathBuf),
    /// Objects in a bucket.
    S3(S3Place),
    /// Results in a service of the Remote Execution API.
    Reapi(ReapiPlace),
}

/// Why a text names no place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Another kind of place, of a newer version.
    #[error("`{0}` is no place of a shared cache that this version knows")]
    Kind(String),
    /// Part of the name of a bucket.
    #[error("`{value}` is no {what} of a cache in a bucket")]
    Bucket {
        /// Which.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// Part of the name of a cache in a service.
    #[error("`{value}` is no {what} of a cache in a service of remote execution")]
    Service {
        /// Which.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// The name of a repository.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl Place {
    /// The repository that layers can be taken over from, if it is one.
    pub fn repository(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            Self::Directory(_) | Self::S3(_) | Self::Reapi(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "registry:{reference}"),
            Self::Directory(path) => write!(f, "local:{}", path.display()),
            Self::S3(place) => write!(f, "s3:{place}"),
            Self::Reapi(place) => write!(f, "reapi:{place}"),
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.split_once(':') {
            Some(("registry", rest)) => Ok(Self::Registry(Reference::parse(rest)?)),
            Some(("local", rest)) if rest.starts_with('/') => Ok(Self::Directory(PathBuf::from(rest))),
            Some(("s3", rest)) => Ok(Self::S3(rest.parse()?)),
            Some(("reapi", rest)) => Ok(Self::Reapi(rest.parse()?)),
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
        let bucket = "s3:bucket=b,region=us-east-1";
        let elsewhere = format!(
            "{bucket},prefix=a/b,blobs_prefix=c,manifests_prefix=d/e,name=main,endpoint_url=http://[::1]:9000/x,use_path_style=true"
        );
        let plain = ["registry:host.example:5000/cache:main", "registry:host.example/a/b", "local:/var/cache"];
        let services = ["reapi:endpoint=grpc://[::1]:9092", "reapi:endpoint=grpcs://host.example,instance=team/main"];
        for text in plain.into_iter().chain([bucket, &elsewhere]).chain(services) {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        let secret = "s3:bucket=b,region=r,secret_access_key=k";
        let user = "s3:bucket=b,region=r,endpoint_url=http://me:hunter2@host.example";
        for rest in [
            "http://h:1",
            "grpc://",
            "grpc://:1",
            "grpc://me:hunter2@h",
            "grpc://h:x",
            "grpc://h/path",
            "grpc://h:1,x=y",
        ] {
            let error = format!("reapi:endpoint={rest}").parse::<Place>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for instance in ["a//b", "/a", "a/blobs/b", "a b", "uploads"] {
            assert!(format!("reapi:endpoint=grpc://h:1,instance={instance}").parse::<Place>().is_err(), "{instance}");
        }
        for text in ["local:relative", "s3:bucket", "s3:bucket=b", secret, user, "registry:host.example/UPPER", ""] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
