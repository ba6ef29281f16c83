//! The two processes of a sandbox: the supervisor, and pid 1 which becomes the command.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal};

use super::apply::{self, Refused, Sandbox};
use super::idmap::{Entered, Rung};
use super::ids::{Credentials, Emulator};
use super::plan::{SetupStep, plan};
use super::stock::Stock;
use super::wire::{self, Report, Start};
use super::{Isolation, ProcessUser, orphans, system};

/// What comes with the wish for a sandbox.
pub(super) struct Orders {
    /// Where the builder says what to run and is told what becomes of it.
    socket: UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// What the command reads, if it is given something.
    stdin: Option<OwnedFd>,
    /// What the builder says of it beforehand ([`wire::OWN_NETWORK`], [`wire::INPUT`]).
    pub(super) note: u8,
    /// A network namespace, loopback up, if the supervisor has made one.
    network: Option<OwnedFd>,
}

impl Orders {
    /// Waits for them. `None` when nobody will send any.
    pub(super) fn receive(from: impl AsFd) -> io::Result<Option<Self>> {
        let (note, received) = wire::receive_with_note(from)?;
        let mut received = received.into_iter();
        let three = (received.next(), received.next(), received.next());
        let (Some(socket), Some(stdout), Some(stderr)) = three else { return Ok(None) };
        let stdin = if note & wire::INPUT == 0 { None } else { received.next() };
        Ok(Some(Self { socket: socket.into(), stdout, stderr, stdin, note, network: received.next() }))
    }

    /// Hands them on, with what was made ahead.
    fn send(&self, to: &UnixStream, network: Option<&OwnedFd>) -> io::Result<()> {
        let mut all = vec![self.socket.as_raw_fd(), self.stdout.as_raw_fd(), self.stderr.as_raw_fd()];
        all.extend(self.stdin.as_ref().map(AsRawFd::as_raw_fd));
        all.extend(network.map(AsRawFd::as_raw_fd));
        wire::send_with_note(to, self.note, &all)
    }
}

/// A sandbox that waits for its orders.
pub(super) enum Prepared {
    /// Its pid 1, the way to it, a network namespace if one was wanted, and, where ids are emulated, the process file
    /// system of the supervisor.
    Waiting { first: Pid, way: UnixStream, network: Option<OwnedFd>, proc: Option<OwnedFd> },
    /// The kernel refused the first step of every plan: the builder is to hear of it.
    Refused(SetupStep, Refused),
}

/// Does the first step of every plan of this isolation, and forks what becomes the command: pid 1 of the new namespaces, where
/// there are some. `own_network` says that it will probably want a network namespace with nothing in it.
pub(super) fn prepare(here: Entered, isolation: Isolation, own_network: bool) -> io::Result<Prepared> {
    let (step, done) = match isolation {
        Isolation::Namespaces => (SetupStep::Enter { cgroup: true }, apply::unshare()),
        Isolation::Chroot => (SetupStep::AdoptOrphans, apply::adopt_orphans()),
    };
    if let Err(refused) = done {
        return Ok(Prepared::Refused(step, refused));
    }
    let (ours, theirs) = UnixStream::pair()?;
    // Now, because the sandbox will have another one at this path, and will take the supervisor along to it.
    let open_proc = || rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let proc = (here.rung == Rung::SingleId).then(open_proc).transpose()?;
    match system::fork()? {
        Some(first) => {
            drop(theirs);
            // What cannot be made here is tried again where it is wanted, and refused there by name.
            let network = own_network.then(|| apply::new_network().ok()).flatten();
            Ok(Prepared::Waiting { first, way: ours, network, proc })
        }
        None => {
            drop((ours, proc));
            std::process::exit(i32::from(be_first(theirs, here, isolation).is_err()))
        }
    }
}

impl Prepared {
    /// Supervises the sandbox until its pid 1 has ended or the builder has gone.
    pub(super) fn run(self, isolation: Isolation, mut orders: Orders) -> io::Result<()> {
        let (first, way, network, proc) = match self {
            Self::Refused(step, refused) => return wire::send(&mut orders.socket, &failed(&step, refused)),
            Self::Waiting { first, way, network, proc } => (first, way, network, proc),
        };
        let this = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        let handle = handle_of(first)?;
        // Before the other one may speak, too.
        wire::send_with_descriptors(&orders.socket, &Report::Started, &[this.as_raw_fd(), handle.as_raw_fd()])?;
        orders.send(&way, network.as_ref())?;
        let mut socket = orders.socket;
        drop((orders.stdout, orders.stderr, orders.stdin, network, this));
        let report = watch(&socket, first, &handle, proc.map(|proc| Emulation::Awaited { way, proc }))?;
        if isolation == Isolation::Chroot {
            orphans::end_all()?;
        }
        if let Some(bytes) = peak_memory() {
            wire::send(&mut socket, &Report::PeakMemory(bytes))?;
        }
        wire::send(&mut socket, &report)
    }
}

/// The most memory that pid 1, which was waited for, or one of those it waited for had resident: what is shared counts for each, and
/// what orphans had is not known where pid 1 leaves them alone. No less than what kiln takes itself until it becomes the command.
fn peak_memory() -> Option<u64> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).ok()?;
    // In KiB (getrusage(2)).
    u64::try_from(usage.max_rss()).ok()?.checked_mul(1024)
}

/// Pid 1: waits for orders and becomes the command. Returns only to die.
fn be_first(way: UnixStream, here: Entered, isolation: Isolation) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The command is to have the usual ones.
    system::reset_signals();
    let mut stock = if isolation == Isolation::Namespaces { Stock::fill(here) } else { Stock::default() };
    // The supervisor may have died before the wish was known: then there is nothing to receive.
    let Some(Orders { mut socket, stdout, stderr, stdin, network, .. }) = Orders::receive(&way)? else { return Ok(()) };
    stock.network = network;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    if let Some(stdin) = stdin {
        rustix::stdio::dup2_stdin(stdin)?;
    }
    let start: Start = wire::receive(&mut socket)?;
    let mut sandbox = Sandbox::new(socket, &start.spec, stock, way);
    for step in plan(&start.spec, start.connection, start.emulated) {
        if let Err(refused) = sandbox.apply(&step) {
            if sandbox.owes() {
                // What was put into the root must be taken away again all the same.
                let _ = sandbox.apply(&SetupStep::TellMounted);
            }
            let report = match step {
                SetupStep::Execute { .. } => {
                    let head = refused.path.as_deref().and_then(|path| head_of(path).ok()).unwrap_or_default();
                    Report::NotExecutable { errno: refused.errno.raw_os_error(), head }
                }
                step => failed(&step, refused),
            };
            return wire::send(sandbox.socket(), &report);
        }
    }
    Ok(())
}

/// What a program begins with; of a script, what its interpreter begins with.
fn head_of(path: &Path) -> io::Result<Vec<u8>> {
    let read = |path: &Path| {
        // What only looks like a program must not keep this process waiting.
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        let mut head = Vec::new();
        File::from(file).take(256).read_to_end(&mut head)?;
        io::Result::Ok(head)
    };
    let head = read(path)?;
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(head) };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    let interpreter = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    read(Path::new(OsStr::from_bytes(interpreter)))
}

fn failed(step: &SetupStep, Refused { errno, path, meaning }: Refused) -> Report {
    let meaning = meaning.map(str::to_owned);
    Report::Failed { step: step.to_string(), errno: errno.raw_os_error(), path, meaning }
}

/// Becomes the command given by `arguments`, behind the number of the executor's process; it dies with the thread that
/// started it.
pub(super) fn become_helper(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let executor = arguments.next().ok_or(io::ErrorKind::InvalidInput)?;
    // It may have died before the wish was known.
    let parent = rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    if executor.to_str() != Some(parent.to_string().as_str()) {
        return Ok(());
    }
    let program = arguments.next().ok_or(io::ErrorKind::InvalidInput)?;
    Err(std::process::Command::new(program).args(arguments).exec())
}

/// The emulation of ids, before and after the filter is there that it answers.
enum Emulation {
    Awaited { way: UnixStream, proc: OwnedFd },
    Running(Emulator),
}

impl Emulation {
    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Awaited { way, .. } => way.as_fd(),
            Self::Running(emulator) => emulator.questions().as_fd(),
        }
    }

    /// Does what there is to do; `None` when nothing more will come.
    fn advance(self, child: Pid, readable: bool) -> io::Result<Option<Self>> {
        match self {
            // The step has no process left, or none that got so far.
            _ if !readable => Ok(None),
            Self::Awaited { mut way, proc } => {
                let listener = wire::receive_descriptors(&way)?.pop().ok_or(Errno::PIPE)?;
                let (user, confined): (ProcessUser, bool) = wire::receive(&mut way)?;
                let credentials = Credentials::new(user.uid, user.gid, &user.additional_gids);
                Ok(Some(Self::Running(Emulator::start(listener, proc, child.as_raw(), credentials, confined)?)))
            }
            Self::Running(mut emulator) => {
                emulator.answer()?;
                Ok(Some(Self::Running(emulator)))
            }
        }
    }
}

/// Nobody has reaped the child yet, so the number is its own.
fn handle_of(child: Pid) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(child.as_raw()).ok_or(Errno::SRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Waits for the end of pid 1; brings it about when the builder hangs up. Meanwhile it answers what the filter asks.
fn watch(socket: &UnixStream, child: Pid, handle: &OwnedFd, mut emulation: Option<Emulation>) -> io::Result<Report> {
    loop {
        let mut polled = vec![PollFd::new(handle, PollFlags::IN), PollFd::new(socket, PollFlags::RDHUP)];
        if let Some(emulation) = &emulation {
            polled.push(PollFd::from_borrowed_fd(emulation.descriptor(), PollFlags::IN));
        }
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let happened: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        drop(polled);
        if let Some(asked) = happened.get(2).filter(|asked| !asked.is_empty())
            && let Some(running) = emulation.take()
        {
            emulation = running.advance(child, asked.contains(PollFlags::IN))?;
        }
        if happened[0].contains(PollFlags::IN) {
            break;
        }
        if happened[1].intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
            // The kernel kills every other process of the namespace with its pid 1.
            rustix::process::pidfd_send_signal(handle.as_fd(), Signal::KILL)?;
            break;
        }
    }
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(Report::Exited(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Report::Signalled(signal as i32)),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
