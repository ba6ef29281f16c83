//! What `stat` says: as the kernel does, with the owner that is noted.

use std::mem::offset_of;

use rustix::io::Result;

use super::place::{At, Found};
use super::{Answer, Caller, Emulator};
use crate::fsutil::{Kind, Note};
use crate::sandbox::system;

impl Emulator {
    /// stat(2) and its relatives: fills the structure at the address `into`.
    pub(super) fn stat(&self, caller: &Caller, at: At, into: u64) -> Option<Answer> {
        let (found, note) = self.noted(caller, at)?;
        let mut bytes = system::stat(&found.handle).ok()?;
        put(&mut bytes, offset_of!(libc::stat, st_uid), &note.uid.to_ne_bytes());
        put(&mut bytes, offset_of!(libc::stat, st_gid), &note.gid.to_ne_bytes());
        if let Some((kind, major, minor)) = note.device {
            let mode = device_mode(kind, found.stat.st_mode);
            put(&mut bytes, offset_of!(libc::stat, st_mode), &mode.to_ne_bytes());
            put(&mut bytes, offset_of!(libc::stat, st_rdev), &rustix::fs::makedev(major, minor).to_ne_bytes());
            put(&mut bytes, offset_of!(libc::stat, st_size), &0i64.to_ne_bytes());
        }
        self.fill(caller, into, &bytes)
    }

    /// statx(2).
    pub(super) fn statx(&self, caller: &Caller, at: At, flags: u32, mask: u32, into: u64) -> Option<Answer> {
        let (found, note) = self.noted(caller, at)?;
        // What is named by now is followed or not; what is left is how to synchronize.
        let mut bytes = system::statx(&found.handle, flags & libc::AT_STATX_SYNC_TYPE.cast_unsigned(), mask).ok()?;
        put(&mut bytes, offset_of!(libc::statx, stx_uid), &note.uid.to_ne_bytes());
        put(&mut bytes, offset_of!(libc::statx, stx_gid), &note.gid.to_ne_bytes());
        if let Some((kind, major, minor)) = note.device {
            let mode = device_mode(kind, found.stat.st_mode) as u16;
            put(&mut bytes, offset_of!(libc::statx, stx_mode), &mode.to_ne_bytes());
            put(&mut bytes, offset_of!(libc::statx, stx_rdev_major), &major.to_ne_bytes());
            put(&mut bytes, offset_of!(libc::statx, stx_rdev_minor), &minor.to_ne_bytes());
            put(&mut bytes, offset_of!(libc::statx, stx_size), &0u64.to_ne_bytes());
        }
        self.fill(caller, into, &bytes)
    }

    /// Finds a file that has a note. Of others the kernel knows all there is to say.
    fn noted(&self, caller: &Caller, at: At) -> Option<(Found, Note)> {
        let found = self.places.find(caller.process, at).ok()?;
        let note = found.note()?;
        Some((found, note))
    }

    /// Writes an answer into the caller's memory.
    pub(super) fn fill(&self, caller: &Caller, into: u64, bytes: &[u8]) -> Option<Answer> {
        self.still_asks(caller.request)?;
        let written: Result<()> = caller.process.write(into, bytes);
        Some(written.into())
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn device_mode(kind: Kind, mode: u32) -> u32 {
    let device = if kind == Kind::BlockDevice { libc::S_IFBLK } else { libc::S_IFCHR };
    mode & 0o7777 | device
}
