//! The docker client's `config.json`: credentials, and the programs that keep them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use base64::Engine as _;
use serde::Deserialize;

use super::config::ConfigError;
use super::host::DEFAULT_REGISTRY;
use super::secret::{Credentials, Secret};
use crate::oci::DEFAULT_DOMAIN;

/// The name under which the docker client keeps credentials of the default domain.
const DEFAULT_DOMAIN_KEY: &str = "https://index.docker.io/v1/";

/// Credentials as `docker login` (or `podman login`, whose file has the same shape) left them.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    /// By host, or host and path prefix; without scheme and `/v1`.
    stored: BTreeMap<String, Credentials>,
    helpers: BTreeMap<String, String>,
    default_helper: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    auths: Option<BTreeMap<String, Auth>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl DockerConfig {
    /// Reads the file at `path`; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        match std::fs::read(path) {
            // podman's lies there empty before the first login.
            Ok(text) if text.trim_ascii().is_empty() => Ok(None),
            Ok(text) => Self::parse(&text, path).map(Some),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    /// Parses the text of a file; `path` is for messages.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, ConfigError> {
        let file: File = serde_json::from_slice(text).map_err(|error| {
            let detail = format!("not a docker config: {error}");
            ConfigError::Line { path: path.to_owned(), line: error.line(), detail }
        })?;
        let mut stored = BTreeMap::new();
        for (host, auth) in file.auths.unwrap_or_default() {
            let bad = || {
                let detail = format!("the `auth` of `{host}` is not base64 of user:password");
                ConfigError::Whole { path: path.to_owned(), detail }
            };
            if let Some(credentials) = auth.credentials().map_err(|NotBase64| bad())? {
                stored.insert(normal_key(&host).to_owned(), credentials);
            }
        }
        let helpers = file.cred_helpers.unwrap_or_default();
        let helpers = helpers.into_iter().map(|(host, helper)| (normal_key(&host).to_owned(), helper)).collect();
        Ok(Self { stored, helpers, default_helper: file.creds_store.filter(|name| !name.is_empty()) })
    }

    /// Makes one that knows one account.
    pub(super) fn of_account(domain: &str, user: String, password: Secret) -> Self {
        let credentials = Credentials::Password { user, password };
        Self { stored: BTreeMap::from([(domain.to_owned(), credentials)]), ..Self::default() }
    }

    /// Returns the helper to ask for a domain, and the name it knows the domain by.
    pub(super) fn helper(&self, domain: &str) -> Option<(&str, String)> {
        let helper = names(domain).iter().find_map(|name| self.helpers.get(*name)).or(self.default_helper.as_ref())?;
        Some((helper, server_name(domain)))
    }

    /// Returns the credentials written in the file for a repository: of the longest prefix of `domain/path`.
    pub(super) fn stored(&self, domain: &str, path: &str) -> Option<&Credentials> {
        names(domain).iter().find_map(|name| {
            let full = format!("{name}/{path}");
            let mut prefix = full.as_str();
            loop {
                match (self.stored.get(prefix), prefix.rsplit_once('/')) {
                    (Some(credentials), _) => return Some(credentials),
                    (None, Some((shorter, _))) => prefix = shorter,
                    (None, None) => return None,
                }
            }
        })
    }
}

/// An `auth` that is not base64 of `user:password`.
struct NotBase64;

impl Auth {
    fn credentials(self) -> Result<Option<Credentials>, NotBase64> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::Identity(Secret::new(self.identitytoken))));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credentials::Bearer(Secret::new(self.registrytoken))));
        }
        let (user, password) =
            if self.auth.is_empty() { (self.username, self.password) } else { decode(&self.auth).ok_or(NotBase64)? };
        let credentials = Credentials::Password { user, password: Secret::new(password) };
        Ok(Some(credentials)
            .filter(|credentials| !matches!(credentials, Credentials::Password { user, .. } if user.is_empty())))
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    // Old clients ended the text with a NUL.
    let (user, password) = text.trim_end_matches('\0').split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Keys were once whole URLs of the first registry protocol.
pub(super) fn normal_key(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key)
}

/// The name under which the docker client keeps a domain.
pub(super) fn server_name(domain: &str) -> String {
    let is_default = [DEFAULT_DOMAIN, DEFAULT_REGISTRY].contains(&domain);
    if is_default { DEFAULT_DOMAIN_KEY.to_owned() } else { domain.to_owned() }
}

/// The names under which a domain may be written.
fn names(domain: &str) -> Vec<&str> {
    match domain {
        DEFAULT_DOMAIN | DEFAULT_REGISTRY => vec![normal_key(DEFAULT_DOMAIN_KEY), DEFAULT_DOMAIN, DEFAULT_REGISTRY],
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DockerConfig {
        DockerConfig::parse(text.as_bytes(), Path::new("config.json")).unwrap()
    }

    fn user(config: &DockerConfig, domain: &str, path: &str) -> Option<String> {
        match config.stored(domain, path)? {
            Credentials::Password { user, password } => Some(format!("{user}:{}", password.expose())),
            other => Some(format!("{other:?}")),
        }
    }

    #[test]
    fn credentials_are_found_by_host_and_longest_prefix() {
        let config = config(
            r#"{"auths":{
                "https://index.docker.io/v1/":{"auth":"bWU6cGE6c3M="},
                "https://a.example/v2/":{"username":"a","password":"b"},
                "b.example:5000":{"auth":"Yjpi","identitytoken":"t"},
                "c.example/team":{"auth":"dDp0"}, "c.example":{"auth":"YzpjAA=="},
                "d.example":{}},
               "HttpHeaders":{}}"#,
        );
        assert_eq!(user(&config, "docker.io", "library/x").as_deref(), Some("me:pa:ss"));
        assert_eq!(user(&config, "a.example", "x").as_deref(), Some("a:b"));
        assert_eq!(user(&config, "b.example:5000", "x").as_deref(), Some("Identity(<secret>)"));
        assert_eq!(user(&config, "c.example", "team/x").as_deref(), Some("t:t"));
        assert_eq!(user(&config, "c.example", "teams/x").as_deref(), Some("c:c"));
        assert_eq!(user(&config, "d.example", "x"), None);
        assert_eq!(user(&config, "b.example", "x"), None);
    }

    #[test]
    fn helpers_are_chosen_by_host() {
        let config =
            config(r#"{"credsStore":"desktop","credHelpers":{"a.example":"a","https://index.docker.io/v1/":"hub"}}"#);
        assert_eq!(config.helper("a.example"), Some(("a", "a.example".to_owned())));
        assert_eq!(config.helper("b.example"), Some(("desktop", "b.example".to_owned())));
        assert_eq!(config.helper("docker.io"), Some(("hub", DEFAULT_DOMAIN_KEY.to_owned())));
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = config(r#"{"auths":{"a.example":{"auth":"YTpzM2NyM3Q="}}}"#);
        assert!(!format!("{config:?}").contains("s3cr3t"));
    }

    #[test]
    fn broken_files_are_told() {
        let parse =
            |text: &str| DockerConfig::parse(text.as_bytes(), Path::new("config.json")).unwrap_err().to_string();
        assert!(parse("{").starts_with("config.json:1: not a docker config"));
        assert!(parse(r#"{"auths":{"x":{"auth":"%%"}}}"#).contains("not base64"));
        assert!(DockerConfig::read(Path::new("/nonexistent/config.json")).unwrap().is_none());
    }
}
