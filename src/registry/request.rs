//! Sending one request: where to, with which authorization, and again when it failed for a while.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::challenge::{Challenge, Scope};
use super::error::{Cause, seconds};
use super::host::{Host, Site};
use super::settings::Retry;
use super::transport::Security;
use super::{Inner, redirect};
use crate::progress::{Event, SharedSink};

/// A repository at one registry, and what is to be done with it.
pub(super) struct Repository {
    pub(super) host: Arc<Host>,
    /// Path inside the registry.
    pub(super) path: String,
    /// What tokens must allow.
    pub(super) scope: Scope,
}

impl Repository {
    /// Host and port of the registry.
    pub(super) fn address(&self) -> &str {
        &self.host.site.address
    }

    fn url(&self, security: Security) -> Result<Url, Cause> {
        let Site { address, root, .. } = &self.host.site;
        let text = format!("{}://{address}{root}/{}", security.scheme(), self.path);
        Url::parse(&text).map_err(|error| Cause::Malformed { what: "registry address", detail: error.to_string() })
    }
}

type Make<'a> = &'a (dyn Fn(&reqwest::Client, &str) -> RequestBuilder + Send + Sync);

impl Inner {
    /// Sends a request and returns an answer of success; others become errors.
    /// `make` makes it from a client and the repository's URL; it is called again when the first answer was a challenge.
    pub(super) async fn send(
        &self,
        repository: &Repository,
        make: impl Fn(&reqwest::Client, &str) -> RequestBuilder + Send + Sync,
    ) -> Result<Response, Cause> {
        let (answer, authorization) = self.send_any(repository, &make).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let is_denied = matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let had_credentials = match repository.host.credentials(&repository.path, self).await {
            Ok(credentials) => credentials.is_some() && authorization.is_some(),
            Err(helper_failed) if is_denied => return Err(helper_failed),
            Err(_) => false,
        };
        Err(Cause::of_answer(answer, had_credentials).await)
    }

    /// The same, again when it failed for a while.
    pub(super) async fn patiently(
        &self,
        repository: &Repository,
        make: impl Fn(&reqwest::Client, &str) -> RequestBuilder + Send + Sync,
    ) -> Result<Response, Cause> {
        let mut attempts = self.attempts(&repository.host);
        loop {
            match self.send(repository, &make).await {
                Ok(answer) => return Ok(answer),
                Err(cause) => attempts.wait_or(cause).await?,
            }
        }
    }

    /// Sends a request, answers a challenge once, and returns whatever comes.
    async fn send_any(
        &self,
        repository: &Repository,
        make: Make<'_>,
    ) -> Result<(Response, Option<HeaderValue>), Cause> {
        let Repository { host, path, scope } = repository;
        let authorization = host.authorization(self, path, scope).await?;
        let answer = self.send_once(repository, make, authorization.as_ref()).await?;
        let Some(challenge) = challenge(&answer, &self.base(repository).await?) else {
            return Ok((answer, authorization));
        };
        match host.answer(self, path, scope, challenge, authorization.as_ref()).await? {
            Some(other) => Ok((self.send_once(repository, make, Some(&other)).await?, Some(other))),
            None => Ok((answer, authorization)),
        }
    }

    async fn send_once(
        &self,
        repository: &Repository,
        make: Make<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Cause> {
        let host = &repository.host;
        // Plain HTTP is the first choice of registries on the loopback only, and mostly the right one: no need to ask first.
        if let (None, [first @ Security::Plain, ..]) = (host.security.get(), host.site.candidates.as_slice())
            && let Ok(answer) = self.send_with(repository, make, authorization, *first).await
            && answer.status() != StatusCode::BAD_REQUEST
        {
            let _ = host.security.set(*first);
            return Ok(answer);
        }
        self.send_with(repository, make, authorization, self.security(host).await?).await
    }

    async fn send_with(
        &self,
        repository: &Repository,
        make: Make<'_>,
        authorization: Option<&HeaderValue>,
        security: Security,
    ) -> Result<Response, Cause> {
        let base = repository.url(security)?;
        let client = self.client(&repository.host, security)?;
        let mut request = make(&client, base.as_str()).build().map_err(Cause::http)?;
        // An upload may go on at another host, which has its own ways to know us.
        if request.url().origin() == base.origin() {
            request.headers_mut().extend(repository.host.site.headers.clone());
            authorization.map(|header| request.headers_mut().insert(AUTHORIZATION, header.clone()));
        }
        redirect::execute(&client, request, security, &repository.host.site.headers).await
    }

    /// Returns the URL of the repository, without a slash at its end.
    pub(super) async fn base(&self, repository: &Repository) -> Result<Url, Cause> {
        repository.url(self.security(&repository.host).await?)
    }

    /// Returns how to connect to a registry; where there is a choice, the first way that is answered.
    async fn security(&self, host: &Host) -> Result<Security, Cause> {
        let found = host.security.get_or_try_init(|| async {
            let mut failure = None;
            for candidate in &host.site.candidates {
                match self.probe(host, *candidate).await {
                    Ok(true) => return Ok(*candidate),
                    Ok(false) => {}
                    Err(cause) => failure = failure.or(Some(cause)),
                }
            }
            let silent = || Cause::Malformed { what: "answer", detail: "this is not a registry".to_owned() };
            Err(failure.unwrap_or_else(silent))
        });
        found.await.copied()
    }

    /// Whether a registry answers this way. One that speaks TLS answers plain HTTP with 400.
    async fn probe(&self, host: &Host, security: Security) -> Result<bool, Cause> {
        if host.site.candidates.len() == 1 {
            return Ok(true);
        }
        let Site { address, root, .. } = &host.site;
        let answer = self.client(host, security)?.get(format!("{}://{address}{root}/", security.scheme())).send().await;
        Ok(answer.map_err(Cause::http)?.status() != StatusCode::BAD_REQUEST)
    }

    /// Counts the attempts of one request to a registry.
    pub(super) fn attempts(&self, host: &Host) -> Attempts {
        Attempts::of(self.settings.retry, self.sink.clone(), format!("registry {}", host.site.address))
    }
}

/// Reads the challenge of a refusal by the registry itself, not by a host it redirected to.
fn challenge(answer: &Response, base: &Url) -> Option<Challenge> {
    if answer.status() != StatusCode::UNAUTHORIZED || answer.url().origin() != base.origin() {
        return None;
    }
    Challenge::of(answer.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()))
}

/// Reads a small body; a longer one is refused as soon as that is seen.
pub(super) async fn read_document(mut answer: Response, what: &'static str, limit: u64) -> Result<Vec<u8>, Cause> {
    let too_large = Cause::TooLarge { what, limit };
    if answer.content_length().is_some_and(|length| length > limit) {
        return Err(too_large);
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(Cause::http)? {
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Counts attempts, and waits between them.
pub(super) struct Attempts {
    retry: Retry,
    sink: SharedSink,
    /// Who is asked: `registry host.example`.
    whom: String,
    made: u32,
}

/// Shorter waits are not told, unless the registry asked for them.
const TOLD: Duration = Duration::from_secs(2);

impl Attempts {
    pub(super) fn of(retry: Retry, sink: SharedSink, whom: String) -> Self {
        Self { retry, sink, whom, made: 0 }
    }

    /// Starts to count anew: something was achieved.
    pub(super) fn reset(&mut self) {
        self.made = 0;
    }

    /// Waits before the next attempt; gives the cause back when there is to be none.
    pub(super) async fn wait_or(&mut self, cause: Cause) -> Result<(), Cause> {
        self.made += 1;
        if !cause.is_temporary() {
            return Err(cause);
        }
        let Some(wait) = self.retry.wait(self.made, cause.retry_after(), chance()) else { return Err(cause) };
        if wait >= TOLD || cause.retry_after().is_some_and(|asked| !asked.is_zero()) {
            let (whom, next, all) = (&self.whom, self.made + 1, self.retry.attempts);
            let wait = seconds(wait);
            let text = format!("{whom}: {cause}: trying again in {wait} (attempt {next} of {all})");
            self.sink.event(Event::Notice(text));
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Returns a random number from 0 to 1, so that many clients do not come back all at once.
fn chance() -> f64 {
    let mut byte = [0u8];
    // Without randomness all waits are long, which does no harm.
    let _ = getrandom::fill(&mut byte).map_err(|_| byte = [255]);
    f64::from(byte[0]) / 255.0
}
