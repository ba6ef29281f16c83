//! `platform-split=false` and `mode=delete` of a local export: which paths the results have, and that a directory has no others.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::vec;

use super::local::LocalError;
use crate::fsutil::{Dir, DirStack, Entry};

/// What a result holds, as paths.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    directories: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl Paths {
    /// Lists everything in `view`, below `prefix`, which may be empty.
    pub fn of(view: &Dir, prefix: &Path) -> Result<Self, LocalError> {
        let mut all = Self::default();
        all.directories.extend(prefix.ancestors().map(Path::to_owned));
        let mut add = |at: &Path, is_directory: bool| {
            let path = prefix.join(at);
            if is_directory {
                all.directories.insert(path)
            } else {
                all.files.insert(path)
            };
            Visit::Enter
        };
        walk(view, &mut add).map_err(|(path, source)| LocalError::Read { path, source })?;
        Ok(all)
    }

    /// Adds those of another result. Returns a path that is a file of one of them and something of the other too: they cannot
    /// be in one directory.
    pub fn merge(&mut self, other: Self) -> Option<PathBuf> {
        let clash = |path: &&PathBuf| self.files.contains(*path) || self.directories.contains(*path);
        let found = other.files.iter().find(clash).or_else(|| other.directories.intersection(&self.files).next());
        let found = found.cloned();
        self.directories.extend(other.directories);
        self.files.extend(other.files);
        found
    }

    fn has(&self, path: &Path) -> bool {
        self.files.contains(path) || self.directories.contains(path)
    }
}

/// Removes from the directory `dest` whatever is not in `wanted`. Links are removed, not followed.
pub fn remove_others(dest: &Path, wanted: &Paths) -> Result<(), LocalError> {
    let root = Dir::open(dest).map_err(|source| LocalError::Destination { path: dest.to_owned(), source })?;
    let mut keep = |at: &Path, _| if wanted.has(at) { Visit::Enter } else { Visit::Remove };
    walk(&root, &mut keep).map_err(|(path, source)| LocalError::Remove { path: dest.join(path), source })
}

/// What becomes of a name.
enum Visit {
    /// It stays; of a directory the names follow.
    Enter,
    /// It goes, with all that is in it.
    Remove,
}

/// Shows every name below `root` with its path, directories before what is in them.
fn walk(root: &Dir, visit: &mut dyn FnMut(&Path, bool) -> Visit) -> Result<(), (PathBuf, io::Error)> {
    let mut path = PathBuf::new();
    step_through(root, &mut path, visit).map_err(|error| (path, error))
}

fn step_through(root: &Dir, path: &mut PathBuf, visit: &mut dyn FnMut(&Path, bool) -> Visit) -> io::Result<()> {
    let names = |dir: &Dir| Ok::<vec::IntoIter<Entry>, io::Error>(dir.entries()?.into_iter());
    let mut stack = DirStack::new(root.try_clone()?, names(root)?)?;
    loop {
        let Some(entry) = stack.top_data().next() else {
            if stack.pop()?.is_none() {
                return Ok(());
            }
            path.pop();
            continue;
        };
        let Some(metadata) = stack.top().child_metadata(&entry.name)? else { continue };
        path.push(&entry.name);
        match visit(path, metadata.is_dir()) {
            Visit::Enter if metadata.is_dir() => {
                let dir = stack.top().child_dir(&entry.name)?;
                let names = names(&dir)?;
                stack.push(dir, names)?;
            }
            Visit::Enter => _ = path.pop(),
            Visit::Remove => {
                stack.top().remove_tree(&entry.name)?;
                path.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(at: &Path, files: &[&str]) -> Dir {
        for file in files {
            std::fs::create_dir_all(at.join(file).parent().unwrap()).unwrap();
            std::fs::write(at.join(file), file).unwrap();
        }
        Dir::open(at).unwrap()
    }

    #[test]
    fn what_the_result_has_not_goes_and_links_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (result, dest, outside) =
            (temp.path().join("result"), temp.path().join("dest"), temp.path().join("outside"));
        let view = tree(&result, &["a/b", "c"]);
        tree(&dest, &["a/b", "a/old", "c", "d/e/f", ".hidden"]);
        tree(&outside, &["precious"]);
        std::os::unix::fs::symlink(&outside, dest.join("link")).unwrap();
        remove_others(&dest, &Paths::of(&view, Path::new("")).unwrap()).unwrap();
        let left = Paths::of(&Dir::open(&dest).unwrap(), Path::new("")).unwrap();
        assert_eq!(left.files, ["a/b", "c"].map(PathBuf::from).into());
        assert_eq!(left.directories, ["", "a"].map(PathBuf::from).into());
        assert!(outside.join("precious").exists());
    }

    #[test]
    fn a_file_of_two_results_is_found() {
        let temp = tempfile::tempdir().unwrap();
        let paths =
            |name: &str, files: &[&str]| Paths::of(&tree(&temp.path().join(name), files), Path::new("")).unwrap();
        let mut one = paths("one", &["dir/a", "x"]);
        assert_eq!(one.clone().merge(paths("two", &["dir/b"])), None);
        assert_eq!(one.clone().merge(paths("three", &["dir/a"])), Some(PathBuf::from("dir/a")));
        assert_eq!(one.clone().merge(paths("four", &["dir"])), Some(PathBuf::from("dir")));
        assert_eq!(one.merge(paths("five", &["x/y"])), Some(PathBuf::from("x")));
        let below = Paths::of(&tree(&temp.path().join("six"), &["f"]), Path::new("linux_amd64")).unwrap();
        assert!(below.has(Path::new("linux_amd64")) && below.has(Path::new("linux_amd64/f")));
    }
}
