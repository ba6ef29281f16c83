//! From what is wanted to what is done, in order: pure, printable, tested as text.
//!
//! The order matters in places, each noted where it does. All of it is done by pid 1 of the new process namespace.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::credentials::{ALL_CAPABILITIES, CONTAINER_CAPABILITIES};
use super::idmap::{Entered, Rung};
use super::seccomp::Purpose;
use super::{Input, Isolation, Mount, Rootfs, SandboxSpec, SecretBytes, Security, Ulimit, chroot};

/// The network a sandbox is started with, decided before the plan is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Connection {
    /// A network namespace with loopback only.
    None,
    /// A network namespace, which the executor hands over; it may not be connected yet.
    Joined,
    /// No network namespace.
    Host,
}

/// One thing to do on the way to the command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SetupStep {
    /// Becomes the parent of what the command leaves behind; before the plan is known, where there are no namespaces.
    AdoptOrphans,
    /// Opens a directory as the root file system, unmounted.
    OpenRoot(PathBuf),
    /// Puts an empty directory in the place of what is there.
    PlaceDirectory { target: PathBuf, mode: u32 },
    /// Puts a file in the place of what is there; one that must stay may be neither moved nor removed.
    PlaceFile { data: SecretBytes, target: PathBuf, mode: u32, uid: u32, gid: u32, must_stay: bool },
    /// Puts a file or directory of the builder's in the place of what is there, until the command has ended.
    PlaceTree { source: PathBuf, target: PathBuf },
    /// Makes a directory.
    Directory { path: PathBuf, mode: u32 },
    /// Tries whether a device can be written.
    TryDevice(PathBuf),
    /// Makes the opened root the root of the process.
    Chroot,
    /// Refuses what needs mounts.
    Refuse { target: PathBuf, why: &'static str },
    /// Loads the system call filter if this process has the right to.
    OfferedFilter,
    /// Leaves the namespaces of the builder, most of them before the plan is known; that of cgroups only with `cgroup`.
    Enter { cgroup: bool },
    /// Leaves the builder's network namespace for one with a loopback device and nothing else.
    OwnNetwork,
    /// Enters the network namespace that the executor hands over.
    JoinNetwork,
    /// Waits until the executor says that the network is connected.
    AwaitNetwork,
    /// Keeps mounts of this namespace from spreading, and mounts elsewhere from arriving.
    PrivateMounts,
    /// Mounts a directory as the root file system (not yet at `/`).
    RootDirectory(PathBuf),
    /// Mounts the root file system (not yet at `/`).
    Root { lowers: Vec<PathBuf>, upper: PathBuf, work: PathBuf, userxattr: bool },
    /// Mounts a new file system.
    Filesystem { kind: &'static str, target: PathBuf, options: Vec<(&'static str, String)>, limits: Limits },
    /// Makes a device node.
    Node { path: PathBuf, major: u32, minor: u32 },
    /// Makes a symbolic link.
    Link { path: PathBuf, text: &'static str },
    /// Mounts `/dev`: a new file system with device nodes (name, major and minor number) and links (name and text).
    Devices {
        nodes: &'static [(&'static str, u32, u32)],
        links: &'static [(&'static str, &'static str)],
        limits: Limits,
    },
    /// Mounts something that exists.
    Bind { source: PathBuf, subpath: PathBuf, target: PathBuf, limits: Limits },
    /// Mounts a stack of layers; if writable, with memory for the writes.
    Layers { lowers: Vec<PathBuf>, subpath: PathBuf, target: PathBuf, readonly: bool, userxattr: bool },
    /// Mounts a stack of layers with a directory that takes the writes; again where the same one was mounted already.
    Overlay { lowers: Vec<PathBuf>, upper: PathBuf, work: PathBuf, target: PathBuf, readonly: bool, userxattr: bool },
    /// Mounts a read-only file of memory.
    File { data: SecretBytes, target: PathBuf, mode: u32, uid: u32, gid: u32 },
    /// Mounts a listening socket and hands it to the executor.
    Socket { source: PathBuf, target: PathBuf, mode: u32, uid: u32, gid: u32 },
    /// Hides what is there, if something is.
    Mask { path: PathBuf },
    /// Makes what is there read-only, if something is.
    ReadOnly { path: PathBuf },
    /// Sets the host name.
    Hostname(String),
    /// Makes the mounted root the root of the process, and drops the old one.
    Pivot,
    /// Enters the working directory, making it first if it is missing.
    WorkingDirectory(PathBuf),
    /// Tells the executor that everything is mounted, and what was created for it.
    TellMounted,
    /// Enters the user namespace that the executor hands over, in which emulators are registered.
    JoinEmulator,
    /// Enters the cgroups that the executor hands over, and if there are namespaces makes them the root of what the
    /// process sees of cgroups.
    EnterCgroups { namespace: bool },
    /// Leaves the keyring of the builder's session.
    SessionKeyring,
    /// Leaves the session of the builder.
    Session,
    /// Sets umask and the usual resource limits.
    ProcessDefaults,
    /// Sets a resource limit.
    Ulimit(Ulimit),
    /// Gives standard output and error to the user, and nothing to standard input.
    StandardStreams { uid: u32, input: Input },
    /// Loads the system call filter, and hands what it asks on to the supervisor.
    SystemCallFilter(Purpose),
    /// Drops all other capabilities from the bounding set.
    BoundCapabilities(u64),
    /// Sets user and groups.
    Identity { uid: u32, gid: u32, groups: Vec<u32> },
    /// Keeps these capabilities (root only; others have none).
    Capabilities(u64),
    /// Asks the kernel to kill this process when the supervisor dies.
    DieWithSupervisor,
    /// Marks every descriptor but the standard ones to be closed by exec.
    CloseDescriptors,
    /// Becomes the command.
    Execute { argv: Vec<String>, env: Vec<(String, String)> },
}

/// What a mount refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    pub(super) readonly: bool,
    pub(super) nosuid: bool,
    pub(super) nodev: bool,
    pub(super) noexec: bool,
}

const NOTHING: Limits = Limits { readonly: false, nosuid: false, nodev: false, noexec: false };
const NODEV: Limits = Limits { nodev: true, ..NOTHING };
const NOSUID_NOEXEC: Limits = Limits { nosuid: true, noexec: true, ..NOTHING };
const PSEUDO: Limits = Limits { nosuid: true, nodev: true, noexec: true, ..NOTHING };
const PSEUDO_READONLY: Limits = Limits { readonly: true, ..PSEUDO };

/// Name and device number of what is in `/dev`, after the Open Container Initiative's runtime specification.
pub(super) const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
pub(super) const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Kernel state of the host that `/proc` and `/sys` would show, as container runtimes hide it.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The size of `/dev/shm`, as container runtimes have it.
const SHM_SIZE: &str = "65536k";

/// Returns what to do for `spec`. `emulated` says that the command needs the emulators of [`super::emulator`].
pub(super) fn plan(spec: &SandboxSpec, connection: Connection, emulated: bool) -> Vec<SetupStep> {
    if spec.isolation == Isolation::Chroot {
        let mut steps = chroot::setup(spec);
        process(spec, Connection::Host, false, &mut steps);
        return steps;
    }
    let own_network = connection != Connection::Host;
    let confined = spec.security == Security::Sandbox;
    let mut steps = vec![SetupStep::Enter { cgroup: !spec.limits.need_cgroup() }];
    // Before `/sys` is mounted, which shows the network namespace of whoever mounts it.
    match connection {
        Connection::Host => {}
        Connection::None => steps.push(SetupStep::OwnNetwork),
        Connection::Joined => steps.push(SetupStep::JoinNetwork),
    }
    steps.push(SetupStep::PrivateMounts);
    steps.push(root(&spec.rootfs));
    standard_mounts(spec, own_network, &mut steps);
    steps.extend(mounts_in_order(&spec.mounts).into_iter().map(|mount| mount_step(mount, spec.rootfs.userxattr)));
    if confined {
        // After the mounts of the step, so that none of them uncovers a masked path.
        steps.extend(MASKED.map(|path| SetupStep::Mask { path: path.into() }));
        steps.extend(READ_ONLY.map(|path| SetupStep::ReadOnly { path: path.into() }));
    }
    steps.push(SetupStep::Hostname(spec.hostname.clone()));
    steps.push(SetupStep::Pivot);
    steps.push(SetupStep::WorkingDirectory(spec.cwd.clone()));
    steps.push(SetupStep::TellMounted);
    process(spec, connection, emulated, &mut steps);
    steps
}

fn root(rootfs: &Rootfs) -> SetupStep {
    let Rootfs { lowers, upper, work, userxattr } = rootfs.clone();
    if lowers.is_empty() { SetupStep::RootDirectory(upper) } else { SetupStep::Root { lowers, upper, work, userxattr } }
}

fn process(spec: &SandboxSpec, connection: Connection, emulated: bool, steps: &mut Vec<SetupStep>) {
    let confined = spec.security == Security::Sandbox;
    let capabilities = match (confined, spec.isolation) {
        (false, _) => ALL_CAPABILITIES,
        (true, Isolation::Namespaces) => CONTAINER_CAPABILITIES,
        (true, Isolation::Chroot) => chroot::CAPABILITIES,
    };
    // Before the filter, which refuses keyctl.
    steps.extend([SetupStep::SessionKeyring, SetupStep::Session, SetupStep::ProcessDefaults]);
    // Everything is mounted and named; from here on only rights over this process itself are needed.
    if emulated {
        steps.push(SetupStep::JoinEmulator);
    }
    // Everything is mounted, which the step is not to pay for.
    if spec.limits.need_cgroup() {
        steps.push(SetupStep::EnterCgroups { namespace: spec.isolation == Isolation::Namespaces });
    }
    let uid = if spec.single_id { 0 } else { spec.user.uid };
    steps.push(SetupStep::StandardStreams { uid, input: spec.input });
    if confined || spec.single_id {
        // Before the capabilities go: without no_new_privs loading needs CAP_SYS_ADMIN. That stays off for every step, as with
        // BuildKit: sudo, su and ping need it so, which programs a step runs is not known, and what set-id files of the image
        // may give is in the bounding set already.
        steps.push(match spec.isolation {
            Isolation::Namespaces => SetupStep::SystemCallFilter(Purpose { confined, single_id: spec.single_id }),
            Isolation::Chroot => SetupStep::OfferedFilter,
        });
    }
    // Late, as they bind this process too, but before the right to raise them is gone.
    steps.extend(spec.limits.ulimits.iter().cloned().map(SetupStep::Ulimit));
    steps.push(SetupStep::BoundCapabilities(capabilities));
    if spec.single_id {
        // The supervisor knows who it is to be; the kernel knows one user only, who may become any other.
        steps.push(SetupStep::Capabilities(capabilities));
    } else {
        let groups = spec.user.additional_gids.clone();
        steps.push(SetupStep::Identity { uid: spec.user.uid, gid: spec.user.gid, groups });
        steps.push(SetupStep::Capabilities(if spec.user.uid == 0 { capabilities } else { 0 }));
    }
    // After the identity: the kernel forgets the wish when credentials change.
    steps.push(SetupStep::DieWithSupervisor);
    if connection == Connection::Joined {
        // At the very end: it takes longer than all the rest.
        steps.push(SetupStep::AwaitNetwork);
    }
    steps.push(SetupStep::CloseDescriptors);
    steps.push(SetupStep::Execute { argv: spec.argv.clone(), env: spec.env.clone() });
}

fn standard_mounts(spec: &SandboxSpec, own_network: bool, steps: &mut Vec<SetupStep>) {
    let user_namespace = spec.rootfs.userxattr;
    steps.push(processes());
    let sys = if spec.security == Security::Sandbox { PSEUDO_READONLY } else { PSEUDO };
    if user_namespace && !own_network {
        // A user namespace may mount sysfs only together with a network namespace of its own.
        steps.push(bind(Path::new("/sys"), "/sys", PSEUDO_READONLY));
        steps.push(SetupStep::Mask { path: "/sys/fs/cgroup".into() });
    } else {
        steps.push(filesystem("sysfs", "/sys", &[], sys));
    }
    steps.push(devices(user_namespace));
    if user_namespace {
        steps.extend(NODES.map(|(name, ..)| {
            let path = Path::new("/dev").join(name);
            bind(&path, &path.to_string_lossy(), NOSUID_NOEXEC)
        }));
    }
    let shm_size = spec.limits.shm_size.map_or_else(|| SHM_SIZE.to_owned(), |bytes| bytes.to_string());
    steps.extend(below_devices(&shm_size, spec.single_id));
    for (text, target) in [(&spec.hosts, "/etc/hosts"), (&spec.resolv_conf, "/etc/resolv.conf")] {
        if let Some(text) = text {
            let data = SecretBytes(text.clone().into_bytes());
            steps.push(SetupStep::File { data, target: target.into(), mode: 0o644, uid: 0, gid: 0 });
        }
    }
}

/// The new file systems that every sandbox has, whatever is run in it. (`/sys` is not among them: it shows the network
/// namespace it was mounted in.)
pub(super) fn foreseen(here: Entered) -> impl Iterator<Item = SetupStep> {
    let single_id = here.rung == Rung::SingleId;
    [processes(), devices(here.user_namespace)].into_iter().chain(below_devices(SHM_SIZE, single_id))
}

fn processes() -> SetupStep {
    filesystem("proc", "/proc", &[], PSEUDO)
}

/// In a user namespace nodes cannot be made, and are bound from the host.
fn devices(user_namespace: bool) -> SetupStep {
    let nodes: &[_] = if user_namespace { &[] } else { &NODES };
    SetupStep::Devices { nodes, links: &LINKS, limits: NOSUID_NOEXEC }
}

fn below_devices(shm_size: &str, single_id: bool) -> [SetupStep; 3] {
    // The group `tty` is 5 everywhere; the kernel refuses a group that it has no number for.
    let pts = [("mode", "0620"), ("ptmxmode", "0666"), ("gid", "5")];
    let pts = if single_id { &pts[..2] } else { &pts[..] };
    [
        filesystem("devpts", "/dev/pts", pts, NOSUID_NOEXEC),
        filesystem("tmpfs", "/dev/shm", &[("mode", "1777"), ("size", shm_size)], PSEUDO),
        filesystem("mqueue", "/dev/mqueue", &[], PSEUDO),
    ]
}

fn filesystem(kind: &'static str, target: &str, options: &[(&'static str, &str)], limits: Limits) -> SetupStep {
    let options = options.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    SetupStep::Filesystem { kind, target: target.into(), options, limits }
}

fn bind(source: &Path, target: &str, limits: Limits) -> SetupStep {
    SetupStep::Bind { source: source.to_owned(), subpath: PathBuf::new(), target: target.into(), limits }
}

/// Parents first; of several with one target the last.
pub(super) fn mounts_in_order(mounts: &[Mount]) -> Vec<&Mount> {
    let mut chosen: Vec<&Mount> = Vec::new();
    for mount in mounts {
        chosen.retain(|other| other.target() != mount.target());
        chosen.push(mount);
    }
    chosen.sort_by_key(|mount| mount.target().components().count());
    chosen
}

fn mount_step(mount: &Mount, userxattr: bool) -> SetupStep {
    match mount.clone() {
        Mount::Bind { source, subpath, target, readonly } => {
            SetupStep::Bind { source, subpath, target, limits: Limits { readonly, ..NODEV } }
        }
        Mount::Device { source, target } => {
            SetupStep::Bind { source, subpath: PathBuf::new(), target, limits: NOSUID_NOEXEC }
        }
        Mount::Layers { lowers, subpath, target, readonly } => {
            SetupStep::Layers { lowers, subpath, target, readonly, userxattr }
        }
        Mount::Overlay { lowers, upper, work, target, readonly } => {
            SetupStep::Overlay { lowers, upper, work, target, readonly, userxattr }
        }
        Mount::Tmpfs { target, size, mode, readonly } => {
            let size = size.map(|bytes| ("size", bytes.to_string()));
            let options = size.into_iter().chain([("mode", format!("{mode:04o}"))]).collect();
            // Programs are built and run in there, so exec stays.
            SetupStep::Filesystem { kind: "tmpfs", target, options, limits: Limits { readonly, nosuid: true, ..NODEV } }
        }
        Mount::Secret { data, target, mode, uid, gid } => SetupStep::File { data, target, mode, uid, gid },
        Mount::Socket { source, target, mode, uid, gid } => SetupStep::Socket { source, target, mode, uid, gid },
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.readonly, "ro"), (self.nosuid, "nosuid"), (self.nodev, "nodev"), (self.noexec, "noexec")];
        let words: Vec<_> = words.into_iter().filter_map(|(set, word)| set.then_some(word)).collect();
        f.write_str(if words.is_empty() { "-" } else { "" })?;
        f.write_str(&words.join(","))
    }
}

/// One line each, without the bytes of secrets and without the environment.
impl fmt::Display for SetupStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AdoptOrphans => f.write_str("adopt orphans"),
            Self::OpenRoot(path) => write!(f, "open {} as root", path.display()),
            Self::PlaceDirectory { target, mode } => write!(f, "place a directory at {} {mode:04o}", target.display()),
            Self::PlaceFile { data, target, mode, uid, gid, must_stay } => {
                let stays = if *must_stay { " which must stay" } else { "" };
                let (length, target) = (data.0.len(), target.display());
                write!(f, "place a file of {length} bytes at {target} {mode:04o} {uid}:{gid}{stays}")
            }
            Self::PlaceTree { source, target } => write!(f, "place {} at {}", source.display(), target.display()),
            Self::Directory { path, mode } => write!(f, "make directory {} {mode:04o}", path.display()),
            Self::TryDevice(path) => write!(f, "try device {}", path.display()),
            Self::Chroot => f.write_str("change the root directory"),
            Self::Refuse { target, why } => write!(f, "mount on {} without namespaces: {why}", target.display()),
            Self::OfferedFilter => f.write_str("load the system call filter if that is allowed"),
            Self::Enter { cgroup } => {
                write!(f, "enter new namespaces: mount pid ipc uts{}", if *cgroup { " cgroup" } else { "" })
            }
            Self::OwnNetwork => f.write_str("enter a new network namespace"),
            Self::JoinNetwork => f.write_str("join the network namespace"),
            Self::AwaitNetwork => f.write_str("wait for the network"),
            Self::PrivateMounts => f.write_str("make mounts private"),
            Self::RootDirectory(path) => write!(f, "mount {} as root", path.display()),
            Self::Root { lowers, upper, work, userxattr } => {
                let xattr = if *userxattr { " userxattr" } else { "" };
                let (upper, work) = (upper.display(), work.display());
                write!(f, "mount overlay as root: {} lowers, upper {upper}, work {work}{xattr}", lowers.len())
            }
            Self::Filesystem { kind, target, options, limits } => {
                write!(f, "mount {kind} on {} [{limits}]", target.display())?;
                options.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
            }
            Self::Node { path, major, minor } => write!(f, "make device {} {major}:{minor}", path.display()),
            Self::Link { path, text } => write!(f, "link {} -> {text}", path.display()),
            Self::Devices { nodes, links, limits } => {
                write!(f, "mount devices on /dev [{limits}]")?;
                nodes.iter().try_for_each(|(name, major, minor)| write!(f, " {name}={major}:{minor}"))?;
                links.iter().try_for_each(|(name, text)| write!(f, " {name}->{text}"))
            }
            Self::Bind { source, subpath, target, limits } => {
                write!(f, "bind {} {} on {} [{limits}]", source.display(), shown(subpath), target.display())
            }
            Self::Layers { lowers, subpath, target, readonly, .. } => {
                let how = if *readonly { "ro" } else { "writes to memory" };
                write!(f, "mount {} layers {} on {} [{how}]", lowers.len(), shown(subpath), target.display())
            }
            Self::Overlay { lowers, upper, target, readonly, .. } => {
                let how = if *readonly { "ro" } else { "rw" };
                write!(f, "mount {} layers and {} on {} [{how}]", lowers.len(), upper.display(), target.display())
            }
            Self::File { data, target, mode, uid, gid } => {
                write!(f, "mount a file of {} bytes on {} {mode:04o} {uid}:{gid}", data.0.len(), target.display())
            }
            Self::Socket { source, target, mode, uid, gid } => {
                write!(f, "mount a socket to {} on {} {mode:04o} {uid}:{gid}", source.display(), target.display())
            }
            Self::Mask { path } => write!(f, "mask {}", path.display()),
            Self::ReadOnly { path } => write!(f, "make {} read-only", path.display()),
            Self::Hostname(name) => write!(f, "set hostname {name}"),
            Self::Pivot => f.write_str("pivot to the root"),
            Self::WorkingDirectory(path) => write!(f, "enter {}", path.display()),
            Self::TellMounted => f.write_str("tell what was created"),
            Self::JoinEmulator => f.write_str("join the user namespace of the emulators"),
            Self::EnterCgroups { namespace } => {
                let sees = if *namespace { ", and see no others" } else { "" };
                write!(f, "enter the cgroups of the step{sees}")
            }
            Self::SessionKeyring => f.write_str("join a new session keyring"),
            Self::Session => f.write_str("start a session"),
            Self::ProcessDefaults => f.write_str("set umask 0022, limits, signals"),
            Self::Ulimit(limit) => write!(f, "set --ulimit {limit}"),
            Self::StandardStreams { uid, input: Input::Terminal { rows, columns } } => {
                write!(f, "open a terminal of {columns}x{rows} for {uid}")
            }
            Self::StandardStreams { uid, input } => {
                let given = if *input == Input::Given { ", the input included," } else { "" };
                write!(f, "give standard streams{given} to {uid}")
            }
            Self::SystemCallFilter(Purpose { confined, single_id }) => {
                let asks = if *single_id { " that asks about ids" } else { "" };
                let refuses = if *confined { "" } else { " that refuses nothing" };
                write!(f, "load the system call filter{asks}{refuses}")
            }
            Self::BoundCapabilities(set) => write!(f, "bound capabilities {set:016x}"),
            Self::Identity { uid, gid, groups } => write!(f, "become {uid}:{gid} {groups:?}"),
            Self::Capabilities(set) => write!(f, "keep capabilities {set:016x}"),
            Self::DieWithSupervisor => f.write_str("die with the supervisor"),
            Self::CloseDescriptors => f.write_str("close descriptors on exec"),
            Self::Execute { argv, .. } => write!(f, "execute {argv:?}"),
        }
    }
}

fn shown(subpath: &Path) -> std::path::Display<'_> {
    if subpath.as_os_str().is_empty() { Path::new("/").display() } else { subpath.display() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Network, ProcessUser, ResourceLimits};

    fn spec() -> SandboxSpec {
        SandboxSpec {
            rootfs: Rootfs {
                lowers: vec!["/s/empty".into(), "/s/base".into()],
                upper: "/s/upper".into(),
                work: "/s/work".into(),
                userxattr: false,
            },
            single_id: false,
            mounts: Vec::new(),
            argv: ["/bin/sh", "-c", "make"].map(str::to_owned).to_vec(),
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            cwd: "/src".into(),
            user: ProcessUser::default(),
            hostname: "buildkitsandbox".to_owned(),
            network: Network::Default,
            security: Security::Sandbox,
            isolation: Isolation::Namespaces,
            hosts: Some("127.0.0.1 localhost\n".to_owned()),
            resolv_conf: Some(String::new()),
            limits: ResourceLimits::default(),
            input: crate::sandbox::Input::default(),
        }
    }

    /// Compares with `testdata/sandbox/<name>.txt`; `UPDATE=1` writes it.
    #[track_caller]
    #[allow(clippy::disallowed_methods)]
    fn check(name: &str, spec: &SandboxSpec, connection: Connection, emulated: bool) {
        let text: String = plan(spec, connection, emulated).iter().map(|step| format!("{step}\n")).collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sandbox").join(format!("{name}.txt"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
    }

    #[test]
    fn plan_of_root() {
        check("root", &spec(), Connection::Joined, false);
    }

    #[test]
    fn plan_in_a_user_namespace_with_the_hosts_network() {
        let mut spec = spec();
        spec.rootfs.userxattr = true;
        spec.user = ProcessUser { uid: 1000, gid: 1000, additional_gids: vec![7] };
        check("user-namespace", &spec, Connection::Host, false);
    }

    #[test]
    fn plan_of_a_private_copy() {
        let mut spec = spec();
        spec.rootfs.lowers.clear();
        check("copy", &spec, Connection::None, false);
    }

    #[test]
    fn plan_with_a_single_id() {
        let mut spec = spec();
        spec.rootfs.userxattr = true;
        spec.single_id = true;
        spec.user = ProcessUser { uid: 1000, gid: 1000, additional_gids: vec![7] };
        check("single-id", &spec, Connection::Host, false);
    }

    #[test]
    fn plan_without_namespaces() {
        let mut spec = spec();
        spec.rootfs.lowers.clear();
        spec.isolation = Isolation::Chroot;
        let (data, target) = (SecretBytes(b"hush".to_vec()), "/run/secrets/s".into());
        spec.mounts = vec![
            Mount::Bind { source: "/cache".into(), subpath: "".into(), target: "/a/b".into(), readonly: false },
            Mount::Tmpfs { target: "/t".into(), size: None, mode: 0o1777, readonly: false },
            Mount::Secret { data, target, mode: 0o400, uid: 1, gid: 2 },
            Mount::Socket { source: "/agent".into(), target: "/run/ssh".into(), mode: 0o600, uid: 0, gid: 0 },
        ];
        check("chroot", &spec, Connection::Host, false);
    }

    #[test]
    fn plan_with_an_emulator() {
        check("emulated", &spec(), Connection::Joined, true);
    }

    #[test]
    fn plan_without_confinement() {
        let mut spec = spec();
        spec.security = Security::Insecure;
        check("insecure", &spec, Connection::None, false);
    }

    #[test]
    fn plan_with_limits() {
        let mut spec = spec();
        let ulimit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
        spec.limits = ResourceLimits {
            memory: Some(64 << 20),
            ulimits: vec![ulimit("nofile", Some(100), Some(200)), ulimit("core", None, None)],
            shm_size: Some(1 << 20),
            ..ResourceLimits::default()
        };
        check("limits", &spec, Connection::Joined, false);
    }

    #[test]
    fn plan_of_mounts_parents_first_and_the_last_of_equals() {
        let mut spec = spec();
        let tmpfs = |target: &str, size| Mount::Tmpfs { target: target.into(), size, mode: 0o1777, readonly: false };
        let data = SecretBytes(b"hush".to_vec());
        spec.mounts = vec![
            tmpfs("/a/b/c", None),
            tmpfs("/a", Some(1)),
            tmpfs("/a", Some(2)),
            Mount::Bind { source: "/h".into(), subpath: "x".into(), target: "/a/b".into(), readonly: true },
            Mount::Layers { lowers: vec!["/l".into()], subpath: "".into(), target: "/l".into(), readonly: false },
            Mount::Overlay {
                lowers: vec!["/l".into(), "/m".into()],
                upper: "/u".into(),
                work: "/w".into(),
                target: "/o".into(),
                readonly: false,
            },
            Mount::Secret { data, target: "/run/secrets/s".into(), mode: 0o400, uid: 1, gid: 2 },
            Mount::Socket { source: "/agent".into(), target: "/run/ssh".into(), mode: 0o600, uid: 0, gid: 0 },
        ];
        check("mounts", &spec, Connection::None, false);
    }
}
