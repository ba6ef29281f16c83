//! A cgroup for one step: what limits it as a whole, and what tells which limit it met.
//!
//! ```text
//! hierarchy   what /proc/self/cgroup and /proc/self/mountinfo say: which hierarchies there are, and where we are (pure)
//! settings    limits -> what is written into which file, for version 1 and 2 (pure)
//! place       below which directory the cgroups of steps are made
//! group       makes one, sets it, says what became of it, removes it
//! claim       whose one is; removes those of a kiln that was killed
//! error       why a limit cannot be had, and what to do
//! ```
//!
//! In each hierarchy that a limit needs:
//!
//! ```text
//! <this process's cgroup, or --cgroup-parent>/kiln-step-<random>    an flock on the directory says that its kiln lives
//! ```
//!
//! The first process of a sandbox enters by writing to descriptors of `tasks` or `cgroup.procs` that the executor hands over, after
//! its mounts are made and before it is confined: so the limits count what the command does and nothing else. Nobody who
//! sets no such limit pays for any of this.
//!
//! Version 1, and making, entering, killing and removing in a version 2 hierarchy, are tried with real cgroups in
//! `tests/limits.rs`. **Not tried**: the limits of version 2 (`memory.max` and so on) and its delegation, on a machine whose
//! controllers are there; what is written is the kernel's documentation (Documentation/admin-guide/cgroup-v2.rst) and the
//! text tests of `settings`.

mod claim;
mod controller;
mod error;
mod group;
mod hierarchy;
mod place;
mod settings;

pub(crate) use controller::Controller;
pub use error::CgroupError;
pub use group::Exceeded;
pub(crate) use group::Group;
pub(crate) use place::Cgroups;
