//! The address of a repository taken apart, before anything is made of the parts.

use super::credentials::Login;

/// An address taken apart.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) remote: String,
    pub(super) host: String,
    pub(super) login: Option<Login>,
    pub(super) query: Vec<(String, String)>,
    pub(super) fragment: String,
}

/// Takes apart what is the address of a repository.
pub(super) fn split(text: &str) -> Option<Parts> {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return None;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return scp_parts(text) };
    match scheme.to_ascii_lowercase().as_str() {
        "git" | "ssh" => url_parts(text),
        "http" | "https" => {
            let address = rest.split(['#', '?']).next().unwrap_or(rest);
            let (_, path) = address.split_once('/')?;
            if path.ends_with(".git") { url_parts(text) } else { None }
        }
        _ => None,
    }
}

pub(super) fn url_parts(text: &str) -> Option<Parts> {
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let (scheme, rest) = address.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if host.is_empty() || host.starts_with('-') {
        return None;
    }
    let is_http = scheme.starts_with("http");
    let login = user.filter(|_| is_http).map(|user| {
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        Login { user: percent_decoded(user), password: percent_decoded(password) }
    });
    // Of ssh, the user is part of the way, and a password is of no use.
    let user = user.filter(|_| !is_http).map(|user| user.split(':').next().unwrap_or(user));
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    if user.starts_with('-') {
        return None;
    }
    Some(Parts {
        remote: format!("{scheme}://{user}{host}/{path}"),
        host: host.to_owned(),
        login,
        query: pairs(query),
        fragment: percent_decoded(fragment),
    })
}

/// `user@host:path`, without a scheme.
fn scp_parts(text: &str) -> Option<Parts> {
    let (user, rest) = text.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let is_word = |text: &str, more: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
    };
    if !is_word(user, "-_") || !is_word(host, "-.") {
        return None;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Some(Parts {
        remote: format!("{user}@{host}:{path}"),
        host: host.to_owned(),
        login: None,
        query: pairs(query),
        fragment: fragment.to_owned(),
    })
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decoded(&text.replace('+', " "));
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    };
    query.split('&').filter(|text| !text.is_empty()).map(pair).collect()
}

/// Returns a part of a URL without its `%` escapes.
pub fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
