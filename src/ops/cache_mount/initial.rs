//! What a new cache mount begins with, and which mounts are one.

use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::super::{Inputs, OpError, Worker};
use crate::digest::to_hex;
use crate::fsutil::set_mode;
use crate::layer;
use crate::plan::{MountKind, Root};

/// Without another mode and owner than the usual ones, the directory that a stage or an image gives keeps its own.
pub(super) struct Initial<'a> {
    from: Option<&'a (Root, String)>,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl<'a> Initial<'a> {
    /// The id of a cache mount and what it begins with; `None` of other mounts.
    pub(super) fn of(kind: &'a MountKind) -> Option<(&'a str, Self)> {
        match kind {
            MountKind::Cache { id, from, mode, uid, gid, .. } => {
                Some((id, Self { from: from.as_ref(), mode: *mode, uid: *uid, gid: *gid }))
            }
            _ => None,
        }
    }

    /// Whether the mount says another mode or owner than that of root.
    fn has_owner(&self) -> bool {
        (self.mode, self.uid, self.gid) != (0o755, 0, 0)
    }

    /// The name of the mount. Two share one when id, initial content, mode and owner are the same (rule m.5): one that root made would
    /// be closed to the user of the other.
    pub(super) fn name(&self, id: &str, inputs: &Inputs) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(id.len() as u64).to_le_bytes());
        hasher.update(id.as_bytes());
        if let Some((root, path)) = self.from {
            for layer in inputs.layers(*root).layers() {
                hasher.update(layer.diff_id.0.as_bytes());
            }
            hasher.update(path.as_bytes());
        }
        if self.has_owner() {
            hasher.update(b"\0");
            for number in [self.mode, self.uid, self.gid] {
                hasher.update(&number.to_le_bytes());
            }
        }
        to_hex(&hasher.finalize().as_bytes()[..16])
    }

    /// Makes the directory if it is new; made beside and renamed, so that a half-filled one is never used.
    pub(super) fn fill(&self, worker: &Worker, inputs: &Inputs, path: &Path) -> Result<(), OpError> {
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
        settle(scratch.fs(), path).map_err(failed)
    }
}

/// Gives what was made its name. Another step that shares the mount may have been first; its directory may still be empty, and in use.
pub(super) fn settle(made: &Path, path: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, made, CWD, path, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}
