//! User, groups and capabilities of the command.

use nix::unistd::{Gid, Uid};
use rustix::io::{Errno, Result};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::system;

/// What containers may usually do: CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE
/// NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP (capabilities(7)).
pub(super) const CONTAINER_CAPABILITIES: u64 = 0xa804_25fb;

/// All there are; the kernel ignores what it does not know.
pub(super) const ALL_CAPABILITIES: u64 = u64::MAX;

/// Drops every capability but `keep` from the bounding set, so that no program can bring it back.
pub(super) fn bound(keep: u64) -> Result<()> {
    for number in 0..64 {
        // Dropping takes CAP_SETPCAP, which is not needed for what is gone already.
        if keep & (1 << number) == 0 && system::is_in_bounding_set(number) {
            match system::drop_from_bounding_set(number) {
                // The kernel knows no capability of that number, nor of a higher one.
                Err(Errno::INVAL) => break,
                other => other?,
            }
        }
    }
    Ok(())
}

/// Becomes the user. Who is not root loses all capabilities here.
pub(super) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::setgroups(&groups)
        .and_then(|()| nix::unistd::setresgid(gid, gid, gid))
        .and_then(|()| nix::unistd::setresuid(uid, uid, uid))
        .map_err(|error| Errno::from_raw_os_error(error as i32))
}

/// Keeps `keep` of what this process has; nothing is inherited past the next exec.
pub(super) fn keep(keep: u64) -> Result<()> {
    let has = rustix::thread::capabilities(None)?;
    let keep = CapabilitySet::from_bits_retain(keep);
    let sets = CapabilitySets {
        effective: has.permitted & keep,
        permitted: has.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    // Old kernels have no ambient set to clear.
    let _ = rustix::thread::clear_ambient_capability_set();
    rustix::thread::set_capabilities(None, sets)
}
