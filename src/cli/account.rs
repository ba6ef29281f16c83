//! `kiln login` and `kiln logout`: accounts at registries, as docker keeps them.
//!
//! An account is tried at the registry before it is kept. It is left in the file that counts first (see
//! [`super::registries`]).

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::environment::{Environment, ask_for, stdin_text};
use super::report::{self, Exit};
use super::usage::UsageError;
use super::{registries, terminal};
use crate::oci::{DEFAULT_DOMAIN, Reference};
use crate::progress::Silent;
use crate::registry::{self, Account, AccountError, Cause, Client, Insecure, Kept, RegistryError, Settings};

/// `kiln login`.
#[derive(Args, Debug)]
pub(super) struct LoginArguments {
    /// The registry [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    server: Option<String>,
    /// The user
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// The password or token; other users of the machine can see it
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Registry to talk to by plain HTTP, or whose certificate is not checked
    #[arg(long, value_name = "HOST[:PORT]")]
    insecure: Vec<String>,
}

/// `kiln logout`.
#[derive(Args, Debug)]
pub(super) struct LogoutArguments {
    /// The registry [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error("cannot start to talk to registries")]
    Runtime(#[source] std::io::Error),
    #[error("no place for credentials: none of HOME, DOCKER_CONFIG and REGISTRY_AUTH_FILE is set")]
    NoFile,
}

impl LoginError {
    fn told(&self) -> Exit {
        match self {
            Self::Usage(error) => report::refused(error),
            Self::Registry(error) => {
                // The advice to log in is none here.
                let is_denied = matches!(*error.cause, Cause::Unauthorized { .. });
                let help = if is_denied { Some("check user and password".to_owned()) } else { error.help() };
                let exit =
                    if is_denied || matches!(*error.cause, Cause::Config(_)) { Exit::Failed } else { Exit::Network };
                report::error("login", error, help.into_iter().collect());
                exit
            }
            Self::Account(_) | Self::Runtime(_) | Self::NoFile => {
                report::error("login", self, Vec::new());
                Exit::Environment
            }
        }
    }
}

/// Logs in, and says how to exit.
pub(super) fn login(typed: &LoginArguments) -> Exit {
    match log_in(typed) {
        Ok(()) => report::printed(terminal::print("Login Succeeded\n")),
        Err(error) => error.told(),
    }
}

fn log_in(typed: &LoginArguments) -> Result<(), LoginError> {
    let environment = Environment::read()?;
    let domain = domain(typed.server.as_deref())?;
    let files = registries::files(&environment);
    let path = files.credentials.first().cloned().ok_or(LoginError::NoFile)?;
    let mut account = account(typed, &environment)?;
    let settings = Settings {
        insecure: Insecure::Hosts(typed.insecure.iter().cloned().collect()),
        docker_config: Some(account.at(&domain)),
        files: registry::ConfigFiles { credentials: Vec::new(), ..files },
        proxies: registries::proxies(&environment),
        ..Settings::default()
    };
    let client = Client::telling(settings, Arc::new(Silent));
    let kept = waiting(async {
        client.check_login(&domain, &mut account).await?;
        Ok(account.keep(&domain, &path).await?)
    })?;
    if kept == Kept::InFile {
        let text = "WARNING! Your credentials are stored unencrypted in";
        terminal::print_error(&format!("{text} `{}`: name a credential helper there (`credsStore`)\n", path.display()));
    }
    Ok(())
}

/// Logs out, and says how to exit.
pub(super) fn logout(typed: &LogoutArguments) -> Exit {
    let forgotten = || {
        let environment = Environment::read()?;
        let domain = domain(typed.server.as_deref())?;
        let path: PathBuf = registries::files(&environment).credentials.into_iter().next().ok_or(LoginError::NoFile)?;
        let was_there = waiting(async { Ok(registry::forget(&domain, &path).await?) })?;
        Ok((was_there, domain))
    };
    match forgotten() {
        Ok((true, domain)) => report::printed(terminal::print(&format!("Removing login credentials for {domain}\n"))),
        Ok((false, domain)) => report::printed(terminal::print(&format!("Not logged in to {domain}\n"))),
        Err(error) => LoginError::told(&error),
    }
}

/// Runs to its end what has to wait for others.
fn waiting<T>(work: impl Future<Output = Result<T, LoginError>>) -> Result<T, LoginError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(LoginError::Runtime)?.block_on(work)
}

/// Takes the host out of what was typed, which may be a URL.
fn domain(typed: Option<&str>) -> Result<String, UsageError> {
    let typed = typed.unwrap_or(DEFAULT_DOMAIN);
    let bare = typed.split_once("://").map_or(typed, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or(bare);
    if ["index.docker.io", "registry-1.docker.io"].contains(&host) {
        return Ok(DEFAULT_DOMAIN.to_owned());
    }
    // A digest of a name says that the host can stand in one.
    let is_host = Reference::parse(&format!("{host}/x")).is_ok() && !host.is_empty();
    let expected = "expected the host of a registry, with its port if it has one";
    if is_host { Ok(host.to_owned()) } else { Err(UsageError::malformed("SERVER", typed, expected)) }
}

fn account(typed: &LoginArguments, environment: &Environment) -> Result<Account, UsageError> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default().trim_end_matches(['\r', '\n']).to_owned();
    if typed.password_stdin {
        let missing = || UsageError::malformed("--username", "", "it is needed with --password-stdin");
        let user = typed.username.as_deref().filter(|user| !user.is_empty()).ok_or_else(missing)?;
        return checked(user.to_owned(), text(stdin_text()?));
    }
    if typed.password.is_some() {
        terminal::print_error("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    }
    let user = match &typed.username {
        Some(user) => user.clone(),
        None => ask_for("Username: ", true, environment)?,
    };
    let password = match &typed.password {
        Some(password) => password.clone(),
        None => ask_for("Password: ", false, environment)?,
    };
    checked(user, password)
}

fn checked(user: String, password: String) -> Result<Account, UsageError> {
    match (user.is_empty() || user.contains(':'), password.is_empty()) {
        (true, _) => Err(UsageError::malformed("--username", &user, "expected a name without a colon")),
        (_, true) => Err(UsageError::malformed("--password", "", "it is empty")),
        _ => Ok(Account::new(user, password)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts() {
        for (typed, expected) in [
            ("r.example:5000", "r.example:5000"),
            ("https://r.example/v2/", "r.example"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(domain(Some(typed)).unwrap(), expected);
        }
        assert_eq!(domain(None).unwrap(), "docker.io");
        assert!(domain(Some("")).is_err() && domain(Some("a b")).is_err());
    }
}
