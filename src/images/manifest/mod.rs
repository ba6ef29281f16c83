//! `manifest` and `imagetools`: indexes over images that are in the store or in registries.
//!
//! ```text
//! texts --source--> entries (manifest, config, where its layers are) --create--> index --keep--> store
//!                                                                                     --push--> registry
//! ```
//!
//! Documents are fetched and kept as the bytes that they are; layers stay where they are until an index is pushed to a registry that
//! lacks them. So an index of the store remembers where the layers of its images can be had (`origin`). An image that was
//! built here is listed as it is pushed: with compressed layers.
//!
//! Not here: what a user types and sees (`cli`), which image of an index suits a machine (`oci`).

mod change;
mod create;
mod inspect;
mod listed;
pub(super) mod origin;
mod source;

pub use change::{Change, annotate};
pub use create::{CreateRequest, create, is_taken, keep};
pub use inspect::{Looked, inspect};
pub use listed::Listed;
pub use source::{Place, Source, Sources};

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::ImagesError;
use super::find::find;
use crate::builder::LockError;
use crate::content::Store;
use crate::digest::Digest;
use crate::export::{self, Document, ImageSet};
use crate::oci::{Descriptor, Platform, media_type};

/// One entry of an index: how it is listed, and what it is.
#[derive(Clone, Debug)]
struct Entry {
    listed: Listed,
    what: What,
}

/// What an entry is.
#[derive(Clone, Debug)]
enum What {
    Image(Box<export::Image>),
    /// Said of an image of the same index.
    Attestation(Box<export::Attestation>),
}

impl Entry {
    fn digest(&self) -> Digest {
        match &self.what {
            What::Image(image) => image.manifest.digest,
            What::Attestation(attestation) => attestation.manifest.digest,
        }
    }

    fn is_image(&self) -> bool {
        matches!(self.what, What::Image(_))
    }
}

/// Held by who changes what a name of the store lists: changes begin with what is listed, so of two at once one would be lost.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for its turn. The store at `root` must be there.
    pub fn take(root: &Path) -> Result<Self, ImagesError> {
        let failed = |source| LockError::Io { root: root.to_owned(), source };
        let file = File::options().create(true).append(true).mode(0o600).open(root.join("manifests.lock"));
        let file = file.map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Puts entries together again.
fn set_of(entries: Vec<Entry>, index: Option<Document>, beside: Vec<export::Attestation>) -> ImageSet {
    let mut set = ImageSet { images: Vec::new(), index, attestations: Vec::new() };
    for entry in entries {
        match entry.what {
            What::Image(image) => set.images.push(*image),
            What::Attestation(attestation) => set.attestations.push(*attestation),
        }
    }
    set.attestations.extend(beside);
    set
}

/// Returns the index that `text` means in the store, and its name.
fn index_in_store(store: &Store, text: &str) -> Result<(Option<String>, Descriptor, listed::Parts), ImagesError> {
    let image = find(store, text, None)?;
    if !media_type::is_index(image.target.media_type().as_ref()) {
        return Err(ImagesError::NotAnIndex { name: text.to_owned() });
    }
    let bytes = store.read_blob(&image.digest, super::image::DOCUMENT_LIMIT)?;
    Ok((image.name, image.target, listed::read(&bytes)?))
}

/// The platforms of an index that its entries tell apart by no more than that: not by a version of the operating system.
pub fn platforms(index: &[u8]) -> Vec<Platform> {
    let entries = listed::read(index).map(|(_, entries)| entries).unwrap_or_default();
    let is_all = |entry: &&Listed| entry.0.get("platform").is_some_and(|platform| platform.get("os.version").is_none());
    entries.iter().filter(is_all).filter_map(Listed::platform).collect()
}

/// Says that `text` means an index of the store, before it is treated as one.
pub fn expect_index(store: &Store, text: &str) -> Result<(), ImagesError> {
    index_in_store(store, text).map(drop)
}
