//! Calls of services that speak gRPC: a message goes out, and one comes back. Connections and patience are those of the client; all calls of
//! one service share a connection of HTTP/2.

use std::sync::Arc;

use prost::Message;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, TE};
use reqwest::{Body, RequestBuilder};

use super::config::Trust;
use super::error::Cause;
use super::frames::{Frames, framed};
use super::request::Attempts;
use super::transport::{Security, Transport};
use super::{Client, Inner};

/// How a service is reached. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// What says who asks (RFC 6750). It goes over TLS, or to this machine, and nowhere else.
    pub token: Option<String>,
    /// Authorities besides the system's, as PEM.
    pub authorities: Option<Vec<u8>>,
    /// The client's certificate with its key, as PEM.
    pub identity: Option<Vec<u8>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<access>")
    }
}

/// A service that speaks gRPC.
pub struct Service {
    /// Host, perhaps with a port.
    address: String,
    security: Security,
    token: Option<HeaderValue>,
    transport: Transport,
}

/// A failure, with what was being done, where. It shows no token.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} at {service}: {cause}")]
pub struct CallError {
    /// A verb and what it is done to.
    pub doing: &'static str,
    /// Host and port that were asked.
    pub service: String,
    /// What happened.
    #[source]
    pub cause: Box<Cause>,
}

/// What is asked.
#[derive(Clone, Copy)]
pub struct Method {
    /// Service and method, as in `google.bytestream.ByteStream/Read`.
    pub path: &'static str,
    /// A verb and what it is done to, for errors.
    pub doing: &'static str,
    /// The longest answer that is read, in bytes.
    pub limit: usize,
}

impl Service {
    /// The one at `HOST[:PORT]`, with or without TLS.
    pub fn new(address: &str, is_protected: bool, access: Access) -> Self {
        let security = if is_protected { Security::Verified } else { Security::Plain };
        let token = access.token.filter(|_| is_protected || is_of_this_machine(address)).and_then(|token| {
            let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            header.set_sensitive(true);
            Some(header)
        });
        let (authorities, identities) = (access.authorities.into_iter(), access.identity.into_iter());
        let trust = Trust { authorities: authorities.collect(), identities: identities.collect() };
        let transport = Transport::of_second_version(Arc::new(trust));
        Self { address: address.to_owned(), security, token, transport }
    }

    /// An error of a call.
    pub fn failed(&self, method: Method, cause: Cause) -> CallError {
        CallError { doing: method.doing, service: self.address.clone(), cause: Box::new(cause) }
    }
}

/// Whether a host is the loopback interface.
pub fn is_of_this_machine(address: &str) -> bool {
    let host = address.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Client {
    /// Asks, again when that failed for a while.
    pub async fn call<T: Message + Default>(
        &self,
        service: &Service,
        method: Method,
        question: &impl Message,
    ) -> Result<T, CallError> {
        let (question, mut attempts) = (framed(question), self.0.service_attempts(service));
        loop {
            let answer = self.0.call(service, method, question.clone().into());
            let cause = match async { answer.await?.only().await }.await {
                Ok(answer) => return Ok(answer),
                Err(cause) => cause,
            };
            attempts.wait_or(cause).await.map_err(|cause| service.failed(method, cause))?;
        }
    }
}

impl Inner {
    /// Sends messages, and returns those that come back.
    pub(super) async fn call(&self, service: &Service, method: Method, body: Body) -> Result<Frames, Cause> {
        let answer = self.prepare_call(service, method)?.body(body).send().await.map_err(Cause::http)?;
        Frames::of(answer, method.limit, service.token.is_some()).await
    }

    fn prepare_call(&self, service: &Service, method: Method) -> Result<RequestBuilder, Cause> {
        let url = format!("{}://{}/{}", service.security.scheme(), service.address, method.path);
        let prepared = service.transport.client(service.security, &self.settings)?.post(url);
        let prepared = prepared.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
        Ok(match &service.token {
            Some(token) => prepared.header(AUTHORIZATION, token.clone()),
            None => prepared,
        })
    }

    pub(super) fn service_attempts(&self, service: &Service) -> Attempts {
        Attempts::of(self.settings.retry, self.sink.clone(), format!("service {}", service.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_tls_or_to_this_machine() {
        let has_token = |address: &str, is_protected| {
            let access = Access { token: Some("hunter2".to_owned()), ..Access::default() };
            assert!(!format!("{access:?}").contains("hunter2"));
            Service::new(address, is_protected, access).token.is_some()
        };
        for address in ["127.0.0.1:9092", "[::1]:9092", "[::1]", "localhost", "localhost:1"] {
            assert!(has_token(address, false), "{address}");
        }
        for address in ["10.0.0.1:9092", "host.example:9092", "localhost.example", "[::2]:9092"] {
            assert!(!has_token(address, false) && has_token(address, true), "{address}");
        }
    }
}
