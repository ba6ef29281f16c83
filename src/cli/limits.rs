//! From the flags of limits to [`ResourceLimits`]: docker's spellings, units, defaults and minima.
//!
//! As with docker an empty value or `0` limits nothing, and `-1` neither where a flag takes it.

use std::time::Duration;

use super::args::LimitArguments;
use super::usage::UsageError;
use crate::dockerfile::{duration, size};
use crate::sandbox::{CpuTime, MemorySwap, ResourceLimits, ULIMITS, Ulimit};

/// The least memory that docker takes: a process needs some to start.
const LEAST_MEMORY: u64 = 6 << 20;

/// Resolves `typed`.
pub(super) fn limits(typed: &LimitArguments) -> Result<ResourceLimits, UsageError> {
    let given = Given::of(typed)?;
    let memory = memory(given.get(MEMORY))?;
    Ok(ResourceLimits {
        memory,
        memory_swap: memory_swap(given.get(MEMORY_SWAP), memory)?,
        cpu_time: cpu_time(typed.cpus.as_deref(), given.get(CPU_PERIOD), given.get(CPU_QUOTA))?,
        cpu_shares: number(CPU_SHARES, given.get(CPU_SHARES), 2..=262_144)?,
        cpuset_cpus: set(CPUSET_CPUS, given.get(CPUSET_CPUS))?,
        cpuset_mems: set(CPUSET_MEMS, given.get(CPUSET_MEMS))?,
        pids: number("--pids-limit", typed.pids_limit.as_deref().filter(|text| *text != "-1"), 1..=4_194_304)?,
        cgroup_parent: typed.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
        ulimits: typed.ulimit.iter().map(|text| ulimit(text)).collect::<Result<_, _>>()?,
        shm_size: bytes("--shm-size", typed.shm_size.as_deref())?,
        timeout: timeout(typed.timeout.as_deref())?,
    })
}

const MEMORY: &str = "--memory";
const MEMORY_SWAP: &str = "--memory-swap";
const CPU_SHARES: &str = "--cpu-shares";
const CPU_PERIOD: &str = "--cpu-period";
const CPU_QUOTA: &str = "--cpu-quota";
const CPUSET_CPUS: &str = "--cpuset-cpus";
const CPUSET_MEMS: &str = "--cpuset-mems";

/// The flags that `--resource` has names for too, and their values; of several the last counts, and `--resource`
/// after all.
struct Given<'a>([(&'static str, Option<&'a str>); 7]);

impl<'a> Given<'a> {
    fn of(typed: &'a LimitArguments) -> Result<Self, UsageError> {
        let mut all = [
            (MEMORY, &typed.memory),
            (MEMORY_SWAP, &typed.memory_swap),
            (CPU_SHARES, &typed.cpu_shares),
            (CPU_PERIOD, &typed.cpu_period),
            (CPU_QUOTA, &typed.cpu_quota),
            (CPUSET_CPUS, &typed.cpuset_cpus),
            (CPUSET_MEMS, &typed.cpuset_mems),
        ]
        .map(|(flag, value)| (flag, value.as_deref()));
        for text in &typed.resource {
            let named = text.split_once('=').and_then(|(name, value)| {
                let place = all.iter().position(|(flag, _)| flag.strip_prefix("--") == Some(name))?;
                Some((place, value))
            });
            let Some((place, value)) = named else {
                let names: Vec<&str> = all.iter().map(|(flag, _)| &flag[2..]).collect();
                let expected = format!("expected NAME=VALUE, NAME one of {}", names.join(", "));
                return Err(UsageError::malformed("--resource", text, expected));
            };
            all[place].1 = Some(value);
        }
        Ok(Self(all))
    }

    fn get(&self, flag: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == flag).and_then(|(_, value)| *value)
    }
}

/// `0` and nothing are no limit.
fn bytes(flag: &'static str, text: Option<&str>) -> Result<Option<u64>, UsageError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let malformed =
        || UsageError::malformed(flag, text, "expected a size: a number, and b, k, m, g or t, as in `512m`");
    Ok(Some(size::parse(text).ok_or_else(malformed)?).filter(|bytes| *bytes > 0))
}

fn memory(text: Option<&str>) -> Result<Option<u64>, UsageError> {
    match bytes(MEMORY, text)? {
        Some(found) if found < LEAST_MEMORY => {
            let text = text.unwrap_or_default();
            Err(UsageError::malformed(MEMORY, text, "the minimum is 6m: a command needs some memory to start"))
        }
        found => Ok(found),
    }
}

fn memory_swap(text: Option<&str>, memory: Option<u64>) -> Result<Option<MemorySwap>, UsageError> {
    let unlimited = text == Some("-1");
    let found = if unlimited { None } else { bytes(MEMORY_SWAP, text)? };
    let malformed = |expected| Err(UsageError::malformed(MEMORY_SWAP, text.unwrap_or_default(), expected));
    match (found, memory) {
        (None, _) if !unlimited => Ok(None),
        (_, None) => malformed("it is memory and swap together: give --memory too"),
        (None, Some(_)) => Ok(Some(MemorySwap::Unlimited)),
        (Some(both), Some(memory)) if both < memory => {
            malformed("it is memory and swap together: it cannot be less than --memory")
        }
        (Some(both), Some(_)) => Ok(Some(MemorySwap::Bytes(both))),
    }
}

fn cpu_time(cpus: Option<&str>, period: Option<&str>, quota: Option<&str>) -> Result<Option<CpuTime>, UsageError> {
    let period = number(CPU_PERIOD, period, 1_000..=1_000_000)?;
    let quota = number(CPU_QUOTA, quota.filter(|text| *text != "-1"), 1_000..=u64::MAX / 1_000)?;
    let cpus = billionths(cpus)?;
    match (cpus, period, quota) {
        (None, None, None) => Ok(None),
        (None, period, quota) => Ok(Some(CpuTime::Bandwidth { period, quota })),
        (Some(cpus), None, None) => Ok(Some(CpuTime::Cpus(cpus))),
        (Some(_), Some(_), _) => Err(UsageError::Conflict { one: "--cpus", other: CPU_PERIOD }),
        (Some(_), None, Some(_)) => Err(UsageError::Conflict { one: "--cpus", other: CPU_QUOTA }),
    }
}

/// A number of processors with up to nine decimals.
fn billionths(text: Option<&str>) -> Result<Option<u64>, UsageError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let all = format!("{whole}{fraction:0<9}");
    let found = if digits(&all) && all.len() == whole.len() + 9 { all.parse::<u64>().ok() } else { None };
    match found {
        Some(0) => Ok(None),
        // The least that the kernel takes is a hundredth: 1 ms in 100.
        Some(found) if (10_000_000..=1_000_000_000_000_000).contains(&found) => Ok(Some(found)),
        _ => {
            Err(UsageError::malformed("--cpus", text, "expected a number of processors of at least 0.01, as in `1.5`"))
        }
    }
}

fn number(
    flag: &'static str,
    text: Option<&str>,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, UsageError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(found) if range.contains(&found) => Ok(Some(found)),
        _ if *range.end() > 1 << 40 => {
            Err(UsageError::malformed(flag, text, format!("expected a number of at least {}", range.start())))
        }
        _ => Err(UsageError::malformed(flag, text, format!("expected {} to {}", range.start(), range.end()))),
    }
}

/// A list as the kernel writes it: `0-3,5`.
fn set(flag: &'static str, text: Option<&str>) -> Result<Option<String>, UsageError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if first <= last)
    };
    if text.split(',').all(part) {
        return Ok(Some(text.to_owned()));
    }
    Err(UsageError::malformed(flag, text, "expected numbers and ranges, as in `0-3,5`"))
}

/// `NAME=SOFT[:HARD]`.
fn ulimit(text: &str) -> Result<Ulimit, UsageError> {
    const FLAG: &str = "--ulimit";
    let malformed = |expected: String| UsageError::malformed(FLAG, text, expected);
    let (name, values) = text
        .split_once('=')
        .ok_or_else(|| malformed("expected NAME=SOFT[:HARD], as in `nofile=1024:2048`".to_owned()))?;
    if !ULIMITS.contains(&name) {
        let near = crate::diag::nearest(name, ULIMITS);
        let near = near.map_or_else(
            || format!("expected one of {}", ULIMITS.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(malformed(format!("there is no limit `{name}`: {near}")));
    }
    let limit = |text: &str| match text {
        "-1" | "unlimited" => Ok(None),
        text => text.parse::<u64>().map(Some).map_err(|_| malformed(format!("`{text}` is no number (-1 is no limit)"))),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (limit(soft)?, limit(hard)?);
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err(malformed("the soft limit cannot be above the hard limit".to_owned()));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

fn timeout(text: Option<&str>) -> Result<Option<Duration>, UsageError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let malformed =
        |error| UsageError::malformed("--timeout", text, format!("{error}: expected one such as `90s` or `1h30m`"));
    Ok(Some(duration::parse(text).map_err(malformed)?).filter(|limit| !limit.is_zero()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Arguments, Verb};

    /// The limits of a command line that differ from none, or the error.
    fn shown(line: &str) -> String {
        let words = ["kiln", "build", "."].into_iter().chain(line.split(' '));
        let typed = match Arguments::try_parse_from(words).expect("it parses").verb {
            Verb::Build(arguments) => arguments,
            other => panic!("{other:?}"),
        };
        match limits(&typed.limits) {
            Ok(limits) => {
                let none = format!("{:?}", ResourceLimits::default());
                let field = |part: &&str| !none.contains(*part);
                format!("{limits:?}")
                    .trim_start_matches("ResourceLimits { ")
                    .trim_end_matches(" }")
                    .split(", ")
                    .filter(field)
                    .collect::<Vec<_>>()
                    .join(", ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[track_caller]
    fn check(lines: &[(&str, &str)]) {
        for (line, want) in lines {
            assert_eq!(shown(line), *want, "{line}");
        }
    }

    #[test]
    fn memory() {
        check(&[
            ("-m 64m", "memory: Some(67108864)"),
            ("--memory=1.5g", "memory: Some(1610612736)"),
            ("--memory 0", ""),
            ("--memory 64m --memory-swap 128m", "memory: Some(67108864), memory_swap: Some(Bytes(134217728))"),
            ("--memory 64m --memory-swap -1", "memory: Some(67108864), memory_swap: Some(Unlimited)"),
            ("--memory 64m --memory-swap 0", "memory: Some(67108864)"),
            ("--memory 1m", "invalid value `1m` for --memory: the minimum is 6m: a command needs some memory to start"),
            (
                "--memory lots",
                "invalid value `lots` for --memory: expected a size: a number, and b, k, m, g or t, as in `512m`",
            ),
            (
                "--memory-swap 64m",
                "invalid value `64m` for --memory-swap: it is memory and swap together: give --memory too",
            ),
            (
                "--memory 64m --memory-swap 32m",
                "invalid value `32m` for --memory-swap: it is memory and swap together: it cannot be less than --memory",
            ),
            ("--shm-size 1g", "shm_size: Some(1073741824)"),
        ]);
    }

    #[test]
    fn processors() {
        check(&[
            ("--cpus 1.5", "cpu_time: Some(Cpus(1500000000))"),
            ("--cpus .5", "cpu_time: Some(Cpus(500000000))"),
            ("--cpus 0", ""),
            ("-c 512", "cpu_shares: Some(512)"),
            ("--cpu-quota 50000", "cpu_time: Some(Bandwidth { period: None, quota: Some(50000) })"),
            ("--cpu-quota -1", ""),
            ("--cpuset-cpus 0-1,3 --cpuset-mems 0", "cpuset_cpus: Some(\"0-1,3\"), cpuset_mems: Some(\"0\")"),
            ("--cpus 1 --cpu-quota 50000", "--cpus and --cpu-quota cannot be used together"),
            (
                "--cpus two",
                "invalid value `two` for --cpus: expected a number of processors of at least 0.01, as in `1.5`",
            ),
            ("--cpu-shares 1", "invalid value `1` for --cpu-shares: expected 2 to 262144"),
            ("--cpu-period 5", "invalid value `5` for --cpu-period: expected 1000 to 1000000"),
            ("--cpu-quota 5", "invalid value `5` for --cpu-quota: expected a number of at least 1000"),
            ("--cpuset-cpus 3-1", "invalid value `3-1` for --cpuset-cpus: expected numbers and ranges, as in `0-3,5`"),
        ]);
    }

    #[test]
    fn processes_and_time() {
        check(&[
            ("--pids-limit 100", "pids: Some(100)"),
            ("--pids-limit -1", ""),
            ("--pids-limit x", "invalid value `x` for --pids-limit: expected 1 to 4194304"),
            ("--timeout 1h30m", "timeout: Some(5400s)"),
            (
                "--timeout 10",
                "invalid value `10` for --timeout: time: missing unit in duration \"10\": expected one such as `90s` or `1h30m`",
            ),
        ]);
    }

    #[test]
    fn ulimits() {
        let one = |name, soft, hard| format!("ulimits: [Ulimit {{ name: \"{name}\", soft: {soft}, hard: {hard} }}]");
        check(&[
            ("--ulimit nofile=1024:2048", &one("nofile", "Some(1024)", "Some(2048)")),
            ("--ulimit core=-1", &one("core", "None", "None")),
            ("--ulimit nproc=5", &one("nproc", "Some(5)", "Some(5)")),
            (
                "--ulimit nofiles=1",
                "invalid value `nofiles=1` for --ulimit: there is no limit `nofiles`: did you mean `nofile`?",
            ),
            (
                "--ulimit nofile",
                "invalid value `nofile` for --ulimit: expected NAME=SOFT[:HARD], as in `nofile=1024:2048`",
            ),
            (
                "--ulimit nofile=9:3",
                "invalid value `nofile=9:3` for --ulimit: the soft limit cannot be above the hard limit",
            ),
            (
                "--ulimit nofile=-1:3",
                "invalid value `nofile=-1:3` for --ulimit: the soft limit cannot be above the hard limit",
            ),
            ("--ulimit nofile=many", "invalid value `nofile=many` for --ulimit: `many` is no number (-1 is no limit)"),
        ]);
    }

    #[test]
    fn resources_in_one_flag() {
        check(&[
            ("--resource memory=2g --resource cpu-shares=512", "memory: Some(2147483648), cpu_shares: Some(512)"),
            ("--resource cpuset-cpus=0,1", "cpuset_cpus: Some(\"0,1\")"),
            (
                "--resource ram=2g",
                "invalid value `ram=2g` for --resource: expected NAME=VALUE, NAME one of memory, memory-swap, cpu-shares, \
                 cpu-period, cpu-quota, cpuset-cpus, cpuset-mems",
            ),
        ]);
    }
}
