//! Becoming someone who may mount: root stays root, an ordinary user becomes root of a user namespace.
//!
//! | [`Rung`]   | who                                              | ids in the namespace                        |
//! |------------|--------------------------------------------------|---------------------------------------------|
//! | `Root`     | root of the machine                              | all                                         |
//! | `Rootless` | a user with subordinate ids                      | the user's own as 0, the subordinate ones from 1 on |
//! | `SingleId` | a user without, or without `newuidmap`           | the user's own as 0; all others are emulated (`ids`) |
//!
//! Only a process outside a user namespace with the right to it may map more than one id into it: that is what the
//! set-user-id programs `newuidmap` and `newgidmap` are for. So a helper (this program, with a private first argument) is started
//! before this process unshares, and calls them when told to. No second start of the builder itself is needed.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, User};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::CapabilitySet;

/// The private first argument of the helper: process id, number of arguments for `newuidmap`, all arguments.
pub(super) const MAPPER: &str = "kiln-sandbox-mapper";

/// What the helper says when `newuidmap` or `newgidmap` is not installed.
const MISSING: &str = "missing";

/// What isolates the steps of a build, and with whose rights: the rungs of a ladder, the best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rung {
    /// Root, who makes namespaces for each step.
    #[default]
    Root,
    /// An ordinary user as root of a user namespace, with subordinate ids for the other users of an image.
    Rootless,
    /// An ordinary user as root of a user namespace in which there is no other user.
    SingleId,
    /// Nothing but another root directory and fewer rights.
    Chroot,
}

impl Rung {
    /// Says in a few words what it means, for people who ask what their machine offers.
    pub fn description(self) -> &'static str {
        match self {
            Self::Root => "builds run as root",
            Self::Rootless => "builds run as root of a user namespace with subordinate ids",
            Self::SingleId => {
                "builds run as root of a user namespace without other users: these are emulated, which takes longer, and may \
                 touch each other's files (as root, `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` \
                 gives a user subordinate ids; the package `uidmap` is needed too)"
            }
            Self::Chroot => "builds run unisolated: in another root directory, with fewer rights",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Rootless => "rootless",
            Self::SingleId => "single-id",
            Self::Chroot => "chroot",
        })
    }
}

/// What [`enter`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entered {
    /// What isolates the steps.
    pub rung: Rung,
    /// Whether this process is now (or was already) in a user namespace other than the first: overlay marks must
    /// then be `user.overlay.*`.
    pub user_namespace: bool,
}

/// Why namespaces could not be had; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdmapError {
    /// Root without the right to mount: in a container of somebody else's.
    #[error("cannot make a mount namespace: {source}; {help}")]
    MountNamespace {
        /// The kernel's answer.
        source: io::Error,
        /// What to change.
        help: &'static str,
    },
    /// The kernel or its configuration forbids user namespaces.
    #[error("cannot make a user namespace: {source}; {help}")]
    UserNamespace {
        /// The kernel's answer.
        source: io::Error,
        /// What to change, as a command where there is one.
        help: &'static str,
    },
    /// `newuidmap` or `newgidmap` refused.
    #[error("`newuidmap` or `newgidmap` refused to map subordinate ids: {said}; {help}")]
    Refused {
        /// What they printed.
        said: String,
        /// What to change.
        help: &'static str,
    },
    /// What even builds without isolation need.
    #[error("chroot isolation takes root with {missing}, which this process lacks")]
    Chroot {
        /// Names of capabilities, or root itself.
        missing: String,
    },
    /// Something on the way failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// A verb phrase.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> IdmapError {
    move |source| IdmapError::Io { doing, source }
}

/// Gives this process its own mount namespace, and, unless it is root, a user namespace in which it is uid 0 and
/// in which the user's subordinate ids are mapped, if there are any. Must be called while there is one thread only. Cheap for root
/// (below 0.1 ms), about 10 ms otherwise.
pub fn enter() -> Result<Entered, IdmapError> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if uid.is_root() {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(|error| no_mount_namespace(error.into()))?;
    } else {
        enter_user_namespace(uid, gid)?;
    }
    let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", propagation).map_err(|error| forbidden(error.into()))?;
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    Ok(entered(uid.is_root(), &map))
}

/// Says where this process is, which another one may have brought here.
pub(super) fn here() -> Entered {
    entered(false, &std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
}

/// Reads a map of ids: lines of first inside, first outside, count (user_namespaces(7)). A user namespace may also be
/// somebody else's, in which this process is root.
fn entered(as_root: bool, map: &str) -> Entered {
    let map: Vec<&str> = map.split_whitespace().collect();
    let rung = match map[..] {
        [_, _, "1"] => Rung::SingleId,
        _ if as_root => Rung::Root,
        _ => Rung::Rootless,
    };
    Entered { rung, user_namespace: map != ["0", "0", "4294967295"] }
}

/// Makes sure that this process may build without namespaces, and changes nothing.
pub fn stay() -> Result<Entered, IdmapError> {
    let has = rustix::thread::capabilities(None).map_err(|error| failed("read capabilities")(error.into()))?.effective;
    let lacks = NEEDED.into_iter().filter(|(set, _)| !has.contains(*set)).map(|(_, name)| name);
    let root = (!Uid::effective().is_root()).then_some("user id 0");
    let missing: Vec<&str> = root.into_iter().chain(lacks).collect();
    if !missing.is_empty() {
        return Err(IdmapError::Chroot { missing: missing.join(", ") });
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    Ok(Entered { rung: Rung::Chroot, ..entered(true, &map) })
}

/// What it takes to unpack layers, to become the user of a step, and to end it. Containers have it unless told otherwise.
const NEEDED: [(CapabilitySet, &str); 7] = [
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SYS_CHROOT, "CAP_SYS_CHROOT"),
    (CapabilitySet::KILL, "CAP_KILL"),
];

fn enter_user_namespace(uid: Uid, gid: Gid) -> Result<(), IdmapError> {
    let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let uids = mapping("/etc/subuid", &user, uid.as_raw(), uid.as_raw());
    let gids = mapping("/etc/subgid", &user, uid.as_raw(), gid.as_raw());
    let (Some(uids), Some(gids)) = (uids, gids) else {
        unshare_user()?;
        return map_own(uid, gid);
    };
    let mut mapper = Command::new("/proc/self/exe")
        .arg(MAPPER)
        .arg(std::process::id().to_string())
        .arg(uids.len().to_string())
        .args(uids.iter().chain(&gids))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("start the id mapper"))?;
    let unshared = nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS);
    if let Some(mut go) = mapper.stdin.take()
        && unshared.is_ok()
    {
        // A mapper that is gone is noticed below.
        let _ = go.write_all(b"g");
    }
    let output = mapper.wait_with_output().map_err(failed("wait for the id mapper"))?;
    unshared.map_err(|error| forbidden(error.into()))?;
    if String::from_utf8_lossy(&output.stderr).starts_with(MISSING) {
        return map_own(uid, gid);
    }
    // The kernel takes new capabilities for a secret; our own children must be able to look at us.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .map_err(|error| failed("become dumpable")(error.into()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(IdmapError::Refused { said, help: why_refused() });
    }
    Ok(())
}

fn unshare_user() -> Result<(), IdmapError> {
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    nix::sched::unshare(flags).map_err(|error| forbidden(error.into()))
}

/// Maps the ids of this process, and no others, into the user namespace it has made. That needs no privilege, if it also
/// gives up changing its groups (user_namespaces(7)).
fn map_own(uid: Uid, gid: Gid) -> Result<(), IdmapError> {
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/self/{file}"), text).map_err(failed("map the user's own id"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}

fn why_refused() -> &'static str {
    if nix::sys::prctl::get_no_new_privs().unwrap_or(false) {
        "this process was started with no_new_privs, which takes their rights from them: start it without (setpriv \
         --no-new-privs, NoNewPrivileges= of systemd, no-new-privileges of a container)"
    } else {
        "they need to be set-user-id root or to have their file capabilities (reinstall the package `uidmap` or \
         `shadow-utils`), and /etc/subuid and /etc/subgid to agree with each other"
    }
}

fn no_mount_namespace(source: io::Error) -> IdmapError {
    let help = if source.raw_os_error() == Some(libc::ENOSPC) {
        "the limit is reached: raise sysctl user.max_mnt_namespaces"
    } else {
        "this is root without CAP_SYS_ADMIN (in a container: run it with that capability, or as an ordinary user with \
         subordinate ids; or build without isolation: `kiln build --isolation=chroot`)"
    };
    IdmapError::MountNamespace { source, help }
}

/// Arguments of `newuidmap`: inside, outside, count. The user is root, and the ranges follow from 1 on. `None` if there are
/// none.
fn mapping(file: &str, user: &str, uid: u32, own: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut map = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut next = 1u32;
    for (start, count) in subordinate_ranges(&text, user, uid) {
        map.extend([next.to_string(), start.to_string(), count.to_string()]);
        next = next.saturating_add(count);
    }
    (next > 1).then_some(map)
}

/// Lines are `name or uid:first:count` (subuid(5)).
fn subordinate_ranges(text: &str, user: &str, uid: u32) -> Vec<(u32, u32)> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next().filter(|owner| *owner == user || *owner == uid.to_string())?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (!owner.is_empty() && range.1 > 0).then_some(range)
    });
    lines.collect()
}

/// Finds the switch that is off.
fn forbidden(source: io::Error) -> IdmapError {
    let is = |path: &str, value| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let help = if source.raw_os_error() == Some(libc::ENOSPC) {
        "the limit is reached; as root: sysctl -w user.max_user_namespaces=15000 user.max_mnt_namespaces=15000"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "as root: sysctl -w kernel.unprivileged_userns_clone=1"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    } else {
        "a container around this process, or a security module, forbids it"
    };
    IdmapError::UserNamespace { source, help }
}

/// The helper: waits for the word, then maps ids into the user namespace of its parent.
pub(super) fn map_parent(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let (Some(process), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let count = count.to_str().and_then(|count| count.parse().ok()).ok_or(io::ErrorKind::InvalidInput)?;
    let rest: Vec<_> = arguments.collect();
    let (uids, gids) = rest.split_at_checked(count).ok_or(io::ErrorKind::InvalidInput)?;
    let mut word = [0];
    io::stdin().read_exact(&mut word)?;
    for (program, map) in [("newuidmap", uids), ("newgidmap", gids)] {
        match Command::new(program).arg(&process).args(map).stdin(Stdio::null()).status() {
            Ok(status) if status.success() => {}
            Ok(_) => return Err(io::ErrorKind::PermissionDenied.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                writeln!(io::stderr(), "{MISSING} {program}")?;
                return Err(error);
            }
            Err(error) => {
                writeln!(io::stderr(), "{program}: {error}")?;
                return Err(error);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_uid() {
        let text = "bob:100000:65536\nalice:165536:10\n1001:300000:5\nalice:broken:5\n";
        assert_eq!(subordinate_ranges(text, "alice", 1001), [(165_536, 10), (300_000, 5)]);
        assert_eq!(subordinate_ranges(text, "carol", 7), []);
    }

    #[test]
    fn a_map_tells_the_rung() {
        assert_eq!(mapping("/nonexistent", "alice", 1001, 1001), None);
        let seen = |as_root, map| {
            let Entered { rung, user_namespace } = entered(as_root, map);
            (rung, user_namespace)
        };
        assert_eq!(seen(true, "         0          0 4294967295\n"), (Rung::Root, false));
        assert_eq!(seen(true, "         0     100000      65536\n"), (Rung::Root, true));
        assert_eq!(
            seen(false, "         0       1001          1\n         1     100000      65536\n"),
            (Rung::Rootless, true)
        );
        assert_eq!(seen(true, "         0       1001          1\n"), (Rung::SingleId, true));
    }
}
