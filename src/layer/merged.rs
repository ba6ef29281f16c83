//! Deletions in a tree that holds the layers below too: they are done, where an overlay only marks them.
//!
//! A deletion is about other layers, wherever it stands in the tar. So what this layer has placed is known by path, and
//! stays.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use super::entry::join;
use super::unpack::{Form, Unpacker};
use super::xattr::is_carried_xattr;
use crate::fsutil::{Dir, Kind, Xattrs, remove_xattr, set_mtime, xattrs_of};

impl Unpacker<'_> {
    /// Remembers that this layer has the name in the current directory.
    pub(super) fn note(&mut self, name: &OsStr) {
        if self.form == Form::Merged {
            let path = self.path_of(name);
            self.placed.insert(path);
        }
    }

    /// Takes away what the layers below have under the name in the current directory.
    pub(super) fn delete(&mut self, name: &OsStr) -> io::Result<()> {
        let path = self.path_of(name);
        if !self.placed.contains(&path) {
            return self.way.top().remove_tree(name);
        }
        let found = self.way.top().child_metadata(name)?;
        if found.is_some_and(|metadata| metadata.is_dir()) { self.clear(path) } else { Ok(()) }
    }

    /// Takes away what the layers below have in the current directory.
    pub(super) fn clear_here(&mut self) -> io::Result<()> {
        let path = self.path_of(OsStr::new(""));
        self.clear(path)
    }

    fn clear(&mut self, path: Vec<u8>) -> io::Result<()> {
        let mut waiting = vec![path];
        while let Some(path) = waiting.pop() {
            let dir = self.root.open_dir_without_links(&path)?;
            let mtime = dir.metadata()?.mtime;
            for entry in dir.entries()? {
                let child = join(&path, entry.name.as_bytes());
                if !self.placed.contains(&child) {
                    dir.remove_tree(&entry.name)?;
                } else if entry.kind == Kind::Directory {
                    waiting.push(child);
                }
            }
            set_mtime(&dir, mtime)?;
        }
        Ok(())
    }

    /// The path of a name in the current directory, without links.
    fn path_of(&self, name: &OsStr) -> Vec<u8> {
        let names = (1..=self.way.depth()).map(|depth| self.way.data(depth).name.as_slice());
        let names = names.chain([name.as_bytes()]).filter(|name| !name.is_empty());
        names.fold(Vec::new(), |path, name| join(&path, name))
    }
}

/// Removes the attributes that a directory has from a layer below and not from this one.
pub(super) fn forget_xattrs(dir: &Dir, wanted: &Xattrs) -> io::Result<()> {
    let old = xattrs_of(dir, |name| is_carried_xattr(name) && !wanted.contains_key(name))?;
    old.keys().try_for_each(|name| remove_xattr(dir, name))
}
