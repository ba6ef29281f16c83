//! HTTP clients, made when they are first needed: reading the system's certificates takes milliseconds that a build
//! without a network should not pay.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{NoProxy, Proxy, redirect};

use super::config::Trust;
use super::error::Cause;
use super::settings::Settings;
use super::several;

/// How a connection is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Security {
    /// TLS with a certificate of a known authority.
    Verified,
    /// TLS with any certificate.
    Unverified,
    /// Plain HTTP.
    Plain,
}

impl Security {
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Verified | Self::Unverified => "https",
            Self::Plain => "http",
        }
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const REDIRECT_LIMIT: usize = 10;
/// Proxies are for what is elsewhere.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Clients that trust the same certificates.
#[derive(Default)]
pub(super) struct Transport {
    trust: Arc<Trust>,
    /// Whether redirects are followed here; requests to registries look at them themselves.
    follows: bool,
    /// Whether this is HTTP/2 from the first byte, as gRPC wants it; registries are spoken to in HTTP/1.1.
    is_second: bool,
    verified: OnceLock<reqwest::Client>,
    unverified: OnceLock<reqwest::Client>,
    plain: OnceLock<reqwest::Client>,
}

impl Transport {
    /// For registries with certificates of their own.
    pub(super) fn new(trust: Arc<Trust>) -> Self {
        Self { trust, ..Self::default() }
    }

    /// For servers that are no registries.
    pub(super) fn following() -> Self {
        Self { follows: true, ..Self::default() }
    }

    /// For services that speak gRPC. Who waits for them has time limits of their own: an upload has no answer until it ends.
    pub(super) fn of_second_version(trust: Arc<Trust>) -> Self {
        Self { trust, is_second: true, ..Self::default() }
    }

    /// Returns the client for this kind of connection.
    pub(super) fn client(&self, security: Security, settings: &Settings) -> Result<reqwest::Client, Cause> {
        let cell = match security {
            Security::Verified => &self.verified,
            Security::Unverified => &self.unverified,
            Security::Plain => &self.plain,
        };
        if let Some(client) = cell.get() {
            return Ok(client.clone());
        }
        // Two that come here at once make two clients, and one is kept.
        let client = self.make(security, settings)?;
        Ok(cell.get_or_init(|| client).clone())
    }

    fn make(&self, security: Security, settings: &Settings) -> Result<reqwest::Client, Cause> {
        use_ring();
        let mut builder = reqwest::Client::builder()
            .user_agent(&settings.user_agent)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(if self.follows { redirect_policy(security) } else { redirect::Policy::none() })
            .referer(false)
            .tls_built_in_root_certs(security == Security::Verified)
            .danger_accept_invalid_certs(security == Security::Unverified)
            // The environment is not read here: proxies come with the settings.
            .no_proxy();
        builder = match self.is_second {
            true => builder.http2_prior_knowledge(),
            false => builder.http1_only().read_timeout(READ_TIMEOUT),
        };
        let except = format!("{LOOPBACK},{}", settings.proxies.except);
        // A proxy for what is not protected speaks HTTP/1.1.
        let http = settings.proxies.http.as_ref().filter(|_| !self.is_second);
        let proxies = [http.map(Proxy::http), settings.proxies.https.as_ref().map(Proxy::https)];
        for proxy in proxies.into_iter().flatten() {
            let proxy = proxy.map_err(settings_error("proxy"))?;
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&except)));
        }
        for pem in self.trust.authorities.iter().filter(|_| security == Security::Verified) {
            for certificate in reqwest::Certificate::from_pem_bundle(pem).map_err(settings_error("certificate"))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        match (self.trust.identities.as_slice(), security) {
            ([], _) | (_, Security::Plain) => {}
            // Whoever does without the server's certificate shows the first of its own.
            ([pem], _) | ([pem, ..], Security::Unverified) => {
                let identity = reqwest::Identity::from_pem(pem).map_err(settings_error("client certificate"))?;
                builder = builder.identity(identity);
            }
            (_, Security::Verified) => {
                let config = several::configuration(&self.trust);
                let config = config.map_err(|source| Cause::Settings { what: "client certificate", source })?;
                builder = builder.use_preconfigured_tls(config);
            }
        }
        builder.build().map_err(Cause::http)
    }
}

/// Makes ring the provider of TLS.
pub fn use_ring() {
    // Fails when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn settings_error(what: &'static str) -> impl Fn(reqwest::Error) -> Cause {
    move |error| Cause::Settings { what, source: error.without_url().into() }
}

/// The client drops `Authorization` when the host changes; here it is refused to leave TLS.
fn redirect_policy(security: Security) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECT_LIMIT {
            attempt.error("too many redirects")
        } else if security == Security::Verified && attempt.url().scheme() != "https" {
            attempt.error("redirect from https to http refused")
        } else {
            attempt.follow()
        }
    })
}
