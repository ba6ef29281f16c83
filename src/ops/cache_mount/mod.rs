//! Cache mounts: directories that outlive the build.
//!
//! Where overlayfs can be had, a step sees a mount as it was when the step began, and what it writes is its own until its command has
//! succeeded: then it is put on top of what others wrote meanwhile, the later one's files in place of the earlier one's. What a failed
//! or stopped step wrote is dropped. So steps side by side neither wait for each other nor see half a file.
//!
//! `shared` waits for nobody, `locked` until nobody else uses the mount, and `private` takes the first of `<name>`, `<name>.1`, `.2`,
//! .. that nobody uses. Two mounts of one RUN with one directory share it, and the strictest of the two ways: a step cannot wait for
//! itself.
//!
//! Elsewhere (copies of trees, no namespaces) all steps write the one directory, and what a failed one wrote stays. Steps of both kinds at
//! once, in one store, are not foreseen: overlayfs says nothing of lower directories that change.
//!
//! * `stack`: a mount on the disk; `initial`: what it begins with; `arrive` and `leave`: on the way from and to shared caches.

mod arrive;
mod initial;
mod leave;
mod stack;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::{Inputs, OpError, Worker};
use crate::plan::{CacheSharing, MountKind, RunOp};
use crate::sandbox::{Isolation, Mount};
use crate::snapshot::{Scratch, Snapshotter};
use initial::Initial;
pub use leave::FrozenMount;
use stack::{Held, Stack};

/// The cache mounts of a RUN.
pub(super) struct CacheMounts {
    taken: Vec<Taken>,
    /// Which of them a mount of the RUN is, by its place.
    places: BTreeMap<usize, usize>,
}

/// A cache mount in use.
struct Taken {
    base: PathBuf,
    layers: Vec<PathBuf>,
    /// Takes the writes, if there are any and they are the step's own.
    upper: Option<Scratch>,
    is_written: bool,
    // In this order: a turn is in the mount that is kept.
    _turn: Option<Held>,
    stack: Stack,
}

/// What a RUN wants of one cache mount.
struct Wanted<'a> {
    places: Vec<usize>,
    sharing: CacheSharing,
    is_written: bool,
    initial: Initial<'a>,
}

impl CacheMounts {
    /// Takes every cache mount of a RUN, in order of their names, so that two steps cannot wait for each other.
    pub(super) fn take(worker: &Worker, op: &RunOp, inputs: &Inputs) -> Result<Self, OpError> {
        let (mut taken, mut places) = (Vec::new(), BTreeMap::new());
        for (name, wanted) in wanted(op, inputs) {
            places.extend(wanted.places.iter().map(|place| (*place, taken.len())));
            taken.push(Taken::take(worker, &worker.cache_mounts.join(name), &wanted, inputs)?);
        }
        Ok(Self { taken, places })
    }

    /// Returns what is to be mounted for the mount at this place of the RUN.
    pub(super) fn mount(&self, place: usize, target: PathBuf, readonly: bool) -> Mount {
        let taken = &self.taken[self.places[&place]];
        let lowers = taken.layers.clone();
        match &taken.upper {
            Some(upper) => {
                let (upper, work) = (upper.fs().to_owned(), upper.work().to_owned());
                Mount::Overlay { lowers, upper, work, target, readonly }
            }
            None if readonly && lowers.len() > 1 => Mount::Layers { lowers, subpath: PathBuf::new(), target, readonly },
            None => Mount::Bind { source: taken.stack.lowest(), subpath: PathBuf::new(), target, readonly },
        }
    }

    /// Keeps what the command wrote, which has succeeded.
    pub(super) fn keep(self, worker: &Worker) -> Result<(), OpError> {
        for taken in self.taken {
            let base = taken.base.clone();
            if taken.keep(worker)? {
                worker.tell_of_mount(&base);
            }
            stack::tidy(&base, &worker.snapshots, false)?;
        }
        Ok(())
    }
}

/// The cache mounts of a RUN by their names.
fn wanted<'a>(op: &'a RunOp, inputs: &Inputs) -> BTreeMap<String, Wanted<'a>> {
    let mut all: BTreeMap<String, Wanted<'a>> = BTreeMap::new();
    for (place, mount) in op.mounts.iter().enumerate() {
        let MountKind::Cache { sharing, .. } = &mount.kind else { continue };
        let Some((id, initial)) = Initial::of(&mount.kind) else { continue };
        let new = Wanted { places: Vec::new(), sharing: *sharing, is_written: false, initial };
        let wanted = all.entry(new.initial.name(id, inputs)).or_insert(new);
        wanted.places.push(place);
        wanted.is_written |= !mount.readonly;
        if strictness(*sharing) < strictness(wanted.sharing) {
            wanted.sharing = *sharing;
        }
    }
    all
}

/// The strictest is the first.
fn strictness(sharing: CacheSharing) -> u8 {
    match sharing {
        CacheSharing::Locked => 0,
        CacheSharing::Private => 1,
        CacheSharing::Shared => 2,
    }
}

impl Taken {
    fn take(worker: &Worker, base: &Path, wanted: &Wanted<'_>, inputs: &Inputs) -> Result<Self, OpError> {
        let (base, stack, turn) = match wanted.sharing {
            CacheSharing::Private => first_free(worker, base)?,
            CacheSharing::Locked => {
                let stack = joined(worker, base)?;
                let alone = || stack.turn(FlockOperation::NonBlockingLockExclusive).map_err(failed(base));
                let turn = waited(worker, alone)?;
                (base.to_owned(), stack, Some(turn))
            }
            CacheSharing::Shared => {
                let stack = joined(worker, base)?;
                // Who is to be alone waits for this one, and not the other way round.
                let turn = stack.turn(FlockOperation::NonBlockingLockShared).map_err(failed(base))?;
                (base.to_owned(), stack, turn)
            }
        };
        wanted.initial.fill(worker, inputs, &stack.lowest())?;
        let layers = stack.layers().map_err(failed(&base))?;
        let upper = match wanted.is_written && worker.snapshots.snapshotter() == Snapshotter::Overlay {
            true => Some(upper(worker, &layers)?),
            false => None,
        };
        Ok(Self { base, layers, upper, is_written: wanted.is_written, _turn: turn, stack })
    }

    /// Whether there may be something new in it.
    fn keep(self, worker: &Worker) -> Result<bool, OpError> {
        let (Some(upper), Some(below)) = (self.upper, self.layers.last()) else { return Ok(self.is_written) };
        let is_written = worker.snapshots.is_written(upper.fs(), below)?;
        if is_written {
            self.stack.push(upper, &self.layers, &worker.snapshots)?;
        }
        Ok(is_written)
    }
}

/// A directory for what a step writes on top of these layers, which looks like the highest of them.
fn upper(worker: &Worker, layers: &[PathBuf]) -> Result<Scratch, OpError> {
    let scratch = worker.snapshots.scratch()?;
    let prepare = || {
        let (upper, below) = (worker.snapshots.tree(scratch.fs())?, layers.last().map(PathBuf::as_path));
        below.map_or(Ok(()), |below| upper.copy_metadata_of(&worker.snapshots.tree(below)?))
    };
    prepare().map_err(OpError::io("prepare a directory for what is written"))?;
    Ok(scratch)
}

/// Joins the users of a mount.
fn joined(worker: &Worker, base: &Path) -> Result<Stack, OpError> {
    let operation = match worker.settings.isolation {
        // Where it cannot be mounted it is in one place at a time.
        Isolation::Chroot => FlockOperation::NonBlockingLockExclusive,
        Isolation::Namespaces => FlockOperation::NonBlockingLockShared,
    };
    let needs_one_layer = worker.snapshots.snapshotter() == Snapshotter::Copy;
    waited(worker, || {
        let Some(stack) = Stack::join(base, operation).map_err(failed(base))? else { return Ok(None) };
        let is_in_the_way = match needs_one_layer {
            true => stack.layers().map_err(failed(base))?.len() > 1,
            false => stack.is_full().map_err(failed(base))?,
        };
        if !is_in_the_way {
            return Ok(Some(stack));
        }
        drop(stack);
        stack::tidy(base, &worker.snapshots, true).map(|()| None)
    })
}

/// Takes the first directory that nobody else has.
fn first_free(worker: &Worker, base: &Path) -> Result<(PathBuf, Stack, Option<Held>), OpError> {
    let mut number = 0u64;
    loop {
        let path = if number == 0 { base.to_owned() } else { base.with_extension(number.to_string()) };
        // Nobody has the mount alone for long who does not have the turn as well, but without namespaces.
        let stack = match worker.settings.isolation {
            Isolation::Chroot => Stack::join(&path, FlockOperation::NonBlockingLockExclusive).map_err(failed(&path))?,
            Isolation::Namespaces => Some(joined(worker, &path)?),
        };
        if let Some(stack) = stack
            && let Some(turn) = stack.turn(FlockOperation::NonBlockingLockExclusive).map_err(failed(&path))?
        {
            return Ok((path, stack, Some(turn)));
        }
        number += 1;
    }
}

/// Asks again and again until there is an answer.
fn waited<T>(worker: &Worker, mut ask: impl FnMut() -> Result<Option<T>, OpError>) -> Result<T, OpError> {
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if worker.cancel.is_cancelled() {
            return Err(OpError::Canceled);
        }
        std::thread::sleep(POLL);
    }
}

/// How late a step may notice that what it waits for is free.
const POLL: Duration = Duration::from_millis(20);

fn failed(base: &Path) -> impl FnOnce(std::io::Error) -> OpError + use<> {
    OpError::io(format!("open the cache mount `{}`", base.display()))
}
