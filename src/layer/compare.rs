//! Where two layers that should be the same part.

use std::fmt;
use std::io::Read;

use super::entry::{EntryKind, TarEntry, path_order, shown, split};
use super::read::{Limits, ReadError, Reader};

/// One path at which two layers differ, and in what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parting {
    /// The path in the layer: relative, without a slash at either end.
    pub path: Vec<u8>,
    /// What differs there.
    pub what: Part,
}

/// What differs between two entries of one path, the first that does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// Only one of the layers has it.
    Presence,
    /// They are of different types, or devices of different numbers.
    Type,
    /// The bytes of a file.
    Content,
    /// Where a link leads to.
    Target,
    /// Permission bits.
    Mode(u32, u32),
    /// User and group.
    Owner((u32, u32), (u32, u32)),
    /// Extended attributes.
    Attributes,
    /// The time of modification, in seconds since 1970.
    Time(i64, i64),
}

/// Says what was done, as in `it ..`.
impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parent, name) = split(&self.path);
        let deleted = name.strip_prefix(b".wh.").filter(|name| *name != b".wh..opq");
        let path = match deleted {
            Some(name) => shown(&super::entry::join(parent, name)),
            None => shown(&self.path),
        };
        let path = format!("`/{}`", path.trim_start_matches('/'));
        match &self.what {
            Part::Presence if deleted.is_some() => write!(f, "deleted {path} in one build and not in the other"),
            Part::Presence => write!(f, "wrote {path} in one build and not in the other"),
            Part::Type => write!(f, "made {path} something else"),
            Part::Content => write!(f, "wrote different bytes to {path}"),
            Part::Target => write!(f, "made {path} a link to something else"),
            Part::Mode(one, other) => write!(f, "gave {path} different modes: {one:04o} and {other:04o}"),
            Part::Owner(one, other) => {
                write!(f, "gave {path} different owners: {}:{} and {}:{}", one.0, one.1, other.0, other.1)
            }
            Part::Attributes => write!(f, "gave {path} different extended attributes"),
            Part::Time(..) => write!(f, "gave {path} different times"),
        }
    }
}

/// Returns the first path, in the order of layers, at which two of them differ in more than a time, or else the first that has
/// another time. Times after `latest` count as `latest`. The tars are such as [`super::Writer`] writes: sorted.
pub fn parting(one: impl Read, other: impl Read, latest: Option<i64>) -> Result<Option<Parting>, ReadError> {
    let (mut one, mut other) = (Reader::new(one, Limits::default()), Reader::new(other, Limits::default()));
    let (mut left, mut right) = (one.next_entry()?, other.next_entry()?);
    let mut by_time = None;
    loop {
        let (a, b) = match (left.take(), right.take()) {
            (None, None) => return Ok(by_time),
            (Some(only), None) | (None, Some(only)) => return Ok(Some(presence(only))),
            (Some(a), Some(b)) if a.path != b.path => {
                let first = if path_order(&a.path, &b.path).is_lt() { a } else { b };
                return Ok(Some(presence(first)));
            }
            (Some(a), Some(b)) => (a, b),
        };
        let what = match part(&a, &b) {
            None | Some(Part::Time(..)) if !same_bytes(&mut one, &mut other)? => Some(Part::Content),
            found => found,
        };
        match what {
            None => {}
            Some(Part::Time(a_time, b_time)) => {
                let bounded = |time: i64| latest.map_or(time, |latest| time.min(latest));
                if bounded(a_time) != bounded(b_time) && by_time.is_none() {
                    by_time = Some(Parting { path: a.path, what: Part::Time(a_time, b_time) });
                }
            }
            Some(what) => return Ok(Some(Parting { path: a.path, what })),
        }
        (left, right) = (one.next_entry()?, other.next_entry()?);
    }
}

fn presence(entry: TarEntry) -> Parting {
    Parting { path: entry.path, what: Part::Presence }
}

/// What differs but for the bytes.
fn part(a: &TarEntry, b: &TarEntry) -> Option<Part> {
    match (&a.kind, &b.kind) {
        (EntryKind::File { size }, EntryKind::File { size: other }) if size != other => return Some(Part::Content),
        (EntryKind::Symlink(to), EntryKind::Symlink(other)) | (EntryKind::Hardlink(to), EntryKind::Hardlink(other))
            if to != other =>
        {
            return Some(Part::Target);
        }
        (one, other) if one != other => return Some(Part::Type),
        _ => {}
    }
    if a.mode != b.mode {
        return Some(Part::Mode(a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        return Some(Part::Owner((a.uid, a.gid), (b.uid, b.gid)));
    }
    if a.xattrs != b.xattrs {
        return Some(Part::Attributes);
    }
    (a.mtime.seconds != b.mtime.seconds).then_some(Part::Time(a.mtime.seconds, b.mtime.seconds))
}

/// Compares the bytes of the entries that two readers are at.
fn same_bytes(one: &mut impl Read, other: &mut impl Read) -> Result<bool, ReadError> {
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = one.read(&mut left).map_err(ReadError::Input)?;
        if read == 0 {
            return Ok(other.read(&mut right[..1]).map_err(ReadError::Input)? == 0);
        }
        match other.read_exact(&mut right[..read]) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(ReadError::Input(error)),
            Ok(()) if left[..read] != right[..read] => return Ok(false),
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsutil::Timestamp;
    use crate::layer::Writer;

    type File<'a> = (&'a str, &'a str, u32, i64);

    fn tar(files: &[File<'_>]) -> Vec<u8> {
        let mut out = Writer::new(Vec::new());
        for (path, text, mode, time) in files {
            let entry = TarEntry {
                kind: EntryKind::File { size: text.len() as u64 },
                mode: *mode,
                mtime: Timestamp::from_seconds(*time),
                ..TarEntry::plain_directory(path.as_bytes().to_vec())
            };
            out.append(&entry, &mut text.as_bytes()).unwrap();
        }
        out.finish().unwrap()
    }

    #[track_caller]
    fn check(one: &[File<'_>], other: &[File<'_>], latest: Option<i64>, expected: &str) {
        for (one, other) in [(one, other), (other, one)] {
            let found = parting(&tar(one)[..], &tar(other)[..], latest).unwrap();
            assert_eq!(found.map(|found| found.to_string()).unwrap_or_default(), expected);
        }
    }

    #[test]
    fn the_first_path_that_differs_is_named() {
        let base: [File<'_>; 3] = [("a", "1", 0o644, 5), ("b", "2", 0o644, 5), ("c", "3", 0o644, 5)];
        let with = |at: usize, file: File<'static>| {
            let mut files = base;
            files[at] = file;
            files
        };
        check(&base, &base, None, "");
        check(&base, &with(1, ("b", "X", 0o644, 5)), None, "wrote different bytes to `/b`");
        check(&base, &with(1, ("b", "22", 0o644, 5)), None, "wrote different bytes to `/b`");
        check(&base, &base[..2], None, "wrote `/c` in one build and not in the other");
        check(&base, &base[1..], None, "wrote `/a` in one build and not in the other");
        // A time tells less than anything else.
        check(&base, &with(0, ("a", "1", 0o644, 6)), None, "gave `/a` different times");
        check(&base, &with(0, ("a", "1", 0o644, 6)), Some(5), "");
        check(&base, &with(0, ("a", "1", 0o644, 4)), Some(5), "gave `/a` different times");
        let two = [("a", "1", 0o644, 9), ("b", "X", 0o644, 9), ("c", "3", 0o644, 9)];
        check(&base, &two, None, "wrote different bytes to `/b`");
    }

    #[test]
    fn all_that_a_layer_says_of_a_file_is_compared() {
        let entry = |kind: EntryKind| TarEntry { kind, ..TarEntry::plain_directory(b"d/x".to_vec()) };
        let link = |to: &[u8]| entry(EntryKind::Symlink(to.to_vec()));
        let what = |a: &TarEntry, b: &TarEntry| part(a, b);
        assert_eq!(what(&link(b"a"), &link(b"b")), Some(Part::Target));
        assert_eq!(what(&link(b"a"), &entry(EntryKind::Fifo)), Some(Part::Type));
        let fifo = entry(EntryKind::Fifo);
        assert_eq!(what(&fifo, &TarEntry { mode: 0o700, ..fifo.clone() }), Some(Part::Mode(0o755, 0o700)));
        assert_eq!(what(&fifo, &TarEntry { uid: 7, ..fifo.clone() }), Some(Part::Owner((0, 0), (7, 0))));
        let mut with = fifo.clone();
        with.xattrs.insert(b"user.a".to_vec(), b"b".to_vec());
        assert_eq!(what(&fifo, &with), Some(Part::Attributes));
        let deleted = Parting { path: b"d/.wh.x".to_vec(), what: Part::Presence };
        assert_eq!(deleted.to_string(), "deleted `/d/x` in one build and not in the other");
    }
}
