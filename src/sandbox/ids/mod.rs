//! Ids that this process has not: users, groups and device nodes, emulated for a step.
//!
//! In a user namespace with a single id the kernel can change no owner, no user and no group, and lets nobody make device
//! nodes. Here the supervisor does: the system call filter hands the calls that have to do with ids to it
//! (`SECCOMP_RET_USER_NOTIF`, seccomp_unotify(2)), and the caller waits for the answer.
//!
//! ```text
//! the step: chown(path, 33, 33) ── filter ──> supervisor: opens path as the step sees it, notes 33:33 on the file
//!           stat(path)          ── filter ──> supervisor: reads the note, fills in the structure
//!           getuid()            ── filter ──> supervisor: says who the process is to be
//! ```
//!
//! - What a file is owned by is noted on the file ([`crate::fsutil::Note`]), and is there for the layer when the step is done.
//! - Who a process is, is `credentials`, by the rules of credentials(7). The kernel carries a number for it from a process to
//!   its children (`identity`).
//! - Calls that end with a file of the caller's, as `open` with `O_CREAT`, are done by the supervisor where the owner is not
//!   root, as it would be by itself.
//! - Whatever the supervisor can make nothing of, the kernel does and answers as ever.
//!
//! **Safety.** The supervisor does for a step what the step could have done itself, were the id there, and nothing else: it has
//! the step's mount namespace and the caller's root directory, follows no magic link, and has no rights that root of the step lacks
//! but to look at its processes. A step that changes its memory between question and answer deceives only itself: it
//! gets another of its own files. The pid a question comes from is checked to be alive still after all was read from it.
//!
//! **What is not emulated**: permissions between the users of a step (all are one user to the kernel, which may do
//! everything root may), the owner of unix sockets and of what is in `/proc`, credentials passed over sockets, and the
//! capabilities a process sees. A program of the machine's 32-bit ABI is killed (`SIGSYS`).

mod attributes;
mod calls;
mod create;
mod credentials;
mod identity;
mod listener;
mod owner;
mod place;
mod process;
mod stat;

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

pub(super) use calls::{WATCHED, Watch};
pub(super) use credentials::Credentials;
pub(super) use listener::load_filter;

use identity::Identities;
use listener::{Listener, Request};
use place::Places;
use process::Process;

/// What becomes of a call. `None` where this is expected: the kernel does it.
enum Answer {
    Value(i64),
    Error(Errno),
    Descriptor(OwnedFd, bool),
}

impl From<Result<(), Errno>> for Answer {
    fn from(result: Result<(), Errno>) -> Self {
        result.map_or_else(Self::Error, |()| Self::Value(0))
    }
}

/// Answers the calls of one sandbox.
pub(super) struct Emulator {
    listener: Listener,
    identities: Identities,
    places: Places,
}

impl Emulator {
    /// Takes over the filter's questions. `proc` is the process file system of this process's namespace, `first` the
    /// sandbox's pid 1 as this process knows it, `credentials` who that is to be; `confined` that the filter refuses all ways
    /// to another root but chroot(2).
    pub(super) fn start(
        listener: OwnedFd,
        proc: OwnedFd,
        first: i32,
        credentials: Credentials,
        confined: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: Listener::new(listener)?,
            identities: Identities::new(credentials),
            places: Places::of(proc, first, !confined)?,
        })
    }

    /// Returns what becomes readable when there is a question.
    pub(super) fn questions(&self) -> &OwnedFd {
        self.listener.descriptor()
    }

    /// Answers one question.
    pub(super) fn answer(&mut self) -> io::Result<()> {
        let Some(request) = self.listener.receive()? else { return Ok(()) };
        let answer = self.decide(&request);
        self.listener.respond(request.id, answer)
    }

    fn still_asks(&self, request: &Request) -> Option<()> {
        self.listener.is_asking(request.id).then_some(())
    }
}

/// Who asks, and what it has said so far.
struct Caller<'a> {
    request: &'a Request,
    process: Process,
}

impl<'a> Caller<'a> {
    fn of(request: &'a Request) -> Self {
        Self { request, process: Process::new(request.pid) }
    }

    /// An argument that the kernel takes as `int` or an id.
    fn word(&self, number: usize) -> u32 {
        self.request.arguments[number] as u32
    }

    fn pointer(&self, number: usize) -> u64 {
        self.request.arguments[number]
    }
}
