//! One process in namespaces: the kernel side of a `RUN`.
//!
//! A [`SandboxSpec`] says what the process may see; `plan` turns it into an ordered list of
//! steps, which is plain data and printable; `apply` does them, one system call or a few per step.
//! Nothing of this runs in the builder's own process: the builder is threaded, and what follows a `fork` in
//! a threaded process may not even allocate. So the executor starts this program anew with a private first
//! argument, and `main` hands over to [`init_if_requested`] before anything else.
//!
//! ```text
//! builder ── socket on fd 0 ──> supervisor ── fork ──> pid 1 of the sandbox ── exec ──> the command
//!            spec as JSON        unshares               applies the plan
//!            reports back        waits, kills
//! ```
//!
//! The supervisor stays outside the process namespace and holds the other end of the socket: when the builder goes,
//! however it goes, the socket hangs up and the supervisor kills pid 1, and with it the kernel kills everything in
//! the sandbox. Mounts live in the mount namespace of the supervisor and pid 1 and end with them.
//!
//! Wire shape of the socket: one length-framed JSON `Start` to the supervisor, then length-framed
//! JSON `Report`s back; see `wire`.
//!
//! It knows no Dockerfile, no cache and no layer. Called by `executor` (and [`idmap`] by `main`). No locks: whoever gives
//! an upper directory owns it alone, which the kernel does not check.

pub mod idmap;
mod spec;

pub use spec::{Mount, Network, ProcessUser, Rootfs, SandboxSpec, SecretBytes, Security};

/// Becomes the init of a sandbox if this process was started as one, and then never returns. Must be the first thing
/// `main` does: before any thread, and before anything reads the arguments.
pub fn init_if_requested() {}
