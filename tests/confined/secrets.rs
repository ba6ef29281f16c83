//! Secrets: seen by their step, and by nobody else, at no time.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::kiln::wait;
use super::support::{tool, write};
use super::{Builder, context_of};

const WORD: &str = "kiln-secret-of-one-step";

/// Processes with the word on their command line, and those with it in their environment.
fn processes_that_know() -> (Vec<String>, Vec<String>) {
    let (mut lines, mut environments) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let holds = |file: &str| {
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            bytes.windows(WORD.len()).any(|bytes| bytes == WORD.as_bytes())
        };
        if holds("cmdline") {
            lines.push(name.clone());
        }
        if holds("environ") {
            environments.push(name);
        }
    }
    (lines, environments)
}

fn found_below(directory: &Path) -> String {
    let found = Command::new("grep").args(["-rlas", WORD]).arg(directory).output().expect("grep runs");
    String::from_utf8_lossy(&found.stdout).into_owned()
}

fn is_in_a_sandbox(process: &str) -> bool {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/pid"));
    // One that has ended meanwhile knows nothing any more.
    namespace(process).map_or(true, |other| other != namespace("self").expect("own namespace"))
}

#[test]
fn a_secret_is_in_no_layer_no_log_no_key_and_no_list_of_processes() {
    let context = context_of(
        "FROM BUSYBOX\n\
         RUN --mount=type=secret,id=s test $(wc -c < /run/secrets/s) = 23 && stat -c 'mode %a of %u' /run/secrets/s && \
         grep -q '^[^ ]* /run/secrets/s tmpfs ro,' /proc/mounts && echo in memory; ! echo x 2>/dev/null > /run/secrets/s\n\
         RUN --mount=type=secret,id=s,env=S test ${#S} = 23 && echo waiting && sleep 4\n\
         RUN test ! -s /run/secrets/s && test -z \"$S\" && echo gone\n",
    );
    for builder in Builder::all() {
        let kiln = builder.kiln();
        let out = kiln.out();
        write(&out, "secret", WORD);
        tool::run(tool::tool("chmod").args(["a+r"]).arg(out.join("secret")));
        let secret = format!("--secret=id=s,src={}", out.join("secret").display());
        let archive = format!("-otype=oci,dest={}", out.join("image.tar").display());
        let log = out.join("log");
        let mut command = kiln.command();
        command.args(["build", "--progress=plain", &secret, &archive]).arg(context.path());
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).expect("a log"));
        let mut child = command.spawn().expect("kiln starts");
        let (start, text) = (Instant::now(), || std::fs::read_to_string(&log).expect("the log"));
        while !text().contains(" waiting\n") {
            assert!(start.elapsed() < Duration::from_secs(120), "{}", text());
            std::thread::sleep(Duration::from_millis(10));
        }
        let (lines, environments) = processes_that_know();
        assert_eq!(lines, Vec::<String>::new(), "{builder:?}");
        assert!(!environments.is_empty(), "the step has it in its environment");
        assert!(environments.iter().all(|process| is_in_a_sandbox(process)), "{builder:?}: {environments:?}");
        assert_eq!(found_below(kiln.store()), "", "while the step runs");
        let status = wait(&mut child, Duration::from_secs(120)).expect("kiln ends");
        let text = text();
        assert!(status.success(), "{text}");
        for said in [" mode 400 of 0\n", " in memory\n", " gone\n"] {
            assert!(text.contains(said), "{said}{text}");
        }
        assert!(!text.contains(WORD), "{text}");
        assert_eq!(found_below(kiln.store()), "");
        assert_eq!(found_below(&out).trim(), out.join("secret").display().to_string());
    }
    // The controls: what is looked for would be found.
    let mut shown = Command::new("sleep").arg("10").env("S", WORD).spawn().expect("sleep runs");
    let mut listed = Command::new("sh").args(["-c", "sleep 10; :", WORD]).spawn().expect("sh runs");
    std::thread::sleep(Duration::from_millis(100));
    let (lines, environments) = processes_that_know();
    for child in [&mut shown, &mut listed] {
        child.kill().and_then(|()| child.wait()).expect("the end of the control");
    }
    assert!(lines.contains(&listed.id().to_string()) && environments.contains(&shown.id().to_string()));
}
