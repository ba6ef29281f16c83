//! The two processes of a sandbox: the supervisor, and pid 1 which becomes the command.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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

use super::apply::{Refused, Sandbox};
use super::ids::{Credentials, Emulator};
use super::plan::{SetupStep, plan};
use super::wire::{self, Report, Start};
use super::{Security, orphans, system};

/// Does what the socket on standard input says, until the command has ended or the builder has gone.
pub(super) fn supervise() -> io::Result<()> {
    // The user's umask must not show in device nodes and mount points: modes given here are meant.
    rustix::process::umask(Mode::empty());
    let mut socket = take_standard_input()?;
    let start: Start = wire::receive(&mut socket)?;
    let mut steps = plan(&start.spec, start.connection, start.emulated).into_iter();
    let (questions, asking) = UnixStream::pair()?;
    let mut sandbox = Sandbox::new(socket.try_clone()?, &start.spec, asking);
    // Of this process namespace; the sandbox will have another at this path.
    let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let first = steps.next().ok_or(io::ErrorKind::InvalidInput)?;
    if let Err(refused) = sandbox.apply(&first) {
        return wire::send(&mut socket, &failed(&first, refused));
    }
    let (alive, lifeline) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match system::fork()? {
        Some(child) => {
            drop((sandbox, alive));
            let user = &start.spec.user;
            let credentials = Credentials::new(user.uid, user.gid, &user.additional_gids);
            let emulation = start.spec.single_id.then_some(Emulation::Awaited {
                questions,
                proc,
                credentials,
                confined: start.spec.security == Security::Sandbox,
            });
            let report = watch(&socket, child, emulation)?;
            if first == SetupStep::AdoptOrphans {
                orphans::end_all()?;
            }
            drop(lifeline);
            wire::send(&mut socket, &report)
        }
        None => {
            drop((socket, lifeline, questions, proc));
            become_command(sandbox, steps, &alive)
        }
    }
}

/// The socket, kept apart from standard input, which will be something else.
fn take_standard_input() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    Ok(UnixStream::from(socket))
}

/// Pid 1. Returns only to die.
fn become_command(mut sandbox: Sandbox, steps: impl Iterator<Item = SetupStep>, alive: &OwnedFd) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The supervisor may have died before the wish was known.
    if is_hung_up(alive, PollFlags::empty())? {
        return Ok(());
    }
    for step in steps {
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

fn is_hung_up(fd: &OwnedFd, wanted: PollFlags) -> io::Result<bool> {
    let mut polled = [PollFd::new(fd, wanted)];
    poll(&mut polled, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(polled[0].revents().intersects(PollFlags::HUP | wanted))
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
    Awaited { questions: UnixStream, proc: OwnedFd, credentials: Credentials, confined: bool },
    Running(Emulator),
}

impl Emulation {
    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Awaited { questions, .. } => questions.as_fd(),
            Self::Running(emulator) => emulator.questions().as_fd(),
        }
    }

    /// Does what there is to do; `None` when nothing more will come.
    fn advance(self, child: Pid, readable: bool) -> io::Result<Option<Self>> {
        match self {
            // The step has no process left, or none that got so far.
            _ if !readable => Ok(None),
            Self::Awaited { questions, proc, credentials, confined } => {
                let listener = wire::receive_descriptor(&questions)?;
                Ok(Some(Self::Running(Emulator::start(listener, proc, child.as_raw(), credentials, confined)?)))
            }
            Self::Running(mut emulator) => {
                emulator.answer()?;
                Ok(Some(Self::Running(emulator)))
            }
        }
    }
}

/// Waits for the end of pid 1; brings it about when the builder hangs up. Meanwhile it answers what the filter asks.
fn watch(socket: &UnixStream, child: Pid, mut emulation: Option<Emulation>) -> io::Result<Report> {
    let pid = rustix::process::Pid::from_raw(child.as_raw()).ok_or(Errno::SRCH)?;
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let mut polled = vec![PollFd::new(&handle, PollFlags::IN), PollFd::new(socket, PollFlags::RDHUP)];
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
