//! What a repository is asked with: a header for http, an agent for ssh.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{GitAddress, GitError};

/// How a repository lets us in.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct GitAccess {
    /// The value of the `Authorization` header.
    pub(super) authorization: Option<String>,
    /// The socket of an ssh agent.
    pub(super) agent: Option<PathBuf>,
    /// The user's list of known ssh hosts.
    pub(super) known_hosts: Option<PathBuf>,
}

impl fmt::Debug for GitAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitAccess").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl GitAccess {
    /// Picks what is meant for the host of `address`: the secret `GIT_AUTH_HEADER.<host>`, `GIT_AUTH_TOKEN.<host>`,
    /// `GIT_AUTH_HEADER` or `GIT_AUTH_TOKEN`, the first that is there; else the user and password of the address.
    /// By ssh it is the agent `default`, without which there is no way in.
    pub fn of(
        address: &GitAddress,
        secrets: &BTreeMap<String, Vec<u8>>,
        agents: &BTreeMap<String, PathBuf>,
        known_hosts: Option<&Path>,
    ) -> Result<Self, GitError> {
        if address.is_ssh() {
            let agent = agents.get("default").ok_or(GitError::NoAgent)?.clone();
            return Ok(Self { authorization: None, agent: Some(agent), known_hosts: known_hosts.map(Path::to_owned) });
        }
        let host = &address.host;
        let names = [
            (format!("GIT_AUTH_HEADER.{host}"), false),
            (format!("GIT_AUTH_TOKEN.{host}"), true),
            ("GIT_AUTH_HEADER".to_owned(), false),
            ("GIT_AUTH_TOKEN".to_owned(), true),
        ];
        let found = names.iter().find_map(|(name, is_token)| Some((name, *is_token, secrets.get(name)?)));
        let authorization = match (found, &address.login) {
            (Some((name, is_token, secret)), _) => {
                let text = header_text(secret).ok_or_else(|| GitError::Secret { name: name.clone() })?;
                Some(if is_token { basic("x-access-token", text) } else { text.to_owned() })
            }
            (None, Some(login)) => Some(basic(&login.user, &login.password)),
            (None, None) => None,
        };
        Ok(Self { authorization, ..Self::default() })
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Returns a secret as it may stand in a header: the line break that files end with does not count, any other control
/// character spoils it.
pub fn header_text(secret: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(secret).ok()?.trim_end_matches(['\r', '\n']);
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_secret_counts() {
        let address = GitAddress::parse("https://u:p@h.example:81/x.git").unwrap().unwrap();
        let mut secrets = BTreeMap::new();
        let authorization = |secrets: &BTreeMap<String, Vec<u8>>| {
            GitAccess::of(&address, secrets, &BTreeMap::new(), None).unwrap().authorization.unwrap()
        };
        assert_eq!(authorization(&secrets), basic("u", "p"));
        for (name, value, wanted) in [
            ("GIT_AUTH_TOKEN", "t1\n", basic("x-access-token", "t1")),
            ("GIT_AUTH_HEADER", "Bearer h1", "Bearer h1".to_owned()),
            ("GIT_AUTH_TOKEN.other.example", "t2", "Bearer h1".to_owned()),
            ("GIT_AUTH_TOKEN.h.example:81", "t3", basic("x-access-token", "t3")),
            ("GIT_AUTH_HEADER.h.example:81", "Bearer h2", "Bearer h2".to_owned()),
        ] {
            secrets.insert(name.to_owned(), value.as_bytes().to_vec());
            assert_eq!(authorization(&secrets), wanted, "{name}");
        }
        secrets.insert("GIT_AUTH_HEADER.h.example:81".to_owned(), b"a\nHost: b".to_vec());
        let refused = GitAccess::of(&address, &secrets, &BTreeMap::new(), None).unwrap_err().to_string();
        assert!(refused.contains("GIT_AUTH_HEADER.h.example:81") && !refused.contains("Host: b"), "{refused}");
    }

    #[test]
    fn ssh_needs_an_agent() {
        let address = GitAddress::parse("git@h.example:x.git").unwrap().unwrap();
        let access = |agents: &BTreeMap<String, PathBuf>| GitAccess::of(&address, &BTreeMap::new(), agents, None);
        assert!(matches!(access(&BTreeMap::new()), Err(GitError::NoAgent)));
        let agents = [("default".to_owned(), PathBuf::from("/s"))].into();
        assert_eq!(access(&agents).unwrap().agent.as_deref(), Some(Path::new("/s")));
    }
}
