//! Making files of every type below an open directory. Each name is one component, and is never followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};

use super::{Dir, Kind, Owners, Timestamp};

impl Dir {
    /// Makes a directory (mode is subject to the umask). Something there already is `EEXIST`.
    pub fn create_dir(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        Ok(fs::mkdirat(self, name, Mode::from_raw_mode(mode))?)
    }

    /// Gives this directory the owner, mode and time of `other`.
    pub fn copy_metadata_of(&self, other: &Dir) -> io::Result<()> {
        let metadata = other.metadata()?;
        self.set_owner_of(self, metadata.uid, metadata.gid)?;
        set_mode(self, metadata.mode)?;
        set_mtime(self, metadata.mtime)
    }

    /// Makes a file, mode 0600, open for writing. Something there already, a link too, is `EEXIST`.
    pub fn create_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::from(fs::openat(self, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Makes a symbolic link with that target, kept as it is. Something there already is `EEXIST`.
    pub fn create_symlink(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        Ok(fs::symlinkat(target, self, name)?)
    }

    /// Makes a device node or a fifo, mode 0. Something there already is `EEXIST`; a device without the
    /// right to make it is `EPERM`, unless the tree has notes of such.
    pub fn create_node(&self, name: &OsStr, kind: Kind, (major, minor): (u32, u32)) -> io::Result<()> {
        let file_type = match kind {
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::Fifo => FileType::Fifo,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        if self.owners == Owners::Noted && kind != Kind::Fifo && (major, minor) != (0, 0) {
            return self.note_device(name, kind, (major, minor));
        }
        Ok(fs::mknodat(self, name, file_type, Mode::empty(), fs::makedev(major, minor))?)
    }

    /// Makes `name` another name of the file `from`/`from_name`, which is not followed.
    pub fn create_hard_link(&self, name: &OsStr, from: &Dir, from_name: &OsStr) -> io::Result<()> {
        Ok(fs::linkat(from, from_name, self, name, AtFlags::empty())?)
    }

    /// Renames a name of this directory to a name of another directory, replacing what may be there.
    pub fn rename(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(self, name, to, to_name)?)
    }

    /// Sets the mode of one name. A link has none that could be set, and is an error.
    pub fn set_child_mode(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        // By its name the kernel would follow a link, which somebody may have put in its place.
        let child = fs::openat(self, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let path = format!("/proc/self/fd/{}", child.as_raw_fd());
        Ok(fs::chmod(path, Mode::from_raw_mode(mode))?)
    }

    /// Sets the time of last modification of one name.
    pub fn set_child_mtime(&self, name: &OsStr, mtime: Timestamp) -> io::Result<()> {
        Ok(fs::utimensat(self, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Sets the mode of an open file or directory.
pub fn set_mode(file: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

/// Sets the time of last modification of an open file or directory; the kernel clamps what the file
/// system cannot hold.
pub fn set_mtime(file: impl AsFd, mtime: Timestamp) -> io::Result<()> {
    Ok(fs::futimens(file, &timestamps(mtime))?)
}

fn timestamps(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) },
    }
}
