//! Ctrl-C: the first signal asks the build to stop and clean up, the second ends the program at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::report::Exit;
use crate::executor::CancelFlag;

/// What signals do to a build.
#[derive(Clone)]
pub(super) struct Interrupt {
    cancel: CancelFlag,
    /// Of its own, because a build cancels its other steps when one fails.
    came: Arc<AtomicBool>,
}

impl Interrupt {
    /// Watches for SIGINT and SIGTERM from now on.
    ///
    /// Signals are taken by handlers and not by a mask, because a mask would be inherited by the commands of a build.
    pub(super) fn watch() -> io::Result<Self> {
        let interrupt = Self { cancel: CancelFlag::new()?, came: Arc::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let signals = {
            let _entered = runtime.enter();
            [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]
        };
        let watching = interrupt.clone();
        let watch = move || runtime.block_on(watching.wait(signals));
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(interrupt)
    }

    /// Returns the flag that the first signal sets.
    pub(super) fn cancel(&self) -> &CancelFlag {
        &self.cancel
    }

    /// Whether a signal came.
    pub(super) fn came(&self) -> bool {
        self.came.load(Ordering::Acquire)
    }

    async fn wait(self, [mut interrupt, mut terminate]: [Signal; 2]) {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                self.came.store(true, Ordering::Release);
                self.cancel.cancel();
            }
        }
        std::process::exit(Exit::Canceled.code().into());
    }
}
