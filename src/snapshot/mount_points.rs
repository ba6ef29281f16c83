//! What every sandbox mounts on, as a lower directory below all layers.
//!
//! An image need not have these, and making them for each step in its upper directory, and taking them away again, takes as long
//! as a quarter of the sandbox. Where an image has them, or hides them, this layer is not seen.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::create_dir;
use crate::fsutil::Dir;

const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
const FILES: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

/// Makes the directory `at` with all of them; does nothing if that was done before, by whomever.
pub fn make(at: &Path) -> io::Result<()> {
    // The last one that is made.
    if at.join(FILES[1]).exists() {
        return Ok(());
    }
    create_dir(at, 0o755)?;
    DIRECTORIES.iter().try_for_each(|name| create_dir(&at.join(name), 0o755))?;
    let create = |name| std::fs::OpenOptions::new().create(true).append(true).mode(0o644).open(at.join(name)).map(drop);
    FILES.into_iter().try_for_each(create)
}

/// Returns those that `tree`, an upper directory, has and `below` has not: copies of what a step saw of this layer. What cannot
/// be looked at is none.
pub(super) fn copied(tree: &Dir, below: &Dir) -> Vec<PathBuf> {
    let is_copied =
        |path: &&Path| matches!(tree.lstat_in_root(path), Ok(Some(_))) && matches!(below.lstat_in_root(path), Ok(None));
    DIRECTORIES.iter().chain(&FILES).map(Path::new).filter(is_copied).map(Path::to_owned).collect()
}
