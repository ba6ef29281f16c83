//! The network of a step: what can be had here, and the process that connects it.
//!
//! `pasta` stands outside and speaks for the network namespace with ordinary sockets, so it needs no rights but those
//! over the namespace, and gives a way out without one to the host's loopback. It gets the namespace as its standard
//! input: it drops the right to look into another process' `/proc` before it opens it.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{CancelFlag, NetworkUsed, Program};
use crate::sandbox::{self, Connection, Network};

/// Set when the helper failed once in this process: it would again, and each time that takes a while.
static HELPER_FAILED: AtomicBool = AtomicBool::new(false);

/// Usually 20 ms.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Decides what `wanted` means on this machine.
pub(super) fn choose(wanted: Network) -> NetworkUsed {
    match wanted {
        Network::None => NetworkUsed::None,
        Network::Host => NetworkUsed::Host,
        Network::Default if HELPER_FAILED.load(Ordering::Relaxed) => {
            NetworkUsed::HostInstead("the network helper `pasta` did not connect")
        }
        Network::Default if !can_open_tun() => NetworkUsed::HostInstead("/dev/net/tun cannot be opened"),
        Network::Default if !is_installed() => NetworkUsed::HostInstead("the program `pasta` is not installed"),
        Network::Default => NetworkUsed::Own,
    }
}

fn can_open_tun() -> bool {
    File::options().read(true).write(true).open("/dev/net/tun").is_ok()
}

/// Looks where distributions put it; the environment is not this room's to read.
fn is_installed() -> bool {
    program().is_some()
}

fn program() -> Option<&'static str> {
    ["/usr/bin/pasta", "/usr/local/bin/pasta", "/bin/pasta"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
}

impl NetworkUsed {
    /// How the sandbox gets it; `joins` says that a connected namespace is at hand.
    pub(super) fn connection(self, joins: bool) -> Connection {
        match self {
            Self::None => Connection::None,
            Self::Own if joins => Connection::Joined,
            Self::Own => Connection::Helper,
            Self::Host | Self::HostInstead(_) => Connection::Host,
        }
    }
}

/// Connected network namespaces that no step uses just now: connecting one takes longer than all the rest of a
/// small step. What ran in one is dead before it comes back here, and had no right to change it.
#[derive(Default)]
pub(super) struct Networks(Mutex<Vec<Helper>>);

impl Networks {
    /// Takes one whose helper still runs.
    pub(super) fn take(&self) -> Option<Helper> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut helper) = idle.pop() {
            if helper.is_running() {
                return Some(helper);
            }
        }
        None
    }

    /// Gives one back.
    pub(super) fn give(&self, helper: Helper) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(helper);
    }
}

/// A running helper and the namespace it connects; killed when dropped, and by the kernel when the thread that
/// started it dies.
pub(super) struct Helper {
    process: Child,
    namespace: File,
}

impl Helper {
    /// Connects the network namespace of `process` and waits until it has a default route. `None` when that failed.
    pub(super) fn connect(starter: &Program, process: u32, cancel: &CancelFlag) -> Option<Self> {
        let connected = Self::start(starter, process).and_then(|helper| helper.wait(process, cancel));
        if connected.is_none() && !cancel.is_cancelled() {
            HELPER_FAILED.store(true, Ordering::Relaxed);
        }
        connected
    }

    fn start(starter: &Program, process: u32) -> Option<Self> {
        let namespace = File::open(format!("/proc/{process}/ns/net")).ok()?;
        let mut command = Command::new(starter.path());
        command.args([sandbox::HELPER, program()?, "--quiet", "--foreground", "--config-net", "--no-map-gw"]);
        // IPv4 only: router solicitation would take a second. No ports are forwarded either way.
        command.args(["--ipv4-only", "-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
        // Root of the machine: it would become `nobody`, who may not join the namespace.
        command.args(["--runas", "0:0", "--netns", "/proc/self/fd/0"]);
        command.stdin(namespace.try_clone().ok()?).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self { process: command.spawn().ok()?, namespace })
    }

    fn wait(mut self, process: u32, cancel: &CancelFlag) -> Option<Self> {
        let started = Instant::now();
        while !has_default_route(process) {
            if !self.is_running() || cancel.is_cancelled() || started.elapsed() > CONNECT_TIMEOUT {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(self)
    }

    fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// The namespace, for a sandbox to join.
    pub(super) fn namespace(&self) -> &File {
        &self.namespace
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Fails only when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Lines of the table are: device, destination, gateway, ...; a destination of zero is the default route.
fn has_default_route(process: u32) -> bool {
    let routes = std::fs::read_to_string(format!("/proc/{process}/net/route")).unwrap_or_default();
    routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000"))
}
