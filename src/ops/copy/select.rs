//! What a COPY takes: sources as written become lists of entries with content hashes.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::content::{Content, Wanted, hashes, split};
use super::entries::{Entries, SelectedEntry, Tree};
use super::error::CopyError;
use super::look::{Rules, describe, identity_of, xattrs_in_root};
use super::resolve::{Place, follow, join, not_found, resolve, trail};
use super::walk::{Found, walk};
use crate::context::glob::{clean, escape, has_wildcard};
use crate::context::{ContentHash, Ignore, Origin, Source, hash_bytes, hash_reader};
use crate::fsutil::{Kind, Timestamp};
use crate::layer::{EntryKind, TarEntry};

/// What a COPY or ADD asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The source paths as written, expanded; without heredocs and URLs.
    pub sources: &'a [String],
    /// `--exclude`, in order.
    pub exclude: &'a [String],
    /// `--parents`.
    pub parents: bool,
}

/// What one source path gave.
#[derive(Clone, Debug)]
pub struct Selected {
    /// How its entries are laid out at the destination.
    pub shape: Shape,
    /// Sorted in the order of a layer, paths relative to the source.
    pub entries: Entries,
}

/// How the entries of a source are laid out at the destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One file, whose entry has an empty path.
    File {
        /// The name it gets in a directory: the last part of the source as written.
        name: Vec<u8>,
        /// Whether it may be an archive for ADD to unpack: a local file or a download, not a heredoc.
        from: Provenance,
    },
    /// The content of a directory.
    Directory {
        /// The directory's own time, which the destination takes over.
        mtime: Timestamp,
    },
    /// `--parents`: paths kept as they are below the destination.
    Parents {
        /// The time of the directory before `/./`, which the destination takes over.
        mtime: Option<Timestamp>,
    },
}

/// Where a single file comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provenance {
    /// A tree.
    Local,
    /// A URL.
    Download,
    /// The Dockerfile.
    Heredoc,
}

impl Selected {
    /// A heredoc: mode 0644, of root (3.11). `time` is the build's time for what has none of its own.
    pub fn heredoc(name: &str, body: &[u8], time: Timestamp) -> Self {
        let kind = EntryKind::File { size: body.len() as u64 };
        let entry = TarEntry { kind, mode: 0o644, mtime: time, ..TarEntry::plain_directory(Vec::new()) };
        let content = Content::Bytes(body.into());
        Self::file(
            name.as_bytes(),
            Provenance::Heredoc,
            SelectedEntry { entry, content, hash: Some(hash_bytes(body)), identity: None },
        )
    }

    /// A downloaded file: mode 0600, of root (12.4). `mtime` is the server's `Last-Modified`.
    pub fn download(name: &str, file: File, mtime: Timestamp) -> io::Result<Self> {
        let size = file.metadata()?.size();
        let (file, kind) = (Arc::new(file), EntryKind::File { size });
        let content = Content::Part { file, offset: 0 };
        let (hash, _) = hash_reader(content.open()?)?;
        let entry = TarEntry { kind, mode: 0o600, mtime, ..TarEntry::plain_directory(Vec::new()) };
        let entry = SelectedEntry { entry, content, hash: Some(hash), identity: None };
        Ok(Self::file(name.as_bytes(), Provenance::Download, entry))
    }

    /// The times of all that is taken, the top directory's among them.
    pub fn times(&self) -> impl Iterator<Item = Timestamp> {
        let top = match self.shape {
            Shape::Directory { mtime } => Some(mtime),
            Shape::Parents { mtime } => mtime,
            Shape::File { .. } => None,
        };
        top.into_iter().chain((0..self.entries.len()).map(|at| self.entries.mtime(at)))
    }

    fn file(name: &[u8], from: Provenance, entry: SelectedEntry) -> Self {
        Self { shape: Shape::File { name: name.to_vec(), from }, entries: Entries::of_one(entry) }
    }
}

/// Returns what the request takes from `source`, one item per source path or wildcard match, in order.
pub fn select(source: &Source, request: &Request) -> Result<Vec<Selected>, CopyError> {
    // In an ignore file a slash in front means nothing; here it keeps a pattern from matching anything.
    let rooted = |pattern: &String| pattern.trim_start_matches('!').trim_start().starts_with('/');
    let exclude: Vec<String> = request.exclude.iter().filter(|pattern| !rooted(pattern)).cloned().collect();
    let exclude = Ignore::of_patterns(&exclude).map_err(first_exclude_error)?;
    let exclude = (!exclude.is_empty()).then_some(exclude);
    let mut selected = Vec::new();
    for written in request.sources {
        if request.parents {
            selected.extend(with_parents(source, written, exclude.as_ref())?);
        } else {
            for place in resolve(source, written)? {
                selected.push(take(source, place, exclude.as_ref())?);
            }
        }
    }
    Ok(selected)
}

/// Returns what is at `path`, in which no character is a wildcard; `None` if nothing is.
pub fn select_literal(source: &Source, path: &str) -> Result<Option<Selected>, CopyError> {
    match follow(source, &clean(path.as_bytes()))? {
        Some(place) => Ok(Some(take(source, place, None)?)),
        None => Ok(None),
    }
}

/// Takes what is at `path`, in which no character is a wildcard, and the links that lead there, each in its place.
pub fn select_in_place(source: &Source, path: &str) -> Result<Selected, CopyError> {
    let path = clean(path.as_bytes());
    let trail = trail(source, &path)?.ok_or_else(|| not_found(source, &path))?;
    let patterns: Vec<String> =
        trail.iter().map(|path| format!("/{}", escape(&String::from_utf8_lossy(path)))).collect();
    let include = Ignore::of_patterns(&patterns).map_err(first_exclude_error)?;
    // A link to the top leads to everything.
    let include = trail.iter().all(|path| !path.is_empty()).then_some(&include);
    let found = walk(source, b"", Rules { exclude: None, include })?;
    Ok(Selected { shape: Shape::Parents { mtime: None }, entries: hashed(source, found)? })
}

fn first_exclude_error(errors: Vec<crate::context::IgnoreError>) -> CopyError {
    let first = errors.into_iter().next();
    CopyError::Exclude(first.expect("a failed list of patterns has an error"))
}

fn take(source: &Source, place: Place, exclude: Option<&Ignore>) -> Result<Selected, CopyError> {
    if place.metadata.is_dir() {
        let found = walk(source, &place.path, Rules { exclude, include: None })?;
        let shape = Shape::Directory { mtime: place.metadata.mtime };
        return Ok(Selected { shape, entries: hashed(source, found)? });
    }
    let Place { name, path, metadata } = place;
    let mut entry = TarEntry::plain_directory(Vec::new());
    describe(source.origin, &metadata, Vec::new(), &mut entry);
    if source.origin == Origin::Filesystem && metadata.kind == Kind::File {
        entry.xattrs = xattrs_in_root(source, &path)?;
    }
    let hash = match metadata.kind {
        Kind::File => Some(hash_of(source, Wanted { path: path.clone(), metadata })?),
        _ => None,
    };
    let mut entries = Entries::of_tree(Arc::new(Tree { root: source.root.clone(), top: path }));
    entries.push(&entry, hash, identity_of(&metadata));
    Ok(Selected { shape: Shape::File { name, from: Provenance::Local }, entries })
}

fn hash_of(source: &Source, file: Wanted) -> Result<ContentHash, CopyError> {
    let (directory, name) = split(&file.path);
    let known = source.cache.as_ref().and_then(|cache| cache.directory(directory).find(name, &file.metadata));
    known.map_or_else(|| Ok(hashes(source, &[file])?[0]), Ok)
}

/// Takes one source of `COPY --parents` (11.17): what follows `/./` is kept below the destination.
fn with_parents(source: &Source, written: &str, exclude: Option<&Ignore>) -> Result<Vec<Selected>, CopyError> {
    let (pivot, pattern) = written.split_once("/./").unwrap_or(("/", written));
    let pattern = clean(pattern.as_bytes());
    let tops = resolve(source, pivot)?;
    let mut selected = Vec::new();
    for top in tops.into_iter().filter(|top| top.metadata.is_dir()) {
        let wanted = join(&top.path, &pattern);
        let is_literal = !has_wildcard(&pattern);
        if is_literal && follow(source, &wanted)?.is_none() {
            return Err(not_found(source, &wanted));
        }
        let include = match pattern.as_slice() {
            b"" => None,
            pattern => Some(
                Ignore::of_patterns(&[String::from_utf8_lossy(pattern)])
                    .map_err(|_| CopyError::Pattern { pattern: written.to_owned() })?,
            ),
        };
        let found = walk(source, &top.path, Rules { exclude, include: include.as_ref() })?;
        // Excluded, or behind a link: the parts of a path are not followed here.
        if is_literal && !pattern.is_empty() && found.entries.is_empty() {
            return Err(not_found(source, &wanted));
        }
        let mtime = (!top.path.is_empty()).then_some(top.metadata.mtime);
        selected.push(Selected { shape: Shape::Parents { mtime }, entries: hashed(source, found)? });
    }
    Ok(selected)
}

/// Puts the hashes of files into the entries that lack them.
fn hashed(source: &Source, found: Found) -> Result<Entries, CopyError> {
    let Found { mut entries, wanted } = found;
    let (places, wanted): (Vec<usize>, Vec<Wanted>) = wanted.into_iter().unzip();
    for (at, hash) in places.into_iter().zip(hashes(source, &wanted)?) {
        entries.set_hash(at, hash);
    }
    Ok(entries)
}
