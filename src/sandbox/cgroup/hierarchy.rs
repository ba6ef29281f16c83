//! Which hierarchies of cgroups there are, and where this process is in them: from the texts of `/proc/self/cgroup` and
//! `/proc/self/mountinfo` (cgroups(7), proc_pid_mountinfo(5)). Pure.

use std::path::{Component, Path, PathBuf};

use super::Controller;

/// The interface of a hierarchy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    /// A hierarchy for each controller, or for a few.
    V1,
    /// One for all.
    V2,
}

/// One hierarchy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Of version 1: what it controls. Version 2 says in files what it controls where.
    pub(super) controllers: Vec<String>,
    /// Where it is mounted: the top of what can be seen of it.
    pub(super) top: PathBuf,
    /// The directory of the cgroup of this process; `None` when it is not below what is mounted.
    pub(super) own: Option<PathBuf>,
    /// Whether nothing can be made in it.
    pub(super) readonly: bool,
}

impl Hierarchy {
    /// Whether it could have a limit of this kind. One of version 2 may lack the controller: that shows later.
    pub(super) fn may_control(&self, controller: Controller) -> bool {
        self.version == Version::V2 || self.controllers.iter().any(|name| name == controller.name())
    }
}

/// Returns the hierarchies that this process is in and that are mounted, version 2 last: a controller is bound to one
/// hierarchy only, so where version 1 has it, version 2 does not.
pub(super) fn hierarchies(cgroup: &str, mountinfo: &str) -> Vec<Hierarchy> {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
    let mut found: Vec<Hierarchy> = cgroup.lines().filter_map(|line| hierarchy(line, &mounts)).collect();
    found.sort_by_key(|hierarchy| hierarchy.version == Version::V2);
    found
}

/// `4:memory:/path`, or `0::/path` for version 2.
fn hierarchy(line: &str, mounts: &[Mount]) -> Option<Hierarchy> {
    let mut fields = line.splitn(3, ':');
    let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
    let version = if number == "0" && names.is_empty() { Version::V2 } else { Version::V1 };
    let controllers: Vec<String> = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let fits = |mount: &&Mount| {
        mount.version == version && controllers.first().is_none_or(|first| mount.options.contains(first))
    };
    let seen = |mount: &Mount| mount.directory_of(Path::new(path));
    let all = || mounts.iter().filter(fits);
    // Where one is mounted twice, the mount that shows us counts, and of these one that can be written.
    let mount = all()
        .find(|mount| seen(mount).is_some() && !mount.readonly)
        .or_else(|| all().find(|mount| seen(mount).is_some()))
        .or_else(|| all().next())?;
    Some(Hierarchy { version, controllers, top: mount.point.clone(), own: seen(mount), readonly: mount.readonly })
}

/// A mounted hierarchy, or a part of one.
struct Mount {
    version: Version,
    /// What of the hierarchy is mounted, seen from the root of the cgroup namespace; may begin with `/..`.
    root: PathBuf,
    point: PathBuf,
    readonly: bool,
    /// The options of the file system: of version 1 the names of its controllers are among them.
    options: Vec<String>,
}

impl Mount {
    /// `36 31 0:33 /root /mount/point rw,relatime - cgroup source rw,memory`
    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point, flags) = (mount.next()?, mount.next()?, mount.next()?);
        let mut filesystem = filesystem.split(' ');
        let version = match filesystem.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options: Vec<String> = filesystem.nth(1)?.split(',').map(str::to_owned).collect();
        let readonly = flags.split(',').chain(options.iter().map(String::as_str)).any(|flag| flag == "ro");
        Some(Self { version, root: unescape(root), point: unescape(point), readonly, options })
    }

    /// Where the cgroup `path` is below this mount.
    fn directory_of(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.root).ok()?;
        let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        plain.then(|| self.point.join(below).components().collect())
    }
}

/// Spaces and the like are written as three octal digits behind a backslash.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits =
            behind.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        let octal =
            digits.map(|digits| digits.iter().fold(0u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')));
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &behind[3..] } else { behind };
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line each: version, controllers, the directory of this process (or the top, when that is not seen).
    #[track_caller]
    fn check(cgroup: &str, mountinfo: &str, expected: &str) {
        let line = |found: &Hierarchy| {
            let own = match &found.own {
                Some(own) => own.display().to_string(),
                None => format!("not seen below {}", found.top.display()),
            };
            let readonly = if found.readonly { " read-only" } else { "" };
            format!("{:?} [{}] {own}{readonly}\n", found.version, found.controllers.join(","))
        };
        let text: String = hierarchies(cgroup, mountinfo).iter().map(line).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn version_2_under_systemd() {
        check(
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/kiln.scope\n",
            "24 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
             30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
            "V2 [] /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/kiln.scope\n",
        );
    }

    #[test]
    fn version_1_with_controllers_that_share_a_hierarchy() {
        check(
            "5:memory:/user.slice\n4:cpu,cpuacct:/user.slice\n3:pids:/user.slice/user-1000.slice\n\
             1:name=systemd:/user.slice/session-1.scope\n",
            "31 25 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
             33 31 0:29 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,name=systemd\n\
             36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct\n\
             37 31 0:34 / /sys/fs/cgroup/memory rw shared:16 - cgroup cgroup rw,memory\n\
             38 31 0:35 / /sys/fs/cgroup/pids rw shared:17 - cgroup cgroup rw,pids\n",
            "V1 [memory] /sys/fs/cgroup/memory/user.slice\n\
             V1 [cpu,cpuacct] /sys/fs/cgroup/cpu,cpuacct/user.slice\n\
             V1 [pids] /sys/fs/cgroup/pids/user.slice/user-1000.slice\n\
             V1 [name=systemd] /sys/fs/cgroup/systemd/user.slice/session-1.scope\n",
        );
    }

    #[test]
    fn hybrid_has_version_2_last() {
        check(
            "0::/\n9:pids:/\n4:memory:/a b\n",
            "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
             36 31 0:33 / /sys/fs/cgroup/mem\\040ory rw - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            "V1 [pids] /sys/fs/cgroup/pids\n\
             V1 [memory] /sys/fs/cgroup/mem ory/a b\n\
             V2 [] /sys/fs/cgroup/unified\n",
        );
    }

    #[test]
    fn a_container_of_version_1_sees_its_own_part() {
        check(
            "4:memory:/docker/abc\n3:pids:/docker/abc/inner\n",
            "900 899 0:33 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n\
             901 899 0:35 /docker/abc /sys/fs/cgroup/pids ro,nosuid - cgroup cgroup rw,pids\n",
            "V1 [memory] /sys/fs/cgroup/memory read-only\n\
             V1 [pids] /sys/fs/cgroup/pids/inner read-only\n",
        );
    }

    #[test]
    fn a_container_with_a_cgroup_namespace_is_at_the_top() {
        let own = "700 699 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate\n";
        check("0::/\n", own, "V2 [] /sys/fs/cgroup\n");
        // The mount is that of the host, which is above the root of the namespace: which of its directories is ours?
        let of_host = "700 699 0:26 /../../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        check("0::/\n", of_host, "V2 [] not seen below /sys/fs/cgroup\n");
        // With both, the one that shows us counts.
        check("0::/\n", &format!("{of_host}{}", own.replace("/sys/fs/cgroup", "/cg")), "V2 [] /cg\n");
    }

    #[test]
    fn a_process_outside_of_its_namespace_is_not_seen() {
        check(
            "0::/../other\n",
            "7 6 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
            "V2 [] not seen below /sys/fs/cgroup\n",
        );
    }

    #[test]
    fn what_is_not_mounted_is_not_there() {
        check("0::/\n4:memory:/\nnonsense\n", "7 6 0:26 / /proc rw - proc proc rw\nshort\n", "");
    }

    #[test]
    fn what_may_control_what() {
        let all =
            hierarchies("0::/\n9:pids:/\n", "1 1 0:1 / /p rw - cgroup c rw,pids\n1 1 0:2 / /u rw - cgroup2 c rw\n");
        let may = |controller| all.iter().map(|found| found.may_control(controller)).collect::<Vec<_>>();
        assert_eq!(may(Controller::Pids), [true, true]);
        assert_eq!(may(Controller::Memory), [false, true]);
    }
}
