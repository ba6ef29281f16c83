//! One life of a local sandbox: start it, hand on its output, answer it, end it.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Signal;

use super::agent::Served;
use super::deadline::Deadline;
use super::emulation::{self, Emulation};
use super::launcher::Launcher;
use super::network::{Connected, resolv_conf};
use super::{Attached, CancelFlag, ExecError, ExecOutcome, ExitStatus, NetworkUsed, Program, Stream};
use crate::sandbox::cgroup::{Cgroups, Group};
use crate::sandbox::wire::{self, Report, Reports, Start};
use crate::sandbox::{self, Connection, ResourceLimits, SandboxSpec, Stubs};

/// The supervisor kills and reaps its pid 1 in a few milliseconds; longer than this it is stuck.
const KILL_TIMEOUT: Duration = Duration::from_millis(800);

/// Why there is no outcome.
pub(super) enum Ended {
    /// The command is a program of another machine (its name follows), which the kernel cannot run.
    Foreign(&'static str),
    /// The network did not come to be connected; nothing was executed.
    Unconnected,
    Error(ExecError),
}

impl Ended {
    pub(super) fn into_error(self) -> ExecError {
        match self {
            Self::Foreign(_) | Self::Unconnected => ExecError::Lost,
            Self::Error(error) => error,
        }
    }

    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Error(ExecError::Io { doing, source })
    }
}

/// What sandboxes are made with.
pub(super) struct Means<'a> {
    pub(super) program: &'a Program,
    pub(super) launcher: &'a Launcher,
    pub(super) network: NetworkUsed,
    /// The own network, if it is that.
    pub(super) connected: Option<&'a Connected>,
    /// No other sandbox is expected.
    pub(super) last: bool,
    /// For programs of other machines.
    pub(super) emulation: Option<&'a Emulation>,
    pub(super) cgroups: &'a OnceLock<Cgroups>,
}

impl Means<'_> {
    /// The cgroup of one step, if its limits take one.
    fn group(&self, limits: &ResourceLimits) -> Result<Option<Group>, Ended> {
        let make = || self.cgroups.get_or_init(Cgroups::find).make(limits);
        limits.need_cgroup().then(make).transpose().map_err(|error| Ended::Error(error.into()))
    }
}

/// Runs the sandbox once, whatever becomes of it; afterwards all that ran in it is dead and the untouched stubs are gone.
pub(super) fn run_once(
    means: &Means<'_>,
    spec: &SandboxSpec,
    attached: &mut Attached<'_>,
    log: &mut dyn FnMut(Stream, &[u8]),
    cancel: &CancelFlag,
) -> Result<ExecOutcome, Ended> {
    // Outlives the session, whose processes are in it.
    let group = means.group(&spec.limits)?;
    let mut session = Session::start(means, spec, attached).map_err(Ended::io("start the sandbox"))?;
    let ended = session.follow(means, spec, group.as_ref(), attached, log, cancel);
    if ended.is_err() {
        session.end();
    }
    // Agents are served as long as there is somebody to ask them.
    session.served.clear();
    let exceeded = group.as_ref().map(Group::exceeded).unwrap_or_default();
    let cleaned = session.stubs.remove(&spec.rootfs.upper);
    let cleaned = cleaned.map_err(|error| Ended::io("clean the upper directory")(error.into()));
    let (status, cleaned) = (ended?, cleaned?);
    match cleaned.moved.into_iter().next().filter(|_| status.success()) {
        Some(path) => Err(Ended::Error(ExecError::Moved { path: Path::new("/").join(path) })),
        None => Ok(ExecOutcome {
            status,
            network: means.network,
            stubs: cleaned.staying,
            exceeded,
            peak_memory: session.peak_memory,
        }),
    }
}

struct Session {
    socket: UnixStream,
    output: Vec<(Stream, OwnedFd)>,
    reports: Reports,
    /// Known when the supervisor has its orders.
    supervisor: Option<OwnedFd>,
    /// Pid 1, which becomes the command.
    first: Option<OwnedFd>,
    /// Everything is mounted, and the command is about to run.
    is_set_up: bool,
    /// What a process of it had at the most, in bytes.
    peak_memory: Option<u64>,
    stubs: Stubs,
    served: Vec<Served>,
    /// The output is the other side of the command's terminal.
    has_terminal: bool,
}

impl Session {
    fn start(means: &Means<'_>, spec: &SandboxSpec, attached: &Attached<'_>) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let (stdout, their_stdout) = output_pipe()?;
        let (stderr, their_stderr) = output_pipe()?;
        let mut streams = vec![their_stdout.as_fd(), their_stderr.as_fd()];
        streams.extend(attached.input.as_ref().map(AsFd::as_fd));
        let network = if matches!(means.network, NetworkUsed::None) { wire::OWN_NETWORK } else { 0 };
        let note = network | if means.last { wire::LAST } else { 0 };
        means.launcher.launch(means.program, spec.isolation, theirs.as_fd(), &streams, note)?;
        Ok(Self {
            socket,
            output: vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)],
            reports: Reports::default(),
            supervisor: None,
            first: None,
            is_set_up: false,
            peak_memory: None,
            stubs: Stubs::default(),
            served: Vec::new(),
            has_terminal: false,
        })
    }

    fn follow(
        &mut self,
        means: &Means<'_>,
        spec: &SandboxSpec,
        group: Option<&Group>,
        attached: &mut Attached<'_>,
        log: &mut dyn FnMut(Stream, &[u8]),
        cancel: &CancelFlag,
    ) -> Result<ExitStatus, Ended> {
        let connection = match means.network {
            NetworkUsed::None => Connection::None,
            NetworkUsed::Own => Connection::Joined,
            NetworkUsed::Host | NetworkUsed::HostInstead(_) => Connection::Host,
        };
        let mut spec_here = spec.clone();
        if connection != Connection::Host {
            let forwarder = means.connected.map(Connected::name_server);
            let reachable = |host: String| resolv_conf::in_another_network(&host, forwarder);
            spec_here.resolv_conf = spec_here.resolv_conf.map(reachable);
        }
        let start = Start { spec: spec_here, connection, emulated: means.emulation.is_some() };
        // A supervisor that dies over it is noticed below.
        match wire::send(&mut self.socket, &start) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(Ended::io("tell the sandbox what to run")(error));
            }
            _ => {}
        }
        if let Some(connected) = means.connected {
            let _ = wire::send_descriptors(&self.socket, &[connected.namespace().as_raw_fd()]);
        }
        if let Some(emulation) = means.emulation {
            let _ = wire::send_descriptors(&self.socket, &[emulation.namespace().as_raw_fd()]);
        }
        if let Some(group) = group {
            let entrances = group.entrances().map_err(Ended::io("open the cgroup of the step"))?;
            let all: Vec<_> = entrances.iter().map(AsRawFd::as_raw_fd).collect();
            let _ = wire::send_descriptors(&self.socket, &all);
        }
        if let Some(connected) = means.connected {
            // The sandbox is set up meanwhile.
            if !connected.is_connected(cancel) {
                let is_cancelled = cancel.is_cancelled();
                return Err(if is_cancelled { Ended::Error(ExecError::Cancelled) } else { Ended::Unconnected });
            }
            let _ = wire::send_with_note(&self.socket, wire::CONNECTED, &[]);
        }
        let deadline = Deadline::of(spec.limits.timeout);
        loop {
            if cancel.is_cancelled() {
                return Err(Ended::Error(ExecError::Cancelled));
            }
            if let Some(limit) = deadline.passed() {
                return Err(Ended::Error(ExecError::TimedOut { limit }));
            }
            let talking =
                self.wait(attached, log, cancel, deadline.left()).map_err(Ended::io("wait for the sandbox"))?;
            while let Some(report) = self.reports.next().map_err(Ended::io("understand the sandbox"))? {
                if let Some(status) = self.answer(report, spec, attached)? {
                    // Everything in the sandbox is dead, so what there is to read is there now.
                    self.drain(log).map_err(Ended::io("read the output"))?;
                    return Ok(status);
                }
            }
            if !talking {
                return Err(Ended::Error(ExecError::Lost));
            }
        }
    }

    /// Waits until there is something to read or to stop for, and reads it. `false` when the sandbox has hung up.
    fn wait(
        &mut self,
        attached: &mut Attached<'_>,
        log: &mut dyn FnMut(Stream, &[u8]),
        cancel: &CancelFlag,
        most: Option<Duration>,
    ) -> io::Result<bool> {
        let mut polled = vec![PollFd::new(&self.socket, PollFlags::IN), PollFd::new(cancel, PollFlags::IN)];
        polled.extend(self.output.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)));
        // Before, they would be lost.
        let signals = attached.signals.as_ref().filter(|_| self.is_set_up);
        polled.extend(signals.map(|signals| PollFd::new(signals, PollFlags::IN)));
        // What the kernel cannot count is for ever.
        let most = most.and_then(|most| rustix::event::Timespec::try_from(most).ok());
        match poll(&mut polled, most.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        let readable: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        drop(polled);
        if signals.is_some() && readable.last() == Some(&true) {
            self.pass_on(&mut attached.signals)?;
        }
        let mut readable_output = readable[2..].iter();
        let mut failed = Ok(());
        self.output.retain(|(stream, pipe)| {
            if readable_output.next() != Some(&true) {
                return true;
            }
            let open = read_once(*stream, pipe, log);
            open.unwrap_or_else(|error| {
                failed = Err(error);
                false
            })
        });
        failed?;
        if readable[0] { self.reports.fill(&self.socket) } else { Ok(true) }
    }

    /// Passes on the signals that came.
    fn pass_on(&self, signals: &mut Option<OwnedFd>) -> io::Result<()> {
        let numbers = numbers_of(signals.as_ref())?;
        if numbers.is_empty() {
            *signals = None;
        }
        for number in numbers {
            // Fails when the command has just ended.
            let _ = self.first.as_ref().map(|first| sandbox::send_signal(first, number.into()));
        }
        Ok(())
    }

    fn drain(&mut self, log: &mut dyn FnMut(Stream, &[u8])) -> io::Result<()> {
        if self.has_terminal {
            return self.drain_terminal(log);
        }
        for (stream, pipe) in &self.output {
            while rustix::io::ioctl_fionread(pipe)? > 0 && read_once(*stream, pipe, log)? {}
        }
        Ok(())
    }

    /// The kernel may still be moving what was written last; then comes the end.
    fn drain_terminal(&mut self, log: &mut dyn FnMut(Stream, &[u8])) -> io::Result<()> {
        let soon = Timespec { tv_sec: 1, tv_nsec: 0 };
        for (stream, side) in &self.output {
            while matches!(poll(&mut [PollFd::new(side, PollFlags::IN)], Some(&soon)), Ok(1..))
                && read_once(*stream, side, log)?
            {}
        }
        Ok(())
    }

    fn answer(
        &mut self,
        report: Report,
        spec: &SandboxSpec,
        attached: &mut Attached<'_>,
    ) -> Result<Option<ExitStatus>, Ended> {
        match report {
            Report::Started => {
                (self.supervisor, self.first) = (self.reports.next_descriptor(), self.reports.next_descriptor());
            }
            Report::Mounted(stubs) => {
                (self.stubs, self.is_set_up) = (stubs, true);
                if was_asked_to_end(attached).map_err(Ended::io("look for signals"))? {
                    return Err(Ended::Error(ExecError::Cancelled));
                }
            }
            Report::Terminal => {
                if let Some(side) = self.reports.next_descriptor() {
                    let own = side.try_clone().map_err(Ended::io("hold the terminal"))?;
                    self.output = vec![(Stream::Stdout, own)];
                    self.has_terminal = true;
                    if let Some(opened) = &mut attached.terminal {
                        opened(side);
                    }
                }
            }
            Report::Listening { source } => {
                if let Some(listener) = self.reports.next_descriptor() {
                    self.served.push(Served::start(listener, source).map_err(Ended::io("serve the ssh agent"))?);
                }
            }
            Report::Failed { step, errno, path, meaning } => {
                let source = io::Error::from_raw_os_error(errno);
                return Err(Ended::Error(ExecError::Setup { step, path, source, meaning }));
            }
            Report::NotExecutable { errno: libc::ENOEXEC, head } if let Some(machine) = emulation::machine(&head) => {
                return Err(Ended::Foreign(machine));
            }
            Report::NotExecutable { errno, .. } => {
                let program = spec.argv.first().cloned().unwrap_or_default();
                let source = io::Error::from_raw_os_error(errno);
                return Err(Ended::Error(ExecError::Command { program, source }));
            }
            Report::PeakMemory(bytes) => self.peak_memory = Some(bytes),
            Report::Exited(code) => return Ok(Some(ExitStatus::Code(code))),
            Report::Signalled(signal) => return Ok(Some(ExitStatus::Signal(signal))),
        }
        Ok(None)
    }

    /// Makes sure that nothing is left: hangs up, upon which the supervisor kills its pid 1, and waits until both are gone.
    fn end(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
        if !self.is_gone_within(KILL_TIMEOUT)
            && let Some(supervisor) = &self.supervisor
        {
            // Pid 1 dies with the supervisor.
            let _ = rustix::process::pidfd_send_signal(supervisor, Signal::KILL);
            self.is_gone_within(KILL_TIMEOUT);
        }
    }

    /// Waits until supervisor and pid 1 have hung up. A sandbox ended early may tell of stubs that nobody read of yet.
    fn is_gone_within(&mut self, timeout: Duration) -> bool {
        let asked = Instant::now();
        while let Some(left) = timeout.checked_sub(asked.elapsed()) {
            let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            if !matches!(poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)), Ok(1..)) {
                continue;
            }
            if !matches!(self.reports.fill(&self.socket), Ok(true)) {
                return true;
            }
            while let Ok(Some(report)) = self.reports.next() {
                if let Report::Mounted(stubs) = report {
                    self.stubs = stubs;
                }
            }
        }
        false
    }
}

/// Whether a signal came, before there was a command to hear it, that asks to end.
fn was_asked_to_end(attached: &Attached<'_>) -> io::Result<bool> {
    let signals = attached.signals.as_ref();
    if signals.map(rustix::io::ioctl_fionread).transpose()?.unwrap_or(0) == 0 {
        return Ok(false);
    }
    let asking = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
    Ok(numbers_of(signals)?.into_iter().any(|number| asking.contains(&number.into())))
}

/// Reads what is there; nothing at the end.
fn numbers_of(signals: Option<&OwnedFd>) -> io::Result<Vec<u8>> {
    let mut numbers = [0; 64];
    let length =
        signals.map(|signals| rustix::io::retry_on_intr(|| rustix::io::read(signals, &mut numbers))).transpose()?;
    Ok(numbers[..length.unwrap_or(0)].to_vec())
}

/// A pipe whose reading end, the first, does not block.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((reader, writer))
}

/// Reads what is there, up to a chunk. `false` at the end.
fn read_once(stream: Stream, pipe: &OwnedFd, log: &mut dyn FnMut(Stream, &[u8])) -> io::Result<bool> {
    let mut chunk = [0u8; 32 * 1024];
    match rustix::io::read(pipe.as_fd(), &mut chunk) {
        Ok(0) => Ok(false),
        Ok(length) => {
            log(stream, &chunk[..length]);
            Ok(true)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(true),
        // A terminal that nobody has open any more.
        Err(Errno::IO) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
