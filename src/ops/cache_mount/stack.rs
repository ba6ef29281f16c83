//! One cache mount on the disk: a directory and layers on top of it.
//!
//! ```text
//! mounts/<name>/            flock: shared by each step that uses it, exclusive while layers are folded or it is pruned
//! mounts/<name>/fs          the lowest layer; all there is where overlayfs cannot be had
//! mounts/<name>/<random>    what one step wrote
//! mounts/<name>/stack       the names of the layers above `fs`, bottom first, a line each; replaced by rename
//! mounts/<name>/gate        flock: held while a layer is put on top
//! mounts/<name>/turn        flock: exclusive by a step that is to be alone
//! ```
//!
//! A layer is never changed while somebody uses the mount. The locks are the kernel's, so they go with the process. What a killed
//! process left is in `scratch/`, or has no line in `stack`, and is swept.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::super::OpError;
use crate::fsutil::{Dir, random_name, write_atomically};
use crate::snapshot::{Scratch, Snapshots};

/// The lowest layer.
pub(super) const LOWEST: &str = "fs";
const STACK: &str = "stack";
const GATE: &str = "gate";
const TURN: &str = "turn";

/// More layers than this are folded into one when nobody uses them.
const DEEP: usize = 24;

/// More layers than this are not used before they are folded: an overlay takes 500.
const FULL: usize = 200;

/// A cache mount in use: its layers stay as they are.
pub(super) struct Stack {
    base: PathBuf,
    users: OwnedFd,
}

/// A lock for as long as it is held.
pub(super) struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // By name: a process that another thread starts meanwhile has the descriptor, too, until it becomes its program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Stack {
    /// Joins the users of the mount at `base`, which is made if it is missing; `None` while they cannot be joined.
    pub(super) fn join(base: &Path, operation: FlockOperation) -> io::Result<Option<Self>> {
        // Closed to others: a cache may hold set-user-id programs.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(base)?;
        let users = rustix::fs::open(base, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        match flock(&users, operation) {
            // A prune may have removed it before it was locked.
            Ok(()) if !is_at(&users, base) => Ok(None),
            Ok(()) => Ok(Some(Self { base: base.to_owned(), users })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lock of who is to be alone, or of who is not; `None` if somebody else's stands against it.
    pub(super) fn turn(&self, operation: FlockOperation) -> io::Result<Option<Held>> {
        let file = self.lock_file(TURN)?;
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Held(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        File::options().create(true).append(true).mode(0o600).open(self.base.join(name))
    }

    /// The lowest layer, which may not be there yet.
    pub(super) fn lowest(&self) -> PathBuf {
        self.base.join(LOWEST)
    }

    /// All layers, bottom first.
    pub(super) fn layers(&self) -> io::Result<Vec<PathBuf>> {
        let above = names(&self.base)?.into_iter().map(|name| self.base.join(name)).filter(|layer| layer.is_dir());
        Ok(std::iter::once(self.lowest()).chain(above).collect())
    }

    /// Whether it must be folded before it is used.
    pub(super) fn is_full(&self) -> io::Result<bool> {
        Ok(self.layers()?.len() > FULL)
    }

    /// Puts on top what a step wrote that saw the layers `seen`.
    pub(super) fn push(&self, written: Scratch, seen: &[PathBuf], snapshots: &Snapshots) -> Result<(), OpError> {
        let failed = |error: io::Error| OpError::io(format!("keep what is new in `{}`", self.base.display()))(error);
        let gate = self.lock_file(GATE).map_err(failed)?;
        flock(&gate, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let _gate = Held(gate);
        let layers = self.layers().map_err(failed)?;
        if layers != seen {
            snapshots.forget_idle_deletions(written.fs(), &layers)?;
        }
        let top = self.base.join(random_name());
        std::fs::rename(written.fs(), &top).map_err(failed)?;
        write(&self.base, layers.iter().skip(1).chain([&top])).map_err(failed)
    }
}

/// Sweeps what nobody knows any more, and makes one layer of many, if nobody uses the mount at `base`. With `all`, of more than one.
pub(super) fn tidy(base: &Path, snapshots: &Snapshots, all: bool) -> Result<(), OpError> {
    let failed = |error: io::Error| OpError::io(format!("put `{}` in order", base.display()))(error);
    let Some(stack) = Stack::join(base, FlockOperation::NonBlockingLockExclusive).map_err(failed)? else {
        return Ok(());
    };
    let layers = stack.layers().map_err(failed)?;
    let swept = Dir::open(base).and_then(|dir| {
        let known = |name: &OsStr| {
            [STACK, GATE, TURN].iter().any(|known| name == *known) || layers.iter().any(|layer| layer.ends_with(name))
        };
        dir.entries()?.iter().filter(|entry| !known(&entry.name)).try_for_each(|entry| dir.remove_tree(&entry.name))
    });
    swept.map_err(failed)?;
    if layers.len() > if all { 1 } else { DEEP } {
        for (at, layer) in layers.iter().enumerate().skip(1) {
            snapshots.fold(layer, &layers[0])?;
            write(base, layers.iter().skip(at + 1)).map_err(failed)?;
        }
    }
    // The lock goes by name, as others do.
    let _ = flock(&stack.users, FlockOperation::Unlock);
    Ok(())
}

fn names(base: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_to_string(base.join(STACK)) {
        Ok(text) => Ok(text.lines().filter(|name| is_name(name)).map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_name(name: &str) -> bool {
    name.len() == random_name().len() && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn write<'a>(base: &Path, layers: impl Iterator<Item = &'a PathBuf>) -> io::Result<()> {
    let names = layers.filter_map(|layer| layer.file_name()?.to_str());
    write_atomically(&base.join(STACK), names.map(|name| format!("{name}\n")).collect::<String>().as_bytes())
}

/// Whether an open directory is the one at `path`.
fn is_at(directory: &OwnedFd, path: &Path) -> bool {
    match (rustix::fs::fstat(directory), rustix::fs::stat(path)) {
        (Ok(open), Ok(named)) => (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}
