//! Limits of RUN steps with real cgroups, of whichever version this machine has. What a limit does is looked at from
//! inside a step and from outside, and every refusal has a control: the same act without the limit.

// Tests are the edge: they list directories and look at the clock.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use support::bases::Base;
use support::kiln::{Kiln, Output, wait};
use support::user::User;
use support::{leftovers, registry, write};

const FAILED: i32 = 1;
const ENVIRONMENT: i32 = 3;
const LIMIT: Duration = Duration::from_secs(120);

/// A context whose only RUN is `command`.
fn running(command: &str) -> tempfile::TempDir {
    let context = support::scratch();
    let base = registry::base(Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base}\nRUN <<END\n{command}\nEND\n"));
    context
}

fn build(kiln: &Kiln, command: &str, flags: &[&str]) -> Output {
    let mut all = vec!["--progress=plain", "--no-cache"];
    all.extend(flags);
    kiln.build(running(command).path(), &all)
}

/// Whether this machine has these controllers for who runs the tests; says so when not.
fn has(controllers: &[&str]) -> bool {
    let said = Kiln::new().run(["doctor"]).both();
    let line = said.lines().find(|line| line.contains(" limits ")).unwrap_or_default();
    let had = line.split_once("limited in ").and_then(|(_, rest)| rest.split_once(" (")).map_or("", |(had, _)| had);
    let all = controllers.iter().all(|controller| had.split(", ").any(|one| one == *controller));
    if !all {
        support::skip(&format!("needs {controllers:?}: {line}"));
    }
    all
}

/// A hierarchy as it is mounted here: version 1's of a controller, or version 2's when `controller` is empty.
fn mounted(controller: &str) -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let fits = |line: &&str| match controller {
        "" => line.contains(" - cgroup2 "),
        name => line.split_once(" - cgroup ").is_some_and(|(_, rest)| rest.split([' ', ',']).any(|word| word == name)),
    };
    Some(PathBuf::from(text.lines().find(fits)?.split(' ').nth(4)?))
}

/// Where a process is: its cgroup with the controller, of version 1 or else of version 2.
fn cgroup_of(process: u32, controller: &str) -> PathBuf {
    let text = std::fs::read_to_string(format!("/proc/{process}/cgroup")).expect("a process");
    let of = |wanted: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let mut lines = lines.filter(|(names, _)| names.split(',').any(|name| name == wanted));
        lines.next().map(|(_, path)| path.trim_start_matches('/').to_owned())
    };
    match mounted(controller) {
        Some(top) => top.join(of(controller).expect("it is in each hierarchy")),
        None => mounted("").expect("cgroups").join(of("").expect("it is in version 2")),
    }
}

/// The step of a build that goes on: the process whose command line is `command`.
fn process(command: &str) -> u32 {
    let start = Instant::now();
    let wanted: Vec<u8> = command.split(' ').flat_map(|word| word.bytes().chain([0])).collect();
    loop {
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let process = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            let found = std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted);
            if let Some(process) = process.filter(|_| found) {
                return process;
            }
        }
        assert!(start.elapsed() < LIMIT, "`{command}` does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn started(kiln: &Kiln, context: &Path, flags: &[&str]) -> Child {
    let mut command = kiln.command();
    command.arg("build").args(flags).arg(context).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("kiln starts")
}

/// The cgroups of kiln in `parent`.
fn of_kiln(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kiln-step-")))
        .collect()
}

/// A cgroup of the test's own, removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = std::fs::read_to_string(path.parent().expect("a parent").join(file)) {
                let _ = std::fs::write(path.join(file), value);
            }
        }
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        of_kiln(&self.0).into_iter().for_each(|left| drop(Cgroup(left)));
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// As kiln names one.
const LEFT: &str = "kiln-step-0123456789abcdef";

fn unique(name: &str) -> String {
    format!("test-of-kiln-{name}-{}", std::process::id())
}

#[test]
fn every_limit_reaches_the_kernel_and_what_a_killed_kiln_leaves_is_swept() {
    if !support::has_root() || !has(&["cpu", "cpuset", "memory", "pids"]) {
        return;
    }
    let kiln = Kiln::new();
    let context = running("exec sleep 47111");
    let flags = ["--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--cpu-shares", "512"];
    let more = ["--cpuset-cpus", "0", "--cpuset-mems", "0", "--pids-limit", "77", "--shm-size", "3m"];
    let all: Vec<&str> = flags.into_iter().chain(more).collect();
    let mut child = started(&kiln, context.path(), &all);
    let step = process("sleep 47111");
    let mut left = Vec::new();
    let files = [
        ("memory", "memory.limit_in_bytes", "67108864", "memory.max", "67108864"),
        ("cpu", "cpu.cfs_quota_us", "50000", "cpu.max", "50000 100000"),
        ("cpu", "cpu.shares", "512", "cpu.weight", "59"),
        ("cpuset", "cpuset.cpus", "0", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0", "cpuset.mems", "0"),
        ("pids", "pids.max", "77", "pids.max", "77"),
    ];
    for (controller, first, of_first, second, of_second) in files {
        let cgroup = cgroup_of(step, controller);
        let (file, want) = if mounted(controller).is_some() { (first, of_first) } else { (second, of_second) };
        let found = std::fs::read_to_string(cgroup.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(found.trim(), want, "{}/{file}", cgroup.display());
        // kiln itself is not in there.
        assert_ne!(cgroup, cgroup_of(child.id(), controller));
        left.push(cgroup);
    }
    child.kill().expect("a signal");
    child.wait().expect("the end of kiln");
    leftovers::assert_none_of(&kiln.store().display().to_string());
    assert!(left.iter().all(|cgroup| cgroup.is_dir()), "a killed kiln leaves them: {left:?}");
    // Another kiln with such limits removes them. One that lives meanwhile keeps its own.
    let (other, sleeping) = (Kiln::new(), running("exec sleep 47112"));
    let mut alive = started(&other, sleeping.path(), &all);
    let kept = cgroup_of(process("sleep 47112"), "pids");
    build(&kiln, "true", &all).succeeded();
    assert!(left.iter().all(|cgroup| !cgroup.exists()), "not swept: {left:?}");
    assert!(kept.is_dir(), "swept under a living kiln: {}", kept.display());
    alive.kill().expect("a signal");
    alive.wait().expect("the end of kiln");
    leftovers::assert_none_of(&other.store().display().to_string());
    build(&kiln, "true", &all).succeeded();
    assert!(!kept.exists());
}

#[test]
fn what_a_step_sees_of_its_limits() {
    if !support::has_root() || !has(&["cpuset"]) {
        return;
    }
    let kiln = Kiln::new();
    let look = "grep _allowed_list /proc/self/status; ulimit -n; ulimit -H -n; df -k /dev/shm | tail -n 1; cat /proc/self/cgroup";
    let flags = ["--cpuset-cpus", "0", "--ulimit", "nofile=100:200", "--shm-size", "3m"];
    let limited = build(&kiln, look, &flags);
    let said = limited.succeeded().both();
    for expected in ["Cpus_allowed_list:\t0\n", " 100\n", " 200\n", " 3072 "] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    // Its cgroup is the root of what it sees.
    assert!(!said.contains(":/kiln-step-") && !said.contains(":/.."), "{said}");
    let free = build(&kiln, look, &[]);
    let said = free.succeeded().both();
    assert!(said.contains(" 1024\n") && said.contains(" 65536 ") && !said.contains(" 200\n"), "{said}");
}

#[test]
fn a_memory_bomb_ends_its_step_and_is_told() {
    if !support::has_root() || !has(&["memory"]) {
        return;
    }
    let kiln = Kiln::new();
    let bomb = "dd if=/dev/zero of=/dev/shm/large bs=1M count=100 && echo written";
    let output = build(&kiln, bomb, &["--memory", "32m", "--memory-swap", "32m", "--shm-size", "200m"]);
    let words = ["killed: it needed more than --memory 32m", "exit code 137", "Dockerfile:2", "give it more"];
    assert_eq!(output.failed_saying(&words).code, FAILED);
    build(&kiln, bomb, &["--memory", "1g", "--shm-size", "200m"]).succeeded();
    // A command that copes: it is told all the same.
    let coping = format!("sh -c '{bomb}' || echo went on");
    let output = build(&kiln, &coping, &["--memory", "32m", "--memory-swap", "32m", "--shm-size", "200m"]);
    let said = output.succeeded().both();
    assert!(said.contains("went on") && said.contains("kiln: a process was killed"), "{said}");
}

#[test]
fn a_limit_of_processes_is_met_and_told() {
    if !support::has_root() || !has(&["pids"]) {
        return;
    }
    let kiln = Kiln::new();
    let many = "for i in $(seq 60); do sleep 600 & done; echo all started";
    let output = build(&kiln, many, &["--pids-limit", "20"]);
    output.failed_saying(&["can't fork", "as many as --pids-limit 20 allows", "Dockerfile:2"]);
    assert!(build(&kiln, many, &[]).succeeded().both().contains("all started"));
}

#[test]
fn processor_time_is_limited() {
    if !support::has_root() || !has(&["cpu"]) {
        return;
    }
    let kiln = Kiln::new();
    // In hundredths of a second, of the children of the shell: `utime` is field 14 of stat(5), `cutime` field 16.
    let burn = "timeout 3 sh -c 'while :; do :; done'; echo used $(cut -d' ' -f16 /proc/self/stat) $(cut -d' ' -f16 /proc/$$/stat)";
    let used = |flags: &[&str]| {
        let said = build(&kiln, burn, flags).succeeded().both();
        let line = said.lines().find_map(|line| line.split_once(" used ")).expect("what was used").1.to_owned();
        line.split(' ').next_back().and_then(|number| number.trim().parse::<u32>().ok()).expect("a number")
    };
    // A twentieth of 3 s, and a bit for the beginning; without a limit even a busy machine gives more.
    let (limited, free) = (used(&["--cpus", "0.05"]), used(&[]));
    assert!(limited < 45 && limited < free, "limited {limited}, free {free} hundredths of a second");
}

#[test]
fn a_step_that_takes_too_long_is_killed_with_all_it_started() {
    let kiln = Kiln::new();
    let context = running("trap '' TERM; sleep 47211 & (trap '' HUP; sleep 47211) & echo begun; sleep 47211");
    let start = Instant::now();
    let output = kiln.build(context.path(), &["--progress=plain", "--timeout", "1s"]);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(output.failed_saying(&["begun", "error[timeout]", "--timeout 1s", "Dockerfile:2"]).code, FAILED);
    leftovers::assert_none_of("sleep\u{0}47211");
    leftovers::assert_none_of(&kiln.store().display().to_string());
    build(&kiln, "sleep 1.2", &["--timeout", "1h30m"]).succeeded();
    build(&kiln, "sleep 1.2", &["--timeout", "0"]).succeeded();
}

#[test]
fn limits_do_not_miss_the_cache() {
    if !support::has_root() || !has(&["pids"]) {
        return;
    }
    let (kiln, context) = (Kiln::new(), running("echo it-$((40 + 2))-runs"));
    let flags: [&[&str]; 3] = [
        &[],
        &["--pids-limit", "50", "--timeout", "10m", "--ulimit", "nofile=100", "--shm-size", "1m"],
        &["--pids-limit", "60", "--timeout", "20m"],
    ];
    let ran = flags.map(|flags| {
        let all: Vec<&str> = ["--progress=plain"].iter().chain(flags).copied().collect();
        kiln.build(context.path(), &all).succeeded().both().contains("it-42-runs")
    });
    assert_eq!(ran, [true, false, false]);
}

#[test]
fn an_ordinary_user_is_told_what_is_missing_and_has_what_was_delegated() {
    if !support::has_root() || !has(&["pids"]) {
        return;
    }
    let user = User::with_ranges();
    let kiln = Kiln::of(user.clone());
    // Whoever runs these tests may have started from a cgroup that the user was given; most have not.
    let denied = build(&kiln, "true", &["--pids-limit", "20"]);
    let words = ["error[limit]", "--pids-limit cannot be had here", "--cgroup-parent", "Dockerfile:2"];
    assert_eq!(denied.failed_saying(&words).code, ENVIRONMENT);
    let doctor = kiln.run(["doctor"]).both();
    assert!(doctor.contains("cannot be had here") && doctor.contains("pids: "), "{doctor}");
    // What needs no cgroup works.
    let look = "ulimit -n; df -k /dev/shm | tail -n 1";
    let said =
        build(&kiln, look, &["--ulimit", "nofile=100", "--shm-size", "3m", "--timeout", "10m"]).succeeded().both();
    assert!(said.contains(" 100\n") && said.contains(" 3072 "), "{said}");
    // Raising a hard limit does not.
    let output = build(&kiln, "true", &["--ulimit", "nofile=1000000000"]);
    assert_eq!(output.failed_saying(&["--ulimit nofile=1000000000", "CAP_SYS_RESOURCE"]).code, ENVIRONMENT);

    let Some(top) = mounted("pids") else {
        return support::skip("delegation is tried with version 1 only: version 2 asks for a common ancestor too");
    };
    let name = unique("delegated");
    let cgroup = Cgroup::make(top.join(&name));
    user.give(&cgroup.0);
    let many = "for i in $(seq 60); do sleep 600 & done; echo all started";
    let limited = build(&kiln, many, &["--pids-limit", "20", "--cgroup-parent", &name]);
    limited.failed_saying(&["can't fork", "as many as --pids-limit 20 allows"]);
    assert_eq!(of_kiln(&cgroup.0), Vec::<PathBuf>::new());
    build(&kiln, many, &["--cgroup-parent", &name]).succeeded();
    assert_eq!(of_kiln(&cgroup.0), Vec::<PathBuf>::new());
}

/// The limits of the parent are those of the step, in every hierarchy that has it.
#[test]
fn a_named_parent_limits_its_steps() {
    if !support::has_root() || !has(&["pids"]) {
        return;
    }
    let Some(top) = mounted("pids") else { return support::skip("needs version 1") };
    let (kiln, name) = (Kiln::new(), unique("parent"));
    let cgroup = Cgroup::make(top.join(&name));
    std::fs::write(cgroup.0.join("pids.max"), "20").expect("a limit");
    let many = "for i in $(seq 60); do sleep 600 & done; echo all started";
    let path = format!("/{name}");
    build(&kiln, many, &["--cgroup-parent", &path]).failed_saying(&["can't fork"]);
    std::fs::write(cgroup.0.join("pids.max"), "max").expect("no limit");
    build(&kiln, many, &["--cgroup-parent", &path]).succeeded();
    assert_eq!(of_kiln(&cgroup.0), Vec::<PathBuf>::new());
    build(&kiln, "true", &["--cgroup-parent", "/../escape"]).failed_saying(&["--cgroup-parent", "`..`"]);
    let output = build(&kiln, "true", &["--cpuset-cpus", "4000"]);
    assert_eq!(output.failed_saying(&["error[limit]", "--cpuset-cpus", "4000", "lscpu"]).code, ENVIRONMENT);
}

/// Version 2 as far as it goes without controllers: making, entering, killing, removing.
#[test]
fn cgroups_of_version_2_are_made_entered_and_removed() {
    let Some(top) = mounted("").filter(|_| support::has_root()) else {
        return support::skip("needs root and a mounted hierarchy of version 2");
    };
    let (kiln, name) = (Kiln::new(), unique("unified"));
    let cgroup = Cgroup::make(top.join(&name));
    let context = running("exec sleep 47311");
    let mut child = started(&kiln, context.path(), &["--cgroup-parent", &name]);
    let step = process("sleep 47311");
    let own = cgroup_of(step, "");
    assert_eq!(of_kiln(&cgroup.0), [own]);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), nix::sys::signal::Signal::SIGINT)
        .expect("a signal");
    wait(&mut child, LIMIT).expect("kiln ends after an interrupt");
    assert_eq!(of_kiln(&cgroup.0), Vec::<PathBuf>::new());

    // What another has left, with a process and a cgroup in it: nobody holds its lock.
    let left = Cgroup::make(cgroup.0.join(LEFT));
    let below = Cgroup::make(left.0.join("below"));
    let mut stray = support::tool::tool("sleep").arg("47312").spawn().expect("a process");
    std::fs::write(below.0.join("cgroup.procs"), stray.id().to_string()).expect("it enters");
    build(&kiln, "true", &["--cgroup-parent", &name]).succeeded();
    assert!(wait(&mut stray, LIMIT).is_some_and(|status| !status.success()), "the sweep kills it");
    assert!(!left.0.exists());
}

/// The same of version 1, which cannot kill a cgroup at once.
#[test]
fn what_is_left_in_a_cgroup_of_version_1_is_killed() {
    let Some(top) = mounted("pids").filter(|_| support::has_root()) else {
        return support::skip("needs root and version 1");
    };
    let (kiln, name) = (Kiln::new(), unique("left"));
    let cgroup = Cgroup::make(top.join(&name));
    let left = Cgroup::make(cgroup.0.join(LEFT));
    let mut stray = support::tool::tool("sleep").arg("47411").spawn().expect("a process");
    std::fs::write(left.0.join("cgroup.procs"), stray.id().to_string()).expect("it enters");
    build(&kiln, "true", &["--cgroup-parent", &name]).succeeded();
    assert!(wait(&mut stray, LIMIT).is_some_and(|status| !status.success()), "the sweep kills it");
    assert!(!left.0.exists());
}
