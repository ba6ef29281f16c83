//! Why a limit cannot be had, and what to do.

use std::io;
use std::path::PathBuf;

/// Why the limit of `flag` cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No hierarchy has the controller.
    #[error("{flag} cannot be had here: no mounted cgroup hierarchy has the controller `{controller}`")]
    NoController {
        /// The flag.
        flag: &'static str,
        /// The kernel's name of the controller.
        controller: &'static str,
    },
    /// The hierarchy is mounted so that nothing can be made in it.
    #[error("{flag} cannot be had here: `{}` is mounted read-only", top.display())]
    ReadOnly {
        /// The flag.
        flag: &'static str,
        /// The mount.
        top: PathBuf,
    },
    /// What is mounted does not show the cgroup of this process.
    #[error("{flag} cannot be had here: the cgroup of kiln is not below `{}`", top.display())]
    NotSeen {
        /// The flag.
        flag: &'static str,
        /// The mount.
        top: PathBuf,
    },
    /// This user may not make cgroups there.
    #[error("{flag} cannot be had here: cannot make a cgroup in `{}`: {source}", directory.display())]
    Denied {
        /// The flag.
        flag: &'static str,
        /// Where it would be.
        directory: PathBuf,
        /// Whether it is of version 2, of which systemd gives parts to users.
        version_2: bool,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Version 2: the controller is not passed on this far.
    #[error("{flag} cannot be had here: the controller `{controller}` is not given to `{}`", directory.display())]
    NotDelegated {
        /// The flag.
        flag: &'static str,
        /// The kernel's name of the controller.
        controller: &'static str,
        /// The cgroup that lacks it.
        directory: PathBuf,
    },
    /// Version 2: a cgroup that holds processes has no limited cgroups below it.
    #[error("{flag} cannot be had here: the cgroup `{}` holds processes, and so cannot limit others below it", directory.display())]
    Occupied {
        /// The flag.
        flag: &'static str,
        /// The cgroup.
        directory: PathBuf,
    },
    /// The kernel has no such limit.
    #[error("{flag} cannot be had here: the kernel has no `{file}`")]
    NoFile {
        /// The flag.
        flag: &'static str,
        /// The name of the file.
        file: &'static str,
    },
    /// The kernel does not take the value.
    #[error("{flag} cannot be set: the kernel does not take `{value}` for {file}: {source}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What was written.
        value: String,
        /// The name of the file.
        file: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A name that is none.
    #[error("invalid cgroup `{0}` for --cgroup-parent: expected a path without `.` and `..`")]
    Parent(String),
    /// Something on the way failed.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// A verb phrase.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl CgroupError {
    /// Says what to do about it, a line each.
    pub fn help(&self) -> Vec<String> {
        match self {
            Self::NoController { controller, .. } => vec![format!(
                "mount it, or start the kernel with it (`cgroup_enable={controller}`); /proc/cgroups says what the kernel has"
            )],
            Self::ReadOnly { .. } => {
                vec!["in a container: give it cgroups it can write, or limit the container itself".to_owned()]
            }
            Self::NotSeen { .. } => vec!["name a cgroup that is: `--cgroup-parent PATH`".to_owned()],
            Self::Denied { directory, version_2, .. } => {
                let own = directory.join("NAME");
                let systemd = "with systemd: `systemd-run --user --scope -p Delegate=yes kiln build ...`";
                let given = format!(
                    "have it given to you, as root: `mkdir {0} && chown USER {0} {0}/cgroup.procs`; then `--cgroup-parent` \
                     with its path from the top",
                    own.display()
                );
                version_2.then(|| systemd.to_owned()).into_iter().chain([given]).collect()
            }
            Self::NotDelegated { controller, .. } => vec![format!(
                "systemd gives it to users with `Delegate={controller}` in /etc/systemd/system/user@.service.d/delegate.conf; \
                 without systemd, as root: `echo +{controller} > .../cgroup.subtree_control` from the top down"
            )],
            Self::Occupied { directory, .. } => vec![
                format!("move its processes into a cgroup below it, for example `{}/init`", directory.display()),
                "or name an empty cgroup: `--cgroup-parent PATH`".to_owned(),
            ],
            Self::NoFile { file, .. } if file.contains("sw") => {
                vec!["leave it out, or start the kernel with `swapaccount=1`".to_owned()]
            }
            Self::Value { file, .. } if file.starts_with("cpuset.") => {
                vec!["name what this machine and the cgroup around have: see `lscpu`".to_owned()]
            }
            Self::NoFile { .. } | Self::Value { .. } | Self::Parent(_) | Self::Io { .. } => Vec::new(),
        }
    }
}
