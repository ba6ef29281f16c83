//! The merged view of a stack: a detached, read-only overlay mount.

use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::{SnapshotError, open_lower};
use crate::fsutil::Dir;

/// A mounted view, as long as it is held. What was opened of it stays.
#[derive(Debug)]
pub(super) struct Merged(OwnedFd);

impl Merged {
    /// Mounts `lowers` (bottom first) on top of `base`, at least two in all: the kernel refuses a single lower without an upper.
    pub(super) fn mount(base: Option<&Self>, lowers: &[PathBuf], userxattr: bool) -> Result<Self, SnapshotError> {
        let mut opened = Vec::with_capacity(lowers.len());
        for lower in lowers {
            let open = open_lower(lower).map_err(|error| SnapshotError::io("open the snapshot", lower)(error.into()));
            opened.push(open?);
        }
        let all: Vec<_> = base.map(|base| base.0.as_fd()).into_iter().chain(opened.iter().map(AsFd::as_fd)).collect();
        let mounted = mount(&all, userxattr);
        mounted.map(Self).map_err(|error| SnapshotError::Overlay { layers: all.len(), source: error.into() })
    }

    /// Opens its root. The mount's own descriptor is an O_PATH one, which cannot be read. The kernel detaches the mount with
    /// it, and keeps it alive for the descriptor opened here.
    pub(super) fn open(&self) -> Result<Dir, SnapshotError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(&self.0, ".", flags, Mode::empty());
        root.map(Dir::from_fd)
            .map_err(|error| SnapshotError::io("open", Path::new("the view of a stack"))(error.into()))
    }
}

/// Mounts these, bottom first. The kernel takes directories from 6.13 on; before, they are named by their descriptors, so that names
/// need no escaping and cannot be swapped. (`lowerdir+` is there from 6.5 on; a detached mount may be a layer from 6.15 on.)
/// `redirect_dir=nofollow` because a layer's own `overlay.redirect` would show other directories' files.
fn mount(lowers: &[BorrowedFd<'_>], userxattr: bool) -> rustix::io::Result<OwnedFd> {
    let config = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in lowers.iter().rev() {
        match fsconfig_set_fd(config.as_fd(), "lowerdir+", *lower) {
            Err(Errno::INVAL) => {
                fsconfig_set_string(config.as_fd(), "lowerdir+", format!("/proc/self/fd/{}", lower.as_raw_fd()))?;
            }
            taken => taken?,
        }
    }
    if userxattr {
        // With userxattr the kernel turns redirects and metacopy off and refuses to be told so.
        fsconfig_set_flag(config.as_fd(), "userxattr")?;
    } else {
        fsconfig_set_string(config.as_fd(), "redirect_dir", "nofollow")?;
        fsconfig_set_string(config.as_fd(), "metacopy", "off")?;
    }
    fsconfig_create(config.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(config.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
