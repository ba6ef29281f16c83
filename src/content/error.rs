//! What can go wrong in the store.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::oci::ReferenceError;

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A file operation failed.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// A verb phrase.
        doing: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The blob is not here.
    #[error("blob is not in the store: {digest}")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// A stored blob is not what its name says.
    #[error("blob `{}` was corrupt and has been removed, build again: its content had digest {actual}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The digest its name says.
        expected: Digest,
        /// The digest of what was read.
        actual: Digest,
    },
    /// What was written is not what was promised.
    #[error("content has the wrong digest: expected {expected}, got {actual} of {length} bytes")]
    WrongDigest {
        /// The digest promised.
        expected: Digest,
        /// The digest of what was written.
        actual: Digest,
        /// How many bytes were written.
        length: u64,
    },
    /// A write failed before, so the blob is not whole.
    #[error("blob `{}` is incomplete: an earlier write failed", path.display())]
    Incomplete {
        /// The temporary file.
        path: PathBuf,
    },
    /// A blob that ought to be small is not.
    #[error("blob is too large: {length} bytes, the limit is {limit}: {digest}")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its length in bytes.
        length: u64,
        /// The most that was allowed, in bytes.
        limit: u64,
    },
    /// The index of tags cannot be read.
    #[error("`{}` is not an image index: {source}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The name of a tag is not an image reference.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// The name of a tag has a digest beside a tag, or that of something else.
    #[error("`{name}` cannot be a tag: it has a digest")]
    NameHasDigest {
        /// What was given.
        name: String,
    },
}

/// Returns the blob whose loss or damage is behind `error`, wherever in its causes that is said: it may be made or
/// fetched again.
pub fn damaged_blob(error: &(dyn Error + 'static)) -> Option<Digest> {
    match error.downcast_ref() {
        Some(ContentError::Missing { digest }) => return Some(*digest),
        Some(ContentError::Corrupt { expected, .. }) => return Some(*expected),
        _ => {}
    }
    // An `io::Error` does not name what it wraps as its source.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => damaged_blob(wrapped),
        None => error.source().and_then(damaged_blob),
    }
}

impl ContentError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// Takes back the typed error a reader or writer of this room put into an `io::Error`.
    pub fn of_io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| source.downcast::<Self>().unwrap_or_else(Self::io(doing, path))
    }

    /// Returns this as an `io::Error` of the kind that fits, for use in `Read` and `Write`.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Io { source, .. } => source.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot unpack")]
    struct Unpack(#[source] io::Error);

    #[test]
    fn a_damaged_blob_is_found_below_other_errors() {
        let digest = Digest::of(b"x");
        assert_eq!(damaged_blob(&ContentError::Missing { digest }), Some(digest));
        let actual = Digest::of(b"y");
        let corrupt = ContentError::Corrupt { path: "x".into(), expected: digest, actual };
        let wrapped = Unpack(io::Error::other(Unpack(corrupt.into_io())));
        assert_eq!(damaged_blob(&wrapped), Some(digest));
        assert_eq!(damaged_blob(&Unpack(io::Error::from_raw_os_error(28))), None);
    }
}
