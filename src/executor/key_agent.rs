//! An agent for the key files of `--ssh ID=KEY`: OpenSSH's own, started for one build and gone with it.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Program;
use crate::sandbox;
use crate::snapshot::Scratch;

/// Usually a few milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(5);

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
}

/// A running agent that holds keys. Killed when dropped, and by the kernel when the thread that started it ends.
pub struct KeyAgent {
    process: Child,
    socket: PathBuf,
    _directory: Scratch,
}

impl KeyAgent {
    /// Starts an agent whose socket is in `directory`, and gives it `keys`.
    pub fn start(program: &Program, directory: Scratch, keys: &[PathBuf]) -> Result<Self, KeyAgentError> {
        let socket = directory.beside("agent");
        let missing = |program| move |source| KeyAgentError::Missing { program, source };
        // Asked first: the helper below cannot tell what it did not find.
        silent(Command::new("ssh-add").arg("-V")).status().map_err(missing("ssh-add"))?;
        let mut command = Command::new(program.path());
        command.args([sandbox::HELPER, &std::process::id().to_string(), "ssh-agent", "-D", "-a"]).arg(&socket);
        let process = silent(&mut command).spawn().map_err(missing("ssh-agent"))?;
        let mut agent = Self { process, socket, _directory: directory };
        agent.wait()?;
        let mut add = Command::new("ssh-add");
        add.args(keys).env("SSH_AUTH_SOCK", &agent.socket).env("SSH_ASKPASS_REQUIRE", "never");
        let added = add.stdin(Stdio::null()).output().map_err(missing("ssh-add"))?;
        if added.status.success() {
            return Ok(agent);
        }
        Err(KeyAgentError::Refused { said: String::from_utf8_lossy(&added.stderr).trim().to_owned() })
    }

    /// Returns where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn wait(&mut self) -> Result<(), KeyAgentError> {
        let started = Instant::now();
        // It is there before it listens.
        while UnixStream::connect(&self.socket).is_err() {
            if !matches!(self.process.try_wait(), Ok(None)) || started.elapsed() > START_TIMEOUT {
                return Err(KeyAgentError::NotListening { socket: self.socket.clone() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

fn silent(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        // Fails only when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
