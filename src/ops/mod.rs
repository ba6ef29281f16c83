//! Ops: doing one step.
//!
//! Each op looks into the cache by a key of the facts it documents, and does its work only on a miss. What it
//! makes is a layer: a plain tar blob in the store, and a [`Record`](crate::cache::Record) that remembers it.
//!
//! * `worker`: what every op may use (store, snapshots, cache, registry, context, secrets).
//! * `layers`: fetching blobs and unpacking layers, when a step must look into a filesystem.
//! * `run`, `copy`, `workdir`: one op each.
//! * `users`: `/etc/passwd` and `/etc/group` of a filesystem.
//!
//! Not here: the order of steps (`solver`), which steps there are (`plan`), one sandboxed process (`executor`).

mod error;
mod layers;
mod run;
mod worker;
mod workdir;

pub use error::OpError;
pub use worker::{Inputs, Settings, StepResult, Worker};
