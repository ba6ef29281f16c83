//! Looks for what a build left behind: processes, mounts, temporary files.

use std::path::Path;
use std::time::{Duration, Instant};

/// Fails when a process is alive, after a grace of five seconds, whose command line, environment, program or mounts
/// name `mark` (the path of a store, for example), or when this process sees a mount that does.
#[track_caller]
pub fn assert_none_of(mark: &str) {
    let start = Instant::now();
    loop {
        let found = processes_of(mark);
        if found.is_empty() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "processes of `{mark}` are left: {found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts of this process");
    let left: Vec<&str> = mounts.lines().filter(|line| line.contains(mark)).collect();
    assert!(left.is_empty(), "mounts of `{mark}` are left: {left:?}");
}

/// Fails when the store holds unfinished work.
#[track_caller]
pub fn assert_no_temporary_files(store: &Path) {
    for name in ["tmp", "scratch"] {
        let Ok(entries) = std::fs::read_dir(store.join(name)) else { continue };
        let left: Vec<_> = entries.map(|entry| entry.expect("an entry of the store").path()).collect();
        assert!(left.is_empty(), "left in the store: {left:?}");
    }
}

fn processes_of(mark: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let process = entry.file_name().to_string_lossy().into_owned();
        if process == own || !process.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let directory = entry.path();
        // A process that ends while it is looked at has nothing to read.
        let read =
            |name: &str| String::from_utf8_lossy(&std::fs::read(directory.join(name)).unwrap_or_default()).into_owned();
        let program = std::fs::read_link(directory.join("exe")).unwrap_or_default();
        let texts = [read("cmdline"), read("environ"), program.display().to_string()];
        if texts.iter().any(|text| text.contains(mark)) {
            found.push(format!("{process}: {}", texts[0].replace('\0', " ")));
        }
    }
    found
}
