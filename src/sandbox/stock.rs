//! Mounts made before it is known what they will be part of: what every sandbox has, made while nobody waits for it.
//!
//! A step that finds its mount in stock takes it, and any other step makes its own. So the plan does not depend on what is in
//! stock; and what could not be made here is tried again where it is wanted, and refused there by name.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Result;

use super::idmap::Entered;
use super::mounts;
use super::plan::{Limits, SetupStep, foreseen};
use super::target::PlaceKind;

/// How many covers of each kind the usual machine needs.
const COVERS: usize = 3;

/// What lies over a hidden directory: nothing, and nothing can be put there.
const EMPTY: Limits = Limits { readonly: true, nosuid: true, nodev: true, noexec: true };
/// What lies over a hidden file: a device, which must stay one.
const NULL: Limits = Limits { readonly: true, nosuid: true, nodev: false, noexec: true };

/// Detached mounts, and the steps they are for.
#[derive(Default)]
pub(super) struct Stock {
    mounts: Vec<(SetupStep, OwnedFd)>,
    directories: Vec<OwnedFd>,
    files: Vec<OwnedFd>,
    /// A network namespace, which the supervisor makes.
    pub(super) network: Option<OwnedFd>,
}

impl Stock {
    /// Makes what a sandbox will want, as far as the kernel lets it.
    pub(super) fn fill(here: Entered) -> Self {
        let made = foreseen(here).filter_map(|step| make(&step)?.ok().map(|mount| (step, mount)));
        let covers = |kind| (0..COVERS).map_while(|_| cover(kind).ok()).collect();
        let (directories, files) = (covers(PlaceKind::Directory), covers(PlaceKind::File));
        Self { mounts: made.collect(), directories, files, network: None }
    }

    /// Returns the mount of a step that mounts a new file system; `None` for other steps.
    pub(super) fn mount(&mut self, step: &SetupStep) -> Option<Result<OwnedFd>> {
        match self.mounts.iter().position(|(made, _)| made == step) {
            Some(found) => Some(Ok(self.mounts.swap_remove(found).1)),
            None => make(step),
        }
    }

    /// Returns what hides a directory or a file.
    pub(super) fn cover(&mut self, kind: PlaceKind) -> Result<OwnedFd> {
        let made = match kind {
            PlaceKind::Directory => self.directories.pop(),
            PlaceKind::File => self.files.pop(),
        };
        made.map_or_else(|| cover(kind), Ok)
    }
}

fn make(step: &SetupStep) -> Option<Result<OwnedFd>> {
    match step {
        SetupStep::Filesystem { kind, options, limits, .. } => Some(mounts::filesystem(kind, options, *limits)),
        SetupStep::Devices { nodes, links, limits } => Some(devices(nodes, links, *limits)),
        _ => None,
    }
}

fn devices(nodes: &[(&str, u32, u32)], links: &[(&str, &str)], limits: Limits) -> Result<OwnedFd> {
    let options = [("mode", "0755".to_owned()), ("size", "65536k".to_owned())];
    let dev = mounts::filesystem("tmpfs", &options, limits)?;
    for (name, major, minor) in nodes {
        let device = fs::makedev(*major, *minor);
        fs::mknodat(&dev, *name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
    }
    for (name, text) in links {
        fs::symlinkat(*text, &dev, *name)?;
    }
    Ok(dev)
}

fn cover(kind: PlaceKind) -> Result<OwnedFd> {
    match kind {
        PlaceKind::Directory => mounts::filesystem("tmpfs", &[("size", "4k".to_owned())], EMPTY),
        // The host's: the one in the sandbox may be covered by a mount of the step.
        PlaceKind::File => {
            let null = fs::open(Path::new("/dev/null"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            mounts::clone(null, NULL)
        }
    }
}
