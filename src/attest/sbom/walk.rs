//! One walk over the tree of an image, which hands to each scanner the files that it knows.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};

use super::{FILE_LIMIT, Inventory, apk, cargo, dpkg, elf, go, npm, python, rpm};
use crate::fsutil::{Dir, DirStack, Kind};

/// Reads one kind of file: its path, its text, and where its packages go.
type TextReader = fn(&str, &str, &mut Inventory);

/// What is done with a file.
enum Reader {
    /// It is text.
    Text(TextReader),
    /// It is read here and there.
    Database,
    /// It may be a program.
    Program,
}

/// Walks the tree below `root`; in the order of names, and no link is followed.
pub(super) fn walk(root: &Dir, inventory: &mut Inventory) -> io::Result<()> {
    // With each directory its path, and the directories in it that were not yet looked into, last first.
    let below = files(root, "", inventory)?;
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
        match stack.top().child_dir(&name) {
            Ok(dir) => {
                let below = files(&dir, &path, inventory)?;
                stack.push(dir, (path, below))?;
            }
            Err(error) => inventory.remark(&path, &format!("cannot be looked into: {error}")),
        }
    }
}

/// Reads what is known of the files in `dir`; returns its directories, last first.
fn files(dir: &Dir, path: &str, inventory: &mut Inventory) -> io::Result<Vec<OsString>> {
    let mut below = Vec::new();
    for entry in dir.entries()? {
        match entry.kind {
            Kind::Directory => below.push(entry.name),
            Kind::File => {
                let path = join(path, &entry.name);
                if let Err(error) = file(dir, &entry.name, &path, inventory) {
                    inventory.remark(&path, &format!("cannot be read: {error}"));
                }
            }
            _ => {}
        }
    }
    below.reverse();
    Ok(below)
}

fn file(dir: &Dir, name: &OsStr, path: &str, inventory: &mut Inventory) -> io::Result<()> {
    match reader_of(path) {
        Reader::Text(read) => read(path, &text(dir, name)?, inventory),
        Reader::Database => rpm::read(path, &dir.child_file(name)?, inventory),
        Reader::Program => {
            let may_be_run = dir.child_metadata(name)?.is_some_and(|metadata| metadata.mode & 0o111 != 0);
            if may_be_run {
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
        "status" if parent == "var/lib/dpkg" => Reader::Text(dpkg::read),
        _ if parent == "var/lib/dpkg/status.d" && !name.ends_with(".md5sums") => Reader::Text(dpkg::read),
        "installed" if parent == "lib/apk/db" || parent == "usr/lib/apk/db" => Reader::Text(apk::read),
        "METADATA" if parent.ends_with(".dist-info") => Reader::Text(python::read),
        "PKG-INFO" if parent.ends_with(".egg-info") => Reader::Text(python::read),
        _ if name.ends_with(".egg-info") => Reader::Text(python::read),
        "package.json" if is_module(within) => Reader::Text(npm::read),
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
fn text(dir: &Dir, name: &OsStr) -> io::Result<String> {
    let file = dir.child_file(name)?;
    if file.metadata()?.len() > FILE_LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {FILE_LIMIT} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn join(directory: &str, name: &OsStr) -> String {
    match directory {
        "" => name.to_string_lossy().into_owned(),
        _ => format!("{directory}/{}", name.to_string_lossy()),
    }
}
