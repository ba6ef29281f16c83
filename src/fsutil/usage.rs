//! How much room files take on the disk, counted as `du` does.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;

use super::{Dir, DirStack};

/// Counts blocks, not lengths, and a file with several names once, however often it is met.
#[derive(Debug, Default)]
pub struct DiskUsage {
    /// Device and inode of the files with several names that were counted.
    counted: BTreeSet<(u64, u64)>,
}

impl DiskUsage {
    /// Returns the bytes that the name and everything below it take. Links are not followed. What vanishes meanwhile, and
    /// what is in a directory that denies access, takes none.
    pub fn of(&mut self, at: &Dir, name: &OsStr) -> io::Result<u64> {
        let Some(found) = at.child_metadata(name)? else { return Ok(0) };
        let mut bytes = self.count(&found);
        if !found.is_dir() {
            return Ok(bytes);
        }
        let mut stack = DirStack::new(at.try_clone()?, vec![name.to_owned()])?;
        loop {
            let Some(sub) = stack.top_data().pop() else {
                match stack.pop()? {
                    Some(_) => continue,
                    None => return Ok(bytes),
                }
            };
            let Ok(dir) = stack.top().child_dir(&sub) else { continue };
            let Ok(entries) = dir.entries() else { continue };
            let mut below: Vec<OsString> = Vec::new();
            for entry in entries {
                let Some(found) = dir.child_metadata(&entry.name)? else { continue };
                bytes += self.count(&found);
                if found.is_dir() {
                    below.push(entry.name);
                }
            }
            stack.push(dir, below)?;
        }
    }

    fn count(&mut self, found: &super::Metadata) -> u64 {
        let is_first = found.links < 2 || found.is_dir() || self.counted.insert((found.device, found.inode));
        if is_first { found.disk } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn it_is_what_du_says() {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::write(tree.join("a/file"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(tree.join("a/file"), tree.join("a/b/same")).unwrap();
        let sparse = std::fs::File::create(tree.join("sparse")).unwrap();
        sparse.set_len(50 << 20).unwrap();
        std::os::unix::fs::symlink("nowhere", tree.join("link")).unwrap();
        let said = Command::new("du").args(["-s", "-B1"]).arg(&tree).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let counted = DiskUsage::default().of(&dir, OsStr::new("tree")).unwrap();
        assert_eq!(counted.to_string(), said.split_whitespace().next().unwrap());
        assert_eq!(DiskUsage::default().of(&dir, OsStr::new("absent")).unwrap(), 0);
    }
}
