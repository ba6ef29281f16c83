//! `diff`: the files and the config that differ between two images.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Image, ImagesError, Unpacked};
use crate::fsutil::{Dir, Kind, Metadata};
use crate::layer::is_carried_xattr;

/// One difference. It is printed on one line, as docker's `diff` begins it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// Only the second image has it.
    Added(PathBuf),
    /// Only the first image has it, with all that is in it.
    Deleted(PathBuf),
    /// Both have it, and these parts of it differ: content, mode, owner, ..
    Changed(PathBuf, Vec<String>),
    /// A part of the config, and what it is in each.
    Config(String, Value, Value),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| crate::diag::printable(&path.to_string_lossy()).to_string();
        match self {
            Self::Added(path) => write!(f, "A {}", shown(path)),
            Self::Deleted(path) => write!(f, "D {}", shown(path)),
            Self::Changed(path, what) => write!(f, "C {} ({})", shown(path), what.join(", ")),
            Self::Config(name, one, other) => write!(f, "config {name}: {one} -> {other}"),
        }
    }
}

/// Compares two images of a store: the config, then the files by path. Times of files do not count.
pub fn diff(unpacked: &Unpacked, one: &Image, other: &Image) -> Result<Vec<Difference>, ImagesError> {
    let mut found = configs(one, other);
    let views = (unpacked.view(one)?, unpacked.view(other)?);
    if one.config.rootfs.diff_ids != other.config.rootfs.diff_ids {
        trees(&views.0, &views.1, &mut found)?;
    }
    Ok(found)
}

fn configs(one: &Image, other: &Image) -> Vec<Difference> {
    let fields = |image: &Image| {
        let mut fields = BTreeMap::new();
        let config = serde_json::to_value(&image.config.config).unwrap_or_default();
        for (name, value) in config.as_object().into_iter().flatten() {
            fields.insert(name.clone(), value.clone());
        }
        fields.insert("Platform".to_owned(), Value::from(image.platform().to_string()));
        fields
    };
    let (one, other) = (fields(one), fields(other));
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let pair =
        |name: &String| (one.get(name).cloned().unwrap_or_default(), other.get(name).cloned().unwrap_or_default());
    let differing = names.into_iter().map(|name| (name, pair(name))).filter(|(_, (one, other))| one != other);
    differing.map(|(name, (one, other))| Difference::Config(name.clone(), one, other)).collect()
}

/// Walks both trees by sorted names. A path that is walked is made of directories only, seen as such before.
fn trees(one: &Dir, other: &Dir, found: &mut Vec<Difference>) -> Result<(), ImagesError> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let failed = |source| ImagesError::Copy { path: format!("/{}", path.display()), source };
        let dirs = (open(one, &path).map_err(failed)?, open(other, &path).map_err(failed)?);
        let mut below = Vec::new();
        for (name, (has_one, has_other)) in names(&dirs.0, &dirs.1).map_err(failed)? {
            let shown = Path::new("/").join(&path).join(&name);
            match (has_one, has_other) {
                (true, false) => found.push(Difference::Deleted(shown)),
                (false, true) => added(&dirs.1, &name, &shown, found).map_err(failed)?,
                _ => {
                    let pair = (dirs.0.child_metadata(&name), dirs.1.child_metadata(&name));
                    let (Some(a), Some(b)) = (pair.0.map_err(failed)?, pair.1.map_err(failed)?) else { continue };
                    let changes = changes(&dirs, &name, &a, &b).map_err(failed)?;
                    if !changes.is_empty() {
                        found.push(Difference::Changed(shown, changes));
                    }
                    if a.is_dir() && b.is_dir() {
                        below.push(path.join(&name));
                    }
                }
            }
        }
        waiting.extend(below.into_iter().rev());
    }
    // Found directory by directory; shown by path.
    found.sort_by_key(|difference| match difference {
        Difference::Config(name, ..) => (0, name.clone().into_bytes()),
        Difference::Added(path) | Difference::Deleted(path) | Difference::Changed(path, _) => {
            (1, path.as_os_str().as_bytes().to_vec())
        }
    });
    Ok(())
}

fn open(root: &Dir, path: &Path) -> io::Result<Dir> {
    if path.as_os_str().is_empty() { root.try_clone() } else { root.open_dir_in_root(path) }
}

/// All that a new name holds is new.
fn added(dir: &Dir, name: &std::ffi::OsStr, shown: &Path, found: &mut Vec<Difference>) -> io::Result<()> {
    let mut waiting = vec![(dir.try_clone()?, name.to_owned(), shown.to_owned())];
    while let Some((dir, name, shown)) = waiting.pop() {
        found.push(Difference::Added(shown.clone()));
        if dir.child_metadata(&name)?.is_some_and(|metadata| metadata.is_dir()) {
            let inner = dir.child_dir(&name)?;
            for entry in inner.entries()? {
                waiting.push((inner.try_clone()?, entry.name.clone(), shown.join(&entry.name)));
            }
        }
    }
    Ok(())
}

/// The names of both directories, and who has them.
fn names(one: &Dir, other: &Dir) -> io::Result<BTreeMap<OsString, (bool, bool)>> {
    let mut names: BTreeMap<OsString, (bool, bool)> = BTreeMap::new();
    for entry in one.entries()? {
        names.entry(entry.name).or_default().0 = true;
    }
    for entry in other.entries()? {
        names.entry(entry.name).or_default().1 = true;
    }
    Ok(names)
}

fn changes(dirs: &(Dir, Dir), name: &std::ffi::OsStr, a: &Metadata, b: &Metadata) -> io::Result<Vec<String>> {
    let mut changes = Vec::new();
    if a.kind != b.kind {
        return Ok(vec!["type".to_owned()]);
    }
    let has_other_content = match a.kind {
        Kind::File => a.size != b.size || !same_bytes(&dirs.0, &dirs.1, name)?,
        Kind::Symlink => dirs.0.child_link(name)? != dirs.1.child_link(name)?,
        _ => a.device_node != b.device_node,
    };
    if has_other_content {
        changes.push("content".to_owned());
    }
    if a.mode != b.mode {
        changes.push(format!("mode {:04o} -> {:04o}", a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        changes.push(format!("owner {}:{} -> {}:{}", a.uid, a.gid, b.uid, b.gid));
    }
    if dirs.0.child_xattrs(name, is_carried_xattr)? != dirs.1.child_xattrs(name, is_carried_xattr)? {
        changes.push("attributes".to_owned());
    }
    Ok(changes)
}

fn same_bytes(one: &Dir, other: &Dir, name: &std::ffi::OsStr) -> io::Result<bool> {
    let mut files = (io::BufReader::with_capacity(BUFFER, one.child_file(name)?), other.child_file(name)?);
    let (mut a, mut b) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let read = files.0.read(&mut a)?;
        if read == 0 {
            return Ok(files.1.read(&mut b)? == 0);
        }
        if files.1.read_exact(&mut b[..read]).is_err() || a[..read] != b[..read] {
            return Ok(false);
        }
    }
}

const BUFFER: usize = 128 * 1024;
