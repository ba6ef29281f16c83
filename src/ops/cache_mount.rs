//! Cache mounts: directories that outlive the build.
//!
//! ```text
//! mounts/<blake3 of id and how it begins>/fs        the directory; an flock on its parent says who uses it
//! mounts/<..>.1/fs, .2/fs, ..                       for `sharing=private` while the first is in use
//! ```
//!
//! `shared` takes the lock shared, `locked` waits for it alone, `private` takes the first directory it can have alone.
//! The locks are the kernel's, so they hold between processes and go with the process. Two mounts of one RUN with one
//! directory share it and its lock, the strictest of the two: a step cannot wait for itself.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use super::{Inputs, OpError, Worker};
use crate::digest::to_hex;
use crate::fsutil::set_mode;
use crate::layer;
use crate::plan::{CacheSharing, MountKind, Root, RunOp};
use crate::sandbox::Isolation;

/// A cache mount in use. Clones share the lock.
#[derive(Clone)]
pub(super) struct CacheMount {
    path: PathBuf,
    _lock: Arc<OwnedFd>,
}

impl CacheMount {
    /// Returns the directory to mount.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes every cache mount of a RUN; the result is by place in `op.mounts`. Locks are taken in order of
/// their directories, so that two steps cannot wait for each other.
pub(super) fn lock_all(worker: &Worker, op: &RunOp, inputs: &Inputs) -> Result<BTreeMap<usize, CacheMount>, OpError> {
    let mut wanted = Vec::new();
    for (place, mount) in op.mounts.iter().enumerate() {
        let MountKind::Cache { id, sharing, from, mode, uid, gid, .. } = &mount.kind else { continue };
        let initial = Initial { from: from.as_ref(), mode: *mode, uid: *uid, gid: *gid };
        wanted.push((directory_name(id, &initial, inputs), place, *sharing, initial));
    }
    wanted.sort_by(|a, b| (&a.0, strictness(a.2), a.1).cmp(&(&b.0, strictness(b.2), b.1)));
    let mut taken: BTreeMap<usize, CacheMount> = BTreeMap::new();
    let mut last: Option<(String, CacheMount)> = None;
    for (name, place, sharing, initial) in wanted {
        // A step that mounts one directory twice must not wait for itself.
        if let Some((_, mount)) = last.as_ref().filter(|(known, _)| *known == name) {
            taken.insert(place, mount.clone());
            continue;
        }
        let base = worker.cache_mounts.join(&name);
        let mount = match sharing {
            // Where it cannot be mounted it is in one place at a time.
            CacheSharing::Shared if worker.settings.isolation == Isolation::Chroot => {
                wait(worker, &base, FlockOperation::NonBlockingLockExclusive)?
            }
            CacheSharing::Shared => wait(worker, &base, FlockOperation::NonBlockingLockShared)?,
            CacheSharing::Locked => wait(worker, &base, FlockOperation::NonBlockingLockExclusive)?,
            CacheSharing::Private => first_free(&base)?,
        };
        initial.fill(worker, inputs, &mount.path)?;
        last = Some((name, mount.clone()));
        taken.insert(place, mount);
    }
    Ok(taken)
}

/// The strictest is the first.
fn strictness(sharing: CacheSharing) -> u8 {
    match sharing {
        CacheSharing::Locked => 0,
        CacheSharing::Private => 1,
        CacheSharing::Shared => 2,
    }
}

/// Two mounts share a directory when id, initial content, mode and owner are the same (rule m.5): one that root made would
/// be closed to the user of the other.
fn directory_name(id: &str, initial: &Initial<'_>, inputs: &Inputs) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(id.len() as u64).to_le_bytes());
    hasher.update(id.as_bytes());
    if let Some((root, path)) = initial.from {
        for layer in inputs.layers(*root).layers() {
            hasher.update(layer.diff_id.0.as_bytes());
        }
        hasher.update(path.as_bytes());
    }
    if initial.has_owner() {
        hasher.update(b"\0");
        for number in [initial.mode, initial.uid, initial.gid] {
            hasher.update(&number.to_le_bytes());
        }
    }
    to_hex(&hasher.finalize().as_bytes()[..16])
}

fn wait(worker: &Worker, base: &Path, operation: FlockOperation) -> Result<CacheMount, OpError> {
    loop {
        if let Some(mount) = try_take(base, operation)? {
            return Ok(mount);
        }
        if worker.cancel.is_cancelled() {
            return Err(OpError::Canceled);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn first_free(base: &Path) -> Result<CacheMount, OpError> {
    let mut number = 0u64;
    loop {
        let path = if number == 0 { base.to_owned() } else { base.with_extension(number.to_string()) };
        if let Some(mount) = try_take(&path, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(mount);
        }
        number += 1;
    }
}

fn try_take(base: &Path, operation: FlockOperation) -> Result<Option<CacheMount>, OpError> {
    let doing = || format!("open the cache mount `{}`", base.display());
    // Closed to others: a cache may hold set-user-id programs.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(base).map_err(OpError::io(doing()))?;
    let lock = rustix::fs::open(base, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| OpError::io(doing())(error.into()))?;
    match flock(&lock, operation) {
        // A prune may have removed it before it was locked.
        Ok(()) if !is_at(&lock, base) => Ok(None),
        Ok(()) => Ok(Some(CacheMount { path: base.join("fs"), _lock: Arc::new(lock) })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(OpError::io(doing())(error.into())),
    }
}

/// Whether an open directory is the one at `path`.
fn is_at(directory: &OwnedFd, path: &Path) -> bool {
    match (rustix::fs::fstat(directory), rustix::fs::stat(path)) {
        (Ok(open), Ok(named)) => (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}

/// What a new cache mount begins with. Without another mode and owner than the usual ones, the directory that a stage or an
/// image gives keeps its own.
struct Initial<'a> {
    from: Option<&'a (Root, String)>,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Initial<'_> {
    /// Whether the mount says another mode or owner than that of root.
    fn has_owner(&self) -> bool {
        (self.mode, self.uid, self.gid) != (0o755, 0, 0)
    }

    /// Makes the directory if it is new; made beside and renamed, so that a half-filled one is never used.
    fn fill(&self, worker: &Worker, inputs: &Inputs, path: &Path) -> Result<(), OpError> {
        if path.is_dir() {
            return Ok(());
        }
        let failed = |error| OpError::io(format!("make the cache mount `{}`", path.display()))(error);
        let scratch = worker.snapshots.scratch()?;
        let target = worker.snapshots.tree(scratch.fs()).map_err(failed)?;
        let (mut mode, mut uid, mut gid) = (self.mode, self.uid, self.gid);
        if let Some((root, source)) = self.from {
            let view = worker.snapshots.view(&inputs.layers(*root).chain())?;
            let source = view.open_dir_in_root(Path::new(source)).map_err(failed)?;
            layer::copy_tree(&source, &target).map_err(|error| OpError::Layer(error.into()))?;
            if !self.has_owner() {
                let metadata = source.metadata().map_err(failed)?;
                (mode, uid, gid) = (metadata.mode, metadata.uid, metadata.gid);
            }
        }
        target
            .set_owner_of(&target, uid, gid)
            .and_then(|()| set_mode(&target, mode))
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => OpError::user("cache-mount", format!(
                    "cannot make a cache mount of {uid}:{gid}: an id that is not mapped here: the range in /etc/subuid or \
                     /etc/subgid is too small"
                )),
                _ => failed(error),
            })?;
        // Another step that shares the mount may have been first; its directory may still be empty, and in use.
        match renameat_with(CWD, scratch.fs(), CWD, path, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => Ok(()),
            other => other.map_err(|error| failed(error.into())),
        }
    }
}
