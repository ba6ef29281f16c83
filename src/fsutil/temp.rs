//! Names for files being written, and files that appear all at once.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::digest::to_hex;

/// Returns 16 random hex digits, for the name of something temporary.
pub fn random_name() -> String {
    let mut bytes = [0u8; 8];
    // The kernel's generator does not fail once the system has booted; a fixed name would only
    // make the exclusive create that follows fail.
    let _ = getrandom::fill(&mut bytes);
    to_hex(&bytes)
}

/// A prune that runs meanwhile may take a temporary file for one that a killed writer left, and remove it.
const ATTEMPTS: usize = 5;

/// Writes `bytes` to `path` so that a reader sees the old content or the new, never a part. Not synced to the disk; what is
/// kept this way can be made again.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut written = Ok(());
    for _ in 0..ATTEMPTS {
        written = replace(path, 0o666, |file| file.write_all(bytes));
        if !matches!(&written, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            break;
        }
    }
    written
}

/// Puts a new file at `path` once `write` is done with it: a temporary neighbour, with this mode less the umask, is renamed.
/// When that fails, what was there stays.
pub fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    replace_with(path, mode, |mut file| write(&mut file), |error| error)
}

/// The same for who has errors of their own. `failed` makes one of the kernel's answer about the file.
pub fn replace_with<E>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(File) -> Result<(), E>,
    failed: impl Fn(io::Error) -> E,
) -> Result<(), E> {
    // Not made of the file's name, which may be as long as names get.
    let temporary = path.with_file_name(format!(".kiln-{}", random_name()));
    let new = File::options().write(true).create_new(true).mode(mode).open(&temporary).map_err(&failed)?;
    let written = write(new).and_then(|()| std::fs::rename(&temporary, path).map_err(&failed));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
