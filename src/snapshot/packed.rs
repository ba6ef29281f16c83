//! Layers that are not unpacked: the tar as it is in the store, and an image of its names and attributes, mounted together.
//!
//! ```text
//! packed/<chain id hex>/names   an EROFS image, made here ([`crate::layer::erofs`])
//! packed/<chain id hex>/tar     the layer: another name of the blob, so that a blob that is removed takes nothing away
//! ```
//!
//! As a lower directory of an overlay such a layer is named by its `names`. Whoever mounts the overlay mounts that first, detached,
//! so that it goes with the overlay, and with the process.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::{Merged, Scratch, SnapshotError};
use crate::fsutil::xattrs_of;
use crate::layer::{LayerError, erofs};

const NAMES: &str = "names";
const TAR: &str = "tar";

/// Returns what names the packed layer in `directory` as a lower directory, if there is one.
/// What needs room does it in `scratch`.
pub(super) fn find(directory: &Path, scratch: &Path) -> Option<PathBuf> {
    let names = directory.join(NAMES);
    (names.is_file() && can_be_mounted(scratch)).then_some(names)
}

/// Packs the tar in the file `blob`, whose image `image` gives, into `directory`, which becomes the layer. Returns whether it
/// could be done; what the directory holds is not to be used otherwise.
pub(super) fn pack(
    blob: &Path,
    directory: &Path,
    image: impl FnOnce() -> Result<Option<erofs::Image>, LayerError>,
) -> Result<bool, SnapshotError> {
    if std::fs::hard_link(blob, directory.join(TAR)).is_err() {
        return Ok(false);
    }
    let Some(image) = image()? else { return Ok(false) };
    let names = directory.join(NAMES);
    let written = File::create_new(&names).and_then(|file| image.write(file));
    written.map(|()| true).map_err(SnapshotError::io("write", &names))
}

/// Opens a lower directory of an overlay: a directory, or a packed layer, which is mounted for it.
pub fn open_lower(lower: &Path) -> rustix::io::Result<OwnedFd> {
    let opened = rustix::fs::open(lower, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) {
        FileType::Directory => Ok(opened),
        FileType::RegularFile => mount(&opened, &lower.with_file_name(TAR)),
        _ => Err(rustix::io::Errno::NOTDIR),
    }
}

/// Mounts a packed layer, detached. Both files are handed over by the names of their descriptors, which need no escaping.
fn mount(names: &OwnedFd, tar: &Path) -> rustix::io::Result<OwnedFd> {
    let tar = rustix::fs::open(tar, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let config = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (option, file) in [("source", names), ("device", &tar)] {
        fsconfig_set_string(config.as_fd(), option, format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    }
    fsconfig_create(config.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(config.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Whether packed layers can be mounted, and be lower directories: Linux 6.15 or later, with EROFS and its extended attributes,
/// and the right to mount it, which no user namespace gives. Tried out once, below `scratch`.
pub(super) fn can_be_mounted(scratch: &Path) -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| try_out(scratch).is_ok_and(|can| can))
}

fn try_out(scratch: &Path) -> Result<bool, SnapshotError> {
    let scratch = Scratch::create(scratch)?;
    let names = scratch.beside(NAMES);
    let tried = || -> io::Result<bool> {
        erofs::trial().write(File::create_new(&names)?)?;
        File::create_new(scratch.beside(TAR))?.set_len(512)?;
        let view = Merged::mount(None, &[scratch.fs().to_owned(), names.clone()], false);
        let view = view.and_then(|view| view.open()).map_err(io::Error::other)?;
        let is_there = view.child_metadata(OsStr::new(erofs::TRIAL))?.is_some_and(|found| found.is_dir());
        // An overlay does not show its marks.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let marked = rustix::fs::openat(open_lower(&names)?, erofs::TRIAL, flags, Mode::empty())?;
        Ok(is_there && xattrs_of(&marked, |name| name == b"trusted.overlay.opaque")?.len() == 1)
    };
    tried().map_err(SnapshotError::io("try", &names))
}
