//! Walking a source directory: every entry that the rules leave in, each directory before what is in it.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::vec::IntoIter;

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

/// What a walk found, and the files whose hashes are still to be had (by index of the entry).
#[derive(Default)]
pub(super) struct Found {
    pub entries: Vec<SelectedEntry>,
    pub wanted: Vec<(usize, Wanted)>,
}

/// Walks the directory at `top` (a path in the tree, without links); it is not itself an entry.
pub(super) fn walk(source: &Source, top: &[u8], rules: Rules) -> Result<Found, CopyError> {
    let mut walk = Walk { source, rules, top, only_names: false, found: Found::default() };
    walk.run(usize::MAX)?;
    Ok(walk.found)
}

/// Whether the build can see anything in the directory at `path`, which an ignore rule leaves out.
pub(super) fn has_visible_below(source: &Source, path: &[u8]) -> Result<bool, CopyError> {
    let Some(ignore) = &source.ignore else { return Ok(true) };
    if ignore.can_prune(&ignore.verdict(path), path) {
        return Ok(false);
    }
    let mut walk = Walk { source, rules: Rules::default(), top: path, only_names: true, found: Found::default() };
    walk.run(1)?;
    Ok(!walk.found.entries.is_empty())
}

struct Walk<'a> {
    source: &'a Source,
    rules: Rules<'a>,
    top: &'a [u8],
    /// Whether entries are only counted, not looked at.
    only_names: bool,
    found: Found,
}

/// What the three sets of rules say of a path.
#[derive(Clone, Default)]
struct Verdicts {
    ignore: Verdict,
    exclude: Verdict,
    include: Verdict,
}

/// A directory being walked. Its entries are looked at while it is open, so that no handle is kept.
struct Level {
    entries: IntoIter<Looked>,
    /// Where its own entry stands, if it is only kept when something below it is.
    provisional: Option<usize>,
}

struct Looked {
    path: Vec<u8>,
    kind: Kind,
    verdicts: Verdicts,
    selected: bool,
    entry: Option<(SelectedEntry, Metadata)>,
}

impl Walk<'_> {
    /// Walks until `enough` entries are found that are kept for their own sake.
    fn run(&mut self, enough: usize) -> Result<(), CopyError> {
        let top = Verdicts {
            ignore: self.source.ignore.as_ref().map(|ignore| ignore.verdict(self.top)).unwrap_or_default(),
            exclude: self.rules.exclude.map(Ignore::top).unwrap_or_default(),
            include: self.rules.include.map(Ignore::top).unwrap_or_default(),
        };
        let mut own = 0;
        let mut levels = vec![self.level(b"", &top, None)?];
        while let Some(level) = levels.last_mut() {
            let Some(looked) = level.entries.next() else {
                let kept = levels.pop().and_then(|level| level.provisional);
                // A directory that was only there for what is below it, with nothing below it.
                if kept.is_some_and(|at| at + 1 == self.found.entries.len()) {
                    self.found.entries.pop();
                }
                continue;
            };
            own += usize::from(looked.selected);
            let at = self.found.entries.len();
            if let Some((entry, metadata)) = looked.entry {
                if metadata.kind == Kind::File {
                    let path = join(self.top, &looked.path);
                    self.found.wanted.push((at, Wanted { path, metadata }));
                }
                self.found.entries.push(entry);
            }
            if own >= enough {
                return Ok(());
            }
            if looked.kind == Kind::Directory {
                let provisional = (!looked.selected).then_some(at);
                levels.push(self.level(&looked.path, &looked.verdicts, provisional)?);
            }
        }
        Ok(())
    }

    fn level(&self, path: &[u8], above: &Verdicts, provisional: Option<usize>) -> Result<Level, CopyError> {
        let full = if path.is_empty() { self.top.to_vec() } else { join(self.top, path) };
        let open = self.source.root.open_dir_in_root(as_path(&full)).map_err(CopyError::io("open", &full))?;
        let names = open.entries().map_err(CopyError::io("read", &full))?;
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            let below = join(path, name.name.as_bytes());
            let verdicts = self.judge(above, &full, &below, name.name.as_bytes());
            let selected = self.is_selected(&verdicts);
            if !selected && (name.kind != Kind::Directory || self.can_prune(&verdicts, &full, &below)) {
                continue;
            }
            let entry = self.look(&open, &full, &name.name, &below)?;
            let kind = entry.as_ref().map_or(name.kind, |(_, metadata)| metadata.kind);
            if entry.is_some() {
                entries.push(Looked { path: below, kind, verdicts, selected, entry });
            }
        }
        Ok(Level { entries: entries.into_iter(), provisional })
    }

    fn judge(&self, above: &Verdicts, directory: &[u8], below: &[u8], name: &[u8]) -> Verdicts {
        let rules = |rules: Option<&Ignore>, above: &Verdict, path: &[u8]| {
            rules.map(|rules| rules.below(above, path)).unwrap_or_default()
        };
        Verdicts {
            ignore: self
                .source
                .ignore
                .as_ref()
                .map(|ignore| ignore.below(&above.ignore, &join(directory, name)))
                .unwrap_or_default(),
            exclude: rules(self.rules.exclude, &above.exclude, below),
            include: rules(self.rules.include, &above.include, below),
        }
    }

    fn is_selected(&self, verdicts: &Verdicts) -> bool {
        let wanted = self.rules.include.is_none() || verdicts.include.excluded;
        wanted && !verdicts.ignore.excluded && !verdicts.exclude.excluded
    }

    /// Whether nothing below the directory can be selected.
    fn can_prune(&self, verdicts: &Verdicts, directory: &[u8], below: &[u8]) -> bool {
        let full = join(directory, below.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
        let ignored = self.source.ignore.as_ref().is_some_and(|ignore| ignore.can_prune(&verdicts.ignore, &full));
        let excluded = self.rules.exclude.is_some_and(|rules| rules.can_prune(&verdicts.exclude, below));
        let unwanted =
            !verdicts.include.excluded && self.rules.include.is_some_and(|rules| !rules.may_apply_below(below));
        ignored || excluded || unwanted
    }

    /// Makes the entry of one name; `None` if it is gone since the directory was read.
    fn look(
        &self,
        directory: &Dir,
        full: &[u8],
        name: &OsStr,
        below: &[u8],
    ) -> Result<Option<(SelectedEntry, Metadata)>, CopyError> {
        let full = join(full, name.as_bytes());
        let metadata = directory.child_metadata(name).map_err(CopyError::io("look at", &full))?;
        let Some(metadata) = metadata else { return Ok(None) };
        if self.only_names {
            return Ok(Some((SelectedEntry::new(TarEntry::plain_directory(below.to_vec())), metadata)));
        }
        let target = match metadata.kind {
            Kind::Symlink => {
                let target = directory.child_link(name).map_err(CopyError::io("read the link", &full))?;
                target.into_os_string().into_vec()
            }
            _ => Vec::new(),
        };
        let xattrs = match self.source.origin {
            Origin::Context => Xattrs::new(),
            Origin::Filesystem => {
                directory.child_xattrs(name, is_carried_xattr).map_err(CopyError::io("read attributes of", &full))?
            }
        };
        Ok(Some((describe(self.source, below.to_vec(), full, &metadata, target, xattrs), metadata)))
    }
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
    full: Vec<u8>,
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
        Kind::File if metadata.size > 0 => Content::Tree { root: source.root.clone(), path: full },
        _ => Content::Nothing,
    };
    let shared = metadata.links > 1 && metadata.kind != Kind::Directory;
    SelectedEntry {
        entry: TarEntry { path, kind, mode: metadata.mode, uid, gid, mtime: metadata.mtime, xattrs },
        content,
        hash: None,
        identity: shared.then_some((metadata.device, metadata.inode)),
    }
}
