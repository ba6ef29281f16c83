//! Looking at one directory of a source: which of its names are taken, and what they are.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::content::{Content, Wanted, as_path};
use super::error::CopyError;
use super::resolve::join;
use super::select::SelectedEntry;
use crate::context::{Ignore, Origin, Source, Verdict};
use crate::fsutil::{Dir, Kind, Metadata, Xattrs, xattrs_of};
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

/// Looks at directories below `top`, a path in the tree without links.
#[derive(Clone, Copy)]
pub(super) struct Looker<'a> {
    pub source: &'a Source,
    pub rules: Rules<'a>,
    pub top: &'a [u8],
}

/// One name of a directory.
pub(super) struct Looked {
    pub entry: SelectedEntry,
    /// What the rules say of a directory, for what is below it.
    pub directory: Option<Box<Verdicts>>,
    /// A file that has to be read for its hash.
    pub wanted: Option<Box<Wanted>>,
    /// Whether it is taken for its own sake, and not only for what is below it.
    pub is_selected: bool,
}

impl Looker<'_> {
    /// Returns the verdicts on the top itself.
    pub(super) fn top_verdicts(&self) -> Verdicts {
        Verdicts {
            ignore: self.source.ignore.as_ref().map(|ignore| ignore.verdict(self.top)).unwrap_or_default(),
            exclude: self.rules.exclude.map(Ignore::top).unwrap_or_default(),
            include: self.rules.include.map(Ignore::top).unwrap_or_default(),
        }
    }

    /// Looks at everything in the directory at `path` (relative to the top) that is taken or may have such below it.
    pub(super) fn look(&self, path: &[u8], above: &Verdicts) -> Result<Vec<Looked>, CopyError> {
        let directory = if path.is_empty() { self.top.to_vec() } else { join(self.top, path) };
        let open = self.source.root.open_dir_in_root(as_path(&directory)).map_err(CopyError::io("open", &directory))?;
        let names = open.entries().map_err(CopyError::io("read", &directory))?;
        let mut looked = Vec::with_capacity(names.len());
        let mut full = join(&directory, b"");
        let start = full.len();
        for name in names {
            let below = join(path, name.name.as_bytes());
            full.truncate(start);
            full.extend_from_slice(name.name.as_bytes());
            let verdicts = self.judge(above, &full, &below);
            let is_selected = self.is_selected(&verdicts);
            if !is_selected && (name.kind != Kind::Directory || self.can_prune(&verdicts, &full, &below)) {
                continue;
            }
            // Gone since the directory was read: as if it had never been there.
            let Some((entry, metadata)) = self.entry(&open, &name.name, below, &full)? else { continue };
            let directory = (metadata.kind == Kind::Directory).then(|| Box::new(verdicts));
            let is_unknown = metadata.kind == Kind::File && entry.hash.is_none();
            let wanted = is_unknown.then(|| Box::new(Wanted { path: full.clone(), metadata }));
            looked.push(Looked { entry, directory, wanted, is_selected });
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

    fn entry(
        &self,
        directory: &Dir,
        name: &OsStr,
        below: Vec<u8>,
        full: &[u8],
    ) -> Result<Option<(SelectedEntry, Metadata)>, CopyError> {
        let metadata = directory.child_metadata(name).map_err(CopyError::io("look at", full))?;
        let Some(metadata) = metadata else { return Ok(None) };
        let target = match metadata.kind {
            Kind::Symlink => {
                let target = directory.child_link(name).map_err(CopyError::io("read the link", full))?;
                target.into_os_string().into_vec()
            }
            _ => Vec::new(),
        };
        let xattrs = match self.source.origin {
            Origin::Context => Xattrs::new(),
            Origin::Filesystem => {
                directory.child_xattrs(name, is_carried_xattr).map_err(CopyError::io("read attributes of", full))?
            }
        };
        Ok(Some((describe(self.source, below, full, &metadata, target, xattrs), metadata)))
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

/// Makes an entry of what was seen: `path` is its place in the selection, `full` in the tree.
pub(super) fn describe(
    source: &Source,
    path: Vec<u8>,
    full: &[u8],
    metadata: &Metadata,
    target: Vec<u8>,
    xattrs: Xattrs,
) -> SelectedEntry {
    let (major, minor) = metadata.device_node;
    let kind = match metadata.kind {
        Kind::File => EntryKind::File { size: metadata.size },
        Kind::Directory => EntryKind::Directory,
        Kind::Symlink => EntryKind::Symlink(target),
        Kind::CharDevice => EntryKind::CharDevice { major, minor },
        Kind::BlockDevice => EntryKind::BlockDevice { major, minor },
        Kind::Fifo => EntryKind::Fifo,
        // A socket has no meaning without the process behind it; an empty file keeps its place (11.12).
        Kind::Socket => EntryKind::File { size: 0 },
    };
    let (uid, gid) = match source.origin {
        Origin::Context => (0, 0),
        Origin::Filesystem => (metadata.uid, metadata.gid),
    };
    let content = match metadata.kind {
        Kind::File if metadata.size > 0 => Content::Tree { root: source.root.clone(), path: full.to_vec() },
        _ => Content::Nothing,
    };
    // Asked for here, on the thread that has the file before it.
    let known = source.cache.as_ref().filter(|_| metadata.kind == Kind::File);
    let hash = known.and_then(|cache| cache.find(full, metadata));
    let shared = metadata.links > 1 && metadata.kind != Kind::Directory;
    SelectedEntry {
        entry: TarEntry { path, kind, mode: metadata.mode, uid, gid, mtime: metadata.mtime, xattrs },
        content,
        hash,
        identity: shared.then_some((metadata.device, metadata.inode)),
    }
}
