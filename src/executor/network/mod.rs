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

pub(super) use connected::Connected;
pub(super) use pool::Networks;

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
}
