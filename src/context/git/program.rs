//! The `git` program: how it is started, what it may do, and what of its words is passed on.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::{GitAccess, GitAddressError};

/// How late a fetch may notice that it is to stop.
const CANCEL_POLL: Duration = Duration::from_millis(20);
/// What is kept of `git`'s words; a server may have many.
const MOST_WORDS: u64 = 1 << 20;

/// Settings for every run. Local transports are refused, also to submodules.
const SETTINGS: [(&str, &str); 17] = [
    ("protocol.allow", "never"),
    ("protocol.git.allow", "always"),
    ("protocol.http.allow", "always"),
    ("protocol.https.allow", "always"),
    ("protocol.ssh.allow", "always"),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.logAllRefUpdates", "false"),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("init.defaultBranch", "master"),
    ("advice.detachedHead", "false"),
    // A server that has gone silent is given up.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
];

/// Why a repository cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The address makes no sense.
    #[error(transparent)]
    Address(#[from] GitAddressError),
    /// The commit is another one.
    #[error("expected checksum to match {wanted}, got {found}")]
    Checksum {
        /// What was asked for.
        wanted: String,
        /// What the reference stands for.
        found: String,
    },
    /// The remote knows no such branch or tag.
    #[error("repository does not contain ref {reference}")]
    NoReference {
        /// The reference.
        reference: String,
    },
    /// The remote does not say what its HEAD is.
    #[error("could not find default branch for repository: {remote}")]
    NoHead {
        /// The repository.
        remote: String,
    },
    /// The commit does not say when it was made.
    #[error("commit {commit} has no time")]
    NoTime {
        /// The commit.
        commit: String,
    },
    /// The directory is not in the tree, or is no directory.
    #[error("invalid subdir {subdirectory}: it is no directory of the repository")]
    Subdirectory {
        /// The directory.
        subdirectory: String,
    },
    /// A repository behind ssh, and no agent to log in with.
    #[error("no SSH key \"default\" forwarded from the client")]
    NoAgent,
    /// A secret for the repository that cannot be sent.
    #[error("the secret {name} is no text of one line")]
    Secret {
        /// Its id.
        name: String,
    },
    /// `git` is not installed.
    #[error("git is needed to fetch {remote}, but there is no `git` program")]
    NoGit {
        /// The repository.
        remote: String,
    },
    /// `git` failed.
    #[error("failed to fetch remote {remote}: git {doing}: {message}")]
    Git {
        /// The repository.
        remote: String,
        /// Its subcommand.
        doing: String,
        /// The end of what it said.
        message: String,
    },
    /// The build is to stop.
    #[error("canceled")]
    Canceled,
    /// The fetched files could not be handled.
    #[error("cannot prepare the fetched repository")]
    Io(#[from] io::Error),
}

impl GitError {
    /// What the user may do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoAgent => Some("give the build an agent or a key: `--ssh default` or `--ssh default=KEY`"),
            Self::NoGit { .. } => Some("install git"),
            Self::Git { message, .. } if message.contains("could not read Username") => {
                Some("if the repository is private, give the build a token: `--secret id=GIT_AUTH_TOKEN,env=TOKEN`")
            }
            Self::Git { message, .. } if message.contains("unable to update url base from redirection") => {
                Some("credentials are sent to the address that was given only: give the one it redirects to")
            }
            Self::Git { message, .. } if message.contains("Permission denied (publickey") => {
                Some("the agent of `--ssh default` has no key that the server takes")
            }
            Self::Git { message, .. } if message.contains("Host key verification failed") => {
                Some("the server's key is not the one in your known_hosts; if it has a new one: `ssh-keygen -R HOST`")
            }
            _ => None,
        }
    }
}

/// The `git` program at work for one remote.
pub(super) struct Git<'a> {
    /// Where it runs.
    pub(super) directory: &'a Path,
    /// A directory for what must not be in the tree.
    pub(super) beside: &'a Path,
    pub(super) remote: &'a str,
    pub(super) access: &'a GitAccess,
    pub(super) canceled: &'a (dyn Fn() -> bool + Sync),
}

impl Git<'_> {
    /// Runs `git ARGUMENTS`; returns what it wrote to standard output. Servers that cannot cut history short
    /// (`--depth`) are asked for all of it.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String, GitError> {
        match self.run_once(arguments) {
            Err(GitError::Git { message, .. }) if message.contains("shallow") || message.contains("--depth") => {
                let whole: Vec<&str> = arguments.iter().copied().filter(|word| *word != "--depth=1").collect();
                self.run_once(&whole)
            }
            other => other,
        }
    }

    fn run_once(&self, arguments: &[&str]) -> Result<String, GitError> {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.directory).env_clear().envs(self.environment());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::NoGit { remote: self.remote.to_owned() },
            _ => GitError::Io(error),
        })?;
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        let (out, errors) = std::thread::scope(|scope| {
            let out = scope.spawn(|| words(out));
            let errors = scope.spawn(|| words(errors));
            self.wait(scope, &child);
            (out.join().unwrap_or_default(), errors.join().unwrap_or_default())
        });
        let status = child.wait()?;
        if (self.canceled)() {
            return Err(GitError::Canceled);
        }
        if status.success() {
            return Ok(out);
        }
        Err(GitError::Git {
            remote: self.remote.to_owned(),
            doing: arguments[0].to_owned(),
            message: last_words(&errors),
        })
    }

    /// Waits until the process has ended, ending it and its children when the build is to stop. It stays to be reaped,
    /// so that its number is nobody else's meanwhile.
    fn wait<'scope>(&'scope self, scope: &'scope std::thread::Scope<'scope, '_>, child: &Child) {
        let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
        let ended = std::sync::Arc::new(AtomicBool::new(false));
        let watched = ended.clone();
        let watcher = scope.spawn(move || {
            while !watched.load(Ordering::Acquire) {
                if (self.canceled)() {
                    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
                    return;
                }
                std::thread::park_timeout(CANCEL_POLL);
            }
        });
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(rustix::process::waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
        ended.store(true, Ordering::Release);
        watcher.thread().unpark();
        let _ = watcher.join();
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut settings: Vec<(String, String)> =
            SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        if let Some(authorization) = &self.access.authorization {
            let header = format!("Authorization: {authorization}");
            settings.push((format!("http.{}.extraHeader", self.scope()), header));
            // `git` would send the header wherever it is led.
            settings.push(("http.followRedirects".to_owned(), "false".to_owned()));
        }
        let mut all = vec![("GIT_CONFIG_COUNT".into(), settings.len().to_string().into())];
        for (at, (key, value)) in settings.into_iter().enumerate() {
            all.push((format!("GIT_CONFIG_KEY_{at}").into(), key.into()));
            all.push((format!("GIT_CONFIG_VALUE_{at}").into(), value.into()));
        }
        for (name, value) in [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
        ] {
            all.push((name.into(), value.into()));
        }
        // A repository that the store happens to be in is none of its business.
        let above = self.directory.parent().unwrap_or(self.directory);
        all.push(("GIT_CEILING_DIRECTORIES".into(), above.into()));
        all.push(("GIT_SSH_COMMAND".into(), self.ssh_command().into()));
        if let Some(agent) = &self.access.agent {
            all.push(("SSH_AUTH_SOCK".into(), agent.into()));
        }
        all
    }

    /// Where the header goes: to this repository, and with GitHub to all of that host, as with BuildKit.
    fn scope(&self) -> &str {
        let hosts = ["https://github.com/", "https://www.github.com/"];
        hosts.into_iter().find(|host| self.remote.starts_with(host)).unwrap_or(self.remote)
    }

    /// Only the agent's keys are offered. A host that the user knows must have the key they know; that of a new one is
    /// taken, and is not written to the user's list.
    fn ssh_command(&self) -> String {
        let own = self.beside.join("known_hosts");
        let files: Vec<String> = [Some(own.as_path()), self.access.known_hosts.as_deref()]
            .into_iter()
            .flatten()
            .filter_map(quoted)
            .collect();
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o LogLevel=ERROR -o IdentityFile=none -o ConnectTimeout=15 \
             -o ServerAliveInterval=15 -o StrictHostKeyChecking=accept-new -o 'UserKnownHostsFile={}'",
            files.join(" ")
        )
    }
}

/// A path as one of a list in an option of ssh, inside single quotes of the shell.
fn quoted(path: &Path) -> Option<String> {
    let path = path.to_str()?;
    let odd = |c: char| c.is_control() || "'\"\\".contains(c);
    (!path.chars().any(odd)).then(|| format!("\"{}\"", path.replace('%', "%%")))
}

/// Reads a pipe to its end; the beginning is kept.
fn words(pipe: Option<impl Read>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut kept = Vec::new();
    let _ = pipe.by_ref().take(MOST_WORDS).read_to_end(&mut kept);
    let _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

/// What `git` ends with whatever kept it from a repository behind ssh.
const NO_ANSWER: &str = "fatal: Could not read from remote repository.";

/// The line that says what went wrong: what ssh complains of, else the last `fatal:` or `error:`, else the last one. Servers
/// can put anything into it, but no control characters.
fn last_words(said: &str) -> String {
    // After it comes advice only.
    let before = said.find(NO_ANSWER).map_or(said, |end| &said[..end]);
    let said = if before.trim().is_empty() { said } else { before };
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_of_ssh = |line: &&str| {
        line.contains("Permission denied (") || line.starts_with("Host key veri") || line.starts_with("ssh: ")
    };
    let is_verdict = |line: &&str| line.starts_with("fatal:") || line.starts_with("error:");
    let line = lines().find(is_of_ssh).or_else(|| lines().rfind(is_verdict)).or_else(|| lines().next_back());
    let line = line.unwrap_or("it did not say why");
    let line = line.trim_start_matches("fatal: ").trim_start_matches("error: ");
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_writes_no_control_characters() {
        assert_eq!(last_words("remote: hi\nfatal: no \x1b[2Jway\n\n"), "no  [2Jway");
        assert_eq!(last_words("fatal: a\nremote: \u{9b}1mb"), "a");
        assert_eq!(last_words(""), "it did not say why");
    }

    #[test]
    fn the_reason_is_said_and_not_that_there_is_one() {
        let advice = format!("{NO_ANSWER}\n\nPlease make sure you have the correct access rights\nand it exists.\n");
        for (said, line) in [
            (
                "ssh: connect to host h port 22: Connection refused\r\n",
                "ssh: connect to host h port 22: Connection refused",
            ),
            ("Warning: added\nfatal: 'x' is no repository\n", "'x' is no repository"),
            ("ERROR: Repository not found.\n", "ERROR: Repository not found."),
            ("u@h: Permission denied (publickey).\n", "u@h: Permission denied (publickey)."),
            ("", "Could not read from remote repository."),
        ] {
            assert_eq!(last_words(&format!("{said}{advice}")), line);
        }
    }

    #[test]
    fn a_run_that_is_canceled_ends() {
        let temp = tempfile::tempdir().unwrap();
        let git = Git {
            directory: temp.path(),
            beside: temp.path(),
            remote: "r",
            access: &GitAccess::default(),
            canceled: &|| true,
        };
        assert!(matches!(git.run(&["cat-file", "--batch"]), Err(GitError::Canceled)));
    }
}
