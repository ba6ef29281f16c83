//! One registry: its address, how it is reached, and how it wants to be asked.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use base64::Engine as _;
use reqwest::header::{HeaderMap, HeaderValue};
use tokio::sync::{Mutex, OnceCell};

use super::challenge::{Challenge, Scope};
use super::config::Trust;
use super::docker_config::DockerConfig;
use super::error::Cause;
use super::secret::{Credentials, Secret};
use super::transport::{Security, Transport};
use super::{Inner, helper, token};

/// The default domain's registry has a name of its own.
pub(super) const DEFAULT_REGISTRY: &str = "registry-1.docker.io";

/// How one registry is reached.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Site {
    /// The domain in references, by which credentials are found.
    pub(super) domain: String,
    /// Host and port that are connected to.
    pub(super) address: String,
    /// The path in front of repositories, usually `/v2`.
    pub(super) root: String,
    /// Ways to connect, the preferred one first.
    pub(super) candidates: Vec<Security>,
    /// Its certificates.
    pub(super) trust: Arc<Trust>,
    /// Headers sent to it, and to no other host.
    pub(super) headers: HeaderMap,
}

/// What is known of one registry. Shared by all requests to it.
pub(super) struct Host {
    pub(super) site: Site,
    /// The way that works, once known.
    pub(super) security: OnceCell<Security>,
    /// Connections, when they differ from others by their certificates.
    pub(super) transport: Option<Transport>,
    /// Answers of credential helpers, by the place of the config that names them.
    helpers: Mutex<BTreeMap<usize, Option<Credentials>>>,
    /// Held while a token is fetched, so that requests at once fetch one.
    login: Mutex<Login>,
    /// Whether a token is wanted that stands for the password.
    is_login: AtomicBool,
}

/// How the registry wants to be asked, and tokens it takes.
#[derive(Default)]
struct Login {
    challenge: Option<Challenge>,
    tokens: Vec<Token>,
    /// What stands for the password, or for the token that was exchanged for it.
    refresh: Option<Secret>,
}

struct Token {
    scope: Scope,
    header: HeaderValue,
    expires: Instant,
}

impl Host {
    pub(super) fn new(site: Site) -> Self {
        let transport = (!site.trust.is_empty()).then(|| Transport::new(site.trust.clone()));
        Self {
            site,
            security: OnceCell::new(),
            transport,
            helpers: Mutex::default(),
            login: Mutex::new(Login::default()),
            is_login: AtomicBool::new(false),
        }
    }

    /// Asks for a token that stands for the password wherever the password is sent from now on.
    pub(super) fn begin_login(&self) {
        self.is_login.store(true, Ordering::Relaxed);
    }

    /// Returns the token that stands for the password, if there is one.
    pub(super) async fn identity(&self) -> Option<Secret> {
        self.login.lock().await.refresh.clone()
    }

    /// Returns the header for a request that needs `scope` on the repository `path`; `None` when none is wanted as far as
    /// is known.
    pub(super) async fn authorization(
        &self,
        inner: &Inner,
        path: &str,
        scope: &Scope,
    ) -> Result<Option<HeaderValue>, Cause> {
        let mut login = self.login.lock().await;
        self.authorize(&mut login, inner, path, scope).await
    }

    /// Learns from a refusal, and returns another header to try; `None` when there is none.
    pub(super) async fn answer(
        &self,
        inner: &Inner,
        path: &str,
        scope: &Scope,
        challenge: Challenge,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Cause> {
        let mut login = self.login.lock().await;
        let scope = match &challenge {
            Challenge::Bearer { scope: asked, .. } => scope.and(asked),
            Challenge::Basic => scope.clone(),
        };
        login.tokens.retain(|token| Some(&token.header) != refused);
        login.challenge = Some(challenge);
        let header = self.authorize(&mut login, inner, path, &scope).await?;
        Ok(header.filter(|header| Some(header) != refused))
    }

    async fn authorize(
        &self,
        login: &mut Login,
        inner: &Inner,
        path: &str,
        scope: &Scope,
    ) -> Result<Option<HeaderValue>, Cause> {
        let Some(challenge) = &login.challenge else { return Ok(None) };
        if let Some(header) = login.token(scope) {
            return Ok(Some(header));
        }
        // A helper that fails must not keep anyone from public images; it is told when the registry refuses.
        let credentials = self.credentials(path, inner).await.unwrap_or(None);
        match (challenge, &credentials) {
            (_, Some(Credentials::Bearer(token))) => header("Bearer", token.expose()).map(Some),
            (Challenge::Basic, Some(Credentials::Password { user, password })) => basic(user, password).map(Some),
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service, .. }, _) => {
                // A server may give a new one for each that it exchanges.
                let renewed = login.refresh.clone().map(Credentials::Identity);
                let request = token::Request {
                    realm,
                    service: service.as_deref(),
                    scope,
                    credentials: renewed.as_ref().or(credentials.as_ref()),
                    is_offline: self.is_login.load(Ordering::Relaxed),
                };
                let fetched = token::fetch(inner, self, &request).await?;
                let header = header("Bearer", fetched.token.expose())?;
                let expires = Instant::now() + fetched.lifetime;
                login.refresh = fetched.refresh.or(login.refresh.take());
                login.keep(Token { scope: scope.clone(), header: header.clone(), expires });
                Ok(Some(header))
            }
        }
    }

    /// Returns the credentials for a repository: of the first config that knows it, of its helper before what it holds.
    pub(super) async fn credentials(&self, path: &str, inner: &Inner) -> Result<Option<Credentials>, Cause> {
        let mut failed = None;
        for (place, config) in inner.credentials()?.iter().enumerate() {
            match self.helped(place, config).await {
                Ok(Some(credentials)) => return Ok(Some(credentials)),
                Ok(None) => {}
                // A stored password is tried before a failure of the helper is told.
                Err(error) => failed = failed.or(Some(error)),
            }
            if let Some(credentials) = config.stored(&self.site.domain, path) {
                return Ok(Some(credentials.clone()));
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Asks the helper that a config names, once.
    async fn helped(&self, place: usize, config: &DockerConfig) -> Result<Option<Credentials>, Cause> {
        let Some((name, server)) = config.helper(&self.site.domain) else { return Ok(None) };
        let mut known = self.helpers.lock().await;
        if let Some(answer) = known.get(&place) {
            return Ok(answer.clone());
        }
        let answer = helper::get(name, &server).await?;
        known.insert(place, answer.clone());
        Ok(answer)
    }
}

impl Login {
    /// Returns a token that still lives and allows this.
    fn token(&self, scope: &Scope) -> Option<HeaderValue> {
        let now = Instant::now();
        let lives = |token: &&Token| token.expires > now && token.scope.covers(scope);
        self.tokens.iter().find(lives).map(|token| token.header.clone())
    }

    /// Keeps a token in place of those it covers and those that ended.
    fn keep(&mut self, token: Token) {
        let now = Instant::now();
        self.tokens.retain(|old| old.expires > now && !token.scope.covers(&old.scope));
        self.tokens.push(token);
    }
}

/// Makes a header that is not shown.
fn header(scheme: &str, text: &str) -> Result<HeaderValue, Cause> {
    let malformed = |_| Cause::Malformed { what: "token", detail: "it has control characters".to_owned() };
    let mut header = HeaderValue::from_str(&format!("{scheme} {text}")).map_err(malformed)?;
    header.set_sensitive(true);
    Ok(header)
}

/// Makes the header of Basic authentication (RFC 7617).
pub(super) fn basic(user: &str, password: &Secret) -> Result<HeaderValue, Cause> {
    let text = format!("{user}:{}", password.expose());
    header("Basic", &base64::engine::general_purpose::STANDARD.encode(text))
}

/// Whether a domain is this machine itself.
pub(super) fn is_loopback(domain: &str) -> bool {
    if domain.starts_with("[::1]") {
        return true;
    }
    let host = domain.split_once(':').map_or(domain, |(host, _)| host);
    host == "localhost" || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for domain in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::1]"] {
            assert!(is_loopback(domain), "{domain}");
        }
        for domain in ["localhost.example", "127.0.0.1.example", "128.0.0.1", "docker.io", "[::2]:5000"] {
            assert!(!is_loopback(domain), "{domain}");
        }
    }
}
