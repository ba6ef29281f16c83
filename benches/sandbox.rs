//! What a sandbox costs beside a bare process and beside other programs that make one: `/bin/true` of a static busybox,
//! started in turn in every way there is, so that a slower moment of the machine is the same for all.
//!
//! `cargo bench --bench sandbox [-- ROUNDS]`, as root. A figure is the tenth percentile of its rounds, and what counts is its ratio
//! to another of the same run. Ends with status 1 when a limit is broken. `runc` and `bwrap` are left out where they are
//! not installed; neither mounts an overlay, and `bwrap` loads no system call filter, which favours them.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use kiln::executor::{CancelFlag, Executor, ExitStatus, Program};
use kiln::sandbox::{Isolation, Network, ProcessUser, ResourceLimits, Rootfs, SandboxSpec, Security, idmap};

#[allow(dead_code)]
#[path = "../tests/support/tool.rs"]
mod tool;
#[allow(dead_code)]
#[path = "../tests/support/user.rs"]
mod user;

const ROUNDS: usize = 200;
const ROOTLESS: &str = "--rootless";
const KILN: &str = env!("CARGO_BIN_EXE_kiln");

/// What a figure is measured against, and how many times as long it may take.
const LIMITS: [(&str, &str, f64); 6] = [
    ("kiln", "process", 7.0),
    ("kiln", "runc run", 0.25),
    ("kiln", "bwrap --unshare-all", 1.0),
    ("kiln, the host's network", "process", 5.0),
    ("kiln, 60 layers", "process", 8.0),
    ("kiln, rootless", "kiln", 1.3),
];

fn main() {
    kiln::sandbox::init_if_requested();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [first, directory] if first == ROOTLESS => answer(Path::new(directory)),
        [] => std::process::exit(i32::from(!compare(ROUNDS))),
        [rounds] => std::process::exit(i32::from(!compare(rounds.parse().unwrap()))),
        _ => panic!("usage: sandbox [ROUNDS]"),
    }
}

/// A new ext4 in a file: how long a directory takes depends on what a file system has been through, and every way is to find the
/// same.
struct Fresh(PathBuf);

impl Fresh {
    fn mount(directory: &Path) -> Self {
        let (image, place) = (directory.join("image"), directory.join("fresh"));
        std::fs::File::create(&image).unwrap().set_len(1 << 30).unwrap();
        std::fs::create_dir(&place).unwrap();
        assert!(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status().unwrap().success());
        assert!(Command::new("mount").args(["-o", "loop"]).args([&image, &place]).status().unwrap().success());
        Self(place)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy".as_ref(), self.0.as_os_str()]).status();
    }
}

/// A root file system, and directories for the writes of one run after the other.
struct Place {
    directory: PathBuf,
    userxattr: bool,
    executor: Executor,
    runs: usize,
}

impl Place {
    fn make(directory: &Path) {
        let bin = directory.join("rootfs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for name in ["dev", "etc", "proc", "sys", "tmp"] {
            std::fs::create_dir(directory.join("rootfs").join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        std::os::unix::fs::symlink("busybox", bin.join("true")).unwrap();
        kiln::snapshot::mount_points::make(&directory.join("layer0")).unwrap();
        for layer in 1..60 {
            std::fs::create_dir(directory.join(format!("layer{layer}"))).unwrap();
        }
    }

    fn at(directory: &Path, userxattr: bool) -> Self {
        let executor = Executor::with(Program::at(Path::new(KILN)));
        // As in a build, of which another step follows.
        executor.expect(usize::MAX);
        Self { directory: directory.to_owned(), userxattr, executor, runs: 0 }
    }

    /// Runs `/bin/true` on this many layers.
    fn run(&mut self, layers: usize, network: Network) -> Duration {
        self.runs += 1;
        let scratch = self.directory.join(format!("scratch{}-{}", self.userxattr, self.runs));
        let (upper, work) = (scratch.join("upper"), scratch.join("work"));
        for made in [&scratch, &upper, &work] {
            std::fs::create_dir(made).unwrap();
        }
        let empty = (1..layers).map(|layer| self.directory.join(format!("layer{layer}")));
        let spec = SandboxSpec {
            rootfs: Rootfs {
                lowers: [self.directory.join("layer0"), self.directory.join("rootfs")]
                    .into_iter()
                    .chain(empty)
                    .collect(),
                upper,
                work,
                userxattr: self.userxattr,
            },
            mounts: Vec::new(),
            argv: vec!["/bin/true".to_owned()],
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            cwd: "/".into(),
            user: ProcessUser::default(),
            hostname: "buildkitsandbox".to_owned(),
            network,
            security: Security::Sandbox,
            hosts: Some("127.0.0.1 localhost\n".to_owned()),
            resolv_conf: Some("nameserver 192.0.2.53\n".to_owned()),
            single_id: false,
            isolation: Isolation::Namespaces,
            limits: ResourceLimits::default(),
            input: kiln::sandbox::Input::default(),
        };
        let started = Instant::now();
        let outcome = self.executor.run(&spec, &mut |_, _| (), &CancelFlag::new().unwrap()).unwrap();
        let took = started.elapsed();
        assert_eq!(outcome.status, ExitStatus::Code(0));
        // A work directory has mode 000, and root of a user namespace may remove it all the same.
        std::fs::remove_dir_all(&scratch).unwrap();
        took
    }
}

/// The other side of [`Rootless`]: a sandbox for each line of the input, and a line with its nanoseconds.
fn answer(directory: &Path) {
    let entered = idmap::enter().unwrap();
    let mut place = Place::at(directory, entered.user_namespace);
    for _ in std::io::stdin().lines() {
        println!("{}", place.run(1, Network::None).as_nanos());
    }
}

/// A process of an ordinary user, in a user namespace, that runs sandboxes when asked.
struct Rootless {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Rootless {
    fn start(directory: &Path) -> Self {
        let user = user::User::with_ranges();
        let mine = directory.join("rootless");
        std::fs::create_dir(&mine).unwrap();
        Place::make(&mine);
        user.give_tree(&mine);
        // The build's own directory may be closed to other users.
        let program = directory.join("bench");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut command = user.command(&program);
        command.arg(ROOTLESS).arg(&mine).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, input, output }
    }

    fn run(&mut self) -> Duration {
        self.input.write_all(b"\n").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        Duration::from_nanos(line.trim().parse().expect("the rootless process has ended"))
    }

    fn end(mut self) {
        drop(self.input);
        self.process.wait().unwrap();
    }
}

fn time(command: &mut Command) -> Duration {
    let started = Instant::now();
    let status = command.stdin(Stdio::null()).status().unwrap();
    let took = started.elapsed();
    assert!(status.success(), "{command:?}");
    took
}

/// A bundle for `runc`: its own default configuration, with another command and no terminal.
fn bundle(directory: &Path) -> PathBuf {
    let bundle = directory.join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    assert!(Command::new("runc").arg("spec").current_dir(&bundle).status().unwrap().success());
    let file = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = ["/bin/true"].as_slice().into();
    config["root"]["path"] = directory.join("rootfs").to_str().into();
    std::fs::write(&file, config.to_string()).unwrap();
    bundle
}

type Way<'a> = (&'static str, Box<dyn FnMut() -> Duration + 'a>);

/// Measures every way, prints them, and returns whether the limits were kept.
fn compare(rounds: usize) -> bool {
    let temporary =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    let fresh = Fresh::mount(temporary.path());
    let directory = fresh.0.as_path();
    Place::make(directory);
    let (mut plain, mut host, mut deep) =
        (Place::at(directory, false), Place::at(directory, false), Place::at(directory, false));
    host.runs = 1_000_000;
    deep.runs = 2_000_000;
    let mut rootless = Rootless::start(directory);
    let busybox = directory.join("rootfs/bin/true");
    let mut ways: Vec<Way<'_>> = vec![
        ("process", Box::new(|| time(&mut Command::new(&busybox)))),
        ("kiln", Box::new(|| plain.run(1, Network::None))),
        ("kiln, the host's network", Box::new(|| host.run(1, Network::Host))),
        ("kiln, 60 layers", Box::new(|| deep.run(60, Network::None))),
        ("kiln, rootless", Box::new(|| rootless.run())),
    ];
    let is_installed = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if is_installed("runc") {
        let bundle = bundle(directory);
        let name = format!("kiln-bench-{}", std::process::id());
        let command = move || time(Command::new("runc").args(["run", "--bundle"]).arg(&bundle).arg(&name));
        ways.push(("runc run", Box::new(command)));
    }
    if is_installed("bwrap") {
        let rootfs = directory.join("rootfs");
        ways.push((
            "bwrap --unshare-all",
            Box::new(move || {
                let mut command = Command::new("bwrap");
                command.args(["--unshare-all", "--bind"]).arg(&rootfs);
                time(command.args(["/", "--proc", "/proc", "--dev", "/dev", "/bin/true"]))
            }),
        ));
    }
    let mut times: Vec<(&str, Vec<Duration>)> = ways.iter().map(|(name, _)| (*name, Vec::new())).collect();
    for _ in 0..rounds {
        for ((_, way), (_, times)) in ways.iter_mut().zip(&mut times) {
            times.push(way());
        }
    }
    drop(ways);
    rootless.end();
    report(times)
}

fn report(times: Vec<(&'static str, Vec<Duration>)>) -> bool {
    let mut tenths = Vec::new();
    println!("{:<26} {:>9} {:>9} {:>9}", "/bin/true", "p10 us", "median", "least");
    for (name, mut times) in times {
        times.sort_unstable();
        let [tenth, median, least] = [times.len() / 10, times.len() / 2, 0].map(|at| times[at].as_micros());
        println!("{name:<26} {tenth:>9} {median:>9} {least:>9}");
        tenths.push((name, tenth as f64));
    }
    let of = |wanted: &str| tenths.iter().find(|(name, _)| *name == wanted).map(|(_, tenth)| *tenth);
    let mut kept = true;
    for (name, other, limit) in LIMITS {
        let Some(ratio) = of(name).zip(of(other)).map(|(a, b)| a / b) else {
            println!("{name} / {other}: not measured");
            continue;
        };
        let verdict = if ratio <= limit { "kept" } else { "BROKEN" };
        kept &= ratio <= limit;
        println!("{name} / {other}: {ratio:.2} (limit {limit}): {verdict}");
    }
    kept
}
