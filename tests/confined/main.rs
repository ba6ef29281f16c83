//! Whole builds whose steps mean harm: what they must not reach, read, write or leave. Each as whoever runs the tests, and
//! where that is root also as an ordinary user. A refusal has a control: the same act where it is allowed.

// Tests are the edge: they list directories and look at the clock.
#![allow(clippy::disallowed_methods)]

mod agent;
mod devices;
mod helpers;
mod mounts;
mod network;
mod output;
mod paths;
mod process;
mod secrets;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use support::bases::Base;
use support::kiln::Kiln;
use support::user::User;
use support::{registry, scratch, write};

/// Who builds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Builder {
    Caller,
    OrdinaryUser,
}

impl Builder {
    /// All that this machine has.
    pub(crate) fn all() -> Vec<Self> {
        if support::has_root() { vec![Self::Caller, Self::OrdinaryUser] } else { vec![Self::Caller] }
    }

    pub(crate) fn kiln(self) -> Kiln {
        match self {
            Self::Caller => Kiln::new(),
            Self::OrdinaryUser => Kiln::of(User::with_ranges()),
        }
    }
}

/// `kiln build ARGUMENTS CONTEXT`, with plain progress if they do not say otherwise, and no result.
pub(crate) fn command(kiln: &Kiln, context: &Path, arguments: &[&str]) -> Command {
    let mut command = kiln.command();
    command.args(["build", "-o", "type=cacheonly"]);
    if !arguments.iter().any(|argument| argument.starts_with("--progress")) {
        command.arg("--progress=plain");
    }
    command.args(arguments).arg(context);
    command
}

/// A context with this Dockerfile, in which `BUSYBOX` and `DEBIAN` stand for the base images.
pub(crate) fn context_of(dockerfile: &str) -> tempfile::TempDir {
    let context = scratch();
    let mut text = dockerfile.to_owned();
    for (word, base) in [("BUSYBOX", Base::Busybox), ("DEBIAN", Base::Debian)] {
        if text.contains(word) {
            text = text.replace(word, &registry::base(base));
        }
    }
    write(context.path(), "Dockerfile", text);
    context
}
