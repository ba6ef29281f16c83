//! How registries are talked to: plain data from the caller.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::docker_config::DockerConfig;

/// Settings of a [`Client`](super::Client).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Registries that may be reached with an unknown certificate, or by plain HTTP when they speak no TLS.
    pub insecure: Insecure,
    /// Credentials and credential helpers.
    pub docker_config: Option<DockerConfig>,
    /// What this client calls itself.
    pub user_agent: String,
    /// How many blobs are moved at once, over all registries.
    pub concurrency: usize,
    /// Hosts (`host[:port]`) to ask first when pulling from a domain; the domain itself is asked last.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Certificate authorities trusted beside those of the system, as PEM.
    pub certificates: Vec<Vec<u8>>,
    /// Proxies.
    pub proxies: Proxies,
    /// How temporary failures are tried again.
    pub retry: Retry,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            insecure: Insecure::default(),
            docker_config: None,
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            concurrency: 6,
            mirrors: BTreeMap::new(),
            certificates: Vec::new(),
            proxies: Proxies::default(),
            retry: Retry::default(),
        }
    }
}

/// Which registries may be reached without a known certificate. Loopback addresses always may.
#[derive(Clone, Debug)]
pub enum Insecure {
    /// These domains, as they stand in references (`host[:port]`).
    Hosts(BTreeSet<String>),
    /// All.
    All,
}

impl Default for Insecure {
    fn default() -> Self {
        Self::Hosts(BTreeSet::new())
    }
}

impl Insecure {
    pub(super) fn contains(&self, domain: &str) -> bool {
        match self {
            Self::Hosts(hosts) => hosts.contains(domain),
            Self::All => true,
        }
    }
}

/// Proxies by the scheme of the request. Loopback addresses are always reached directly.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For `http` requests.
    pub http: Option<String>,
    /// For `https` requests.
    pub https: Option<String>,
    /// Hosts, domains and networks to reach directly, separated by commas (as in `NO_PROXY`).
    pub except: String,
}

impl std::fmt::Debug for Proxies {
    /// A proxy's URL may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("except", &self.except)
            .finish()
    }
}

/// How temporary failures are tried again: after `base`, then twice that, and so on up to `longest`, each shortened by
/// chance to no less than half.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// How often a request is sent in all.
    pub attempts: u32,
    /// The first wait.
    pub base: Duration,
    /// The longest wait, also when the registry asks for a longer one.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, base: Duration::from_millis(200), longest: Duration::from_secs(30) }
    }
}

impl Retry {
    /// Returns how long to wait before attempt `attempt` (1 is the first repetition). `asked` is the registry's
    /// `Retry-After`; `chance` is between 0 and 1.
    pub(super) fn wait(&self, attempt: u32, asked: Option<Duration>, chance: f64) -> Duration {
        if let Some(asked) = asked {
            return asked.min(self.longest);
        }
        let doubled = self.base.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        doubled.min(self.longest).mul_f64(0.5 + chance / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let retry = Retry::default();
        let millis = |attempt, chance| retry.wait(attempt, None, chance).as_millis();
        assert_eq!([millis(1, 0.0), millis(1, 1.0), millis(2, 1.0), millis(3, 1.0)], [100, 200, 400, 800]);
        assert_eq!(millis(40, 1.0), 30_000);
        assert_eq!(retry.wait(1, Some(Duration::from_secs(7)), 0.0), Duration::from_secs(7));
        assert_eq!(retry.wait(1, Some(Duration::from_secs(3600)), 0.0), Duration::from_secs(30));
    }
}
