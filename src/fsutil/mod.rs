//! The file system by directory handles.
//!
//! Paths inside a rootfs, a context or a store are hostile: they may hold `..`, absolute links, or links that
//! change while they are walked. So nothing here joins path strings; a [`Dir`] is an open directory, and
//! a path below it is resolved by the kernel with `openat2(RESOLVE_IN_ROOT)` (absolute links and `..` stay
//! inside), or is a single name that is not followed.
//!
//! A [`Dir`] knows how its tree keeps owners ([`Owners`]), and what is opened below it knows the same.
//!
//! Not here: what the files mean (layers, contexts), and anything that prints.

mod create;
mod dir;
mod lease;
mod metadata;
mod names;
mod noted;
mod owners;
mod stack;
mod temp;
mod usage;
mod xattr;

pub use create::{set_mode, set_mtime};
pub use dir::{Dir, Entry};
pub use lease::{Lease, Removal};
pub use metadata::{Kind, Metadata, Timestamp};
pub use names::Names;
pub use owners::{Note, OVERRIDE, Owners};
pub use stack::DirStack;
pub use temp::{random_name, replace, replace_with, write_atomically};
pub use usage::DiskUsage;
pub use xattr::{Xattrs, remove_xattr, set_xattr, xattrs_of};
