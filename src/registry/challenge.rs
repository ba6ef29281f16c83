//! `WWW-Authenticate`: how a registry wants to be asked (RFC 9110, 11.6.1), and token scopes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One way to authenticate that a registry offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from elsewhere.
    Bearer {
        /// URL of the token server.
        realm: String,
        /// Name of this registry at the token server.
        service: Option<String>,
        /// What the token must allow for the request that was refused.
        scope: Scope,
    },
}

impl Challenge {
    /// Reads the values of all `WWW-Authenticate` headers of an answer; tokens are preferred to passwords.
    pub(super) fn of<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut found: Vec<Self> = headers
            .flat_map(parse)
            .filter_map(|(scheme, mut parameters)| {
                if scheme.eq_ignore_ascii_case("basic") {
                    return Some(Self::Basic);
                }
                let realm = parameters.remove("realm").filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
                let scope = parameters.remove("scope").map(|text| Scope::parse(&text)).unwrap_or_default();
                Some(Self::Bearer { realm, service: parameters.remove("service"), scope })
            })
            .collect();
        found.sort_by_key(|challenge| *challenge == Self::Basic);
        found.into_iter().next()
    }
}

type Parameters = BTreeMap<String, String>;

/// Splits one header into schemes with their parameters. What does not follow the grammar is passed over.
fn parse(header: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return challenges;
        }
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match after.strip_prefix('=') {
            Some(after) => {
                let (value, after) = value(after);
                if let Some((_, parameters)) = challenges.last_mut() {
                    parameters.insert(word.to_ascii_lowercase(), value);
                }
                rest = after;
            }
            None => {
                challenges.push((word.to_owned(), Parameters::new()));
                rest = after;
            }
        }
    }
}

/// Reads a token or a quoted string; returns it and what follows.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if std::mem::take(&mut is_escaped) => value.push(c),
            '\\' => is_escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            other => value.push(other),
        }
    }
    (value, "")
}

/// What a token allows: actions by resource (`repository:team/app` -> `pull`, `push`). Ordered, so that equal scopes are
/// asked for in equal words.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Scope(BTreeMap<String, BTreeSet<String>>);

impl Scope {
    /// To read a repository.
    pub(super) fn pull(path: &str) -> Self {
        Self::parse(&format!("repository:{path}:pull"))
    }

    /// To read and write a repository.
    pub(super) fn push(path: &str) -> Self {
        Self::parse(&format!("repository:{path}:pull,push"))
    }

    /// Parses `type:name:action,action`, several separated by spaces.
    fn parse(text: &str) -> Self {
        let mut scope = Self::default();
        for part in text.split(' ') {
            if let Some((resource, actions)) = part.rsplit_once(':') {
                let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned);
                scope.0.entry(resource.to_owned()).or_default().extend(actions);
            }
        }
        scope
    }

    /// Returns what either allows.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (resource, actions) in &other.0 {
            both.0.entry(resource.clone()).or_default().extend(actions.iter().cloned());
        }
        both
    }

    /// Whether this allows everything `other` does.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let has = |(resource, actions): (&String, &BTreeSet<String>)| {
            self.0.get(resource).is_some_and(|allowed| actions.is_subset(allowed))
        };
        other.0.iter().all(has)
    }

    /// Returns the words for each resource, as the token server takes them.
    pub(super) fn words(&self) -> Vec<String> {
        let join = |actions: &BTreeSet<String>| actions.iter().cloned().collect::<Vec<_>>().join(",");
        self.0.iter().map(|(resource, actions)| format!("{resource}:{}", join(actions))).collect()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: &str) -> Option<Challenge> {
        let service = service.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service, scope: Scope::parse(scope) })
    }

    #[test]
    fn challenges_are_read() {
        let of = |header: &str| Challenge::of([header].into_iter());
        let full = r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#;
        assert_eq!(of(full), bearer("https://auth.example/token", Some("r.example"), "repository:a/b:push,pull"));
        assert_eq!(of(r#"bearer Realm=x , error="a, \"b\""  "#), bearer("x", None, ""));
        assert_eq!(of(r#"Basic realm="x", Bearer realm="y""#), bearer("y", None, ""));
        assert_eq!(of("Basic"), Some(Challenge::Basic));
        assert_eq!(of("Negotiate"), None);
        assert_eq!(of("Bearer service=x"), None);
        assert_eq!(of(r#"Bearer realm="unfinished"#), bearer("unfinished", None, ""));
        assert_eq!(of(",,= ="), None);
        assert_eq!(Challenge::of(["Basic realm=x", "Bearer realm=y"].into_iter()), bearer("y", None, ""));
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read(header in "[a-zA-Z=,\" \\\\]{0,40}|.{0,30}") {
            Challenge::of([header.as_str()].into_iter());
        }
    }

    #[test]
    fn scopes_are_joined_and_compared() {
        let push = Scope::push("a");
        assert_eq!(push.to_string(), "repository:a:pull,push");
        assert!(push.covers(&Scope::pull("a")) && !Scope::pull("a").covers(&push));
        let both = push.and(&Scope::pull("b"));
        assert_eq!(both.words(), ["repository:a:pull,push", "repository:b:pull"]);
        assert!(both.covers(&push) && both.covers(&Scope::default()));
        assert_eq!(Scope::parse("repository:host:5000/a:pull").words(), ["repository:host:5000/a:pull"]);
    }
}
