//! `type=local`: the files of a result, in a directory of the user.
//!
//! What is there and not in the result stays; what is in both is replaced, never written through: below the destination no
//! link is followed, so a link there cannot lead the export elsewhere. The files belong to whoever runs the build, as
//! with buildx; modes, times, hard links and the extended attributes the file system accepts are kept.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::vec;

use super::report::Report;
use crate::fsutil::{
    Dir, DirStack, Entry, Kind, Metadata, OVERRIDE, Timestamp, random_name, set_mode, set_mtime, set_xattr, xattrs_of,
};
use crate::oci::Platform;

/// Bytes copied at once; between them an export can be stopped.
const PIECE: u64 = 64 << 20;

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
    /// With `mode=delete`, something that is not in the result cannot be removed.
    #[error("cannot remove `{}`, which is not in the result", path.display())]
    Remove {
        /// What stays.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Something of the result cannot be read.
    #[error("cannot read `/{}` of the result", path.display())]
    Read {
        /// Its path in the result.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Something of the result cannot be read, or its copy not be written.
    #[error("cannot export `/{}` to `{}`", path.display(), dest.display())]
    Entry {
        /// Its path in the result.
        path: PathBuf,
        /// The directory that is exported to.
        dest: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// Returns the name of the subdirectory for one of several platforms: `linux_amd64`, `linux_arm_v7`.
pub fn platform_directory(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

/// Copies everything in `view` to the directory `dest`, which is made (with its parents) when it is not there.
/// `dest` itself may be a link to a directory. With `time` (SOURCE_DATE_EPOCH) that is the time of all files.
pub fn write_local(
    view: &Dir,
    dest: &Path,
    time: Option<Timestamp>,
    report: &Report,
) -> Result<LocalSummary, LocalError> {
    let destination = |source| LocalError::Destination { path: dest.to_owned(), source };
    std::fs::create_dir_all(dest).map_err(destination)?;
    let root = Dir::open(dest).map_err(destination)?;
    let mut copy = Copy { root: &root, time, first_names: BTreeMap::new(), summary: LocalSummary::default(), report };
    copy.tree(view).map_err(|(path, source)| LocalError::Entry { path, dest: dest.to_owned(), source })?;
    for path in &copy.summary.skipped {
        report.notice(format!("`/{}` is left out: it may not be made here", path.display()));
    }
    report.status("files", copy.summary.bytes, copy.summary.bytes, true);
    Ok(copy.summary)
}

struct Copy<'a> {
    root: &'a Dir,
    time: Option<Timestamp>,
    /// Where the first name of a file with several names was written.
    first_names: BTreeMap<(u64, u64), PathBuf>,
    summary: LocalSummary,
    report: &'a Report,
}

/// What is left to do in a directory, and what the directory shall be in the end.
struct Left {
    names: vec::IntoIter<Entry>,
    metadata: Metadata,
}

impl Copy<'_> {
    /// Walks the view, and the destination beside it.
    fn tree(&mut self, view: &Dir) -> Result<(), (PathBuf, io::Error)> {
        let mut path = PathBuf::new();
        self.walk(view, &mut path).map_err(|error| (path, error))
    }

    /// `path` is where the walk stands.
    fn walk(&mut self, view: &Dir, path: &mut PathBuf) -> io::Result<()> {
        let left = Left { names: view.entries()?.into_iter(), metadata: self.dated(view.metadata()?) };
        let mut from = DirStack::new(view.try_clone()?, left)?;
        let mut to = DirStack::new(self.root.try_clone()?, ())?;
        loop {
            if let Some(entry) = from.top_data().names.next() {
                path.push(&entry.name);
                match self.entry(from.top(), to.top(), &entry.name, path)? {
                    Some((source, target, left)) => {
                        from.push(source, left)?;
                        to.push(target, ())?;
                    }
                    None => _ = path.pop(),
                }
                continue;
            }
            // The destination itself is the user's directory and keeps its mode.
            let (Some((source, left)), Some((target, ()))) = (from.pop()?, to.pop()?) else { return Ok(()) };
            // Last: a mode may forbid writing, and writing sets the time.
            copy_attributes(&source, &target, &left.metadata)?;
            path.pop();
        }
    }

    /// Copies one name; a directory is returned to be walked.
    fn entry(&mut self, from: &Dir, to: &Dir, name: &OsStr, path: &Path) -> io::Result<Option<(Dir, Dir, Left)>> {
        let Some(metadata) = from.child_metadata(name)?.map(|metadata| self.dated(metadata)) else { return Ok(None) };
        self.report.go_on()?;
        self.summary.entries += 1;
        if metadata.kind == Kind::Directory {
            let source = from.child_dir(name)?;
            let left = Left { names: source.entries()?.into_iter(), metadata };
            return Ok(Some((source, directory(to, name)?, left)));
        }
        if metadata.kind == Kind::File {
            if metadata.links == 1 || !self.link(to, name, path, &metadata)? {
                self.file(from, to, name, &metadata)?;
            }
            return Ok(None);
        }
        to.remove_tree(name)?;
        match metadata.kind {
            Kind::Symlink => {
                to.create_symlink(name, from.child_link(name)?.as_os_str())?;
                to.set_child_mtime(name, metadata.mtime)?;
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo if node(to, name, &metadata)? => {}
            _ => {
                self.summary.entries -= 1;
                self.summary.skipped.push(path.to_owned());
            }
        }
        Ok(None)
    }

    fn dated(&self, metadata: Metadata) -> Metadata {
        Metadata { mtime: self.time.unwrap_or(metadata.mtime), ..metadata }
    }

    /// Makes a further name of a file already written; of a new file, remembers where it will be.
    fn link(&mut self, to: &Dir, name: &OsStr, path: &Path, metadata: &Metadata) -> io::Result<bool> {
        let Some(first) = self.first_names.get(&(metadata.device, metadata.inode)) else {
            self.first_names.insert((metadata.device, metadata.inode), path.to_owned());
            return Ok(false);
        };
        let parent = self.root.open_dir_in_root(first.parent().unwrap_or(Path::new("")))?;
        to.remove_tree(name)?;
        to.create_hard_link(name, &parent, first.file_name().unwrap_or_default())?;
        Ok(true)
    }

    /// The file appears under its name when all of it is written, with its mode and its time.
    fn file(&mut self, from: &Dir, to: &Dir, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        let temporary = OsString::from(format!(".kiln-{}", random_name()));
        let written = self.contents(from, name, to, &temporary, metadata).and_then(|()| {
            if to.child_metadata(name)?.is_some_and(|found| found.is_dir()) {
                to.remove_tree(name)?;
            }
            to.rename(&temporary, to, name)
        });
        if written.is_err() {
            let _ = to.remove_tree(&temporary);
        }
        written
    }

    fn contents(&mut self, from: &Dir, name: &OsStr, to: &Dir, new: &OsStr, metadata: &Metadata) -> io::Result<()> {
        let (mut source, mut target) = (from.child_file(name)?, to.create_file(new)?);
        loop {
            self.report.go_on()?;
            let copied = io::copy(&mut (&mut source).take(PIECE), &mut target)?;
            self.summary.bytes += copied;
            if copied < PIECE {
                break;
            }
        }
        if self.summary.entries.is_multiple_of(256) {
            self.report.status("files", self.summary.bytes, 0, false);
        }
        copy_attributes(&source, &target, metadata)
    }
}

/// Opens the directory of that name; what else has the name makes room for it. A directory that denies writing (of an
/// earlier export) is opened up; in the end it gets the mode of the result.
fn directory(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    match parent.child_metadata(name)? {
        Some(found) if found.is_dir() && found.mode & 0o700 == 0o700 => {}
        Some(found) if found.is_dir() => parent.set_child_mode(name, 0o700)?,
        _ => {
            parent.remove_tree(name)?;
            parent.create_dir(name, 0o700)?;
        }
    }
    parent.child_dir(name)
}

/// Makes a device node or a fifo; false when the kernel does not allow it.
fn node(parent: &Dir, name: &OsStr, metadata: &Metadata) -> io::Result<bool> {
    match parent.create_node(name, metadata.kind, metadata.device_node) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        Err(error) => return Err(error),
    }
    parent.set_child_mode(name, metadata.mode)?;
    parent.set_child_mtime(name, metadata.mtime)?;
    Ok(true)
}

/// Gives an open file or directory the mode, the time and the attributes of its original. Attributes the destination does
/// not take are left out: a file system may have none, and `security.*` needs privileges.
fn copy_attributes(from: &impl AsFd, to: &impl AsFd, metadata: &Metadata) -> io::Result<()> {
    // Not the label of this machine's policy, nor what overlayfs keeps for itself.
    let wanted = |name: &[u8]| {
        name != b"security.selinux"
            && !name.starts_with(b"trusted.")
            && !name.starts_with(b"user.overlay.")
            && name != OVERRIDE
    };
    for (name, value) in xattrs_of(from, wanted)? {
        let _ = set_xattr(to, &name, &value);
    }
    set_mode(to, metadata.mode)?;
    set_mtime(to, metadata.mtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn export(from: &Path, to: &Path) -> LocalSummary {
        write_local(&Dir::open(from).unwrap(), to, None, &Report::silent()).unwrap()
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
        Dir::open(&from).unwrap().create_node(OsStr::new("fifo"), Kind::Fifo, (0, 0)).unwrap();
        std::fs::set_permissions(from.join("fifo"), PermissionsExt::from_mode(0o622)).unwrap();
        set_mtime(Dir::open(&from.join("bin")).unwrap(), Timestamp { seconds: 7, nanoseconds: 5 }).unwrap();
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
    fn a_file_that_cannot_be_written_whole_leaves_the_old_one() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        for directory in [&from, &to] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(from.join("file"), "new").unwrap();
        std::fs::write(to.join("file"), "old").unwrap();
        // It is stopped before the first byte, as it is by a full disk somewhere in the middle.
        let cancel = crate::executor::CancelFlag::new().unwrap();
        let report =
            Report::new(std::sync::Arc::new(crate::progress::Silent), crate::progress::VertexId(0), cancel.clone());
        let view = Dir::open(&from).unwrap();
        let mut copy = Copy {
            root: &Dir::open(&to).unwrap(),
            time: None,
            first_names: BTreeMap::new(),
            summary: LocalSummary::default(),
            report: &report,
        };
        cancel.cancel();
        let metadata = view.child_metadata(OsStr::new("file")).unwrap().unwrap();
        copy.file(&view, copy.root, OsStr::new("file"), &metadata).unwrap_err();
        assert_eq!(std::fs::read_to_string(to.join("file")).unwrap(), "old");
        assert_eq!(Dir::open(&to).unwrap().entries().unwrap().len(), 1);
        let error = write_local(&view, &to, None, &report).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot export `/file` to `{}`", to.display()));
    }

    #[test]
    fn the_epoch_is_the_time_of_all_files() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        std::fs::create_dir_all(from.join("dir")).unwrap();
        std::fs::write(from.join("dir/file"), "file").unwrap();
        symlink("file", from.join("dir/link")).unwrap();
        write_local(&Dir::open(&from).unwrap(), &to, Some(Timestamp::from_seconds(7)), &Report::silent()).unwrap();
        for path in ["dir", "dir/file", "dir/link"] {
            assert_eq!(std::fs::symlink_metadata(to.join(path)).unwrap().mtime(), 7, "{path}");
        }
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
