//! A flag that wakes who waits for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Set once, seen by all clones. Waiters poll its file descriptor, which becomes readable and stays so.
#[derive(Clone, Debug)]
pub struct CancelFlag(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    set: AtomicBool,
    wake: OwnedFd,
}

impl CancelFlag {
    /// Makes a flag that is not set; fails when there are no file descriptors left.
    pub fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Inner { set: AtomicBool::new(false), wake })))
    }

    /// Sets it.
    pub fn cancel(&self) {
        self.0.set.store(true, Ordering::Release);
        // Fails only when the counter is full, and then it is readable anyway.
        let _ = rustix::io::write(&self.0.wake, &1u64.to_ne_bytes());
    }

    /// Whether it was set.
    pub fn is_cancelled(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }
}

impl AsFd for CancelFlag {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}
