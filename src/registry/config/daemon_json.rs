//! docker's `daemon.json`: what a docker daemon on this machine is told of registries.

use std::net::IpAddr;
use std::path::Path;

use reqwest::Url;
use serde::Deserialize;

use super::{ConfigError, ConfigFiles, read_if_allowed};

/// What all files say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in super::super) struct Daemon {
    /// Mirrors of the default domain, in order.
    pub(in super::super) mirrors: Vec<Url>,
    insecure: Vec<Insecure>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Insecure {
    Host(String),
    Network { address: IpAddr, bits: u32 },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[derive(Default)]
struct File {
    registry_mirrors: Vec<String>,
    insecure_registries: Vec<String>,
}

impl Daemon {
    /// Reads all files that are there.
    pub(in super::super) fn read(files: &ConfigFiles) -> Result<Self, ConfigError> {
        let mut all = Self::default();
        for path in &files.daemon {
            if let Some(text) = read_if_allowed(path)? {
                all.add(&text, path)?;
            }
        }
        Ok(all)
    }

    fn add(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let wrong = |line, detail| ConfigError::Line { path: path.to_owned(), line, detail };
        let file: File = serde_json::from_str(text).map_err(|error| wrong(error.line(), error.to_string()))?;
        for mirror in file.registry_mirrors {
            let url = Url::parse(&mirror).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            // JSON keeps no places; the text is found again.
            let line = || 1 + text[..text.find(&format!("\"{mirror}\"")).unwrap_or(0)].matches('\n').count();
            self.mirrors
                .push(url.ok_or_else(|| wrong(line(), format!("the mirror `{mirror}` is no http or https URL")))?);
        }
        self.insecure.extend(file.insecure_registries.iter().map(|text| insecure(text)));
        Ok(())
    }

    /// Whether a host may do without a certificate. Networks are compared with addresses, names are not looked up.
    pub(in super::super) fn is_insecure(&self, host: &str) -> bool {
        let bare = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.split(':').next().unwrap_or(host),
        };
        self.insecure.iter().any(|insecure| match insecure {
            Insecure::Host(name) => name == host,
            Insecure::Network { address, bits } => {
                bare.parse().is_ok_and(|found: IpAddr| network(found, *bits) == network(*address, *bits))
            }
        })
    }
}

/// `10.0.0.0/8` is a network, everything else a host; some write it as a URL.
fn insecure(text: &str) -> Insecure {
    let parts = text.split_once('/').and_then(|(address, bits)| Some((address.parse().ok()?, bits.parse().ok()?)));
    match parts {
        Some((address, bits)) => Insecure::Network { address, bits },
        None => {
            let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
            Insecure::Host(bare.trim_end_matches('/').to_owned())
        }
    }
}

/// The first bits of an address, with its kind.
fn network(address: IpAddr, bits: u32) -> (bool, u128) {
    let (is_v4, number, length) = match address {
        IpAddr::V4(address) => (true, u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (false, address.to_bits(), 128),
    };
    (is_v4, number.checked_shr(length - bits.min(length)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_networks_are_insecure() {
        let mut daemon = Daemon::default();
        let text = r#"{"insecure-registries": ["r.example:5000", "10.1.0.0/16", "http://u.example/", "fd00::/8"], "debug": true}"#;
        daemon.add(text, Path::new("daemon.json")).unwrap();
        for host in ["r.example:5000", "10.1.2.3", "10.1.2.3:5000", "u.example", "[fd00::1]:5000"] {
            assert!(daemon.is_insecure(host), "{host}");
        }
        for host in ["r.example", "10.2.2.3", "a.u.example", "[fe00::1]"] {
            assert!(!daemon.is_insecure(host), "{host}");
        }
    }

    #[test]
    fn mistakes_have_a_line() {
        let wrong = |text: &str| Daemon::default().add(text, Path::new("d.json")).unwrap_err().to_string();
        assert!(wrong("{\n \"registry-mirrors\": 1}").starts_with("d.json:2: invalid type: integer"));
        assert_eq!(wrong("{\n\"registry-mirrors\": [\n\"m\"]}"), "d.json:3: the mirror `m` is no http or https URL");
    }
}
