//! The configuration that people already have: where images are, how registries are reached, and as whom.
//!
//! | file | of | what is read |
//! | --- | --- | --- |
//! | `config.json` | docker | `auths`, `credHelpers`, `credsStore` |
//! | `auth.json` | containers | the same |
//! | `registries.conf`, `registries.conf.d/*.conf` | containers | `[[registry]]` and `[[registry.mirror]]` of version 2 |
//! | `certs.d/HOST[:PORT]/hosts.toml` | containerd | all but timeouts |
//! | `certs.d/HOST[:PORT]/*.crt`, `*.cert`, `*.key` | docker, containerd, containers | authorities and the client's certificate |
//! | `daemon.json` | docker | `registry-mirrors`, `insecure-registries` |
//!
//! Who decides, when files disagree:
//!
//! - *Where a repository is*: the `[[registry]]` of `registries.conf` with the longest prefix; else `hosts.toml` of the first
//!   directory that has one (`HOST:PORT`, or `HOST_PORT_`, before `_default`); else the mirrors of `daemon.json`, for the default
//!   domain. A `blocked` registry is never asked.
//! - *Whether a registry may do without a certificate*: it may as soon as one says so: the command line, `registries.conf`,
//!   `hosts.toml`, `daemon.json`, or a loopback address. `https://` in `hosts.toml` without `skip_verify` means a certificate.
//! - *Authorities and the client's certificate*: those of `hosts.toml`, and of all directories for that host.
//! - *Credentials*: the first file that knows the repository; in one file its credential helper before what is written there.
//!
//! Files are read when a registry is first used. One that is not there says nothing; nor does one of the machine that this user may
//! not read (docker's are root's alone on some). One that makes no sense is an error with file and line.

mod certificates;
mod daemon_json;
mod hosts_toml;
mod loaded;
mod registries_conf;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub(super) use certificates::Trust;
pub(super) use hosts_toml::{Hosts, Upstream};
pub(super) use loaded::{Configuration, credentials};

use daemon_json::Daemon;
use registries_conf::Registries;

/// Where configuration is looked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConfigFiles {
    /// `config.json` and `auth.json`, the one that counts first.
    pub credentials: Vec<PathBuf>,
    /// `registries.conf`; the first that is there counts.
    pub registries: Vec<PathBuf>,
    /// Directories of `*.conf` that add to it; later ones count.
    pub registries_drop_in: Vec<PathBuf>,
    /// Directories with a directory for each registry.
    pub certificates: Vec<PathBuf>,
    /// `daemon.json`; all that are there count.
    pub daemon: Vec<PathBuf>,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// It makes no sense.
    #[error("{}:{line}: {detail}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        detail: String,
    },
    /// A certificate, a key or an entry cannot be used.
    #[error("`{}`: {detail}", path.display())]
    Whole {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// Reads a text file; `None` when it is not there.
fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
    }
}

/// The same, where a file that may not be read is another's.
fn read_if_allowed(path: &Path) -> Result<Option<String>, ConfigError> {
    match read(path) {
        Err(ConfigError::Read { source, .. }) if source.kind() == ErrorKind::PermissionDenied => Ok(None),
        other => other,
    }
}

/// Returns the files of a directory whose names end so, sorted; none when it is not there or may not be read.
fn files_of(directory: &Path, ending: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let listed = crate::fsutil::Dir::open(directory).and_then(|directory| directory.entries());
    let entries = match listed {
        Ok(entries) => entries,
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied => return Ok(Vec::new()),
            _ => return Err(ConfigError::Read { path: directory.to_owned(), source: error }),
        },
    };
    let paths = entries.into_iter().map(|entry| directory.join(entry.name));
    Ok(paths.filter(|path| path.to_str().is_some_and(|path| path.ends_with(ending))).collect())
}

/// Parses TOML; errors name the line.
fn parse_toml<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        at_line(text, at, path, error.message().lines().next().unwrap_or_default())
    })
}

/// Makes the error of something at a byte of a file.
fn at_line(text: &str, byte: usize, path: &Path, detail: impl Into<String>) -> ConfigError {
    let before = &text.as_bytes()[..byte.min(text.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    ConfigError::Line { path: path.to_owned(), line, detail: detail.into() }
}

/// Whether a text is `host[:port]`.
fn is_host(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    !text.is_empty() && text.chars().all(fits)
}
