//! Layers that are kept as directories and become one: each thing of a layer moves into the layer below it, names and not bytes.
//!
//! Whoever looks at the two as an overlay sees the same before, after and at any moment between, so that one who is killed at it
//! costs nothing: what moved is seen below, what did not is seen above. Nobody has either mounted meanwhile.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::overlay::Merged;
use super::{SnapshotError, Snapshots};
use crate::fsutil::{Dir, DirStack, Entry, Kind, remove_xattr, set_xattr, xattrs_of};
use crate::layer;

impl Snapshots {
    /// Opens the merged, read-only view of directories that are no snapshots, bottom first.
    pub fn view_of(&self, lowers: &[PathBuf]) -> Result<Dir, SnapshotError> {
        match lowers {
            [only] => self.open_tree(only),
            _ => Ok(Merged::mount(None, lowers, self.userxattr)?.open()?.with_owners(self.owners)),
        }
    }

    /// Whether something was written to an upper directory whose lowest root was that of `below`.
    pub fn is_written(&self, upper: &Path, below: &Path) -> Result<bool, SnapshotError> {
        let failed = |error| SnapshotError::io("look at", upper)(error);
        let (upper, below) = (self.open_tree(upper)?, self.open_tree(below)?);
        let own = |dir: &Dir| dir.metadata().map(|metadata| (metadata.mode, metadata.uid, metadata.gid));
        let is_same = own(&upper).and_then(|own_upper| Ok(own_upper == own(&below)?)).map_err(failed)?;
        Ok(!is_same || !upper.entries().map_err(failed)?.is_empty())
    }

    /// Takes the deletions out of `upper` of what is not in `below`, bottom first: a directory that nothing below has would show their
    /// names.
    pub fn forget_idle_deletions(&self, upper: &Path, below: &[PathBuf]) -> Result<(), SnapshotError> {
        let (tree, view) = (self.open_tree(upper)?, self.view_of(below)?);
        forget_idle_deletions(tree, &view).map_err(SnapshotError::io("prepare", upper))
    }

    /// Moves everything of a layer into the one below it, which is the lowest, and removes the layer.
    pub fn fold(&self, layer: &Path, below: &Path) -> Result<(), SnapshotError> {
        let (from, to) = (self.open_tree(layer)?, self.open_tree(below)?);
        let opaque: &[u8] = if self.userxattr { b"user.overlay.opaque" } else { b"trusted.overlay.opaque" };
        fold(from, to, opaque).map_err(SnapshotError::io("move what is in", layer))?;
        remove(layer)
    }
}

/// Removes a directory with everything in it.
pub(super) fn remove(path: &Path) -> Result<(), SnapshotError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let removed = Dir::open(parent).and_then(|dir| dir.remove_tree(name));
    removed.map_err(SnapshotError::io("remove", path))
}

/// A directory whose names are left to be moved, and its own.
struct Left {
    name: OsString,
    entries: Vec<Entry>,
}

impl Left {
    fn of(name: OsString, dir: &Dir) -> io::Result<Self> {
        Ok(Self { name, entries: dir.entries()? })
    }
}

fn fold(from: Dir, to: Dir, opaque: &[u8]) -> io::Result<()> {
    let left = Left::of(OsString::new(), &from)?;
    let (mut from, mut to) = (DirStack::new(from, left)?, DirStack::new(to, ())?);
    loop {
        if let Some(entry) = from.top_data().entries.pop() {
            if let Some(dir) = moved(from.top(), to.top(), &entry, opaque)? {
                to.push(to.top().child_dir(&entry.name)?, ())?;
                let left = Left::of(entry.name, &dir)?;
                from.push(dir, left)?;
            }
            continue;
        }
        take_over(from.top(), to.top())?;
        let Some((_, left)) = from.pop()? else { return Ok(()) };
        to.pop()?;
        from.top().remove_tree(&left.name)?;
    }
}

/// Moves one name; returns a directory whose names are to be moved one by one into that of the same name, which is there.
fn moved(from: &Dir, to: &Dir, entry: &Entry, opaque: &[u8]) -> io::Result<Option<Dir>> {
    let name = &entry.name;
    let Some(found) = from.child_metadata(name)? else { return Ok(None) };
    if is_deletion(found.kind, found.device_node) {
        to.remove_tree(name)?;
        from.remove_tree(name)?;
        return Ok(None);
    }
    let covers_directory = to.child_metadata(name)?.is_some_and(|below| below.is_dir());
    if !found.is_dir() {
        if covers_directory {
            to.remove_tree(name)?;
        }
        from.rename(name, to, name)?;
        return Ok(None);
    }
    let dir = from.child_dir(name)?;
    let hides = !xattrs_of(&dir, |attribute| attribute == opaque)?.is_empty();
    if hides || !covers_directory {
        to.remove_tree(name)?;
        to.create_dir(name, 0o700)?;
    }
    if hides {
        // What it hid is gone. Who goes on after a kill must not take what moved for that.
        remove_xattr(&dir, opaque)?;
    }
    Ok(Some(dir))
}

/// Gives a directory what the one above it says of itself.
fn take_over(from: &Dir, to: &Dir) -> io::Result<()> {
    let (wanted, known) = (xattrs_of(from, layer::is_carried_xattr)?, xattrs_of(to, layer::is_carried_xattr)?);
    for name in known.keys().filter(|name| !wanted.contains_key(*name)) {
        remove_xattr(to, name)?;
    }
    wanted.iter().try_for_each(|(name, value)| set_xattr(to, name, value))?;
    to.copy_metadata_of(from)
}

fn forget_idle_deletions(tree: Dir, view: &Dir) -> io::Result<()> {
    let left = Left::of(OsString::new(), &tree)?;
    let (mut tree, mut path) = (DirStack::new(tree, left)?, Vec::new());
    loop {
        let Some(entry) = tree.top_data().entries.pop() else {
            let Some((_, left)) = tree.pop()? else { return Ok(()) };
            path.truncate(path.len() - left.name.len() - 1);
            continue;
        };
        let Some(found) = tree.top().child_metadata(&entry.name)? else { continue };
        if is_deletion(found.kind, found.device_node) {
            if !has(view, &path, &entry)? {
                tree.top().remove_tree(&entry.name)?;
            }
        } else if found.is_dir() {
            let dir = tree.top().child_dir(&entry.name)?;
            path.extend_from_slice(entry.name.as_encoded_bytes());
            path.push(b'/');
            let left = Left::of(entry.name, &dir)?;
            tree.push(dir, left)?;
        }
    }
}

/// Whether a view has a name in the directory `path`, which ends in a slash unless it is the root.
fn has(view: &Dir, path: &[u8], entry: &Entry) -> io::Result<bool> {
    match view.open_dir_without_links(path.strip_suffix(b"/").unwrap_or(path)) {
        Ok(dir) => Ok(dir.child_metadata(&entry.name)?.is_some()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_deletion(kind: Kind, device: (u32, u32)) -> bool {
    kind == Kind::CharDevice && device == (0, 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::snapshot::Snapshotter;

    /// Makes files: `-NAME` is a deletion, `NAME/` a directory, `NAME!` one that hides what is below.
    fn tree(root: &Path, names: &[&str]) {
        std::fs::create_dir_all(root).unwrap();
        for name in names {
            match (name.strip_prefix('-'), name.strip_suffix('/'), name.strip_suffix('!')) {
                (Some(name), ..) => {
                    mknodat(CWD, root.join(name), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
                }
                (_, Some(name), _) => std::fs::create_dir_all(root.join(name)).unwrap(),
                (.., Some(name)) => {
                    std::fs::create_dir_all(root.join(name)).unwrap();
                    set_xattr(Dir::open(&root.join(name)).unwrap(), b"trusted.overlay.opaque", b"y").unwrap();
                }
                _ => std::fs::write(root.join(name), root.file_name().unwrap().as_encoded_bytes()).unwrap(),
            }
        }
    }

    /// All names below, and what is in the files.
    fn listed(dir: &Dir, prefix: &str) -> Vec<String> {
        let mut all = Vec::new();
        for entry in dir.entries().unwrap() {
            let name = format!("{prefix}{}", entry.name.to_str().unwrap());
            match entry.kind {
                Kind::Directory => {
                    all.push(format!("{name}/"));
                    all.extend(listed(&dir.child_dir(&entry.name).unwrap(), &format!("{name}/")));
                }
                _ => {
                    let text = io::read_to_string(dir.child_file(&entry.name).unwrap()).unwrap();
                    all.push(format!("{name}={text}"));
                }
            }
        }
        all
    }

    #[test]
    fn two_layers_become_what_they_were_as_an_overlay() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root makes such marks without a user namespace.
        }
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        let snapshots = Snapshots::open(&root.join("store"), Snapshotter::Overlay, false).unwrap();
        let (low, high) = (root.join("low"), root.join("high"));
        let lower = ["kept", "gone", "file", "new/", "new/a", "d/", "d/x", "d/y", "o/", "o/old", "f/", "f/x", "g"];
        tree(&low, &lower);
        let upper =
            ["-gone", "-never", "file", "d/", "-d/x", "d/z", "o!", "o/young", "f", "g/", "g/in", "h/", "-h/idle"];
        tree(&high, &upper);
        std::fs::set_permissions(high.join("d"), std::fs::Permissions::from_mode(0o2710)).unwrap();
        std::fs::hard_link(high.join("d/z"), high.join("z")).unwrap();
        let both = [low.clone(), high.clone()];
        snapshots.forget_idle_deletions(&high, &both[..1]).unwrap();
        assert!(!high.join("h/idle").exists() && high.join("gone").metadata().is_ok());
        let before = listed(&snapshots.view_of(&both).unwrap(), "");
        snapshots.fold(&high, &low).unwrap();
        assert_eq!(listed(&snapshots.view_of(&both[..1]).unwrap(), ""), before);
        let said =
            "d/ d/y=low d/z=high f=high file=high g/ g/in=high h/ kept=low new/ new/a=low o/ o/young=high z=high";
        assert_eq!(before.join(" "), said);
        assert!(!high.exists());
        assert_eq!(low.join("d").metadata().unwrap().mode() & 0o7777, 0o2710);
        assert_eq!(low.join("z").metadata().unwrap().nlink(), 2);
    }

    #[test]
    fn one_who_was_stopped_goes_on() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let (low, high) = (scratch.path().join("low"), scratch.path().join("high"));
        let snapshots = Snapshots::open(&scratch.path().join("store"), Snapshotter::Overlay, false).unwrap();
        tree(&low, &["o/", "o/old"]);
        tree(&high, &["o!", "o/a", "o/b"]);
        // As if it was stopped in the middle of a directory that hides another.
        let (from, to) = (Dir::open(&high).unwrap(), Dir::open(&low).unwrap());
        let entry = from.entries().unwrap().remove(0);
        let inside = moved(&from, &to, &entry, b"trusted.overlay.opaque").unwrap().unwrap();
        inside.rename("a".as_ref(), &to.child_dir(&entry.name).unwrap(), "a".as_ref()).unwrap();
        snapshots.fold(&high, &low).unwrap();
        assert_eq!(listed(&Dir::open(&low).unwrap(), ""), ["o/", "o/a=high", "o/b=high"]);
    }
}
