//! A network namespace and the process that connects it.

use std::fs::File;
use std::io;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::{Ready, Tool, resolv_conf};
use crate::executor::{CancelFlag, Helper, Program};
use crate::sandbox;

/// Usually 10 ms.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A network namespace that is connected, or will be.
pub(in crate::executor) struct Connected {
    helper: Helper,
    namespace: File,
    tool: &'static Tool,
    /// Who looks whether it is, until it is.
    coming: Mutex<Option<Place>>,
}

impl Connected {
    /// Makes a namespace and starts `tool`, which connects it. `None` when that failed.
    pub(super) fn start(starter: &Program, tool: &'static Tool) -> Option<Self> {
        Self::start_with(starter, tool, tool.arguments.iter().map(|argument| (*argument).to_owned()))
    }

    /// Like [`Connected::start`], with other arguments.
    pub(super) fn start_with(
        starter: &Program,
        tool: &'static Tool,
        arguments: impl IntoIterator<Item = String>,
    ) -> Option<Self> {
        let place = Place::make().ok()?;
        let forwarding = if resolv_conf::needs_forwarder() { tool.forwarding } else { &[] };
        let mut command = Helper::command(starter, tool.path()?);
        command.args(forwarding).args(arguments).env_clear().stdin(place.namespace.try_clone().ok()?);
        if matches!(tool.ready, Ready::Output) {
            command.stdout(Stdio::piped());
        }
        let namespace = place.namespace.try_clone().ok()?;
        Some(Self { helper: Helper::start(&mut command).ok()?, namespace, tool, coming: Mutex::new(Some(place)) })
    }

    /// Waits until it is connected. `false` when it will not be, or when `cancel` is set.
    pub(in crate::executor) fn is_connected(&self, cancel: &CancelFlag) -> bool {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = coming.as_ref() else { return true };
        while self.is_running() && !cancel.is_cancelled() {
            let ready = match self.tool.ready {
                Ready::DefaultRoute => place.has_route_within(Duration::from_millis(1)),
                Ready::Output => self.helper.speaks_within(Duration::from_millis(20)),
            };
            if ready {
                *coming = None;
                return true;
            }
            if place.made.elapsed() > TIMEOUT {
                break;
            }
        }
        false
    }

    pub(super) fn is_running(&self) -> bool {
        self.helper.is_running()
    }

    /// The namespace, for a sandbox to join.
    pub(in crate::executor) fn namespace(&self) -> &File {
        &self.namespace
    }

    /// Whether a step may use it after another. The kernel keeps the port of a server whose connections have just ended for a
    /// minute, and a server of the next step could not have it.
    pub(super) fn is_free(&self) -> bool {
        let look = || sandbox::enter_network(&self.namespace).is_ok() && !(has_tcp() && has_served());
        std::thread::scope(|scope| scope.spawn(look).join()).unwrap_or(false)
    }

    /// The name of the program that connects it.
    pub(super) fn tool(&self) -> &'static str {
        self.tool.name
    }

    /// The program that connects it, as that names itself with its version.
    pub(in crate::executor) fn by(&self, starter: &Program) -> String {
        self.tool.version(starter).unwrap_or_else(|| self.tool.name.to_owned())
    }

    /// A name server that answers in there, if no other one does.
    pub(in crate::executor) fn name_server(&self) -> &'static str {
        self.tool.name_server
    }
}

/// A new network namespace, and a thread in it that looks at its routes.
struct Place {
    made: Instant,
    namespace: File,
    questions: mpsc::Sender<Duration>,
    answers: mpsc::Receiver<bool>,
}

impl Place {
    fn make() -> io::Result<Self> {
        let (questions, asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let (made, namespace) = mpsc::channel();
        std::thread::Builder::new().name("network".to_owned()).spawn(move || {
            let entered = sandbox::enter_new_network();
            let entered_well = entered.is_ok();
            if made.send(entered).is_err() || !entered_well {
                return;
            }
            for time in asked {
                let soon = || {
                    std::thread::sleep(time);
                    has_default_route()
                };
                let _ = answer.send(has_default_route() || soon());
            }
        })?;
        let namespace = namespace.recv().map_err(io::Error::other)??;
        Ok(Self { made: Instant::now(), namespace, questions, answers })
    }

    fn has_route_within(&self, time: Duration) -> bool {
        self.questions.send(time).is_ok() && self.answers.recv() == Ok(true)
    }
}

/// Whether the namespace of this thread has TCP sockets, ended ones among them. The kernel counts these for each namespace; to list
/// them it goes through a table of all the machine's, which takes some 15 ms. Lines of a count are: protocol, name, number, name, ...
fn has_tcp() -> bool {
    let counted = |file: &str, protocol: &str| {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok()?;
        let words: Vec<&str> = text.lines().find_map(|line| line.strip_prefix(protocol))?.split_whitespace().collect();
        Some(words.chunks_exact(2).any(|pair| ["inuse", "tw"].contains(&pair[0]) && pair[1] != "0"))
    };
    // Without IPv6 there is no second file; without the first, nothing is known.
    counted("sockstat", "TCP:").unwrap_or(true) || counted("sockstat6", "TCP6:").unwrap_or(false)
}

/// Whether the namespace of this thread has connections to ports that are not given to clients. Lines of the tables are: number,
/// local address and port in hexadecimal digits, ...
fn has_served() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"].map(read).concat();
    let ports = tables.lines().filter_map(|line| {
        let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    });
    let range = read("/proc/sys/net/ipv4/ip_local_port_range");
    let mut bounds = range.split_whitespace().filter_map(|bound| bound.parse::<u16>().ok());
    let (first, last) = (bounds.next().unwrap_or(u16::MAX), bounds.next().unwrap_or(0));
    ports.into_iter().any(|port| !(first..=last).contains(&port))
}

/// Looks at the namespace of this thread. Lines of the table are: device, destination, gateway, ...; a destination of zero
/// is the default route.
fn has_default_route() -> bool {
    let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000"))
}
