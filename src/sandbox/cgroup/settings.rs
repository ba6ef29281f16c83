//! From limits to what is written into the files of a cgroup, in order. Pure.
//!
//! The files are those of Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel. Where the two versions
//! count differently the numbers are converted as the container runtimes do: version 2 counts swap by itself and not together
//! with memory, and its weight (1 to 10000, 100 is usual) stands for shares (2 to 262144, 1024 is usual).

use super::Controller;
use super::hierarchy::Version;
use crate::sandbox::limits::{CpuTime, MemorySwap, ResourceLimits};

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Setting {
    pub(super) controller: Controller,
    /// What was asked for, for the error.
    pub(super) flag: &'static str,
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Whether nobody asked for it in so many words, so that a kernel without the file may go without.
    pub(super) optional: bool,
}

/// The kernel's own period, in microseconds.
const PERIOD: u64 = 100_000;

/// Returns what limits a cgroup in a hierarchy of this version.
pub(super) fn settings(limits: &ResourceLimits, version: Version) -> Vec<Setting> {
    let mut all = Vec::new();
    memory(limits, version, &mut all);
    cpu_time(limits, version, &mut all);
    let mut set = |controller, flag, file, value: Option<String>| {
        all.extend(value.map(|value| Setting { controller, flag, file, value, optional: false }));
    };
    let (file, shares) = match version {
        Version::V1 => ("cpu.shares", limits.cpu_shares),
        Version::V2 => ("cpu.weight", limits.cpu_shares.map(weight)),
    };
    set(Controller::Cpu, "--cpu-shares", file, shares.map(|shares| shares.to_string()));
    set(Controller::Cpuset, "--cpuset-cpus", "cpuset.cpus", limits.cpuset_cpus.clone());
    set(Controller::Cpuset, "--cpuset-mems", "cpuset.mems", limits.cpuset_mems.clone());
    set(Controller::Pids, "--pids-limit", "pids.max", limits.pids.map(|pids| pids.to_string()));
    all
}

/// Without `--memory-swap` there is as much swap as memory, as docker has it.
fn memory(limits: &ResourceLimits, version: Version, all: &mut Vec<Setting>) {
    let Some(memory) = limits.memory else { return };
    let setting = |flag, file, value, optional| Setting { controller: Controller::Memory, flag, file, value, optional };
    let default = MemorySwap::Bytes(memory.saturating_mul(2));
    let (both, optional) = (limits.memory_swap.unwrap_or(default), limits.memory_swap.is_none());
    let (file, swap_file, swap) = match (version, both) {
        (Version::V1, MemorySwap::Bytes(both)) => {
            ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", both.to_string())
        }
        (Version::V1, MemorySwap::Unlimited) => {
            ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "-1".to_owned())
        }
        (Version::V2, MemorySwap::Bytes(both)) => {
            ("memory.max", "memory.swap.max", both.saturating_sub(memory).to_string())
        }
        (Version::V2, MemorySwap::Unlimited) => ("memory.max", "memory.swap.max", "max".to_owned()),
    };
    // In this order: both together may never be less than the memory.
    all.push(setting("--memory", file, memory.to_string(), false));
    all.push(setting("--memory-swap", swap_file, swap, optional));
}

fn cpu_time(limits: &ResourceLimits, version: Version, all: &mut Vec<Setting>) {
    let (flag, period, quota) = match limits.cpu_time {
        None => return,
        Some(CpuTime::Cpus(billionths)) => {
            let quota = u128::from(billionths) * u128::from(PERIOD) / 1_000_000_000;
            ("--cpus", Some(PERIOD), Some(u64::try_from(quota).unwrap_or(u64::MAX)))
        }
        Some(CpuTime::Bandwidth { period, quota }) => {
            (if quota.is_some() { "--cpu-quota" } else { "--cpu-period" }, period, quota)
        }
    };
    let mut set = |file, value| all.push(Setting { controller: Controller::Cpu, flag, file, value, optional: false });
    match version {
        Version::V1 => {
            period.into_iter().for_each(|period| set("cpu.cfs_period_us", period.to_string()));
            quota.into_iter().for_each(|quota| set("cpu.cfs_quota_us", quota.to_string()));
        }
        Version::V2 => {
            let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
            set("cpu.max", format!("{quota} {}", period.unwrap_or(PERIOD)));
        }
    }
}

/// The conversion of the container runtimes since 2025 (crun 1.23, runc 1.3.2): the logarithm of the weight is a quadratic
/// function of that of the shares, through (2, 1), (1024, 100) and (262144, 10000). The one before it was linear, so that the
/// usual 1024 became 39.
fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
    let logarithm = (shares as f64).log2();
    let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10000")]
    let weight = 10f64.powf(exponent).ceil() as u64;
    weight.clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limits: &ResourceLimits, version: Version, expected: &[&str]) {
        let line = |setting: Setting| {
            let optional = if setting.optional { "?" } else { "" };
            format!("{} {}={}{optional}", setting.controller.name(), setting.file, setting.value)
        };
        assert_eq!(settings(limits, version).into_iter().map(line).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_asked_nothing_written() {
        for version in [Version::V1, Version::V2] {
            check(&ResourceLimits::default(), version, &[]);
        }
    }

    #[test]
    fn everything_at_once() {
        let limits = ResourceLimits {
            memory: Some(64 << 20),
            memory_swap: Some(MemorySwap::Bytes(96 << 20)),
            cpu_time: Some(CpuTime::Cpus(1_500_000_000)),
            cpu_shares: Some(1024),
            cpuset_cpus: Some("0-1".to_owned()),
            cpuset_mems: Some("0".to_owned()),
            pids: Some(100),
            ..ResourceLimits::default()
        };
        check(
            &limits,
            Version::V1,
            &[
                "memory memory.limit_in_bytes=67108864",
                "memory memory.memsw.limit_in_bytes=100663296",
                "cpu cpu.cfs_period_us=100000",
                "cpu cpu.cfs_quota_us=150000",
                "cpu cpu.shares=1024",
                "cpuset cpuset.cpus=0-1",
                "cpuset cpuset.mems=0",
                "pids pids.max=100",
            ],
        );
        check(
            &limits,
            Version::V2,
            &[
                "memory memory.max=67108864",
                "memory memory.swap.max=33554432",
                "cpu cpu.max=150000 100000",
                "cpu cpu.weight=100",
                "cpuset cpuset.cpus=0-1",
                "cpuset cpuset.mems=0",
                "pids pids.max=100",
            ],
        );
    }

    #[test]
    fn swap() {
        let limits = |memory_swap| ResourceLimits { memory: Some(100), memory_swap, ..ResourceLimits::default() };
        let swap = |memory_swap, version| {
            let setting = settings(&limits(memory_swap), version).remove(1);
            (setting.value, setting.optional)
        };
        let unlimited = Some(MemorySwap::Unlimited);
        assert_eq!(swap(None, Version::V1), ("200".to_owned(), true));
        assert_eq!(swap(None, Version::V2), ("100".to_owned(), true));
        assert_eq!(swap(unlimited, Version::V1), ("-1".to_owned(), false));
        assert_eq!(swap(unlimited, Version::V2), ("max".to_owned(), false));
        // As much of both as of memory: no swap.
        assert_eq!(swap(Some(MemorySwap::Bytes(100)), Version::V2), ("0".to_owned(), false));
    }

    #[test]
    fn processor_time() {
        let limits = |cpu_time| ResourceLimits { cpu_time: Some(cpu_time), ..ResourceLimits::default() };
        let quota = limits(CpuTime::Bandwidth { period: None, quota: Some(50_000) });
        check(&quota, Version::V1, &["cpu cpu.cfs_quota_us=50000"]);
        check(&quota, Version::V2, &["cpu cpu.max=50000 100000"]);
        let period = limits(CpuTime::Bandwidth { period: Some(20_000), quota: None });
        check(&period, Version::V1, &["cpu cpu.cfs_period_us=20000"]);
        check(&period, Version::V2, &["cpu cpu.max=max 20000"]);
    }

    #[test]
    fn shares_become_weight() {
        let pairs =
            [(0, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (2000, 170), (262_144, 10_000), (u64::MAX, 10_000)];
        for (shares, expected) in pairs {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }
}
