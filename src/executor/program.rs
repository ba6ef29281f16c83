//! The program that becomes the sandbox: this one.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::sandbox::readonly_clone;

/// What is started anew for each sandbox. The first start makes the way to it: closing a mount waits for all processors, which a build
/// that starts nothing need not pay for.
#[derive(Debug)]
pub struct Program {
    /// `None` is the running one.
    given: Option<PathBuf>,
    way: OnceLock<Way>,
}

/// How the program is reached.
#[derive(Debug)]
struct Way {
    path: PathBuf,
    /// Keeps `path` alive when that names a descriptor of this process.
    _mount: Option<OwnedFd>,
}

impl Program {
    /// The file this process was started from, through a read-only mount of its own: a hostile image that gets hold of
    /// `/proc/1/exe` (as in CVE-2019-5736) must not be able to write the builder.
    pub fn of_this_process() -> Self {
        Self { given: None, way: OnceLock::new() }
    }

    /// Any other program whose `main` calls [`crate::sandbox::init_if_requested`].
    pub fn at(path: &Path) -> Self {
        Self { given: Some(path.to_owned()), way: OnceLock::new() }
    }

    pub(super) fn path(&self) -> &Path {
        let way = || self.given.as_deref().map_or_else(Way::to_running, Way::protected);
        &self.way.get_or_init(way).path
    }
}

impl Way {
    fn to_running() -> Self {
        let running = Path::new("/proc/self/exe");
        // The mount must be one of this mount namespace, and /proc/self/exe may be of the one before.
        let same = |path: &PathBuf| {
            let file = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
            file(running).is_some_and(|running| file(path) == Some(running))
        };
        let path = std::fs::read_link(running).ok().filter(same);
        // Without a path, starting it says what is wrong.
        path.map_or_else(|| Self { path: running.to_owned(), _mount: None }, |path| Self::protected(&path))
    }

    fn protected(path: &Path) -> Self {
        match readonly_clone(path) {
            Ok(mount) => {
                // Resolved by the new process, in which the descriptor is still open until its exec.
                let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
                Self { path, _mount: Some(mount) }
            }
            // Without the right to mount the sandbox will say so more clearly.
            Err(_) => Self { path: path.to_owned(), _mount: None },
        }
    }
}
