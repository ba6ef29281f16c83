//! The launcher of a builder's sandboxes: started when the first is wanted, gone with the builder.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::Program;
use crate::sandbox::{self, Isolation, wire};

/// Starts sandboxes, and the process that they are forked from.
#[derive(Default)]
pub(super) struct Launcher(Mutex<Option<Process>>);

struct Process {
    child: Child,
    isolation: Isolation,
    /// `None` once it is dropped, which is what ends the process.
    requests: Option<OwnedFd>,
}

impl Launcher {
    /// Starts the process if there is none yet, so that the first sandbox need not wait for it.
    pub(super) fn prepare(&self, program: &Program, isolation: Isolation) -> io::Result<()> {
        self.with_process(program, isolation, |_| Ok(()))
    }

    /// Ends the process, and waits for that only when it is dropped; the next sandbox starts another.
    pub(super) fn rest(&self) {
        if let Some(process) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            process.requests = None;
        }
    }

    /// Has a sandbox started that talks over `socket`, and whose command writes to the first two of `streams`, and reads the third if
    /// there is one. `note` is what is said of it beforehand ([`wire::OWN_NETWORK`], [`wire::LAST`]).
    pub(super) fn launch(
        &self,
        program: &Program,
        isolation: Isolation,
        socket: BorrowedFd<'_>,
        streams: &[BorrowedFd<'_>],
        note: u8,
    ) -> io::Result<()> {
        let fds: Vec<_> = [socket].iter().chain(streams).map(AsRawFd::as_raw_fd).collect();
        let note = note | if streams.len() > 2 { wire::INPUT } else { 0 };
        self.with_process(program, isolation, |requests| wire::send_with_note(requests, note, &fds))
    }

    /// Calls `ask` with the socket of the process; once more with a new process if the one there was is gone.
    fn with_process(
        &self,
        program: &Program,
        isolation: Isolation,
        ask: impl Fn(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut process = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = process.as_ref().filter(|process| process.isolation == isolation);
        if let Some(requests) = running.and_then(|process| process.requests.as_ref()) {
            match ask(requests) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                other => return other,
            }
        }
        let (child, requests) = Process::start(program, isolation)?;
        let asked = ask(&requests);
        *process = Some(Process { child, isolation, requests: Some(requests) });
        asked
    }
}

impl Process {
    fn start(program: &Program, isolation: Isolation) -> io::Result<(Child, OwnedFd)> {
        let (requests, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let child = Command::new(program.path())
            .arg(sandbox::LAUNCHER)
            .args((isolation == Isolation::Chroot).then_some(sandbox::CHROOT))
            // What the program itself may read from its environment is no business of a sandbox.
            .env_clear()
            // Signals from the terminal are for the builder, which cancels.
            .process_group(0)
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok((child, requests))
    }
}

impl Drop for Process {
    /// Waits until all of its sandboxes are gone, too.
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
    }
}
