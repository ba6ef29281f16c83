//! A network namespace and the process that connects it.

use std::fs::File;
use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::WaitOptions;

use super::{Ready, Tool, resolv_conf};
use crate::executor::{CancelFlag, Program};
use crate::sandbox;

/// Usually 10 ms.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connected network namespace. Its process is this one's child and is killed when this is dropped, and by the kernel
/// when the thread that started it dies.
pub(in crate::executor) struct Connected {
    process: Child,
    namespace: File,
    tool: &'static Tool,
}

impl Connected {
    /// Makes a namespace and waits until `tool` has connected it. `None` when that failed.
    pub(super) fn make(starter: &Program, tool: &'static Tool, cancel: &CancelFlag) -> Option<Self> {
        let place = Place::make().ok()?;
        let mut command = Command::new(starter.path());
        let forwarding = if resolv_conf::needs_forwarder() { tool.forwarding } else { &[] };
        command.args([sandbox::HELPER, &std::process::id().to_string(), &tool.path()?]);
        command.args(forwarding).args(tool.arguments);
        command.env_clear().stdin(place.namespace.try_clone().ok()?).stderr(Stdio::null());
        command.stdout(if matches!(tool.ready, Ready::Output) { Stdio::piped() } else { Stdio::null() });
        let mut made = Self { process: command.spawn().ok()?, namespace: place.namespace.try_clone().ok()?, tool };
        let started = Instant::now();
        while made.is_running() && !cancel.is_cancelled() && started.elapsed() < TIMEOUT {
            let ready = match tool.ready {
                Ready::DefaultRoute => place.has_route_within(Duration::from_millis(1)),
                Ready::Output => made.speaks_within(Duration::from_millis(20)),
            };
            if ready {
                return Some(made);
            }
        }
        None
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    fn speaks_within(&self, time: Duration) -> bool {
        let Some(output) = &self.process.stdout else { return false };
        let mut polled = [PollFd::new(output, PollFlags::IN)];
        let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        // The end of a program that failed is seen here too, but is no input.
        matches!(poll(&mut polled, Some(&time)), Ok(1..)) && polled[0].revents().contains(PollFlags::IN)
    }

    /// The namespace, for a sandbox to join.
    pub(in crate::executor) fn namespace(&self) -> &File {
        &self.namespace
    }

    /// A name server that answers in there, if no other one does.
    pub(in crate::executor) fn name_server(&self) -> &'static str {
        self.tool.name_server
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        // Fails only when it has ended by itself meanwhile.
        let _ = self.process.kill();
        // Its end takes tens of milliseconds, in which the kernel takes the device down: nobody waits for that.
        let process = rustix::process::Pid::from_child(&self.process);
        let reap = move || rustix::process::waitpid(Some(process), WaitOptions::empty());
        let _ = std::thread::Builder::new().name("network".to_owned()).spawn(reap);
    }
}

/// A new network namespace, and a thread in it that looks at its routes.
struct Place {
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
                std::thread::sleep(time);
                let _ = answer.send(has_default_route());
            }
        })?;
        let namespace = namespace.recv().map_err(io::Error::other)??;
        Ok(Self { namespace, questions, answers })
    }

    fn has_route_within(&self, time: Duration) -> bool {
        self.questions.send(time).is_ok() && self.answers.recv() == Ok(true)
    }
}

/// Looks at the namespace of this thread. Lines of the table are: device, destination, gateway, ...; a destination of zero
/// is the default route.
fn has_default_route() -> bool {
    let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000"))
}
