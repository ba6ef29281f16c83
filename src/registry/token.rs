//! Tokens from a registry's token server (the distribution project's "token authentication" and "OAuth 2").

use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use reqwest::{Response, Url};
use serde::Deserialize;

use super::Inner;
use super::challenge::Scope;
use super::error::Cause;
use super::host::{Host, basic};
use super::request::read_document;
use super::secret::{Credentials, Secret};
use super::transport::Security;

/// How long a token lives when its server does not say.
const DEFAULT_LIFETIME: u64 = 60;
/// A token this close to its end may end on the way, in seconds.
const MARGIN: u64 = 10;
const ANSWER_LIMIT: u64 = 1 << 20;

/// What is asked of a token server.
pub(super) struct Request<'a> {
    pub(super) realm: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) scope: &'a Scope,
    pub(super) credentials: Option<&'a Credentials>,
    /// Whether a token is asked for, too, that stands for the password from now on.
    pub(super) is_offline: bool,
}

/// What a token server gave.
pub(super) struct Fetched {
    pub(super) token: Secret,
    /// How long it may be used.
    pub(super) lifetime: Duration,
    /// What takes the place of the password, or of the token that was exchanged.
    pub(super) refresh: Option<Secret>,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

/// Fetches a token.
pub(super) async fn fetch(inner: &Inner, host: &Host, request: &Request<'_>) -> Result<Fetched, Cause> {
    let malformed = |detail: String| Cause::Malformed { what: "answer of the token server", detail };
    let mut attempts = inner.attempts(host);
    let text = loop {
        match ask(inner, host, request).await {
            Ok(text) => break text,
            Err(cause) => attempts.wait_or(cause).await?,
        }
    };
    let answer: Answer = serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| malformed("it has no token".to_owned()))?;
    let lifetime = answer.expires_in.unwrap_or(DEFAULT_LIFETIME);
    let usable = lifetime.saturating_sub(MARGIN).max(lifetime / 2);
    let refresh = answer.refresh_token.filter(|token| !token.is_empty()).map(Secret::new);
    Ok(Fetched { token: Secret::new(token), lifetime: Duration::from_secs(usable), refresh })
}

async fn ask(inner: &Inner, host: &Host, request: &Request<'_>) -> Result<Vec<u8>, Cause> {
    let (realm, security) = realm(host, request.realm)?;
    let client = inner.client(host, security)?;
    let answer = match request.credentials {
        Some(Credentials::Identity(token)) => client.post(realm).form(&refresh_form(request, token)).send().await,
        credentials => {
            let mut asked = client.get(with_query(realm, request));
            if let Some(Credentials::Password { user, password }) = credentials {
                asked = asked.header(AUTHORIZATION, basic(user, password)?);
            }
            asked.send().await
        }
    };
    let answer: Response = answer.map_err(Cause::http)?;
    if !answer.status().is_success() {
        return Err(Cause::of_answer(answer, request.credentials.is_some()).await);
    }
    read_document(answer, "answer of the token server", ANSWER_LIMIT).await
}

/// Checks where a registry sends us for a token: not out of TLS, because credentials go there.
fn realm(host: &Host, realm: &str) -> Result<(Url, Security), Cause> {
    let malformed = |detail: &str| Cause::Malformed { what: "token server", detail: format!("{detail}: {realm}") };
    let url = Url::parse(realm).map_err(|_| malformed("not a URL"))?;
    let is_lenient = host.site.candidates != [Security::Verified];
    match url.scheme() {
        "https" if is_lenient => Ok((url, Security::Unverified)),
        "https" => Ok((url, Security::Verified)),
        "http" if is_lenient => Ok((url, Security::Plain)),
        "http" => Err(malformed("plain http")),
        _ => Err(malformed("neither http nor https")),
    }
}

fn with_query(mut realm: Url, request: &Request<'_>) -> Url {
    {
        let mut query = realm.query_pairs_mut();
        if let Some(service) = request.service {
            query.append_pair("service", service);
        }
        for words in request.scope.words() {
            query.append_pair("scope", &words);
        }
        if let Some(Credentials::Password { user, .. }) = request.credentials {
            query.append_pair("account", user);
            if request.is_offline {
                query.append_pair("client_id", env!("CARGO_PKG_NAME")).append_pair("offline_token", "true");
            }
        }
    }
    realm
}

fn refresh_form(request: &Request<'_>, token: &Secret) -> Vec<(&'static str, String)> {
    vec![
        ("grant_type", "refresh_token".to_owned()),
        ("service", request.service.unwrap_or_default().to_owned()),
        ("client_id", env!("CARGO_PKG_NAME").to_owned()),
        ("scope", request.scope.to_string()),
        ("refresh_token", token.expose().to_owned()),
    ]
}
