//! Whether overlay mounts can be had: tried out, because file systems, kernels and containers differ.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::{
    fd::AsFd,
    mount::{fsconfig_set_flag, fsconfig_set_string},
};

use super::{SnapshotError, Snapshots, Snapshotter};
use crate::fsutil::{Dir, set_xattr, write_atomically};

/// The type that statfs(2) gives of an overlay.
const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;

/// Returns why this process cannot have overlay mounts with their writes in the store at `root`; `None` if it can.
/// A store that is not there is not made: only its place is looked at. That it works is remembered in `snapshots/tried`,
/// because making and removing directories may take tens of milliseconds on a busy disk; until the next boot, and for the
/// file system and the directory where it was tried.
pub fn refusal(root: &Path, userxattr: bool) -> Result<Option<String>, SnapshotError> {
    let place = root.ancestors().find(|path| path.exists()).unwrap_or(root);
    let stat = rustix::fs::statfs(place).map_err(|error| SnapshotError::io("look at", place)(error.into()))?;
    if stat.f_type == OVERLAYFS {
        return Ok(Some("the store is on an overlay file system itself, which takes no writes of another".to_owned()));
    }
    if place != root {
        return Ok(None);
    }
    let tried = root.join("snapshots/tried");
    let here = || format!("{userxattr} {}", identity(&root.join("scratch")));
    if std::fs::read_to_string(&tried).is_ok_and(|known| known == here()) {
        return Ok(None);
    }
    let refused = try_out(root, userxattr)?;
    if refused.is_none() {
        // If it cannot be written, the next build tries again.
        let _ = write_atomically(&tried, here().as_bytes());
    }
    Ok(refused)
}

/// What tells the kernel, the file system and the directory from others. A store that was copied has new directories, and
/// one that was moved away and back is where it was. A device number alone is given to another file system when one is gone.
fn identity(scratch: &Path) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let directory = std::fs::metadata(scratch).map_or((0, 0), |found| (found.dev(), found.ino()));
    let kind = rustix::fs::statfs(scratch).map_or(0, |found| found.f_type);
    let (id, flags) = rustix::fs::statvfs(scratch).map_or((0, 0), |found| (found.f_fsid, found.f_flag.bits()));
    format!("{} {directory:?} {kind:x} {id:x} {flags:x}", boot.trim())
}

fn try_out(root: &Path, userxattr: bool) -> Result<Option<String>, SnapshotError> {
    let scratch = Snapshots::open(root, Snapshotter::Overlay, userxattr)?.scratch()?;
    let mounted = mount(&root.join("snapshots/empty"), scratch.fs(), scratch.work(), userxattr)
        .map_err(|error| format!("an overlay cannot be mounted: {}", std::io::Error::from(error)))
        .and_then(|()| mark(scratch.fs(), userxattr));
    Ok(mounted.err())
}

fn mount(lower: &Path, upper: &Path, work: &Path, userxattr: bool) -> rustix::io::Result<()> {
    let config = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in [("lowerdir+", lower), ("upperdir", upper), ("workdir", work)] {
        fsconfig_set_string(config.as_fd(), name, value)?;
    }
    fsconfig_set_flag(config.as_fd(), "volatile")?;
    if userxattr {
        fsconfig_set_flag(config.as_fd(), "userxattr")?;
    }
    fsconfig_create(config.as_fd())?;
    fsmount(config.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(drop)
}

/// Tries what stands for deletions: an overlay mounts without, and fails when something is deleted.
fn mark(upper: &Path, userxattr: bool) -> Result<(), String> {
    let name: &[u8] = if userxattr { b"user.overlay.opaque" } else { b"trusted.overlay.opaque" };
    let refused = |error: std::io::Error| format!("the file system of the store takes no marks of an overlay: {error}");
    Dir::open(upper).and_then(|dir| set_xattr(&dir, name, b"y")).map_err(refused)?;
    mknodat(CWD, upper.join("deleted"), FileType::CharacterDevice, Mode::empty(), 0)
        .map_err(|error| refused(error.into()))
}
