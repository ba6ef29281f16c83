//! Names for files being written, and files that appear all at once.

use std::io::{self, Write};
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

/// Writes `bytes` to `path` so that a reader sees the old content or the new, never a part: a temporary
/// neighbour is written and renamed. Not synced to the disk; what is kept this way can be made again.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", random_name()));
    let temporary = path.with_file_name(name);
    let written = std::fs::File::create_new(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
