//! Snapshots: layers unpacked on disk, and stacks of them seen as one tree.
//!
//! There are two ways to do that, the [`Snapshotter`]s, which give the same layers:
//!
//! - *overlay*: a snapshot is one layer as an overlayfs lower directory. What an unpacked layer holds may depend on what
//!   is below it, because a tar may leave out parent directories or link to a file of a lower layer, and a RUN's upper
//!   directory may hold unchanged copies. A large layer whose plain tar is in the store is not unpacked at all where the kernel
//!   can mount it as it is (`packed`).
//! - *copy*, where overlayfs cannot be had: a snapshot is the whole tree of its stack. Files are shared with the snapshot
//!   below by hard links and never written in place; a step that writes gets a private copy of everything.
//!
//! A snapshot is named by the [`ChainId`] of the stack it completes (as containerd does).
//!
//! ```text
//! snapshots/<chain id hex>/   finished, for overlays: appeared by rename, never changed afterwards
//! packed/<chain id hex>/      the same of a layer that is not unpacked
//! snapshots/empty/            an empty directory: the bottom of every stack
//! snapshots/mount-points/     what sandboxes mount on: the bottom of theirs
//! snapshots/tried             boot, file system and directory with which an overlay was seen to work
//! trees/<chain id hex>/       finished, of copies; trees/empty/
//! scratch/<random>/fs, work   being made; its owner holds a flock on scratch/<random>
//! ```
//!
//! The time of a file is the one in the tar of its layer, so whole seconds if kiln wrote that, also where an upper directory was kept:
//! so what is a change of it does not depend on where the layer came from. The time of a directory is never a change.
//!
//! A stack is looked at through a view ([`Snapshots::view`]). For overlays that is a *detached* read-only mount held by a
//! file descriptor, which no path leads to and which the kernel drops with the descriptor. So nothing is ever left mounted.
//!
//! Where this process has one id only, the owners of files are notes on them ([`crate::fsutil::Owners`]), as every
//! handle that comes from here knows.
//!
//! Not here: when a layer is unpacked (`ops`), what its tar means (`layer`), or running anything in it (`sandbox`).
//! Any number of processes use one directory at once; two that make the same snapshot both succeed.

mod bases;
mod choice;
#[cfg(test)]
mod contract;
mod fold;
pub mod mount_points;
mod overlay;
mod packed;
mod scratch;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::{ChainId, Digest};
use crate::fsutil::{Dir, Entry, Lease, Owners, set_mode, set_mtime};
use crate::layer::erofs::{Image, Names};
use crate::layer::{self, DiffSummary, LayerError, Original, TarEntry};

use bases::Bases;
pub use choice::refusal;
use overlay::Merged;
pub use packed::open_lower;
pub use scratch::Scratch;

/// What went wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
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
    /// The overlay mount was refused.
    #[error("cannot mount an overlay of {layers} layers: {source}")]
    Overlay {
        /// How many lower directories there are; the kernel takes 500.
        layers: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A command cannot see so many layers: its overlay takes what is written, and cannot lie on another.
    #[error(
        "a command sees {} layers at the most, which are all that an overlay takes: here are {layers}",
        bases::MOST_LAYERS
    )]
    TooTall {
        /// How many there are.
        layers: usize,
    },
    /// A tree could not be read or made.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

impl SnapshotError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// How stacks of layers become trees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Snapshotter {
    /// Overlay mounts.
    Overlay,
    /// Whole trees.
    Copy,
}

impl std::fmt::Display for Snapshotter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Overlay => "overlay",
            Self::Copy => "copy",
        })
    }
}

/// The snapshots of one store.
#[derive(Debug, Clone)]
pub struct Snapshots {
    finished: PathBuf,
    packed: PathBuf,
    pack_from: u64,
    scratch: PathBuf,
    snapshotter: Snapshotter,
    userxattr: bool,
    owners: Owners,
    lease: Option<Lease>,
    bases: Arc<Bases>,
}

/// Layers shorter than this are unpacked: that takes less time than a mount for each step above them.
const PACK_FROM: u64 = 512 * 1024;

/// A tree that a step may write, on top of a stack.
#[derive(Debug)]
pub struct Writable {
    scratch: Scratch,
    lowers: Vec<PathBuf>,
    /// Of a private copy.
    original: Option<Original>,
}

impl Writable {
    /// Returns the scratch directory, whose `fs` takes the writes.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Returns the overlay lower directories to mount below, bottom first, [`mount_points`] the lowest. Without any, `fs` is
    /// the whole tree.
    pub fn lowers(&self) -> &[PathBuf] {
        &self.lowers
    }
}

impl Snapshots {
    /// Opens the snapshots below the store's `root`, making the directories if they are missing.
    /// `userxattr`: overlay marks are `user.overlay.*`, which a user namespace may write.
    pub fn open(root: &Path, snapshotter: Snapshotter, userxattr: bool) -> Result<Self, SnapshotError> {
        let finished = match snapshotter {
            Snapshotter::Overlay => root.join("snapshots"),
            Snapshotter::Copy => root.join("trees"),
        };
        let owners = Owners::Real;
        let snapshots = Self {
            finished,
            packed: root.join("packed"),
            pack_from: PACK_FROM,
            scratch: root.join("scratch"),
            snapshotter,
            userxattr,
            owners,
            lease: None,
            bases: Arc::default(),
        };
        std::fs::create_dir_all(root).map_err(SnapshotError::io("create the directory", root))?;
        // Closed to others even if `root` is not: layers hold set-user-id programs. `empty` is seen as a root directory.
        let empty = snapshots.empty();
        for (dir, mode) in [(&snapshots.finished, 0o700), (&empty, 0o755), (&snapshots.scratch, 0o700)] {
            create_dir(dir, mode).map_err(SnapshotError::io("create the directory", dir))?;
        }
        let mount_points = snapshots.mount_points();
        mount_points::make(&mount_points).map_err(SnapshotError::io("make what is mounted on in", &mount_points))?;
        Ok(snapshots)
    }

    /// Opens the snapshots of every kind that the store has, to list and remove them.
    pub fn of_all_kinds(root: &Path) -> Result<Vec<Self>, SnapshotError> {
        // Which overlay marks snapshots have does not matter to who removes them.
        [Snapshotter::Overlay, Snapshotter::Copy]
            .into_iter()
            .filter(|kind| *kind != Snapshotter::Copy || root.join("trees").exists())
            .map(|kind| Self::open(root, kind, false))
            .collect()
    }

    fn mount_points(&self) -> PathBuf {
        self.finished.join("mount-points")
    }

    /// Returns how stacks become trees.
    pub fn snapshotter(&self) -> Snapshotter {
        self.snapshotter
    }

    /// Says how snapshots keep the owners of files; by the kernel, if nothing is said.
    pub fn with_owners(self, owners: Owners) -> Self {
        Self { owners, ..self }
    }

    /// Says whose use of snapshots this is: one that was found, or was committed, is not removed beside them.
    #[must_use]
    pub fn with_lease(self, lease: Lease) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// The name that a snapshot has in a [`Lease`].
    pub fn name_in_lease(chain: ChainId) -> String {
        format!("chain {}", chain.0.hex())
    }

    fn hold(&self, chain: ChainId) -> io::Result<()> {
        self.lease.as_ref().map_or(Ok(()), |lease| lease.hold(&Self::name_in_lease(chain)))
    }

    /// Returns how they keep the owners of files.
    pub fn owners(&self) -> Owners {
        self.owners
    }

    /// Opens a directory that is, or becomes, a snapshot.
    pub fn tree(&self, path: &Path) -> io::Result<Dir> {
        Ok(Dir::open(path)?.with_owners(self.owners))
    }

    /// Whether the snapshot is there.
    pub fn has(&self, chain: ChainId) -> bool {
        // What cannot be held is not there: whoever makes it anew hears why.
        self.hold(chain).is_ok() && self.lower_of(chain).is_some()
    }

    /// Returns the lower directory of a snapshot, if it is there.
    fn lower_of(&self, id: ChainId) -> Option<PathBuf> {
        let unpacked = self.path_of(id);
        if unpacked.is_dir() {
            return Some(unpacked);
        }
        if self.has_packed() { packed::find(&self.packed.join(id.0.hex()), &self.scratch) } else { None }
    }

    /// Returns the directories that, one over the other (bottom first), are the tree of `chain`: overlay lower directories,
    /// the empty one included, or one whole tree. The caller has made sure that each snapshot is there.
    pub fn lowers(&self, chain: &[ChainId]) -> Result<Vec<PathBuf>, SnapshotError> {
        match self.snapshotter {
            Snapshotter::Overlay if chain.len() > bases::MOST_LAYERS => {
                Err(SnapshotError::TooTall { layers: chain.len() })
            }
            Snapshotter::Overlay => Ok(std::iter::once(self.empty()).chain(self.lowers_on(chain)).collect()),
            Snapshotter::Copy => Ok(vec![self.tree_of(chain)]),
        }
    }

    /// Returns the whole tree of `chain`, of copies.
    fn tree_of(&self, chain: &[ChainId]) -> PathBuf {
        chain.last().map_or_else(|| self.empty(), |top| self.path_of(*top))
    }

    fn empty(&self) -> PathBuf {
        self.finished.join("empty")
    }

    /// Returns the lower directories of these snapshots alone.
    fn lowers_on(&self, chain: &[ChainId]) -> impl Iterator<Item = PathBuf> {
        chain.iter().map(|id| self.lower_of(*id).unwrap_or_else(|| self.path_of(*id)))
    }

    /// Opens the merged, read-only view of `chain`, all of whose snapshots are there.
    pub fn view(&self, chain: &[ChainId]) -> Result<Dir, SnapshotError> {
        match self.snapshotter {
            Snapshotter::Overlay if !chain.is_empty() => Ok(self.merged(chain)?.open()?.with_owners(self.owners)),
            _ => self.open_tree(&self.tree_of(chain)),
        }
    }

    /// Mounts the view of `chain`, which is not empty: on a view of most of it, where there is one.
    fn merged(&self, chain: &[ChainId]) -> Result<Arc<Merged>, SnapshotError> {
        if let Some((base, high)) = self.bases.below(chain)
            && let Ok(view) = self.merged_on(base, high, chain)
        {
            return Ok(view);
        }
        let (low, high) = chain.split_at(chain.len().min(bases::MOST_LAYERS));
        let lowers = self.lowers(low)?;
        // Each packed layer is a file system that numbers its files itself. A view on top of their view would give different
        // files the number of one, and they would be taken for names of one file.
        let has_packed = lowers.iter().any(|lower| lower.starts_with(&self.packed));
        if has_packed && !high.is_empty() {
            return Err(SnapshotError::TooTall { layers: chain.len() });
        }
        let base = Arc::new(Merged::mount(None, &lowers, self.userxattr)?);
        self.bases.keep(low, &base, has_packed);
        self.merged_on(base, high, chain)
    }

    /// Mounts `high`, the upper layers of `chain`, on a view of the others. Before Linux 6.15 that is refused.
    fn merged_on(&self, base: Arc<Merged>, high: &[ChainId], chain: &[ChainId]) -> Result<Arc<Merged>, SnapshotError> {
        if high.is_empty() {
            return Ok(base);
        }
        let lowers: Vec<PathBuf> = self.lowers_on(high).collect();
        let view = Arc::new(Merged::mount(Some(&base), &lowers, self.userxattr)?);
        self.bases.keep(chain, &view, true);
        Ok(view)
    }

    /// Unpacks a layer tar (not compressed, read to its end) on top of `below`, which is there; to be committed.
    pub fn unpack(&self, tar: impl Read, below: &[ChainId]) -> Result<Scratch, SnapshotError> {
        let (view, scratch) = (self.view(below)?, self.scratch()?);
        let target = self.open_tree(scratch.fs())?;
        match self.snapshotter {
            Snapshotter::Overlay => {
                // A layer need not say anything of the root directory.
                target.copy_metadata_of(&view).map_err(SnapshotError::io("prepare", scratch.fs()))?;
                let options = layer::ApplyOptions { userxattr: self.userxattr, ..Default::default() };
                layer::apply(tar, &target, Some(&view), &options)?;
            }
            Snapshotter::Copy => {
                layer::link_tree(&view, &target)?;
                layer::merge(tar, &target, layer::Limits::default())?;
            }
        }
        Ok(scratch)
    }

    /// Whether a layer whose plain tar has `length` bytes is better packed than unpacked.
    pub fn packs(&self, length: u64) -> bool {
        self.has_packed() && length >= self.pack_from && packed::can_be_mounted(&self.scratch)
    }

    /// Packs and commits the last layer of `chain`, on top of the others, which are there. `tar` reads the file `blob`, and
    /// verifies it at its end. Returns whether it was done; otherwise the layer is to be unpacked.
    pub fn pack(&self, tar: impl Read, blob: &Path, chain: &[ChainId]) -> Result<bool, SnapshotError> {
        let Some((id, below)) = chain.split_last() else { return Ok(false) };
        let root = self.root_of(&self.view(below)?)?;
        self.commit_packed(blob, *id, || layer::erofs::image_of(tar, &root, layer::Limits::default()))
    }

    /// Begins to note the names of a layer that is being written on top of `view`, to be packed as it is written.
    pub fn begin_names(&self, view: &Dir) -> Result<Names, SnapshotError> {
        Ok(Names::new(&self.root_of(view)?))
    }

    /// Packs and commits the layer on top of `chain` as [`Snapshots::pack`] does, by the names that were noted while the tar of
    /// `length` bytes was written to the file `blob`.
    pub fn pack_written(
        &self,
        names: Names,
        (blob, length): (&Path, u64),
        chain: ChainId,
    ) -> Result<bool, SnapshotError> {
        self.commit_packed(blob, chain, || Ok(names.finish(length)))
    }

    fn commit_packed(
        &self,
        blob: &Path,
        chain: ChainId,
        image: impl FnOnce() -> Result<Option<Image>, LayerError>,
    ) -> Result<bool, SnapshotError> {
        let scratch = self.scratch()?;
        if !packed::pack(blob, scratch.fs(), image)? {
            return Ok(false);
        }
        create_dir(&self.packed, 0o700).map_err(SnapshotError::io("create the directory", &self.packed))?;
        self.publish(&scratch, chain, &self.packed.join(chain.0.hex())).map(|()| true)
    }

    /// Describes the root directory of a view, as a layer takes it over that does not say anything of it.
    fn root_of(&self, view: &Dir) -> Result<TarEntry, SnapshotError> {
        layer::directory_entry(view, Vec::new()).map_err(SnapshotError::io("look at the root of", &self.finished))
    }

    /// Makes a tree that starts as `chain`, all of whose snapshots are there, and that one step may write.
    pub fn writable(&self, chain: &[ChainId]) -> Result<Writable, SnapshotError> {
        let (view, scratch) = (self.view(chain)?, self.scratch()?);
        let target = self.open_tree(scratch.fs())?;
        let (lowers, original) = match self.snapshotter {
            Snapshotter::Overlay => {
                target.copy_metadata_of(&view).map_err(SnapshotError::io("prepare", scratch.fs()))?;
                let mut lowers = self.lowers(chain)?;
                lowers[0] = self.mount_points();
                (lowers, None)
            }
            Snapshotter::Copy => (Vec::new(), Some(layer::private_copy(&view, &target)?)),
        };
        Ok(Writable { scratch, lowers, original })
    }

    /// Makes a private copy of the file or directory at `subpath` of `chain`, all of whose snapshots are there, beside what
    /// `scratch` is for.
    pub fn copy_beside(
        &self,
        chain: &[ChainId],
        subpath: &Path,
        scratch: &Scratch,
        name: &str,
    ) -> Result<PathBuf, SnapshotError> {
        let (view, path) = (self.view(chain)?, scratch.beside(name));
        match view.open_dir_in_root(subpath) {
            Ok(dir) => {
                create_dir(&path, 0o755).map_err(SnapshotError::io("create the directory", &path))?;
                layer::private_copy(&dir, &self.open_tree(&path)?)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                copy_file(&view, subpath, &path).map_err(SnapshotError::io("make", &path))?;
            }
            Err(error) => return Err(SnapshotError::io("open", subpath)(error)),
        }
        Ok(path)
    }

    /// Writes what was changed in `written` since it was `below` as a layer. `skip` as in [`layer::DiffOptions`].
    pub fn difference(
        &self,
        written: &Writable,
        below: &Dir,
        skip: &[PathBuf],
        out: impl Write,
    ) -> Result<DiffSummary, SnapshotError> {
        let tree = self.open_tree(written.scratch.fs())?;
        Ok(match (&written.original, self.snapshotter) {
            (Some(original), _) => layer::diff_trees(&tree, below, original, skip, out)?,
            (None, Snapshotter::Overlay) => {
                let skip = [skip, &mount_points::copied(&tree, below)].concat();
                layer::diff(&tree, Some(below), &layer::DiffOptions { skip: &skip, userxattr: self.userxattr }, out)?
            }
            (None, Snapshotter::Copy) => unreachable!("a copy has its original"),
        })
    }

    /// Keeps `written` as the snapshot on top of `chain`, if that costs nothing: a whole private copy is not kept, the
    /// layer is unpacked when somebody needs it, and takes no more room than what it changes.
    pub fn keep(&self, written: Writable, chain: ChainId) -> Result<(), SnapshotError> {
        match self.snapshotter {
            Snapshotter::Overlay => self.commit(written.scratch, chain),
            Snapshotter::Copy => Ok(()),
        }
    }

    /// Makes a fresh scratch directory, swept by a later process if this one dies.
    pub fn scratch(&self) -> Result<Scratch, SnapshotError> {
        Scratch::create(&self.scratch)
    }

    /// Removes scratch directories whose owners are gone.
    pub fn sweep(&self) -> Result<(), SnapshotError> {
        scratch::sweep(&self.scratch)
    }

    /// Publishes the `fs` directory of `scratch` as the snapshot on top of `chain`. If another process was
    /// first, its equal snapshot stays.
    pub fn commit(&self, scratch: Scratch, chain: ChainId) -> Result<(), SnapshotError> {
        self.publish(&scratch, chain, &self.path_of(chain))
    }

    fn publish(&self, scratch: &Scratch, id: ChainId, path: &Path) -> Result<(), SnapshotError> {
        self.hold(id).map_err(SnapshotError::io("note the use of", path))?;
        match std::fs::rename(scratch.fs(), path) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => Ok(()),
            Err(error) => Err(SnapshotError::io("publish the snapshot", path)(error)),
        }
    }

    /// Returns the names of all finished snapshots.
    pub fn all(&self) -> Result<Vec<ChainId>, SnapshotError> {
        let mut all = BTreeSet::new();
        for place in self.places() {
            let entries = match Dir::open(place).and_then(|dir| dir.entries()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(SnapshotError::io("list", place))?,
            };
            let named = |entry: &Entry| Digest::from_hex(entry.name.to_str()?).ok().map(ChainId);
            all.extend(entries.iter().filter_map(named));
        }
        Ok(all.into_iter().collect())
    }

    /// Whether the snapshot in the directory `path` is one of these.
    pub fn is_at(&self, path: &Path) -> bool {
        self.places().any(|place| path.starts_with(place))
    }

    /// Removes a snapshot that nobody uses, however it is kept. It goes through a scratch directory, so that one half removed
    /// is never taken for a finished one.
    pub fn remove(&self, chain: ChainId) -> Result<(), SnapshotError> {
        for place in self.places() {
            let (path, scratch) = (place.join(chain.0.hex()), self.scratch()?);
            match std::fs::rename(&path, scratch.fs()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(SnapshotError::io("remove the snapshot", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Where finished snapshots are.
    fn places(&self) -> impl Iterator<Item = &Path> {
        let packed = (self.snapshotter == Snapshotter::Overlay).then_some(self.packed.as_path());
        [self.finished.as_path()].into_iter().chain(packed)
    }

    fn open_tree(&self, path: &Path) -> Result<Dir, SnapshotError> {
        self.tree(path).map_err(SnapshotError::io("open the directory", path))
    }

    fn path_of(&self, chain: ChainId) -> PathBuf {
        self.finished.join(chain.0.hex())
    }

    /// Whether packed layers are for these: their marks are of one kind.
    fn has_packed(&self) -> bool {
        self.snapshotter == Snapshotter::Overlay && !self.userxattr
    }
}

/// Copies a file of `view` into the directory of `to`, a new name.
fn copy_file(view: &Dir, subpath: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (view.open_file_in_root(subpath)?, std::fs::File::create_new(to)?);
    let metadata = view.metadata_of(&from)?;
    io::copy(&mut from, &mut to)?;
    view.set_owner_of(&to, metadata.uid, metadata.gid)?;
    set_mode(&to, metadata.mode)?;
    set_mtime(&to, metadata.mtime)
}

/// Makes a directory with this mode whatever the umask, unless it is there.
fn create_dir(path: &Path, mode: u32) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
