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

/// Describes a layer tar (not compressed, and read to its end) as an overlayfs lower directory of the initial user namespace.
/// `root` is what the root directory is like if the tar does not say it. `None` if the tar has to be unpacked.
pub fn image_of(tar: impl Read, root: &TarEntry, limits: Limits) -> Result<Option<Image>, LayerError> {
    let mut reader = Reader::new(tar, limits);
    let mut tree = Tree::new(root);
    let mut fits = true;
    while let Some(entry) = reader.next_entry()? {
        let added = match Mark::of(&entry.path) {
            // The rest is read all the same: whoever verifies it wants all of it.
            _ if !fits => None,
            Mark::None => tree.add(&entry, reader.content_offset()),
            Mark::Opaque { parent } => tree.mark_opaque(parent),
            Mark::Whiteout { parent, name } => tree.add_deletion(parent, name),
            Mark::Ignored => Some(()),
            Mark::Malformed => return Err(LayerError::MalformedWhiteout { path: shown(&entry.path) }),
        };
        fits &= added.is_some();
    }
    let length = reader.position();
    Ok(if fits { Image::new(tree, length) } else { None })
}

/// The name of what [`trial`] has.
pub const TRIAL: &str = "trial";

/// Makes an image, of a tar without content, that has in its root an opaque directory called [`TRIAL`], by which one sees
/// whether the kernel can do what images need.
pub fn trial() -> Image {
    let root = TarEntry::plain_directory(Vec::new());
    let directory = TarEntry { kind: EntryKind::Directory, path: TRIAL.into(), ..root.clone() };
    let mut tree = Tree::new(&root);
    let made = tree.add(&directory, None).and_then(|()| tree.mark_opaque(TRIAL.as_bytes()));
    made.and_then(|()| Image::new(tree, BLOCK as u64)).expect("two directories fit")
}
