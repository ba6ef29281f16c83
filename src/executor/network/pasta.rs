//! `pasta` of the passt project.

use super::{Ready, Tool};

pub(super) const TOOL: Tool = Tool {
    name: "pasta",
    arguments: &[
        "--quiet",
        "--foreground",
        "--config-net",
        // Else the address of the gateway is a way to the host's loopback.
        "--no-map-gw",
        // Router solicitation would take a second.
        "--ipv4-only",
        // No ports are forwarded either way.
        "-t",
        "none",
        "-u",
        "none",
        "-T",
        "none",
        "-U",
        "none",
        // As root of the machine it would become `nobody`, who may not join the namespace.
        "--runas",
        "0:0",
        // A path it opens itself would be too late: it drops the right to look into another process' `/proc` first.
        "--netns",
        "/proc/self/fd/0",
    ],
    // It writes nothing while it stays in the foreground.
    // It answers from this address then also where another one was asked, which nobody takes for an answer.
    forwarding: &["--dns-forward", NAME_SERVER],
    ready: Ready::DefaultRoute,
    name_server: NAME_SERVER,
};

/// Ports of this machine that lead to a command, as pasta writes them: `127.0.0.1/8080:80`, `8080:80`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ports {
    /// Of TCP.
    pub tcp: Vec<String>,
    /// Of UDP.
    pub udp: Vec<String>,
}

/// The usual arguments, but with these ports.
pub(super) fn arguments(ports: &Ports) -> Vec<String> {
    let mut all: Vec<String> = TOOL.arguments.iter().map(|argument| (*argument).to_owned()).collect();
    for (flag, ports) in [("-t", &ports.tcp), ("-u", &ports.udp)] {
        let Some(place) = all.iter().position(|argument| argument == flag) else { continue };
        if let [first, others @ ..] = ports.as_slice() {
            all[place + 1].clone_from(first);
            let more = others.iter().flat_map(|port| [flag.to_owned(), port.clone()]);
            all.splice(place + 2..place + 2, more);
        }
    }
    all
}

/// Of the link-local range, in which nobody else is on a link of two.
const NAME_SERVER: &str = "169.254.1.1";
