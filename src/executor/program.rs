//! The program that becomes the sandbox: this one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sandbox::readonly_clone;

/// What is started anew for each sandbox.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    /// Keeps `path` alive when that names a descriptor of this process.
    _mount: Option<OwnedFd>,
}

impl Program {
    /// The file this process was started from, through a read-only mount of its own: a hostile image that gets hold of
    /// `/proc/1/exe` (as in CVE-2019-5736) must not be able to write the builder.
    pub fn of_this_process() -> io::Result<Self> {
        let running = Path::new("/proc/self/exe");
        // The mount must be one of this mount namespace, and /proc/self/exe may be of the one before.
        let path = std::fs::read_link(running)?;
        let (a, b) = (std::fs::metadata(running)?, std::fs::metadata(&path).ok());
        let same = b.is_some_and(|b| (a.dev(), a.ino()) == (b.dev(), b.ino()));
        if same { Self::protected(&path) } else { Ok(Self { path: running.to_owned(), _mount: None }) }
    }

    /// Any other program whose `main` calls [`crate::sandbox::init_if_requested`].
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::protected(path)
    }

    fn protected(path: &Path) -> io::Result<Self> {
        match readonly_clone(path) {
            Ok(mount) => {
                // Resolved by the new process, in which the descriptor is still open until its exec.
                let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
                Ok(Self { path, _mount: Some(mount) })
            }
            // Without the right to mount the sandbox will say so more clearly.
            Err(_) => Ok(Self { path: path.to_owned(), _mount: None }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
