//! The destination as it will be: a read-only view of what is there, and what this step puts over it.
//!
//! Every entry in the map has all directories above it in the map too: a directory that exists already is
//! taken over with the metadata it has, so that the layer stands alone.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::ffi::OsStringExt;

use super::content::{Content, as_path};
use super::error::{CopyError, shown};
use super::resolve::join;
use super::select::SelectedEntry;
use crate::context::ContentHash;
use crate::fsutil::{Dir, Kind, Metadata, xattrs_of};
use crate::layer::{EntryKind, TarEntry, is_carried_xattr, path_order};

/// As many links as are followed in one destination path (as Go's `RootPath` does).
const MOST_LINKS: usize = 255;

/// A path in the order of a layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LayerPath(pub Vec<u8>);

impl Ord for LayerPath {
    fn cmp(&self, other: &Self) -> Ordering {
        path_order(&self.0, &other.0)
    }
}

impl PartialOrd for LayerPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One entry of the layer to be.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub entry: TarEntry,
    pub content: Content,
    pub hash: Option<ContentHash>,
    /// Names of one file have the same: number of the source, device, inode.
    pub identity: Option<(usize, u64, u64)>,
    /// Whether only `entry.mtime` or nothing at all is this step's doing.
    pub taken_over: bool,
    /// What of the view shows through below it, or would if it were a directory.
    below: Below,
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

impl Node {
    /// Takes a selected entry of source number `source` to its place.
    pub(super) fn new(source: usize, path: Vec<u8>, selected: &SelectedEntry) -> Self {
        Self {
            entry: TarEntry { path, ..selected.entry.clone() },
            content: selected.content.clone(),
            hash: selected.hash,
            identity: selected.identity.map(|(device, inode)| (source, device, inode)),
            taken_over: false,
            below: Below::Nothing,
        }
    }

    fn directory(entry: TarEntry, taken_over: bool, below: Below) -> Self {
        Self { entry, content: Content::Nothing, hash: None, identity: None, taken_over, below }
    }

    pub(super) fn is_dir(&self) -> bool {
        self.entry.kind == EntryKind::Directory
    }

    /// Whether it is a directory that hides one of the view.
    pub(super) fn is_opaque(&self) -> bool {
        self.is_dir() && self.below == Below::Hidden
    }
}

/// The view and what is put over it.
pub(super) struct Destination<'v> {
    view: Option<&'v Dir>,
    nodes: BTreeMap<LayerPath, Node>,
    /// A directory in which nothing of the view is seen, now or later: most of what is put has the parent of what was put before.
    hidden: std::cell::RefCell<Option<Vec<u8>>>,
    /// What a directory looks like that is made because something must be in it; the path is filled in.
    pub made: TarEntry,
}

impl<'v> Destination<'v> {
    /// Starts from `view`; `None` is an empty filesystem.
    pub(super) fn new(view: Option<&'v Dir>, made: TarEntry) -> Self {
        Self { view, nodes: BTreeMap::new(), hidden: Default::default(), made }
    }

    /// Returns all entries in the order of a layer.
    pub(super) fn into_nodes(self) -> impl Iterator<Item = Node> {
        self.nodes.into_values()
    }

    /// Returns what this step has put at `path`.
    pub(super) fn node(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.get(&LayerPath(path.to_vec()))
    }

    /// Returns the type of what is at `path`, whose parents are no links; the path itself is not followed.
    pub(super) fn kind_at(&self, path: &[u8]) -> Result<Option<Kind>, CopyError> {
        if let Some(node) = self.node(path) {
            return Ok(Some(kind_of(&node.entry.kind)));
        }
        Ok(self.seen(path)?.map(|metadata| metadata.kind))
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
        if let Some(EntryKind::Symlink(target)) = self.node(path).map(|node| &node.entry.kind) {
            return Ok(target.clone());
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
        self.nodes.insert(LayerPath(path.to_vec()), node);
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
    pub(super) fn touch(&mut self, path: &[u8], mtime: crate::fsutil::Timestamp) {
        if let Some(node) = self.nodes.get_mut(&LayerPath(path.to_vec())) {
            node.entry.mtime = mtime;
        }
    }

    /// Puts `node` at its path, whose parents are in the map, instead of whatever is there. A directory over a
    /// directory keeps what is in it.
    pub(super) fn put(&mut self, mut node: Node) -> Result<(), CopyError> {
        let path = node.entry.path.clone();
        let (below, was_dir) = match self.node(&path) {
            Some(old) => (old.below, old.is_dir()),
            None => {
                let is_dir = self.seen(&path)?.is_some_and(|metadata| metadata.is_dir());
                (if is_dir && self.view.is_some() { Below::Shows } else { Below::Nothing }, is_dir)
            }
        };
        node.below = match below {
            Below::Shows if !(was_dir && node.is_dir()) => Below::Hidden,
            below => below,
        };
        if was_dir && !node.is_dir() {
            self.nodes.retain(|LayerPath(other), _| !is_below(other, &path));
        }
        self.nodes.insert(LayerPath(path), node);
        Ok(())
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
    mtime: crate::fsutil::Timestamp { seconds: 0, nanoseconds: 0 },
    ctime: crate::fsutil::Timestamp { seconds: 0, nanoseconds: 0 },
    inode: 0,
    device: 0,
    links: 1,
    device_node: (0, 0),
};

fn kind_of(kind: &EntryKind) -> Kind {
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
