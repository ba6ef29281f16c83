//! Owners of a tree, read and set: by the kernel, or in notes, as the tree has it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Dir, Kind, Metadata, Note, Owners};

/// Longer than any note.
const LONGEST: usize = 128;

impl Dir {
    /// Returns the metadata of an open file of this tree.
    pub fn metadata_of(&self, file: impl AsFd) -> io::Result<Metadata> {
        let mut metadata = Metadata::of(&fs::fstat(&file)?);
        if self.owners == Owners::Noted
            && let Some(note) = read(metadata.kind, |name, buffer| fs::fgetxattr(&file, name, buffer))?
        {
            note.apply(&mut metadata);
        }
        Ok(metadata)
    }

    /// As [`Dir::metadata_of`], of a handle that is only good for naming a file (`O_PATH`).
    pub(super) fn metadata_of_handle(&self, handle: impl AsFd) -> io::Result<Metadata> {
        let mut metadata = Metadata::of(&fs::fstat(&handle)?);
        let path = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
        if self.owners == Owners::Noted
            && let Some(note) = read(metadata.kind, |name, buffer| fs::getxattr(&path, name, buffer))?
        {
            note.apply(&mut metadata);
        }
        Ok(metadata)
    }

    /// Adds what is noted of one name to what `stat` said of it.
    pub(super) fn noted_child(&self, name: &OsStr, mut metadata: Metadata) -> io::Result<Metadata> {
        if let Some(note) = self.note_of_child(name, metadata.kind)? {
            note.apply(&mut metadata);
        }
        Ok(metadata)
    }

    fn note_of_child(&self, name: &OsStr, kind: Kind) -> io::Result<Option<Note>> {
        if self.owners == Owners::Real {
            return Ok(None);
        }
        let path = self.path_of_child(name);
        read(kind, |attribute, buffer| fs::lgetxattr(path.as_slice(), attribute, buffer))
    }

    /// A name that the kernel resolves from the open directory. The last part is for calls that do not follow it.
    fn path_of_child(&self, name: &OsStr) -> Vec<u8> {
        [format!("/proc/self/fd/{}/", self.as_fd().as_raw_fd()).as_bytes(), name.as_bytes()].concat()
    }

    /// Sets owner and group of an open file or directory of this tree. Clears setuid, setgid and file capabilities, if the
    /// kernel keeps the owner.
    pub fn set_owner_of(&self, file: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
        if self.owners == Owners::Real {
            return Ok(fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?);
        }
        let found = Metadata::of(&fs::fstat(&file)?);
        write(
            &Note { uid, gid, device: None },
            &found,
            |name, value| fs::fsetxattr(&file, name, value, XattrFlags::empty()),
            |name| fs::fremovexattr(&file, name),
        )
    }

    /// Sets owner and group of one name. Clears setuid, setgid and file capabilities, if the kernel keeps the owner.
    pub fn set_child_owner(&self, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
        if self.owners == Owners::Real {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            return Ok(fs::chownat(self, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?);
        }
        let found = Metadata::of(&fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW)?);
        let device = self.note_of_child(name, found.kind)?.and_then(|note| note.device);
        self.note_child(name, &Note { uid, gid, device }, &found)
    }

    fn note_child(&self, name: &OsStr, note: &Note, found: &Metadata) -> io::Result<()> {
        let path = self.path_of_child(name);
        write(
            note,
            found,
            |name, value| fs::lsetxattr(path.as_slice(), name, value, XattrFlags::empty()),
            |name| fs::lremovexattr(path.as_slice(), name),
        )
    }

    /// Makes an empty file that stands for a device node.
    pub(super) fn note_device(&self, name: &OsStr, kind: Kind, (major, minor): (u32, u32)) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = fs::openat(self, name, flags, Mode::empty())?;
        let note = Note { uid: 0, gid: 0, device: Some((kind, major, minor)) };
        Ok(fs::fsetxattr(&file, Note::attribute(Kind::File), &note.value(Kind::File, 0), XattrFlags::empty())?)
    }
}

fn read(kind: Kind, get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Option<Note>> {
    let mut buffer = [0; LONGEST];
    match get(Note::attribute(kind), &mut buffer) {
        Ok(length) => Ok(Note::parse(kind, &buffer[..length])),
        // None there, or more than a note is, or a file system that has none.
        Err(Errno::NODATA | Errno::RANGE | Errno::NOTSUP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write(
    note: &Note,
    found: &Metadata,
    set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
    remove: impl Fn(&[u8]) -> rustix::io::Result<()>,
) -> io::Result<()> {
    let name = Note::attribute(found.kind);
    if !note.is_plain() {
        return Ok(set(name, &note.value(found.kind, found.mode))?);
    }
    match remove(name) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_keeps_its_owner_without_the_kernel() {
        let temp = tempfile::tempdir().unwrap();
        let real = Dir::open(temp.path()).unwrap();
        let dir = real.try_clone().unwrap().with_owners(Owners::Noted);
        let names = ["file", "dir", "null", "fifo"].map(OsStr::new);
        dir.create_file(names[0]).unwrap();
        dir.create_dir(names[1], 0o755).unwrap();
        dir.create_node(names[2], Kind::CharDevice, (1, 3)).unwrap();
        dir.create_node(names[3], Kind::Fifo, (0, 0)).unwrap();
        for (name, uid) in names.into_iter().zip(1..) {
            match dir.set_child_owner(name, uid, 1_000_000) {
                // Capabilities of a fifo are for root.
                Err(error) if error.raw_os_error() == Some(libc::EPERM) && uid == 4 => continue,
                other => other.unwrap(),
            }
            let (noted, real) = (dir.child_metadata(name).unwrap(), real.child_metadata(name).unwrap());
            let (noted, real) = (noted.unwrap(), real.unwrap());
            assert_eq!((noted.uid, noted.gid), (uid, 1_000_000), "{name:?}");
            assert_ne!(real.gid, 1_000_000, "{name:?}");
        }
        let null = dir.lstat_in_root("null".as_ref()).unwrap().unwrap();
        assert_eq!((null.kind, null.device_node), (Kind::CharDevice, (1, 3)));
        assert_eq!(dir.child_dir(names[1]).unwrap().metadata().unwrap().uid, 2);
        dir.set_child_owner(names[0], 0, 0).unwrap();
        assert_eq!(
            dir.child_metadata(names[0]).unwrap().unwrap().uid,
            real.child_metadata(names[0]).unwrap().unwrap().uid
        );
    }
}
