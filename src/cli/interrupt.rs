//! Ctrl-C: the first signal asks the build to stop and clean up, the second ends the program at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::report::Exit;
use crate::executor::CancelFlag;

/// Returns a flag that SIGINT and SIGTERM set from now on.
///
/// Signals are taken by handlers and not by a mask, because a mask would be inherited by the commands of a build.
pub(super) fn cancel_on_signals() -> io::Result<CancelFlag> {
    let cancel = CancelFlag::new()?;
    let flag = cancel.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (interrupt, terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let watch = move || runtime.block_on(wait(interrupt, terminate, flag));
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(cancel)
}

async fn wait(mut interrupt: Signal, mut terminate: Signal, cancel: CancelFlag) {
    for first in [true, false] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if first {
            cancel.cancel();
        }
    }
    std::process::exit(Exit::Canceled.code().into());
}
