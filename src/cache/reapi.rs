//! A shared cache in a service of the Remote Execution API, by name. How it is reached is not said here.

use std::fmt;
use std::str::FromStr;

use super::place::PlaceError;

/// Where in which service. As text `endpoint=grpc[s]://HOST[:PORT][,instance=NAME]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ReapiPlace {
    /// The service, with or without TLS.
    pub endpoint: String,
    /// Which of the caches that it keeps apart, if it does; may be empty.
    pub instance: String,
}

/// Words that stand beside an instance in the names of blobs, and so in none of its own (`GetCapabilitiesRequest`, `ReadBlob`).
const TAKEN: [&str; 9] =
    ["blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs", "chunked", ""];

const PLAIN: &str = "grpc://";
const PROTECTED: &str = "grpcs://";

impl ReapiPlace {
    /// Gives it back if its parts can be names.
    pub fn checked(self) -> Result<Self, PlaceError> {
        let is_plain = |text: &str, also: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c));
        let is_taken = |part: &str| TAKEN.contains(&part);
        match &self {
            Self { endpoint, .. } if !is_endpoint(endpoint) => {
                // What stands there may be a password.
                Err(PlaceError::Service { what: "endpoint (grpc[s]://HOST:PORT)", value: "..".to_owned() })
            }
            Self { instance, .. } if !instance.is_empty() && instance.split('/').any(is_taken) => self.no_instance(),
            Self { instance, .. } if !is_plain(instance, "-._/+:@") => self.no_instance(),
            _ => Ok(self),
        }
    }

    fn no_instance(&self) -> Result<Self, PlaceError> {
        Err(PlaceError::Service { what: "instance", value: self.instance.clone() })
    }

    /// Host, perhaps with a port.
    pub fn address(&self) -> &str {
        self.endpoint.split_once("://").map_or("", |(_, address)| address)
    }

    /// Whether it is reached by TLS.
    pub fn is_protected(&self) -> bool {
        self.endpoint.starts_with(PROTECTED)
    }
}

fn is_endpoint(text: &str) -> bool {
    let Some(address) = text.strip_prefix(PROTECTED).or_else(|| text.strip_prefix(PLAIN)) else { return false };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (address, None),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_host = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_name),
    };
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

impl fmt::Display for ReapiPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint={}", self.endpoint)?;
        if self.instance.is_empty() { Ok(()) } else { write!(f, ",instance={}", self.instance) }
    }
}

impl FromStr for ReapiPlace {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (mut endpoint, mut instance) = (String::new(), String::new());
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("endpoint", value)) => value.clone_into(&mut endpoint),
                Some(("instance", value)) => value.clone_into(&mut instance),
                _ => return Err(PlaceError::Service { what: "attribute", value: "..".to_owned() }),
            }
        }
        Self { endpoint, instance }.checked()
    }
}
