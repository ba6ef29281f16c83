//! A process that helps: it connects a network, or holds keys.
//!
//! It is held by a pidfd, which means this process and no other that may get its number; is looked at and waited for through
//! that, never without an end; and is killed when it is dropped. The kernel kills what [`Helper::command`] makes also when the
//! thread that started it ends, however that comes.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

use super::Program;
use crate::sandbox;

/// What of a program's words is kept: they are a line or two.
const MOST_SAID: u64 = 4096;

/// A process of this one's own. Killed when dropped.
pub(super) struct Helper {
    /// Its pipes, those that were asked for.
    pub(super) process: Child,
    handle: OwnedFd,
}

impl Helper {
    /// Returns a command that becomes `program` and dies with the thread that starts it; silent, unless it is given streams.
    pub(super) fn command(starter: &Program, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(starter.path());
        command.args([sandbox::HELPER, &std::process::id().to_string()]).arg(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Starts it.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        let mut process = command.spawn()?;
        // Nobody has reaped it yet, so the number is its own.
        match pidfd_open(Pid::from_child(&process), PidfdFlags::empty()) {
            Ok(handle) => Ok(Self { process, handle }),
            Err(error) => {
                let _ = process.kill();
                Err(error.into())
            }
        }
    }

    /// Whether it has not ended.
    pub(super) fn is_running(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// Waits for its end; `None` when it has not ended after `time`.
    pub(super) fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        if self.ends_within(time) { self.process.wait().ok() } else { None }
    }

    /// Whether its standard output has something to read, which is waited for.
    pub(super) fn speaks_within(&self, time: Duration) -> bool {
        // The end of a program that failed is seen here too, but is no input.
        self.process.stdout.as_ref().is_some_and(|output| is_within(output, time).contains(PollFlags::IN))
    }

    /// Returns what it has written to the stream until its end.
    pub(super) fn said(stream: Option<impl Read>) -> String {
        let mut said = Vec::new();
        let _ = stream.map(|stream| stream.take(MOST_SAID).read_to_end(&mut said));
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    fn ends_within(&self, time: Duration) -> bool {
        !is_within(&self.handle, time).is_empty()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Fails only when it has ended by itself.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
        let reap = |handle: &OwnedFd, options| waitid(WaitId::PidFd(handle.as_fd()), options | WaitIdOptions::EXITED);
        if !self.is_running() {
            let _ = reap(&self.handle, WaitIdOptions::NOHANG);
            return;
        }
        // Its end may take tens of milliseconds, in which the kernel takes a network device down: nobody waits for that.
        let Ok(handle) = self.handle.try_clone() else { return };
        let reap = move || reap(&handle, WaitIdOptions::empty());
        let _ = std::thread::Builder::new().name("reaper".to_owned()).spawn(reap);
    }
}

/// Waits until there is something to read; returns what there is.
fn is_within(descriptor: &impl AsFd, time: Duration) -> PollFlags {
    let mut polled = [PollFd::new(descriptor, PollFlags::IN)];
    // What the kernel cannot count is for ever.
    let time = Timespec::try_from(time).ok();
    match poll(&mut polled, time.as_ref()) {
        Ok(1..) => polled[0].revents(),
        _ => PollFlags::empty(),
    }
}
