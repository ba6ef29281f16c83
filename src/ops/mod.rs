//! Ops: doing one step.
//!
//! Each op looks into the cache by a key of the facts it documents, and does its work only on a miss. What it
//! makes is a layer: a plain tar blob in the store, and a [`Record`](crate::cache::Record) that remembers it.
//!
//! * `worker`: what every op may use (store, snapshots, cache, registry, context, secrets).
//! * `layers`: fetching blobs and unpacking layers, when a step must look into a filesystem.
//! * `run`, `copy_step`, `workdir`: one op each; `follow`: who gets a layer while it is written.
//! * `copy`: which files a COPY takes and how they are laid out.
//! * `cache_mount`: directories that outlive the build; `remote`: what ADD fetches.
//! * `devices`: what `RUN --device` brings.
//! * `users`: `/etc/passwd` and `/etc/group` of a filesystem.
//!
//! Not here: the order of steps (`solver`), which steps there are (`plan`), one sandboxed process (`executor`).

mod cache_mount;
pub mod copy;
mod copy_step;
mod devices;
mod error;
mod fetch;
mod fetched;
mod follow;
mod journal;
mod layers;
mod remote;
mod run;
pub mod users;
mod why;
mod workdir;
mod worker;

pub use cache_mount::FrozenMount;
pub use devices::{Allowed as AllowedDevices, DIRECTORIES as DEVICE_DIRECTORIES};
pub use error::OpError;
pub use fetch::{Downloaded, FetchError, Fetcher, Progress};
pub use fetched::{Fetched, uri_of_repository};
pub use follow::{Followed, Follower, Following};
pub use journal::Journal;
pub use layers::unpack;
pub use worker::{HearsOfMount, Inputs, Remembered, Settings, StepResult, Worker};
