//! What was read, kept for as long as a client lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::docker_config::DockerConfig;
use super::{ConfigError, ConfigFiles, Daemon, Hosts, Registries};

/// The configuration as read. What is kept per registry is read with the first use of that registry.
pub(in super::super) struct Configuration {
    pub(in super::super) registries: Registries,
    pub(in super::super) daemon: Daemon,
    files: ConfigFiles,
    hosts: Mutex<BTreeMap<String, Arc<Hosts>>>,
}

impl Configuration {
    /// Reads the files that are about all registries.
    pub(in super::super) fn read(files: &ConfigFiles) -> Result<Self, ConfigError> {
        let (registries, daemon) = (Registries::read(files)?, Daemon::read(files)?);
        Ok(Self { registries, daemon, files: files.clone(), hosts: Mutex::default() })
    }

    /// Returns what `certs.d` says of a registry.
    pub(in super::super) fn hosts(&self, domain: &str) -> Result<Arc<Hosts>, ConfigError> {
        let mut all = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(domain) {
            return Ok(known.clone());
        }
        let found = Arc::new(Hosts::read(&self.files, domain)?);
        all.insert(domain.to_owned(), found.clone());
        Ok(found)
    }
}

/// Reads the files of credentials, the one that counts first.
pub(in super::super) fn credentials(files: &ConfigFiles) -> Result<Vec<DockerConfig>, ConfigError> {
    let read = files.credentials.iter().map(|path| DockerConfig::read(path));
    read.filter_map(Result::transpose).collect()
}
