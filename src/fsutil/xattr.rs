//! Extended attributes by handle.
//!
//! Files and directories are asked through their own descriptor. A link or a device cannot be opened
//! harmlessly, so a child is asked as `/proc/self/fd/<directory>/<name>`: the kernel jumps to the open
//! directory and does not follow the last name.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use super::{Dir, Kind, Note, Owners};

/// Extended attributes: name (with its `user.` or other prefix) to value, sorted.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Returns the attributes of an open file or directory whose names are `wanted`. A file system without
/// attributes has none.
pub fn xattrs_of(file: impl AsFd, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Xattrs> {
    let fd = file.as_fd();
    collect(|buffer| fs::flistxattr(fd, buffer), |name, buffer| fs::fgetxattr(fd, name, buffer), wanted)
}

/// Sets one attribute of an open file or directory.
pub fn set_xattr(file: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(fs::fsetxattr(file, name, value, XattrFlags::empty())?)
}

/// Removes one attribute of an open file or directory.
pub fn remove_xattr(file: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(fs::fremovexattr(file, name)?)
}

impl Dir {
    /// Returns the attributes of one name (not followed, never opened) whose names are `wanted`.
    pub fn child_xattrs(&self, name: &OsStr, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Xattrs> {
        let mut path = format!("/proc/self/fd/{}/", self.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name.as_bytes());
        let path = path.as_slice();
        let mut found =
            collect(|buffer| fs::llistxattr(path, buffer), |name, buffer| fs::lgetxattr(path, name, buffer), wanted)?;
        if self.owners == Owners::Noted {
            // What a directory has under the other name does not look like a note of that kind.
            found.retain(|name, value| !Note::is_note(Kind::Symlink, name, value));
        }
        Ok(found)
    }
}

fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
    wanted: impl Fn(&[u8]) -> bool,
) -> io::Result<Xattrs> {
    let mut found = Xattrs::new();
    let mut small = [0u8; 512];
    let large;
    let names = match list(&mut small) {
        Ok(length) => &small[..length],
        Err(Errno::NOTSUP) => return Ok(found),
        Err(Errno::RANGE) => {
            large = sized(|buffer| list(buffer))?;
            &large
        }
        Err(error) => return Err(error.into()),
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && wanted(name)) {
        match sized(|buffer| get(name, buffer)) {
            Ok(value) => {
                found.insert(name.to_vec(), value);
            }
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Calls with a growing buffer: values are at most 64 KiB (xattr(7)).
fn sized(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0u8; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 64 * 1024 => buffer.resize(64 * 1024, 0),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_asked_itself() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", temp.path().join("link")).unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let file = dir.child_file(OsStr::new("file")).unwrap();
        if set_xattr(&file, b"user.big", &[7; 3000]).is_err() {
            return; // This file system keeps no attributes.
        }
        let expected = Xattrs::from([(b"user.big".to_vec(), vec![7; 3000])]);
        assert_eq!(dir.child_xattrs(OsStr::new("file"), |_| true).unwrap(), expected);
        assert_eq!(xattrs_of(&file, |_| true).unwrap(), expected);
        assert_eq!(dir.child_xattrs(OsStr::new("link"), |_| true).unwrap(), Xattrs::new());
    }
}
