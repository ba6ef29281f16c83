//! Running one step: a [`SandboxSpec`] in, exit status and output out.
//!
//! The one executor there is starts a local sandbox (`crate::sandbox`) and stays with it: hands on its output, kills it when
//! asked, cleans up what the sandbox put into the upper directory only to have something to mount on.
//!
//! It does not prepare the upper directory, does not read the difference, and knows no cache.
//! Called by `ops` and tests, from a thread that may block. No locks.

mod agent;
mod cancel;
mod deadline;
mod emulation;
mod helper;
mod key_agent;
mod launcher;
mod local;
mod network;
mod program;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::fsutil::Dir;
use crate::sandbox::cgroup::{Cgroups, Controller};
use crate::sandbox::{CgroupError, Exceeded, Isolation, Network, ResourceLimits, SandboxSpec, Security};

pub use cancel::CancelFlag;
use emulation::Emulation;
use helper::Helper;
pub use key_agent::{KeyAgent, KeyAgentError};
use launcher::Launcher;
use local::{Ended, Means};
use network::{Connected, Networks};
pub use network::{NoNetwork, Ports};
pub use program::Program;

/// Which output a chunk was written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// How the command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl ExitStatus {
    /// Whether it exited with code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// Returns the code a shell would show: 128 plus the number for a signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// The network a command really had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetworkUsed {
    /// Loopback only.
    None,
    /// Its own, connected by a helper process.
    Own,
    /// The host's, as asked.
    Host,
    /// The host's, because an own one could not be had; the text says why.
    HostInstead(&'static str),
}

/// What a command is attached to besides its output.
#[derive(Default)]
pub struct Attached<'a> {
    /// What it reads, for [`crate::sandbox::Input::Given`].
    pub input: Option<OwnedFd>,
    /// Is given the other side of its terminal when there is one, for [`crate::sandbox::Input::Terminal`]. What comes out
    /// of it goes to the log.
    pub terminal: Option<&'a mut dyn FnMut(OwnedFd)>,
    /// Ports of this machine that lead to it, for [`Network::Default`].
    pub ports: Option<&'a Ports>,
    /// Numbers of signals, a byte each, to be passed on to it. One that asks to end, and comes before there is a command, cancels.
    pub signals: Option<OwnedFd>,
}

/// A command that ran to its end, whatever its exit code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExecOutcome {
    /// How it ended.
    pub status: ExitStatus,
    /// The network it had.
    pub network: NetworkUsed,
    /// What was created in the upper directory to mount on and is still there, because the command put something
    /// into it or changed it; relative paths. What was left untouched has been removed again.
    pub stubs: Vec<PathBuf>,
    /// The limits it met on its way.
    pub exceeded: Vec<Exceeded>,
    /// The most memory that one of its processes had resident, in bytes, where that is known.
    pub peak_memory: Option<u64>,
}

/// Why a command could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It was cancelled; everything it started is dead.
    #[error("the step was cancelled")]
    Cancelled,
    /// It took longer than its limits allow; everything it started is dead.
    #[error("the command took longer than it may")]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// It cannot be limited as asked, so it was not run.
    #[error(transparent)]
    Limit(#[from] CgroupError),
    /// The command is not there, or is not executable.
    #[error("cannot execute `{program}`: {source}")]
    Command {
        /// The first argument.
        program: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The command is a program of another machine, and nothing here can run it.
    #[error("exec format error: `{program}` is a program for {machine}, which this machine cannot run: {reason}")]
    Foreign {
        /// The first argument.
        program: String,
        /// What it is for, for example `arm64`.
        machine: &'static str,
        /// Why it could not be emulated.
        reason: String,
    },
    /// A part of the sandbox could not be set up.
    #[error(
        "cannot set up the sandbox: {step}{}: {source}{}",
        path.as_ref().map(|path| format!(" (`{}`)", path.display())).unwrap_or_default(),
        meaning.as_ref().map(|meaning| format!(": {meaning}")).unwrap_or_default()
    )]
    Setup {
        /// The step as the plan prints it.
        step: String,
        /// The path the kernel refused, if there was one.
        path: Option<PathBuf>,
        /// The kernel's answer.
        source: io::Error,
        /// What that means and what to do about it, where the answer alone does not tell.
        meaning: Option<String>,
    },
    /// Without namespaces: the command moved or removed what was put into its root directory for it.
    #[error("the command moved, linked or removed `{}`, which is there for this step only and no part of the image", path.display())]
    Moved {
        /// Where it was.
        path: PathBuf,
    },
    /// Ports cannot lead to the command.
    #[error("cannot forward ports: {why}")]
    Ports {
        /// Why not.
        why: String,
    },
    /// Something of the executor's own failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// A verb phrase.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The sandbox vanished without a word: its supervisor was killed from outside.
    #[error("the sandbox was killed from outside")]
    Lost,
}

impl ExecError {
    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Says what to do about it, a line each.
    pub fn help(&self) -> Vec<String> {
        let lines: &[&str] = match self {
            Self::Limit(error) => return error.help(),
            Self::Foreign { .. } => &[
                "install the package `qemu-user-static` (Debian, Ubuntu, Fedora): kiln registers its emulators for its own \
                 steps (Linux 6.7 or later)",
                "or register an emulator for the whole machine, with flag F as images do not have it: `systemctl restart \
                 systemd-binfmt`, or a privileged container made for that",
                "or build what can be built here: `FROM --platform=$BUILDPLATFORM`",
            ],
            Self::Command { source, .. } if source.raw_os_error() == Some(libc::ENOEXEC) => {
                &["it is neither a program nor a script with an interpreter: begin it with `#!/bin/sh`"]
            }
            Self::Command { source, .. } if source.raw_os_error() == Some(libc::EACCES) => {
                &["it is not executable: `COPY --chmod=755`, or `chmod +x` before it is copied"]
            }
            Self::Command { .. } => {
                &["the image lacks the program, or the interpreter or loader it needs, or PATH does not lead there"]
            }
            _ => &[],
        };
        lines.iter().map(|line| (*line).to_owned()).collect()
    }
}

/// Runs sandboxes on this machine, and keeps between them what takes long to make: connected network namespaces, and the
/// namespace in which programs of other machines run.
pub struct Executor {
    program: Program,
    launcher: Launcher,
    networks: Networks,
    /// Made when the first program of another machine is met that the kernel cannot run.
    emulation: OnceLock<Result<Emulation, String>>,
    /// Looked up when the first step comes that is limited by one.
    cgroups: OnceLock<Cgroups>,
    /// Sandboxes that are still expected.
    expected: AtomicUsize,
}

impl Executor {
    /// Makes one whose sandboxes are this program started anew; `main` has called
    /// [`crate::sandbox::init_if_requested`].
    pub fn of_this_process() -> Self {
        Self::with(Program::of_this_process())
    }

    /// Makes one with the program that becomes the sandbox named (tests are programs of their own).
    pub fn with(program: Program) -> Self {
        Self {
            program,
            launcher: Launcher::default(),
            networks: Networks::default(),
            emulation: OnceLock::new(),
            cgroups: OnceLock::new(),
            expected: AtomicUsize::new(0),
        }
    }

    /// Says how many more sandboxes will be wanted: after the last one none is made ahead.
    pub fn expect(&self, more: usize) {
        self.expected.fetch_add(more, Relaxed);
    }

    /// Says that one of those is not wanted after all.
    pub fn forgo(&self) {
        self.one_less();
    }

    /// Returns whether there are more.
    fn one_less(&self) -> bool {
        let less = self.expected.fetch_update(Relaxed, Relaxed, |expected| expected.checked_sub(1));
        less.is_ok_and(|before| before > 1)
    }

    /// Says that a sandbox with this isolation will be wanted soon. What goes wrong shows when it is.
    pub fn prepare(&self, isolation: Isolation) {
        let _ = self.launcher.prepare(&self.program, isolation);
    }

    /// Says that no sandbox will be wanted for a while: what is kept for the next one ends now, beside what the caller goes on to do.
    pub fn rest(&self) {
        self.launcher.rest();
        self.networks.forget();
    }

    /// Like [`Executor::run`], of a command that somebody talks to.
    pub fn run_attached(
        &self,
        spec: &SandboxSpec,
        attached: &mut Attached<'_>,
        log: &mut dyn FnMut(Stream, &[u8]),
        cancel: &CancelFlag,
    ) -> Result<ExecOutcome, ExecError> {
        let forwarding = attached.ports.map(|ports| self.networks.make_forwarding(&self.program, ports, cancel));
        let forwarding = forwarding.transpose().map_err(|why| ExecError::Ports { why })?;
        self.run_in(spec, forwarding, attached, log, cancel)
    }

    /// Runs the command of `spec` and waits for its end. `log` gets its output as it comes, in chunks of any size.
    /// Returns when the command itself has ended; what it left in the background is dead by then. When `cancel` is
    /// set everything is killed at once. Blocks: call it from a thread that may, and that lives as long as this value:
    /// helpers die with the thread that started them.
    ///
    /// The upper directory is the caller's alone.
    pub fn run(
        &self,
        spec: &SandboxSpec,
        log: &mut dyn FnMut(Stream, &[u8]),
        cancel: &CancelFlag,
    ) -> Result<ExecOutcome, ExecError> {
        self.run_in(spec, None, &mut Attached::default(), log, cancel)
    }

    fn run_in(
        &self,
        spec: &SandboxSpec,
        forwarding: Option<Connected>,
        attached: &mut Attached<'_>,
        log: &mut dyn FnMut(Stream, &[u8]),
        cancel: &CancelFlag,
    ) -> Result<ExecOutcome, ExecError> {
        let (program, launcher, cgroups) = (&self.program, &self.launcher, &self.cgroups);
        let last = !self.one_less();
        let mut used = match forwarding {
            Some(connected) => (NetworkUsed::Own, Some(connected)),
            None => self.network(spec)?,
        };
        let mut emulation = None;
        let ended = loop {
            let (network, connected) = (used.0, used.1.as_ref());
            let means = Means { program, launcher, network, connected, last, emulation, cgroups };
            match local::run_once(&means, spec, attached, log, cancel) {
                Err(Ended::Unconnected) => {
                    used.1.iter().for_each(|failed| self.networks.give_up(failed));
                    used = self.network(spec)?;
                }
                Err(Ended::Foreign(machine)) => {
                    let found = match (&emulation, self.emulation()) {
                        (None, Ok(emulation)) => Ok(emulation),
                        (None, Err(why)) => Err(why.clone()),
                        (Some(_), _) if spec.isolation == Isolation::Chroot => {
                            Err("chroot isolation takes one that is registered for the machine".to_owned())
                        }
                        (Some(_), _) => Err("no emulator for it is installed".to_owned()),
                    };
                    let program = || spec.argv.first().cloned().unwrap_or_default();
                    let foreign = |reason| ExecError::Foreign { program: program(), machine, reason };
                    emulation = Some(found.map_err(foreign)?);
                }
                other => break other.map_err(Ended::into_error),
            }
            // Nothing was executed yet. The work directory carries the mark of a volatile mount, which refuses a second.
            empty_directory(&spec.rootfs.work).map_err(ExecError::io("empty the work directory"))?;
        };
        // A command with all capabilities may have left anything in its network.
        if let (Some(connected), Ok(_), Security::Sandbox) = (used.1, &ended, spec.security)
            && attached.ports.is_none()
        {
            self.networks.give(connected);
        }
        ended
    }

    /// Whether a network should be connected for a step that will want [`Network::Default`]: then the caller is to have
    /// [`Executor::connect_ahead`] called at once.
    pub fn begin_ahead(&self) -> bool {
        self.networks.begin_ahead()
    }

    /// Begins to connect a network, so that a step need not wait for that. The thread must live as long as this value, as with
    /// [`Executor::run`].
    pub fn connect_ahead(&self) {
        self.networks.make_ahead(&self.program);
    }

    /// Decides what the network of `spec` means on this machine.
    fn network(&self, spec: &SandboxSpec) -> Result<(NetworkUsed, Option<Connected>), ExecError> {
        match (spec.network, spec.isolation) {
            (Network::Host, _) => Ok((NetworkUsed::Host, None)),
            (Network::Default, Isolation::Chroot) => {
                Ok((NetworkUsed::HostInstead("chroot isolation has no other"), None))
            }
            (Network::None, Isolation::Chroot) => {
                let refused = ExecError::io("keep a step from the network without namespaces");
                Err(refused(io::ErrorKind::Unsupported.into()))
            }
            (Network::None, _) => Ok((NetworkUsed::None, None)),
            (Network::Default, _) => match self.networks.take(&self.program) {
                Ok(connected) => Ok((NetworkUsed::Own, Some(connected))),
                Err(missing) => Ok((NetworkUsed::HostInstead(missing.reason()), None)),
            },
        }
    }

    fn emulation(&self) -> &Result<Emulation, String> {
        self.emulation.get_or_init(|| Emulation::start(&self.program))
    }
}

/// Tries whether programs of other machines can run here in emulators that are installed; says why if not.
pub fn try_emulation() -> Result<(), String> {
    Emulation::start(&Program::of_this_process()).map(drop)
}

/// Tries to connect a network as steps have it; returns the program that does, with its version as it says it.
pub fn try_network() -> Result<String, NoNetwork> {
    let none = |_| NoNetwork::NotConnected;
    let (program, cancel) = (Program::of_this_process(), CancelFlag::new().map_err(none)?);
    Ok(Networks::default().take_connected(&program, &cancel)?.by(&program))
}

/// What there is to limit steps with here.
pub struct LimitsHere {
    /// In words: `cgroup v2`.
    pub version: &'static str,
    /// The controllers that steps can be limited by.
    pub had: Vec<&'static str>,
    /// The others, and why not.
    pub missing: Vec<(&'static str, CgroupError)>,
}

/// Tries which limits can be had here, by making a cgroup for each and removing it.
pub fn try_limits() -> LimitsHere {
    let cgroups = Cgroups::find();
    let mut here = LimitsHere { version: cgroups.version(), had: Vec::new(), missing: Vec::new() };
    for controller in Controller::ALL {
        match cgroups.make(&some_limit(controller)) {
            Ok(_) => here.had.push(controller.name()),
            Err(error) => here.missing.push((controller.name(), error)),
        }
    }
    here
}

/// One that every machine could have.
fn some_limit(controller: Controller) -> ResourceLimits {
    let nothing = ResourceLimits::default();
    match controller {
        Controller::Cpu => ResourceLimits { cpu_shares: Some(1024), ..nothing },
        Controller::Cpuset => ResourceLimits { cpuset_cpus: Some(String::new()), ..nothing },
        Controller::Memory => ResourceLimits { memory: Some(1 << 40), ..nothing },
        Controller::Pids => ResourceLimits { pids: Some(1 << 16), ..nothing },
    }
}

fn empty_directory(path: &Path) -> io::Result<()> {
    let dir = Dir::open(path)?;
    dir.entries()?.iter().try_for_each(|entry| dir.remove_tree(&entry.name))
}
