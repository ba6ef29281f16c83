//! Which system calls are answered here, and by what.

use libc::c_long;

use super::create::Opening;
use super::listener::Request;
use super::place::At;
use super::{Answer, Caller, Emulator};

/// What the filter does about a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sandbox) enum Watch {
    /// Asks.
    Always,
    /// Asks if the flags, the argument of this number, tell of something to be created.
    Creating(u32),
    /// Says that there is no such call: what it does can be done by an older one.
    Absent,
    /// Says that it is done, if the first number's argument is `RLIMIT_RTTIME` and the second's is no null pointer.
    Limit(u32, u32),
}

/// Calls that only some machines have.
#[cfg(target_arch = "x86_64")]
mod old {
    pub(super) use libc::{
        SYS_chown as CHOWN, SYS_creat as CREAT, SYS_lchown as LCHOWN, SYS_lstat as LSTAT, SYS_mkdir as MKDIR,
        SYS_mknod as MKNOD, SYS_open as OPEN, SYS_stat as STAT, SYS_symlink as SYMLINK,
    };
}
#[cfg(not(target_arch = "x86_64"))]
mod old {
    use libc::c_long;
    pub(super) const CHOWN: c_long = -1;
    pub(super) const CREAT: c_long = -2;
    pub(super) const LCHOWN: c_long = -3;
    pub(super) const LSTAT: c_long = -4;
    pub(super) const MKDIR: c_long = -5;
    pub(super) const MKNOD: c_long = -6;
    pub(super) const OPEN: c_long = -7;
    pub(super) const STAT: c_long = -8;
    pub(super) const SYMLINK: c_long = -9;
}

/// All of them; a number below 0 is not there on this machine.
pub(in crate::sandbox) const WATCHED: &[(c_long, Watch)] = &[
    (old::CHOWN, Watch::Always),
    (old::CREAT, Watch::Always),
    (old::LCHOWN, Watch::Always),
    (old::LSTAT, Watch::Always),
    (old::MKDIR, Watch::Always),
    (old::MKNOD, Watch::Always),
    (old::OPEN, Watch::Creating(1)),
    (old::STAT, Watch::Always),
    (old::SYMLINK, Watch::Always),
    (libc::SYS_chroot, Watch::Always),
    (libc::SYS_execve, Watch::Always),
    (libc::SYS_execveat, Watch::Always),
    (libc::SYS_fchown, Watch::Always),
    (libc::SYS_fchownat, Watch::Always),
    (libc::SYS_fgetxattr, Watch::Always),
    (libc::SYS_flistxattr, Watch::Always),
    (libc::SYS_fremovexattr, Watch::Always),
    (libc::SYS_fsetxattr, Watch::Always),
    (libc::SYS_fstat, Watch::Always),
    (libc::SYS_getegid, Watch::Always),
    (libc::SYS_geteuid, Watch::Always),
    (libc::SYS_getgid, Watch::Always),
    (libc::SYS_getgroups, Watch::Always),
    (libc::SYS_getresgid, Watch::Always),
    (libc::SYS_getresuid, Watch::Always),
    (libc::SYS_getuid, Watch::Always),
    (libc::SYS_getxattr, Watch::Always),
    (libc::SYS_lgetxattr, Watch::Always),
    (libc::SYS_listxattr, Watch::Always),
    (libc::SYS_llistxattr, Watch::Always),
    (libc::SYS_lremovexattr, Watch::Always),
    (libc::SYS_lsetxattr, Watch::Always),
    (libc::SYS_mkdirat, Watch::Always),
    (libc::SYS_mknodat, Watch::Always),
    (libc::SYS_newfstatat, Watch::Always),
    (libc::SYS_openat, Watch::Creating(2)),
    (libc::SYS_openat2, Watch::Always),
    (libc::SYS_prlimit64, Watch::Limit(1, 2)),
    (libc::SYS_removexattr, Watch::Always),
    (libc::SYS_setfsgid, Watch::Always),
    (libc::SYS_setfsuid, Watch::Always),
    (libc::SYS_setgid, Watch::Always),
    (libc::SYS_setgroups, Watch::Always),
    (libc::SYS_setregid, Watch::Always),
    (libc::SYS_setresgid, Watch::Always),
    (libc::SYS_setresuid, Watch::Always),
    (libc::SYS_setreuid, Watch::Always),
    (libc::SYS_setrlimit, Watch::Limit(0, 1)),
    (libc::SYS_setuid, Watch::Always),
    (libc::SYS_setxattr, Watch::Always),
    (libc::SYS_statx, Watch::Always),
    (libc::SYS_symlinkat, Watch::Always),
    // setxattrat, getxattrat, listxattrat, removexattrat: the same numbers on every machine.
    (463, Watch::Absent),
    (464, Watch::Absent),
    (465, Watch::Absent),
    (466, Watch::Absent),
];

const HERE: u32 = libc::AT_FDCWD.cast_unsigned();

impl Emulator {
    /// Finds the answer; `None` if the kernel shall do it.
    pub(super) fn decide(&mut self, request: &Request) -> Option<Answer> {
        self.decide_about_files(request).or_else(|| self.decide_about_ids(request))
    }

    fn decide_about_files(&mut self, request: &Request) -> Option<Answer> {
        let caller = &Caller::of(request);
        let (word, pointer) = (|number| caller.word(number), |number| caller.pointer(number));
        let path = || At::path(pointer(0));
        let link = || At::link(pointer(0));
        let descriptor = || At::descriptor(word(0));
        match request.number {
            old::CHOWN => self.chown(caller, path(), word(1), word(2)),
            old::LCHOWN => self.chown(caller, link(), word(1), word(2)),
            libc::SYS_fchown => self.chown(caller, descriptor(), word(1), word(2)),
            libc::SYS_fchownat => self.chown(caller, At::flags(word(0), pointer(1), word(4)), word(2), word(3)),
            old::STAT => self.stat(caller, path(), pointer(1)),
            old::LSTAT => self.stat(caller, link(), pointer(1)),
            libc::SYS_fstat => self.stat(caller, descriptor(), pointer(1)),
            libc::SYS_newfstatat => self.stat(caller, At::flags(word(0), pointer(1), word(3)), pointer(2)),
            libc::SYS_statx => {
                let at = At::flags(word(0), pointer(1), word(2));
                self.statx(caller, at, word(2), word(3), pointer(4))
            }
            old::MKDIR => self.make_directory(caller, HERE, pointer(0), word(1)),
            libc::SYS_mkdirat => self.make_directory(caller, word(0), pointer(1), word(2)),
            old::SYMLINK => self.make_link(caller, pointer(0), HERE, pointer(1)),
            libc::SYS_symlinkat => self.make_link(caller, pointer(0), word(1), pointer(2)),
            old::MKNOD => self.make_node(caller, HERE, pointer(0), word(1), word(2).into()),
            libc::SYS_mknodat => self.make_node(caller, word(0), pointer(1), word(2), word(3).into()),
            old::OPEN => self.open(caller, HERE, pointer(0), Opening::new(word(1), word(2))),
            old::CREAT => {
                let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
                self.open(caller, HERE, pointer(0), Opening::new(flags.cast_unsigned(), word(1)))
            }
            libc::SYS_openat => self.open(caller, word(0), pointer(1), Opening::new(word(2), word(3))),
            libc::SYS_openat2 => {
                let opening = Opening::read(caller, pointer(2), pointer(3))?;
                self.open(caller, word(0), pointer(1), opening)
            }
            libc::SYS_setxattr | libc::SYS_lsetxattr | libc::SYS_fsetxattr => self.set_attribute(caller, pointer(1)),
            libc::SYS_getxattr | libc::SYS_removexattr => self.hide_attribute(caller, path(), pointer(1)),
            libc::SYS_lgetxattr | libc::SYS_lremovexattr => self.hide_attribute(caller, link(), pointer(1)),
            libc::SYS_fgetxattr | libc::SYS_fremovexattr => self.hide_attribute(caller, descriptor(), pointer(1)),
            libc::SYS_listxattr => self.list_attributes(caller, path(), pointer(1), pointer(2)),
            libc::SYS_llistxattr => self.list_attributes(caller, link(), pointer(1), pointer(2)),
            libc::SYS_flistxattr => self.list_attributes(caller, descriptor(), pointer(1), pointer(2)),
            libc::SYS_chroot => {
                self.places.expect_other_roots();
                None
            }
            libc::SYS_execve => self.execute(caller, path()),
            libc::SYS_execveat => self.execute(caller, At::flags(word(0), pointer(1), word(4))),
            _ => None,
        }
    }

    fn decide_about_ids(&mut self, request: &Request) -> Option<Answer> {
        let caller = &Caller::of(request);
        let word = |number| caller.word(number);
        match request.number {
            libc::SYS_getuid => self.who(caller, |who| who.user.real),
            libc::SYS_geteuid => self.who(caller, |who| who.user.effective),
            libc::SYS_getgid => self.who(caller, |who| who.group.real),
            libc::SYS_getegid => self.who(caller, |who| who.group.effective),
            libc::SYS_getresuid => self.three(caller, |who| who.user),
            libc::SYS_getresgid => self.three(caller, |who| who.group),
            libc::SYS_getgroups => self.groups(caller),
            libc::SYS_setgroups => self.set_groups(caller),
            libc::SYS_setuid => self.become_other(caller, |who| who.user.set(word(0), who.is_root())),
            libc::SYS_setgid => self.become_other(caller, |who| who.group.set(word(0), who.is_root())),
            libc::SYS_setreuid => self.become_other(caller, |who| who.user.set_two(word(0), word(1), who.is_root())),
            libc::SYS_setregid => self.become_other(caller, |who| who.group.set_two(word(0), word(1), who.is_root())),
            libc::SYS_setresuid => {
                self.become_other(caller, |who| who.user.set_three([word(0), word(1), word(2)], who.is_root()))
            }
            libc::SYS_setresgid => {
                self.become_other(caller, |who| who.group.set_three([word(0), word(1), word(2)], who.is_root()))
            }
            libc::SYS_setfsuid => self.set_filesystem_id(caller, |who| who.user.set_filesystem(word(0), who.is_root())),
            libc::SYS_setfsgid => {
                self.set_filesystem_id(caller, |who| who.group.set_filesystem(word(0), who.is_root()))
            }
            _ => None,
        }
    }
}

impl Opening {
    fn new(flags: u32, mode: u32) -> Self {
        Self { flags: flags.into(), mode, resolve: 0 }
    }

    /// Reads a `struct open_how`: three words of 64 bits. A later, longer one is the kernel's business.
    fn read(caller: &Caller, address: u64, size: u64) -> Option<Self> {
        let mut bytes = [0; 24];
        if size != bytes.len() as u64 {
            return None;
        }
        caller.process.read(address, &mut bytes).ok()?;
        let (words, _) = bytes.as_chunks::<8>();
        let [flags, mode, resolve] = words else { return None };
        let mode = u64::from_ne_bytes(*mode);
        Some(Self { flags: u64::from_ne_bytes(*flags), mode: mode as u32, resolve: u64::from_ne_bytes(*resolve) })
    }
}
