//! The top of a context, and the texts a build reads from it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::failure::environment;
use super::{BuildFailure, FailureKind};
use crate::fsutil::{Dir, Kind};

/// Longest Dockerfile or ignore file, in bytes.
pub(super) const TEXT_LIMIT: u64 = 16 << 20;

/// The top of a context: open, and with a path when it is a user's directory.
pub(super) struct Root {
    pub(super) dir: Dir,
    pub(super) path: Option<PathBuf>,
}

impl Root {
    /// Opens a user's directory.
    pub(super) fn directory(path: &Path) -> Result<Self, BuildFailure> {
        let dir = Dir::open(path).map_err(|error| {
            let message = format!("cannot use `{}` as a build context", path.display());
            let mut failure = BuildFailure { kind: FailureKind::User, ..environment(message, &error) };
            if error.raw_os_error() == Some(libc::ENOTDIR) {
                failure.help.push("the context is a directory; to name a Dockerfile: `-f FILE`".to_owned());
            }
            failure
        })?;
        Ok(Self { dir, path: Some(path.to_owned()) })
    }

    /// Reads a text below the context; `None` when it is not there.
    pub(super) fn text(&self, path: &Path) -> Result<Option<Vec<u8>>, BuildFailure> {
        let cannot = |error: &io::Error| environment(format!("failed to read `{}`", path.display()), error);
        match self.dir.open_file_in_root(path) {
            Ok(file) => read_text(file).map(Some).map_err(|error| cannot(&error)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(error) => Err(cannot(&error)),
        }
    }

    /// Returns the names of the files in a directory below the context, sorted, as far as they can be read.
    pub(super) fn names(&self, directory: &Path) -> Vec<String> {
        let open = match directory == Path::new("") {
            true => self.dir.try_clone(),
            false => self.dir.open_dir_in_root(directory),
        };
        let entries = open.and_then(|open| open.entries()).unwrap_or_default();
        let files = entries.into_iter().filter(|entry| entry.kind == Kind::File);
        let mut names: Vec<String> = files.filter_map(|entry| entry.name.into_string().ok()).collect();
        names.sort();
        names
    }
}

/// Reads a text of bounded length, in whatever encoding.
pub(super) fn read_text(file: File) -> io::Result<Vec<u8>> {
    if file.metadata()?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    let mut bytes = Vec::new();
    file.take(TEXT_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > TEXT_LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 16 MiB"));
    }
    Ok(bytes)
}
