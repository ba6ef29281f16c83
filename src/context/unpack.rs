//! Contexts that come as a tar stream: unpacked into a directory of the store.
//!
//! The stream is hostile. Every name is resolved by the kernel below the directory, a last component is never
//! followed, what is in the way is replaced, and a name that would leave the top is an error. Owners are not
//! kept: files of a context belong to root (11.12).

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::compression::decompressed;
use super::glob::clean_inside;
use crate::expansion;
use crate::fsutil::{Dir, Kind, Timestamp, set_mode, set_mtime};

const BLOCK: usize = 512;

/// Why a context cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream ends early, or is no tar.
    #[error("cannot read the context's archive")]
    Stream(#[source] io::Error),
    /// A name that leads out of the context.
    #[error("the context's archive has an entry outside of it: `{path}`")]
    Outside {
        /// The name.
        path: String,
    },
    /// An entry could not be made.
    #[error("cannot unpack `{path}` of the context's archive")]
    Entry {
        /// The name.
        path: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

/// Whether bytes begin with the header of a tar entry: its checksum adds up (POSIX pax, "ustar Interchange Format").
pub fn begins_as_tar(bytes: &[u8]) -> bool {
    let Some(block) = bytes.get(..BLOCK).filter(|block| block[0] != 0) else { return false };
    let digits =
        block[148..156].iter().skip_while(|byte| **byte == b' ').take_while(|byte| (b'0'..b'8').contains(*byte));
    let stored = digits.fold(0u32, |sum, byte| sum.wrapping_mul(8).wrapping_add(u32::from(*byte - b'0')));
    // The checksum's own field counts as blanks.
    let counted = |at: usize, byte: u8| if (148..156).contains(&at) { b' ' } else { byte };
    block.iter().enumerate().map(|(at, byte)| u32::from(counted(at, *byte))).sum::<u32>() == stored
}

/// Whether a stream begins as a tar archive does, or as anything compressed. Reads the first block.
pub fn is_archive(reader: impl Read) -> io::Result<bool> {
    const MAGICS: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    let mut first = Vec::with_capacity(BLOCK);
    reader.take(BLOCK as u64).read_to_end(&mut first)?;
    // An archive of nothing is blocks of zeros.
    let is_nothing = first.len() == BLOCK && first.iter().all(|byte| *byte == 0);
    Ok(is_nothing || MAGICS.iter().any(|magic| first.starts_with(magic)) || begins_as_tar(&first))
}

/// Unpacks a tar stream, compressed or not, into the directory `target`.
pub fn unpack(reader: impl Read, target: &Dir) -> Result<(), UnpackError> {
    let reader = decompressed(reader).map_err(UnpackError::Stream)?.reader;
    let (reader, allowance) = expansion::sparing(reader);
    let mut archive = tar::Archive::new(reader);
    // A directory's mode may deny writing into it, and its time changes with what is put in.
    let mut directories: Vec<(Vec<u8>, u32, Timestamp)> = Vec::new();
    for entry in allowance.over(archive.entries().map_err(UnpackError::Stream)?) {
        let mut entry = entry.map_err(UnpackError::Stream)?;
        let name = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&name).into_owned();
        let path = clean_inside(&name).ok_or_else(|| UnpackError::Outside { path: shown.clone() })?;
        let failed = |source| UnpackError::Entry { path: shown, source };
        let is_directory = !path.is_empty() && unpack_entry(&mut entry, target, &path).map_err(failed)?;
        io::copy(&mut entry, &mut io::sink()).map_err(UnpackError::Stream)?;
        if is_directory {
            let (mode, mtime) = mode_and_time(&entry).map_err(UnpackError::Stream)?;
            directories.push((path, mode, mtime));
        }
    }
    for (path, mode, mtime) in directories.into_iter().rev() {
        let shown = String::from_utf8_lossy(&path).into_owned();
        let failed = |source| UnpackError::Entry { path: shown, source };
        finish_directory(target, &path, mode, mtime).map_err(failed)?;
    }
    Ok(())
}

/// A later entry may have replaced the directory; what is there now keeps its own mode.
fn finish_directory(target: &Dir, path: &[u8], mode: u32, mtime: Timestamp) -> io::Result<()> {
    let path = Path::new(OsStr::from_bytes(path));
    if target.lstat_in_root(path)?.is_some_and(|metadata| metadata.is_dir()) {
        let directory = target.open_dir_in_root(path)?;
        set_mode(&directory, mode)?;
        set_mtime(&directory, mtime)?;
    }
    Ok(())
}

fn mode_and_time<R: Read>(entry: &tar::Entry<R>) -> io::Result<(u32, Timestamp)> {
    let header = entry.header();
    let mtime = i64::try_from(header.mtime()?).unwrap_or(0);
    Ok((header.mode()? & 0o7777, Timestamp::from_seconds(mtime)))
}

/// Makes one entry; returns whether it is a directory.
fn unpack_entry<R: Read>(entry: &mut tar::Entry<R>, target: &Dir, path: &[u8]) -> io::Result<bool> {
    let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (make_directories(target, &path[..at])?, &path[at + 1..]),
        None => (target.try_clone()?, path),
    };
    let name = OsStr::from_bytes(name);
    let kind = entry.header().entry_type();
    let is_directory = kind.is_dir() || (kind.is_file() && entry.path_bytes().ends_with(b"/"));
    let there = directory.child_metadata(name)?;
    if is_directory && there.is_some_and(|metadata| metadata.is_dir()) {
        return Ok(true);
    }
    if !is_of_a_file(kind) {
        return Ok(false);
    }
    directory.remove_tree(name)?;
    let (mode, mtime) = mode_and_time(entry)?;
    if is_directory {
        directory.create_dir(name, 0o700)?;
        return Ok(true);
    }
    let link = entry.link_name_bytes().unwrap_or_default().into_owned();
    match kind {
        tar::EntryType::Symlink => directory.create_symlink(name, OsStr::from_bytes(&link))?,
        tar::EntryType::Link => return make_hard_link(target, &directory, name, &link).map(|()| false),
        tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => make_node(entry, &directory, name)?,
        _ => {
            let mut file = directory.create_file(name)?;
            io::copy(entry, &mut file)?;
            set_mode(&file, mode)?;
        }
    }
    directory.set_child_mtime(name, mtime)?;
    Ok(false)
}

/// Whether the entry is a file of its own and no note about others.
fn is_of_a_file(kind: tar::EntryType) -> bool {
    use tar::EntryType::{Block, Char, Continuous, Directory, Fifo, GNUSparse, Link, Regular, Symlink};
    matches!(kind, Regular | Continuous | GNUSparse | Directory | Symlink | Link | Char | Block | Fifo)
}

fn make_node<R: Read>(entry: &tar::Entry<R>, directory: &Dir, name: &OsStr) -> io::Result<()> {
    let header = entry.header();
    let kind = match header.entry_type() {
        tar::EntryType::Char => Kind::CharDevice,
        tar::EntryType::Block => Kind::BlockDevice,
        _ => Kind::Fifo,
    };
    let device = (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
    directory.create_node(name, kind, device)?;
    directory.set_child_mode(name, header.mode()? & 0o7777)
}

fn make_hard_link(target: &Dir, directory: &Dir, name: &OsStr, first: &[u8]) -> io::Result<()> {
    let first = clean_inside(first).filter(|first| !first.is_empty()).ok_or(io::ErrorKind::NotFound)?;
    let split = first.iter().rposition(|byte| *byte == b'/');
    let (above, first) = split.map_or((&b"."[..], first.as_slice()), |at| (&first[..at], &first[at + 1..]));
    let from = target.open_dir_in_root(Path::new(OsStr::from_bytes(above)))?;
    directory.create_hard_link(name, &from, OsStr::from_bytes(first))
}

/// Opens a directory below the top, making what is missing of it. Links are followed inside the top.
fn make_directories(target: &Dir, path: &[u8]) -> io::Result<Dir> {
    match target.open_dir_in_root(Path::new(OsStr::from_bytes(path))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut at = target.try_clone()?;
    let mut from = 0;
    for end in path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end).chain([path.len()]) {
        let name = OsStr::from_bytes(&path[from..end]);
        match at.create_dir(name, 0o755) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        at = target.open_dir_in_root(Path::new(OsStr::from_bytes(&path[..end])))?;
        from = end + 1;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn archive(entries: &[(&str, tar::EntryType, &str, u32)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text, mode) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_mtime(1_500_000_000);
            let is_file = kind.is_file();
            header.set_size(if is_file { text.len() as u64 } else { 0 });
            if !is_file {
                header.as_gnu_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            header.set_cksum();
            builder.append(&header, if is_file { text.as_bytes() } else { b"" }).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<(), UnpackError>) {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("top")).unwrap();
        let result = unpack(bytes, &Dir::open(&temp.path().join("top")).unwrap());
        (temp, result)
    }

    use tar::EntryType::{Directory, Link, Regular, Symlink};

    #[test]
    fn files_keep_what_a_copy_takes_over() {
        let plain = archive(&[
            ("./", Directory, "", 0o700),
            ("d/", Directory, "", 0o555),
            ("d/f", Regular, "text", 0o640),
            ("d/l", Symlink, "f", 0o777),
            ("h", Link, "d/f", 0o640),
            ("deep/er/x", Regular, "", 0o755),
        ]);
        for bytes in [zstd::encode_all(plain.as_slice(), 1).unwrap(), plain] {
            let (temp, result) = unpacked(&bytes);
            result.unwrap();
            let top = temp.path().join("top");
            let file = fs::metadata(top.join("d/f")).unwrap();
            assert_eq!((file.permissions().mode() & 0o7777, file.mtime(), file.nlink()), (0o640, 1_500_000_000, 2));
            assert_eq!(fs::read_link(top.join("d/l")).unwrap(), Path::new("f"));
            let directory = fs::metadata(top.join("d")).unwrap();
            assert_eq!((directory.permissions().mode() & 0o7777, directory.mtime()), (0o555, 1_500_000_000));
            assert!(top.join("deep/er/x").exists());
        }
    }

    #[test]
    fn nothing_is_made_outside() {
        let (_temp, result) = unpacked(&archive(&[("../x", Regular, "1", 0o644)]));
        assert!(matches!(result, Err(UnpackError::Outside { .. })));
        for target in ["..", "../..", "/", "/tmp"] {
            let (temp, _) = unpacked(&archive(&[("l", Symlink, target, 0o777), ("l/escaped", Regular, "1", 0o644)]));
            assert!(!temp.path().join("escaped").exists() && !Path::new("/escaped").exists(), "{target}");
            assert!(!Path::new("/tmp/escaped").exists());
        }
        let (temp, result) = unpacked(&archive(&[("h", Link, "../../secret", 0o644)]));
        assert!(result.is_err() && !temp.path().join("top/h").exists());
        // A file is written to its name, not through a link of that name.
        let entries =
            archive(&[("l", Symlink, "/kept", 0o777), ("kept", Regular, "1", 0o644), ("l", Regular, "2", 0o644)]);
        let (temp, result) = unpacked(&entries);
        result.unwrap();
        assert_eq!(fs::read_to_string(temp.path().join("top/kept")).unwrap(), "1");
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let whole = archive(&[("f", Regular, &"x".repeat(2000), 0o644)]);
        let (_temp, result) = unpacked(&whole[..1500]);
        assert!(result.is_err());
    }

    #[test]
    fn archives_are_told_by_their_beginning() {
        let tree = archive(&[("f", Regular, "1", 0o644)]);
        let zstd = zstd::encode_all(tree.as_slice(), 1).unwrap();
        for one in [tree.as_slice(), &zstd, &[0; 1024], b"\x1f\x8b\x08"] {
            assert!(is_archive(one).unwrap(), "{:?}", &one[..3]);
        }
        for other in [b"FROM scratch\n".as_slice(), b"", &[0; 100], &tree[..511], b"\x1f\x8b"] {
            assert!(!is_archive(other).unwrap(), "{other:?}");
        }
    }
}
