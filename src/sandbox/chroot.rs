//! The plan where there are no namespaces and no mounts: another root directory, fewer rights, and what a step is to see
//! put in its place and taken away again.
//!
//! What this is not: isolation. The command sees the processes, the network and the host name of the machine, and root can
//! do to them what the capabilities it keeps allow. There is no `/proc` and no `/sys`. Read-only mounts can be written (and
//! what is written is forgotten). The processes it leaves behind are killed as children of the supervisor, unless it kills
//! the supervisor first.

use std::path::{Path, PathBuf};

use super::credentials::CONTAINER_CAPABILITIES;
use super::plan::{LINKS, NODES, SetupStep, mounts_in_order};
use super::{Mount, SandboxSpec, SecretBytes};

/// SYS_CHROOT leads out of a root directory, and MKNOD to the disks: nothing else stands in their way here.
pub(super) const CAPABILITIES: u64 = CONTAINER_CAPABILITIES & !(1 << 18 | 1 << 27);

/// Returns what to do up to the process itself.
pub(super) fn setup(spec: &SandboxSpec) -> Vec<SetupStep> {
    let mut steps = vec![SetupStep::AdoptOrphans, SetupStep::OpenRoot(spec.rootfs.upper.clone())];
    let empty = |target: &str, mode| SetupStep::PlaceDirectory { target: target.into(), mode };
    steps.extend(["/proc", "/sys", "/dev"].map(|target| empty(target, 0o755)));
    let in_dev = |name| Path::new("/dev").join(name);
    steps.extend(NODES.map(|(name, major, minor)| SetupStep::Node { path: in_dev(name), major, minor }));
    steps.push(SetupStep::TryDevice(in_dev("null")));
    steps.extend(LINKS.map(|(name, text)| SetupStep::Link { path: in_dev(name), text }));
    steps.push(SetupStep::Directory { path: in_dev("shm"), mode: 0o1777 });
    for (text, target) in [(&spec.hosts, "/etc/hosts"), (&spec.resolv_conf, "/etc/resolv.conf")] {
        if let Some(text) = text {
            let data = SecretBytes(text.clone().into_bytes());
            let target = target.into();
            steps.push(SetupStep::PlaceFile { data, target, mode: 0o644, uid: 0, gid: 0, must_stay: false });
        }
    }
    steps.extend(mounts_in_order(&spec.mounts).into_iter().map(place));
    steps.extend([SetupStep::Chroot, SetupStep::WorkingDirectory(spec.cwd.clone()), SetupStep::TellMounted]);
    steps
}

fn place(mount: &Mount) -> SetupStep {
    match mount.clone() {
        Mount::Bind { source, subpath, target, .. } if subpath == Path::new("") => {
            SetupStep::PlaceTree { source, target }
        }
        Mount::Tmpfs { target, size: None, mode, .. } => SetupStep::PlaceDirectory { target, mode },
        Mount::Secret { data, target, mode, uid, gid } => {
            SetupStep::PlaceFile { data, target, mode, uid, gid, must_stay: true }
        }
        Mount::Device { target, .. } => refuse(target, "a device cannot be mounted"),
        Mount::Bind { target, .. } => refuse(target, "a part of a directory cannot be mounted"),
        Mount::Layers { target, .. } | Mount::Overlay { target, .. } => {
            refuse(target, "a stack of layers cannot be mounted")
        }
        Mount::Tmpfs { target, .. } => refuse(target, "a size cannot be enforced"),
        Mount::Socket { target, .. } => refuse(target, "a socket cannot be mounted"),
    }
}

fn refuse(target: PathBuf, why: &'static str) -> SetupStep {
    SetupStep::Refuse { target, why }
}
