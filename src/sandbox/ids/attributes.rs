//! Extended attributes: a step neither sees nor sets the notes. Programs that copy attributes would copy owners with them.

use rustix::fs;
use rustix::io::Errno;

use super::place::{At, Found};
use super::{Answer, Caller, Emulator};
use crate::fsutil::{Note, OVERRIDE};

impl Emulator {
    /// setxattr(2): a note is taken and forgotten, as root of the machine may set it and no layer carries it.
    pub(super) fn set_attribute(&self, caller: &Caller, name: u64) -> Option<Answer> {
        (caller.process.string(name).ok()? == OVERRIDE).then_some(Answer::Value(0))
    }

    /// getxattr(2), removexattr(2).
    pub(super) fn hide_attribute(&self, caller: &Caller, at: At, name: u64) -> Option<Answer> {
        let name = caller.process.string(name).ok()?;
        let hidden = name == OVERRIDE || name == b"security.capability" && self.is_note(caller, at, &name)?;
        hidden.then_some(Answer::Error(Errno::NODATA))
    }

    fn is_note(&self, caller: &Caller, at: At, name: &[u8]) -> Option<bool> {
        let found = self.places.find(caller.process, at).ok()?;
        Some(Note::attribute(found.kind) == name && found.note().is_some())
    }

    /// listxattr(2).
    pub(super) fn list_attributes(&self, caller: &Caller, at: At, into: u64, room: u64) -> Option<Answer> {
        let found = self.places.find(caller.process, at).ok()?;
        found.note()?;
        let names = names_without_note(&found)?;
        if room == 0 {
            return Some(Answer::Value(names.len() as i64));
        }
        if (names.len() as u64) > room {
            return Some(Answer::Error(Errno::RANGE));
        }
        if !names.is_empty()
            && let Answer::Error(error) = self.fill(caller, into, &names)?
        {
            return Some(Answer::Error(error));
        }
        Some(Answer::Value(names.len() as i64))
    }
}

fn names_without_note(found: &Found) -> Option<Vec<u8>> {
    // All names together are at most 64 KiB (xattr(7)).
    let mut names = vec![0; 64 * 1024];
    let length = fs::listxattr(found.name(), &mut names).ok()?;
    let hidden = Note::attribute(found.kind);
    let kept =
        names[..length].split_inclusive(|byte| *byte == 0).filter(|name| name.strip_suffix(&[0]) != Some(hidden));
    Some(kept.flatten().copied().collect())
}
