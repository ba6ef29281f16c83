//! An open directory, and what can be done below it without leaving it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::{DirStack, Kind, Metadata, Owners, Timestamp};

/// An open directory. Paths given to `*_in_root` methods are resolved as if it were `/`.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    pub(super) owners: Owners,
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The name, as bytes of the file system.
    pub name: OsString,
    /// The type the directory says it has.
    pub kind: Kind,
}

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);
/// Opening must not wait for the other end of a fifo, nor take a terminal.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl Dir {
    /// Opens a directory by a path of this process; symbolic links are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::from_fd(fs::open(path, DIRECTORY, Mode::empty())?))
    }

    /// Takes a handle that is already open (for example a detached mount).
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd, owners: Owners::Real }
    }

    /// Says how the tree below keeps owners; by the kernel, if nothing is said.
    pub fn with_owners(self, owners: Owners) -> Self {
        Self { owners, ..self }
    }

    /// Returns another handle of the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(self.below(self.fd.try_clone()?))
    }

    /// A directory of the same tree.
    fn below(&self, fd: OwnedFd) -> Self {
        Self { fd, owners: self.owners }
    }

    /// Opens a directory below this one, following links inside it.
    pub fn open_dir_in_root(&self, path: &Path) -> io::Result<Self> {
        Ok(self.below(self.open_in_root(path, DIRECTORY)?))
    }

    /// Opens a directory below this one by a path without links: one on the way is `ELOOP`, a step out of this
    /// directory `EXDEV`. The path may be longer than the kernel takes at once.
    pub fn open_dir_without_links(&self, path: &[u8]) -> io::Result<Self> {
        const PLAIN: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);
        let mut rest = if path.is_empty() { b"." } else { path };
        let mut at: Option<Self> = None;
        loop {
            // PATH_MAX is 4096; a single name is at most 255.
            let cut = if rest.len() < 4096 { None } else { rest[..4096].iter().rposition(|byte| *byte == b'/') };
            let (piece, after) = cut.map_or((rest, None), |cut| (&rest[..cut], Some(&rest[cut + 1..])));
            let from = at.as_ref().unwrap_or(self);
            let next = self.below(fs::openat2(from, piece, DIRECTORY, Mode::empty(), PLAIN)?);
            match after {
                None => return Ok(next),
                Some(after) => (at, rest) = (Some(next), after),
            }
        }
    }

    /// Opens a file for reading below this directory, following links inside it. Never blocks.
    pub fn open_file_in_root(&self, path: &Path) -> io::Result<File> {
        Ok(File::from(self.open_in_root(path, READ)?))
    }

    /// Returns the metadata at `path`, following links inside this directory; `None` when nothing is there.
    pub fn stat_in_root(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.metadata_in_root(path, OFlags::PATH)
    }

    /// Like [`Dir::stat_in_root`], but a link in the last place is not followed.
    pub fn lstat_in_root(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.metadata_in_root(path, OFlags::PATH | OFlags::NOFOLLOW)
    }

    /// Returns the target of the link at `path` (the last place is not followed).
    pub fn read_link_in_root(&self, path: &Path) -> io::Result<PathBuf> {
        let link = self.open_in_root(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        read_link(&link, "")
    }

    fn metadata_in_root(&self, path: &Path, flags: OFlags) -> io::Result<Option<Metadata>> {
        match self.open_in_root(path, flags | OFlags::CLOEXEC) {
            Ok(fd) => Ok(Some(self.metadata_of_handle(&fd)?)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_in_root(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let bytes = path.as_os_str().as_bytes();
        let path = if bytes.is_empty() { Path::new(".") } else { path };
        loop {
            // EAGAIN: a rename elsewhere raced with the walk (openat2(2)); the walk is simply done again.
            match fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), IN_ROOT) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Returns all names but `.` and `..`, sorted by bytes.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        // A handle of its own: the position of an open directory is shared by its duplicates.
        let handle = fs::openat(&self.fd, ".", DIRECTORY, Mode::empty())?;
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut names = RawDir::new(handle, buffer.spare_capacity_mut());
        let mut found = Vec::new();
        while let Some(name) = names.next() {
            let name = name?;
            let bytes = name.file_name().to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            let kind = match name.file_type() {
                FileType::Unknown => self.child_metadata(OsStr::from_bytes(bytes))?.map_or(Kind::File, |m| m.kind),
                known => Kind::of(known),
            };
            found.push(Entry { name: OsString::from_vec(bytes.to_vec()), kind });
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Returns the metadata of this directory.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.metadata_of(&self.fd)
    }

    /// Returns when this directory was made; `None` if the file system does not keep it.
    pub fn birth(&self) -> io::Result<Option<Timestamp>> {
        let found = fs::statx(&self.fd, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME)?;
        let (seconds, nanoseconds) = (found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
        let known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        Ok(known.then_some(Timestamp { seconds, nanoseconds }))
    }

    /// Returns the metadata of one name, not followed; `None` when it is not there.
    pub fn child_metadata(&self, name: &OsStr) -> io::Result<Option<Metadata>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(self.noted_child(name, Metadata::of(&stat))?)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the directory of that name; a link is refused (`ENOTDIR`/`ELOOP`).
    pub fn child_dir(&self, name: &OsStr) -> io::Result<Self> {
        Ok(self.below(fs::openat(&self.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// Opens the file of that name for reading; a link is refused (`ELOOP`). Never blocks.
    pub fn child_file(&self, name: &OsStr) -> io::Result<File> {
        Ok(File::from(fs::openat(&self.fd, name, READ | OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// Returns the target of the link of that name.
    pub fn child_link(&self, name: &OsStr) -> io::Result<PathBuf> {
        read_link(&self.fd, name)
    }

    /// Removes the name, with everything below it if it is a directory. Nothing there is no error.
    /// Directories that deny access (overlay work directories have mode 000) are opened up first.
    pub fn remove_tree(&self, name: &OsStr) -> io::Result<()> {
        remove_tree(&self.fd, name)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn read_link(at: impl AsFd, name: impl AsRef<OsStr>) -> io::Result<PathBuf> {
    let target = fs::readlinkat(at, name.as_ref(), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// A stack in place of recursion, each directory read once, few of them open: a RUN step may leave directories thousands
/// deep, or a hundred thousand in one.
fn remove_tree(at: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // With each directory its own name, and the directories in it that are still there.
    let mut stack = DirStack::new(Dir::from_fd(at.try_clone()?), (OsString::new(), vec![name.to_owned()]))?;
    loop {
        if let Some(sub) = stack.top_data().1.pop() {
            let dir = Dir::from_fd(open_for_removal(&stack.top().fd, &sub)?);
            let below = empty_files(&dir)?;
            stack.push(dir, (sub, below))?;
            continue;
        }
        let Some((_, (name, _))) = stack.pop()? else { return Ok(()) };
        match fs::unlinkat(stack.top(), &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn open_for_removal(at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let open = || fs::openat(at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    match open() {
        Err(Errno::ACCESS) => {
            fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
            Ok(open()?)
        }
        other => Ok(other?),
    }
}

/// Unlinks every non-directory in `dir`; returns the names of the directories.
fn empty_files(dir: &Dir) -> io::Result<Vec<OsString>> {
    let mut directories = Vec::new();
    for entry in dir.entries()? {
        match fs::unlinkat(dir, &entry.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) if entry.kind == Kind::Directory => directories.push(entry.name),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(directories)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside_the_root() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("etc")).unwrap();
        std::fs::write(temp.path().join("etc/passwd"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", temp.path().join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../etc/passwd", temp.path().join("dots")).unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        for name in ["absolute", "dots", "/etc/passwd", "../../etc/passwd"] {
            let text = std::io::read_to_string(dir.open_file_in_root(Path::new(name)).unwrap()).unwrap();
            assert_eq!(text, "inside", "{name}");
        }
        assert_eq!(dir.lstat_in_root(Path::new("absolute")).unwrap().unwrap().kind, Kind::Symlink);
        assert_eq!(dir.stat_in_root(Path::new("nothing/here")).unwrap(), None);
    }

    #[test]
    fn entries_are_sorted_by_bytes() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["b", "a", "B", "é"] {
            std::fs::write(temp.path().join(name), "").unwrap();
        }
        let entries = Dir::open(temp.path()).unwrap().entries().unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.to_str().unwrap()).collect();
        assert_eq!(names, ["B", "a", "b", "é"]);
    }

    #[test]
    fn a_deep_tree_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let mut at = dir.try_clone().unwrap();
        for _ in 0..3000 {
            fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = at.child_dir(OsStr::new("d")).unwrap();
        }
        fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU)
            .and_then(|file| fs::ftruncate(file, 7))
            .unwrap();
        drop(at);
        assert!(crate::fsutil::DiskUsage::default().of(&dir, OsStr::new("d")).unwrap() > 0);
        dir.remove_tree(OsStr::new("d")).unwrap();
        assert_eq!(dir.entries().unwrap(), []);
    }

    #[test]
    fn a_wide_tree_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        for number in 0..3000 {
            std::fs::create_dir_all(temp.path().join(format!("d/{number}/below"))).unwrap();
            std::fs::write(temp.path().join(format!("d/{number}/file")), "ab").unwrap();
        }
        assert!(crate::fsutil::DiskUsage::default().of(&dir, OsStr::new("d")).unwrap() > 6000);
        dir.remove_tree(OsStr::new("d")).unwrap();
        assert_eq!(dir.entries().unwrap(), []);
    }
}
