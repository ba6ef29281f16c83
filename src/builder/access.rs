//! What a build may show to others: secrets and ssh agents, and who fetches with them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::failure::environment;
use super::store::Open;
use super::{BuildFailure, BuildRequest, FailureKind, SecretSource, SshSource};
use crate::executor::{CancelFlag, KeyAgent, KeyAgentError, Program};
use crate::ops::{Fetched, Fetcher};

/// The secrets and agents of a build, read and started.
pub(super) struct Access {
    pub(super) fetcher: Fetcher,
    /// Set when the user stops the build.
    pub(super) cancel: CancelFlag,
    /// Agents started for this build; they end with it.
    _key_agents: Vec<KeyAgent>,
}

impl Access {
    /// Reads and starts what `request` names.
    pub(super) fn of(request: &BuildRequest, open: &Open, cancel: &CancelFlag) -> Result<Self, BuildFailure> {
        let mut secrets = BTreeMap::new();
        for secret in &request.secrets {
            let value = match &secret.source {
                SecretSource::Value(bytes) => bytes.0.clone(),
                SecretSource::File(path) => std::fs::read(path).map_err(|error| {
                    environment(format!("cannot read secret {} from `{}`", secret.id, path.display()), &error)
                })?,
            };
            secrets.insert(secret.id.clone(), value);
        }
        let (mut agents, mut key_agents) = (BTreeMap::new(), Vec::new());
        for agent in &request.ssh {
            match &agent.source {
                SshSource::Socket(path) => {
                    agents.insert(agent.id.clone(), path.clone());
                }
                SshSource::Keys(keys) => {
                    let started = key_agent(open, &agent.id, keys)?;
                    agents.insert(agent.id.clone(), started.socket().to_owned());
                    key_agents.push(started);
                }
            }
        }
        let fetcher = Fetcher {
            store: open.content.clone(),
            snapshots: open.snapshots.clone(),
            registry: open.registry.clone(),
            downloads: open.downloads.clone(),
            secrets,
            agents,
            known_hosts: request.known_hosts.clone(),
            fetched: Fetched::default(),
        };
        Ok(Self { fetcher, cancel: cancel.clone(), _key_agents: key_agents })
    }
}

/// Starts an agent for the key files of one `--ssh`.
fn key_agent(open: &Open, id: &str, keys: &[PathBuf]) -> Result<KeyAgent, BuildFailure> {
    let doing = format!("cannot forward the keys of --ssh {id}");
    let directory = open.snapshots.scratch().map_err(|error| environment(doing.clone(), &error))?;
    KeyAgent::start(&Program::of_this_process(), directory, keys).map_err(|error| {
        let mut failure = environment(doing, &error);
        match error {
            KeyAgentError::Missing { .. } => failure.help.push("install OpenSSH's client programs".to_owned()),
            KeyAgentError::Refused { .. } => {
                failure.kind = FailureKind::User;
                failure.help.push("a key with a passphrase needs an agent of yours: `--ssh default`".to_owned());
            }
            KeyAgentError::Slow => failure.help.push("give a file that can be read to its end".to_owned()),
            KeyAgentError::NotListening { .. } => {}
        }
        failure
    })
}
