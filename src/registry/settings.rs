//! How registries are talked to: plain data from the caller.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::ConfigFiles;
use super::docker_config::DockerConfig;

/// Settings of a [`Client`](super::Client).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Registries that may be reached with an unknown certificate, or by plain HTTP when they speak no TLS.
    pub insecure: Insecure,
    /// Where configuration is looked for.
    pub files: ConfigFiles,
    /// Credentials that count before those of the files.
    pub docker_config: Option<DockerConfig>,
    /// What this client calls itself.
    pub user_agent: String,
    /// How many blobs are moved at once, over all registries.
    pub concurrency: usize,
    /// Proxies.
    pub proxies: Proxies,
    /// How temporary failures are tried again.
    pub retry: Retry,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            insecure: Insecure::default(),
            files: ConfigFiles::default(),
            docker_config: None,
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            concurrency: 6,
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
#[derive(Clone, PartialEq, Eq, Default)]
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
    /// The longest wait of our own.
    pub longest: Duration,
    /// The longest wait that a registry may ask for; one that asks for more is not asked again.
    pub longest_asked: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        let (longest, longest_asked) = (Duration::from_secs(30), Duration::from_secs(300));
        Self { attempts: 5, base: Duration::from_millis(200), longest, longest_asked }
    }
}

impl Retry {
    /// Returns how long to wait before attempt `attempt` (1 is the first repetition); `None` when there is to be none. `asked`
    /// is the registry's `Retry-After`; `chance` is between 0 and 1.
    pub(super) fn wait(&self, attempt: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doubled = self.base.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let own = doubled.min(self.longest).mul_f64(0.5 + chance / 2.0);
        match asked {
            None => Some(own),
            // Those who are all told the same time do not come back at the same moment.
            Some(asked) if asked <= self.longest_asked => Some(asked + own.mul_f64(chance)),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let retry = Retry::default();
        let millis = |attempt, chance| retry.wait(attempt, None, chance).unwrap().as_millis();
        assert_eq!([millis(1, 0.0), millis(1, 1.0), millis(2, 1.0), millis(3, 1.0)], [100, 200, 400, 800]);
        assert_eq!(retry.wait(5, None, 0.0), None);
        let patient = Retry { attempts: 100, ..retry };
        assert_eq!(patient.wait(40, None, 1.0), Some(Duration::from_secs(30)));
        assert_eq!(retry.wait(1, Some(Duration::from_secs(7)), 0.0), Some(Duration::from_secs(7)));
        assert_eq!(retry.wait(1, Some(Duration::from_secs(3600)), 0.0), None);
    }
}
