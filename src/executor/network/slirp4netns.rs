//! `slirp4netns`, where there is no pasta.

use super::{Ready, Tool};

pub(super) const TOOL: Tool = Tool {
    name: "slirp4netns",
    arguments: &[
        "--configure",
        "--mtu=65520",
        // Else 10.0.2.2 is a way to the host's loopback.
        "--disable-host-loopback",
        // It parses what a step sends: in a root of its own, with the system calls for that.
        "--enable-sandbox",
        "--enable-seccomp",
        // One byte; what it prints there itself stays in its buffer.
        "--ready-fd=1",
        "--netns-type=path",
        "/proc/self/fd/0",
        "tap0",
    ],
    forwarding: &[],
    ready: Ready::Output,
    name_server: "10.0.2.3",
};
