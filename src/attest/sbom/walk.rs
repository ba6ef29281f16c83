//! One walk over the tree of an image, which hands to each scanner the files that it knows.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};

use super::{FILE_LIMIT, Inventory, LIST_LIMIT, apk, cargo, copyright, dpkg, elf, go, npm, python, rpm};
use crate::fsutil::{Dir, DirStack, Kind, Metadata};

/// Reads one kind of file: its path, its text, and where its packages go.
type TextReader = fn(&str, &str, &mut Inventory);

/// Files of several names that were read under the first: device and inode, and who read them.
type Seen = BTreeSet<(u64, u64, usize)>;

/// The kernel's own limit of a path, in bytes (PATH_MAX): nothing is installed deeper.
const LONGEST_PATH: usize = 4096;

/// What is done with a file.
enum Reader {
    /// It is text, and tells of all packages of a distribution.
    List(TextReader),
    /// It is text.
    Text(TextReader),
    /// It is read here and there.
    Database,
    /// It may be a program.
    Program,
}

impl Reader {
    /// Tells apart who reads a file.
    fn number(&self) -> usize {
        match self {
            Self::Program => 0,
            Self::Database => 1,
            Self::List(read) | Self::Text(read) => *read as usize,
        }
    }
}

/// Walks the tree below `root`; in the order of names, and no link is followed.
pub(super) fn walk(root: &Dir, inventory: &mut Inventory) -> io::Result<()> {
    // With each directory its path, and the directories in it that were not yet looked into, last first.
    let mut seen = Seen::new();
    let below = files(root, "", &mut seen, inventory)?;
    let mut stack = DirStack::new(root.try_clone()?, (String::new(), below))?;
    loop {
        let (path, below) = stack.top_data();
        let Some(name) = below.pop() else {
            if stack.pop()?.is_none() {
                return Ok(());
            }
            continue;
        };
        let path = join(path, &name);
        if path.len() > LONGEST_PATH {
            inventory.remark(&path[..path.floor_char_boundary(64)], "what lies so deep below is not looked into");
            continue;
        }
        let looked = stack.top().child_dir(&name).and_then(|dir| {
            let below = files(&dir, &path, &mut seen, inventory)?;
            Ok((dir, below))
        });
        match looked {
            Ok((dir, below)) => stack.push(dir, (path, below))?,
            Err(error) => inventory.remark(&path, &format!("cannot be looked into: {error}")),
        }
    }
}

/// Reads what is known of the files in `dir`; returns its directories, last first.
fn files(dir: &Dir, path: &str, seen: &mut Seen, inventory: &mut Inventory) -> io::Result<Vec<OsString>> {
    let mut below = Vec::new();
    for entry in dir.entries()? {
        match entry.kind {
            Kind::Directory => below.push(entry.name),
            Kind::File => {
                let path = join(path, &entry.name);
                if let Err(error) = file(dir, &entry.name, &path, seen, inventory) {
                    inventory.remark(&path, &format!("cannot be read: {error}"));
                }
            }
            _ => {}
        }
    }
    below.reverse();
    Ok(below)
}

fn file(dir: &Dir, name: &OsStr, path: &str, seen: &mut Seen, inventory: &mut Inventory) -> io::Result<()> {
    let reader = reader_of(path);
    let metadata = dir.child_metadata(name)?;
    let is_again = |found: &Metadata| found.links > 1 && !seen.insert((found.device, found.inode, reader.number()));
    if metadata.as_ref().is_none_or(is_again) {
        return Ok(());
    }
    match reader {
        Reader::List(read) => read(path, &text(dir, name, LIST_LIMIT)?, inventory),
        Reader::Text(read) => read(path, &text(dir, name, FILE_LIMIT)?, inventory),
        Reader::Database => rpm::read(path, &dir.child_file(name)?, inventory),
        Reader::Program => {
            if metadata.is_some_and(|metadata| metadata.mode & 0o111 != 0) {
                program(path, &dir.child_file(name)?, inventory)?;
            }
        }
    }
    Ok(())
}

/// Reads what a program says of itself.
fn program(path: &str, file: &File, inventory: &mut Inventory) -> io::Result<()> {
    let Some(elf) = elf::Elf::read(file)? else { return Ok(()) };
    if let Some(section) = elf.section(go::SECTION)? {
        go::read(path, &section, inventory);
    }
    if let Some(section) = elf.section(cargo::SECTION)? {
        cargo::read_section(path, &section, inventory);
    }
    Ok(())
}

/// Which scanner knows a file, by its path from the root of the image.
fn reader_of(path: &str) -> Reader {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let within = parent.rsplit_once('/').map_or("", |(above, _)| above);
    match name {
        "status" if parent == "var/lib/dpkg" => Reader::List(dpkg::read),
        _ if parent == "var/lib/dpkg/status.d" && !name.ends_with(".md5sums") => Reader::Text(dpkg::read),
        "installed" if parent == "lib/apk/db" || parent == "usr/lib/apk/db" => Reader::List(apk::read),
        "METADATA" if parent.ends_with(".dist-info") => Reader::Text(python::read),
        "PKG-INFO" if parent.ends_with(".egg-info") => Reader::Text(python::read),
        _ if name.ends_with(".egg-info") => Reader::Text(python::read),
        "package.json" if is_module(within) => Reader::Text(npm::read),
        "copyright" if copyright::package_of(path).is_some() => Reader::Text(copyright::read),
        "Cargo.lock" => Reader::Text(cargo::read_lock),
        _ if rpm::is_database(parent, name) => Reader::Database,
        _ => Reader::Program,
    }
}

/// Whether packages are right below a directory: `node_modules`, or a scope in it.
fn is_module(directory: &str) -> bool {
    let (above, last) = directory.rsplit_once('/').unwrap_or(("", directory));
    last == "node_modules" || last.starts_with('@') && (above == "node_modules" || above.ends_with("/node_modules"))
}

/// The whole of a file, if it is not too long. What is no UTF-8 is replaced.
fn text(dir: &Dir, name: &OsStr, limit: u64) -> io::Result<String> {
    let file = dir.child_file(name)?;
    if file.metadata()?.len() > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn join(directory: &str, name: &OsStr) -> String {
    match directory {
        "" => name.to_string_lossy().into_owned(),
        _ => format!("{directory}/{}", name.to_string_lossy()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::elf::tests::program;
    use super::super::{scan, tests::scanned_programs};
    use super::*;

    #[test]
    fn a_program_of_two_names_is_looked_into_once() {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().unwrap();
        let (one, other) = (temp.path().join("a"), temp.path().join("b"));
        std::fs::write(&one, program(go::SECTION, b"nothing", true, false)).unwrap();
        std::fs::set_permissions(&one, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::hard_link(&one, &other).unwrap();
        let inventory = scan(&Dir::open(temp.path()).unwrap()).unwrap();
        assert_eq!(inventory.remarks, ["/a: what a Go program says of itself makes no sense"]);
    }

    #[test]
    fn what_is_too_deep_is_left_out_and_said() {
        let temp = tempfile::tempdir().unwrap();
        let mut at = Dir::open(temp.path()).unwrap();
        let name = "d".repeat(200);
        for _ in 0..40 {
            rustix::fs::mkdirat(&at, &name, rustix::fs::Mode::RWXU).unwrap();
            at = at.child_dir(OsStr::new(&name)).unwrap();
        }
        let inventory = scan(&Dir::open(temp.path()).unwrap()).unwrap();
        assert_eq!(inventory.remarks, [format!("/{}: what lies so deep below is not looked into", "d".repeat(64))]);
    }

    #[test]
    fn what_is_too_long_is_left_out_and_said() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("x.dist-info")).unwrap();
        let file = File::create(temp.path().join("x.dist-info/METADATA")).unwrap();
        file.set_len(FILE_LIMIT + 1).unwrap();
        let inventory = scan(&Dir::open(temp.path()).unwrap()).unwrap();
        let expected = "/x.dist-info/METADATA: cannot be read: it is longer than 16777216 bytes";
        assert_eq!(inventory.remarks, [expected]);
        // One that may not be run is no program.
        assert!(scanned_programs(&[("x", b"#!/bin/sh\n")]).remarks.is_empty());
    }
}
