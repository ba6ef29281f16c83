//! Users and passwords in addresses, which nobody is to see.

use std::fmt;

/// A user and a password, percent-decoded.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<login>")
    }
}

/// A text as it may be shown: user and password of the URLs in it become `xxxxx`, as with BuildKit.
pub fn without_credentials(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else { return text.to_owned() };
    let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(before);
    let end = rest.find(|c: char| "/?#\"'".contains(c) || c.is_whitespace()).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        // The user of ssh and git is part of the way.
        Some((user, _)) if matches!(scheme, "ssh" | "git") && !user.contains(':') => authority.to_owned(),
        Some((user, host)) if user.contains(':') => format!("xxxxx:xxxxx@{host}"),
        Some((_, host)) => format!("xxxxx@{host}"),
        None => authority.to_owned(),
    };
    format!("{before}://{authority}{}", without_credentials(after))
}

/// A URL that tells where something came from, and no more: without user, password and query, which may hold a token.
pub fn bare_address(url: &str) -> String {
    let shown = without_credentials(url);
    let (address, fragment) = match shown.split_once('#') {
        Some((address, fragment)) => (address, format!("#{fragment}")),
        None => (shown.as_str(), String::new()),
    };
    format!("{}{fragment}", address.split('?').next().unwrap_or(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_query() {
        for (url, want) in [
            ("https://h/f?token=a#x?y", "https://h/f#x?y"),
            ("https://u:p@h/f?a@b", "https://xxxxx:xxxxx@h/f"),
            ("git@h:x", "git@h:x"),
        ] {
            assert_eq!(bare_address(url), want);
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let shown = without_credentials;
        assert_eq!(shown("https://u:p@h/x.git#a@b"), "https://xxxxx:xxxxx@h/x.git#a@b");
        assert_eq!(shown("https://token@h/x"), "https://xxxxx@h/x");
        assert_eq!(shown("ADD http://a:b@h http://c:d@h/x /"), "ADD http://xxxxx:xxxxx@h http://xxxxx:xxxxx@h/x /");
        for same in ["https://h/x@y", "https://h /a@b", "git@h:x", "ssh://git@h/x", "dir/a@b"] {
            assert_eq!(shown(same), same);
        }
    }
}
