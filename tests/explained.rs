//! Why a step ran; steps that must not run; and builds that share a step they are both at.

// Tests are the edge: they list directories.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::Path;

use support::bases::Base;
use support::kiln::{Kiln, Output};
use support::{registry, write};

const FILE: &str = "ARG BASE\nFROM $BASE AS tools\nRUN echo tools > /tools\n\
    FROM $BASE\nARG VERSION=1\nWORKDIR /work\nCOPY src /src\nRUN echo $VERSION > /version\nCOPY --from=tools /tools /\n";

fn context() -> tempfile::TempDir {
    let context = tempfile::tempdir().expect("a context");
    write(context.path(), "Dockerfile", FILE.replace("$BASE", &registry::base(Base::Busybox)));
    write(context.path(), "src/one", "1\n");
    write(context.path(), "src/two", "2\n");
    context
}

/// Why steps ran, a line each: `RUN make: why`.
fn explained(output: &Output) -> Vec<String> {
    let of = |line: &str| {
        let (step, why) = line.split_once(": not cached: ")?;
        Some(format!("{}: {why}", step.split_once("] ")?.1))
    };
    output.stderr.lines().filter_map(of).collect()
}

fn build(kiln: &Kiln, context: &Path, arguments: &[&str]) -> Output {
    let mut all = vec!["--explain"];
    all.extend(arguments);
    let output = kiln.build(context, &all);
    output.succeeded();
    output
}

#[test]
fn a_step_that_runs_says_why() {
    let (kiln, context) = (Kiln::new(), context());
    let first = explained(&build(&kiln, context.path(), &[]));
    assert!(
        first.len() == 5 && first.iter().all(|line| line.ends_with("nothing is known of an earlier build of this"))
    );
    assert_eq!(explained(&build(&kiln, context.path(), &[])), [""; 0]);

    let changed = explained(&build(&kiln, context.path(), &["--build-arg", "VERSION=2"]));
    assert_eq!(
        changed,
        [
            "RUN echo $VERSION > /version: `VERSION` of its environment changed",
            "COPY --from=tools /tools /: `[stage-1 4/5] RUN echo $VERSION > /version` gave something else"
        ]
    );

    let text = std::fs::read_to_string(context.path().join("Dockerfile")).expect("the Dockerfile");
    write(context.path(), "Dockerfile", text.replace("echo tools", "echo more"));
    let changed = explained(&build(&kiln, context.path(), &["--build-arg", "VERSION=2"]));
    assert_eq!(changed[0], "RUN echo more > /tools: the instruction is another one; it was `RUN echo tools > /tools`");
    assert_eq!(changed.len(), 2, "{changed:?}");

    let ignored = explained(&build(&kiln, context.path(), &["--build-arg", "VERSION=2", "--no-cache-filter=tools"]));
    assert!(ignored[0].ends_with("the cache is not asked: --no-cache or --no-cache-filter"), "{ignored:?}");

    std::fs::remove_dir_all(kiln.store().join("cache/steps")).expect("the records go");
    let gone = explained(&build(&kiln, context.path(), &["--build-arg", "VERSION=2"]));
    assert!(gone.iter().any(|line| line.contains("but its record is gone")), "{gone:?}");
}

#[test]
fn a_copy_names_the_file() {
    let (kiln, context) = (Kiln::new(), context());
    let told = || {
        let lines = explained(&build(&kiln, context.path(), &[]));
        lines.into_iter().find_map(|line| line.strip_prefix("COPY src /src: ").map(str::to_owned)).unwrap_or_default()
    };
    told();
    write(context.path(), "src/two", "two\n");
    assert_eq!(told(), "`/src/two` changed");
    write(context.path(), "src/deep/three", "3\n");
    assert_eq!(told(), "`/src/deep` is new, and 1 more");
    std::fs::remove_file(context.path().join("src/one")).expect("a file goes");
    assert_eq!(told(), "`/src/one` is gone");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(context.path().join("src/two"), mode).expect("another mode");
    assert_eq!(told(), "the mode of `/src/two` is 0600 and was 0644 (by chmod, or the umask of a checkout)");
    std::os::unix::fs::symlink("two", context.path().join("src/one")).expect("a link");
    assert_eq!(told(), "`/src/one` is new");
    assert_eq!(told(), "");
}

#[test]
fn what_must_be_cached_is_or_nothing_runs() {
    let (kiln, context) = (Kiln::new(), context());
    let refused = kiln.build(context.path(), &["--require-cached"]);
    assert_eq!(refused.code, 1, "{}", refused.both());
    assert!(refused.stderr.contains("the cache does not have `["), "{}", refused.both());
    let records = || std::fs::read_dir(kiln.store().join("cache/steps")).expect("the records").count();
    assert_eq!(records(), 0, "nothing was run");
    // Of one stage: the other, which nothing here waits for, does not run either.
    kiln.build(context.path(), &["--require-cached=tools"]).failed_saying(&["the cache does not have `["]);
    assert_eq!(records(), 0, "nothing was run");

    build(&kiln, context.path(), &["--target=tools"]);
    kiln.build(context.path(), &["--require-cached"]).failed_saying(&["the cache does not have `["]);
    build(&kiln, context.path(), &["--require-cached=tools"]);
    build(&kiln, context.path(), &["--require-cached"]);
    kiln.build(context.path(), &["--require-cached", "--no-cache"]).failed_saying(&["--no-cache", "--require-cached"]);
}

#[test]
fn two_builds_that_are_at_one_step_do_it_once() {
    let kiln = Kiln::new();
    let context = tempfile::tempdir().expect("a context");
    let base = registry::base(Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base}\nRUN sleep 2; cat /proc/sys/kernel/random/uuid > /id\n"));
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let run = || kiln.build(context.path(), &["--progress=plain"]);
        let all: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        all.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    outputs.iter().for_each(|output| _ = output.succeeded());
    let waited = |output: &&Output| output.stderr.contains("another build is at this step");
    assert_eq!(outputs.iter().filter(waited).count(), 3, "{}", outputs[0].both());
    let mut cached: Vec<usize> = outputs.iter().map(|output| output.stderr.matches(" CACHED\n").count()).collect();
    cached.sort_unstable();
    assert_eq!(cached, [1, 2, 2, 2], "the base, and the command but for one: {}", outputs[0].both());
    let turns = kiln.store().join("cache/turns");
    assert_eq!(std::fs::read_dir(turns).map_or(0, Iterator::count), 0, "no turn is left");
}
