//! Creating files: what a process creates belongs to it, and in a set-group-id directory to the directory's group.
//!
//! Where that is root the kernel creates it. Everything else is created here, as the kernel would, and noted. Whatever does
//! not go well is left to the kernel, which then says the same.

use std::os::fd::OwnedFd;

use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::{Errno, Result};

use super::place::Found;
use super::{Answer, Caller, Emulator};
use crate::fsutil::{Kind, Note};

/// As the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// What is made here is a new file, or nothing.
const NEW: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory and a name in it.
struct Spot {
    parent: Found,
    name: Vec<u8>,
    owner: Note,
}

/// What open(2) and openat2(2) are asked for.
#[derive(Clone, Copy)]
pub(super) struct Opening {
    pub(super) flags: u64,
    pub(super) mode: u32,
    pub(super) resolve: u64,
}

impl Emulator {
    /// mkdir(2).
    pub(super) fn make_directory(&self, caller: &Caller, dir: u32, path: u64, mode: u32) -> Option<Answer> {
        let spot = self.foreign_spot(caller, dir, path)?;
        let mode = permissions(caller, mode)?;
        self.still_asks(caller.request)?;
        fs::mkdirat(&spot.parent.handle, spot.name.as_slice(), mode).ok()?;
        Some(self.note_child(caller, &spot))
    }

    /// symlink(2).
    pub(super) fn make_link(&self, caller: &Caller, target: u64, dir: u32, path: u64) -> Option<Answer> {
        let spot = self.foreign_spot(caller, dir, path)?;
        let target = caller.process.string(target).ok()?;
        self.still_asks(caller.request)?;
        fs::symlinkat(target.as_slice(), &spot.parent.handle, spot.name.as_slice()).ok()?;
        Some(self.note_child(caller, &spot))
    }

    /// mknod(2). A device becomes an empty file with a note.
    pub(super) fn make_node(&self, caller: &Caller, dir: u32, path: u64, mode: u32, device: u64) -> Option<Answer> {
        let file_type = FileType::from_raw_mode(mode);
        let device = match (mode & libc::S_IFMT, Kind::of_mode(mode)) {
            (0 | libc::S_IFREG, _) => None,
            (_, kind @ (Kind::CharDevice | Kind::BlockDevice)) => Some((kind, fs::major(device), fs::minor(device))),
            (libc::S_IFIFO | libc::S_IFSOCK, _) => None,
            _ => return None,
        };
        let spot = match device {
            None => self.foreign_spot(caller, dir, path)?,
            Some(_) if !self.identities.of(caller.process.tid())?.is_root() => return Some(Answer::Error(Errno::PERM)),
            // What an overlay calls a deletion is refused on an overlay.
            Some((Kind::CharDevice, 0, 0)) => return Some(Answer::Error(Errno::PERM)),
            Some(_) => self.spot(caller, dir, path)?,
        };
        let bits = permissions(caller, mode)?;
        self.still_asks(caller.request)?;
        let (parent, name) = (&spot.parent.handle, spot.name.as_slice());
        if matches!(file_type, FileType::Fifo | FileType::Socket) {
            fs::mknodat(parent, name, file_type, bits, 0).ok()?;
            return Some(self.note_child(caller, &spot));
        }
        match fs::openat(parent, name, NEW | OFlags::WRONLY, bits) {
            Ok(file) => Some(note(&file, &Note { device, ..spot.owner }, bits).into()),
            Err(error) if device.is_some() => Some(Answer::Error(error)),
            Err(_) => None,
        }
    }

    /// open(2) with `O_CREAT` or `O_TMPFILE`.
    pub(super) fn open(&self, caller: &Caller, dir: u32, path: u64, opening: Opening) -> Option<Answer> {
        let wanted = OFlags::from_bits_retain(u32::try_from(opening.flags).ok()?);
        let path = caller.process.string(path).ok()?;
        if opening.resolve != 0 || wanted.contains(OFlags::PATH) {
            return None;
        }
        if wanted.contains(OFlags::TMPFILE) {
            return self.open_nameless(caller, dir, &path, wanted, opening.mode);
        }
        if !wanted.contains(OFlags::CREATE) || wanted.contains(OFlags::DIRECTORY) || path.ends_with(b"/") {
            return None;
        }
        let mut spot = self.spot_at(caller, dir, None, &path)?;
        for _ in 0..MOST_LINKS {
            if spot.owner.is_plain() {
                return None;
            }
            let bits = permissions(caller, opening.mode)?;
            self.still_asks(caller.request)?;
            match fs::openat2(&spot.parent.handle, spot.name.as_slice(), wanted | NEW, bits, ResolveFlags::BENEATH) {
                Ok(file) => {
                    let _ = note(&file, &spot.owner, bits);
                    return Some(Answer::Descriptor(file, wanted.contains(OFlags::CLOEXEC)));
                }
                Err(Errno::EXIST) if !wanted.intersects(OFlags::EXCL | OFlags::NOFOLLOW) => {}
                Err(_) => return None,
            }
            // Something is there: a link that leads nowhere yet, or what needs no creating.
            let target = fs::readlinkat(&spot.parent.handle, spot.name.as_slice(), Vec::new()).ok()?;
            spot = self.spot_at(caller, dir, Some(&spot.parent), target.as_bytes())?;
        }
        None
    }

    fn open_nameless(&self, caller: &Caller, dir: u32, path: &[u8], wanted: OFlags, mode: u32) -> Option<Answer> {
        let parent = self.places.walk(caller.process, dir.cast_signed(), path, true).ok()?;
        let owner = self.owner_in(caller, &parent)?;
        if owner.is_plain() {
            return None;
        }
        let bits = permissions(caller, mode)?;
        self.still_asks(caller.request)?;
        let file = fs::openat(&parent.handle, ".", wanted | OFlags::CLOEXEC, bits).ok()?;
        let _ = note(&file, &owner, bits);
        Some(Answer::Descriptor(file, wanted.contains(OFlags::CLOEXEC)))
    }

    /// Returns where a path leads, if what is created there is not root's.
    fn foreign_spot(&self, caller: &Caller, dir: u32, path: u64) -> Option<Spot> {
        self.spot(caller, dir, path).filter(|spot| !spot.owner.is_plain())
    }

    fn spot(&self, caller: &Caller, dir: u32, path: u64) -> Option<Spot> {
        let path = caller.process.string(path).ok()?;
        self.spot_at(caller, dir, None, &path)
    }

    /// `from` is where a relative path starts, if not at `dir`.
    fn spot_at(&self, caller: &Caller, dir: u32, from: Option<&Found>, path: &[u8]) -> Option<Spot> {
        let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
        let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let name = path[start..end].to_vec();
        if name == b"." || name == b".." {
            return None;
        }
        let above = if start == 0 { &b"."[..] } else { &path[..start] };
        let parent = match from.filter(|_| !above.starts_with(b"/")) {
            Some(from) => self.places.walk_from(caller.process, Some(&from.handle), above, true),
            None => self.places.walk(caller.process, dir.cast_signed(), above, true),
        };
        let parent = parent.ok()?;
        let owner = self.owner_in(caller, &parent)?;
        Some(Spot { parent, name, owner })
    }

    fn owner_in(&self, caller: &Caller, parent: &Found) -> Option<Note> {
        let who = self.identities.of(caller.process.tid())?;
        let of_group = parent.stat.st_mode & 0o2000 != 0;
        let gid = if of_group { parent.owner().1 } else { who.group.filesystem };
        Some(Note { uid: who.user.filesystem, gid, device: None })
    }

    /// Notes the owner of what was just created.
    fn note_child(&self, caller: &Caller, spot: &Spot) -> Answer {
        let child = self.places.walk_from(caller.process, Some(&spot.parent.handle), &spot.name, false);
        child.and_then(|child| child.set_note(&spot.owner)).into()
    }
}

/// The permissions of something new.
fn permissions(caller: &Caller, mode: u32) -> Option<Mode> {
    Some(Mode::from_raw_mode(mode & 0o7777 & !caller.process.umask().ok()?))
}

fn note(file: &OwnedFd, owner: &Note, mode: Mode) -> Result<()> {
    let value = owner.value(Kind::File, mode.as_raw_mode());
    match fs::fsetxattr(file, Note::attribute(Kind::File), &value, XattrFlags::empty()) {
        // Nothing on such a file system ends up in a layer.
        Err(Errno::NOTSUP) => Ok(()),
        other => other,
    }
}
