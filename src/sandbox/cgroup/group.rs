//! The cgroup of one step: made, set, asked, removed.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hierarchy::Version;
use super::place::write;
use super::settings::{Setting, settings};
use super::{CgroupError, Controller, claim};
use crate::sandbox::limits::{ResourceLimits, typed_bytes};

/// A limit that a step met.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Exceeded {
    /// A process was killed for want of memory; of how much when it was the step's own limit, otherwise of the machine's
    /// or that of a cgroup around.
    Memory(Option<u64>),
    /// A process could not be started, because there were that many.
    Pids(u64),
}

/// One sentence.
impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(Some(limit)) => {
                write!(f, "a process was killed: it needed more than --memory {}", typed_bytes(*limit))
            }
            Self::Memory(None) => {
                f.write_str("a process was killed: the memory of the machine, or of a cgroup around kiln, ran out")
            }
            Self::Pids(limit) => {
                write!(f, "a process was not started: there were as many as --pids-limit {limit} allows")
            }
        }
    }
}

/// A cgroup in each hierarchy that a step needs. Removed, with whatever is in it, when dropped.
pub(crate) struct Group {
    members: Vec<Member>,
    memory: Option<u64>,
    pids: Option<u64>,
}

/// It in one hierarchy.
pub(super) struct Member {
    pub(super) path: PathBuf,
    /// Says that we live.
    pub(super) _lock: OwnedFd,
    pub(super) version: Version,
    pub(super) controllers: Vec<Controller>,
}

impl Group {
    pub(super) fn new(limits: &ResourceLimits) -> Self {
        Self { members: Vec::new(), memory: limits.memory, pids: limits.pids }
    }

    /// Takes a new cgroup in, and sets it.
    pub(super) fn add(&mut self, member: Member, limits: &ResourceLimits) -> Result<(), CgroupError> {
        let (path, version, controllers) = (member.path.clone(), member.version, member.controllers.clone());
        // First, so that it is removed whatever comes.
        self.members.push(member);
        if version == Version::V1 {
            inherit_cpuset(&path).map_err(|source| CgroupError::Io { doing: "set up", path: path.clone(), source })?;
        }
        let all = settings(limits, version);
        all.iter()
            .filter(|setting| controllers.contains(&setting.controller))
            .try_for_each(|setting| set(&path, setting))
    }

    /// Opens where a process of one thread enters by writing `0`.
    pub(crate) fn entrances(&self) -> io::Result<Vec<OwnedFd>> {
        let entrance = |version| match version {
            // For a thread that moves itself the kernel need not stop all forks and exits, which takes it some 10 ms.
            Version::V1 => "tasks",
            Version::V2 => "cgroup.procs",
        };
        let open = |member: &Member| OpenOptions::new().write(true).open(member.path.join(entrance(member.version)));
        self.members.iter().map(|member| Ok(open(member)?.into())).collect()
    }

    /// Says which limits were met.
    pub(crate) fn exceeded(&self) -> Vec<Exceeded> {
        self.members.iter().flat_map(|member| self.exceeded_in(member)).collect()
    }

    fn exceeded_in(&self, member: &Member) -> Vec<Exceeded> {
        let read = |file: &str| std::fs::read_to_string(member.path.join(file)).unwrap_or_default();
        let mut all = Vec::new();
        if member.controllers.contains(&Controller::Memory) {
            let (killed, met) = match member.version {
                Version::V1 => {
                    // Failures are not counted where memory and swap together are what ran out.
                    let most = number(&read("memory.max_usage_in_bytes"));
                    let met = self.memory.is_some_and(|limit| most.saturating_add(NEARLY) >= limit);
                    (count(&read("memory.oom_control"), "oom_kill"), met)
                }
                Version::V2 => {
                    let events = read("memory.events");
                    (count(&events, "oom_kill"), count(&events, "max") > 0)
                }
            };
            all.extend((killed > 0).then_some(Exceeded::Memory(self.memory.filter(|_| met))));
        }
        if let Some(pids) = self.pids.filter(|_| member.controllers.contains(&Controller::Pids)) {
            all.extend((count(&read("pids.events"), "max") > 0).then_some(Exceeded::Pids(pids)));
        }
        all
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for member in &self.members {
            // What cannot be removed now is left to the next sweep.
            let _ = claim::remove(&member.path);
        }
    }
}

/// The kernel hands memory out in batches, so that the last bytes of a limit may be out of reach.
const NEARLY: u64 = 1 << 20;

/// `name 3` is a line of the events of a cgroup.
fn count(events: &str, name: &str) -> u64 {
    let mut lines = events.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name).map_or(0, |(_, value)| number(value))
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

fn set(cgroup: &Path, setting: &Setting) -> Result<(), CgroupError> {
    let Setting { flag, file, .. } = *setting;
    match write(&cgroup.join(file), &setting.value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && setting.optional => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CgroupError::NoFile { flag, file }),
        Err(source) => Err(CgroupError::Value { flag, value: setting.value.clone(), file, source }),
        Ok(()) => Ok(()),
    }
}

/// A new cgroup of version 1 has no processors and no memory nodes, and takes nobody in until it has: it gets those of
/// the one around it. Where the controller is another, there are no such files.
pub(super) fn inherit_cpuset(cgroup: &Path) -> io::Result<()> {
    let parent = cgroup.parent().unwrap_or(cgroup);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        match std::fs::read_to_string(parent.join(file)) {
            Ok(value) => write(&cgroup.join(file), value.trim())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_name() {
        let events = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 0\n";
        assert_eq!((count(events, "oom_kill"), count(events, "max"), count(events, "kill")), (2, 12, 0));
        assert_eq!((count("", "max"), number("7\n"), number("x")), (0, 7, 0));
    }

    #[test]
    fn what_was_met_is_said_as_it_was_typed() {
        let text = [Exceeded::Memory(Some(64 << 20)), Exceeded::Pids(30)].map(|met| met.to_string());
        assert_eq!(
            text,
            [
                "a process was killed: it needed more than --memory 64m",
                "a process was not started: there were as many as --pids-limit 30 allows"
            ]
        );
    }
}
