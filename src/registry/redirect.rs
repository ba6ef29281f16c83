//! Registries redirect to where their content lies. What they know us by stays with them, and TLS is not left.

use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION};
use reqwest::{Client, Method, Request, Response, StatusCode, Url};

use super::error::Cause;
use super::transport::{REDIRECT_LIMIT, Security};

/// Sends a request and goes where it is sent, as far as the request can be sent again. `Authorization` and the headers `own`
/// go to no other host.
pub(super) async fn execute(
    client: &Client,
    mut request: Request,
    security: Security,
    own: &HeaderMap,
) -> Result<Response, Cause> {
    for _ in 0..=REDIRECT_LIMIT {
        let copy = request.try_clone();
        let answer = client.execute(request).await.map_err(Cause::http)?;
        let (Some(mut next), true) = (copy, is_redirect(&answer)) else { return Ok(answer) };
        if !is_repeatable(next.method(), answer.status()) {
            return Ok(answer);
        }
        let Some(url) = target(&answer, security)? else { return Ok(answer) };
        if url.origin() != answer.url().origin() {
            next.headers_mut().remove(AUTHORIZATION);
            for name in own.keys() {
                next.headers_mut().remove(name);
            }
        }
        *next.url_mut() = url;
        request = next;
    }
    Err(refused("there are too many of them"))
}

fn is_redirect(answer: &Response) -> bool {
    matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether the same request is meant for the other place (RFC 9110, 15.4).
fn is_repeatable(method: &Method, status: StatusCode) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
        || matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
}

fn target(answer: &Response, security: Security) -> Result<Option<Url>, Cause> {
    let Some(location) = answer.headers().get(LOCATION) else { return Ok(None) };
    let url = location.to_str().ok().and_then(|location| answer.url().join(location).ok());
    let url = url.ok_or_else(|| refused("its Location is not a URL"))?;
    match (url.scheme(), security) {
        ("https", _) | ("http", Security::Plain | Security::Unverified) => Ok(Some(url)),
        ("http", Security::Verified) => Err(refused("from https to http")),
        (other, _) => Err(refused(&format!("to `{other}:`"))),
    }
}

fn refused(detail: &str) -> Cause {
    Cause::Malformed { what: "redirect", detail: detail.to_owned() }
}
