//! The files of an image layout as a list, and the two ways to write such a list: a tar and a directory.
//!
//! The list is sorted by path and complete before the first byte is written, so the same images give the same tar.

use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::image::ImageSet;
use super::report::Report;
use crate::content::{BlobReader, ContentError, Store};
use crate::digest::{Digest, DigestError};
use crate::fsutil::replace_with;
use crate::layer::{LayerError, WriteError};

/// Bytes read or written at once.
pub(super) const BUFFER: usize = 256 << 10;

/// One file of a layout.
#[derive(PartialEq, Debug)]
pub(super) struct Part {
    pub(super) path: String,
    pub(super) content: Content,
}

#[derive(PartialEq, Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// A blob of the store and its length in bytes.
    Blob(Digest, u64),
}

/// Why a layout or an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A layer is named by something else than a sha256.
    #[error("cannot write a layer")]
    Digest(#[from] DigestError),
    /// A blob could not be read from the store, or is not there.
    #[error("cannot read layer {digest}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// What the store says.
        #[source]
        source: ContentError,
    },
    /// The blob in the store is not as long as its descriptor says.
    #[error("layer {digest} has {actual} bytes in the store, its descriptor says {expected}")]
    Length {
        /// The blob.
        digest: Digest,
        /// Bytes the descriptor says.
        expected: u64,
        /// Bytes in the store.
        actual: u64,
    },
    /// Reading a blob failed midway, or its bytes do not match the digest.
    #[error("cannot copy layer {digest} to `{}`", path.display())]
    Copy {
        /// The blob.
        digest: Digest,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The tar stream could not be written.
    #[error("cannot write `{part}` of the archive")]
    Tar {
        /// The file in the archive.
        part: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A file or directory of the layout could not be written.
    #[error("cannot write `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The files of a result cannot be read.
    #[error(transparent)]
    Files(#[from] LayerError),
    /// A directory to add to holds an `index.json` that is none.
    #[error("`{}` is no image index; give an empty directory or remove the file", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read as an index.
        #[source]
        source: serde_json::Error,
    },
    /// A docker archive holds images of one platform only.
    #[error("a docker archive holds one platform, not {count}; use an OCI archive (type=oci)")]
    SeveralPlatforms {
        /// How many there are.
        count: usize,
    },
}

impl ArchiveError {
    /// The same about the file that is written: its name says more than that of a part of it.
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Tar { source, .. } | Self::Files(LayerError::Write(WriteError::Output(source)))
                if source.raw_os_error().is_some() =>
            {
                Self::File { path: path.to_owned(), source }
            }
            other => other,
        }
    }

    /// Whether the reader at the other end is gone, who knows why.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Tar { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Returns all blobs of `set`: layers as references into the store, documents as bytes.
pub(super) fn blobs(set: &ImageSet) -> Result<Vec<Part>, ArchiveError> {
    let mut parts = Vec::new();
    for layer in set.layers() {
        let digest = layer.digest()?;
        parts.push(Part { path: blob_path(&digest), content: Content::Blob(digest, layer.descriptor.size()) });
    }
    for document in set.documents() {
        parts.push(Part { path: blob_path(&document.digest), content: Content::Bytes(document.bytes.clone()) });
    }
    Ok(parts)
}

/// Where a layout keeps a blob (image-spec, image-layout.md "Blobs").
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Sorts by path; of equal paths (blobs are equal then, too) one stays.
pub(super) fn sort(parts: &mut Vec<Part>) {
    parts.sort_by(|a, b| a.path.cmp(&b.path));
    parts.dedup_by(|a, b| a.path == b.path);
}

/// Writes sorted `parts` as a tar: no owner, no time (1970), directories before what is in them.
pub(super) fn write_tar<W: Write>(parts: &[Part], store: &Store, out: W, report: &Report) -> Result<W, ArchiveError> {
    let mut tar = ::tar::Builder::new(out);
    let mut directory = "";
    for part in parts {
        let failed = |source| ArchiveError::Tar { part: part.path.clone(), source };
        let parent = part.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if parent != directory {
            append_directories(&mut tar, parent).map_err(failed)?;
            directory = parent;
        }
        match &part.content {
            Content::Bytes(bytes) => {
                let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
                tar.append_data(&mut header, &part.path, bytes.as_slice()).map_err(failed)?;
            }
            Content::Blob(digest, length) => {
                let blob = open(store, digest, *length)?;
                let mut header = header(tar::EntryType::Regular, 0o644, *length);
                let blob = report.reading(digest.to_string(), *length, blob);
                tar.append_data(&mut header, &part.path, blob).map_err(failed)?;
            }
        }
    }
    let failed = |source| ArchiveError::Tar { part: "end".to_owned(), source };
    let mut out = tar.into_inner().map_err(failed)?;
    out.flush().map_err(failed)?;
    Ok(out)
}

fn append_directories<W: Write>(tar: &mut ::tar::Builder<W>, path: &str) -> io::Result<()> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends.filter(|&end| end > 0) {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, format!("{}/", &path[..end]), io::empty())?;
    }
    Ok(())
}

fn header(entry_type: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Writes `parts` below the directory `dest`, which is made. Blobs that are there with the right length stay.
pub(super) fn write_directory(parts: &[Part], store: &Store, dest: &Path, report: &Report) -> Result<(), ArchiveError> {
    for part in parts {
        let path = dest.join(&part.path);
        let failed = |source| ArchiveError::File { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        match &part.content {
            Content::Bytes(bytes) => crate::fsutil::write_atomically(&path, bytes).map_err(failed)?,
            Content::Blob(digest, length) => {
                if std::fs::metadata(&path).is_ok_and(|found| found.len() == *length) {
                    continue;
                }
                let blob = report.reading(digest.to_string(), *length, open(store, digest, *length)?);
                copy_to(&path, digest, blob)?;
            }
        }
    }
    Ok(())
}

/// The blob appears under its name when all of it was read and verified.
fn copy_to(path: &Path, digest: &Digest, mut blob: impl Read) -> Result<(), ArchiveError> {
    let copied = |source| ArchiveError::Copy { digest: *digest, path: path.to_owned(), source };
    let failed = |source| ArchiveError::File { path: path.to_owned(), source };
    replace_with(path, 0o666, |mut file| io::copy(&mut blob, &mut file).map(drop).map_err(copied), failed)
}

/// The length is written before the bytes are read, so it must be known to be right.
fn open(store: &Store, digest: &Digest, expected: u64) -> Result<BufReader<BlobReader>, ArchiveError> {
    let blob = store.open_blob(digest).map_err(|source| ArchiveError::Blob { digest: *digest, source })?;
    match blob.length() {
        actual if actual == expected => Ok(BufReader::with_capacity(BUFFER, blob)),
        actual => Err(ArchiveError::Length { digest: *digest, expected, actual }),
    }
}
