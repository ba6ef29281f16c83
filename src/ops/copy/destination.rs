//! The destination as it will be: a read-only view of what is there, and what this step puts over it.
//!
//! Every entry in the map has all directories above it in the map too: a directory that exists already is
//! taken over with the metadata it has, so that the layer stands alone.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStringExt;

use super::content::as_path;
use super::entries::SelectedEntry;
use super::error::{CopyError, shown};
use super::land::Changes;
use super::nodes::Nodes;
use super::resolve::join;
use super::select::Selected;
use crate::fsutil::{Dir, Kind, Metadata, Timestamp, xattrs_of};
use crate::layer::{EntryKind, TarEntry, is_carried_xattr};

/// As many links as are followed in one destination path (as Go's `RootPath` does).
const MOST_LINKS: usize = 255;

/// One entry of the layer to be, at a path.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub what: What,
    pub kind: Kind,
    /// Whether only the time or nothing at all is this step's doing.
    pub taken_over: bool,
    /// What of the view shows through below it, or would if it were a directory.
    below: Below,
}

/// What a node is, but for its path.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// The entry at that place of the source of that number, with the changes of the step.
    Selected(u32, u32),
    /// Something else. The identity is one within the source of that number.
    Own(Box<SelectedEntry>, u32),
}

/// What there is of the view at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Below {
    /// No directory: nothing can show.
    Nothing,
    /// A directory, whose content shows.
    Shows,
    /// A directory that something in between has replaced.
    Hidden,
}

/// What is at a path before something is put there.
#[derive(Clone, Copy)]
pub(super) struct There {
    pub kind: Option<Kind>,
    below: Below,
}

impl Node {
    fn new(what: What, kind: Kind) -> Self {
        Self { what, kind, taken_over: false, below: Below::Nothing }
    }

    /// A selected entry, in any place.
    pub(super) fn selected(source: usize, at: usize, kind: Kind) -> Self {
        Self::new(What::Selected(source as u32, at as u32), kind)
    }

    /// An entry that is not selected by itself, whatever its path is.
    pub(super) fn own(source: usize, entry: SelectedEntry) -> Self {
        let kind = kind_of(&entry.entry.kind);
        Self::new(What::Own(Box::new(entry), source as u32), kind)
    }

    fn directory(entry: TarEntry, taken_over: bool, below: Below) -> Self {
        Self { taken_over, below, ..Self::own(0, SelectedEntry::new(entry)) }
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Whether it is a directory that hides one of the view.
    pub(super) fn is_opaque(&self) -> bool {
        self.is_dir() && self.below == Below::Hidden
    }
}

/// The view and what is put over it.
pub(super) struct Destination<'v> {
    view: Option<&'v Dir>,
    selected: &'v [Selected],
    nodes: Nodes,
    /// A directory in which nothing of the view is seen, now or later: most of what is put has the parent of what was put before.
    hidden: std::cell::RefCell<Option<Vec<u8>>>,
    /// What a directory looks like that is made because something must be in it; the path is filled in.
    pub made: TarEntry,
}

impl<'v> Destination<'v> {
    /// Starts from `view`; `None` is an empty filesystem.
    pub(super) fn new(view: Option<&'v Dir>, selected: &'v [Selected], made: TarEntry) -> Self {
        Self { view, selected, nodes: Nodes::default(), hidden: Default::default(), made }
    }

    /// Returns all entries in the order of a layer.
    pub(super) fn into_nodes(self) -> impl Iterator<Item = (Vec<u8>, Node)> {
        self.nodes.into_iter()
    }

    /// Returns what this step has put at `path`.
    pub(super) fn node(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Returns the type of what is at `path`, whose parents are no links; the path itself is not followed.
    pub(super) fn kind_at(&self, path: &[u8]) -> Result<Option<Kind>, CopyError> {
        if let Some(node) = self.node(path) {
            return Ok(Some(node.kind));
        }
        Ok(self.seen(path)?.map(|metadata| metadata.kind))
    }

    /// The same, for what is going to be put there.
    pub(super) fn there(&self, path: &[u8]) -> Result<There, CopyError> {
        if let Some(node) = self.node(path) {
            return Ok(There { kind: Some(node.kind), below: node.below });
        }
        let kind = self.seen(path)?.map(|metadata| metadata.kind);
        let shows = kind == Some(Kind::Directory) && self.view.is_some();
        Ok(There { kind, below: if shows { Below::Shows } else { Below::Nothing } })
    }

    /// Returns what of the view shows at `path`, where this step has put nothing.
    fn seen(&self, path: &[u8]) -> Result<Option<Metadata>, CopyError> {
        let Some(view) = self.view else { return Ok((path.is_empty()).then_some(EMPTY_ROOT)) };
        if !path.is_empty() && self.hidden.borrow().as_deref() == Some(parent(path)) {
            return Ok(None);
        }
        let mut above = path;
        while !above.is_empty() {
            above = parent(above);
            match self.node(above) {
                Some(node) if node.is_dir() && node.below == Below::Shows => break,
                Some(_) => {
                    self.hidden.replace(Some(parent(path).to_vec()));
                    return Ok(None);
                }
                None => {}
            }
        }
        view.lstat_in_root(as_path(path)).map_err(CopyError::io("look at", path))
    }

    /// Follows the links of `path` (clean) as if the directory `top` were the root. What does not exist stays as written.
    pub(super) fn follow(&self, top: &[u8], path: &[u8]) -> Result<Vec<u8>, CopyError> {
        let parts = |path: &[u8]| -> VecDeque<Vec<u8>> {
            let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
            parts.map(<[u8]>::to_vec).collect()
        };
        let mut rest = parts(path);
        let mut at = top.to_vec();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == b".." {
                if at.len() > top.len() {
                    at = parent(&at).to_vec();
                }
                continue;
            }
            let here = join(&at, &part);
            if self.kind_at(&here)? != Some(Kind::Symlink) {
                at = here;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(CopyError::TooManyLinks { path: shown(path) });
            }
            let target = self.link_at(&here)?;
            if target.starts_with(b"/") {
                at = top.to_vec();
            }
            for part in parts(&target).into_iter().rev() {
                rest.push_front(part);
            }
        }
        Ok(at)
    }

    fn link_at(&self, path: &[u8]) -> Result<Vec<u8>, CopyError> {
        let entry = match self.node(path).map(|node| &node.what) {
            Some(What::Own(own, _)) => Some(own.entry.clone()),
            Some(What::Selected(source, at)) => Some(self.selected[*source as usize].entries.get(*at as usize).entry),
            None => None,
        };
        if let Some(TarEntry { kind: EntryKind::Symlink(target), .. }) = entry {
            return Ok(target);
        }
        let Some(view) = self.view else { return Ok(Vec::new()) };
        let target = view.read_link_in_root(as_path(path)).map_err(CopyError::io("read the link", path))?;
        Ok(target.into_os_string().into_vec())
    }

    /// Makes sure that `path`, without links, is a directory, with all above it.
    pub(super) fn make_directories(&mut self, path: &[u8]) -> Result<(), CopyError> {
        if self.node(path).is_some_and(Node::is_dir) {
            return Ok(());
        }
        if !path.is_empty() {
            self.make_directories(parent(path))?;
        }
        if self.node(path).is_some() {
            return Err(CopyError::NotADirectory { path: shown(path) });
        }
        let node = match self.seen(path)? {
            Some(metadata) if metadata.is_dir() => {
                let below = if self.view.is_some() { Below::Shows } else { Below::Nothing };
                Node::directory(self.existing(path, &metadata)?, true, below)
            }
            Some(_) => return Err(CopyError::NotADirectory { path: shown(path) }),
            None => Node::directory(TarEntry { path: path.to_vec(), ..self.made.clone() }, false, Below::Nothing),
        };
        self.nodes.insert(path.to_vec(), node);
        Ok(())
    }

    /// Describes a directory of the view.
    fn existing(&self, path: &[u8], metadata: &Metadata) -> Result<TarEntry, CopyError> {
        let xattrs = match self.view {
            Some(view) => {
                let open = view.open_dir_in_root(as_path(path)).map_err(CopyError::io("open", path))?;
                xattrs_of(&open, is_carried_xattr).map_err(CopyError::io("read attributes of", path))?
            }
            None => Default::default(),
        };
        let Metadata { mode, uid, gid, mtime, .. } = *metadata;
        Ok(TarEntry { path: path.to_vec(), kind: EntryKind::Directory, mode, uid, gid, mtime, xattrs })
    }

    /// Sets the time of a directory that is in the map.
    pub(super) fn touch(&mut self, path: &[u8], mtime: Timestamp, changes: Changes) {
        let selected = self.selected;
        let Some(node) = self.nodes.get_mut(path) else { return };
        if let What::Selected(source, at) = node.what {
            let mut entry = selected[source as usize].entries.get(at as usize);
            changes.apply(&mut entry.entry);
            node.what = What::Own(Box::new(entry), source);
        }
        if let What::Own(own, _) = &mut node.what {
            own.entry.mtime = mtime;
        }
    }

    /// Puts `node` at `path`, whose parents are in the map, instead of what is there. A directory over a
    /// directory keeps what is in it.
    pub(super) fn put(&mut self, path: Vec<u8>, mut node: Node, there: There) {
        let was_dir = there.kind == Some(Kind::Directory);
        node.below = match there.below {
            Below::Shows if !(was_dir && node.is_dir()) => Below::Hidden,
            below => below,
        };
        if was_dir && !node.is_dir() {
            self.nodes.retain(|other| !is_below(other, &path));
        }
        self.nodes.insert(path, node);
    }

    /// Returns a copy of the view's handle, for content that is taken from it.
    pub(super) fn view(&self) -> Option<&'v Dir> {
        self.view
    }

    /// Returns the metadata of what the view shows at `path`.
    pub(super) fn metadata_below(&self, path: &[u8]) -> Result<Option<Metadata>, CopyError> {
        self.seen(path)
    }
}

/// The root of an empty filesystem.
const EMPTY_ROOT: Metadata = Metadata {
    kind: Kind::Directory,
    mode: 0o755,
    uid: 0,
    gid: 0,
    size: 0,
    disk: 0,
    mtime: Timestamp { seconds: 0, nanoseconds: 0 },
    ctime: Timestamp { seconds: 0, nanoseconds: 0 },
    inode: 0,
    device: 0,
    links: 1,
    device_node: (0, 0),
};

/// Returns the type of an entry's file.
pub(super) fn kind_of(kind: &EntryKind) -> Kind {
    match kind {
        EntryKind::File { .. } | EntryKind::Hardlink(_) => Kind::File,
        EntryKind::Directory => Kind::Directory,
        EntryKind::Symlink(_) => Kind::Symlink,
        EntryKind::CharDevice { .. } => Kind::CharDevice,
        EntryKind::BlockDevice { .. } => Kind::BlockDevice,
        EntryKind::Fifo => Kind::Fifo,
    }
}

/// Returns the directory a path is in; the root is its own.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)]
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}
