//! Image references: `[domain/]path[:tag][@digest]`, with Docker's short forms.
//!
//! The grammar is that of the distribution project's `reference` package: `alpine` means `docker.io/library/alpine`, and the
//! first part of a path is a domain if it has a dot, a colon or an upper-case letter, or is `localhost`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The domain of references that name none.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of references that name neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";
/// An older name of the default domain.
const LEGACY_DOMAIN: &str = "index.docker.io";
/// Where one-word paths live in the default domain.
const OFFICIAL: &str = "library/";
/// Longest path, in bytes.
const PATH_LIMIT: usize = 255;
/// Longest tag, in bytes.
const TAG_LIMIT: usize = 128;

/// Names an image in a registry. Made by [`Reference::parse`], so all parts are well formed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Reference {
    /// Host and optional port, for example `docker.io` or `localhost:5000`.
    pub domain: String,
    /// Repository inside the registry, for example `library/alpine`.
    pub path: String,
    /// Tag, if one was given.
    pub tag: Option<String>,
    /// Digest, if one was given.
    pub digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("image reference is empty")]
    Empty,
    /// Sixty-four hex digits could be an image id as well as a name.
    #[error("image reference `{0}` looks like an image id: a name may not be 64 hex digits")]
    LooksLikeId(String),
    /// The domain is not `host[:port]`.
    #[error("invalid registry host `{domain}` in image reference `{reference}`")]
    Domain {
        /// What was given as a whole.
        reference: String,
        /// The bad part.
        domain: String,
    },
    /// Upper case in the path.
    #[error("repository name `{path}` in image reference `{reference}` must be lower case")]
    UpperCase {
        /// What was given as a whole.
        reference: String,
        /// The bad part.
        path: String,
    },
    /// The path does not follow the grammar.
    #[error(
        "invalid repository name `{path}` in image reference `{reference}`: \
         expected lower-case letters and digits, separated by `/`, `.`, `_`, `__` or `-`"
    )]
    Path {
        /// What was given as a whole.
        reference: String,
        /// The bad part.
        path: String,
    },
    /// The path is too long.
    #[error("repository name in image reference `{0}` is longer than 255 bytes")]
    PathTooLong(String),
    /// The tag does not follow the grammar.
    #[error(
        "invalid tag `{tag}` in image reference `{reference}`: \
         expected up to 128 letters, digits, `_`, `.`, `-`, not starting with `.` or `-`"
    )]
    Tag {
        /// What was given as a whole.
        reference: String,
        /// The bad part.
        tag: String,
    },
    /// The digest is not a sha256.
    #[error("invalid digest `{digest}` in image reference `{reference}`: expected sha256:<64 hex digits>")]
    Digest {
        /// What was given as a whole.
        reference: String,
        /// The bad part.
        digest: String,
    },
}

impl Reference {
    /// Parses a reference, filling in what Docker's short forms leave out (but not the tag).
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let reference = || text.to_owned();
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() == 64 && Digest::from_hex(text).is_ok() {
            return Err(ReferenceError::LooksLikeId(reference()));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(parse_digest(text, digest)?)),
            None => (text, None),
        };
        let (domain, rest) = split_domain(name);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !is_domain(domain) {
            return Err(ReferenceError::Domain { reference: reference(), domain: domain.to_owned() });
        }
        check_path(text, path)?;
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag { reference: reference(), tag: tag.to_owned() });
        }
        let domain = if domain == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { domain };
        let official = domain == DEFAULT_DOMAIN && !path.contains('/');
        let path = if official { format!("{OFFICIAL}{path}") } else { path.to_owned() };
        if path.len() > PATH_LIMIT {
            return Err(ReferenceError::PathTooLong(reference()));
        }
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }

    /// Returns the short form users type: without `docker.io/` and `library/`, where that still means the same.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), Suffix(self))
    }

    /// Returns the short form without tag and digest.
    pub fn familiar_name(&self) -> String {
        let official = self.path.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/'));
        let short = official.unwrap_or(&self.path);
        let means_the_same = self.domain == DEFAULT_DOMAIN && split_domain(short).0 == DEFAULT_DOMAIN;
        if means_the_same { short.to_owned() } else { self.name() }
    }

    /// Returns domain and path.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns all of it, with `latest` where there is neither tag nor digest.
    pub fn complete(&self) -> String {
        let tag = if self.tag.is_none() && self.digest.is_none() { ":latest" } else { "" };
        format!("{self}{tag}")
    }

    /// Returns the tag, or `latest`.
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }

    /// Returns this repository with another tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag { reference: self.name(), tag: tag.to_owned() });
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// Returns this repository with a digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, Suffix(self))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

/// `[:tag][@digest]` of a reference.
struct Suffix<'a>(&'a Reference);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Splits off the domain, or gives the default one and the whole name.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.contains(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn parse_digest(reference: &str, digest: &str) -> Result<Digest, ReferenceError> {
    digest.parse().map_err(|_| ReferenceError::Digest { reference: reference.to_owned(), digest: digest.to_owned() })
}

fn check_path(reference: &str, path: &str) -> Result<(), ReferenceError> {
    if path.split('/').all(is_path_component) {
        return Ok(());
    }
    let (reference, path) = (reference.to_owned(), path.to_owned());
    Err(match path.contains(char::is_uppercase) {
        true => ReferenceError::UpperCase { reference, path },
        false => ReferenceError::Path { reference, path },
    })
}

/// `host[:port]`, where the host is a name, an IPv4 address, or an IPv6 address in brackets.
fn is_domain(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (is_host, port) = match bracketed {
        Some((address, after)) => {
            let is_address = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            (is_address, if after.is_empty() { None } else { Some(after.strip_prefix(':').unwrap_or_default()) })
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            (host.split('.').all(is_domain_component), port)
        }
    };
    is_host && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Runs of lower-case letters and digits, joined by one dot, one or two underscores, or any number of dashes.
fn is_path_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let edges_are_words = bytes.first().is_some_and(|b| is_word(*b)) && bytes.last().is_some_and(|b| is_word(*b));
    edges_are_words
        && text
            .split(|c: char| u8::try_from(c).is_ok_and(is_word))
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    text.len() <= TAG_LIMIT
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !text.is_empty()
        && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[track_caller]
    fn check(text: &str, full: &str, familiar: &str) {
        let reference = Reference::parse(text).unwrap();
        assert_eq!((reference.to_string(), reference.familiar()), (full.to_owned(), familiar.to_owned()));
    }

    #[test]
    fn short_forms_are_filled_in() {
        check("alpine", "docker.io/library/alpine", "alpine");
        check("alpine:3.19", "docker.io/library/alpine:3.19", "alpine:3.19");
        check("user/app", "docker.io/user/app", "user/app");
        check("docker.io/alpine", "docker.io/library/alpine", "alpine");
        check("index.docker.io/library/alpine", "docker.io/library/alpine", "alpine");
        check("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b");
        check("docker.io", "docker.io/library/docker.io", "docker.io");
        check("localhost/app", "localhost/app", "localhost/app");
        check("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x");
        check(
            "host.example/a__b/c-----d.e_f:T_1.2-3",
            "host.example/a__b/c-----d.e_f:T_1.2-3",
            "host.example/a__b/c-----d.e_f:T_1.2-3",
        );
        check("[2001:db8::1]:5000/app", "[2001:db8::1]:5000/app", "[2001:db8::1]:5000/app");
        check("Upper/app", "Upper/app", "Upper/app");
        check("app:8080", "docker.io/library/app:8080", "app:8080");
        check(&format!("alpine@{DIGEST}"), &format!("docker.io/library/alpine@{DIGEST}"), &format!("alpine@{DIGEST}"));
        check(&format!("a/b:c@{DIGEST}"), &format!("docker.io/a/b:c@{DIGEST}"), &format!("a/b:c@{DIGEST}"));
    }

    #[test]
    fn a_short_form_that_would_mean_another_registry_is_not_used() {
        check("docker.io/foo.bar/baz", "docker.io/foo.bar/baz", "docker.io/foo.bar/baz");
        check("docker.io/localhost/baz", "docker.io/localhost/baz", "docker.io/localhost/baz");
    }

    #[test]
    fn bad_references_are_refused() {
        let long = format!("a/{}", "b".repeat(254));
        let tag = format!("a:{}", "t".repeat(129));
        let cases = [
            ("", "image reference is empty"),
            ("Alpine", "repository name `Alpine` in image reference `Alpine` must be lower case"),
            ("host.example/App:x", "must be lower case"),
            ("a//b", "invalid repository name"),
            ("a/", "invalid repository name"),
            ("/a", "invalid repository name"),
            ("-a", "invalid repository name"),
            ("a-", "invalid repository name"),
            ("a..b", "invalid repository name"),
            ("a___b", "invalid repository name"),
            ("a._b", "invalid repository name"),
            ("a b", "invalid repository name"),
            ("é", "invalid repository name"),
            ("-x.y/a", "invalid registry host `-x.y`"),
            ("x:y/a", "invalid registry host `x:y`"),
            ("x:/a", "invalid registry host `x:`"),
            ("[::1/a", "invalid registry host"),
            ("a:", "invalid tag ``"),
            ("a:.x", "invalid tag `.x`"),
            ("a:x:y", "invalid tag `x:y`"),
            ("a:x/y", "invalid registry host `a:x`"),
            ("a@sha256:00", "invalid digest `sha256:00`"),
            ("a@sha512:00", "invalid digest"),
            ("a@", "invalid digest"),
            (&DIGEST[7..], "looks like an image id"),
            (&long, "longer than 255 bytes"),
            (&tag, "invalid tag"),
        ];
        for (text, expected) in cases {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_tag_replaces_a_digest() {
        let reference = Reference::parse(&format!("alpine@{DIGEST}")).unwrap();
        assert_eq!(reference.tag_or_latest(), "latest");
        assert_eq!(reference.with_tag("x").unwrap().familiar(), "alpine:x");
        assert!(reference.with_tag("x/y").is_err());
        assert_eq!(reference.with_tag("x").unwrap().with_digest(Digest::of(b"")), reference);
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(
            domain in "([a-z0-9]{1,4}\\.[a-zA-Z0-9-]{0,3}[a-z]|localhost|docker\\.io)(:[0-9]{1,5})?",
            path in "[a-z0-9]{1,4}((\\.|_|__|-{1,3}|/)[a-z0-9]{1,4}){0,4}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}"),
            has_digest: bool,
        ) {
            prop_assume!(is_domain(&domain));
            let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
            let digest = if has_digest { format!("@{DIGEST}") } else { String::new() };
            let first = Reference::parse(&format!("{domain}/{path}{tag}{digest}")).unwrap();
            prop_assert_eq!(&Reference::parse(&first.to_string()).unwrap(), &first);
            prop_assert_eq!(&Reference::parse(&first.familiar()).unwrap(), &first);
        }

        #[test]
        fn any_text_parses_or_is_refused(text in "[a-zA-Z0-9:/@._\\[\\]-]{0,40}|.{0,20}") {
            if let Ok(first) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&first.to_string()).unwrap(), &first);
                prop_assert_eq!(&Reference::parse(&first.familiar()).unwrap(), &first);
            }
        }
    }
}
