//! Signals that `kiln run` passes on to the command, as `docker run` does (`--sig-proxy`).
//!
//! The command is the first process of its namespace, to which the kernel gives only what it has a handler for: `sleep` hears no
//! SIGINT. So the third SIGINT or SIGTERM kills it (docker's client gives up at the third, too), and ten seconds after a SIGHUP,
//! when there may be nobody any more to send another, it is killed if it is still there.

use std::io::{self, PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::terminal;
use crate::executor::CancelFlag;

/// Those with names, as far as they are no matter of this process alone.
const NAMED: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGPWR,
];
/// How many SIGINT and SIGTERM the command may hear before it is killed.
const PATIENCE: u8 = 2;
/// As long as `docker stop` waits.
const GRACE: Duration = Duration::from_secs(10);

/// Signals on their way.
pub(super) struct Proxy {
    /// Their numbers, a byte each.
    pub(super) numbers: OwnedFd,
    /// Set when the command is to be killed.
    pub(super) cancel: CancelFlag,
}

struct Passing {
    numbers: PipeWriter,
    cancel: CancelFlag,
    wishes: AtomicU8,
}

impl Proxy {
    /// Takes signals from now on, but for those that whoever started this program has had ignored (`nohup`).
    pub(super) fn watch() -> io::Result<Self> {
        let (theirs, numbers) = io::pipe()?;
        let cancel = CancelFlag::new()?;
        let passing = Arc::new(Passing { numbers, cancel: cancel.clone(), wishes: AtomicU8::new(0) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let ignored = ignored();
        let all = NAMED.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
        let taken = {
            let _entered = runtime.enter();
            let take = |number| Ok((number, signal(SignalKind::from_raw(number))?));
            all.filter(|number| ignored >> (number - 1) & 1 == 0).map(take).collect::<io::Result<Vec<_>>>()?
        };
        let watch = move || {
            runtime.block_on(async {
                for (number, stream) in taken {
                    tokio::spawn(passing.clone().pass_all(number, stream));
                }
                std::future::pending::<()>().await;
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(Self { numbers: theirs.into(), cancel })
    }
}

impl Passing {
    async fn pass_all(self: Arc<Self>, number: i32, mut stream: Signal) {
        while stream.recv().await.is_some() {
            self.pass(number);
            if number == libc::SIGHUP {
                tokio::time::sleep(GRACE).await;
                self.cancel.cancel();
            }
        }
    }

    fn pass(&self, number: i32) {
        let _ = (&self.numbers).write_all(&[number as u8]);
        if ![libc::SIGINT, libc::SIGTERM].contains(&number) {
            return;
        }
        match self.wishes.fetch_add(1, Ordering::AcqRel) + 1 {
            PATIENCE => {
                terminal::print_error("NOTE: the command was asked twice to end; the third time it is killed\r\n");
            }
            wish if wish > PATIENCE => self.cancel.cancel(),
            _ => {}
        }
    }
}

/// The signals that are ignored, a bit each from number 1 on (proc_pid_status(5)).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
