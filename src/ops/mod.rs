//! Ops: doing one step.
//!
//! * `copy`: which files a COPY takes and how they are laid out.
//! * `users`: `/etc/passwd` and `/etc/group` of a filesystem.
//!
//! Not here: the order of steps (`solver`), which steps there are (`plan`), one sandboxed process (`executor`).

pub mod copy;
pub mod users;
