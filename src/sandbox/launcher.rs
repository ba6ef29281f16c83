//! The process that sandboxes are forked from, and the sandbox it keeps at hand.
//!
//! The builder is threaded and may not fork; starting the program anew for each sandbox takes longer than most of what follows.
//! So it is started anew once. The launcher has one thread and forks; and it does so before it is asked, so that the next
//! sandbox's namespaces, and the mounts that every sandbox has, are there when the builder wants them.
//!
//! ```text
//! builder ── SOCK_SEQPACKET, a message for each sandbox: its socket, its standard output and error
//!    └─> launcher ── fork ──> supervisor, waits for a message ── fork ──> pid 1, waits for the descriptors in it
//! ```
//!
//! Supervisors take their messages themselves. One that has taken one tells the launcher, which forks the next while the command
//! of this one runs; or at once, if more are asked for: what no supervisor has taken yet waits in the socket. After a message that
//! says that it is the last, it forks when there is another all the same.
//!
//! When the builder goes, the socket hangs up: who waits for a message ends, and the launcher with it, after all others.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::Errno;

use super::Isolation;
use super::idmap::{self, Entered};
use super::init::{self, Orders};
use super::system::{self, Disposition};
use super::wire;

/// The argument of a launcher that is to do without namespaces.
pub(crate) const CHROOT: &str = "chroot";

/// Forks supervisors, until the builder has gone.
pub(super) fn launch(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let isolation =
        if arguments.next().is_some_and(|word| word == CHROOT) { Isolation::Chroot } else { Isolation::Namespaces };
    // The user's umask must not show in device nodes and mount points: modes given here are meant.
    rustix::process::umask(Mode::empty());
    let requests = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    // Nobody asks how supervisors ended: they have told the builder.
    system::disposition(Signal::SIGCHLD, Disposition::Ignored)?;
    let here = idmap::here();
    let mut note = [0];
    loop {
        let (mut taken, take) = io::pipe()?;
        if system::fork()?.is_none() {
            drop(taken);
            return supervise(requests, take.into(), here, isolation, note[0] & wire::OWN_NETWORK != 0);
        }
        drop(take);
        // The next sandbox is probably like the last one.
        if taken.read(&mut note)? == 0 {
            // It ended without a message.
            break;
        }
        if !await_need(&requests, &taken, note[0] & wire::LAST != 0)? {
            break;
        }
    }
    // Whoever wants another sandbox is to hear that it takes another launcher.
    drop(requests);
    // Fails when there is nobody left, which is what is waited for.
    while nix::sys::wait::wait().is_ok() {}
    Ok(())
}

/// Waits until somebody wants the next sandbox, or the one before runs its command: two that are set up at once wait for the same
/// locks of the kernel. `taken` hangs up with the exec, as pid 1 has the other end, too. After the last one only a wish counts;
/// `false` when there will be none.
fn await_need(requests: &OwnedFd, taken: &PipeReader, last: bool) -> io::Result<bool> {
    let mut polled = vec![PollFd::new(requests, PollFlags::IN)];
    polled.extend((!last).then(|| PollFd::new(taken, PollFlags::IN)));
    match poll(&mut polled, None) {
        Err(Errno::INTR) => Ok(true),
        Ok(_) => Ok(!(last && polled[0].revents().contains(PollFlags::HUP))),
        Err(error) => Err(error.into()),
    }
}

/// Prepares a sandbox, waits for a message, and is the supervisor of that sandbox to its end.
fn supervise(
    requests: OwnedFd,
    take: OwnedFd,
    here: Entered,
    isolation: Isolation,
    own_network: bool,
) -> io::Result<()> {
    system::disposition(Signal::SIGCHLD, Disposition::Default)?;
    let prepared = init::prepare(here, isolation, own_network)?;
    let Some(orders) = Orders::receive(&requests)? else { return Ok(()) };
    // Else wishes that no launcher hears any more would wait for the end of this sandbox.
    drop(requests);
    // A launcher that is gone need not know.
    let _ = rustix::io::write(&take, &[orders.note]);
    drop(take);
    prepared.run(isolation, orders)
}
