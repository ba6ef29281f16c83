//! What can go wrong with a registry, and what to do about it.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::config::ConfigError;
use super::host::DEFAULT_REGISTRY;
use crate::content::ContentError;
use crate::context::http_date;
use crate::digest::{Digest, DigestError};
use crate::oci::Platform;

/// A failure, with what was being done to what, where. It shows no credentials, tokens, or query of a URL.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} `{subject}` at registry {registry}: {cause}")]
pub struct RegistryError {
    /// A verb, for example `resolve`.
    pub doing: &'static str,
    /// The reference, or repository and digest.
    pub subject: String,
    /// Host and port that were asked.
    pub registry: String,
    /// What happened.
    #[source]
    pub cause: Box<Cause>,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The registry was not reached, or the connection broke.
    #[error("{}", root_of(.0))]
    Network(#[source] reqwest::Error),
    /// The registry's certificate is not trusted, or it speaks no TLS.
    #[error("{}", root_of(.0))]
    Tls(#[source] reqwest::Error),
    /// The connection ended early, as often as it was tried.
    #[error("the connection ended after {received} of {expected} bytes")]
    Interrupted {
        /// Bytes that came, over all attempts.
        received: u64,
        /// Bytes that should have come.
        expected: u64,
    },
    /// There is no such repository, tag or digest.
    #[error("not found ({message})")]
    NotFound {
        /// Status and message of the registry.
        message: String,
    },
    /// The registry wants to know who asks, or refuses whom it knows.
    #[error("access denied ({message})")]
    Unauthorized {
        /// Status and message of the registry or its token server.
        message: String,
        /// Whether credentials were sent.
        had_credentials: bool,
    },
    /// Too many requests.
    #[error("too many requests ({message})")]
    RateLimited {
        /// Status and message of the registry.
        message: String,
        /// How long the registry asks to wait.
        retry_after: Option<Duration>,
    },
    /// The registry failed.
    #[error("the server failed ({message})")]
    Server {
        /// Status and message of the registry.
        message: String,
        /// How long the registry asks to wait.
        retry_after: Option<Duration>,
    },
    /// The registry refused the request for another reason.
    #[error("the server refused ({message})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Status and message of the registry.
        message: String,
    },
    /// An upload broke, and the registry does not go on with it.
    #[error("an upload broke and had to start over: {error}")]
    UploadLost {
        /// What broke it.
        error: String,
    },
    /// What came is not what its digest says.
    #[error("content has the wrong digest: expected {expected}, got {actual}")]
    WrongDigest {
        /// The digest asked for, or announced.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// More came than the descriptor says.
    #[error("content is longer than its descriptor says: {expected} bytes")]
    TooLong {
        /// Bytes by the descriptor.
        expected: u64,
    },
    /// A document is larger than documents may be.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// An answer does not follow the protocol or the formats.
    #[error("invalid {what}: {detail}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// How.
        detail: String,
    },
    /// The image is of the retired schema 1.
    #[error("the image has a schema 1 manifest, a format retired in 2017")]
    SchemaOne,
    /// The index has no image for this platform.
    #[error("no image for platform {wanted}; there is {}", list(offered))]
    NoPlatform {
        /// What was asked for.
        wanted: Platform,
        /// What the index has.
        offered: Vec<Platform>,
    },
    /// A digest of an algorithm we do not verify.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A credential helper failed.
    #[error("credential helper `{program}` failed: {detail}")]
    CredentialHelper {
        /// The program.
        program: String,
        /// What it said, or why it did not run.
        detail: String,
    },
    /// A configuration file cannot be used.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Configuration forbids to ask this registry.
    #[error("blocked by `{}`", path.display())]
    Blocked {
        /// The file that says so.
        path: PathBuf,
    },
    /// Configuration has no host for this.
    #[error("`{}` names no host with the capability to {what}", path.display())]
    NoHost {
        /// The file.
        path: PathBuf,
        /// `pull` or `push`.
        what: &'static str,
    },
    /// A proxy's URL or a certificate in the settings cannot be used.
    #[error("invalid {what} in the settings: {source}")]
    Settings {
        /// Which.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The local store failed.
    #[error("{0}")]
    Content(#[from] ContentError),
    /// What is to be pushed cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// What is to be pushed ended with an error while it was made.
    #[error("cannot read what is to be pushed: {0}")]
    Stream(#[source] std::io::Error),
}

impl RegistryError {
    /// Whether the same request may succeed later, without anyone changing anything.
    pub fn is_temporary(&self) -> bool {
        self.cause.is_temporary()
    }

    /// Returns what the user can do about it.
    pub fn help(&self) -> Option<String> {
        let registry = &self.registry;
        Some(match &*self.cause {
            Cause::Network(_) => format!("check that {registry} is the right name and can be reached from here"),
            Cause::Tls(_) => {
                format!("if {registry} is to be trusted without a certificate, add it to the insecure registries")
            }
            Cause::NotFound { .. } => "check the spelling of repository and tag".to_owned(),
            Cause::Unauthorized { had_credentials: false, .. } => {
                format!("check the spelling of the repository; if it is private, run `{}`", login(registry))
            }
            Cause::Unauthorized { .. } => format!("check that your account at {registry} may do this"),
            Cause::RateLimited { retry_after: Some(wait), .. } | Cause::Server { retry_after: Some(wait), .. } => {
                format!("{registry} asks to wait for {}", seconds(*wait))
            }
            Cause::RateLimited { .. } => format!("try later, or run `{}` for a higher limit", login(registry)),
            Cause::SchemaOne => "push the image again with a newer tool".to_owned(),
            Cause::NoPlatform { offered, .. } => format!("choose one with --platform={}", offered.first()?),
            Cause::CredentialHelper { .. } => "check `credsStore` and `credHelpers` in the docker config".to_owned(),
            _ => return None,
        })
    }
}

impl Cause {
    /// Whether the same request may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Network(_)
                | Self::Interrupted { .. }
                | Self::RateLimited { .. }
                | Self::Server { .. }
                | Self::UploadLost { .. }
        )
    }

    /// Classifies an error of the HTTP client; the URL goes, because its query may be a signature.
    pub(super) fn http(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let is_tls = chain(&error).any(|cause| cause.is::<rustls::Error>());
        if is_tls { Self::Tls(error) } else { Self::Network(error) }
    }

    /// Reads a refusal: what the registry says, and when it wants to be asked again.
    pub(super) async fn of_answer(answer: Response, had_credentials: bool) -> Self {
        let status = answer.status();
        let retry_after = retry_after(answer.headers());
        let body = read_start(answer).await;
        Self::of_status(status, &body, retry_after, had_credentials)
    }

    fn of_status(status: StatusCode, body: &[u8], retry_after: Option<Duration>, had_credentials: bool) -> Self {
        let message = message_of(status, body);
        match status.as_u16() {
            401 | 403 => Self::Unauthorized { message, had_credentials },
            404 => Self::NotFound { message },
            429 => Self::RateLimited { message, retry_after },
            408 | 500.. => Self::Server { message, retry_after },
            status => Self::Refused { status, message },
        }
    }

    /// How long the registry asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Server { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Reads `Retry-After` (RFC 9110, 10.2.3): seconds, or a date, which is counted from the server's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let seconds = http_date(asked)? - http_date(text(DATE)?)?;
    Some(Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

/// As much of a refusal's body as is looked at, in bytes.
const BODY_LIMIT: usize = 64 << 10;

/// Reads the start of a body, as far as it comes.
async fn read_start(mut answer: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_LIMIT {
            break;
        }
    }
    body
}

/// A wait as people read it.
pub(super) fn seconds(wait: Duration) -> String {
    match wait.as_secs_f64().round() {
        1.0 => "1 second".to_owned(),
        seconds => format!("{seconds} seconds"),
    }
}

/// The command that leaves credentials for a registry.
fn login(registry: &str) -> String {
    if registry == DEFAULT_REGISTRY { "kiln login".to_owned() } else { format!("kiln login {registry}") }
}

fn list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "none".to_owned(),
        some => some.iter().map(Platform::to_string).collect::<Vec<_>>().join(", "),
    }
}

type Reason<'a> = &'a (dyn std::error::Error + 'static);

fn chain(error: &reqwest::Error) -> impl Iterator<Item = Reason<'_>> {
    std::iter::successors(error.source(), |error| below(*error))
}

/// An `io::Error` that wraps another error does not count it as its source.
fn below(error: Reason<'_>) -> Option<Reason<'_>> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The innermost reason; the layers above say only that something failed.
fn root_of(error: &reqwest::Error) -> String {
    match chain(error).last() {
        Some(root) if error.is_connect() => format!("cannot connect: {root}"),
        Some(root) => root.to_string(),
        None => error.to_string(),
    }
}

/// Longest message of a registry that is shown, in characters.
const MESSAGE_LIMIT: usize = 300;

/// Makes `404 Not Found: MANIFEST_UNKNOWN: manifest unknown` of a status and a body (distribution-spec, "Error Codes").
fn message_of(status: StatusCode, body: &[u8]) -> String {
    let said = serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|body| {
        let first = body.get("errors")?.get(0)?;
        let field = |name: &str| first.get(name).and_then(|field| field.as_str()).unwrap_or_default().to_owned();
        let parts = [field("code"), field("message")];
        Some(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "))
    });
    let said = said.or_else(|| of_xml(body)).or_else(|| {
        let text = std::str::from_utf8(body).ok()?.trim();
        (!text.starts_with(['<', '{'])).then(|| text.to_owned())
    });
    let said = plain(&said.unwrap_or_default());
    if said.is_empty() { status.to_string() } else { format!("{status}: {said}") }
}

/// What a server says, as it may be shown: a hostile one must not move the cursor of a terminal.
pub(super) fn plain(said: &str) -> String {
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_LIMIT).collect()
}

/// What a store of objects says: `<Error><Code>NoSuchBucket</Code><Message>..</Message>..</Error>`.
pub(super) fn of_xml(body: &[u8]) -> Option<String> {
    let (_, error) = std::str::from_utf8(body).ok()?.split_once("<Error>")?;
    let field = |start: &str, end: &str| Some(error.split_once(start)?.1.split_once(end)?.0);
    let (code, message) = (field("<Code>", "</Code>")?, field("<Message>", "</Message>").unwrap_or_default());
    Some(format!("{code}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_the_registry_said() {
        let message = |status: u16, body: &str| message_of(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\u001b[2J unknown"}]}"#;
        assert_eq!(message(404, body), "404 Not Found: MANIFEST_UNKNOWN: manifest [2J unknown");
        assert_eq!(message(502, "<html>"), "502 Bad Gateway");
        let body = "<?xml version='1.0'?>\n<Error><Code>NoSuchBucket</Code><Message>no bucket</Message></Error>";
        assert_eq!(message(404, body), "404 Not Found: NoSuchBucket: no bucket");
        assert_eq!(message(500, " out of disk\n"), "500 Internal Server Error: out of disk");
        assert_eq!(message(500, &"x".repeat(1000)).len(), "500 Internal Server Error: ".len() + MESSAGE_LIMIT);
    }

    #[test]
    fn a_registry_may_ask_to_wait() {
        let wait = |asked: &str, date: &str| {
            let header = |text: &str| text.parse().unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, header(asked)), (DATE, header(date))]))
        };
        let date = "Fri, 14 Jul 2017 02:40:00 GMT";
        assert_eq!(wait("7", date), Some(Duration::from_secs(7)));
        assert_eq!(wait("Fri, 14 Jul 2017 02:40:09 GMT", date), Some(Duration::from_secs(9)));
        assert_eq!(wait("Fri, 14 Jul 2017 02:39:00 GMT", date), Some(Duration::ZERO));
        assert_eq!(wait("soon", date), None);
        assert_eq!(wait("Fri, 14 Jul 2017 02:40:09 GMT", "now"), None);
    }

    #[test]
    fn only_some_causes_pass_by_themselves() {
        let cause = |status: u16| Cause::of_status(StatusCode::from_u16(status).unwrap(), b"", None, false);
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(cause(status).is_temporary(), "{status}");
        }
        for status in [400, 401, 403, 404, 405] {
            assert!(!cause(status).is_temporary(), "{status}");
        }
    }

    #[test]
    fn errors_name_what_where_and_what_to_do() {
        let cause = Cause::of_status(StatusCode::UNAUTHORIZED, b"", None, false);
        let error = RegistryError {
            doing: "resolve",
            subject: "host.example/a:b".to_owned(),
            registry: "host.example".to_owned(),
            cause: Box::new(cause),
        };
        let text = "cannot resolve `host.example/a:b` at registry host.example: access denied (401 Unauthorized)";
        assert_eq!(error.to_string(), text);
        assert!(error.help().unwrap().contains("`kiln login host.example`"));
    }
}
