//! Doing the steps of a plan: a flat match, a few system calls each.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{self, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{Resource, Rlimit, Signal};

use super::Input;
use super::cover::Thing;
use super::mounts::{self, Files, Writable};
use super::plan::{Limits, SetupStep};
use super::seccomp::{self, Purpose};
use super::stock::Stock;
use super::target::{Links, PlaceKind, Root};
use super::wire::{self, Report};
use super::{ProcessUser, SandboxSpec, credentials, ids, system, ulimit};
use crate::fsutil::Owners;

/// Why a step was not done.
pub(super) struct Refused {
    pub(super) errno: Errno,
    pub(super) path: Option<PathBuf>,
    /// What the kernel means, where its answer alone does not tell.
    pub(super) meaning: Option<&'static str>,
}

impl Refused {
    /// The kernel answers `EINVAL` when an id has no number in the user namespace.
    fn of_ids(errno: Errno) -> Self {
        let meaning = "the user or group id is not mapped here: the range in /etc/subuid or /etc/subgid is too small";
        Self { meaning: (errno == Errno::INVAL).then_some(meaning), ..errno.into() }
    }

    /// The kernel answers `EPERM` when a hard limit is to be raised without the right to it.
    fn of_ulimit(errno: Errno) -> Self {
        let meaning = "the hard limit is above the one that kiln was started with, and only root with CAP_SYS_RESOURCE may \
                       raise that: see `ulimit -H -a`";
        Self { meaning: (errno == Errno::PERM).then_some(meaning), ..errno.into() }
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self { errno, path: None, meaning: None }
    }
}

impl From<nix::errno::Errno> for Refused {
    fn from(errno: nix::errno::Errno) -> Self {
        Errno::from_raw_os_error(errno as i32).into()
    }
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Errno::from_io_error(&error).unwrap_or(Errno::IO).into()
    }
}

fn at(path: &Path) -> impl Fn(Errno) -> Refused {
    move |errno| Refused { path: Some(path.to_owned()), ..errno.into() }
}

type Done = Result<(), Refused>;

/// What the steps have made so far.
pub(super) struct Sandbox {
    socket: UnixStream,
    /// Set by `Root`.
    root: Option<Root>,
    /// A directory of the builder's that sources of mounts are staged on.
    staging: PathBuf,
    files: Option<Files>,
    /// Overlays whose writes are kept, by the directories that take them.
    kept: BTreeMap<PathBuf, OwnedFd>,
    stock: Stock,
    owners: Owners,
    /// Where the supervisor is handed what the filter asks on, and for whom.
    supervisor: UnixStream,
    user: ProcessUser,
}

impl Sandbox {
    pub(super) fn new(socket: UnixStream, spec: &SandboxSpec, stock: Stock, supervisor: UnixStream) -> Self {
        let owners = if spec.single_id { Owners::Noted } else { Owners::Real };
        let (staging, user) = (spec.rootfs.work.clone(), spec.user.clone());
        Self { socket, root: None, staging, files: None, kept: BTreeMap::new(), stock, owners, supervisor, user }
    }

    pub(super) fn socket(&mut self) -> &mut UnixStream {
        &mut self.socket
    }

    fn root(&mut self) -> Result<&mut Root, Refused> {
        // Before the root is there no plan has a step that needs it.
        self.root.as_mut().ok_or(Refused::from(Errno::NOENT))
    }

    /// Does one step.
    pub(super) fn apply(&mut self, step: &SetupStep) -> Done {
        match step {
            // Done by the supervisor, before the plan was known.
            SetupStep::AdoptOrphans | SetupStep::Enter { cgroup: false } => Ok(()),
            // The others were left before the plan was known.
            SetupStep::Enter { cgroup: true } => Ok(nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP)?),
            SetupStep::OwnNetwork => match self.stock.network.take() {
                Some(made) => Ok(nix::sched::setns(made, CloneFlags::CLONE_NEWNET)?),
                None => leave_network(),
            },
            SetupStep::OpenRoot(path) => {
                self.root = Some(Root::new(mounts::open_directory(path).map_err(at(path))?));
                Ok(())
            }
            SetupStep::PlaceDirectory { target, mode } => self.cover(target, &Thing::Directory { mode: *mode }),
            SetupStep::PlaceFile { data, target, mode, uid, gid, must_stay } => {
                let (mode, uid, gid, must_stay) = (*mode, *uid, *gid, *must_stay);
                self.cover(target, &Thing::File { data: &data.0, mode, uid, gid, must_stay })
            }
            SetupStep::PlaceTree { source, target } => self.cover(target, &Thing::Own(source)),
            SetupStep::Directory { path, mode } => {
                let (dir, name) = self.parent(path)?;
                fs::mkdirat(&dir, name, Mode::from_raw_mode(*mode)).map_err(at(path))
            }
            SetupStep::TryDevice(path) => self.try_device(path),
            SetupStep::Chroot => {
                rustix::process::fchdir(&*self.root()?)?;
                rustix::process::chroot(".")?;
                Ok(rustix::process::chdir("/")?)
            }
            SetupStep::Refuse { target, .. } => Err(at(target)(Errno::OPNOTSUPP)),
            SetupStep::OfferedFilter => {
                match system::load_filter(&seccomp::filter(Purpose { confined: true, single_id: false })) {
                    // Without CAP_SYS_ADMIN only no_new_privs would allow it, which would break sudo.
                    Err(Errno::ACCESS | Errno::PERM | Errno::NOSYS | Errno::INVAL) => Ok(()),
                    other => Ok(other?),
                }
            }
            SetupStep::JoinNetwork => {
                let namespace = self.received()?;
                Ok(nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET)?)
            }
            SetupStep::AwaitNetwork => match wire::receive_with_note(&self.socket)? {
                (wire::CONNECTED, _) => Ok(()),
                // The executor has gone, or has given up.
                _ => Err(Errno::PIPE.into()),
            },
            SetupStep::PrivateMounts => {
                let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                Ok(mount_change("/", private)?)
            }
            SetupStep::RootDirectory(path) => {
                let tree = mounts::open_directory(path).map_err(at(path))?;
                self.stage_root(mounts::clone(tree, NODEV).map_err(at(path))?, path)
            }
            SetupStep::Root { lowers, upper, work, userxattr } => self.mount_root(lowers, upper, work, *userxattr),
            SetupStep::Filesystem { target, .. } => self.mount_new(step, target),
            SetupStep::Node { path, major, minor } => self.make_node(path, *major, *minor),
            SetupStep::Link { path, text } => {
                let (dir, name) = self.parent(path)?;
                Ok(fs::symlinkat(*text, dir, name)?)
            }
            SetupStep::Devices { .. } => self.mount_new(step, Path::new("/dev")),
            SetupStep::Bind { source, subpath, target, limits } => self.bind(source, subpath, target, *limits),
            SetupStep::Layers { lowers, subpath, target, readonly, userxattr } => {
                self.mount_layers(lowers, subpath, target, *readonly, *userxattr)
            }
            SetupStep::Overlay { lowers, upper, work, target, readonly, userxattr } => {
                self.keep_overlay(lowers, (upper, work), *userxattr)?;
                let kept = self.kept.get(upper).ok_or(Refused::from(Errno::NOENT))?;
                let mount = mounts::clone(kept, Limits { readonly: *readonly, ..NODEV })?;
                self.attach(mount, target, PlaceKind::Directory, Links::Followed)
            }
            SetupStep::File { data, target, mode, uid, gid } => {
                let file = self.files()?.write(&data.0, *mode, *uid, *gid).map_err(Refused::of_ids)?;
                // One whose mode says that it is a program may be run.
                let limits = Limits { noexec: *mode & 0o111 == 0, ..FILE };
                self.attach(mounts::clone(file, limits)?, target, PlaceKind::File, Links::Followed)
            }
            SetupStep::Socket { source, target, mode, uid, gid } => {
                let (listener, place) = self.files()?.listen(*mode, *uid, *gid).map_err(Refused::of_ids)?;
                self.attach(mounts::clone(place, SOCKET)?, target, PlaceKind::File, Links::Followed)?;
                let report = Report::Listening { source: source.clone() };
                Ok(wire::send_with_descriptors(&self.socket, &report, &[listener.as_raw_fd()])?)
            }
            SetupStep::Mask { path } => self.mask(path),
            SetupStep::ReadOnly { path } => self.make_readonly(path),
            SetupStep::Hostname(name) => Ok(nix::unistd::sethostname(name)?),
            SetupStep::Pivot => self.pivot(),
            SetupStep::WorkingDirectory(path) => self.enter(path),
            SetupStep::TellMounted => {
                let report = Report::Mounted(std::mem::take(&mut self.root()?.stubs));
                Ok(wire::send(&mut self.socket, &report)?)
            }
            SetupStep::EnterCgroups { namespace } => {
                for entrance in wire::receive_descriptors(&self.socket)? {
                    rustix::io::write(&entrance, b"0")?;
                }
                if *namespace {
                    nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP)?;
                }
                Ok(())
            }
            SetupStep::SessionKeyring => Ok(system::join_session_keyring()?),
            SetupStep::Session => Ok(rustix::process::setsid().map(drop)?),
            SetupStep::ProcessDefaults => set_process_defaults(),
            SetupStep::Ulimit(limit) => ulimit::set(limit).map_err(Refused::of_ulimit),
            SetupStep::StandardStreams { uid, input: Input::Terminal { rows, columns } } => {
                open_terminal(&self.socket, *uid, *rows, *columns)
            }
            SetupStep::StandardStreams { uid, input } => set_standard_streams(*uid, *input),
            SetupStep::SystemCallFilter(purpose) => self.load_filter(*purpose),
            SetupStep::BoundCapabilities(set) => Ok(credentials::bound(*set)?),
            SetupStep::Identity { uid, gid, groups } => {
                credentials::become_user(*uid, *gid, groups).map_err(Refused::of_ids)
            }
            SetupStep::Capabilities(set) => Ok(credentials::keep(*set)?),
            SetupStep::DieWithSupervisor => Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?),
            SetupStep::CloseDescriptors => Ok(system::close_descriptors_on_exec()?),
            SetupStep::JoinEmulator => {
                let namespace = self.received()?;
                Ok(nix::sched::setns(namespace, CloneFlags::CLONE_NEWUSER)?)
            }
            SetupStep::Execute { argv, env } => Err(execute(argv, env)),
        }
    }

    /// Whether something was put into the root that nobody was told of yet.
    pub(super) fn owes(&self) -> bool {
        self.root.as_ref().is_some_and(|root| !root.stubs.covered.is_empty())
    }

    fn cover(&mut self, target: &Path, thing: &Thing<'_>) -> Done {
        let aside = self.staging.clone();
        self.root()?.cover(target, thing, &aside).map_err(at(target))
    }

    fn try_device(&mut self, path: &Path) -> Done {
        let meaning = "the device cannot be used: the file system of the store is mounted `nodev`, or the container has no \
                       right to it";
        let opened = self.root()?.open(path, OFlags::WRONLY);
        opened.map(drop).map_err(|errno| Refused { meaning: Some(meaning), ..at(path)(errno) })
    }

    /// A namespace that the executor hands over.
    fn received(&self) -> Result<OwnedFd, Refused> {
        wire::receive_descriptors(&self.socket)?.pop().ok_or(Refused::from(Errno::PIPE))
    }

    fn attach(&mut self, mount: OwnedFd, target: &Path, kind: PlaceKind, links: Links) -> Done {
        let root = self.root()?;
        let place = root.place(target, kind, links).map_err(at(target))?;
        if root.is(&place).map_err(at(target))? {
            // It would be mounted on top, and nobody would see it.
            let meaning = Some("this leads to the root directory itself");
            return Err(Refused { meaning, ..at(target)(Errno::INVAL) });
        }
        // The kernel would answer `EINVAL` to a file on a directory, and to a directory on a file.
        match (kind, mounts::kind_of(&place)?) {
            (PlaceKind::Directory, PlaceKind::File) => Err(at(target)(Errno::NOTDIR)),
            (PlaceKind::File, PlaceKind::Directory) => Err(at(target)(Errno::ISDIR)),
            _ => mounts::attach(mount, place).map_err(at(target)),
        }
    }

    fn mount_root(&mut self, lowers: &[PathBuf], upper: &Path, work: &Path, userxattr: bool) -> Done {
        let writable = Writable {
            upper: mounts::open_directory(upper).map_err(at(upper))?,
            work: mounts::open_directory(work).map_err(at(work))?,
        };
        let mount = mounts::overlay(lowers, Some(&writable), userxattr, NODEV)
            .map_err(|(errno, path)| Refused { path, ..errno.into() })?;
        self.stage_root(mount, upper)
    }

    /// A root must be attached somewhere before it can be pivoted to; this directory is surely there.
    fn stage_root(&mut self, mount: OwnedFd, on: &Path) -> Done {
        mounts::stage(&mount, on).map_err(at(on))?;
        self.root = Some(Root::new(mount));
        Ok(())
    }

    /// Mounts what `step` makes.
    fn mount_new(&mut self, step: &SetupStep, target: &Path) -> Done {
        let mount = self.stock.mount(step).ok_or(Refused::from(Errno::INVAL))??;
        self.attach(mount, target, PlaceKind::Directory, links_to(target))
    }

    fn files(&mut self) -> Result<&mut Files, Refused> {
        if self.files.is_none() {
            // What is mounted of it says itself whether it may be run.
            self.files = Some(Files::new(&self.staging, Limits { noexec: false, ..SOCKET }, self.owners)?);
        }
        self.files.as_mut().ok_or(Refused::from(Errno::NOENT))
    }

    fn parent<'a>(&mut self, path: &'a Path) -> Result<(OwnedFd, &'a Path), Refused> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL.into()) };
        let dir = self.root()?.place(parent, PlaceKind::Directory, Links::Refused).map_err(at(path))?;
        Ok((dir, Path::new(name)))
    }

    fn make_node(&mut self, path: &Path, major: u32, minor: u32) -> Done {
        let (dir, name) = self.parent(path)?;
        let mode = Mode::from_raw_mode(0o666);
        let made = fs::mknodat(dir, name, FileType::CharacterDevice, mode, fs::makedev(major, minor));
        let meaning = "making devices takes CAP_MKNOD outside of user namespaces (in a container: --cap-add MKNOD)";
        made.map_err(|errno| Refused { meaning: (errno == Errno::PERM).then_some(meaning), ..errno.into() })
    }

    fn bind(&mut self, source: &Path, subpath: &Path, target: &Path, limits: Limits) -> Done {
        let mut opened = fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(at(source))?;
        if subpath.components().any(|part| !matches!(part, std::path::Component::RootDir)) {
            opened = super::target::open_below(opened, subpath).map_err(at(subpath))?;
        }
        let kind = mounts::kind_of(&opened)?;
        let mount = mounts::clone(opened, limits).map_err(at(source))?;
        self.attach(mount, target, kind, links_to(target))
    }

    fn mount_layers(
        &mut self,
        lowers: &[PathBuf],
        subpath: &Path,
        target: &Path,
        readonly: bool,
        userxattr: bool,
    ) -> Done {
        let limits = Limits { readonly, nosuid: false, nodev: true, noexec: false };
        let view = match lowers {
            // Overlayfs refuses a single lower directory without an upper.
            [only] if readonly => mounts::open_directory(only).map_err(at(only))?,
            _ => {
                let writable = if readonly { None } else { Some(self.memory_for_writes()?) };
                let view = mounts::overlay(lowers, writable.as_ref(), userxattr, limits)
                    .map_err(|(errno, path)| Refused { path, ..errno.into() })?;
                mounts::stage(&view, &self.staging)?;
                view
            }
        };
        let source = super::target::open_below(view, subpath).map_err(at(subpath))?;
        let kind = mounts::kind_of(&source)?;
        self.attach(mounts::clone(source, limits)?, target, kind, Links::Followed)
    }

    /// Makes the overlay whose writes `upper` takes, unless it was made before.
    fn keep_overlay(&mut self, lowers: &[PathBuf], (upper, work): (&PathBuf, &PathBuf), userxattr: bool) -> Done {
        if self.kept.contains_key(upper) {
            return Ok(());
        }
        let writable = Writable {
            upper: mounts::open_directory(upper).map_err(at(upper))?,
            work: mounts::open_directory(work).map_err(at(work))?,
        };
        let view = mounts::overlay(lowers, Some(&writable), userxattr, NODEV)
            .map_err(|(errno, path)| Refused { path, ..errno.into() })?;
        mounts::stage(&view, &self.staging)?;
        self.kept.insert(upper.clone(), view);
        Ok(())
    }

    fn memory_for_writes(&mut self) -> Result<Writable, Refused> {
        let memory = mounts::filesystem("tmpfs", &[("mode", "0700".to_owned())], NODEV)?;
        mounts::stage(&memory, &self.staging)?;
        let mut made = ["upper", "work"].into_iter().map(|name| {
            fs::mkdirat(&memory, name, Mode::from_raw_mode(0o755))?;
            fs::openat(&memory, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        });
        match (made.next(), made.next()) {
            (Some(upper), Some(work)) => Ok(Writable { upper: upper?, work: work? }),
            _ => Err(Errno::NOENT.into()),
        }
    }

    fn mask(&mut self, path: &Path) -> Done {
        let root = self.root()?;
        let place = match root.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other.map_err(at(path))?,
        };
        let cover = self.stock.cover(mounts::kind_of(&place)?)?;
        mounts::attach(cover, place).map_err(at(path))
    }

    fn make_readonly(&mut self, path: &Path) -> Done {
        let place = match self.root()?.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other.map_err(at(path))?,
        };
        mounts::attach(mounts::clone(&place, FILE)?, place).map_err(at(path))
    }

    fn pivot(&mut self) -> Done {
        rustix::process::fchdir(&*self.root()?)?;
        // Both names the same: the old root ends up on top of the new one, and is taken off again (pivot_root(2)).
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        self.files = None;
        self.kept.clear();
        Ok(rustix::process::chdir("/")?)
    }

    fn enter(&mut self, path: &Path) -> Done {
        let root = self.root()?;
        let made = root.stubs.clone();
        let dir = root.place(path, PlaceKind::Directory, Links::Followed).map_err(at(path))?;
        // The working directory is no stub: it stays.
        root.stubs = made;
        rustix::process::fchdir(dir).map_err(at(path))?;
        // A directory that is not below the root has no name here, and the kernel says so.
        match rustix::process::getcwd(Vec::new()).map_err(at(path))? {
            name if name.as_bytes().starts_with(b"/") => Ok(()),
            _ => Err(at(path)(Errno::NOENT)),
        }
    }

    fn load_filter(&mut self, purpose: Purpose) -> Done {
        let program = seccomp::filter(purpose);
        if !purpose.single_id {
            return Ok(system::load_filter(&program)?);
        }
        let asking = ids::load_filter(&program)?;
        wire::send_descriptors(&self.supervisor, &[asking.as_raw_fd()])?;
        Ok(wire::send(&mut self.supervisor, &(&self.user, purpose.confined))?)
    }
}

/// Mounted files.
const FILE: Limits = Limits { readonly: true, nosuid: true, nodev: true, noexec: true };
const NODEV: Limits = Limits { readonly: false, nosuid: false, nodev: true, noexec: false };
/// Connecting to a socket is writing.
const SOCKET: Limits = Limits { readonly: false, nosuid: true, nodev: true, noexec: true };

/// A place below `/dev` is on the file system that was just mounted there.
fn links_to(target: &Path) -> Links {
    let is_standard = ["/proc", "/sys", "/dev"].iter().any(|standard| target == Path::new(standard));
    if is_standard { Links::Refused } else { Links::Followed }
}

/// Leaves the namespaces that every sandbox leaves, but for the one of cgroups: its root is where this process is when it
/// leaves, and it may enter a cgroup of the step first.
pub(super) fn unshare() -> Done {
    let namespaces =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    Ok(nix::sched::unshare(namespaces)?)
}

/// Enters a new network namespace, which has a loopback device and nothing else, and returns it.
pub(super) fn new_network() -> Result<OwnedFd, Refused> {
    leave_network()?;
    Ok(fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn leave_network() -> Done {
    nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
    Ok(system::bring_loopback_up()?)
}

/// Becomes the parent of what the command leaves behind.
pub(super) fn adopt_orphans() -> Done {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

fn set_process_defaults() -> Done {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Programs that close or poll every possible descriptor take long with a large soft limit.
    limit(Resource::Nofile, 1024)?;
    // A core file would end up in the layer.
    limit(Resource::Core, 0)?;
    limit(Resource::Stack, 8 << 20)
}

fn limit(resource: Resource, most: u64) -> Done {
    let maximum = rustix::process::getrlimit(resource).maximum;
    let current = Some(maximum.map_or(most, |maximum| most.min(maximum)));
    Ok(rustix::process::setrlimit(resource, Rlimit { current, maximum })?)
}

fn set_standard_streams(uid: u32, input: Input) -> Done {
    if input == Input::Nothing {
        // A pipe nobody writes to: reads see the end at once, as with a container runtime.
        let (empty, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::stdio::dup2_stdin(&empty)?;
    }
    for stream in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        // So that the user may open /dev/stdout. What is no pipe of ours may refuse.
        let _ = fs::fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>);
    }
    Ok(())
}

/// Makes a terminal in the `/dev/pts` of the sandbox, so that it has a name there, and hands its other side to the builder. The
/// terminal of the builder's user is never in reach: who has that could type for him (TIOCSTI).
fn open_terminal(socket: &UnixStream, uid: u32, rows: u16, columns: u16) -> Done {
    let path = Path::new("/dev/pts/ptmx");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = fs::openat(CWD, path, flags, Mode::empty()).map_err(at(path))?;
    rustix::pty::unlockpt(&master)?;
    let terminal =
        rustix::pty::ioctl_tiocgptpeer(&master, rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)?;
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size)?;
    rustix::process::ioctl_tiocsctty(&terminal)?;
    let _ = fs::fchown(&terminal, Some(Uid::from_raw(uid)), None::<Gid>);
    rustix::stdio::dup2_stdin(&terminal)?;
    rustix::stdio::dup2_stdout(&terminal)?;
    rustix::stdio::dup2_stderr(&terminal)?;
    Ok(wire::send_with_descriptors(socket, &Report::Terminal, &[master.as_raw_fd()])?)
}

/// Returns why not, and with the path that the kernel could make nothing of.
fn execute(argv: &[String], env: &[(String, String)]) -> Refused {
    let Some(program) = argv.first().filter(|program| !program.is_empty()) else { return Errno::NOENT.into() };
    let strings = |all: Vec<String>| all.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
    let variables = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (Ok(arguments), Ok(variables)) = (strings(argv.to_vec()), strings(variables)) else {
        return Errno::INVAL.into();
    };
    if program.contains('/') {
        return at(Path::new(program))(execute_one(Path::new(program), &arguments, &variables));
    }
    let path = env.iter().rev().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
    let mut refused = Errno::NOENT;
    for dir in path.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let program = Path::new(dir).join(program);
        match execute_one(&program, &arguments, &variables) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => refused = Errno::ACCESS,
            other => return at(&program)(other),
        }
    }
    refused.into()
}

/// Never through a magic link: `/proc/self/exe` is this program of the builder's, which the image must not run.
fn execute_one(path: &Path, arguments: &[CString], variables: &[CString]) -> Errno {
    match fs::openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Ok(found) => {
            drop(File::from(found));
            system::execute(path, arguments, variables)
        }
        Err(error) => error,
    }
}
