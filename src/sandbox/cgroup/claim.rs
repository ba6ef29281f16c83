//! Whose a cgroup is: a name that says it is kiln's, and a lock that says that its kiln lives.
//!
//! The lock is an flock on the directory, which the kernel gives up with the process, however that ends. A sweep
//! removes what bears the name and can be locked. It may come between the making and the locking of a new one: then
//! that is gone, and another is made.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::fsutil::{Dir, Kind, random_name};

/// Nobody calls a cgroup so by chance: what bears such a name is removed, and what is in it killed.
const PREFIX: &str = "kiln-step-";

/// A process that was killed is gone in a few milliseconds, on a busy machine in a few more.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes a cgroup in `parent`, and locks it.
pub(super) fn claim(parent: &Path) -> io::Result<(PathBuf, OwnedFd)> {
    loop {
        let path = parent.join(format!("{PREFIX}{}", random_name()));
        std::fs::create_dir(&path)?;
        match lock(&path) {
            Ok(lock) if is_still(&path, &lock)? => return Ok((path, lock)),
            // Swept, or about to be.
            Ok(_) | Err(Errno::WOULDBLOCK | Errno::NOENT) => {}
            Err(error) => {
                let _ = std::fs::remove_dir(&path);
                return Err(error.into());
            }
        }
    }
}

fn lock(path: &Path) -> rustix::io::Result<OwnedFd> {
    let directory = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}

fn is_still(path: &Path, directory: &OwnedFd) -> io::Result<bool> {
    let locked = rustix::fs::fstat(directory)?;
    match rustix::fs::lstat(path) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes what kilns that are no more have left in `parent`. What cannot be removed is another user's, or the next
/// sweep's.
pub(super) fn sweep(parent: &Path) {
    let Ok(entries) = Dir::open(parent).and_then(|dir| dir.entries()) else { return };
    for entry in entries.iter().filter(|entry| is_ours(&entry.name)) {
        let path = parent.join(&entry.name);
        if let Ok(_lock) = lock(&path) {
            let _ = remove(&path);
        }
    }
}

fn is_ours(name: &OsStr) -> bool {
    let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    random.is_some_and(|random| random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Kills what is in a cgroup and in those below it, and removes them all.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let started = Instant::now();
    loop {
        let tree = tree(path);
        let mut left = Ok(());
        for cgroup in tree.iter().rev() {
            match std::fs::remove_dir(cgroup) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => left = Err(error),
                _ => {}
            }
        }
        match left {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && started.elapsed() < PATIENCE => {
                tree.iter().for_each(|cgroup| kill(cgroup));
            }
            // Above all what is another user's.
            left => return left,
        }
        // The processes of a step are dead, and only not yet counted out.
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// `path` and all cgroups below it, those above before those below.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    let mut next = 0;
    while let Some(cgroup) = all.get(next).cloned() {
        let entries = Dir::open(&cgroup).and_then(|dir| dir.entries()).unwrap_or_default();
        let below = entries.iter().filter(|entry| entry.kind == Kind::Directory);
        all.extend(below.map(|entry| cgroup.join(&entry.name)));
        next += 1;
    }
    all
}

/// Version 2 kills all at once. Of version 1 each process is killed by a handle, taken while it was in the cgroup, so that
/// no other process that got its number is hit.
fn kill(cgroup: &Path) {
    if super::place::write(&cgroup.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let handles: Vec<_> = processes(cgroup)
        .into_iter()
        .filter_map(|pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
        .collect();
    let still = processes(cgroup);
    for (_, handle) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
        let _ = pidfd_send_signal(handle, Signal::KILL);
    }
}

fn processes(cgroup: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kiln_named_is_its_own() {
        let own = format!("{PREFIX}{}", random_name());
        assert!(is_ours(OsStr::new(&own)));
        for other in [
            "kiln-step-",
            "kiln-step-1",
            "kiln-ci",
            "kiln.slice",
            "kiln-step-slow-machine",
            &own[1..],
            &format!("{own}0"),
        ] {
            assert!(!is_ours(OsStr::new(other)), "{other}");
        }
    }
}
