//! Who uses what of a store, so that what is removed beside them is nothing of theirs.
//!
//! ```text
//! <root>/leases/gate        flock: shared for the moment in which a name is written, exclusive while things are removed
//! <root>/leases/<random>    names of what one process uses, one a line; the process holds a flock
//! ```
//!
//! A process writes the name of a thing before it looks whether the thing is there. So either who removes reads the name, or the process
//! finds the thing gone, which it must expect of any cache; and it waits no longer than a removal takes. A file that nobody
//! has locked is of a process that is gone.
//!
//! A name that was written stays until the process ends: what a build has used, it may use again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::{Dir, random_name};

const GATE: &str = "gate";

/// What one process uses, until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Lease(Arc<Held>);

#[derive(Debug)]
struct Held {
    directory: PathBuf,
    path: PathBuf,
    file: Mutex<File>,
    names: Mutex<BTreeSet<String>>,
}

impl Lease {
    /// Begins to use the store at `root`, which is there. Waits while something is removed.
    pub fn take(root: &Path) -> io::Result<Self> {
        let directory = root.join("leases");
        let _gate = gate(&directory, FlockOperation::LockShared)?;
        let path = directory.join(random_name());
        let file = File::options().create_new(true).append(true).mode(0o600).open(&path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        let (file, names) = (Mutex::new(file), Mutex::default());
        Ok(Self(Arc::new(Held { directory, path, file, names })))
    }

    /// Says that `name`, which has no line breaks, is used from now on. Waits while something is removed.
    pub fn hold(&self, name: &str) -> io::Result<()> {
        let is_known = |names: &BTreeSet<String>| names.contains(name);
        if is_known(&self.0.names.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let _gate = gate(&self.0.directory, FlockOperation::LockShared)?;
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(format!("{name}\n").as_bytes())?;
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that stays is found to be nobody's.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The right to remove what nobody uses, while it is held.
#[derive(Debug)]
pub struct Removal {
    names: BTreeSet<String>,
    is_alone: bool,
    _gate: File,
}

impl Removal {
    /// Waits for other removals, and keeps everybody from using what they do not use yet.
    pub fn begin(root: &Path) -> io::Result<Self> {
        let directory = root.join("leases");
        let gate = gate(&directory, FlockOperation::LockExclusive)?;
        let (names, is_alone) = read(&directory)?;
        Ok(Self { names, is_alone, _gate: gate })
    }

    /// What is in use.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Whether no other process uses the store.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }
}

/// Opens and locks the gate of the directory of leases, which is made if it is missing.
fn gate(directory: &Path, operation: FlockOperation) -> io::Result<File> {
    let open = || File::options().create(true).append(true).mode(0o600).open(directory.join(GATE));
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            open()?
        }
        opened => opened?,
    };
    flock(&file, operation)?;
    Ok(file)
}

/// All names of living processes, and whether there are none such. The gate is held, so that no file is one that is being made.
fn read(directory: &Path) -> io::Result<(BTreeSet<String>, bool)> {
    let dir = Dir::open(directory)?;
    let (mut names, mut is_alone) = (BTreeSet::new(), true);
    for entry in dir.entries()?.iter().filter(|entry| entry.name != *GATE) {
        let mut file = match dir.child_file(&entry.name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            dir.remove_tree(&entry.name)?;
            continue;
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        names.extend(text.lines().map(str::to_owned));
        is_alone = false;
    }
    Ok((names, is_alone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        Removal::begin(root).unwrap().names().iter().cloned().collect()
    }

    fn files(root: &Path) -> usize {
        Dir::open(&root.join("leases")).unwrap().entries().unwrap().len()
    }

    #[test]
    fn what_is_in_use_is_known_until_its_user_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        assert!(Removal::begin(root).unwrap().is_alone());
        let (one, other) = (Lease::take(root).unwrap(), Lease::take(root).unwrap());
        for name in ["blob a", "blob b", "blob a"] {
            one.hold(name).unwrap();
        }
        other.hold("blob c").unwrap();
        assert_eq!(names(root), ["blob a", "blob b", "blob c"]);
        assert!(!Removal::begin(root).unwrap().is_alone());
        let clone = one.clone();
        drop((one, other));
        assert_eq!(names(root), ["blob a", "blob b"]);
        drop(clone);
        assert!(names(root).is_empty() && Removal::begin(root).unwrap().is_alone());
        assert_eq!(files(root), 1);
        // A process that was killed leaves a file that nobody has locked.
        std::fs::write(root.join("leases/0123456789abcdef"), "blob d\n").unwrap();
        assert!(names(root).is_empty());
        assert_eq!(files(root), 1);
    }

    #[test]
    fn nothing_comes_into_use_while_something_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        let lease = Lease::take(root).unwrap();
        lease.hold("known").unwrap();
        let removal = Removal::begin(root).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                lease.hold("known").unwrap();
                sender.send("known").unwrap();
                lease.hold("new").unwrap();
                sender.send("new").unwrap();
            });
            assert_eq!(receiver.recv().unwrap(), "known");
            let waiting = receiver.recv_timeout(std::time::Duration::from_millis(100));
            assert!(waiting.is_err() && !removal.names().contains("new"));
            drop(removal);
            assert_eq!(receiver.recv().unwrap(), "new");
        });
        assert_eq!(names(root), ["known", "new"]);
    }
}
