//! Accounts: trying one at a registry, and leaving it where docker and others find it.
//!
//! The file is docker's `config.json`. All that is not about this registry stays as it is. The new file takes the place of the old by
//! rename, with mode 0600. Where the file names a program that keeps credentials (`credHelpers`, `credsStore`), that has them, and
//! the file only has an empty entry, as docker leaves it. Two that write at once: the later rename counts.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::challenge::Scope;
use super::config::ConfigError;
use super::docker_config::{DockerConfig, normal_key, server_name};
use super::error::Cause;
use super::request::Repository;
use super::route::Need;
use super::secret::Secret;
use super::{Client, RegistryError, helper};
use crate::fsutil::replace;
use crate::oci::Reference;

/// A user with a password. The password is shown nowhere.
#[derive(Clone, Debug)]
pub struct Account {
    user: String,
    password: Secret,
    /// What a token server gave in place of the password.
    identity: Option<Secret>,
}

/// Where credentials were left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kept {
    /// In the file, where everyone who can read it can read them.
    InFile,
    /// By this program.
    By(String),
}

/// Why credentials could not be kept or forgotten.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The file that is there makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A credential helper failed.
    #[error(transparent)]
    Helper(Box<Cause>),
    /// The file cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl Account {
    /// Makes one.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: Secret::new(password), identity: None }
    }

    /// Returns a configuration in which this is the account for a registry.
    pub fn at(&self, domain: &str) -> DockerConfig {
        DockerConfig::of_account(domain, self.user.clone(), self.password.clone())
    }

    /// Leaves it in the file at `path`, or with the program that the file names.
    pub async fn keep(&self, domain: &str, path: &Path) -> Result<Kept, AccountError> {
        let mut file = read(path)?;
        let server = server_name(domain);
        let config = parsed(&file, path)?;
        let (entry, kept) = match config.helper(domain) {
            Some((name, server)) => {
                let (user, secret) = match &self.identity {
                    Some(token) => (helper::TOKEN_USER, token),
                    None => (self.user.as_str(), &self.password),
                };
                let stored = helper::store(name, &server, user, secret).await;
                stored.map_err(|cause| AccountError::Helper(Box::new(cause)))?;
                (json!({}), Kept::By(format!("docker-credential-{name}")))
            }
            None => {
                let auth = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
                let entry = match &self.identity {
                    Some(token) => json!({ "auth": auth(format!("{}:", self.user)), "identitytoken": token.expose() }),
                    None => json!({ "auth": auth(format!("{}:{}", self.user, self.password.expose())) }),
                };
                (entry, Kept::InFile)
            }
        };
        forget_in(&mut file, domain);
        let auths = file.entry("auths").or_insert_with(|| json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(server, entry);
        }
        write(path, &file)?;
        Ok(kept)
    }
}

/// Takes the credentials for a registry out of the file at `path`, and from the program that it names. Returns whether there were any
/// in the file.
pub async fn forget(domain: &str, path: &Path) -> Result<bool, AccountError> {
    let mut file = read(path)?;
    if let Some((name, server)) = parsed(&file, path)?.helper(domain) {
        helper::erase(name, &server).await.map_err(|cause| AccountError::Helper(Box::new(cause)))?;
    }
    let was_there = forget_in(&mut file, domain);
    if was_there {
        write(path, &file)?;
    }
    Ok(was_there)
}

impl Client {
    /// Asks a registry whether it takes the account that this client has for it. If its token server has a token that stands for
    /// the password, the account has it from now on, and that is what is kept.
    pub async fn check_login(&self, domain: &str, account: &mut Account) -> Result<(), RegistryError> {
        let reference = Reference { domain: domain.to_owned(), path: String::new(), tag: None, digest: None };
        let failed = |registry: &str, cause| RegistryError::new("log in to", domain.to_owned(), registry, cause);
        let route = self.0.route(&reference, Need::Push).map_err(|cause| failed(domain, cause))?;
        // The address without a repository is there for this (distribution-spec, "Determining Support").
        let whole = Repository { path: String::new(), scope: Scope::default(), ..route.origin };
        whole.host.begin_login();
        let answer = self.0.patiently(&whole, |client, base| client.get(base)).await;
        answer.map_err(|cause| failed(whole.address(), cause))?;
        account.identity = whole.host.identity().await;
        Ok(())
    }
}

type File = Map<String, Value>;

fn read(path: &Path) -> Result<File, AccountError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }.into()),
    };
    if text.trim_ascii().is_empty() {
        return Ok(File::new());
    }
    // For the message, and for what is no object.
    DockerConfig::parse(&text, path)?;
    let line = |error: serde_json::Error| ConfigError::Line {
        path: path.to_owned(),
        line: error.line(),
        detail: format!("not a docker config: {error}"),
    };
    Ok(serde_json::from_slice(&text).map_err(line)?)
}

fn parsed(file: &File, path: &Path) -> Result<DockerConfig, ConfigError> {
    DockerConfig::parse(Value::Object(file.clone()).to_string().as_bytes(), path)
}

/// Takes out all entries for a registry, of whatever spelling; whether there were any.
fn forget_in(file: &mut File, domain: &str) -> bool {
    let Some(auths) = file.get_mut("auths").and_then(Value::as_object_mut) else { return false };
    let server = server_name(domain);
    let before = auths.len();
    auths.retain(|key, _| normal_key(key) != normal_key(&server) && normal_key(key) != domain);
    auths.len() < before
}

/// Puts a new file in the place of the old.
fn write(path: &Path, file: &File) -> Result<(), AccountError> {
    let wrong = |source| AccountError::Write { path: path.to_owned(), source };
    // Some keep a link here to a file elsewhere, which is to stay a link.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(wrong)?;
    let text = format!("{:#}\n", Value::Object(file.clone()));
    let written = replace(&path, 0o600, |file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(wrong)
}
