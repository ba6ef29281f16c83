//! Where everything of an image is, and the writing of it.

use std::io::{self, Write};

use super::format::{BLOCK, Dirent, Inode, SLOT, START, directory_length, head, inode_length, write_directory};
use super::tree::{Body, Directory, Node, Tree};

/// Written in pieces of this size.
const PIECE: usize = 64 * 1024;

/// An EROFS image, yet to be written, of which the tar is the second device.
pub struct Image {
    tree: Tree,
    /// The number of each node's inode: where it is, in slots.
    numbers: Vec<u32>,
    /// The first block behind the inodes.
    contents: u32,
    /// All blocks of the image, and those of the tar.
    blocks: u32,
    data_blocks: u32,
}

impl Image {
    /// Lays out the image of a tar that is `length` bytes long; `None` if it does not fit into the format.
    pub(super) fn new(tree: Tree, length: u64) -> Option<Self> {
        let mut numbers = Vec::with_capacity(tree.nodes.len());
        let mut inodes = 0;
        for node in &tree.nodes {
            numbers.push(u32::try_from(inodes / SLOT).ok()?);
            inodes += inode_length(&node.xattrs, node.is_opaque())?;
        }
        let contents = blocks(START as u64 + inodes)?;
        let data_blocks = blocks(length)?;
        let mut image = Self { tree, numbers, contents, blocks: 0, data_blocks };
        let mut end = contents;
        for at in 0..image.tree.nodes.len() {
            end = end.checked_add(blocks(image.content_length(at))?)?;
        }
        // Whole pages: the kernel reads metadata by them.
        image.blocks = end.checked_next_multiple_of((4096 / BLOCK) as u32)?;
        image.blocks.checked_add(data_blocks)?;
        Some(image)
    }

    /// Writes the image.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let mut piece = Vec::with_capacity(2 * PIECE);
        piece.extend_from_slice(&head(self.numbers.len() as u64, self.blocks, self.data_blocks));
        let mut content = self.contents;
        for (at, node) in self.tree.nodes.iter().enumerate() {
            let inode = self.inode(at, node, content);
            content += blocks(self.content_length(at)).expect("it was laid out");
            inode.write(&node.xattrs, node.is_opaque(), &mut piece);
            write_if_long(&mut piece, &mut out)?;
        }
        fill_block(&mut piece);
        for (at, node) in self.tree.nodes.iter().enumerate() {
            match &node.body {
                Body::Directory(directory) => write_directory(&self.entries(at, directory), &mut piece),
                Body::Symlink(target) => piece.extend_from_slice(target),
                _ => continue,
            }
            fill_block(&mut piece);
            write_if_long(&mut piece, &mut out)?;
        }
        let padding = (self.blocks - content) as usize * BLOCK;
        piece.resize(piece.len() + padding, 0);
        out.write_all(&piece)
    }

    fn inode(&self, at: usize, node: &Node, content: u32) -> Inode {
        let (kind, _) = kind_of(&node.body);
        let (size, place) = match &node.body {
            // Its blocks follow those of the image.
            Body::File { size, offset } => (*size, self.blocks + (*offset / BLOCK as u64) as u32),
            Body::Directory(_) | Body::Symlink(_) => (self.content_length(at), content),
            Body::CharDevice(number) | Body::BlockDevice(number) => (0, *number),
            Body::Fifo => (0, 0),
        };
        let links = match &node.body {
            Body::Directory(directory) => 2 + self.directories_in(directory),
            _ => node.links,
        };
        let Node { uid, gid, mtime, .. } = *node;
        // As other file systems have it of links, whatever a tar says.
        let mode = if kind == libc::S_IFLNK { 0o777 } else { node.mode };
        Inode { mode: kind | mode, uid, gid, mtime, links, size, place, number: at as u32 + 1 }
    }

    fn directories_in(&self, directory: &Directory) -> u32 {
        let is_directory = |at: &&u32| matches!(self.tree.nodes[**at as usize].body, Body::Directory(_));
        directory.names.values().filter(is_directory).count() as u32
    }

    /// Returns the bytes that the image has of a node's content.
    fn content_length(&self, at: usize) -> u64 {
        match &self.tree.nodes[at].body {
            Body::Directory(directory) => {
                directory_length(self.entries(at, directory).iter().map(|(name, ..)| name.len()))
            }
            Body::Symlink(target) => target.len() as u64,
            _ => 0,
        }
    }

    fn entries<'a>(&'a self, at: usize, directory: &'a Directory) -> Vec<Dirent<'a>> {
        let entry =
            |name: &'a [u8], at: usize| (name, u64::from(self.numbers[at]), kind_of(&self.tree.nodes[at].body).1);
        let dots = [entry(b".", at), entry(b"..", directory.parent as usize)];
        let names = directory.names.iter().map(|(name, at)| entry(name, *at as usize));
        let mut entries: Vec<_> = dots.into_iter().chain(names).collect();
        entries.sort_unstable();
        entries
    }
}

/// Returns the type as in `st_mode` and as in directories.
fn kind_of(body: &Body) -> (u32, u8) {
    match body {
        Body::File { .. } => (libc::S_IFREG, 1),
        Body::Directory(_) => (libc::S_IFDIR, 2),
        Body::CharDevice(_) => (libc::S_IFCHR, 3),
        Body::BlockDevice(_) => (libc::S_IFBLK, 4),
        Body::Fifo => (libc::S_IFIFO, 5),
        Body::Symlink(_) => (libc::S_IFLNK, 7),
    }
}

fn blocks(length: u64) -> Option<u32> {
    u32::try_from(length.div_ceil(BLOCK as u64)).ok()
}

fn fill_block(piece: &mut Vec<u8>) {
    // What was written before is whole blocks.
    piece.resize(piece.len().next_multiple_of(BLOCK), 0);
}

fn write_if_long(piece: &mut Vec<u8>, out: &mut impl Write) -> io::Result<()> {
    if piece.len() < PIECE {
        return Ok(());
    }
    let whole = piece.len() / BLOCK * BLOCK;
    out.write_all(&piece[..whole])?;
    piece.drain(..whole);
    Ok(())
}
