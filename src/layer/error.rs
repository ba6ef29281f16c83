//! What can go wrong between a tree and a layer, and what is only worth a word.

use std::fmt;
use std::io;

use super::entry::shown;
use super::read::ReadError;
use super::write::WriteError;

/// Why a tree could not become a layer, or a layer a tree.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The tar could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The tar could not be read, or is refused.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file operation in the tree failed.
    #[error("cannot {doing} `{path}`: {source}")]
    File {
        /// A verb phrase.
        doing: &'static str,
        /// The path in the tree.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The upper directory was written by an overlay mount with options that kiln never sets.
    #[error("`{path}` does not hold its own content (overlayfs metacopy or redirect_dir was on)")]
    Elsewhere {
        /// The path in the tree.
        path: String,
    },
    /// A `.wh.` name that deletes nothing one could name.
    #[error("`{path}` in the layer is a malformed deletion")]
    MalformedWhiteout {
        /// The path in the tar.
        path: String,
    },
    /// A hard link that is not allowed.
    #[error("`{path}` in the layer is a hard link to `{target}`, which {reason}")]
    HardLink {
        /// The path in the tar.
        path: String,
        /// The other name.
        target: String,
        /// What is wrong with it, as in "which ...".
        reason: &'static str,
    },
    /// More symbolic links than the kernel would follow on the way to one entry.
    #[error("`{path}` in the layer is behind too many symbolic links")]
    TooManyLinks {
        /// The path in the tar.
        path: String,
    },
    /// The owner has no id in this user namespace.
    #[error(
        "`{path}` in the layer belongs to {uid}:{gid}, an id that is not mapped here: the range in /etc/subuid or /etc/subgid is too small"
    )]
    UnmappedOwner {
        /// The path in the tar.
        path: String,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

impl LayerError {
    pub(super) fn file(doing: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: shown(path), source }
    }
}

/// Something that was left out, which the user should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Warning {
    /// A file named `.wh.*` in a tree would be read as a deletion.
    ReservedName {
        /// Its path.
        path: Vec<u8>,
    },
    /// A device could not be made without the right to, or stands for a deletion (0:0).
    Device {
        /// Its path.
        path: Vec<u8>,
    },
    /// An entry of a type that no standard knows.
    UnknownType {
        /// Its path.
        path: Vec<u8>,
        /// Its type flag.
        flag: u8,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedName { path } => {
                write!(f, "`{}` is left out: names that begin with `.wh.` stand for deletions", shown(path))
            }
            Self::Device { path } => write!(f, "the device `{}` is left out: it may not be made here", shown(path)),
            Self::UnknownType { path, flag } => {
                write!(f, "`{}` is left out: its type `{}` is unknown", shown(path), flag.escape_ascii())
            }
        }
    }
}
