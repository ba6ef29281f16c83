//! From a reference to the places to ask: mirrors first, then the registry itself (see [`super::config`] for who decides).

use std::sync::Arc;

use reqwest::Url;

use super::Inner;
use super::challenge::Scope;
use super::config::{Configuration, Hosts, Trust, Upstream};
use super::error::Cause;
use super::host::{DEFAULT_REGISTRY, Site, is_loopback};
use super::request::Repository;
use super::transport::Security;
use crate::oci::{DEFAULT_DOMAIN, Reference};

/// What a place is needed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Need {
    /// To learn what a tag means.
    Tag,
    /// A manifest by its digest.
    Digest,
    /// A blob.
    Blob,
    /// To send something.
    Push,
}

impl Need {
    /// What the manifest of a reference takes.
    pub(super) fn of(reference: &Reference) -> Self {
        if reference.digest.is_some() { Self::Digest } else { Self::Tag }
    }
}

/// Where to go with a reference.
pub(super) struct Route {
    /// Asked first, in order; their failures do not count.
    pub(super) mirrors: Vec<Repository>,
    /// Asked last.
    pub(super) origin: Repository,
}

impl Inner {
    /// Returns where to go with a reference. Reads configuration when it was not read yet.
    pub(super) fn route(&self, reference: &Reference, need: Need) -> Result<Route, Cause> {
        let config = self.configuration()?;
        let mut sites = sites(config, &self.settings.insecure, reference, need)?;
        let (site, path) = sites.pop().expect("there is a place, or an error");
        let at = |site: Site, path: String| {
            let scope = if need == Need::Push { Scope::push(&path) } else { Scope::pull(&path) };
            Repository { host: self.host(site), path, scope }
        };
        let mirrors = sites.into_iter().map(|(site, path)| at(site, path)).collect();
        Ok(Route { mirrors, origin: at(site, path) })
    }
}

type Places = Vec<(Site, String)>;

fn sites(
    config: &Configuration,
    insecure: &super::Insecure,
    reference: &Reference,
    need: Need,
) -> Result<Places, Cause> {
    let (domain, path) = (reference.domain.as_str(), reference.path.as_str());
    let plain = |host: &str, is_insecure: bool| {
        let is_insecure = is_insecure
            || insecure.contains(host)
            || config.daemon.is_insecure(host)
            || config.registries.is_insecure(host);
        let hosts = config.hosts(host)?;
        Ok::<_, Cause>(Site::of_domain(host, is_insecure, Arc::new(hosts.trust.clone())))
    };
    if let Some(registry) = config.registries.of(domain, path) {
        if registry.is_blocked {
            return Err(Cause::Blocked { path: registry.path.clone() });
        }
        let mut places = match need {
            Need::Push => Vec::new(),
            Need::Blob => registry.all_mirrors_of(domain, path),
            Need::Tag | Need::Digest => registry.mirrors_of(domain, path, need == Need::Tag),
        };
        places.push(registry.location_of(domain, path));
        return places.into_iter().map(|place| Ok((plain(&place.host, place.is_insecure)?, place.path))).collect();
    }
    let hosts = config.hosts(domain)?;
    if !hosts.upstreams.is_empty() {
        return upstreams(config, &hosts, need, path, || plain(domain, false));
    }
    let mut places = Vec::new();
    if domain == DEFAULT_DOMAIN && need != Need::Push {
        for mirror in &config.daemon.mirrors {
            let address = address_of(mirror);
            let is_insecure = insecure.contains(&address) || config.daemon.is_insecure(&address);
            let trust = Arc::new(config.hosts(&address)?.trust.clone());
            let root = format!("{}/v2", mirror.path().trim_end_matches('/'));
            places.push((Site::of_url(mirror, root, is_insecure, trust), path.to_owned()));
        }
    }
    places.push((plain(domain, false)?, path.to_owned()));
    Ok(places)
}

/// The hosts of `hosts.toml` that may be asked for this. A push goes to the first of them alone, as containerd's does.
fn upstreams(
    config: &Configuration,
    hosts: &Hosts,
    need: Need,
    path: &str,
    itself: impl Fn() -> Result<Site, Cause>,
) -> Result<Places, Cause> {
    let may = |upstream: &&Upstream| match need {
        Need::Tag => upstream.may.resolve,
        Need::Digest | Need::Blob => upstream.may.pull,
        Need::Push => upstream.may.push,
    };
    let mut places = Vec::new();
    for upstream in hosts.upstreams.iter().filter(may) {
        let mut site = match &upstream.url {
            None => itself()?,
            Some(url) => {
                let address = address_of(url);
                let mut trust = upstream.trust.clone();
                trust.add(&config.hosts(&address)?.trust);
                let is_insecure = upstream.skips_verify;
                Site::of_url(url, root_of(url, upstream.overrides_path), is_insecure, Arc::new(trust))
            }
        };
        if upstream.url.is_none() {
            let mut trust = upstream.trust.clone();
            trust.add(&site.trust);
            site.trust = Arc::new(trust);
            if upstream.skips_verify && !site.candidates.contains(&Security::Unverified) {
                site.candidates = vec![Security::Unverified];
            }
        }
        site.headers = upstream.headers.clone();
        places.push((site, path.to_owned()));
        if need == Need::Push {
            break;
        }
    }
    if places.is_empty() {
        let what = if need == Need::Push { "push" } else { "pull" };
        return Err(Cause::NoHost { path: hosts.path.clone(), what });
    }
    Ok(places)
}

/// The path in front of repositories: containerd adds `/v2` unless the URL has it or stands for it.
fn root_of(url: &Url, overrides_path: bool) -> String {
    let path = url.path().trim_end_matches('/');
    if overrides_path || path.ends_with("/v2") { path.to_owned() } else { format!("{path}/v2") }
}

fn address_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

impl Site {
    /// A registry by the name that references have for it.
    pub(super) fn of_domain(domain: &str, is_insecure: bool, trust: Arc<Trust>) -> Self {
        let candidates = if is_loopback(domain) {
            vec![Security::Plain, Security::Unverified]
        } else if is_insecure {
            vec![Security::Unverified, Security::Plain]
        } else {
            vec![Security::Verified]
        };
        Self {
            domain: domain.to_owned(),
            address: if domain == DEFAULT_DOMAIN { DEFAULT_REGISTRY.to_owned() } else { domain.to_owned() },
            root: "/v2".to_owned(),
            candidates,
            trust,
            headers: reqwest::header::HeaderMap::new(),
        }
    }

    /// A host by a URL, which says how to reach it.
    fn of_url(url: &Url, root: String, is_insecure: bool, trust: Arc<Trust>) -> Self {
        let security = match url.scheme() {
            "http" => Security::Plain,
            _ if is_insecure => Security::Unverified,
            _ => Security::Verified,
        };
        Self { root, candidates: vec![security], ..Self::of_domain(&address_of(url), is_insecure, trust) }
    }
}
