//! What is there of processes, namespaces, mounts, cgroups and temporary files that builds may leave behind.
//!
//! Processes are found by descent and not by name: this process is the one that orphans of its descendants are given to
//! (prctl(2), PR_SET_CHILD_SUBREAPER), so whatever a build starts, however it detaches itself, stays below this process for as
//! long as it lives. A namespace lives by the processes in it, by descriptors of processes and by mounts, and so is found with them;
//! what the kernel alone might hold is counted by [`objects`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, waitpid};

/// What a killed kiln leaves ends by itself much sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lines of what is there.
pub(crate) type Traces = BTreeSet<String>;

/// Has orphans of descendants given to this process from now on.
pub(crate) fn adopt_orphans() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("to become a subreaper");
}

/// All traces there are now, with the cgroups called `parent` in each hierarchy.
pub(crate) fn all(parent: &str) -> Traces {
    let processes = descendants();
    let mut all = Traces::new();
    for (number, name) in &processes {
        all.insert(format!("process {number}: {name}"));
    }
    let own = std::process::id();
    all.extend(processes.keys().chain([&own]).flat_map(|number| namespaces_of(*number)));
    all.extend(mounts().into_iter().map(|mount| format!("mount {mount}")));
    all.extend(
        hierarchies().iter().flat_map(|top| below(&top.join(parent))).map(|path| format!("cgroup {}", path.display())),
    );
    all.extend(temporary_files());
    all
}

/// Waits until there is nothing that was not there `before`; returns how long that took, or what is left.
pub(crate) fn settled(before: &Traces, parent: &str) -> Result<Duration, Vec<String>> {
    let start = Instant::now();
    loop {
        let left: Vec<String> = all(parent).difference(before).cloned().collect();
        if left.is_empty() {
            return Ok(start.elapsed());
        }
        if start.elapsed() > PATIENCE {
            return Err(left);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The living processes below this one, by number. Orphans that have ended are reaped.
fn descendants() -> BTreeMap<u32, String> {
    let processes: Vec<Process> = numbers_in(Path::new("/proc")).into_iter().filter_map(Process::read).collect();
    let mut known = BTreeSet::from([std::process::id()]);
    loop {
        let before = known.len();
        known.extend(
            processes
                .iter()
                .filter(|process| known.contains(&process.parent))
                .map(|process| process.number)
                .collect::<Vec<_>>(),
        );
        if known.len() == before {
            break;
        }
    }
    let below =
        processes.into_iter().filter(|process| process.number != std::process::id() && known.contains(&process.number));
    let (ended, living): (Vec<_>, Vec<_>) = below.partition(|process| process.is_zombie);
    for orphan in ended.iter().filter(|process| process.parent == std::process::id()) {
        let number = i32::try_from(orphan.number).ok().and_then(Pid::from_raw);
        let _ = waitpid(number, WaitOptions::NOHANG);
    }
    living.into_iter().map(|process| (process.number, process.name)).collect()
}

struct Process {
    number: u32,
    parent: u32,
    is_zombie: bool,
    name: String,
}

impl Process {
    /// `None` when it has ended meanwhile.
    fn read(number: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        // The name, in parentheses, may hold anything; state and parent follow.
        let (front, rest) = text.rsplit_once(") ")?;
        let mut words = rest.split(' ');
        let is_zombie = matches!(words.next()?, "Z" | "X");
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let name = format!("{} {line}", front.split_once('(')?.1);
        Some(Self { number, parent: words.next()?.parse().ok()?, is_zombie, name })
    }
}

/// Those that the threads of a process are in, and those that it holds by descriptors.
fn namespaces_of(process: u32) -> Traces {
    let directory = PathBuf::from(format!("/proc/{process}"));
    let threads =
        numbers_in(&directory.join("task")).into_iter().map(|thread| directory.join(format!("task/{thread}/ns")));
    let links = threads.chain([directory.join("fd")]).flat_map(|directory| entries(&directory));
    let texts = links.filter_map(|link| Some(std::fs::read_link(link).ok()?.to_string_lossy().into_owned()));
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let is_namespace = |text: &String| text.split_once(":[").is_some_and(|(kind, _)| kinds.contains(&kind));
    texts.filter(is_namespace).map(|text| format!("namespace {text}")).collect()
}

/// The mounts this process sees: where they are and what.
fn mounts() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts of this process");
    text.lines().map(|line| line.split(' ').skip(2).collect::<Vec<_>>().join(" ")).collect()
}

/// Where cgroups are mounted, of either version.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let is_one = |mount: &String| mount.contains(" - cgroup ") || mount.contains(" - cgroup2 ");
    let place = |mount: String| mount.split(' ').nth(2).map(PathBuf::from);
    mounts().into_iter().filter(is_one).filter_map(place).collect()
}

/// The directories below one.
fn below(directory: &Path) -> Vec<PathBuf> {
    let inside = entries(directory).into_iter().filter(|path| path.is_dir());
    inside.flat_map(|path| [below(&path), vec![path]].concat()).collect()
}

/// What bears kiln's name where temporary files are, the tests' own left out.
fn temporary_files() -> Traces {
    let all = ["/tmp", "/var/tmp", "/dev/shm", "/run"].iter().flat_map(|place| entries(Path::new(place)));
    let names = all.map(|path| path.display().to_string());
    names
        .filter(|path| path.contains("kiln") && !path.contains("kiln-test-"))
        .map(|path| format!("file {path}"))
        .collect()
}

fn numbers_in(directory: &Path) -> Vec<u32> {
    entries(directory).iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// How many of the objects that namespaces and mounts consist of the kernel has, by its own account (slabinfo(5)), which is exact to
/// a hundred or two. Empty where it gives none.
pub(crate) fn objects() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let counted = ["net_namespace", "pid_namespace", "user_namespace", "uts_namespace", "mnt_cache"];
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let named = lines.filter_map(|words| Some((words.first()?.to_string(), words.get(1)?.parse().ok()?)));
    named.filter(|(name, _)| counted.contains(&name.as_str())).collect()
}
