//! The kernel's side of a filter that asks (seccomp_unotify(2)).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::Answer;

/// The asking thread and this one take turns, so that the kernel need not look for another processor (Linux 6.6).
const SYNC_WAKE_UP: u64 = 1;
/// A call that waits for its answer.
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) pid: i32,
    pub(super) number: libc::c_long,
    pub(super) arguments: [u64; 6],
}

/// Loads a filter that asks, for this process and its descendants; returns where it asks.
pub(in crate::sandbox) fn load_filter(program: &[libc::sock_filter]) -> rustix::io::Result<OwnedFd> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // Once a question was read, a signal that does not kill waits, and the call is not made a second time (Linux 5.19).
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the kernel copies `len` instructions out of the slice, which outlives the call, and does not write.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    match RawFd::try_from(fd) {
        // SAFETY: the kernel has just made it for this process.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(last_error()),
    }
}

/// Where a filter asks.
pub(super) struct Listener(OwnedFd);

impl Listener {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: the argument is a number. A kernel that does not know the flag only takes longer.
        unsafe { libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        Ok(Self(fd))
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }

    /// Takes a question; `None` when who asked has died since.
    pub(super) fn receive(&self) -> io::Result<Option<Request>> {
        // SAFETY: all zeroes is a valid value, numbers only, and what the kernel wants to be given.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one structure of the size that is part of the request's number.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) } < 0 {
            return match last_error() {
                Errno::NOENT | Errno::INTR => Ok(None),
                error => Err(error.into()),
            };
        }
        let pid = i32::try_from(asked.pid).map_err(|_| io::ErrorKind::InvalidData)?;
        let (number, arguments) = (asked.data.nr.into(), asked.data.args);
        Ok(Some(Request { id: asked.id, pid, number, arguments }))
    }

    /// Whether the call waits still, so that its process's number is that process's.
    pub(super) fn is_asking(&self, id: u64) -> bool {
        // SAFETY: the kernel reads the number, which lives here.
        unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
    }

    /// Answers; without an answer the kernel does what was asked. Who has died since needs none.
    pub(super) fn respond(&self, id: u64, answer: Option<Answer>) -> io::Result<()> {
        let (val, error, flags) = match answer {
            None => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Some(Answer::Value(value)) => (value, 0, 0),
            Some(Answer::Error(error)) => (0, -error.raw_os_error(), 0),
            Some(Answer::Descriptor(fd, close_on_exec)) => match self.hand_over(id, &fd, close_on_exec) {
                Err(Errno::NOENT) | Ok(()) => return Ok(()),
                // It may have no more descriptors.
                Err(error) => (0, -error.raw_os_error(), 0),
            },
        };
        let answer = libc::seccomp_notif_resp { id, val, error, flags };
        // SAFETY: the kernel reads one structure, which lives here.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) } < 0 {
            return match last_error() {
                Errno::NOENT => Ok(()),
                error => Err(error.into()),
            };
        }
        Ok(())
    }

    /// Gives the caller a descriptor, which is the answer.
    fn hand_over(&self, id: u64, fd: &OwnedFd, close_on_exec: bool) -> Result<(), Errno> {
        let given = libc::seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: fd.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: if close_on_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
        };
        // SAFETY: the kernel reads one structure, which lives here.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const given) } < 0 {
            return Err(last_error());
        }
        Ok(())
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
