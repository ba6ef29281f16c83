//! An agent for the key files of `--ssh ID=KEY`: OpenSSH's own, started for one build and gone with it.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Helper, Program};
use crate::snapshot::Scratch;

/// Usually a few milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// Usually a few milliseconds for each key.
const ADD_TIMEOUT: Duration = Duration::from_secs(10);

/// Why key files cannot be forwarded.
#[derive(Debug, thiserror::Error)]
pub enum KeyAgentError {
    /// OpenSSH's client programs are not there.
    #[error("cannot run `{program}`: {source}")]
    Missing {
        /// The program.
        program: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The agent did not come up.
    #[error("`ssh-agent` does not listen at `{}`", socket.display())]
    NotListening {
        /// Where it should.
        socket: PathBuf,
    },
    /// A key is no key, needs a passphrase, or can be read by others.
    #[error("`ssh-add` refuses the key: {said}")]
    Refused {
        /// What it says.
        said: String,
    },
    /// A key cannot be read to its end, or the agent does not answer.
    #[error("`ssh-add` has not ended after {} s", ADD_TIMEOUT.as_secs())]
    Slow,
}

/// A running agent that holds keys.
pub struct KeyAgent {
    process: Helper,
    socket: PathBuf,
    _directory: Scratch,
}

impl KeyAgent {
    /// Starts an agent whose socket is in `directory`, and gives it `keys`.
    pub fn start(program: &Program, directory: Scratch, keys: &[PathBuf]) -> Result<Self, KeyAgentError> {
        let socket = directory.beside("agent");
        let missing = |program| move |source| KeyAgentError::Missing { program, source };
        // Asked first: a helper cannot tell what it did not find.
        let mut is_there = Command::new("ssh-add");
        is_there.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Helper::start(&mut is_there).map_err(missing("ssh-add"))?;
        let mut command = Helper::command(program, "ssh-agent");
        let process = Helper::start(command.args(["-D", "-a"]).arg(&socket)).map_err(missing("ssh-agent"))?;
        let agent = Self { process, socket, _directory: directory };
        agent.wait()?;
        agent.add(program, keys)?;
        Ok(agent)
    }

    fn add(&self, program: &Program, keys: &[PathBuf]) -> Result<(), KeyAgentError> {
        let mut command = Helper::command(program, "ssh-add");
        command
            .args(keys)
            .env("SSH_AUTH_SOCK", &self.socket)
            .env("SSH_ASKPASS_REQUIRE", "never")
            .stderr(Stdio::piped());
        let missing = |source| KeyAgentError::Missing { program: "ssh-add", source };
        let mut adding = Helper::start(&mut command).map_err(missing)?;
        let status = adding.ended_within(ADD_TIMEOUT).ok_or(KeyAgentError::Slow)?;
        if status.success() {
            return Ok(());
        }
        Err(KeyAgentError::Refused { said: Helper::said(adding.process.stderr.take()) })
    }

    /// Returns where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn wait(&self) -> Result<(), KeyAgentError> {
        let started = Instant::now();
        // It is there before it listens.
        while UnixStream::connect(&self.socket).is_err() {
            if !self.process.is_running() || started.elapsed() > START_TIMEOUT {
                return Err(KeyAgentError::NotListening { socket: self.socket.clone() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
