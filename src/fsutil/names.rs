//! The names in a directory, in one buffer: a walk meets a hundred thousand of them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, RawDir, SeekFrom, seek};

use super::{Dir, Kind};

/// Bytes of entries that the kernel gives at once.
const AT_ONCE: usize = 32 * 1024;

/// All names of a directory but `.` and `..`, sorted by bytes.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    length: u32,
    kind: Kind,
}

impl Names {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns a name, and the type that the directory says it has.
    pub fn get(&self, at: usize) -> (&[u8], Kind) {
        let place = self.places[at];
        (self.name(place), place.kind)
    }

    /// Returns all names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.places.iter().map(|place| self.name(*place))
    }

    fn name(&self, place: Place) -> &[u8] {
        &self.bytes[place.start as usize..][..place.length as usize]
    }

    fn push(&mut self, name: &[u8], kind: Kind) -> io::Result<()> {
        let start = u32::try_from(self.bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.bytes.extend_from_slice(name);
        self.places.push(Place { start, length: name.len() as u32, kind });
        Ok(())
    }
}

impl Dir {
    /// Returns all names in this directory. The handle's place is moved, so nobody else may be reading it.
    pub fn names(&mut self) -> io::Result<Names> {
        seek(&*self, SeekFrom::Start(0))?;
        let mut buffer = Vec::with_capacity(AT_ONCE);
        let mut entries = RawDir::new(&*self, buffer.spare_capacity_mut());
        let mut names = Names::default();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    self.child_metadata(OsStr::from_bytes(name))?.map_or(Kind::File, |metadata| metadata.kind)
                }
                known => Kind::of(known),
            };
            names.push(name, kind)?;
        }
        let Names { bytes, places } = &mut names;
        let name = |place: &Place| &bytes[place.start as usize..][..place.length as usize];
        places.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_bytes_and_can_be_read_again() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["b", "a", "B", "é"] {
            std::fs::write(temp.path().join(name), "").unwrap();
        }
        std::fs::create_dir(temp.path().join("a-b")).unwrap();
        let mut dir = Dir::open(temp.path()).unwrap();
        for _ in 0..2 {
            let names = dir.names().unwrap();
            let all: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
            assert_eq!(all, ["B", "a", "a-b", "b", "é"]);
            assert_eq!(names.get(2), (&b"a-b"[..], Kind::Directory));
        }
    }
}
