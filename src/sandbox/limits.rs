//! How much a process may use: plain data.
//!
//! Nothing of it decides what the process makes, only whether it comes to its end; so nothing of it is part of a cache
//! key.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one step may use at most. The default limits nothing.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together.
    pub memory_swap: Option<MemorySwap>,
    /// Processor time.
    pub cpu_time: Option<CpuTime>,
    /// The share of processor time where steps compete for it, 2 to 262144; 1024 is what everybody has.
    pub cpu_shares: Option<u64>,
    /// Processors it may run on, as a list: `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use, as a list.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The cgroup that the cgroup of the step is made in, by its path from the top of each hierarchy; `None` is the
    /// one of this process, or the nearest around it that takes others.
    pub cgroup_parent: Option<String>,
    /// Limits of each process, in the order given; of equal names the last one counts.
    pub ulimits: Vec<Ulimit>,
    /// The size of `/dev/shm`, in bytes; `None` is 64 MiB.
    pub shm_size: Option<u64>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// What memory and swap come to together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MemorySwap {
    /// So many bytes, no fewer than the memory.
    Bytes(u64),
    /// As much swap as there is.
    Unlimited,
}

/// How much processor time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CpuTime {
    /// So many billionths of a processor.
    Cpus(u64),
    /// In microseconds: at most `quota` in each `period`.
    Bandwidth {
        /// `None` is the kernel's, 100 ms.
        period: Option<u64>,
        /// `None` is no limit.
        quota: Option<u64>,
    },
}

/// A limit that each process has for itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ulimit {
    /// One of [`ULIMITS`].
    pub name: String,
    /// The limit; `None` is none.
    pub soft: Option<u64>,
    /// How far the process itself may raise it; `None` is without end.
    pub hard: Option<u64>,
}

/// The names of [`Ulimit`]s, as docker has them.
pub const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl ResourceLimits {
    /// Whether they take a cgroup; without one a step costs nothing more.
    pub(crate) fn need_cgroup(&self) -> bool {
        self.cgroup_parent.is_some() || self.cgroup_flags().next().is_some()
    }

    /// The flags of the limits that take a cgroup, each with its controller.
    pub(super) fn cgroup_flags(&self) -> impl Iterator<Item = (super::cgroup::Controller, &'static str)> {
        use super::cgroup::Controller::{Cpu, Cpuset, Memory, Pids};
        let (cpus, period, quota) = match self.cpu_time {
            None => (false, false, false),
            Some(CpuTime::Cpus(_)) => (true, false, false),
            Some(CpuTime::Bandwidth { period, quota }) => (false, period.is_some(), quota.is_some()),
        };
        let all = [
            (self.memory.is_some(), Memory, "--memory"),
            (self.memory_swap.is_some(), Memory, "--memory-swap"),
            (cpus, Cpu, "--cpus"),
            (period, Cpu, "--cpu-period"),
            (quota, Cpu, "--cpu-quota"),
            (self.cpu_shares.is_some(), Cpu, "--cpu-shares"),
            (self.cpuset_cpus.is_some(), Cpuset, "--cpuset-cpus"),
            (self.cpuset_mems.is_some(), Cpuset, "--cpuset-mems"),
            (self.pids.is_some(), Pids, "--pids-limit"),
        ];
        all.into_iter().filter_map(|(given, controller, flag)| given.then_some((controller, flag)))
    }
}

/// As it is typed.
impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |limit: Option<u64>| limit.map_or("-1".to_owned(), |limit| limit.to_string());
        write!(f, "{}={}:{}", self.name, shown(self.soft), shown(self.hard))
    }
}

/// A number of bytes as it is typed: `64m`.
pub(crate) fn typed_bytes(bytes: u64) -> String {
    let units = [(40, "t"), (30, "g"), (20, "m"), (10, "k")];
    let fitting = units.into_iter().find(|(shift, _)| bytes != 0 && bytes.is_multiple_of(1 << shift));
    fitting.map_or_else(|| format!("{bytes}"), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_limits_take_a_cgroup() {
        assert!(!ResourceLimits::default().need_cgroup());
        let of_each_process = ResourceLimits {
            ulimits: vec![Ulimit { name: "nofile".to_owned(), soft: Some(1), hard: None }],
            shm_size: Some(1),
            timeout: Some(Duration::from_secs(1)),
            ..ResourceLimits::default()
        };
        assert!(!of_each_process.need_cgroup());
        assert_eq!(of_each_process.ulimits[0].to_string(), "nofile=1:-1");
        assert!(ResourceLimits { pids: Some(1), ..ResourceLimits::default() }.need_cgroup());
        assert!(ResourceLimits { cgroup_parent: Some("/a".to_owned()), ..ResourceLimits::default() }.need_cgroup());
    }

    #[test]
    fn sizes_are_shown_as_they_are_typed() {
        assert_eq!([64 << 20, 1 << 30, 1536, 1000, 0].map(typed_bytes), ["64m", "1g", "1536", "1000", "0"]);
    }
}
