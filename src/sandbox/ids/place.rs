//! Finding a file as the caller would: from its root, its working directory or one of its descriptors.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{self, CWD, Mode, OFlags, ResolveFlags, Stat, StatxFlags, XattrFlags};
use rustix::io::{Errno, Result};
use rustix::process::{chroot, fchdir};

use super::process::Process;
use crate::fsutil::{Kind, Note};

/// A file that a call names.
#[derive(Clone, Copy)]
pub(super) struct At {
    /// Descriptor or `AT_FDCWD`.
    pub(super) dir: i32,
    /// Address of the path; 0 for the descriptor itself.
    pub(super) path: u64,
    pub(super) follow: bool,
    /// Whether an empty path is the descriptor itself.
    pub(super) empty: bool,
}

impl At {
    pub(super) fn path(path: u64) -> Self {
        Self { dir: libc::AT_FDCWD, path, follow: true, empty: false }
    }

    pub(super) fn link(path: u64) -> Self {
        Self { follow: false, ..Self::path(path) }
    }

    pub(super) fn descriptor(fd: u32) -> Self {
        Self { dir: fd.cast_signed(), path: 0, follow: true, empty: true }
    }

    /// As calls say it that take flags.
    pub(super) fn flags(dir: u32, path: u64, flags: u32) -> Self {
        let has = |flag: i32| flags & flag.cast_unsigned() != 0;
        let (follow, empty) = (!has(libc::AT_SYMLINK_NOFOLLOW), has(libc::AT_EMPTY_PATH));
        Self { dir: dir.cast_signed(), path, follow, empty }
    }
}

/// Where this process stands: its current directory is the file system of processes, its root the sandbox's.
pub(super) struct Places {
    proc: OwnedFd,
    root: OwnedFd,
    identity: (u32, u32, u64, u64),
    /// Whether a process may have another root: looking costs as much as all the rest.
    roots_differ: bool,
}

impl Places {
    /// Enters the root of the sandbox's pid 1, for good. `roots_differ` if processes can change their roots unseen.
    pub(super) fn of(proc: OwnedFd, first: i32, roots_differ: bool) -> io::Result<Self> {
        fchdir(&proc)?;
        let root = Process::new(first).name("root");
        let identity = identity(&root)?;
        let root = fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let places = Self { proc, root, identity, roots_differ };
        places.enter(&places.root)?;
        Ok(places)
    }

    /// Says that a process is about to change its root.
    pub(super) fn expect_other_roots(&mut self) {
        self.roots_differ = true;
    }

    fn enter(&self, root: &OwnedFd) -> Result<()> {
        fchdir(root)?;
        let entered = chroot(".");
        fchdir(&self.proc).and(entered)
    }

    /// Does something with the root of `process`, which may have changed it.
    fn in_root_of<T>(&self, process: Process, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let root = process.name("root");
        if !self.roots_differ || identity(&root)? == self.identity {
            return work();
        }
        let root = fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let done = self.enter(&root).and_then(|()| work());
        self.enter(&self.root).and(done)
    }

    /// Finds what `at` names.
    pub(super) fn find(&self, process: Process, at: At) -> Result<Found> {
        if at.path == 0 && at.empty {
            return Found::of(process.descriptor(at.dir)?);
        }
        let path = process.string(at.path)?;
        if path.is_empty() {
            return if at.empty { Found::of(process.descriptor(at.dir)?) } else { Err(Errno::NOENT) };
        }
        self.walk(process, at.dir, &path, at.follow)
    }

    /// Finds `path` from the directory `dir` (a descriptor of the caller's).
    pub(super) fn walk(&self, process: Process, dir: i32, path: &[u8], follow: bool) -> Result<Found> {
        let start = if path.starts_with(b"/") { None } else { Some(process.descriptor(dir)?) };
        self.walk_from(process, start.as_ref(), path, follow)
    }

    /// Finds `path` from an open directory; `None` for the root.
    pub(super) fn walk_from(
        &self,
        process: Process,
        start: Option<&OwnedFd>,
        path: &[u8],
        follow: bool,
    ) -> Result<Found> {
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, !follow);
        let open = || match start {
            Some(start) => fs::openat2(start, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS),
            None => fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS),
        };
        Found::of(self.in_root_of(process, open)?)
    }
}

/// Tells one root from another.
fn identity(root: &str) -> Result<(u32, u32, u64, u64)> {
    let found = fs::statx(CWD, root, fs::AtFlags::empty(), StatxFlags::INO | StatxFlags::MNT_ID)?;
    Ok((found.stx_dev_major, found.stx_dev_minor, found.stx_ino, found.stx_mnt_id))
}

/// A file, by a handle that opens nothing (`O_PATH`).
pub(super) struct Found {
    pub(super) handle: OwnedFd,
    pub(super) stat: Stat,
    pub(super) kind: Kind,
}

impl Found {
    fn of(handle: OwnedFd) -> Result<Self> {
        let stat = fs::fstat(&handle)?;
        let kind = Kind::of_mode(stat.st_mode);
        Ok(Self { handle, stat, kind })
    }

    /// Its name among this process's own descriptors.
    pub(super) fn name(&self) -> String {
        format!("{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }

    /// Reads what is noted.
    pub(super) fn note(&self) -> Option<Note> {
        let mut buffer = [0; 128];
        let length = fs::getxattr(self.name(), Note::attribute(self.kind), &mut buffer).ok()?;
        Note::parse(self.kind, &buffer[..length])
    }

    /// Returns owner and group.
    pub(super) fn owner(&self) -> (u32, u32) {
        self.note().map_or((self.stat.st_uid, self.stat.st_gid), |note| (note.uid, note.gid))
    }

    /// Notes it. What cannot have notes (a pipe, a process) stays as it is: nothing of it ends up in a layer.
    pub(super) fn set_note(&self, note: &Note) -> Result<()> {
        let attribute = Note::attribute(self.kind);
        let done = match note.is_plain() {
            true => fs::removexattr(self.name(), attribute),
            false => {
                let value = note.value(self.kind, self.stat.st_mode & 0o7777);
                fs::setxattr(self.name(), attribute, &value, XattrFlags::empty())
            }
        };
        match done {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            other => other,
        }
    }

    /// Takes away what a change of owner takes away: set-id bits and capabilities of a file (chown(2)).
    pub(super) fn drop_privileges(&self) -> Result<()> {
        if self.kind != Kind::File {
            return Ok(());
        }
        let mode = self.stat.st_mode & 0o7777;
        // Without the right to execute, the bit for the group means something else.
        let group = if mode & 0o010 != 0 { 0o2000 } else { 0 };
        if mode & (0o4000 | group) != 0 {
            fs::chmod(self.name(), Mode::from_raw_mode(mode & !(0o4000 | group)))?;
        }
        match fs::removexattr(self.name(), "security.capability") {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            other => other,
        }
    }
}
