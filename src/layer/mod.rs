//! Layer tars, in and out: deterministic when written, distrusted when read.
//!
//! ```text
//! tree, overlay upper directory -> walk -> Writer -> tar      diff, write_tree
//! tar -> Reader -> Unpacker -> overlay lower directory        apply
//! tree, private copy of another -> walk -> Writer -> tar       diff_trees
//! tar -> Reader -> erofs::Image, to be mounted with the tar    erofs::image_of
//! tar -> Reader -> Unpacker -> the whole tree of a stack       merge
//! tree -> walk -> Unpacker -> plain directory                 copy_tree
//! tree -> the same tree, files shared or copied                link_tree, private_copy
//! tar -> gzip, zstd, estargz -> stored blob -> decoder -> tar
//! ```
//!
//! **The tar** (image-spec, layer.md): ustar, with pax records for what ustar cannot say; entries in
//! [`path_order`]; directories end in `/`; numeric owners; whole seconds; of several names of one file the first
//! has the content; extended attributes `security.capability` and `user.*` only; `.wh.NAME` and `.wh..wh..opq`
//! for deletions. Same tree, same bytes, on any machine: the digest of the stream is the diff id.
//!
//! **On disk** an unpacked layer is an overlayfs lower directory: a deletion is a character device 0:0, an opaque
//! directory has the attribute `trusted.overlay.opaque` (`user.` in a user namespace). Where there is no overlayfs, a stack
//! of layers is one plain tree instead, and what a step changed is found by comparing two of them. Owners and device nodes
//! are real, or notes ([`crate::fsutil::Owners`]), as the directory handle says; notes never get into a tar, nor out of one.
//!
//! Not here: where layers are kept (`content`, `snapshot`), digests of what passes (wrap the reader or writer in
//! `digest`'s), and when any of it happens. Nothing here is shared or locked: the caller owns the directories, and no
//! other process writes them meanwhile. Everything blocks.

mod apply;
mod compare;
mod cut;
mod decode;
mod deflate;
mod diff;
mod duplicate;
mod entry;
pub mod erofs;
mod error;
pub mod estargz;
pub mod gzip;
mod header;
mod merged;
mod original;
mod pax;
mod read;
mod sparse;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;
mod walk;
mod whiteout;
mod write;
mod xattr;
pub mod zstd;

pub use apply::{ApplyOptions, ApplySummary, apply, copy_tree, merge};
pub use compare::{Part, Parting, parting};
pub use decode::{Decoder, compression_of, decoder};
pub use diff::{DiffOptions, DiffSummary, diff, diff_trees, write_tree, write_tree_at, write_trees};
pub use duplicate::{link_tree, private_copy};
pub use entry::{EntryKind, TarEntry, path_order};
pub use error::{LayerError, Warning};
pub use original::Original;
pub use read::{Limits, ReadError, Reader};
pub use tree::{FileData, Found, directory_entry, read_entry};
pub use whiteout::is_reserved_name;
pub use write::{WriteError, Writer};
pub use xattr::is_carried_xattr;
