//! What a store takes of the disk, and what is taken out of it: measured, and beside builds that run and are killed.

// Tests are the edge: they list directories and look at the clock.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::bases::Base;
use support::kiln::Kiln;
use support::user::User;
use support::{leftovers, registry, tool, write};

/// How many different images are built.
const KINDS: usize = 5;
/// How many kilns build at once.
const BUILDERS: usize = 3;
/// How long they do.
const LENGTH: Duration = Duration::from_secs(20);

#[test]
fn prunes_beside_builds_that_are_killed_take_nothing_in_use() {
    let contexts: Vec<_> = (0..KINDS).map(context).collect();
    // What each is when nobody prunes.
    let quiet = Kiln::new();
    let expected: Vec<String> = contexts.iter().map(|context| digest(&quiet, context.path(), "quiet")).collect();
    let kiln = Kiln::new();
    let (is_over, whole, killed, pruned) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let builders: Vec<_> = (0..BUILDERS)
            .map(|builder| {
                let (kiln, contexts, expected, whole, killed) = (&kiln, &contexts, &expected, &whole, &killed);
                scope.spawn(move || {
                    let mut random = Random(0x9e37_79b9 + builder as u64);
                    while start.elapsed() < LENGTH {
                        let kind = random.below(KINDS as u64) as usize;
                        let name = format!("name{builder}:{kind}");
                        if random.below(3) == 0 {
                            let mut child = begun(kiln, contexts[kind].path(), &name);
                            std::thread::sleep(Duration::from_millis(random.below(600)));
                            child.kill().expect("a child that can be killed");
                            child.wait().expect("its end");
                            killed.fetch_add(1, Ordering::Relaxed);
                        } else {
                            assert_eq!(digest(kiln, contexts[kind].path(), &name), expected[kind], "kind {kind}");
                            whole.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for pruner in 0..2 {
            let (kiln, is_over, pruned) = (&kiln, &is_over, &pruned);
            scope.spawn(move || {
                let mut random = Random(17 + pruner);
                while !is_over.load(Ordering::Relaxed) {
                    let ended = match random.below(6) {
                        0 => kiln.run(["prune", "-af"]),
                        1 => kiln.run(["prune", "-af", "--keep-storage", "4mb"]),
                        2 => {
                            let name = format!("name{}:{}", random.below(BUILDERS as u64), random.below(KINDS as u64));
                            kiln.run(["rmi", "-f", &name])
                        }
                        _ => kiln.run(["prune", "-f"]),
                    };
                    ended.succeeded();
                    pruned.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(random.below(200)));
                }
            });
        }
        let ended: Vec<_> = builders.into_iter().map(|builder| builder.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a build beside prunes failed");
    });
    let counts = [whole, killed, pruned].map(AtomicUsize::into_inner);
    assert!(counts.iter().all(|count| *count >= 5), "too little happened: {counts:?}");
    // What is left is whole, and leads to the same.
    for (kind, context) in contexts.iter().enumerate() {
        assert_eq!(digest(&kiln, context.path(), "after"), expected[kind]);
    }
    let layout = kiln.store().join("content");
    for name in kiln.run(["images", "--format", "{{.Repository}}:{{.Tag}}"]).succeeded().stdout.lines() {
        let (from, to) = (format!("oci:{}:{name}", layout.display()), support::scratch());
        tool::run(tool::tool("skopeo").args(["copy", "-q", &from, &format!("dir:{}", to.path().display())]));
    }
    kiln.run(["prune", "-af"]).succeeded();
    let leases = std::fs::read_dir(kiln.store().join("leases")).expect("the leases").count();
    assert_eq!(leases, 1, "leases of processes that are gone");
    leftovers::assert_no_temporary_files(kiln.store());
    leftovers::assert_none_of(&kiln.store().display().to_string());
}

/// A build of two stages, parts of which other kinds have, too.
fn context(kind: usize) -> tempfile::TempDir {
    let context = support::scratch();
    let (base, shared) = (registry::base(Base::Busybox), kind % 2);
    write(
        context.path(),
        "Dockerfile",
        format!(
            "FROM {base} AS made\nRUN head -c 200000 /bin/busybox >/part && echo {shared} >>/part\nCOPY file /file\n\
             RUN --mount=type=cache,target=/cache cat /part /file >/whole && touch /cache/{kind}\n\
             FROM {base}\nWORKDIR /work\nCOPY --from=made /whole .\nRUN ls >list && sleep 0.1\n"
        ),
    );
    write(context.path(), "file", format!("{kind}\n").repeat(10_000));
    context
}

fn arguments<'a>(name: &'a str, metadata: &'a str) -> Vec<&'a str> {
    vec!["build", "--reproducible", "-q", "-t", name, "--metadata-file", metadata]
}

/// Builds, which must succeed; returns the digest of the manifest.
#[track_caller]
fn digest(kiln: &Kiln, context: &Path, name: &str) -> String {
    let scratch = support::scratch();
    let metadata = scratch.path().join("metadata.json");
    let metadata_text = metadata.display().to_string();
    let context = context.display().to_string();
    kiln.run(arguments(name, &metadata_text).into_iter().chain([context.as_str()])).succeeded();
    let metadata: Value = serde_json::from_slice(&std::fs::read(&metadata).expect("the metadata")).expect("JSON");
    metadata["containerimage.digest"].as_str().expect("a digest").to_owned()
}

fn begun(kiln: &Kiln, context: &Path, name: &str) -> Child {
    let mut command = kiln.command();
    command.args(["build", "--reproducible", "-q", "-t", name]).arg(context);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kiln starts")
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn a_step_that_runs_keeps_what_it_has() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    write(
        context.path(),
        "Dockerfile",
        format!(
            "FROM {base}\nRUN echo kept >/kept\nRUN --mount=type=cache,target=/c touch /c/x && sleep 4 && cat /kept >/c/x && cp /c/x /y\nCOPY --from={base} /bin/busybox /again\n"
        ),
    );
    let mut child = begun(&kiln, context.path(), "app");
    std::thread::sleep(Duration::from_millis(2500));
    for _ in 0..3 {
        kiln.run(["prune", "-af"]).succeeded();
    }
    assert!(child.wait().expect("its end").success());
    let run = kiln.run(["run", "app", "cat", "/y"]);
    assert_eq!(run.succeeded().stdout, "kept\n", "{}", run.both());
}

#[test]
fn du_and_prune_of_a_large_store_tell_what_the_disk_tells() {
    if !support::has_root() {
        return;
    }
    for user in [None, Some(User::with_ranges()), Some(User::without_ranges())] {
        let kiln = user.map_or_else(Kiln::new, Kiln::of);
        let context = support::scratch();
        let base = registry::base(Base::Debian);
        write(
            context.path(),
            "Dockerfile",
            format!(
                "FROM {base}\nRUN cp -a /usr/bin /copied && chown -R 33:33 /copied && mkdir -m 0700 /closed && chown 1:1 /closed\n\
                 RUN rm -r /copied && cp -a /usr/share/doc /doc && mkfifo /closed/fifo\n"
            ),
        );
        kiln.build(context.path(), &["-t", "app"]).succeeded();
        write(context.path(), "Dockerfile", format!("FROM {base}\nRUN cp -a /usr/lib/x86_64-linux-gnu /lib-copy\n"));
        kiln.build(context.path(), &[]).succeeded();
        let before = on_disk(&kiln);
        assert!(before > 50_000_000, "a store of {before} bytes is no large one");
        let bytes = |format: &str| -> u64 {
            let list = kiln.run(["du", "--format", format]);
            list.succeeded().stdout.lines().map(|line| line.parse::<u64>().expect("a number")).sum()
        };
        let said = bytes("{{.Bytes}}");
        assert!(said.abs_diff(before) * 50 <= before, "du says {said}, the disk {before}");
        let reclaimable = bytes("{{if eq .Reclaimable \"true\"}}{{.Bytes}}{{else}}0{{end}}");
        let freed = |arguments: &[&str]| {
            let before = on_disk(&kiln);
            let output = kiln.run(["prune", "-f"].iter().chain(arguments)).succeeded().stdout.clone();
            let last = output.lines().last().and_then(|line| line.strip_prefix("Total reclaimed space: "));
            (before - on_disk(&kiln), size(last.expect("how much")))
        };
        let (really, told) = freed(&[]);
        assert!(really.abs_diff(told) * 50 <= really, "prune says {told}, and the disk has {really} more");
        assert!(really.abs_diff(reclaimable) * 50 <= really, "du says {reclaimable}, and {really} went");
        // A cap is kept, and the named image goes for it.
        let cap = on_disk(&kiln) / 2;
        let (really, told) = freed(&["-a", "--keep-storage", &cap.to_string()]);
        assert!(really.abs_diff(told) * 50 <= really, "prune says {told}, and the disk has {really} more");
        assert!(on_disk(&kiln) <= cap, "{} is more than {cap}", on_disk(&kiln));
        freed(&["-a"]);
        assert!(on_disk(&kiln) < 300_000, "{} bytes of an empty store", on_disk(&kiln));
    }
}

/// Reads a size as docker prints it: three digits of it.
fn size(text: &str) -> u64 {
    let split = text.find(|character: char| character.is_ascii_alphabetic()).expect("a unit");
    let factor = match &text[split..] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        other => panic!("{other} is no unit"),
    };
    (text[..split].parse::<f64>().expect("a number") * factor) as u64
}

/// Bytes of the store as `du` counts them.
fn on_disk(kiln: &Kiln) -> u64 {
    let text = tool::run(tool::tool("du").args(["-s", "-B1"]).arg(kiln.store()));
    text.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("a number of bytes")
}
