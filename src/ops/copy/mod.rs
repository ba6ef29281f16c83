//! COPY and ADD: which files are taken, and the layer they make.
//!
//! Nothing is copied into a filesystem. [`select`] walks the source and returns what it takes, with content
//! hashes; [`content_key`] is the part of the step's cache key that stands for these files; [`write_layer`] looks at
//! the destination through a read-only view, decides where every entry lands, and streams the layer's tar.
//!
//! * `select`, `resolve`, `look`, `walk`: from paths as written to entries.
//! * `entries`: how they are kept.
//! * `content`: the bytes of an entry, and their hashes.
//! * `key`: the facts of a selection.
//! * `destination`, `nodes`: the tree as it will be: the view, and what this step puts over it.
//! * `land`: where entries go, and what may replace what.
//! * `archive`: the entries of an archive that ADD unpacks.
//! * `write`: the layer.
//! * `changed`: what is not as it was, for those who ask why.
//!
//! Not here: expansion of variables, fetching of URLs and git trees, the cache, the order of steps. Callers: the
//! COPY, ADD and WORKDIR steps. Numbers like 11.6 in comments are sections of the language reference.

mod archive;
mod changed;
mod content;
mod destination;
mod entries;
mod error;
mod former;
mod key;
mod land;
mod look;
mod near;
mod nodes;
mod pipe;
mod resolve;
mod select;
mod walk;
mod write;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wide_tests;

pub use changed::{Changes, changed};
pub use content::Content;
pub use entries::{Entries, SelectedEntry};
pub use error::CopyError;
pub use former::Former;
pub use key::content_key;
pub use pipe::piped;
pub use select::{Provenance, Request, Selected, Shape, select, select_in_place, select_literal};
pub use write::{Along, LayerOptions, Owner, Summary, Unpack, tar_length, write_directory_layer, write_layer};
