//! What people do with images before and after a build: list, look into, name, move, try, compare and remove them.
//!
//! Each verb is a function over an open store: plain data in, plain data out, or an [`ImagesError`]. What a user
//! sees of it (columns, templates, messages) is made by `cli`.
//!
//! | verbs                          | file                 | takes from the store            |
//! |--------------------------------|----------------------|---------------------------------|
//! | `images`, `inspect`, `history` | `image`, `inspect`   | nothing                         |
//! | `run`, `diff`, `cp`            | `run`, `diff`, ..    | nothing                         |
//! | `tag`, `rmi`                   | `remove`             | names, then what they led to    |
//! | `save`, `load`, `import`       | `save`, `load`, ..   | nothing                         |
//! | `pull`, `push`                 | `transfer`           | nothing                         |
//! | `sign`, `verify`               | `sign`               | nothing; not even looks at it   |
//! | `manifest`, `imagetools`       | `manifest`           | nothing                         |
//! | `du`                           | `usage`              | nothing                         |
//! | `prune`                        | `prune`              | what no name leads to, or more  |
//!
//! An image is found ([`find`]) by its name, its name and digest, or the start of its id, as with docker. Documents are handed on as the
//! bytes that have their digests; nothing here writes one anew.
//!
//! Not here: how images come to be (`builder`), what an archive looks like that is written (`export`), HTTP (`registry`).
//! Called by `cli`. All of it blocks. What removes leaves what others use ([`crate::fsutil::Lease`]), and never waits for a
//! build.

mod copy;
mod diff;
mod error;
mod find;
mod image;
mod import;
mod inspect;
mod load;
pub mod manifest;
mod needed;
mod prune;
mod remove;
mod run;
mod save;
mod set;
mod sign;
mod statements;
mod transfer;
mod unpacked;
mod usage;

pub use copy::{CopyTo, copy};
pub use diff::{Difference, diff};
pub use error::ImagesError;
pub use find::{find, names_of};
pub use image::{Image, Listed, list};
pub use import::{Import, import, import_url};
pub use inspect::{HistoryEntry, history, inspect};
pub use load::{Loaded, load, load_directory, open_archive};
pub use prune::{PruneError, PruneRequest, Pruned, prune};
pub use remove::{Removed, remove};
pub use run::{RunRequest, Volume, run};
pub use save::{save, to_save};
pub use sign::{SignRequest, Verified, sign, verify};
pub use statements::statements;
pub use transfer::{Pulled, Sent, Wanted, pull, push, push_set};
pub use unpacked::Unpacked;
pub use usage::{Thing, ThingKind, usage};

use std::path::Path;

use crate::builder::StoreLock;
use crate::content::Store;
use crate::oci::Descriptor;

/// Opens the store at `root` to add to it, or to read much of it: while the lock is held, nothing is removed of what was found in it.
pub fn open(root: &Path) -> Result<(Store, StoreLock), ImagesError> {
    let lock = StoreLock::shared(root)?;
    Ok((lock.content(root)?, lock))
}

/// Marks in the store's list an image that came from elsewhere: it goes out as it came, even if a layer of it is a plain tar.
const RECEIVED: &str = "io.kiln.received";

fn received(mut descriptor: Descriptor) -> Descriptor {
    let mut annotations = descriptor.annotations().clone().unwrap_or_default();
    annotations.insert(RECEIVED.to_owned(), "true".to_owned());
    descriptor.set_annotations(Some(annotations));
    descriptor
}

fn is_received(descriptor: &Descriptor) -> bool {
    descriptor.annotations().as_ref().is_some_and(|annotations| annotations.contains_key(RECEIVED))
}
