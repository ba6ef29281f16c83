//! Why a COPY or ADD cannot be done.

use std::io;

use crate::context::IgnoreError;
use crate::layer::WriteError;

/// Why a COPY or ADD cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A source that is not there (for the build).
    #[error("\"{path}\": not found")]
    NotFound {
        /// The source, absolute from the top of its tree.
        path: String,
        /// The rule of the ignore file that hides it, and its line.
        ignored_by: Option<(String, usize)>,
        /// Names like the missing one in its directory, as paths.
        nearest: Vec<String>,
    },
    /// A source with a wildcard that has no meaning.
    #[error("`{pattern}`: syntax error in pattern")]
    Pattern {
        /// The source as written.
        pattern: String,
    },
    /// `--exclude` with patterns that have no meaning.
    #[error("--exclude: {0}")]
    Exclude(IgnoreError),
    /// A part of the destination path is not a directory.
    #[error("mkdir {path}: not a directory")]
    NotADirectory {
        /// What is in the way.
        path: String,
    },
    /// A directory would replace something else.
    #[error("cannot copy to non-directory: {path}")]
    CopyToNonDirectory {
        /// What is in the way.
        path: String,
    },
    /// Something else would replace a directory.
    #[error("cannot replace to directory {path} with file")]
    ReplaceDirectory {
        /// The directory.
        path: String,
    },
    /// Symbolic links that lead to each other.
    #[error("{path}: too many levels of symbolic links")]
    TooManyLinks {
        /// The path that could not be followed.
        path: String,
    },
    /// A file changed between being looked at and being copied.
    #[error("{path} changed while it was being copied")]
    Changed {
        /// The file.
        path: String,
    },
    /// A heredoc whose name is no file name (3.13).
    #[error("open {path}: no such file or directory")]
    HeredocName {
        /// The name, as a path.
        path: String,
    },
    /// An archive that cannot be unpacked.
    #[error("cannot unpack {archive}: {problem}")]
    Archive {
        /// The archive's name.
        archive: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file system refused something.
    #[error("cannot {doing} {path}")]
    Io {
        /// A verb, with its preposition.
        doing: &'static str,
        /// To what.
        path: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The layer could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl CopyError {
    /// Makes the closure that turns an [`io::Error`] into an error about `path`.
    pub(super) fn io(doing: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: shown(path), source }
    }
}

/// Returns a path below a top as users know it: absolute, control bytes escaped.
pub(super) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path).escape_debug())
}
