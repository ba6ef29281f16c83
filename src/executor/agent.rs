//! Carrying connections from a socket inside the sandbox to one of the builder's (an ssh agent).
//!
//! The socket inside has the mode and owner the step asked for, which the agent's own cannot be given. One thread
//! accepts; a connection has two more. They end with the listener and with their connections.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How soon the accepting thread sees that the step has ended.
const LOOK_UP: Duration = Duration::from_millis(50);

/// A socket being served; no new connections once it is dropped.
pub(super) struct Served {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves `listener` with connections to `agent`.
    pub(super) fn start(listener: OwnedFd, agent: PathBuf) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let listener = UnixListener::from(listener);
        let seen = Arc::clone(&ended);
        let thread = std::thread::Builder::new().name("ssh agent".to_owned()).spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                accept(&listener, &agent);
            }
        })?;
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &UnixListener, agent: &Path) {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_UP.subsec_nanos()) };
    if !matches!(poll(&mut polled, Some(&timeout)), Ok(1..)) {
        return;
    }
    // An agent that is gone closes the connection, as it would without us.
    let (Ok((inside, _)), Ok(outside)) = (listener.accept(), UnixStream::connect(agent)) else { return };
    if let (Ok(inside_again), Ok(outside_again)) = (inside.try_clone(), outside.try_clone()) {
        std::thread::spawn(move || carry(inside, outside));
        std::thread::spawn(move || carry(outside_again, inside_again));
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
