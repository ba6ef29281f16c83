//! What a step writes: never a way to the user's terminal, and never more than there is room for.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::support::kiln::{Kiln, output_of};
use super::{command, context_of};

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn no_control_character_of_a_step_or_a_dockerfile_reaches_the_user() {
    // Raw bytes in the command, in what it writes, in its last line, and in the message of its failure.
    let harm = "\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\u{8}\u{7f}";
    let text = format!(
        "FROM BUSYBOX\nRUN printf 'shown \\033]0;title\\007\\033[2J\\302\\2331m\\010 end\\nlast \\033[31mline'; : {harm}; exit 7\n"
    );
    let context = context_of(&text);
    for progress in ["plain", "quiet", "rawjson"] {
        let kiln = Kiln::new();
        let output = output_of(&mut command(&kiln, context.path(), &[&format!("--progress={progress}")]), LIMIT);
        assert_eq!(output.code, 1, "{}", output.both());
        // JSON need not and does not escape the others; a program reads it.
        let harms = |c: &char| c.is_control() && !"\n\t".contains(*c) && (progress != "rawjson" || *c < ' ');
        let bad: Vec<char> = output.both().chars().filter(harms).collect();
        assert_eq!(bad, Vec::<char>::new(), "{progress}\n{:?}", output.both());
        assert!(progress == "rawjson" || output.both().contains("shown  end"), "{progress}\n{}", output.both());
    }
}

/// The largest memory `build` had, in KiB, and how much it said.
fn memory_of(kiln: &Kiln, mut build: std::process::Command) -> (u64, u64) {
    let log = kiln.out().join("log");
    build.stdout(Stdio::null()).stderr(std::fs::File::create(&log).expect("a log"));
    let mut child = build.spawn().expect("kiln starts");
    let (start, mut most) = (Instant::now(), 0);
    while child.try_wait().expect("the state of a child").is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(peak.unwrap_or(0));
        assert!(start.elapsed() < LIMIT, "it hangs");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(child.wait().expect("the end").success(), "{}", std::fs::read_to_string(&log).unwrap_or_default());
    (most, std::fs::metadata(&log).expect("the log").len())
}

#[test]
fn a_step_that_writes_without_end_costs_no_memory_and_bounded_space() {
    // Two at once, so that one of them must wait for its turn to be shown.
    let flood = |command: &str| {
        format!("FROM BUSYBOX AS a\nRUN {command}\nFROM BUSYBOX\nRUN {command}\nCOPY --from=a /bin/busybox /b\n")
    };
    let quiet_peak = {
        let (kiln, context) = (Kiln::new(), context_of(&flood("true")));
        memory_of(&kiln, command(&kiln, context.path(), &[])).0
    };
    for flooding in
        ["timeout 2 yes '' || true", "timeout 2 cat /dev/zero || true", "timeout 2 yes abc | tr -d '\\n' || true"]
    {
        let context = context_of(&flood(flooding));
        for progress in ["plain", "rawjson", "quiet"] {
            let kiln = Kiln::new();
            let arguments = [&format!("--progress={progress}")[..]];
            let (peak, said) = memory_of(&kiln, command(&kiln, context.path(), &arguments));
            assert!(peak < quiet_peak + (32 << 10), "{flooding} with {progress}: {peak} KiB beside {quiet_peak}");
            assert!(said < 400 << 20, "{flooding} with {progress}: {said} bytes");
        }
    }
}
