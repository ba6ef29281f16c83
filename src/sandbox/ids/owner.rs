//! Changing owners, and becoming another user.

use rustix::io::{Errno, Result};

use super::credentials::{Credentials, Ids, MOST_GROUPS};
use super::place::At;
use super::{Answer, Caller, Emulator};
use crate::fsutil::{Kind, Note};

/// "Leave it".
const KEEP: u32 = u32::MAX;

impl Emulator {
    /// chown(2) and its relatives.
    pub(super) fn chown(&self, caller: &Caller, at: At, uid: u32, gid: u32) -> Option<Answer> {
        let who = self.identities.of(caller.process.tid())?;
        let found = self.places.find(caller.process, at).ok()?;
        self.still_asks(caller.request)?;
        let old = found.owner();
        let keep = |new, old| if new == KEEP { old } else { new };
        let new = (keep(uid, old.0), keep(gid, old.1));
        if !who.may_give(old, new) {
            return Some(Answer::Error(Errno::PERM));
        }
        let device = found.note().and_then(|note| note.device);
        let done = found.drop_privileges().and_then(|()| match new == old {
            true => Ok(()),
            false => found.set_note(&Note { uid: new.0, gid: new.1, device }),
        });
        Some(done.into())
    }

    /// Answers who a process is.
    pub(super) fn who(&self, caller: &Caller, id: impl FnOnce(&Credentials) -> u32) -> Option<Answer> {
        self.identities.of(caller.process.tid()).map(|who| Answer::Value(id(who).into()))
    }

    /// getresuid(2), getresgid(2).
    pub(super) fn three(&self, caller: &Caller, ids: impl FnOnce(&Credentials) -> Ids) -> Option<Answer> {
        let Ids { real, effective, saved, .. } = ids(self.identities.of(caller.process.tid())?);
        self.still_asks(caller.request)?;
        let places = [caller.pointer(0), caller.pointer(1), caller.pointer(2)];
        let mut pairs = places.into_iter().zip([real, effective, saved]);
        Some(pairs.try_for_each(|(place, id)| caller.process.write(place, &id.to_ne_bytes())).into())
    }

    /// getgroups(2).
    pub(super) fn groups(&self, caller: &Caller) -> Option<Answer> {
        let groups = &self.identities.of(caller.process.tid())?.groups;
        let room = caller.word(0).cast_signed();
        if room != 0 {
            if usize::try_from(room).map_or(true, |room| room < groups.len()) {
                return Some(Answer::Error(Errno::INVAL));
            }
            let bytes: Vec<u8> = groups.iter().flat_map(|gid| gid.to_ne_bytes()).collect();
            if !bytes.is_empty() {
                self.still_asks(caller.request)?;
                if let Err(error) = caller.process.write(caller.pointer(1), &bytes) {
                    return Some(Answer::Error(error));
                }
            }
        }
        Some(Answer::Value(groups.len() as i64))
    }

    /// setgroups(2).
    pub(super) fn set_groups(&mut self, caller: &Caller) -> Option<Answer> {
        let count = caller.word(0) as usize;
        if count > MOST_GROUPS {
            return Some(Answer::Error(Errno::INVAL));
        }
        let mut bytes = vec![0; count * size_of::<u32>()];
        if count > 0
            && let Err(error) = caller.process.read(caller.pointer(1), &mut bytes)
        {
            return Some(Answer::Error(error));
        }
        let (words, _) = bytes.as_chunks::<4>();
        let groups = words.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        self.become_other(caller, |who| who.set_groups(groups))
    }

    /// Any call that changes who a process is.
    pub(super) fn become_other(
        &mut self,
        caller: &Caller,
        change: impl FnOnce(&mut Credentials) -> Result<()>,
    ) -> Option<Answer> {
        let old = self.identities.of(caller.process.tid())?;
        let mut new = old.clone();
        if let Err(error) = change(&mut new) {
            return Some(Answer::Error(error));
        }
        if new == *old {
            return Some(Answer::Value(0));
        }
        self.still_asks(caller.request)?;
        Some(self.identities.set(caller.process.tid(), new).into())
    }

    /// setfsuid(2), setfsgid(2): they answer what was, and never fail.
    pub(super) fn set_filesystem_id(
        &mut self,
        caller: &Caller,
        change: impl FnOnce(&mut Credentials) -> u32,
    ) -> Option<Answer> {
        let mut old = 0;
        self.become_other(caller, |who| {
            old = change(who);
            Ok(())
        })?;
        Some(Answer::Value(old.into()))
    }

    /// execve(2): the program may belong to another user and run as that. The kernel does the rest. If it then refuses the
    /// program, the process stays who it has become here.
    pub(super) fn execute(&mut self, caller: &Caller, at: At) -> Option<Answer> {
        let found = self.places.find(caller.process, at).ok()?;
        let (uid, gid) = found.owner();
        let mode = if found.kind == Kind::File { found.stat.st_mode } else { 0 };
        let set_user = (mode & 0o4000 != 0).then_some(uid);
        let set_group = (mode & 0o2010 == 0o2010).then_some(gid);
        self.become_other(caller, |who| {
            who.execute(set_user, set_group);
            Ok(())
        });
        None
    }
}
