//! The merged view of a stack: a detached, read-only overlay mount.

use std::path::PathBuf;

use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::{SnapshotError, open_lower};
use crate::fsutil::Dir;

/// Mounts `lowers` (bottom first, at least two: the kernel refuses a single lower without an upper).
/// Directories are named by their descriptors, so that names need no escaping and cannot be swapped. (The kernel takes
/// the descriptors themselves from 6.13 on; `lowerdir+` is there from 6.5 on.)
/// `redirect_dir=nofollow` because a layer's own `overlay.redirect` would show other directories' files.
pub(super) fn mount(lowers: &[PathBuf], userxattr: bool) -> Result<Dir, SnapshotError> {
    let refused = |error: rustix::io::Errno| SnapshotError::Overlay { layers: lowers.len(), source: error.into() };
    let config = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(refused)?;
    let mut opened = Vec::with_capacity(lowers.len());
    for lower in lowers.iter().rev() {
        let dir = open_lower(lower).map_err(|error| SnapshotError::io("open the snapshot", lower)(error.into()))?;
        let name = format!("/proc/self/fd/{}", dir.as_raw_fd());
        fsconfig_set_string(config.as_fd(), "lowerdir+", name).map_err(refused)?;
        opened.push(dir);
    }
    if userxattr {
        // With userxattr the kernel turns redirects and metacopy off and refuses to be told so.
        fsconfig_set_flag(config.as_fd(), "userxattr").map_err(refused)?;
    } else {
        fsconfig_set_string(config.as_fd(), "redirect_dir", "nofollow").map_err(refused)?;
        fsconfig_set_string(config.as_fd(), "metacopy", "off").map_err(refused)?;
    }
    fsconfig_create(config.as_fd()).map_err(refused)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mounted = fsmount(config.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(refused)?;
    // The mount's own descriptor is an O_PATH one, which cannot be read. The kernel detaches the mount with it, and keeps
    // it alive for the descriptor opened here.
    let root = rustix::fs::openat(&mounted, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    Ok(Dir::from_fd(root.map_err(refused)?))
}
