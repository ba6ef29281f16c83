//! Directories of certificates, one for each registry: `*.crt` are authorities, `*.cert` and `*.key` are the client's own.

use std::path::{Path, PathBuf};

use super::{ConfigError, files_of};

/// Whom a registry's connections trust, and who they say they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Trust {
    /// Authorities, as PEM.
    pub(in super::super) authorities: Vec<Vec<u8>>,
    /// The client's certificates, each with its key, as PEM, by name. A connection shows one.
    pub(in super::super) identities: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Trust {
    /// A key is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (authorities, identities) = (self.authorities.len(), self.identities.len());
        f.debug_struct("Trust").field("authorities", &authorities).field("identities", &identities).finish()
    }
}

impl Trust {
    /// Adds what a registry's directory holds.
    pub(in super::super) fn add_directory(&mut self, directory: &Path) -> Result<(), ConfigError> {
        for path in files_of(directory, ".crt")? {
            self.add_authority(&path)?;
        }
        let keys = files_of(directory, ".key")?;
        let certificates = files_of(directory, ".cert")?;
        if let Some(lone) = keys.iter().find(|key| !certificates.contains(&key.with_extension("cert"))) {
            return Err(wrong(lone, "there is no certificate beside it, of the same name with `.cert`"));
        }
        for path in certificates {
            let key = path.with_extension("key");
            if !keys.contains(&key) {
                return Err(wrong(
                    &path,
                    "there is no key beside it, of the same name with `.key`; an authority's is `.crt`",
                ));
            }
            self.add_identity(&path, Some(&key))?;
        }
        Ok(())
    }

    /// Adds what another trusts; identities that are there stay alone.
    pub(in super::super) fn add(&mut self, other: &Self) {
        self.authorities.extend(other.authorities.iter().cloned());
        if self.identities.is_empty() {
            self.identities.clone_from(&other.identities);
        }
    }

    /// Whether there is nothing in it.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.identities.is_empty()
    }

    /// Adds the authorities of a file.
    pub(in super::super) fn add_authority(&mut self, path: &Path) -> Result<(), ConfigError> {
        let pem = read(path)?;
        let found = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
        // Each must be one for TLS too, and is not looked at before a client is made of it.
        let taken = found.into_iter().try_fold((0, builder()), |(count, builder), certificate| {
            let builder = builder.add_root_certificate(certificate);
            Ok::<_, reqwest::Error>((count + 1, builder))
        });
        match taken.map(|(count, builder)| (count, builder.build())) {
            Ok((1.., Ok(_))) => self.authorities.push(pem),
            _ => return Err(wrong(path, "there is no certificate in it (PEM)")),
        }
        Ok(())
    }

    /// Adds the client's certificate, with its key in the same file or in another.
    pub(in super::super) fn add_identity(&mut self, path: &Path, key: Option<&Path>) -> Result<(), ConfigError> {
        let mut pem = read(path)?;
        if let Some(key) = key {
            pem.push(b'\n');
            pem.extend(read(key)?);
        }
        let identity = reqwest::Identity::from_pem(&pem).and_then(|identity| builder().identity(identity).build());
        if let Err(error) = identity {
            let detail = format!("no client certificate with its key (PEM): {error}");
            return Err(ConfigError::Whole { path: path.to_owned(), detail });
        }
        self.identities.push(pem);
        Ok(())
    }
}

fn builder() -> reqwest::ClientBuilder {
    super::super::transport::use_ring();
    reqwest::Client::builder().tls_built_in_root_certs(false).no_proxy()
}

fn wrong(path: &Path, detail: &str) -> ConfigError {
    ConfigError::Whole { path: path.to_owned(), detail: detail.to_owned() }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Read { path: PathBuf::from(path), source })
}
