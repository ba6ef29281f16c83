//! More than a thousand RUN steps, and what is left of them: nothing. Builds that succeed, fail, take too long and are killed at any
//! moment, as root and as an ordinary user.
//!
//! Processes, namespaces and mounts of a killed kiln must go by themselves. Files in its store and cgroups are swept by the next
//! kiln that uses them.

// Tests are the edge: they list directories, look at the clock and print.
#![allow(clippy::disallowed_methods, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;
mod traces;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::bases::Base;
use support::kiln::{Kiln, wait};
use support::user::User;
use support::{leftovers, machine, registry, tool, write};
use traces::Traces;

const LIMIT: Duration = Duration::from_secs(120);
/// Steps that must have run, as root and as the user.
const STEPS: usize = 500;
/// Steps of one build.
const LENGTH: usize = 35;

/// One test at a time: each looks at everything below this process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a build ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Success,
    /// The last step fails.
    Failure,
    /// The last step takes too long.
    Timeout,
    /// kiln is killed after so long, wherever it is then.
    KilledAfter(Duration),
    /// kiln is killed when as many steps sleep: each in a stage of its own.
    KilledIn(usize),
}

#[test]
fn as_root() {
    if support::has_root() {
        check(Kiln::new(), None);
    }
}

#[test]
fn as_an_ordinary_user() {
    if support::has_root() {
        let user = User::with_ranges();
        check(Kiln::of(user.clone()), Some(&user));
    }
}

fn check(kiln: Kiln, user: Option<&User>) {
    let _alone = alone();
    traces::adopt_orphans();
    // What the tests themselves start is there before.
    let _base = registry::base(Base::Busybox);
    let cgroup = Cgroup::make(user);
    let place = Place { kiln, cgroup };
    let whole = place.build(0, End::Success);
    let (before, objects) = (traces::all(&place.cgroup.name), traces::objects());

    let (start, mut steps, mut slowest) = (Instant::now(), whole.steps, Duration::ZERO);
    let ends = ends(whole.time);
    for (number, end) in ends.iter().enumerate() {
        let built = place.build(number + 1, *end);
        steps += built.steps;
        slowest = slowest.max(place.check_settled(&before, number + 1, *end));
    }
    assert!(steps >= STEPS, "only {steps} steps ran");
    place.check_swept(&before);
    for (kind, count) in traces::objects() {
        let more = count.saturating_sub(objects[&kind]);
        assert!(more < u64::try_from(steps).expect("a count") / 2, "{more} more of {kind} after {steps} steps");
    }
    let (builds, time) = (ends.len(), start.elapsed());
    eprintln!("{steps} steps in {builds} builds took {time:?}; the slowest was gone {slowest:?} after its end");
}

/// The ends of the builds of a test, of which a whole one takes `duration`.
fn ends(duration: Duration) -> Vec<End> {
    let killed = |part: u32| End::KilledAfter(duration * part / 24);
    // Before there is a step too: while namespaces are entered, the launcher starts and the network is made.
    let early = (0..8).map(|part| End::KilledAfter(Duration::from_millis(4) * part));
    let sleeping = [1, 4, 1, 4].map(End::KilledIn);
    let others = [End::Success, End::Failure, End::Failure, End::Success, End::Timeout];
    let others = others.into_iter().chain(others);
    (0..24).map(killed).chain(early).chain(sleeping).chain(others).collect()
}

/// Where builds are made and leave what they leave.
struct Place {
    kiln: Kiln,
    cgroup: Cgroup,
}

/// What came of a build.
struct Built {
    steps: usize,
    time: Duration,
}

impl Place {
    /// Makes a build that ends as it is to.
    #[track_caller]
    fn build(&self, number: usize, end: End) -> Built {
        let context = support::scratch();
        write(context.path(), "Dockerfile", dockerfile(number, end));
        write(context.path(), "secret", "hush");
        let log = self.kiln.out().join("log");
        let mut command = self.command(context.path(), number, end);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).expect("a log"));
        let said = || std::fs::read_to_string(&log).expect("the log");
        let start = Instant::now();
        let mut child = command.spawn().expect("kiln starts");
        match end {
            End::KilledAfter(time) => std::thread::sleep(time),
            End::KilledIn(sleeping) => {
                while said().matches(" now sleeping\n").count() < sleeping {
                    assert!(start.elapsed() < LIMIT, "too slow: {}", said());
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            End::Success | End::Failure | End::Timeout => {}
        }
        if matches!(end, End::KilledAfter(_) | End::KilledIn(_)) {
            child.kill().expect("a signal");
        }
        let status = wait(&mut child, LIMIT).unwrap_or_else(|| panic!("{end:?}: too slow: {}", said()));
        let said = said();
        let (code, word) = match end {
            End::Success => (Some(0), ""),
            End::Failure => (Some(1), "exit code: 7"),
            End::Timeout => (Some(1), "error[timeout]"),
            // It may have been at its end before.
            End::KilledAfter(_) | End::KilledIn(_) => (status.code().filter(|code| *code == 0), ""),
        };
        assert!(status.code() == code && said.contains(word), "{end:?}: {status}\n{said}");
        // There is a helper to be left behind.
        assert!(!said.contains("host's network"), "no network helper: {said}");
        Built { steps: said.matches(" step-runs\n").count(), time: start.elapsed() }
    }

    fn command(&self, context: &Path, number: usize, end: End) -> Command {
        let mut command = self.kiln.command();
        command.args(["build", "--progress=plain", "-o", "type=cacheonly", "--secret"]);
        command.arg(format!("id=s,src={}", context.join("secret").display()));
        if matches!(end, End::Timeout) {
            command.args(["--timeout", "1s"]);
        }
        if self.is_limited(number) {
            command.args(["--pids-limit", "500", "--cgroup-parent", &self.cgroup.name]);
        }
        command.arg(context);
        // A user may open the device where the administrator lets them.
        machine::with(&["tun"], &command)
    }

    /// Whether the steps of this build are limited: of every second one.
    fn is_limited(&self, number: usize) -> bool {
        number.is_multiple_of(2) && self.cgroup.is_there()
    }

    /// Waits until what a build made is gone without anybody's help, but for what is swept.
    #[track_caller]
    fn check_settled(&self, before: &Traces, number: usize, end: End) -> Duration {
        let killed = matches!(end, End::KilledAfter(_) | End::KilledIn(_));
        // The cgroup of a step in flight waits for the next kiln that limits steps.
        let sweeps = self.is_limited(number) && !killed;
        let parent = if sweeps { &self.cgroup.name } else { "no-cgroup-has-this-name" };
        traces::settled(before, parent).unwrap_or_else(|left| panic!("{end:?} left {left:#?}"))
    }

    /// Has the next kiln sweep, and looks again.
    #[track_caller]
    fn check_swept(&self, before: &Traces) {
        self.build(0, End::Success);
        let left = traces::settled(before, &self.cgroup.name);
        left.unwrap_or_else(|left| panic!("left after the next build: {left:#?}"));
        leftovers::assert_no_temporary_files(self.kiln.store());
        self.kiln.run(["prune", "--all"]).succeeded();
        // Whatever is made in a store has a digest or a random name.
        let mut find = tool::tool("find");
        find.arg(self.kiln.store()).args(["-regextype", "posix-extended", "-regex", ".*[0-9a-f]{16}.*"]);
        assert_eq!(tool::run(&mut find), "", "left in an emptied store");
    }
}

/// Steps of every kind, one after the other in a stage, and the last one as it is to end.
fn dockerfile(number: usize, end: End) -> String {
    let base = registry::base(Base::Busybox);
    // Quotes, so that the line that shows the command does not look like what it prints.
    let says = "echo step-r''uns";
    let kinds = [
        "",
        "--network=none ",
        "--mount=type=cache,target=/cache ",
        "--mount=type=secret,id=s,required ",
        "--mount=type=tmpfs,target=/memory --network=none ",
        "--mount=type=bind,from=other,target=/bound,rw ",
    ];
    let left_behind = "(trap '' HUP TERM; setsid sleep 300; true) & (sleep 300; true) & ";
    let mut text = format!("FROM {base} AS other\n");
    let mut add = |line: String| writeln!(text, "{line}").expect("a text grows");
    let stages = if let End::KilledIn(stages) = end { stages } else { 1 };
    for stage in 0..stages {
        add(format!("FROM {base} AS stage-{stage}"));
        for step in 0..LENGTH / stages {
            let background = if step % 5 == 1 { left_behind } else { "" };
            add(format!("RUN {}{background}{says}; : {number}-{stage}-{step}", kinds[step % kinds.len()]));
        }
        match end {
            End::Success | End::KilledAfter(_) => {}
            End::Failure => add(format!("RUN {left_behind}exit 7")),
            End::Timeout => add(format!("RUN trap '' TERM; {left_behind}sleep 300")),
            // Each another one: of steps that are the same one is done, and the others wait for it.
            End::KilledIn(_) => add(format!("RUN {left_behind}echo now s''leeping; sleep 300; : {stage}")),
        }
    }
    add(format!("FROM {base}"));
    (0..stages).for_each(|stage| add(format!("COPY --from=stage-{stage} /etc/passwd /{stage}")));
    text
}

/// A cgroup of the test's own in each hierarchy that this user can be given one in, removed when dropped.
struct Cgroup {
    name: String,
    made: Vec<PathBuf>,
}

impl Cgroup {
    fn make(user: Option<&User>) -> Self {
        let name = format!("test-of-kiln-clean-{}", std::process::id());
        let mut made = Vec::new();
        for top in traces::hierarchies() {
            // To enter one of version 2, a user needs a common ancestor too.
            let is_second = top.join("cgroup.controllers").exists();
            let path = top.join(&name);
            if is_second && user.is_some() || std::fs::create_dir(&path).is_err() {
                continue;
            }
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = std::fs::read_to_string(top.join(file)) {
                    let _ = std::fs::write(path.join(file), value);
                }
            }
            user.iter().for_each(|user| user.give(&path));
            made.push(path);
        }
        Self { name, made }
    }

    /// Whether steps can be limited in it.
    fn is_there(&self) -> bool {
        self.made.iter().any(|path| path.join("pids.max").exists())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.made.iter().for_each(|path| drop(std::fs::remove_dir(path)));
    }
}

/// The control: each kind of trace is seen when there is one.
#[test]
fn what_is_left_is_seen() {
    if !support::has_root() {
        return;
    }
    let _alone = alone();
    traces::adopt_orphans();
    let cgroup = Cgroup::make(None);
    let scratch = support::scratch();
    let before = traces::all(&cgroup.name);
    let left = |word: &str| {
        let now = traces::all(&cgroup.name);
        let found: Vec<String> = now.difference(&before).filter(|trace| trace.contains(word)).cloned().collect();
        assert!(!found.is_empty(), "{word} is not seen in {now:#?}");
        found
    };
    // The shell that starts it is gone at once, and has no part of its session.
    tool::run(tool::tool("sh").args(["-c", "exec 1>&- 2>&-; setsid unshare --net --mount sleep 47501 & true"]));
    let start = Instant::now();
    while !traces::all(&cgroup.name).iter().any(|trace| trace.contains(": sleep sleep 47501")) {
        assert!(start.elapsed() < LIMIT, "it does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    let orphan = left("sleep 47501").remove(0);
    left("namespace net:[");
    left("namespace mnt:[");
    let number = orphan.split([' ', ':']).nth(1).and_then(|number| number.parse().ok()).expect("a process");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), nix::sys::signal::Signal::SIGKILL).expect("a signal");
    traces::settled(&before, &cgroup.name).expect("it is gone");

    tool::run(tool::tool("mount").args(["-t", "tmpfs", "left"]).arg(scratch.path()));
    let seen = std::panic::catch_unwind(|| left(&scratch.path().display().to_string()));
    tool::run(tool::tool("umount").arg(scratch.path()));
    seen.expect("the mount is seen");

    if let Some(parent) = cgroup.made.first() {
        let below = parent.join("kiln-step-left");
        std::fs::create_dir(&below).expect("a cgroup");
        let seen = std::panic::catch_unwind(|| left("kiln-step-left"));
        std::fs::remove_dir(&below).expect("it is empty");
        seen.expect("the cgroup is seen");
    }
    let file = tempfile::Builder::new().prefix("kiln-left-").tempdir().expect("a directory");
    left("/kiln-left-");
    drop(file);
    traces::settled(&before, &cgroup.name).expect("nothing is left");
}
