//! Programs of other machines, run by an emulator that the kernel starts for them (`binfmt_misc`).
//!
//! What is registered for the whole machine needs nothing from here. Where nothing is, a helper process makes a user
//! namespace with the ids of this process, in which it registers the emulators that are installed: since Linux 6.7 each
//! user namespace has a `binfmt_misc` of its own. Sandboxes enter that namespace before they execute their command; the
//! rest of the machine sees nothing of it, and no privilege is needed. The registrations live as long as the helper.
//!
//! What to register is read where the emulators' packages put it for `systemd-binfmt`: lines
//! `:name:M:offset:magic:mask:interpreter:flags` (binfmt.d(5)).

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;

use super::plan::Limits;
use super::{mounts, system};
use crate::fsutil::Dir;

/// The private first argument of the helper.
pub(crate) const EMULATOR: &str = "kiln-sandbox-emulator";

/// Written by the helper when its namespace is there and wants a mapping of ids.
pub(crate) const UNSHARED: u8 = b'u';
/// Written by the helper when the emulators are registered; else it writes why they are not.
pub(crate) const REGISTERED: u8 = b'r';

const DIRECTORIES: [&str; 4] = ["/etc/binfmt.d", "/run/binfmt.d", "/usr/local/lib/binfmt.d", "/usr/lib/binfmt.d"];

/// The helper. Talks over its standard streams; ends when the builder closes them.
pub(super) fn become_emulator() -> io::Result<()> {
    let mut out = io::stdout();
    let mut tell = |bytes: &[u8]| out.write_all(bytes).and_then(|()| out.flush());
    if let Err(error) = nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS) {
        return tell(format!("cannot make a user namespace: {}", io::Error::from(error)).as_bytes());
    }
    tell(&[UNSHARED])?;
    io::stdin().read_exact(&mut [0])?;
    match register() {
        Ok(_alive) => {
            tell(&[REGISTERED])?;
            // Until the builder has gone. The registrations go with the mount.
            io::stdin().read_to_end(&mut Vec::new()).map(drop)
        }
        Err(why) => tell(why.as_bytes()),
    }
}

/// Registers every emulator there is; returns the mount that keeps them.
fn register() -> Result<OwnedFd, String> {
    protect().map_err(|error| format!("cannot protect the emulators: {error}"))?;
    let limits = Limits { readonly: false, nosuid: true, nodev: true, noexec: true };
    let mount = mounts::filesystem("binfmt_misc", &[], limits)
        .map_err(|error| format!("cannot mount binfmt_misc in a user namespace, which Linux 6.7 can: {error}"))?;
    let mut registered = 0;
    for line in DIRECTORIES.into_iter().flat_map(lines_of) {
        let Some(line) = registration(&line) else { continue };
        let opened = rustix::fs::openat(&mount, "register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        // One that is not installed, or there twice, is refused.
        if opened.is_ok_and(|register| rustix::io::write(register, line.as_bytes()).is_ok()) {
            registered += 1;
        }
    }
    if registered > 0 { Ok(mount) } else { Err("no emulator is installed".to_owned()) }
}

/// Makes all mounts of this namespace read-only. A command finds the file of its emulator at `/proc/self/exe`, as this
/// process opened it, and root must not be able to write it from there (as in CVE-2019-5736).
fn protect() -> rustix::io::Result<()> {
    let top = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    system::set_mount_attributes(top, MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), true)
}

fn lines_of(directory: &str) -> Vec<String> {
    let Ok(entries) = Dir::open(directory.as_ref()).and_then(|dir| dir.entries()) else { return Vec::new() };
    let files = entries.into_iter().filter(|entry| entry.name.as_encoded_bytes().ends_with(b".conf"));
    let texts =
        files.filter_map(|entry| std::fs::read_to_string(std::path::Path::new(directory).join(entry.name)).ok());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Returns what to write to `register` for a line that is about QEMU. The kernel shall open the emulator at once, as a
/// sandbox does not have it (flag `F`), and set-user-id programs shall be what they are elsewhere (`C`).
fn registration(line: &str) -> Option<String> {
    let line = line.trim();
    let delimiter = line.chars().next().filter(|first| !matches!(first, '#' | ';'))?;
    let fields: Vec<&str> = line.split(delimiter).collect();
    let [_, _, "M", _, _, _, interpreter, flags] = fields[..] else { return None };
    let program = interpreter.strip_prefix('/')?;
    let more: String = ['F', 'C'].into_iter().filter(|flag| !flags.contains(*flag)).collect();
    program.contains("qemu").then(|| format!("{line}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_qemu_are_registered_with_the_flags_it_takes() {
        let line = r":qemu-arm:M::\x7fELF:\xff\xff:/usr/bin/qemu-arm-static:";
        assert_eq!(registration(&format!("  {line}OC\n")), Some(format!("{line}OCF")));
        assert_eq!(registration(&format!("{line}OPF")), Some(format!("{line}OPFC")));
        for other in [
            "",
            "# :a:M::b:c:/usr/bin/qemu-x:F",
            ";",
            ":jar:E::jar::/usr/bin/qemu-jar:",
            ":py:M::ab::/usr/bin/python3:",
        ] {
            assert_eq!(registration(other), None, "{other}");
        }
        assert_eq!(registration(":qemu-arm:M::a:b:qemu-arm:F"), None);
    }
}
