//! The open directories from a root down to where a walk stands.

use std::ffi::OsStr;
use std::io;

use super::Dir;

/// Handles kept open; beyond, the middle of the path is closed and opened again on the way back.
const OPEN: usize = 64;

/// A stack of open directories, each the parent of the next, with `T` for each. However deep it is, few
/// handles are open: a RUN step may leave directories thousands deep, and a process may open only so many.
#[derive(Debug)]
pub struct DirStack<T> {
    levels: Vec<Level<T>>,
}

#[derive(Debug)]
struct Level<T> {
    /// `None` while closed, which the last level never is.
    dir: Option<Dir>,
    /// Device and inode, to know the directory again.
    identity: (u64, u64),
    data: T,
}

impl<T> DirStack<T> {
    /// Starts at `root`, which is never popped.
    pub fn new(root: Dir, data: T) -> io::Result<Self> {
        let mut stack = Self { levels: Vec::new() };
        stack.push(root, data)?;
        Ok(stack)
    }

    /// Returns the number of directories below the root.
    pub fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// Returns the last directory.
    pub fn top(&self) -> &Dir {
        let last = self.levels.last().and_then(|level| level.dir.as_ref());
        last.expect("the root stays and the last directory is open")
    }

    /// Returns what was kept with the directory at `depth` (0 is the root).
    pub fn data(&self, depth: usize) -> &T {
        &self.levels[depth].data
    }

    /// Like [`DirStack::data`], to change it.
    pub fn data_mut(&mut self, depth: usize) -> &mut T {
        &mut self.levels[depth].data
    }

    /// Returns what was kept with the last directory.
    pub fn top_data(&mut self) -> &mut T {
        let depth = self.depth();
        self.data_mut(depth)
    }

    /// Adds `dir`, a directory in the last one.
    pub fn push(&mut self, dir: Dir, data: T) -> io::Result<()> {
        let metadata = dir.metadata()?;
        self.levels.push(Level { dir: Some(dir), identity: (metadata.device, metadata.inode), data });
        if let Some(far) = self.levels.len().checked_sub(OPEN).filter(|far| *far > 0) {
            self.levels[far].dir = None;
        }
        Ok(())
    }

    /// Leaves the last directory and returns it; `None` at the root. Fails if its parent is no longer the
    /// directory it was entered from.
    pub fn pop(&mut self) -> io::Result<Option<(Dir, T)>> {
        if self.levels.len() < 2 {
            return Ok(None);
        }
        let Some(Level { dir: Some(dir), data, .. }) = self.levels.pop() else { return Ok(None) };
        if let Some(parent) = self.levels.last_mut().filter(|level| level.dir.is_none()) {
            let opened = dir.child_dir(OsStr::new(".."))?;
            let metadata = opened.metadata()?;
            if parent.identity != (metadata.device, metadata.inode) {
                return Err(io::Error::from_raw_os_error(libc::ESTALE));
            }
            parent.dir = Some(opened);
        }
        Ok(Some((dir, data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_the_way_down() {
        let temp = tempfile::tempdir().unwrap();
        let mut stack = DirStack::new(Dir::open(temp.path()).unwrap(), 0u64).unwrap();
        let mut inodes = vec![stack.top().metadata().unwrap().inode];
        for depth in 1..500 {
            stack.top().create_dir(OsStr::new("d"), 0o700).unwrap();
            let dir = stack.top().child_dir(OsStr::new("d")).unwrap();
            stack.push(dir, depth).unwrap();
            inodes.push(stack.top().metadata().unwrap().inode);
        }
        assert!(stack.levels.iter().filter(|level| level.dir.is_some()).count() <= OPEN + 1);
        while let Some((dir, depth)) = stack.pop().unwrap() {
            assert_eq!(Some(dir.metadata().unwrap().inode), inodes.pop());
            assert_eq!(depth, inodes.len() as u64);
        }
        assert_eq!(stack.depth(), 0);
    }
}
