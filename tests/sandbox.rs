//! Real sandboxes around a static busybox. Needs root, as mounts do; of a user namespace is enough, so an ordinary
//! user's way is tried by starting these tests a second time in one: `as_an_ordinary_user`.

// Tests are the edge: their helpers may fail, and say why a test is skipped.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln::executor::{CancelFlag, ExecError, ExecOutcome, Executor, ExitStatus, NetworkUsed, Program, Stream};
use kiln::sandbox::{Mount, Network, ProcessUser, ResourceLimits, Rootfs, SandboxSpec, SecretBytes, Security};

#[path = "sandbox/attacks.rs"]
mod attacks;
#[path = "sandbox/floods.rs"]
mod floods;
mod support;

/// A root file system of busybox and a few files, and what runs wrote.
struct Bench {
    dir: tempfile::TempDir,
    runs: std::cell::Cell<u32>,
}

struct Ran {
    outcome: ExecOutcome,
    stdout: String,
    stderr: String,
    upper: PathBuf,
}

/// Says why and returns false when there is no right to mount.
fn possible() -> bool {
    let possible = rustix::process::geteuid().is_root();
    if !possible {
        println!("skipped: not root");
    }
    possible
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lower = dir.path().join("lower");
        for name in ["bin", "etc", "tmp", "root"] {
            std::fs::create_dir_all(lower.join(name)).unwrap();
        }
        support::tool::copy_program("/bin/busybox", lower.join("bin/busybox"));
        let list = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap();
        for name in String::from_utf8(list.stdout).unwrap().lines() {
            let _ = std::os::unix::fs::symlink("busybox", lower.join("bin").join(name));
        }
        std::fs::write(lower.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n").unwrap();
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        Self { dir, runs: 0.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A spec of `sh -c script` on a fresh upper directory.
    fn spec(&self, script: &str) -> SandboxSpec {
        self.runs.set(self.runs.get() + 1);
        let (upper, work) =
            (self.path(&format!("upper{}", self.runs.get())), self.path(&format!("work{}", self.runs.get())));
        std::fs::create_dir(&upper).unwrap();
        std::fs::create_dir(&work).unwrap();
        SandboxSpec {
            single_id: false,
            rootfs: Rootfs {
                lowers: vec![self.path("empty"), self.path("lower")],
                upper,
                work,
                userxattr: in_user_namespace(),
            },
            mounts: Vec::new(),
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            cwd: "/".into(),
            user: ProcessUser::default(),
            hostname: "buildkitsandbox".to_owned(),
            network: Network::None,
            security: Security::Sandbox,
            isolation: kiln::sandbox::Isolation::Namespaces,
            hosts: Some("127.0.0.1 localhost\n".to_owned()),
            resolv_conf: Some("nameserver 192.0.2.53\n".to_owned()),
            limits: ResourceLimits::default(),
            input: kiln::sandbox::Input::default(),
        }
    }

    fn sh(&self, script: &str) -> Ran {
        run(&self.spec(script))
    }
}

/// As under `unshare --map-root-user --map-users=auto --map-groups=auto`, which is the ordinary user's way.
fn in_user_namespace() -> bool {
    !std::fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
}

fn program() -> Program {
    Program::at(Path::new(env!("CARGO_BIN_EXE_kiln")))
}

fn try_run(spec: &SandboxSpec) -> Result<Ran, ExecError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut log = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
    };
    let outcome = Executor::with(program()).run(spec, &mut log, &CancelFlag::new().unwrap())?;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ok(Ran { outcome, stdout: text(stdout), stderr: text(stderr), upper: spec.rootfs.upper.clone() })
}

fn run(spec: &SandboxSpec) -> Ran {
    try_run(spec).unwrap_or_else(|error| panic!("{error}"))
}

/// Names of everything below `dir`, sorted.
fn tree(dir: &Path) -> Vec<String> {
    let output = std::process::Command::new("find").arg(dir).args(["-mindepth", "1", "-printf", "%P\n"]).output();
    let mut names: Vec<_> = String::from_utf8(output.unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[track_caller]
fn check(script: &str, expected: &str) {
    if !possible() {
        return;
    }
    let ran = Bench::new().sh(script);
    assert_eq!(format!("{}{}", ran.stdout, ran.stderr), expected, "status {:?}", ran.outcome.status);
}

#[test]
fn output_status_environment() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let mut spec = bench.spec("echo out; echo err >&2; echo $(env | sort); pwd; umask; cat; exit 42");
    spec.env.push(("HOME".to_owned(), "/root".to_owned()));
    spec.cwd = "/made/here".into();
    let ran = run(&spec);
    // The shell adds PWD and SHLVL.
    assert_eq!(ran.stdout, "out\nHOME=/root PATH=/bin PWD=/made/here SHLVL=1\n/made/here\n0022\n");
    assert_eq!(ran.stderr, "err\n");
    assert_eq!(ran.outcome.status, ExitStatus::Code(42));
    assert_eq!(ran.outcome.network, NetworkUsed::None);
    // `etc` is an unchanged copy, which the difference leaves out.
    assert_eq!(tree(&ran.upper), ["etc", "made", "made/here"]);
    assert_eq!(bench.sh("kill -9 $$").outcome.status, ExitStatus::Code(0), "pid 1 does not die of its own signals");
    assert_eq!(bench.sh("sh -c 'kill -9 $$'; exit $?").outcome.status, ExitStatus::Code(137));
}

#[test]
fn identity_and_confinement() {
    check(
        "id -u; hostname; grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status",
        "0\nbuildkitsandbox\nCapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
         CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n",
    );
}

#[test]
fn an_ordinary_user_has_no_capabilities_and_may_open_its_standard_output() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let mut spec = bench.spec("id -u; id -g; id -G; grep CapEff /proc/self/status; echo x > /dev/stdout");
    spec.user = ProcessUser { uid: 1000, gid: 1001, additional_gids: vec![7, 8] };
    assert_eq!(run(&spec).stdout, "1000\n1001\n1001 7 8\nCapEff:\t0000000000000000\nx\n");
}

#[test]
fn insecure_has_everything_but_the_hosts_namespaces() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let mut spec =
        bench.spec("mount -t tmpfs none /tmp && echo mounted; grep Seccomp: /proc/self/status; echo /proc/[0-9]*");
    spec.security = Security::Insecure;
    assert_eq!(run(&spec).stdout, "mounted\nSeccomp:\t0\n/proc/1\n");
}

#[test]
fn only_its_own_processes_devices_and_network() {
    check(
        "ls /dev; echo /proc/[0-9]*; ls /sys/class/net; cat /etc/hosts /etc/resolv.conf; ls -A /sys/fs/cgroup; \
           echo $$; ls /proc/self/fd",
        "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n/proc/1\nlo\n\
         127.0.0.1 localhost\nnameserver 192.0.2.53\n1\n0\n1\n2\n3\n",
    );
    check(
        "echo x > /dev/null; head -c 3 /dev/zero | wc -c; echo x > /dev/full || echo full; ls -ld /dev/shm | cut -c1-10; \
           ping -c 1 -w 1 127.0.0.1 >/dev/null && echo up",
        "3\nfull\ndrwxrwxrwt\nup\nsh: write error: No space left on device\n",
    );
}

#[test]
fn nothing_of_the_mount_points_is_left() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let etc = bench.path("lower/etc");
    rustix::fs::utimensat(rustix::fs::CWD, &etc, &old_times(), rustix::fs::AtFlags::empty()).unwrap();
    let mut spec = bench.spec("echo x > /dev/x; echo x > /deep/er/file; echo y > /made");
    spec.mounts = vec![Mount::Tmpfs { target: "/deep/er".into(), size: None, mode: 0o755, readonly: false }];
    let ran = run(&spec);
    assert_eq!(ran.outcome.stubs, Vec::<PathBuf>::new());
    assert_eq!(tree(&ran.upper), ["etc", "made"]);
    let modified = std::fs::metadata(ran.upper.join("etc")).unwrap().modified().unwrap();
    assert_eq!(modified, std::fs::metadata(&etc).unwrap().modified().unwrap());
}

fn old_times() -> rustix::fs::Timestamps {
    let old = rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 };
    rustix::fs::Timestamps { last_access: old, last_modification: old }
}

#[test]
fn mounts_of_each_kind() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let (source, other) = (bench.path("source"), bench.path("other"));
    std::fs::create_dir_all(source.join("sub")).unwrap();
    std::fs::write(source.join("sub/file"), "bound").unwrap();
    std::fs::create_dir_all(other.join("tree")).unwrap();
    std::fs::write(other.join("tree/leaf"), "leaf").unwrap();
    let mut spec = bench.spec(
        "cat /bound/file /one; echo z > /bound/file; echo w > /cache/w; cat /view/leaf; echo changed > /scratch/leaf; cat /scratch/leaf; \
         stat -c '%a %u %g' /run/secrets/s; cat /run/secrets/s; df -k /tmp | tail -n 1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /tmp",
    );
    let bind = |subpath: &str, target: &str, readonly| Mount::Bind {
        source: source.clone(),
        subpath: subpath.into(),
        target: target.into(),
        readonly,
    };
    let layers = |target: &str, readonly| Mount::Layers {
        lowers: vec![bench.path("empty"), other.clone()],
        subpath: "/tree".into(),
        target: target.into(),
        readonly,
    };
    let secret = SecretBytes(b"hush\n".to_vec());
    spec.mounts = vec![
        bind("sub", "/bound", true),
        bind("sub/file", "/one", true),
        bind("/", "/cache", false),
        layers("/view", true),
        layers("/scratch", false),
        Mount::Tmpfs { target: "/tmp".into(), size: Some(1 << 20), mode: 0o700, readonly: false },
        Mount::Secret { data: secret, target: "/run/secrets/s".into(), mode: 0o400, uid: 3, gid: 4 },
    ];
    let ran = run(&spec);
    assert_eq!(ran.stdout, "boundboundleafchanged\n400 3 4\nhush\n1024\n700\n");
    assert!(ran.stderr.ends_with("can't create /bound/file: Read-only file system\n"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(source.join("w")).unwrap(), "w\n");
    assert_eq!(std::fs::read_to_string(other.join("tree/leaf")).unwrap(), "leaf");
    assert_eq!(tree(&ran.upper), ["etc"]);
}

#[test]
fn an_agent_is_reached_through_a_socket_of_the_steps_own() {
    use std::io::{Read, Write};
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let agent = std::os::unix::net::UnixListener::bind(bench.path("agent")).unwrap();
    std::thread::spawn(move || {
        let (mut connection, _) = agent.accept().unwrap();
        let mut asked = [0; 5];
        connection.read_exact(&mut asked).unwrap();
        connection.write_all(b"keys\n").unwrap();
    });
    let mut spec = bench.spec("stat -c '%a %u %F' /run/agent; timeout 5 nc local:/run/agent");
    spec.mounts =
        vec![Mount::Socket { source: bench.path("agent"), target: "/run/agent".into(), mode: 0o600, uid: 7, gid: 7 }];
    let ran = run(&spec);
    assert_eq!(ran.stdout.lines().next(), Some("600 7 socket"));
    // Where busybox' nc knows unix sockets.
    if !ran.stderr.contains("bad ") {
        assert_eq!(ran.stdout, "600 7 socket\nkeys\n", "{}", ran.stderr);
    }
}

#[test]
fn links_of_the_image_lead_nowhere_else() {
    if !possible() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    let link = |text: &str, name: &str| {
        std::os::unix::fs::symlink(outside.path().join(text), bench.path("lower").join(name)).unwrap();
    };
    link("resolv.conf", "etc/resolv.conf");
    link("dir", "target");
    link("cwd", "cwd");
    let mut spec = bench.spec("cat /etc/resolv.conf; touch x && echo made");
    spec.mounts = vec![Mount::Tmpfs { target: "/target/below".into(), size: None, mode: 0o755, readonly: false }];
    spec.cwd = "/cwd".into();
    let ran = run(&spec);
    assert_eq!(ran.stdout, "nameserver 192.0.2.53\nmade\n");
    assert_eq!(tree(outside.path()), Vec::<String>::new());
    assert!(ran.upper.join(outside.path().strip_prefix("/").unwrap()).join("cwd/x").exists());
    // The working directory was made in it, so what leads there stays; only the first directory is the image's.
    let inside = outside.path().strip_prefix("/").unwrap().ancestors();
    let mut made: Vec<&Path> = inside.filter(|path| path.components().count() > 1).collect();
    made.reverse();
    assert_eq!(ran.outcome.stubs, made);
    for standard in ["proc", "dev", "sys"] {
        let bench = Bench::new();
        std::os::unix::fs::symlink(outside.path(), bench.path("lower").join(standard)).unwrap();
        assert!(matches!(try_run(&bench.spec("true")), Err(ExecError::Setup { .. })), "{standard}");
        assert_eq!(tree(outside.path()), Vec::<String>::new());
    }
}

#[test]
fn a_command_that_is_not_there_says_so() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    for (argv, errno) in [("nope", libc::ENOENT), ("/etc/passwd", libc::EACCES), ("/proc/self/exe", libc::ELOOP)] {
        let mut spec = bench.spec("");
        spec.argv = vec![argv.to_owned()];
        match try_run(&spec) {
            Err(ExecError::Command { program, source }) => {
                assert_eq!((program.as_str(), source.raw_os_error()), (argv, Some(errno)));
            }
            other => panic!("{argv}: {:?}", other.map(|ran| ran.outcome)),
        }
    }
}

#[test]
fn cancelling_kills_at_once() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let cancel = CancelFlag::new().unwrap();
    let spec = bench.spec("trap '' TERM INT; echo started; sleep 4242 & sleep 4242");
    let mut seen = Vec::new();
    let mut started = Instant::now();
    let mut log = |_, bytes: &[u8]| {
        seen.extend_from_slice(bytes);
        started = Instant::now();
        cancel.cancel();
    };
    let ended = Executor::with(program()).run(&spec, &mut log, &cancel);
    assert!(matches!(ended, Err(ExecError::Cancelled)));
    assert_eq!(seen, b"started\n");
    assert!(started.elapsed() < Duration::from_millis(1200), "{:?}", started.elapsed());
    assert!(!processes().contains("sleep 4242"));
}

fn processes() -> String {
    let output = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_child_left_behind_neither_lives_on_nor_is_waited_for() {
    if !possible() {
        return;
    }
    let started = Instant::now();
    let ran = Bench::new().sh("(trap '' HUP; sleep 4343) & echo done");
    assert_eq!(ran.stdout, "done\n");
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(!processes().contains("sleep 4343"));
}

#[test]
fn much_output_arrives_whole() {
    if !possible() {
        return;
    }
    let ran = Bench::new().sh("seq 1 100000; seq 1 50000 >&2");
    assert_eq!(ran.stdout.len(), 588_895);
    assert_eq!(ran.stderr.lines().count(), 50_000);
}

/// The attacks of a step on its host. Each prints a word when it succeeds; that the same act works when it is
/// allowed is shown by running the list again without confinement.
const ATTACKS: &[(&str, &str)] = &[
    ("mount", "mount -t tmpfs none /tmp"),
    ("umount", "umount /proc/sys || umount /dev/shm"),
    ("remount", "mount -o remount,rw /sys"),
    ("unshare", "unshare -m true"),
    ("unshare-user", "unshare -U true"),
    ("hostname", "hostname other"),
    ("core-pattern", "cat /proc/sys/kernel/core_pattern > /tmp/p && cat /tmp/p > /proc/sys/kernel/core_pattern"),
    ("kcore", "test -s /proc/kcore || test -c /proc/kcore && test $(stat -c %t:%T /proc/kcore) != 1:3"),
    ("nice-others", "chroot / mount -t proc none /tmp"),
];

#[test]
fn attacks_are_refused() {
    if !possible() {
        return;
    }
    let script: String =
        ATTACKS.iter().map(|(name, act)| format!("({act}) >/dev/null 2>&1 && echo {name}\n")).collect();
    let bench = Bench::new();
    let ran = run(&bench.spec(&format!("{script}true")));
    assert_eq!(ran.stdout, "");
    let mut spec = bench.spec(&format!("{script}true"));
    spec.security = Security::Insecure;
    let succeeded = run(&spec).stdout;
    // In a user namespace these are refused even to the unconfined.
    let never: &[&str] = if in_user_namespace() { &["remount", "core-pattern"] } else { &[] };
    let vacuous = |name: &str| ["umount", "kcore"].contains(&name) || never.contains(&name);
    for (name, _) in ATTACKS.iter().filter(|(name, _)| !vacuous(name)) {
        assert!(succeeded.contains(name), "{name} is refused anyway: the test says nothing\n{succeeded}");
    }
}

#[test]
fn refusals_that_look_like_absence() {
    // A device node can be made but not opened; the fence around /proc holds; the host's paths are not told.
    if in_user_namespace() {
        println!("skipped: no device nodes in a user namespace");
        return;
    }
    check(
        "mknod /tmp/zero c 1 5 && head -c 1 /tmp/zero 2>&1 | grep -c denied; wc -c < /proc/keys; \
           echo x > /sys/kernel/uevent_helper; dmesg 2>&1 | grep -c permitted; nsenter -t 1 -m true 2>&1 | grep -c -i permitted; \
           grep -c -e upper[0-9] -e /tmp/.tmp /proc/self/mountinfo",
        "1\n0\n1\n1\n0\n/bin/sh: can't create /sys/kernel/uevent_helper: Read-only file system\n",
    );
}

/// Killed from outside while a step runs: that one goes on, and those after it are started by another.
#[test]
fn a_launcher_that_is_gone_is_followed_by_another() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let (executor, cancel) = (Executor::with(program()), CancelFlag::new().unwrap());
    let running = bench.spec("echo started; sleep 4545");
    let (started, first) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let run_long = || executor.run(&running, &mut |_, _: &[u8]| started.send(()).unwrap(), &cancel);
        let long = scope.spawn(run_long);
        first.recv().unwrap();
        let begun = Instant::now();
        nix::sys::signal::kill(launcher_of("sleep 4545"), nix::sys::signal::Signal::SIGKILL).unwrap();
        let next = || executor.run(&bench.spec("true"), &mut |_, _| (), &CancelFlag::new().unwrap());
        let others = [next(), next(), next()];
        let (took, goes_on) = (begun.elapsed(), processes().contains("sleep 4545"));
        cancel.cancel();
        assert!(matches!(long.join().unwrap(), Err(ExecError::Cancelled)));
        for other in others {
            assert!(other.as_ref().is_ok_and(|ran| ran.status.success()), "{other:?}");
        }
        assert!(goes_on && took < Duration::from_secs(30), "{took:?}");
    });
}

/// The child of this process that the command descends from.
fn launcher_of(command: &str) -> nix::unistd::Pid {
    let output = std::process::Command::new("ps").args(["-eo", "pid,ppid,args"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let parents = |line: &str| line.split_whitespace().take(2).map(str::parse).collect::<Result<Vec<i32>, _>>();
    let all: std::collections::BTreeMap<i32, i32> =
        text.lines().filter_map(|line| parents(line).ok()).map(|pair| (pair[0], pair[1])).collect();
    let line = text.lines().find(|line| line.ends_with(command)).expect("the command");
    let mut at = parents(line).unwrap()[0];
    while all[&at] != std::process::id().cast_signed() {
        at = all[&at];
    }
    nix::unistd::Pid::from_raw(at)
}

#[test]
fn a_hundred_runs_leave_nothing() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let count = |path: &str| std::fs::read_to_string(path).unwrap().lines().count();
    let descriptors = || tree(Path::new("/proc/self/fd")).len();
    let executor = Executor::with(program());
    let (mounts, before) = (count("/proc/self/mountinfo"), descriptors());
    for _ in 0..100 {
        let mut spec = bench.spec("");
        spec.argv = vec!["/bin/true".to_owned()];
        executor.run(&spec, &mut |_, _| (), &CancelFlag::new().unwrap()).unwrap();
    }
    assert_eq!((count("/proc/self/mountinfo"), descriptors()), (mounts, before));
}

#[test]
fn the_default_network_reaches_out_but_not_the_hosts_loopback() {
    if !possible() {
        return;
    }
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    // Accepts and hangs up, so that the client ends too.
    std::thread::spawn(move || while host.accept().is_ok() {});
    let bench = Bench::new();
    let script = format!(
        "ip route | grep -c default; for host in 127.0.0.1 $(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'); do \
         timeout 5 nc -w 1 $host {port} < /dev/null && echo connected $host; done; true"
    );
    let mut spec = bench.spec(&script);
    spec.network = Network::Default;
    let ran = run(&spec);
    match ran.outcome.network {
        NetworkUsed::Own => assert_eq!(ran.stdout, "1\n"),
        other => println!("skipped: {other:?}"),
    }
    let mut spec = bench.spec(&script);
    spec.network = Network::Host;
    assert!(run(&spec).stdout.contains("connected 127.0.0.1\n"), "the listener is there");
}

#[test]
fn a_later_run_joins_the_network_of_an_earlier_one() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let executor = Executor::with(program());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut spec = bench.spec("readlink /proc/self/ns/net; ip route | grep -c default");
        spec.network = Network::Default;
        let mut out = Vec::new();
        let log = &mut |_, bytes: &[u8]| out.extend_from_slice(bytes);
        match executor.run(&spec, log, &CancelFlag::new().unwrap()).unwrap().network {
            NetworkUsed::Own => seen.push(String::from_utf8(out).unwrap()),
            other => return println!("skipped: {other:?}"),
        }
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].ends_with("\n1\n"), "it has a way out: {seen:?}");
}

/// All of this file again, as the ordinary user `kiln-test` who is root of a user namespace with a range of ids, and may open
/// `/dev/net/tun`.
#[test]
fn as_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() || in_user_namespace() {
        return support::skip("needs root, to make a user");
    }
    let user = support::user::User::with_ranges();
    let place = support::scratch();
    user.give(place.path());
    let tests = place.path().join("tests");
    support::tool::copy_program(std::env::current_exe().unwrap(), &tests);
    let mut command = user.command(Path::new("unshare"));
    command.args(["--mount", "--map-root-user", "--map-users=auto", "--map-groups=auto", "--"]).arg(&tests);
    command.args(["--test-threads=2", "--skip=as_an_ordinary_user"]).env("TMPDIR", place.path());
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = support::kiln::output_of(&mut support::machine::with(&["tun"], &command), Duration::from_secs(300));
    assert_eq!(output.code, 0, "{}", output.both());
    let ran = output.stdout.lines().find(|line| line.starts_with("test result: ok.")).unwrap_or_default();
    let passed: u32 = ran.split_whitespace().nth(3).and_then(|number| number.parse().ok()).unwrap_or(0);
    assert!(passed >= 25, "{}", output.both());
}
