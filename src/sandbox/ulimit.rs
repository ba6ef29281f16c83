//! Limits of each process, by docker's names.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::Ulimit;

/// Sets a limit of this process, which its descendants inherit.
pub(super) fn set(limit: &Ulimit) -> rustix::io::Result<()> {
    let resource = resource(&limit.name).ok_or(Errno::INVAL)?;
    setrlimit(resource, Rlimit { current: limit.soft, maximum: limit.hard })
}

/// The names are those of `setrlimit(2)` in small letters, without `RLIMIT_`.
fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::ULIMITS;

    #[test]
    fn every_name_is_a_resource() {
        assert!(ULIMITS.iter().all(|name| resource(name).is_some()));
        assert!(resource("as").is_none());
    }
}
