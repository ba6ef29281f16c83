//! What people do with images before and after a build: list, look into, name, move, try, compare and remove them.
//!
//! Each verb is a function over an open store: plain data in, plain data out, or an [`ImagesError`]. What a user
//! sees of it (columns, templates, messages) is made by `cli`.
//!
//! | verbs                          | file                 | takes from the store            |
//! |--------------------------------|----------------------|---------------------------------|
//! | `images`, `inspect`, `history` | `image`, `inspect`   | nothing                         |
//! | `tag`, `rmi`                   | `remove`             | names, then what they led to    |
//! | `prune`                        | `prune`              | what no name leads to           |
//!
//! An image is found ([`find`]) by its name, its name and digest, or the start of its id, as with docker. Documents are handed on as the
//! bytes that have their digests; nothing here writes one anew.
//!
//! Not here: how images come to be (`builder`), what an archive looks like that is written (`export`), HTTP (`registry`).
//! Called by `cli`. All of it blocks. What removes takes the store's lock alone ([`crate::builder::StoreLock`]) and never waits for a
//! build.

mod error;
mod find;
mod image;
mod inspect;
mod needed;
mod prune;
mod remove;

pub use error::ImagesError;
pub use find::{find, names_of};
pub use image::{Image, Listed, list};
pub use inspect::{HistoryEntry, history, inspect};
pub use prune::{PruneError, Pruned, prune};
pub use remove::{Removed, remove};
