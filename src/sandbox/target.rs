//! Places inside a rootfs to mount on, made when missing, and taken away again afterwards.
//!
//! The walk is done name by name, links resolved here and each step opened with `RESOLVE_NO_SYMLINKS` below the
//! root: whatever links the image holds, and whatever somebody swaps meanwhile in a mounted cache, the result is inside.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags, Timespec, Timestamps};
use rustix::io::{Errno, Result};
use serde::{Deserialize, Serialize};

use super::cover::Covered;

/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;

pub(super) const INSIDE: ResolveFlags =
    ResolveFlags::IN_ROOT.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
pub(super) const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is to be mounted at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PlaceKind {
    File,
    Directory,
}

/// Whether links of the image may lead to a place. The standard file systems are only mounted on real directories.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Links {
    Followed,
    Refused,
}

/// What was created to mount on, relative to the root, in order of creation.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Stubs {
    created: Vec<PathBuf>,
    /// Directories something was created in: their modification time before the first and after the last.
    parents: BTreeMap<PathBuf, (Moment, Moment)>,
    /// What was put in the place of something, in order.
    pub(super) covered: Vec<Covered>,
}

/// What became of stubs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cleaned {
    /// Stubs that were used, and stay.
    pub(crate) staying: Vec<PathBuf>,
    /// What was not where it had been put, and had to be.
    pub(crate) moved: Vec<PathBuf>,
}

pub(super) type Moment = (i64, i64);

/// The root directory of the sandbox, and what was created below it.
pub(super) struct Root {
    pub(super) dir: OwnedFd,
    pub(super) stubs: Stubs,
}

impl Root {
    pub(super) fn new(dir: OwnedFd) -> Self {
        Self { dir, stubs: Stubs::default() }
    }

    /// Opens what is at `path`, links followed inside; no creation.
    pub(super) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        open_retrying(&self.dir, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    /// Opens the place at `path`; missing directories on the way, and the place itself, are created and noted.
    pub(super) fn place(&mut self, path: &Path, kind: PlaceKind, links: Links) -> Result<OwnedFd> {
        if let Some(found) = self.straight_to(path) {
            return Ok(found);
        }
        let at = self.resolve(path, kind, links)?;
        open_retrying(&self.dir, &at, PLACE, INSIDE)
    }

    /// Opens what is at `path` in one walk, if it is there and no link and no `..` leads to it.
    fn straight_to(&self, path: &Path) -> Option<OwnedFd> {
        if path.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        let found = open_retrying(&self.dir, path, PLACE, INSIDE).ok()?;
        let is_link = FileType::from_raw_mode(fs::fstat(&found).ok()?.st_mode) == FileType::Symlink;
        (!is_link).then_some(found)
    }

    /// Like [`Root::place`]; returns the path of the place without links.
    pub(super) fn resolve(&mut self, path: &Path, kind: PlaceKind, links: Links) -> Result<PathBuf> {
        let mut at = PathBuf::new();
        let mut pending = names_reversed(path);
        let mut followed = 0;
        while let Some(name) = pending.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            match open_retrying(&self.dir, &next, PLACE, INSIDE) {
                Err(Errno::NOENT) => {
                    let kind = if pending.is_empty() { kind } else { PlaceKind::Directory };
                    self.create(&at, &name, kind)?;
                    at = next;
                }
                Err(error) => return Err(error),
                Ok(found) if FileType::from_raw_mode(fs::fstat(&found)?.st_mode) == FileType::Symlink => {
                    followed += 1;
                    if links == Links::Refused || followed > MOST_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let text = fs::readlinkat(&found, "", Vec::new())?;
                    let text = PathBuf::from(OsString::from_vec(text.into_bytes()));
                    if text.is_absolute() {
                        at = PathBuf::new();
                    }
                    pending.extend(names_reversed(&text));
                }
                Ok(_) => at = next,
            }
        }
        Ok(at)
    }

    /// Whether a place is the root directory itself.
    pub(super) fn is(&self, place: &OwnedFd) -> Result<bool> {
        let (root, place) = (fs::fstat(&self.dir)?, fs::fstat(place)?);
        Ok((root.st_dev, root.st_ino) == (place.st_dev, place.st_ino))
    }

    pub(super) fn modified_of(&self, dir: &OwnedFd) -> Result<Moment> {
        modified(dir)
    }

    /// Notes that a name of the directory `parent` changed hands, which was last modified `before`.
    pub(super) fn note_change(&mut self, place: &Path, parent: &OwnedFd, before: Moment) -> Result<()> {
        let after = modified(parent)?;
        if let Some(path) = place.parent().filter(|_| !self.stubs.is_in_covered(place)) {
            self.stubs.parents.entry(path.to_owned()).or_insert((before, after)).1 = after;
        }
        Ok(())
    }

    fn create(&mut self, parent: &Path, name: &OsStr, kind: PlaceKind) -> Result<()> {
        let dir = open_retrying(&self.dir, parent, PLACE | OFlags::DIRECTORY, INSIDE)?;
        let before = modified(&dir)?;
        match kind {
            PlaceKind::Directory => fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755))?,
            PlaceKind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
                fs::openat(&dir, name, flags, Mode::from_raw_mode(0o755))?;
            }
        }
        // What is made in a mount is gone with the mount, and what the root has of that name is something else.
        if mount_of(&dir)? != mount_of(&self.dir)? || self.stubs.is_in_covered(&parent.join(name)) {
            return Ok(());
        }
        let after = modified(&dir)?;
        self.stubs.created.push(parent.join(name));
        self.stubs.parents.entry(parent.to_owned()).or_insert((before, after)).1 = after;
        Ok(())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Stubs {
    /// Removes from `upper` what is still as it was created, and gives directories that nobody else touched their
    /// modification time back. Brings back what something was put in the place of. Never follows links, and never leaves `upper`.
    pub(crate) fn remove(&self, upper: &Path) -> Result<Cleaned> {
        let upper = fs::open(upper, PLACE | OFlags::DIRECTORY, Mode::empty())?;
        let untouched: Vec<_> =
            self.parents.iter().filter(|(path, (_, after))| is_from(&upper, path, *after)).collect();
        let mut moved = Vec::new();
        for covered in self.covered.iter().rev() {
            if !covered.uncover(&upper)? {
                moved.push(covered.path.clone());
            }
        }
        let mut staying: Vec<_> = self.created.iter().rev().filter(|path| !is_removed(&upper, path)).cloned().collect();
        for (path, (before, _)) in untouched {
            if let Ok(dir) = open_retrying(&upper, path, OFlags::RDONLY | OFlags::DIRECTORY, INSIDE) {
                let (tv_sec, tv_nsec) = *before;
                let keep = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
                let times = Timestamps { last_access: keep, last_modification: Timespec { tv_sec, tv_nsec } };
                fs::futimens(&dir, &times)?;
            }
        }
        staying.reverse();
        Ok(Cleaned { staying, moved })
    }

    /// Whether the place is in something that was put there.
    fn is_in_covered(&self, place: &Path) -> bool {
        self.covered.iter().any(|covered| place != covered.path && place.starts_with(&covered.path))
    }
}

fn is_from(upper: &OwnedFd, path: &Path, moment: Moment) -> bool {
    open_retrying(upper, path, PLACE, INSIDE).and_then(|dir| modified(&dir)) == Ok(moment)
}

/// Whether `path` is gone: removed now, or by the step itself.
fn is_removed(upper: &OwnedFd, path: &Path) -> bool {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return false };
    let Ok(dir) = open_retrying(upper, parent, PLACE | OFlags::DIRECTORY, INSIDE) else { return true };
    let Ok(stat) = fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else { return true };
    match FileType::from_raw_mode(stat.st_mode) {
        // Fails when it is not empty, which is the question.
        FileType::Directory => fs::unlinkat(&dir, name, AtFlags::REMOVEDIR).is_ok(),
        FileType::RegularFile if stat.st_size == 0 => fs::unlinkat(&dir, name, AtFlags::empty()).is_ok(),
        _ => false,
    }
}

fn mount_of(dir: &OwnedFd) -> Result<u64> {
    Ok(fs::statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

fn modified(dir: &OwnedFd) -> Result<Moment> {
    let stat = fs::fstat(dir)?;
    Ok((stat.st_mtime, stat.st_mtime_nsec as i64))
}

/// The names of `path`, last first; `.` and `/` are no names.
fn names_reversed(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    names.rev().collect()
}

pub(super) fn open_retrying(dir: impl AsFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    loop {
        // EAGAIN: a rename elsewhere raced with the walk (openat2(2)); the walk is simply done again.
        match fs::openat2(&dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Opens `subpath` below the directory `dir` as if that were `/`; an empty `subpath` is `dir` itself.
pub(super) fn open_below(dir: impl AsFd, subpath: &Path) -> Result<OwnedFd> {
    open_retrying(dir, subpath, OFlags::PATH, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: &Path) -> Root {
        Root::new(fs::open(path, PLACE, Mode::empty()).unwrap())
    }

    #[test]
    fn a_place_is_created_and_removed_without_a_trace() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("etc")).unwrap();
        let before = std::fs::metadata(temp.path().join("etc")).unwrap().modified().unwrap();
        let mut root = root(temp.path());
        root.place(Path::new("/etc/hosts"), PlaceKind::File, Links::Followed).unwrap();
        root.place(Path::new("/a/b"), PlaceKind::Directory, Links::Followed).unwrap();
        assert!(temp.path().join("a/b").is_dir());
        assert_eq!(root.stubs.remove(temp.path()).unwrap(), Cleaned::default());
        assert!(!temp.path().join("a").exists());
        assert_eq!(std::fs::metadata(temp.path().join("etc")).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn what_was_used_stays() {
        let temp = tempfile::tempdir().unwrap();
        let mut root = root(temp.path());
        root.place(Path::new("/a/b/c"), PlaceKind::Directory, Links::Followed).unwrap();
        std::fs::write(temp.path().join("a/x"), "x").unwrap();
        assert_eq!(root.stubs.remove(temp.path()).unwrap().staying, [PathBuf::from("a")]);
        assert!(!temp.path().join("a/b").exists());
    }

    #[test]
    fn links_lead_to_places_inside() {
        let temp = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("etc")).unwrap();
        let link = |text: &Path, name| std::os::unix::fs::symlink(text, temp.path().join(name)).unwrap();
        link(&outside.path().join("file"), "etc/resolv.conf");
        link(Path::new("../../../.."), "up");
        link(Path::new("loop"), "loop");
        let mut root = root(temp.path());
        root.place(Path::new("/etc/resolv.conf"), PlaceKind::File, Links::Followed).unwrap();
        assert!(!outside.path().join("file").exists());
        let inside = temp.path().join(outside.path().strip_prefix("/").unwrap()).join("file");
        assert!(inside.is_file());
        root.place(Path::new("/up/here"), PlaceKind::Directory, Links::Followed).unwrap();
        assert!(temp.path().join("here").is_dir());
        let refused = |root: &mut Root, path, links| root.place(Path::new(path), PlaceKind::Directory, links).err();
        assert_eq!(refused(&mut root, "/loop", Links::Followed), Some(Errno::LOOP));
        assert_eq!(refused(&mut root, "/up", Links::Refused), Some(Errno::LOOP));
        root.stubs.remove(temp.path()).unwrap();
        assert!(!inside.exists());
    }
}
