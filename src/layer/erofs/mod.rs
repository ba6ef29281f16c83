//! A layer tar as a file system, without unpacking it: the names and attributes of its files as an EROFS image whose files
//! have their bytes in the tar.
//!
//! The kernel's EROFS may keep the content of files on a second device, and both may be ordinary files (Linux 6.12). The
//! content of a file of a tar is one run that begins at a multiple of 512 bytes, which EROFS knows as a block size; so the
//! image has names, attributes and such addresses, and no content at all. To make it costs as much as reading
//! the headers, where unpacking costs some system calls for each file, and removing what was unpacked as many.
//!
//! The image is made from entries that [`super::Reader`] has checked; an image that somebody else made is never mounted. What
//! depends on other layers, or on what stood earlier in the tar (a parent that is not there, a link to a lower file, a name
//! that comes twice), and a file with holes, have no place in it: such a tar is to be unpacked.
//!
//! ```text
//! 0       nothing
//! 1024    super block
//! 1152    the tar, as a device
//! 2048    inodes, each with its attributes, the root's first
//! ...     directories and the targets of links, each from a new block on
//! ```
//!
//! Source of the format: the kernel's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst.

mod format;
mod image;
#[cfg(test)]
mod tests;
mod tree;

use std::io::Read;

use super::entry::{TarEntry, shown};
use super::header::BLOCK;
use super::read::{Limits, Reader};
use super::whiteout::Mark;
use super::{EntryKind, LayerError};

pub use image::Image;
use tree::Tree;

/// The names of one tar as they are met, to become an image that is an overlayfs lower directory of the initial user namespace.
pub struct Names {
    tree: Tree,
    /// Cleared by what has no place in an image.
    fits: bool,
}

impl Names {
    /// Starts with `root`: what the root directory is like if the tar does not say it.
    pub fn new(root: &TarEntry) -> Self {
        Self { tree: Tree::new(root), fits: true }
    }

    /// Adds an entry; the content of a file begins at `offset` of the tar, or is `None` if it has holes.
    pub fn add(&mut self, entry: &TarEntry, offset: Option<u64>) {
        self.fits = self.fits && self.tree.add(entry, offset).is_some();
    }

    /// Hides what the layers below have in the directory `path`.
    pub fn opaque(&mut self, path: &[u8]) {
        self.fits = self.fits && self.tree.mark_opaque(path).is_some();
    }

    /// Hides what the layers below have under the name `name` of `parent`.
    fn delete(&mut self, parent: &[u8], name: &[u8]) {
        self.fits = self.fits && self.tree.add_deletion(parent, name).is_some();
    }

    /// Makes the image of a tar that is `length` bytes long. `None` if the tar has to be unpacked.
    pub fn finish(self, length: u64) -> Option<Image> {
        if self.fits { Image::new(self.tree, length) } else { None }
    }
}

/// Describes a layer tar (not compressed, and read to its end). `root` as for [`Names::new`]. `None` if the tar has to be unpacked.
pub fn image_of(tar: impl Read, root: &TarEntry, limits: Limits) -> Result<Option<Image>, LayerError> {
    let mut reader = Reader::new(tar, limits);
    let mut names = Names::new(root);
    // All of it is read, whatever is met: who verifies it wants to see the end.
    while let Some(entry) = reader.next_entry()? {
        match Mark::of(&entry.path) {
            Mark::None => names.add(&entry, reader.content_offset()),
            Mark::Opaque { parent } => names.opaque(parent),
            Mark::Whiteout { parent, name } => names.delete(parent, name),
            Mark::Ignored => {}
            Mark::Malformed => return Err(LayerError::MalformedWhiteout { path: shown(&entry.path) }),
        }
    }
    Ok(names.finish(reader.position()))
}

/// The name of what [`trial`] has.
pub const TRIAL: &str = "trial";

/// Makes an image, of a tar without content, that has in its root an opaque directory called [`TRIAL`], by which one sees
/// whether the kernel can do what images need.
pub fn trial() -> Image {
    let root = TarEntry::plain_directory(Vec::new());
    let directory = TarEntry { kind: EntryKind::Directory, path: TRIAL.into(), ..root.clone() };
    let mut names = Names::new(&root);
    names.add(&directory, None);
    names.opaque(TRIAL.as_bytes());
    names.finish(BLOCK as u64).expect("two directories fit")
}
