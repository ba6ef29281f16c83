//! The network of a step: what can be had here, and the program that connects it.
//!
//! `pasta` or `slirp4netns` stands outside and speaks for a network namespace with ordinary sockets, so it needs no rights
//! but those over the namespace, and gives a way out without one to the host's loopback. Both make a network device in
//! there, which needs `/dev/net/tun`.
//!
//! What is connected is kept and used again: see [`pool`].

mod connected;
mod pasta;
mod pool;
pub(super) mod resolv_conf;
mod slirp4netns;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

pub(super) use connected::Connected;
pub use pasta::Ports;
pub(super) use pool::Networks;

use super::{Helper, Program};

/// Usually a few milliseconds.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a step cannot have a network of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoNetwork {
    /// The helpers make a device with it.
    NoDevice,
    /// There is no helper.
    NoTool,
    /// There is one, and it failed.
    NotConnected,
}

impl NoNetwork {
    /// Says what is missing.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoDevice => "/dev/net/tun cannot be opened",
            Self::NoTool => "neither of the programs `pasta` and `slirp4netns` is installed",
            Self::NotConnected => "no network helper connected (of `pasta` and `slirp4netns`, what is installed)",
        }
    }

    /// Says what to do about it.
    pub fn help(self) -> &'static str {
        match self {
            Self::NoDevice => {
                "as root: `modprobe tun`; and for other users `chmod 0666 /dev/net/tun`, as most distributions have it"
            }
            Self::NoTool => "install the package `passt`, which has pasta, or `slirp4netns`",
            Self::NotConnected => {
                "`pasta --config-net true` says what is wrong; or install the other one, of the packages `passt` and \
                 `slirp4netns`"
            }
        }
    }
}

/// A program that connects namespaces, and how it is talked to.
pub(super) struct Tool {
    name: &'static str,
    /// The network namespace is its standard input.
    arguments: &'static [&'static str],
    /// More of them, where the host has to be asked for names in a step's place.
    forwarding: &'static [&'static str],
    ready: Ready,
    /// Where it answers for the first name server of the host, if a step cannot reach that itself.
    name_server: &'static str,
}

/// How to see that a namespace is connected.
enum Ready {
    /// A default route appears in it.
    DefaultRoute,
    /// The program writes to its standard output.
    Output,
}

/// Best first.
const TOOLS: [&Tool; 2] = [&pasta::TOOL, &slirp4netns::TOOL];

impl Tool {
    /// Looks where distributions put it; the environment is not this room's to read.
    fn path(&self) -> Option<String> {
        let paths = ["/usr/bin", "/usr/local/bin", "/bin"].map(|directory| format!("{directory}/{}", self.name));
        paths.into_iter().find(|path| Path::new(path).exists())
    }

    /// Returns how it names itself and its version: `slirp4netns version 1.2.0`.
    fn version(&self, starter: &Program) -> Option<String> {
        let mut command = Helper::command(starter, self.path()?);
        let mut asked = Helper::start(command.arg("--version").env_clear().stdout(Stdio::piped())).ok()?;
        asked.ended_within(VERSION_TIMEOUT)?;
        let said = Helper::said(asked.process.stdout.take());
        said.lines().next().filter(|line| line.starts_with(self.name)).map(str::to_owned)
    }
}
