//! A shared cache in a bucket of an S3-compatible store, by name. Who may read or write it is not said here.

use std::fmt;
use std::str::FromStr;

use super::place::PlaceError;

/// Where in which bucket. As text `bucket=B,region=R` and what is not empty of `prefix=P`, `blobs_prefix=B`, `manifests_prefix=M`,
/// `name=N`, `endpoint_url=U` and `use_path_style=true`, in this order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct S3Place {
    /// The bucket.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// What stands before all names, without a slash at its end; may be empty.
    pub prefix: String,
    /// What stands before the names of layers in place of `blobs`; may be empty.
    pub blobs: String,
    /// What stands before the names of records in place of `steps`; may be empty.
    pub manifests: String,
    /// The name of this cache among those with the same prefix, which share layers; may be empty.
    pub name: String,
    /// The address of the store: scheme, host, perhaps port and path. `None` is AWS.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path and not before the host.
    pub path_style: bool,
}

/// What may stand in names of objects beside letters and digits.
const NAMES: &str = "-._/!~";

impl S3Place {
    /// Gives it back as it is kept, if its parts can be names.
    pub fn checked(mut self) -> Result<Self, PlaceError> {
        for text in [&mut self.prefix, &mut self.blobs, &mut self.manifests, &mut self.name] {
            *text = text.trim_matches('/').to_owned();
        }
        let wrong = |what, value: &str| Err(PlaceError::Bucket { what, value: value.to_owned() });
        let is_plain = |text: &str, also: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c));
        match &self {
            Self { bucket, .. } if bucket.is_empty() || !is_plain(bucket, "-._") => wrong("bucket", bucket),
            Self { region, .. } if region.is_empty() || !is_plain(region, "-_") => wrong("region", region),
            Self { prefix, .. } if !is_plain(prefix, NAMES) => wrong("prefix", prefix),
            Self { blobs, .. } if !is_plain(blobs, NAMES) => wrong("blobs_prefix", blobs),
            Self { manifests, .. } if !is_plain(manifests, NAMES) => wrong("manifests_prefix", manifests),
            Self { name, .. } if !is_plain(name, NAMES) => wrong("name", name),
            Self { endpoint: Some(endpoint), .. } if !is_address(endpoint) => {
                // What stands there may be a password.
                wrong("endpoint_url", "..")
            }
            _ => Ok(self),
        }
    }
}

/// `http[s]://HOST[:PORT][/PATH]`, without user, query or what a list of fields could not hold.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%".contains(c);
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':']) && rest.chars().all(is_part))
}

impl fmt::Display for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bucket={},region={}", self.bucket, self.region)?;
        let endpoint = self.endpoint.as_deref().unwrap_or_default();
        for (key, value) in [
            ("prefix", self.prefix.as_str()),
            ("blobs_prefix", &self.blobs),
            ("manifests_prefix", &self.manifests),
            ("name", &self.name),
            ("endpoint_url", endpoint),
        ] {
            if !value.is_empty() {
                write!(f, ",{key}={value}")?;
            }
        }
        if self.path_style { f.write_str(",use_path_style=true") } else { Ok(()) }
    }
}

impl FromStr for S3Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let mut place = Self::default();
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("bucket", value)) => value.clone_into(&mut place.bucket),
                Some(("region", value)) => value.clone_into(&mut place.region),
                Some(("prefix", value)) => value.clone_into(&mut place.prefix),
                Some(("blobs_prefix", value)) => value.clone_into(&mut place.blobs),
                Some(("manifests_prefix", value)) => value.clone_into(&mut place.manifests),
                Some(("name", value)) => value.clone_into(&mut place.name),
                Some(("endpoint_url", value)) => place.endpoint = Some(value.to_owned()),
                Some(("use_path_style", "true")) => place.path_style = true,
                _ => return Err(PlaceError::Kind(format!("s3:{text}"))),
            }
        }
        place.checked()
    }
}
