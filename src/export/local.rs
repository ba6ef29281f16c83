//! `type=local`: the files of a result, in a directory of the user.
//!
//! What is there and not in the result stays; what is in both is replaced, never written through: below the destination no
//! link is followed, so a link there cannot lead the export elsewhere. The files belong to whoever runs the build, as
//! with buildx; modes, times, hard links and the extended attributes the file system accepts are kept.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::report::Report;
use crate::fsutil::{Dir, Entry, Kind, Metadata, Timestamp};
use crate::oci::Platform;

/// What an export of files did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LocalSummary {
    /// Files, directories and links written.
    pub entries: u64,
    /// Bytes of file contents written.
    pub bytes: u64,
    /// What cannot be made here: device nodes without the privilege, and sockets. Paths in the result.
    pub skipped: Vec<PathBuf>,
}

/// Why files could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The destination cannot be made or opened.
    #[error("cannot use `{}` as the directory to export to", path.display())]
    Destination {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Something of the result cannot be read, or its copy not be written.
    #[error("cannot export `/{}`", path.display())]
    Entry {
        /// Its path in the result.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// Returns the name of the subdirectory for one of several platforms: `linux_amd64`, `linux_arm_v7`.
pub fn platform_directory(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

/// Copies everything in `view` to the directory `dest`, which is made (with its parents) when it is not there.
/// `dest` itself may be a link to a directory.
pub fn write_local(view: &Dir, dest: &Path, report: &Report) -> Result<LocalSummary, LocalError> {
    let destination = |source| LocalError::Destination { path: dest.to_owned(), source };
    std::fs::create_dir_all(dest).map_err(destination)?;
    let root = Dir::open(dest).map_err(destination)?;
    let mut copy = Copy { root: &root, first_links: BTreeMap::new(), summary: LocalSummary::default(), report };
    copy.tree(view).map_err(|(path, source)| LocalError::Entry { path, source })?;
    for path in &copy.summary.skipped {
        report.notice(format!("`/{}` is left out: it may not be made here", path.display()));
    }
    report.status("files", copy.summary.bytes, copy.summary.bytes, true);
    Ok(copy.summary)
}

struct Copy<'a> {
    root: &'a Dir,
    /// Where the first name of a file with several names was written.
    first_links: BTreeMap<(u64, u64), PathBuf>,
    summary: LocalSummary,
    report: &'a Report,
}

/// A directory being copied.
struct Level {
    from: Dir,
    to: Dir,
    path: PathBuf,
    metadata: Metadata,
    left: std::vec::IntoIter<Entry>,
}

impl Copy<'_> {
    /// A stack in place of recursion: a result may be thousands of directories deep.
    fn tree(&mut self, view: &Dir) -> Result<(), (PathBuf, io::Error)> {
        let top = || -> io::Result<Level> {
            Ok(Level {
                from: view.try_clone()?,
                to: self.root.try_clone()?,
                path: PathBuf::new(),
                metadata: view.metadata()?,
                left: view.entries()?.into_iter(),
            })
        };
        let mut levels = vec![top().map_err(|error| (PathBuf::new(), error))?];
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.left.next() else {
                let Some(level) = levels.pop() else { break };
                // The destination is the user's directory and keeps its mode; those below become the result's, last: a
                // mode may forbid writing, and writing sets the time.
                if !levels.is_empty() {
                    finish_directory(&level).map_err(|error| (level.path, error))?;
                }
                continue;
            };
            let path = level.path.join(&entry.name);
            let sub = self.entry(level, &entry.name, &path).map_err(|error| (path, error))?;
            levels.extend(sub);
        }
        Ok(())
    }

    /// Copies one name; a directory is returned to be walked.
    fn entry(&mut self, level: &Level, name: &OsStr, path: &Path) -> io::Result<Option<Level>> {
        let Some(metadata) = level.from.child_metadata(name)? else { return Ok(None) };
        self.summary.entries += 1;
        if metadata.kind == Kind::Directory {
            let from = level.from.child_dir(name)?;
            let to = directory(&level.to, name)?;
            let left = from.entries()?.into_iter();
            return Ok(Some(Level { from, to, path: path.to_owned(), metadata, left }));
        }
        level.to.remove_tree(name)?;
        if metadata.links > 1 && self.link(level, name, path, &metadata)? {
            return Ok(None);
        }
        match metadata.kind {
            Kind::File => self.file(level, name, &metadata)?,
            Kind::Symlink => {
                fs::symlinkat(level.from.child_link(name)?, &level.to, name)?;
                set_times(&level.to, name, metadata.mtime)?;
            }
            Kind::Directory | Kind::Socket => self.skip(path),
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                if !node(&level.to, name, &metadata)? {
                    self.skip(path);
                }
            }
        }
        Ok(None)
    }

    fn skip(&mut self, path: &Path) {
        self.summary.entries -= 1;
        self.summary.skipped.push(path.to_owned());
    }

    /// Makes a further name of a file already written; of a new file, remembers where it will be.
    fn link(&mut self, level: &Level, name: &OsStr, path: &Path, metadata: &Metadata) -> io::Result<bool> {
        let Some(first) = self.first_links.get(&(metadata.device, metadata.inode)) else {
            self.first_links.insert((metadata.device, metadata.inode), path.to_owned());
            return Ok(false);
        };
        let parent = self.root.open_dir_in_root(first.parent().unwrap_or(Path::new("")))?;
        let first_name: OsString = first.file_name().unwrap_or_default().to_owned();
        fs::linkat(&parent, &first_name, &level.to, name, AtFlags::empty())?;
        Ok(true)
    }

    fn file(&mut self, level: &Level, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        let mut from = level.from.child_file(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut to = File::from(fs::openat(&level.to, name, flags, Mode::RUSR | Mode::WUSR)?);
        self.summary.bytes += io::copy(&mut from, &mut to)?;
        copy_attributes(&from, &to);
        fs::fchmod(&to, Mode::from_raw_mode(metadata.mode))?;
        fs::futimens(&to, &times(metadata.mtime))?;
        if self.summary.entries.is_multiple_of(256) {
            self.report.status("files", self.summary.bytes, 0, false);
        }
        Ok(())
    }
}

/// Opens the directory of that name; what else has the name makes room for it. A directory that denies writing (of an earlier
/// export) is opened up; in the end it gets the mode of the result.
fn directory(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    match parent.child_metadata(name)? {
        Some(found) if found.is_dir() && found.mode & 0o700 == 0o700 => {}
        Some(found) if found.is_dir() => fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?,
        _ => {
            parent.remove_tree(name)?;
            fs::mkdirat(parent, name, Mode::RWXU)?;
        }
    }
    parent.child_dir(name)
}

fn finish_directory(level: &Level) -> io::Result<()> {
    copy_attributes(&level.from, &level.to);
    fs::fchmod(&level.to, Mode::from_raw_mode(level.metadata.mode))?;
    fs::futimens(&level.to, &times(level.metadata.mtime))?;
    Ok(())
}

/// Makes a device node or a fifo; false when the kernel does not allow it.
fn node(parent: &Dir, name: &OsStr, metadata: &Metadata) -> io::Result<bool> {
    let kind = match metadata.kind {
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let (major, minor) = metadata.device_node;
    match fs::mknodat(parent, name, kind, Mode::from_raw_mode(metadata.mode), fs::makedev(major, minor)) {
        Ok(()) => {}
        Err(Errno::PERM | Errno::ACCESS) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    // Again, as the process's umask took its part.
    fs::chmodat(parent, name, Mode::from_raw_mode(metadata.mode), AtFlags::empty())?;
    set_times(parent, name, metadata.mtime)?;
    Ok(true)
}

fn set_times(parent: &Dir, name: &OsStr, mtime: Timestamp) -> io::Result<()> {
    Ok(fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The time of the last read is that of the last change: it is not part of a result.
fn times(mtime: Timestamp) -> Timestamps {
    let time = fs::Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Attributes the destination does not take are left out: a file system may have none, and
/// `security.*` needs privileges.
fn copy_attributes(from: &impl std::os::fd::AsFd, to: &impl std::os::fd::AsFd) {
    let mut names = vec![0u8; 64 * 1024];
    let Ok(length) = fs::flistxattr(from, names.as_mut_slice()) else { return };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // The label of this machine's policy, and what overlayfs keeps for itself.
        if name == b"security.selinux" || name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let mut value = vec![0u8; 64 * 1024];
        if let Ok(length) = fs::fgetxattr(from, name, value.as_mut_slice()) {
            let _ = fs::fsetxattr(to, name, &value[..length], XattrFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn export(from: &Path, to: &Path) -> LocalSummary {
        write_local(&Dir::open(from).unwrap(), to, &Report::silent()).unwrap()
    }

    #[test]
    fn files_links_modes_and_times_arrive() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("new/to"));
        std::fs::create_dir_all(from.join("bin")).unwrap();
        std::fs::write(from.join("bin/tool"), "tool").unwrap();
        std::fs::set_permissions(from.join("bin/tool"), PermissionsExt::from_mode(0o4755)).unwrap();
        std::fs::hard_link(from.join("bin/tool"), from.join("bin/zz")).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        fs::mknodat(Dir::open(&from).unwrap(), "fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::set_permissions(from.join("fifo"), PermissionsExt::from_mode(0o622)).unwrap();
        fs::utimensat(
            Dir::open(&from).unwrap(),
            "bin",
            &times(Timestamp { seconds: 7, nanoseconds: 5 }),
            AtFlags::empty(),
        )
        .unwrap();
        std::fs::set_permissions(from.join("bin"), PermissionsExt::from_mode(0o555)).unwrap();
        let summary = export(&from, &to);
        assert_eq!(summary, LocalSummary { entries: 5, bytes: 4, skipped: vec![] });
        let tool = std::fs::metadata(to.join("bin/tool")).unwrap();
        assert_eq!((tool.mode() & 0o7777, tool.nlink()), (0o4755, 2));
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
        let bin = std::fs::metadata(to.join("bin")).unwrap();
        assert_eq!((bin.mode() & 0o7777, bin.mtime(), bin.mtime_nsec()), (0o555, 7, 5));
        assert_eq!(std::fs::symlink_metadata(to.join("fifo")).unwrap().mode() & 0o7777, 0o622);
        // Again, over itself.
        assert_eq!(export(&from, &to), summary);
    }

    #[test]
    fn what_is_there_is_replaced_and_the_rest_stays() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        std::fs::create_dir_all(from.join("dir")).unwrap();
        std::fs::write(from.join("dir/file"), "new").unwrap();
        std::fs::write(from.join("was-directory"), "new").unwrap();
        std::fs::create_dir_all(to.join("dir")).unwrap();
        std::fs::create_dir_all(to.join("was-directory/deep")).unwrap();
        std::fs::write(to.join("dir/file"), "old and longer").unwrap();
        std::fs::write(to.join("dir/other"), "stays").unwrap();
        export(&from, &to);
        assert_eq!(std::fs::read_to_string(to.join("dir/file")).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(to.join("dir/other")).unwrap(), "stays");
        assert_eq!(std::fs::read_to_string(to.join("was-directory")).unwrap(), "new");
    }

    #[test]
    fn links_in_the_destination_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to, outside) = (temp.path().join("from"), temp.path().join("to"), temp.path().join("outside"));
        std::fs::create_dir_all(from.join("dir")).unwrap();
        std::fs::write(from.join("dir/file"), "new").unwrap();
        std::fs::write(from.join("file"), "new").unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("file"), "outside").unwrap();
        std::fs::create_dir_all(&to).unwrap();
        symlink(&outside, to.join("dir")).unwrap();
        symlink(outside.join("file"), to.join("file")).unwrap();
        // The destination itself may be a link.
        symlink(&to, temp.path().join("dest")).unwrap();
        export(&from, &temp.path().join("dest"));
        assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "outside");
        assert_eq!(std::fs::read_to_string(to.join("file")).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(to.join("dir/file")).unwrap(), "new");
        assert!(!std::fs::symlink_metadata(to.join("dir")).unwrap().is_symlink());
    }
}
