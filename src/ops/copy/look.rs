//! Looking at one directory of a source: which of its names are taken, and what they are.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use super::content::{Wanted, as_path, read_hash_of_child};
use super::entries::{Entries, Tree};
use super::error::CopyError;
use super::resolve::join;
use crate::context::{Block, Ignore, Origin, Source, Verdict};
use crate::fsutil::{Dir, Kind, Metadata, Names, Xattrs, xattrs_of};
use crate::layer::{EntryKind, TarEntry, is_carried_xattr};

/// The rules that decide what of a directory is taken.
#[derive(Clone, Copy, Default)]
pub(super) struct Rules<'a> {
    /// `--exclude`, relative to the directory.
    pub exclude: Option<&'a Ignore>,
    /// `--parents`: what is wanted, relative to the directory; a rule "leaves out" what is wanted.
    pub include: Option<&'a Ignore>,
}

/// What the three sets of rules say of a path.
#[derive(Clone, Default)]
pub(super) struct Verdicts {
    ignore: Verdict,
    exclude: Verdict,
    include: Verdict,
}

/// Looks at directories below the top of `tree`, whose path has no links.
pub(super) struct Looker<'a> {
    pub source: &'a Source,
    pub rules: Rules<'a>,
    pub tree: Arc<Tree>,
}

/// A directory that is looked at, some of its names at a time.
pub(super) struct Listing {
    open: Dir,
    names: Names,
    /// What is known of its files.
    known: Option<Block>,
    /// Its path relative to the top, and in the tree.
    path: Vec<u8>,
    full: Vec<u8>,
    verdicts: Verdicts,
}

/// What was seen of some names of a directory.
pub(super) struct Looked {
    pub entries: Entries,
    /// Those that are directories, by index of the entry.
    pub directories: Vec<Below>,
    /// Files that are still to be read for their hashes, by index of the entry.
    pub wanted: Vec<(usize, Wanted)>,
}

/// A directory that was seen.
pub(super) struct Below {
    pub at: usize,
    pub path: Vec<u8>,
    /// What the rules say of it, for what is below it.
    pub verdicts: Verdicts,
    /// Whether it is taken for its own sake, and not only for what is below it.
    pub is_selected: bool,
}

/// What is read for its hash where it is found, in bytes of all such files together. Others can be shared between threads.
const READ_AT_ONCE: u64 = 1024 * 1024;

impl Listing {
    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

impl Looker<'_> {
    /// Returns the verdicts on the top itself.
    pub(super) fn top_verdicts(&self) -> Verdicts {
        Verdicts {
            ignore: self.source.ignore.as_ref().map(|ignore| ignore.verdict(&self.tree.top)).unwrap_or_default(),
            exclude: self.rules.exclude.map(Ignore::top).unwrap_or_default(),
            include: self.rules.include.map(Ignore::top).unwrap_or_default(),
        }
    }

    /// Reads the names in the directory at `path` (relative to the top).
    pub(super) fn list(&self, path: Vec<u8>, verdicts: Verdicts) -> Result<Listing, CopyError> {
        let full = if path.is_empty() { self.tree.top.clone() } else { join(&self.tree.top, &path) };
        let mut open = self.source.root.open_dir_in_root(as_path(&full)).map_err(CopyError::io("open", &full))?;
        let names = open.names().map_err(CopyError::io("read", &full))?;
        let known = self.source.cache.as_ref().map(|cache| {
            let known = cache.directory(&full);
            cache.listed(&known, names.iter());
            known
        });
        Ok(Listing { open, names, known, path, full, verdicts })
    }

    /// Looks at some names of a directory, at all that is taken or may have such below it.
    pub(super) fn look(&self, listing: &Listing, names: Range<usize>) -> Result<Looked, CopyError> {
        let mut looked =
            Looked { entries: Entries::of_tree(self.tree.clone()), directories: Vec::new(), wanted: Vec::new() };
        let mut known = listing.known.clone();
        let mut full = join(&listing.full, b"");
        let start = full.len();
        // What the top adds to paths below it.
        let above = start - if listing.path.is_empty() { 0 } else { listing.path.len() + 1 };
        let mut entry = TarEntry::plain_directory(Vec::new());
        let mut to_read = READ_AT_ONCE;
        let mut buffer = Vec::new();
        for at in names {
            let (name, kind) = listing.names.get(at);
            full.truncate(start);
            full.extend_from_slice(name);
            let verdicts = self.judge(&listing.verdicts, &full, &full[above..]);
            let is_selected = self.is_selected(&verdicts);
            if !is_selected && (kind != Kind::Directory || self.can_prune(&verdicts, &full, &full[above..])) {
                continue;
            }
            let name = OsStr::from_bytes(name);
            // Gone since the directory was read: as if it had never been there.
            let Some(metadata) = self.describe_child(&listing.open, name, &full, &mut entry)? else { continue };
            entry.path.clear();
            entry.path.extend_from_slice(&full[above..]);
            let at = looked.entries.len();
            let mut hash = None;
            if metadata.kind == Kind::File {
                hash = known.as_mut().and_then(|known| known.find(name.as_bytes(), &metadata));
                if hash.is_none() {
                    let wanted = Wanted { path: full.clone(), metadata };
                    if metadata.size <= to_read {
                        to_read -= metadata.size;
                        hash = Some(read_hash_of_child(self.source, &listing.open, name, &wanted, &mut buffer)?);
                    } else {
                        looked.wanted.push((at, wanted));
                    }
                }
            }
            looked.entries.push(&entry, hash, identity_of(&metadata));
            if metadata.kind == Kind::Directory {
                looked.directories.push(Below { at, path: entry.path.clone(), verdicts, is_selected });
            }
        }
        Ok(looked)
    }

    fn judge(&self, above: &Verdicts, full: &[u8], below: &[u8]) -> Verdicts {
        let judge = |rules: Option<&Ignore>, above: &Verdict, path: &[u8]| {
            rules.map(|rules| rules.below(above, path)).unwrap_or_default()
        };
        Verdicts {
            ignore: judge(self.source.ignore.as_deref(), &above.ignore, full),
            exclude: judge(self.rules.exclude, &above.exclude, below),
            include: judge(self.rules.include, &above.include, below),
        }
    }

    fn is_selected(&self, verdicts: &Verdicts) -> bool {
        let wanted = self.rules.include.is_none() || verdicts.include.excluded;
        wanted && !verdicts.ignore.excluded && !verdicts.exclude.excluded
    }

    /// Whether nothing below the directory can be selected.
    fn can_prune(&self, verdicts: &Verdicts, full: &[u8], below: &[u8]) -> bool {
        let Rules { exclude, include } = self.rules;
        let ignored = self.source.ignore.as_ref().is_some_and(|ignore| ignore.can_prune(&verdicts.ignore, full));
        let excluded = exclude.is_some_and(|rules| rules.can_prune(&verdicts.exclude, below));
        let unwanted = !verdicts.include.excluded && include.is_some_and(|rules| !rules.may_apply_below(below));
        ignored || excluded || unwanted
    }

    /// Makes `entry` what the name says, but for the path; `None` if it is gone.
    fn describe_child(
        &self,
        directory: &Dir,
        name: &OsStr,
        full: &[u8],
        entry: &mut TarEntry,
    ) -> Result<Option<Metadata>, CopyError> {
        let metadata = directory.child_metadata(name).map_err(CopyError::io("look at", full))?;
        let Some(metadata) = metadata else { return Ok(None) };
        let target = match metadata.kind {
            Kind::Symlink => {
                let target = directory.child_link(name).map_err(CopyError::io("read the link", full))?;
                target.into_os_string().into_vec()
            }
            _ => Vec::new(),
        };
        entry.xattrs = match self.source.origin {
            Origin::Context => Xattrs::new(),
            Origin::Filesystem => {
                directory.child_xattrs(name, is_carried_xattr).map_err(CopyError::io("read attributes of", full))?
            }
        };
        describe(self.source.origin, &metadata, target, entry);
        Ok(Some(metadata))
    }
}

/// Whether the build can see anything in the directory at `path`, which an ignore rule leaves out.
pub(super) fn has_visible_below(source: &Source, path: &[u8]) -> Result<bool, CopyError> {
    let Some(ignore) = &source.ignore else { return Ok(true) };
    let mut pending = vec![(path.to_vec(), ignore.verdict(path))];
    while let Some((directory, above)) = pending.pop() {
        if ignore.can_prune(&above, &directory) {
            continue;
        }
        let open = source.root.open_dir_in_root(as_path(&directory)).map_err(CopyError::io("open", &directory))?;
        for entry in open.entries().map_err(CopyError::io("read", &directory))? {
            let path = join(&directory, entry.name.as_bytes());
            let verdict = ignore.below(&above, &path);
            if !verdict.excluded {
                return Ok(true);
            }
            if entry.kind == Kind::Directory {
                pending.push((path, verdict));
            }
        }
    }
    Ok(false)
}

/// Returns the attributes that are taken over from the file at `path` in the tree.
pub(super) fn xattrs_in_root(source: &Source, path: &[u8]) -> Result<Xattrs, CopyError> {
    let file = source.root.open_file_in_root(as_path(path)).map_err(CopyError::io("open", path))?;
    xattrs_of(&file, is_carried_xattr).map_err(CopyError::io("read attributes of", path))
}

/// Makes `entry` what was seen, but for path and attributes.
pub(super) fn describe(origin: Origin, metadata: &Metadata, target: Vec<u8>, entry: &mut TarEntry) {
    let (major, minor) = metadata.device_node;
    entry.kind = match metadata.kind {
        Kind::File => EntryKind::File { size: metadata.size },
        Kind::Directory => EntryKind::Directory,
        Kind::Symlink => EntryKind::Symlink(target),
        Kind::CharDevice => EntryKind::CharDevice { major, minor },
        Kind::BlockDevice => EntryKind::BlockDevice { major, minor },
        Kind::Fifo => EntryKind::Fifo,
        // A socket has no meaning without the process behind it; an empty file keeps its place (11.12).
        Kind::Socket => EntryKind::File { size: 0 },
    };
    (entry.uid, entry.gid) = match origin {
        Origin::Context => (0, 0),
        Origin::Filesystem => (metadata.uid, metadata.gid),
    };
    (entry.mode, entry.mtime) = (metadata.mode, metadata.mtime);
}

/// What tells that two names are of one file; `None` if it has one name.
pub(super) fn identity_of(metadata: &Metadata) -> Option<(u64, u64)> {
    let shared = metadata.links > 1 && metadata.kind != Kind::Directory;
    shared.then_some((metadata.device, metadata.inode))
}
