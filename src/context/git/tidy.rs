//! A checked out tree as it is given on: the same for everybody, whatever the umask and the time of the checkout.

use std::io;
use std::path::{Path, PathBuf};

use crate::fsutil::{Dir, Kind, Timestamp, set_mode, set_mtime};

/// Removes `.git` of the repository and of its submodules unless it is kept, gives everything the time `mtime`, and the modes
/// that a umask of 022 leaves.
pub(super) fn tidy(root: &Path, keep_git_dir: bool, mtime: Timestamp) -> io::Result<()> {
    let root = Dir::open(root)?;
    let mut directories = vec![PathBuf::from(".")];
    let mut at = 0;
    while at < directories.len() {
        let directory = root.open_dir_in_root(&directories[at])?;
        if !keep_git_dir {
            directory.remove_tree(".git".as_ref())?;
        }
        for entry in directory.entries()? {
            if entry.kind == Kind::Directory {
                directories.push(directories[at].join(&entry.name));
                continue;
            }
            let metadata = directory.child_metadata(&entry.name)?;
            if let Some(metadata) = metadata.filter(|metadata| metadata.kind == Kind::File) {
                directory.set_child_mode(&entry.name, shared(metadata.mode))?;
            }
            directory.set_child_mtime(&entry.name, mtime)?;
        }
        at += 1;
    }
    for path in directories.iter().rev() {
        let directory = root.open_dir_in_root(path)?;
        set_mode(&directory, 0o755)?;
        set_mtime(&directory, mtime)?;
    }
    Ok(())
}

/// Everybody may read, and run what the owner may run.
fn shared(mode: u32) -> u32 {
    0o444 | mode & 0o200 | if mode & 0o100 != 0 { 0o111 } else { 0 }
}

/// The git directories below `.git`: its own, and those of submodules.
pub(super) fn git_directories(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![root.join(".git")];
    while let Some(path) = pending.pop() {
        let directory = Dir::open(&path)?;
        let entries = directory.entries()?;
        let is_one =
            entries.iter().any(|entry| entry.name == "HEAD") && entries.iter().any(|entry| entry.name == "objects");
        let below = entries.into_iter().filter(|entry| entry.kind == Kind::Directory);
        // Names of submodules may have several parts.
        pending.extend(below.filter(|entry| !is_one || entry.name == "modules").map(|entry| path.join(entry.name)));
        if is_one {
            found.push(path);
        }
    }
    Ok(found)
}
