//! Making mounts with the kernel's mount interface of file descriptors: a mount is made detached, limited, and
//! only then put in its place.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, CWD, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::plan::Limits;
use super::system;
use super::target::PlaceKind;
use crate::fsutil::{Dir, Owners};
use crate::snapshot::open_lower;

impl Limits {
    fn attributes(self) -> MountAttrFlags {
        let mut attributes = MountAttrFlags::empty();
        attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, self.readonly);
        attributes.set(MountAttrFlags::MOUNT_ATTR_NOSUID, self.nosuid);
        attributes.set(MountAttrFlags::MOUNT_ATTR_NODEV, self.nodev);
        attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, self.noexec);
        attributes
    }
}

/// Makes a file system, mounted nowhere yet.
pub(super) fn filesystem(kind: &str, options: &[(&str, String)], limits: Limits) -> Result<OwnedFd> {
    let config = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(config.as_fd(), *name, value.as_str())?;
    }
    fsconfig_create(config.as_fd())?;
    fsmount(config.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, limits.attributes())
}

/// The directory that takes the writes of an overlay, and overlayfs' own.
pub(super) struct Writable {
    pub(super) upper: OwnedFd,
    pub(super) work: OwnedFd,
}

/// Makes an overlay of `lowers` (bottom first), mounted nowhere yet. Directories are handed over by the
/// names of their descriptors: those need no escaping, cannot be swapped meanwhile, and are all that the sandbox sees of
/// them in `/proc/self/mountinfo`. (Descriptors themselves are taken only by Linux 6.13 and later, and shown as paths.)
pub(super) fn overlay(
    lowers: &[PathBuf],
    writable: Option<&Writable>,
    userxattr: bool,
    limits: Limits,
) -> std::result::Result<OwnedFd, (Errno, Option<PathBuf>)> {
    let config = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| (error, None))?;
    let config = config.as_fd();
    // A packed layer stays mounted as long as it is open, or is in an overlay.
    let mut opened = Vec::with_capacity(lowers.len());
    for lower in lowers.iter().rev() {
        let refused = |error| (error, Some(lower.clone()));
        let dir = open_lower(lower).map_err(refused)?;
        fsconfig_set_string(config, "lowerdir+", by_descriptor(&dir)).map_err(refused)?;
        opened.push(dir);
    }
    overlay_options(config, writable, userxattr)
        .and_then(|()| fsconfig_create(config))
        .and_then(|()| fsmount(config, FsMountFlags::FSMOUNT_CLOEXEC, limits.attributes()))
        .map_err(|error| (error, None))
}

fn by_descriptor(dir: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", dir.as_raw_fd())
}

fn overlay_options(config: impl AsFd + Copy, writable: Option<&Writable>, userxattr: bool) -> Result<()> {
    if let Some(Writable { upper, work }) = writable {
        fsconfig_set_string(config, "upperdir", by_descriptor(upper))?;
        fsconfig_set_string(config, "workdir", by_descriptor(work))?;
        // No sync of the whole file system at the end, nor for each fsync of a package manager.
        fsconfig_set_flag(config, "volatile")?;
    }
    if userxattr {
        // With it the kernel turns redirects and metacopy off, and refuses to be told so. Without it an overlay in a
        // user namespace mounts, and then fails to replace a directory.
        fsconfig_set_flag(config, "userxattr")?;
    } else {
        // `nofollow`: a redirect that came with a layer would show another directory's files.
        fsconfig_set_string(config, "redirect_dir", "nofollow")?;
        fsconfig_set_string(config, "metacopy", "off")?;
    }
    // Set, not left to the kernel's configuration, because they change what ends up in `upper`.
    fsconfig_set_string(config, "index", "off")?;
    fsconfig_set_string(config, "xino", "off")
}

/// Opens a directory of the builder's by path.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd> {
    fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Puts a detached mount in its place.
pub(super) fn attach(mount: impl AsFd, place: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount.as_fd(), "", place.as_fd(), "", flags)
}

/// Puts a detached mount on top of a directory of the builder's, in this mount namespace only. Kernels before 6.15 clone parts
/// of a mount only when it is attached somewhere.
pub(super) fn stage(mount: impl AsFd, path: &Path) -> Result<()> {
    move_mount(mount.as_fd(), "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Makes a detached mount of what `source` is a handle of, with all that is mounted below it.
pub(super) fn clone(source: impl AsFd, limits: Limits) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(source.as_fd(), "", flags)?;
    system::set_mount_attributes(&mount, u64::from(limits.attributes().bits()), true)?;
    Ok(mount)
}

/// Makes a detached, read-only mount of the file at `path`.
pub(super) fn readonly_clone(path: &Path) -> Result<OwnedFd> {
    let file = fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    clone(file, Limits { readonly: true, nosuid: true, nodev: true, noexec: false })
}

/// Returns what kind of place a mount of `source` needs.
pub(super) fn kind_of(source: impl AsFd) -> Result<PlaceKind> {
    let kind = FileType::from_raw_mode(fs::fstat(source)?.st_mode);
    Ok(if kind == FileType::Directory { PlaceKind::Directory } else { PlaceKind::File })
}

/// A memory file system whose files are mounted one by one.
pub(super) struct Files {
    directory: Dir,
    count: usize,
}

impl Files {
    /// Makes it, staged on `path`.
    pub(super) fn new(path: &Path, limits: Limits, owners: Owners) -> Result<Self> {
        let mount = filesystem("tmpfs", &[("mode", "0700".to_owned())], limits)?;
        stage(&mount, path)?;
        Ok(Self { directory: Dir::from_fd(mount).with_owners(owners), count: 0 })
    }

    fn next_name(&mut self) -> String {
        self.count += 1;
        self.count.to_string()
    }

    /// Makes a file; returns a handle to mount.
    pub(super) fn write(&mut self, data: &[u8], mode: u32, uid: u32, gid: u32) -> Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let name = self.next_name();
        let file = fs::openat(&self.directory, name, flags, Mode::empty())?;
        let mut file = File::from(file);
        file.write_all(data).map_err(errno)?;
        self.directory.set_owner_of(&file, uid, gid).map_err(errno)?;
        // After the owner, who takes set-id bits away.
        fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        Ok(file.into())
    }

    /// Makes a listening socket; returns it and a handle to mount.
    pub(super) fn listen(&mut self, mode: u32, uid: u32, gid: u32) -> Result<(OwnedFd, OwnedFd)> {
        let name = self.next_name();
        // Short, and below this process's own directory of descriptors: a socket's name has room for 107 bytes.
        let path = format!("/proc/self/fd/{}/{name}", self.directory.as_fd().as_raw_fd());
        let listener = std::os::unix::net::UnixListener::bind(path).map_err(errno)?;
        let socket =
            fs::openat(&self.directory, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        self.directory.set_child_owner(name.as_ref(), uid, gid).map_err(errno)?;
        fs::chmodat(&self.directory, &name, Mode::from_raw_mode(mode), fs::AtFlags::empty())?;
        Ok((listener.into(), socket))
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
