//! A socket inside the sandbox for an ssh agent of the builder's: a step may list the keys and sign with them, and no more.
//!
//! The socket inside has the mode and owner the step asked for, which the agent's own cannot be given. Requests are read one
//! by one and judged ([`protocol`]); what a step may not ask is answered here, and the agent never hears of it. One thread
//! accepts, and each connection has one. They end with the step, whose processes hold the other ends.

mod protocol;

use std::io::{self, Write};
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

/// Connections a step may have at once; more are closed.
const MOST_CONNECTIONS: usize = 32;

/// A socket being served; no new connections once it is dropped.
pub(super) struct Served {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves `listener` with what a step may ask of `agent`.
    pub(super) fn start(listener: OwnedFd, agent: PathBuf) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let listener = UnixListener::from(listener);
        let seen = Arc::clone(&ended);
        let thread = std::thread::Builder::new().name("ssh agent".to_owned()).spawn(move || {
            // One of this thread and one of each connection.
            let connections = Arc::new(());
            while !seen.load(Ordering::Relaxed) {
                accept(&listener, &agent, &connections);
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

fn accept(listener: &UnixListener, agent: &Path, connections: &Arc<()>) {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_UP.subsec_nanos()) };
    if !matches!(poll(&mut polled, Some(&timeout)), Ok(1..)) {
        return;
    }
    let Ok((inside, _)) = listener.accept() else { return };
    if Arc::strong_count(connections) > MOST_CONNECTIONS {
        return;
    }
    // An agent that is gone closes the connection, as it would without us.
    let Ok(outside) = UnixStream::connect(agent) else { return };
    let held = Arc::clone(connections);
    // Without a thread the connection is closed.
    let _ = std::thread::Builder::new().name("ssh agent connection".to_owned()).spawn(move || {
        let _ = carry(&inside, &outside);
        drop(held);
    });
}

/// Carries requests in and answers out, until a side hangs up or says what is no message.
fn carry(mut inside: &UnixStream, mut outside: &UnixStream) -> io::Result<()> {
    while let Some(request) = protocol::read(&mut inside)? {
        if !protocol::may_be_asked(&request) {
            inside.write_all(&protocol::FAILURE)?;
            continue;
        }
        outside.write_all(&request)?;
        let Some(answer) = protocol::read(&mut outside)? else { break };
        inside.write_all(&answer)?;
    }
    Ok(())
}
