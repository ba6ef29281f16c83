//! Ending what a command leaves behind where there is no process namespace to end: orphans become children of the
//! supervisor, which is their subreaper.

use std::io;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid};

use crate::fsutil::Dir;

/// Kills and reaps every child of this process, and the children that they leave, until there is none.
pub(super) fn end_all() -> io::Result<()> {
    loop {
        for child in children()? {
            // It may have ended meanwhile.
            let _ = kill(child, Signal::SIGKILL);
        }
        match waitpid(Pid::from_raw(-1), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::ECHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn children() -> io::Result<Vec<Pid>> {
    let own = getpid().to_string();
    let processes = Dir::open(Path::new("/proc"))?.entries()?;
    let numbers = processes.iter().filter_map(|entry| entry.name.to_str()?.parse::<i32>().ok());
    let is_child = |number: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything; state and parent follow.
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(own.as_str())
    };
    Ok(numbers.filter(is_child).map(Pid::from_raw).collect())
}
