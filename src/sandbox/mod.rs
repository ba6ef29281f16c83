//! One process in namespaces: the kernel side of a `RUN`.
//!
//! A [`SandboxSpec`] says what the process may see; `plan` turns it into an ordered list of
//! steps, which is plain data and printable; `apply` does them, one system call or a few per step.
//! Nothing of this runs in the builder's own process: the builder is threaded, and what follows a `fork` in
//! a threaded process may not even allocate. So the executor starts this program anew with a private first
//! argument, and `main` hands over to [`init_if_requested`] before anything else. What is started so is the `launcher`, once for
//! a builder; it forks a supervisor for each sandbox, always one ahead.
//!
//! ```text
//! launcher ── fork ──> supervisor ── fork ──> pid 1 of the sandbox ── exec ──> the command
//!                      unshares               reads the spec, applies the plan
//!                      waits, kills
//! builder <── socket: the spec as JSON to pid 1; reports back from both
//! ```
//!
//! The supervisor stays outside the process namespace and holds the other end of the socket: when the builder goes,
//! however it goes, the socket hangs up and the supervisor kills pid 1, and with it the kernel kills everything in
//! the sandbox. Mounts live in the mount namespace of the supervisor and pid 1 and end with them, which may be a moment after the
//! builder has heard of the end: nothing can write any more then.
//!
//! Where this process has one id only, the supervisor also answers what the step's filter asks about others (`ids`).
//!
//! A command that is a program of another machine enters a user namespace of its own first, in which `emulator` has
//! registered what runs it.
//!
//! What limits a step as a whole (memory, processor time, number of processes) is a cgroup of its own, which the executor makes
//! and removes (`cgroup`) and pid 1 enters. What limits each process, pid 1 sets for itself.
//!
//! Wire shape of the socket: one length-framed JSON `Start` to pid 1, length-framed
//! JSON `Report`s back; see `wire`.
//!
//! Where there are no namespaces, a plan of another kind (`chroot`) does what can be done without; that is no isolation.
//!
//! It knows no Dockerfile, no cache and no layer. Called by `executor` (and [`idmap`] by `main`). No locks: whoever gives
//! an upper directory owns it alone, which the kernel does not check.

mod apply;
pub(crate) mod cgroup;
mod chroot;
mod cover;
mod credentials;
pub(crate) mod emulator;
pub mod idmap;
mod ids;
mod init;
mod launcher;
mod limits;
mod mounts;
mod orphans;
mod plan;
mod seccomp;
mod spec;
mod stock;
mod system;
mod target;
mod ulimit;
pub(crate) mod wire;

pub use cgroup::{CgroupError, Exceeded};
pub use limits::{CpuTime, MemorySwap, ResourceLimits, ULIMITS, Ulimit};
pub use spec::{Input, Isolation, Mount, Network, ProcessUser, Rootfs, SandboxSpec, SecretBytes, Security, hosts_of};

pub(crate) use launcher::CHROOT;
pub(crate) use plan::Connection;
pub(crate) use target::Stubs;

/// The private first argument of a launcher.
pub(crate) const LAUNCHER: &str = "kiln-sandbox-launcher";
/// The private first argument of a helper, which dies with the thread that started it: what follows is the number of the
/// process that has that thread, and the helper's command.
pub(crate) const HELPER: &str = "kiln-sandbox-helper";

/// Becomes the init of a sandbox, or another helper process of this room, if this process was started as
/// one, and then never returns. Must be the first thing `main` does: before any thread, and before anything else reads the
/// arguments.
pub fn init_if_requested() {
    // Whoever started this program may have had the kernel forget children that end, which this one wants to hear of. Fails never.
    let _ = system::disposition(nix::sys::signal::Signal::SIGCHLD, system::Disposition::Default);
    let mut arguments = std::env::args_os().skip(1);
    let Some(first) = arguments.next() else { return };
    let ended = if first == LAUNCHER {
        launcher::launch(arguments)
    } else if first == HELPER {
        init::become_helper(arguments)
    } else if first == emulator::EMULATOR {
        emulator::become_emulator()
    } else if first == idmap::MAPPER {
        idmap::map_parent(arguments)
    } else {
        return;
    };
    // The builder tells the user, from what it was told or not told; there is nobody here to print to.
    std::process::exit(i32::from(ended.is_err()));
}

/// Gives this thread a network namespace of its own with a loopback device, and returns that.
pub(crate) fn enter_new_network() -> std::io::Result<std::fs::File> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    system::bring_loopback_up()?;
    std::fs::File::open("/proc/thread-self/ns/net")
}

/// Has this thread enter a network namespace.
pub(crate) fn enter_network(namespace: &std::fs::File) -> std::io::Result<()> {
    Ok(nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?)
}

/// Sends a signal, by number, to the process that `process` is a handle of.
pub(crate) fn send_signal(process: impl std::os::fd::AsFd, number: i32) -> std::io::Result<()> {
    Ok(system::send_signal(process, number)?)
}

/// Returns a detached read-only mount of the file at `path`.
pub(crate) fn readonly_clone(path: &std::path::Path) -> std::io::Result<std::os::fd::OwnedFd> {
    Ok(mounts::readonly_clone(path)?)
}
