//! Who a process is, and who it may become: the rules of the kernel, over plain data.
//!
//! Root may everything (`CAP_SETUID`, `CAP_SETGID`, `CAP_CHOWN`, `CAP_MKNOD` stand and fall with effective user 0).

use rustix::io::{Errno, Result};

/// "Leave it" for calls that set several ids.
const KEEP: u32 = u32::MAX;
/// `NGROUPS_MAX`.
pub(super) const MOST_GROUPS: usize = 65536;

/// User, group and supplementary groups of a process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::sandbox) struct Credentials {
    pub(super) user: Ids,
    pub(super) group: Ids,
    pub(super) groups: Vec<u32>,
}

/// The four ids of a process (credentials(7)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ids {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
    /// Owns what is created.
    pub(super) filesystem: u32,
}

impl Credentials {
    pub(in crate::sandbox) fn new(uid: u32, gid: u32, groups: &[u32]) -> Self {
        Self { user: Ids::all(uid), group: Ids::all(gid), groups: groups.to_vec() }
    }

    pub(super) fn is_root(&self) -> bool {
        self.user.effective == 0
    }

    /// setgroups(2).
    pub(super) fn set_groups(&mut self, groups: Vec<u32>) -> Result<()> {
        if !self.is_root() {
            return Err(Errno::PERM);
        }
        self.groups = groups;
        Ok(())
    }

    /// execve(2) of a program with these owners, if it has the bits that make it theirs.
    pub(super) fn execute(&mut self, set_user: Option<u32>, set_group: Option<u32>) {
        self.user.execute(set_user);
        self.group.execute(set_group);
    }

    pub(super) fn is_in_group(&self, gid: u32) -> bool {
        self.group.filesystem == gid || self.groups.contains(&gid)
    }

    /// Whether chown(2) from `from` to `to` (both user and group) is allowed.
    pub(super) fn may_give(&self, from: (u32, u32), to: (u32, u32)) -> bool {
        let owns = self.user.filesystem == from.0;
        self.is_root() || owns && to.0 == from.0 && (to.1 == from.1 || self.is_in_group(to.1))
    }
}

impl Ids {
    fn all(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, filesystem: id }
    }

    fn is_one_of_three(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// setuid(2), setgid(2).
    pub(super) fn set(&mut self, id: u32, root: bool) -> Result<()> {
        match id {
            KEEP => Err(Errno::INVAL),
            id if root => {
                *self = Self::all(id);
                Ok(())
            }
            id if id == self.real || id == self.saved => {
                (self.effective, self.filesystem) = (id, id);
                Ok(())
            }
            _ => Err(Errno::PERM),
        }
    }

    /// setreuid(2), setregid(2).
    pub(super) fn set_two(&mut self, real: u32, effective: u32, root: bool) -> Result<()> {
        let real_allowed = real == KEEP || root || real == self.real || real == self.effective;
        if !real_allowed || !(effective == KEEP || root || self.is_one_of_three(effective)) {
            return Err(Errno::PERM);
        }
        let old = *self;
        self.real = keep(real, old.real);
        self.effective = keep(effective, old.effective);
        if real != KEEP || effective != KEEP && effective != old.real {
            self.saved = self.effective;
        }
        self.filesystem = self.effective;
        Ok(())
    }

    /// setresuid(2), setresgid(2).
    pub(super) fn set_three(&mut self, [real, effective, saved]: [u32; 3], root: bool) -> Result<()> {
        if !root && [real, effective, saved].iter().any(|id| *id != KEEP && !self.is_one_of_three(*id)) {
            return Err(Errno::PERM);
        }
        let old = *self;
        self.real = keep(real, old.real);
        self.effective = keep(effective, old.effective);
        self.saved = keep(saved, old.saved);
        self.filesystem = self.effective;
        Ok(())
    }

    /// setfsuid(2), setfsgid(2): returns what was, whether or not it was changed.
    pub(super) fn set_filesystem(&mut self, id: u32, root: bool) -> u32 {
        let old = self.filesystem;
        if id != KEEP && (root || id == old || self.is_one_of_three(id)) {
            self.filesystem = id;
        }
        old
    }

    fn execute(&mut self, owner: Option<u32>) {
        self.effective = owner.unwrap_or(self.effective);
        (self.saved, self.filesystem) = (self.effective, self.effective);
    }
}

fn keep(wanted: u32, old: u32) -> u32 {
    if wanted == KEEP { old } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(real: u32, effective: u32, saved: u32) -> Ids {
        Ids { real, effective, saved, filesystem: effective }
    }

    #[test]
    fn root_that_has_become_another_does_not_come_back() {
        let mut user = ids(0, 0, 0);
        user.set(33, true).unwrap();
        assert_eq!(user, ids(33, 33, 33));
        assert_eq!(user.set(0, false), Err(Errno::PERM));
        assert_eq!(user.set_two(KEEP, 0, false), Err(Errno::PERM));
        assert_eq!(user.set_three([KEEP, KEEP, 0], false), Err(Errno::PERM));
        assert_eq!(user.set(KEEP, true), Err(Errno::INVAL));
    }

    #[test]
    fn a_saved_id_is_a_way_back() {
        let mut user = ids(0, 0, 0);
        user.set_three([KEEP, 33, KEEP], true).unwrap();
        assert_eq!(user, ids(0, 33, 0));
        user.set(0, false).unwrap();
        assert_eq!(user, ids(0, 0, 0));
        user.set_two(33, 44, true).unwrap();
        assert_eq!(user, ids(33, 44, 44));
        user.set_two(44, 33, false).unwrap();
        assert_eq!(user, ids(44, 33, 33));
    }

    #[test]
    fn a_program_may_belong_to_another() {
        let mut who = Credentials::new(33, 34, &[34, 50]);
        who.execute(Some(0), None);
        assert_eq!((who.user, who.group), (ids(33, 0, 0), ids(34, 34, 34)));
        assert!(who.is_root());
        assert_eq!(who.user.set_filesystem(33, false), 0);
        assert_eq!(who.user.filesystem, 33);
    }

    #[test]
    fn files_are_given_as_by_the_kernel() {
        let user = Credentials::new(33, 34, &[34, 50]);
        assert!(user.may_give((33, 34), (33, 50)));
        assert!(!user.may_give((33, 34), (33, 51)));
        assert!(!user.may_give((33, 34), (34, 34)));
        assert!(!user.may_give((1, 34), (1, 34)));
        assert!(Credentials::new(0, 0, &[]).may_give((33, 34), (1, 2)));
        assert_eq!(Credentials::new(33, 0, &[]).set_groups(vec![0]), Err(Errno::PERM));
    }
}
