//! System calls that no library wraps safely, one function each. All `unsafe` of the sandbox is here.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::unistd::{ForkResult, Pid};
use rustix::io::{Errno, Result};

fn checked(result: libc::c_long) -> Result<libc::c_long> {
    if result >= 0 { Ok(result) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Takes a descriptor that the kernel has just made for this process.
pub(super) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: called with descriptors received by SCM_RIGHTS only, which nobody else knows of.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Sends the signal with this number, which may be one without a name, to the process that `process` is a handle of.
pub(super) fn send_signal(process: impl AsFd, number: i32) -> Result<()> {
    let (fd, information) = (process.as_fd().as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: without information of the caller's no memory is involved.
    checked(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, information, 0) })?;
    Ok(())
}

/// Forks. Returns the child in the parent, and `None` in the child. The supervisor has one thread.
pub(super) fn fork() -> Result<Option<Pid>> {
    // SAFETY: this process has a single thread (it came straight from `main`), so no lock is held by a thread that
    // the child lacks.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Parent { child }) => Ok(Some(child)),
        Ok(ForkResult::Child) => Ok(None),
        Err(error) => Err(Errno::from_raw_os_error(error as i32)),
    }
}

/// Sets attributes of the mount that `mount` is a handle of, and keeps mounts elsewhere from arriving in it.
pub(super) fn set_mount_attributes(mount: impl AsFd, attributes: u64, recursive: bool) -> Result<()> {
    let wanted = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static string, and the kernel reads `size_of` bytes of `wanted`, which lives here.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Makes exec close every descriptor but 0, 1 and 2.
pub(super) fn close_descriptors_on_exec() -> Result<()> {
    // SAFETY: only flags of descriptors change.
    checked(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Leaves the session keyring for a new, empty one.
pub(super) fn join_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is involved.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    match checked(joined) {
        // A kernel without keys, or an outer container that refuses the call: there is nothing to inherit.
        Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        other => other.map(drop),
    }
}

/// Drops one capability, by number, from the bounding set.
pub(super) fn drop_from_bounding_set(number: u32) -> Result<()> {
    // SAFETY: takes numbers only.
    checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) }.into())?;
    Ok(())
}

/// Whether the bounding set has a capability, by number; also if the kernel does not know it, which dropping it tells.
pub(super) fn is_in_bounding_set(number: u32) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(number), 0, 0, 0) != 0 }
}

/// Loads a seccomp filter for this process and its descendants.
pub(super) fn load_filter(program: &[libc::sock_filter]) -> Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions out of the slice, which outlives the call, and does not write.
    checked(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })?;
    Ok(())
}

/// Returns the soft limit `RLIMIT_RTTIME` of a process.
pub(super) fn real_time_limit(pid: i32) -> Result<u64> {
    Ok(limit_of(pid)?.rlim_cur)
}

/// Sets the soft limit `RLIMIT_RTTIME` of a process; the hard one stays.
pub(super) fn set_real_time_limit(pid: i32, soft: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, ..limit_of(pid)? };
    // SAFETY: the kernel reads one structure, which lives here.
    checked(unsafe { libc::prlimit64(pid, libc::RLIMIT_RTTIME, &raw const limit, std::ptr::null_mut()) }.into())?;
    Ok(())
}

fn limit_of(pid: i32) -> Result<libc::rlimit64> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one structure, which lives here.
    checked(unsafe { libc::prlimit64(pid, libc::RLIMIT_RTTIME, std::ptr::null(), &raw mut limit) }.into())?;
    Ok(limit)
}

/// What `fstat` says of an open file, as the kernel lays it out ([`libc::stat`]).
pub(super) fn stat(file: impl AsFd) -> Result<[u8; size_of::<libc::stat>()]> {
    let mut bytes = [0; size_of::<libc::stat>()];
    let (fd, path) = (file.as_fd().as_raw_fd(), c"".as_ptr());
    // SAFETY: the path is a static string, and the kernel writes one structure of this size.
    checked(unsafe { libc::syscall(libc::SYS_newfstatat, fd, path, bytes.as_mut_ptr(), libc::AT_EMPTY_PATH) })?;
    Ok(bytes)
}

/// What `statx` says of an open file, as the kernel lays it out ([`libc::statx`]).
pub(super) fn statx(file: impl AsFd, flags: u32, mask: u32) -> Result<[u8; size_of::<libc::statx>()]> {
    let mut bytes = [0; size_of::<libc::statx>()];
    let (fd, path) = (file.as_fd().as_raw_fd(), c"".as_ptr());
    let flags = flags | libc::AT_EMPTY_PATH.cast_unsigned();
    // SAFETY: the path is a static string, and the kernel writes one structure of this size.
    checked(unsafe { libc::syscall(libc::SYS_statx, fd, path, flags, mask, bytes.as_mut_ptr()) })?;
    Ok(bytes)
}

/// Gives every signal its default disposition, and blocks none.
pub(super) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: the default disposition runs no code of this process. KILL, STOP and libc's own are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Ignores a signal, or gives it its default disposition.
pub(super) fn disposition(signal: nix::sys::signal::Signal, wanted: Disposition) -> Result<()> {
    let handler = match wanted {
        Disposition::Ignored => nix::sys::signal::SigHandler::SigIgn,
        Disposition::Default => nix::sys::signal::SigHandler::SigDfl,
    };
    // SAFETY: neither disposition runs code of this process.
    unsafe { nix::sys::signal::signal(signal, handler) }.map_err(|error| Errno::from_raw_os_error(error as i32))?;
    Ok(())
}

/// What becomes of a signal.
#[derive(Clone, Copy)]
pub(super) enum Disposition {
    Ignored,
    Default,
}

/// Brings the loopback device of the current network namespace up.
pub(super) fn bring_loopback_up() -> Result<()> {
    // SAFETY: takes numbers only; the result is owned below.
    let socket = checked(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: the descriptor was just made and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket as RawFd) };
    // SAFETY: all zeroes is a valid `ifreq`: numbers and bytes.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed() as libc::c_char;
    request.ifr_name[1] = b'o'.cast_signed() as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads the `ifreq`, which lives here.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into())?;
    Ok(())
}

/// Becomes another program. Returns only when that failed.
pub(super) fn execute(path: &std::path::Path, argv: &[CString], env: &[CString]) -> Errno {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return Errno::INVAL };
    match nix::unistd::execve(&path, argv, env) {
        Ok(never) => match never {},
        Err(error) => Errno::from_raw_os_error(error as i32),
    }
}
