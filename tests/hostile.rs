//! Bad input, bad machines, bad ends: each gives one clear message and an exit code by kind, and leaves a store
//! with which the next build works.

// Tests are the edge: they list directories and look at the clock.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::bases::Base;
use support::kiln::{Kiln, output_of, wait};
use support::registry::Registry;
use support::user::User;
use support::{image, leftovers, registry, tool, write};

/// The exit codes of kiln, by kind of failure.
mod exit {
    pub(crate) const FAILED: i32 = 1;
    pub(crate) const USAGE: i32 = 2;
    pub(crate) const ENVIRONMENT: i32 = 3;
    pub(crate) const NETWORK: i32 = 4;
    pub(crate) const INTERRUPTED: i32 = 130;
}

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_missing_dockerfile() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let output = kiln.build(context.path(), &[]);
    assert_eq!(output.failed_saying(&["Dockerfile"]).code, exit::FAILED);
    let output = kiln.build(context.path(), &["-f", "nowhere/Dockerfile.other"]);
    assert_eq!(output.failed_saying(&["Dockerfile.other"]).code, exit::FAILED);
    check_next_build(&kiln);
}

#[test]
fn a_missing_context() {
    let kiln = Kiln::new();
    let output = kiln.build(Path::new("/no/such/context"), &[]);
    output.failed_saying(&["/no/such/context"]);
    check_next_build(&kiln);
}

/// A context may be larger than any memory: it is unpacked as it comes.
#[test]
fn a_long_stream_with_little_memory() {
    const MIB: u64 = 1 << 20;
    let kiln = Kiln::new();
    let built = kiln.command();
    let mut command = tool::tool("prlimit");
    command.arg(format!("--data={}", 64 * MIB)).arg(built.get_program()).args(["build", "--progress=plain", "-"]);
    command.envs(built.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("prlimit");
    let stream = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || {
        let mut archive = tar::Builder::new(stream);
        let mut add = |name: &str, length: u64, bytes: &mut dyn std::io::Read| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(length);
            archive.append_data(&mut header, name, bytes)
        };
        let dockerfile = b"FROM scratch\nCOPY large /\n";
        add("Dockerfile", dockerfile.len() as u64, &mut dockerfile.as_slice())?;
        add("large", 256 * MIB, &mut std::io::Read::take(std::io::repeat(b'x'), 256 * MIB))?;
        archive.finish()
    });
    let status = wait(&mut child, LIMIT).expect("an end in time");
    writer.join().expect("no panic").expect("kiln reads all of it");
    assert!(status.success(), "{status}");
}

#[test]
fn a_missing_file_to_copy_is_shown_with_its_line() {
    let kiln = Kiln::new();
    let context = context_of("FROM scratch\nCOPY there.txt /\nCOPY absent.txt /\n");
    write(context.path(), "there.txt", "here");
    let output = kiln.build(context.path(), &[]);
    assert_eq!(output.failed_saying(&["absent.txt", "Dockerfile:3", "COPY absent.txt /"]).code, exit::FAILED);
    check_next_build(&kiln);
}

#[test]
fn every_mistake_of_a_dockerfile_is_told_in_one_go() {
    let kiln = Kiln::new();
    let context = context_of("FROM scratch\nRUNN true\nCOPY --chwon=1 a b\nEXPOSE\n");
    let output = kiln.build(context.path(), &[]);
    output.failed_saying(&["RUNN", "did you mean", "Dockerfile:2", "chwon", "Dockerfile:3", "EXPOSE", "Dockerfile:4"]);
    assert_eq!(output.code, exit::FAILED);
}

#[test]
fn bad_flags() {
    let kiln = Kiln::new();
    let context = context_of("FROM scratch\n");
    for (arguments, words) in [
        (&["--no-such-flag"][..], &["--no-such-flag"][..]),
        (&["--output", "type=nonsense,dest=x"], &["nonsense"]),
        (&["--platform", "one/two/three/four"], &["one/two/three/four"]),
        (&["--secret", "id=a,src=/no/such/secret"], &["/no/such/secret"]),
        (&["--tag", "NOT A NAME"], &["NOT A NAME"]),
        (&["--network", "bridge-of-some-kind"], &["bridge-of-some-kind"]),
        (&["--progress", "dance"], &["dance"]),
    ] {
        let output = kiln.build(context.path(), arguments);
        output.failed_saying(words);
        assert!([exit::USAGE, exit::FAILED].contains(&output.code), "{arguments:?}: {}", output.code);
    }
    assert_eq!(kiln.build(context.path(), &["--no-such-flag"]).code, exit::USAGE);
}

#[test]
fn a_failing_command_shows_its_line_its_output_and_its_code() {
    let kiln = Kiln::new();
    let base = registry::base(Base::Busybox);
    let context = context_of(&format!("FROM {base}\nRUN echo all is well\nRUN echo about to fail; exit 42\n"));
    let output = kiln.build(context.path(), &[]);
    assert_eq!(output.failed_saying(&["about to fail", "42", "Dockerfile:3"]).code, exit::FAILED);
    check_next_build(&kiln);
}

#[test]
fn a_registry_that_does_not_answer() {
    let kiln = Kiln::new();
    let address = registry::free_address();
    let context = context_of(&format!("FROM {address}/some/image:1\n"));
    let start = Instant::now();
    let output = kiln.build(context.path(), &[]);
    assert_eq!(output.failed_saying(&[&address, "Dockerfile:1"]).code, exit::NETWORK);
    assert!(start.elapsed() < Duration::from_secs(30), "it gave up after {:?} only", start.elapsed());
    check_next_build(&kiln);
}

#[test]
fn an_image_that_is_not_there() {
    let kiln = Kiln::new();
    let address = &registry::shared().address;
    for name in [format!("{address}/no/such/image:1"), format!("{address}/busybox@sha256:{}", "0".repeat(64))] {
        registry::base(Base::Busybox);
        let context = context_of(&format!("FROM {name}\n"));
        kiln.build(context.path(), &[]).failed_saying(&[&name, "not found", "Dockerfile:1"]);
    }
    check_next_build(&kiln);
}

#[test]
fn a_registry_that_serves_damaged_bytes() {
    let registry = Registry::start();
    let name = registry.serve(Base::Busybox);
    let context = context_of(&format!("FROM {name}\nRUN true\n"));
    for which in [Part::Layer, Part::Config] {
        let kiln = Kiln::new();
        let digest = digest_of(&name, which);
        let file = registry.blob_file(&digest);
        let good = std::fs::read(&file).expect("a blob of the registry");
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0x20;
        std::fs::write(&file, &bad).expect("a damaged blob");
        kiln.build(context.path(), &[]).failed_saying(&[&digest]);
        std::fs::write(&file, &good).expect("the blob as it was");
        kiln.build(context.path(), &[]).succeeded();
    }
}

#[test]
fn a_store_with_damaged_files_builds_anew() {
    let kiln = Kiln::new();
    let context = small_context();
    kiln.build(context.path(), &["-t", "damaged"]).succeeded();
    let mut files = Vec::new();
    for directory in ["cache", "content/blobs"] {
        files.extend(files_below(&kiln.store().join(directory)));
    }
    assert!(files.len() > 3, "a build leaves records and blobs: {files:?}");
    for file in files {
        let size = std::fs::metadata(&file).expect("a file of the store").len();
        tool::run(tool::tool("chmod").arg("u+w").arg(&file));
        std::fs::write(&file, vec![b'#'; usize::try_from(size).expect("a small file")]).expect("a damaged file");
    }
    let archive = kiln.build_archive(context.path(), "after.tar", &[]);
    let image = image::read(&archive).expect("an archive of whole blobs");
    assert_eq!(image::flatten(&image.layers).expect("whole layers")["/file"].data, b"small\n");
}

#[test]
fn a_full_disk() {
    if !support::has_root() {
        return;
    }
    let base = registry::base(Base::Busybox);
    let large = context_of(&format!("FROM {base}\nCOPY large /\n"));
    write(large.path(), "large", vec![7; 24 << 20]);
    let running = context_of(&format!("FROM {base}\nRUN dd if=/dev/zero of=/large bs=1M count=24\n"));
    let added = context_of("FROM scratch\nADD large.tar /\n");
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_path_with_name(large.path().join("large"), "large").expect("an archive");
    write(added.path(), "large.tar", tar.into_inner().expect("an archive"));
    let small = small_context();
    let all = [("pull", &small, "1m"), ("COPY", &large, "12m"), ("ADD", &added, "12m"), ("RUN", &running, "12m")];
    for (what, bad, size) in all {
        let kiln = Kiln::new();
        std::fs::create_dir(kiln.store()).expect("the mount point");
        // In a mount namespace of its own, so that nothing stays mounted whatever happens.
        let script = r#"
            mount -t tmpfs -o size="$1" none "$KILN_ROOT"
            "$2" build -t x "$3"; echo "first build: $?"
            mount -o remount,size=100m "$KILN_ROOT"
            "$2" build -t y "$4"; echo "second build: $?"
        "#;
        let program = kiln.command().get_program().to_owned();
        let mut command = tool::tool("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", size]).arg(program).args([bad.path(), small.path()]);
        let output = output_of(command.env("KILN_ROOT", kiln.store()), LIMIT);
        let log = output.both();
        assert!(log.to_lowercase().contains("no space left"), "{what}: the message does not name the cause\n{log}");
        let is_ours = what == "RUN" || log.contains("`kiln prune` takes out");
        assert!(is_ours, "{what}: the message does not say what to do\n{log}");
        assert!(!log.contains("first build: 0") && !log.contains("panicked"), "{what}\n{log}");
        assert!(log.contains("second build: 0"), "{what}: the next build failed\n{log}");
    }
}

/// What a step wrote is gone with it, so that one that fills the disk leaves room for the next; the store is then as if
/// it had never been.
#[test]
fn a_step_that_fills_the_disk() {
    if !support::has_root() {
        return;
    }
    let base = registry::base(Base::Busybox);
    let filling = context_of(&format!("FROM {base}\nRUN dd if=/dev/zero of=/large bs=1M count=48\n"));
    let small = small_context();
    for (size, fits) in [("32m", false), ("128m", true)] {
        let kiln = Kiln::new();
        std::fs::create_dir(kiln.store()).expect("the mount point");
        let script = r#"
            mount -t tmpfs -o size="$1" none "$KILN_ROOT"
            "$2" build --progress=plain -t x "$3"; echo "first build: $?"
            find "$KILN_ROOT"/scratch "$KILN_ROOT"/tmp "$KILN_ROOT"/snapshots/scratch -mindepth 1 2>/dev/null | sed 's/^/left: /'
            "$2" build -t y "$4"; echo "second build: $?"
        "#;
        let program = kiln.command().get_program().to_owned();
        let mut command = tool::tool("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", size]).arg(program).args([filling.path(), small.path()]);
        let log = output_of(command.env("KILN_ROOT", kiln.store()), LIMIT).both();
        assert_eq!(log.contains("first build: 0"), fits, "{log}");
        assert_eq!(log.contains("No space left on device"), !fits, "{log}");
        assert!(
            log.contains("first build: 0") || log.contains("first build: 1"),
            "the command failed, not kiln: {log}"
        );
        assert!(!log.contains("left: ") && log.contains("second build: 0"), "{log}");
    }
}

/// A layer of a hundred thousand files, and of directories far deeper than a path may be long: taken, packed, sent
/// away, unpacked elsewhere, in little memory.
#[test]
fn very_many_files_and_very_deep_directories() {
    let program = support::scratch();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox/floods.c");
    tool::run(tool::tool("cc").args(["-static", "-O1", "-o"]).arg(program.path().join("floods")).arg(source));
    let base = registry::base(Base::Busybox);
    let look = "floods bottom /deep 4096 && test $(ls /many | wc -l) = 100000 && test $(ls /wide | wc -l) = 3000";
    let context = context_of(&format!(
        "FROM {base}\nCOPY floods /bin/\nRUN mkdir /many /wide /deep && floods files /many 100000 && \
         floods wide /wide 3000 && floods deep /deep 4096\nRUN {look}\n"
    ));
    std::fs::copy(program.path().join("floods"), context.path().join("floods")).expect("a copy");
    let (first, second) = (Kiln::new(), Kiln::new());
    let layout = first.out().join("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let most = peak_of(with_few_files(&first).args(["build", "-o", &output]).arg(context.path()));
    // Elsewhere, from the layers alone.
    let again = context_of(&format!("FROM made\nRUN {look}\n"));
    let made = format!("made=oci-layout://{}", layout.display());
    let unpacking = peak_of(with_few_files(&second).args(["build", "--build-context", &made]).arg(again.path()));
    // With nothing to do it is about 20 MiB.
    assert!(most < 200 << 10 && unpacking < 200 << 10, "KiB at most: {most} to make it, {unpacking} to unpack it");
    // The control: there is a bottom only where one was made. What such a step leaves is removed.
    let failing = context_of(
        "FROM made\nRUN mkdir /x && floods deep /x 4096 && floods wide /x 3000 && floods bottom /deep 4097\n",
    );
    let mut command = with_few_files(&second);
    let output = output_of(command.args(["build", "--build-context", &made]).arg(failing.path()), LIMIT);
    assert_eq!(output.failed_saying(&["exit code: 1"]).code, exit::FAILED);
    leftovers::assert_no_temporary_files(second.store());
    leftovers::assert_no_temporary_files(&second.store().join("snapshots"));
    for kiln in [&first, &second] {
        output_of(with_few_files(kiln).args(["prune", "--all"]), LIMIT).succeeded();
    }
}

/// kiln with room for a few open files only, as small machines and busy ones have.
fn with_few_files(kiln: &Kiln) -> Command {
    let own = kiln.command();
    let mut command = tool::tool("prlimit");
    command.arg("--nofile=200").arg(own.get_program());
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Runs a build that must succeed, and returns the most memory that kiln had, in KiB.
fn peak_of(command: &mut Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kiln starts");
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let (start, mut most) = (Instant::now(), 0);
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        most = most.max(peak.and_then(|peak| peak.trim().parse().ok()).unwrap_or(0));
        if let Some(ended) = child.try_wait().expect("the state of a child") {
            assert!(ended.success() && most > 0, "{ended}");
            return most;
        }
        assert!(start.elapsed() < Duration::from_secs(600), "too slow");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_ordinary_user_without_subordinate_ids() {
    if !support::has_root() {
        return;
    }
    let kiln = Kiln::of(User::without_ranges());
    let context = small_context();
    let output = kiln.build(context.path(), &["--progress=plain"]);
    let said = output.succeeded().both();
    assert!(said.contains("single-id isolation") && said.contains("usermod --add-subuids"), "{said}");
}

#[test]
fn a_kernel_without_user_namespaces() {
    if !support::has_root() {
        return;
    }
    let kiln = Kiln::of(User::with_ranges());
    let context = small_context();
    let inner = kiln.command();
    let mut command = tool::tool("bash");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/no-user-namespaces.sh"));
    command.arg(inner.get_program()).args(inner.get_args()).arg("build").arg(context.path());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = output_of(&mut command, LIMIT);
    assert_eq!(output.failed_saying(&["user namespace"]).code, exit::ENVIRONMENT);
}

/// Some programs have the kernel forget their children, and what they start begins so.
#[test]
fn a_parent_that_ignores_its_children() {
    if !support::has_root() {
        return;
    }
    let context = small_context();
    for kiln in [Kiln::new(), Kiln::of(User::with_ranges()), Kiln::of(User::without_ranges())] {
        let inner = kiln.command();
        let mut command = tool::tool("env");
        command
            .arg("--ignore-signal=CHLD")
            .arg(inner.get_program())
            .args(inner.get_args())
            .arg("build")
            .arg(context.path());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        output_of(&mut command, LIMIT).succeeded();
        leftovers::assert_none_of(&kiln.store().display().to_string());
    }
}

#[test]
fn a_build_killed_at_any_moment_is_taken_up_by_the_next() {
    let context = killed_context();
    let reference = Kiln::new();
    let start = Instant::now();
    let whole = built(&reference, context.path());
    let duration = start.elapsed();
    let mut reused = 0;
    for moment in moments(20, duration) {
        let kiln = Kiln::new();
        let (log, marker) = (kiln.out().join("log"), kiln.store().display().to_string());
        let mut command = build_command(&kiln, context.path(), "killed.tar");
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).expect("a log"));
        let mut child = command.spawn().expect("kiln starts");
        std::thread::sleep(moment);
        let _ = child.kill();
        child.wait().expect("the end of kiln");
        leftovers::assert_none_of(&marker);

        let killed = std::fs::read_to_string(&log).expect("the log of the killed build");
        let output = output_of(&mut build_command(&kiln, context.path(), "next.tar"), LIMIT);
        output.succeeded();
        let archive = kiln.out().join("next.tar");
        assert_eq!(image_of(&archive), whole, "killed after {moment:?}: another image\n{}", output.both());
        // A step that began in the killed build after another one had ended: the ended one must not run again.
        let begun: Vec<usize> = (1..=STEPS).filter(|step| killed.contains(&ran(*step))).collect();
        for step in begun.iter().rev().skip(1) {
            assert!(!output.both().contains(&ran(*step)), "killed after {moment:?}: step {step} ran twice\n{killed}");
            reused += 1;
        }
        leftovers::assert_no_temporary_files(kiln.store());
        leftovers::assert_none_of(&marker);
    }
    assert!(reused > 0, "no build was killed late enough to leave finished steps");
}

#[test]
fn an_interrupted_build_stops_at_once_and_ends_its_children() {
    let kiln = Kiln::new();
    let base = registry::base(Base::Busybox);
    let context = context_of(&format!("FROM {base}\nRUN echo now sleeping; sleep 60\n"));
    let log = kiln.out().join("log");
    let mut command = kiln.command();
    command.arg("build").arg(context.path()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).expect("a log"));
    let mut child = command.spawn().expect("kiln starts");
    let start = Instant::now();
    while !std::fs::read_to_string(&log).expect("the log").contains("now sleeping\n") {
        assert!(start.elapsed() < LIMIT, "the step does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(100));
    let interrupted = Instant::now();
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a process id")), Signal::SIGINT).expect("a signal");
    let status = wait(&mut child, Duration::from_secs(10)).expect("kiln ends after an interrupt");
    assert!(interrupted.elapsed() < Duration::from_secs(2), "it ended after {:?}", interrupted.elapsed());
    assert_eq!(status.code(), Some(exit::INTERRUPTED));
    leftovers::assert_none_of(&kiln.store().display().to_string());
    check_next_build(&kiln);
}

#[test]
fn a_build_that_waits_for_a_prune_hears_an_interrupt() {
    let (kiln, context) = (Kiln::new(), context_of("FROM scratch\nCOPY . /\n"));
    kiln.build(context.path(), &[]).succeeded();
    let _prune = kiln::fsutil::Removal::begin(kiln.store()).expect("nobody else");
    let mut child = kiln.command().arg("build").arg(context.path()).stderr(Stdio::null()).spawn().expect("kiln starts");
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().expect("the state of a child").is_none(), "it does not wait");
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a process id")), Signal::SIGINT).expect("a signal");
    let status = wait(&mut child, Duration::from_secs(10));
    assert_eq!(status.expect("kiln ends after an interrupt").code(), Some(exit::INTERRUPTED));
}

/// Steps of [`killed_context`].
const STEPS: usize = 6;

/// Steps one after the other, each of which says that it runs and makes the same files whenever it does.
fn killed_context() -> tempfile::TempDir {
    let base = registry::base(Base::Busybox);
    let mut dockerfile = format!("FROM {base}\nCOPY tree /tree\n");
    for step in 1..=STEPS {
        dockerfile +=
            &format!("RUN echo \"{}\" && seq 20000 > /made-{step} && sleep 0.1\n", ran(step).replace("=", "\"=\""));
    }
    let context = context_of(&dockerfile);
    for number in 0..200 {
        write(context.path(), &format!("tree/{number}"), number.to_string());
    }
    context
}

/// What a step prints; not how the Dockerfile spells it, so that progress lines do not look like it.
fn ran(step: usize) -> String {
    format!("step=number={step}=runs")
}

fn build_command(kiln: &Kiln, context: &Path, archive: &str) -> Command {
    let mut command = kiln.command();
    // Times differ between two runs of one command, unless they are bounded.
    let destination = format!("type=oci,rewrite-timestamp=true,dest={}", kiln.out().join(archive).display());
    command.args(["build", "--progress=plain", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", "-o", &destination]);
    command.arg(context);
    command
}

/// Builds and returns what came of it.
fn built(kiln: &Kiln, context: &Path) -> (String, Vec<(String, Vec<u8>)>) {
    output_of(&mut build_command(kiln, context, "whole.tar"), LIMIT).succeeded();
    image_of(&kiln.out().join("whole.tar"))
}

/// The digest of the manifest, and (to say where two differ) paths and contents.
fn image_of(archive: &Path) -> (String, Vec<(String, Vec<u8>)>) {
    let index = tool::run(tool::tool("tar").arg("-xOf").arg(archive).arg("index.json"));
    let index: serde_json::Value = serde_json::from_str(&index).expect("an index");
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
    let image = image::read(archive).expect("an OCI archive");
    let files = image::flatten(&image.layers).expect("whole layers");
    (digest, files.into_iter().map(|(path, node)| (path, node.data.clone())).collect())
}

/// Moments from the start to the end of a build, one at random in each of `count` equal parts.
fn moments(count: u32, duration: Duration) -> Vec<Duration> {
    let random = || {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).expect("random bytes");
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    };
    (0..count).map(|part| duration.mul_f64((f64::from(part) + random()) / f64::from(count))).collect()
}

#[derive(Clone, Copy)]
enum Part {
    Layer,
    Config,
}

/// The digest of the first layer or of the config of an image in a registry.
fn digest_of(name: &str, part: Part) -> String {
    let raw =
        tool::run(tool::tool("skopeo").args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]));
    let manifest: serde_json::Value = serde_json::from_str(&raw).expect("a manifest");
    let descriptor = match part {
        Part::Layer => &manifest["layers"][0],
        Part::Config => &manifest["config"],
    };
    descriptor["digest"].as_str().expect("a digest").to_owned()
}

fn context_of(dockerfile: &str) -> tempfile::TempDir {
    let context = support::scratch();
    write(context.path(), "Dockerfile", dockerfile);
    context
}

fn small_context() -> tempfile::TempDir {
    let base = registry::base(Base::Busybox);
    let context = context_of(&format!("FROM {base}\nCOPY file /file\nRUN test -s /file\n"));
    write(context.path(), "file", "small\n");
    context
}

/// A store that went through a failure still builds.
#[track_caller]
fn check_next_build(kiln: &Kiln) {
    kiln.build(small_context().path(), &["-t", "next"]).succeeded();
    leftovers::assert_no_temporary_files(kiln.store());
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory of the store") {
        let path = entry.expect("an entry of the store").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
