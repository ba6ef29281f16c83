//! Every kind of place: the second builder makes nothing, and what it makes of that is the same image.

use super::support::registry::Registry;
use super::support::{registry, write};
use super::{Builder, context, ran, tags};

#[test]
fn what_one_builder_made_another_pushes_without_a_layer() {
    let (registry, context) = (registry::shared(), context("one"));
    let cache = format!("type=registry,ref={}/cache/plain", registry.address);
    let to = format!("{cache},mode=max");
    let name = |who: &str| format!("{}/cache/plain-{who}:1", registry.address);
    let (one, other) = (Builder::new(), Builder::new());
    let first = one.build(context.path(), &["-t", &name("one"), "--push", "--cache-from", &cache, "--cache-to", &to]);
    assert_eq!(first.ran().len(), 6, "{}", first.output.both());
    assert!(first.warnings().is_empty(), "{}", first.output.both());
    let second = other.build(context.path(), &["-t", &name("two"), "--push", "--cache-from", &cache]);
    assert_eq!(second.ran(), Vec::<&str>::new(), "{}", second.output.both());
    assert_eq!(second.digest, first.digest);
    assert_eq!(other.layers(), 0, "a layer came to a machine that needs none");
    // Their own records make the next build as good.
    let third = other.build(context.path(), &["-t", &name("two"), "--push"]);
    assert_eq!((third.ran().len(), third.digest), (0, first.digest));
    let steps = tags(registry, "cache/plain");
    assert_eq!(steps.iter().filter(|tag| tag.starts_with("step-")).count(), 7, "{steps:?}");
    assert_eq!(steps.iter().filter(|tag| tag.starts_with("trail-")).count(), 1, "{steps:?}");
}

#[test]
fn a_directory_is_a_cache() {
    let (context, directory) = (context("directory"), super::support::scratch());
    let (from, to) = (
        format!("type=local,src={}", directory.path().display()),
        format!("type=local,dest={},mode=max", directory.path().display()),
    );
    let (one, other) = (Builder::new(), Builder::new());
    let archive = |builder: &Builder| format!("type=oci,dest={}", builder.kiln.out().join("image.tar").display());
    let first = one.build(context.path(), &["-o", &archive(&one), "--cache-to", &to]);
    assert_eq!(first.ran().len(), 6);
    let second = other.build(context.path(), &["-o", &archive(&other), "--cache-from", &from]);
    assert_eq!((second.ran(), second.digest.as_str()), (Vec::new(), first.digest.as_str()), "{}", second.output.both());
    let files = |name: &str| std::fs::read_dir(directory.path().join(name)).expect("a directory").count();
    assert_eq!((files("steps"), files("blobs/sha256"), files("trails")), (7, 6, 1));
}

#[test]
fn what_is_kept_in_the_store_is_as_if_it_was_made_here() {
    let (registry, context) = (registry::shared(), context("store"));
    let cache = format!("{}/cache/store", registry.address);
    let (one, other) = (Builder::new(), Builder::new());
    let first =
        one.build(context.path(), &["-t", "kept", "--cache-to", &format!("type=registry,ref={cache},mode=max")]);
    let second = other.build(context.path(), &["-t", "kept", "--cache-from", &cache]);
    assert_eq!((second.ran(), second.digest.as_str()), (Vec::new(), first.digest.as_str()), "{}", second.output.both());
    other.kiln.run(["run", "kept", "cat", "/made/count"]).succeeded();
}

#[test]
fn a_step_on_top_of_cached_ones_runs_on_their_files() {
    let registry = registry::shared();
    let cache = format!("type=registry,ref={}/cache/top", registry.address);
    let (one, other) = (Builder::new(), Builder::new());
    let before = context("before");
    one.build(before.path(), &["--cache-to", &format!("{cache},mode=max")]);
    let dockerfile = std::fs::read_to_string(before.path().join("Dockerfile")).unwrap();
    write(before.path(), "Dockerfile", dockerfile + "RUN cat /made/count /file > /both\n");
    let built = other.build(before.path(), &["-t", "top", "--cache-from", &cache]);
    assert_eq!(built.ran().len(), 1, "{}", built.output.both());
    let said = other.kiln.run(["run", "top", "cat", "/both"]);
    assert_eq!(said.succeeded().stdout, "before\na file\n");
}

#[test]
fn the_steps_of_the_image_alone_are_published_unless_more_is_asked_for() {
    let (registry, context) = (registry::shared(), context("min"));
    let cache = format!("type=registry,ref={}/cache/min:branch", registry.address);
    Builder::new().build(context.path(), &["--cache-to", &cache]);
    let steps = tags(registry, "cache/min");
    let prefix = |tag: &&String| tag.starts_with("branch.step-");
    assert_eq!(steps.iter().filter(prefix).count(), 4, "three steps, one under two keys: {steps:?}");
    // Another tag is another cache.
    let other = format!("type=registry,ref={}/cache/min:main", registry.address);
    let built = Builder::new().build(context.path(), &["--cache-from", &other]);
    assert_eq!(built.ran().len(), 6);
}

#[test]
fn a_cache_that_is_only_read_is_never_written() {
    let (registry, context) = (registry::shared(), context("read"));
    let cache = format!("{}/cache/read", registry.address);
    Builder::new().build(context.path(), &["--cache-from", &cache]);
    assert_eq!(tags(registry, "cache/read"), Vec::<String>::new());
    let directory = super::support::scratch();
    let cache = format!("type=local,src={}", directory.path().join("none").display());
    Builder::new().build(context.path(), &["--cache-from", &cache]);
    assert!(!directory.path().join("none").exists());
}

#[test]
fn what_this_machine_knew_already_is_published_too() {
    let (registry, context) = (registry::shared(), context("known"));
    let cache = format!("type=registry,ref={}/cache/known", registry.address);
    let one = Builder::new();
    one.build(context.path(), &[]);
    let again = one.build(context.path(), &["--cache-to", &format!("{cache},mode=max")]);
    assert_eq!(again.ran().len(), 0);
    let other = Builder::new().build(context.path(), &["--cache-from", &cache]);
    assert_eq!(other.ran().len(), 0, "{}", other.output.both());
}

#[test]
fn what_was_finished_is_published_when_a_later_step_fails_or_the_build_is_stopped() {
    let registry = registry::shared();
    for (name, last) in [("fails", "RUN exit 7"), ("stopped", "RUN sleep 60")] {
        let cache = format!("type=registry,ref={}/cache/{name}", registry.address);
        let context = context(name);
        let good = std::fs::read_to_string(context.path().join("Dockerfile")).unwrap();
        write(context.path(), "Dockerfile", format!("{good}{last}\n"));
        let one = Builder::new();
        let to = format!("{cache},mode=max");
        let mut command = one.kiln.command();
        command.args(["build", "--progress=plain", "--cache-to", &to]).arg(context.path());
        command.stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        if name == "stopped" {
            wait_for_line(&mut child, "sleep 60");
            let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
            nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
        }
        let ended = child.wait_with_output().unwrap();
        assert!(!ended.status.success());
        write(context.path(), "Dockerfile", good);
        let other = Builder::new().build(context.path(), &["--cache-from", &cache]);
        assert_eq!(other.ran(), Vec::<&str>::new(), "{name}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// Reads the progress of a build until a line has `text`, and the rest of it on a thread.
fn wait_for_line(child: &mut std::process::Child, text: &str) {
    use std::io::BufRead as _;
    let mut lines = std::io::BufReader::new(child.stderr.take().expect("a pipe")).lines();
    // The step was announced, and then it began.
    let mut found = 0;
    while let Some(Ok(line)) = lines.next() {
        found += usize::from(line.contains(text));
        if found == 1 {
            break;
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    std::thread::spawn(move || lines.for_each(drop));
}

#[test]
fn an_image_may_carry_its_own_cache() {
    let (registry, context) = (registry::shared(), super::support::scratch());
    let base = registry::base(super::Base::Busybox);
    write(
        context.path(),
        "Dockerfile",
        format!("FROM {base}\nCOPY file /\nRUN head -c 100000 /dev/urandom > /noise\n"),
    );
    write(context.path(), "file", "inline\n");
    let name = |tag| format!("{}/cache/inline:{tag}", registry.address);
    let first = Builder::new().build(context.path(), &["-t", &name(1), "--push", "--cache-to", "type=inline"]);
    assert_eq!(first.ran().len(), 2);
    let (other, from) = (Builder::new(), format!("type=registry,ref={}", name(1)));
    let built =
        other.build(context.path(), &["-t", &name(2), "--push", "--cache-from", &from, "--cache-to", "type=inline"]);
    assert_eq!((built.ran(), &built.digest), (Vec::new(), &first.digest), "{}", built.output.both());
    assert_eq!((other.layers(), built.warnings().len()), (0, 0));
    assert!(tags(registry, "cache/inline").iter().all(|tag| ["1", "2"].contains(&tag.as_str())));
    // What is built on it does not hold its records.
    write(context.path(), "Dockerfile", format!("FROM {}\nLABEL a=b\n", name(1)));
    other.build(context.path(), &["-t", &name(3), "--push"]);
    let config = |tag| {
        let mut command = super::support::tool::tool("skopeo");
        command.args(["inspect", "--config", "--raw", "--tls-verify=false"]).arg(format!("docker://{}", name(tag)));
        String::from_utf8(command.output().expect("skopeo runs").stdout).unwrap()
    };
    assert!(config(2).contains("io.kiln.cache.v1") && !config(3).contains("io.kiln.cache.v1"));
}

#[test]
fn the_environment_names_caches() {
    let (context, directory) = (context("environment"), super::support::scratch());
    let run = |variable: &str, value: String| {
        let builder = Builder::new();
        let mut command = builder.kiln.command();
        command.args(["build", "--progress=plain"]).arg(context.path()).env(variable, value);
        super::support::kiln::output_of(&mut command, std::time::Duration::from_secs(120))
    };
    let first = run("KILN_CACHE_TO", format!("type=local,dest={},mode=max", directory.path().display()));
    assert_eq!(ran(first.succeeded()).len(), 6);
    let second = run("KILN_CACHE_FROM", format!("type=local,src={}", directory.path().display()));
    assert_eq!(ran(second.succeeded()).len(), 0, "{}", second.both());
}

#[test]
fn a_cache_passes_on_to_another_registry() {
    let (one, other, context) = (registry::shared(), Registry::start(), context("passed"));
    let here = format!("type=registry,ref={}/cache/passed", one.address);
    let there = format!("type=registry,ref={}/cache/passed", other.address);
    Builder::new().build(context.path(), &["--cache-to", &format!("{here},mode=max")]);
    let to = format!("{there},mode=max");
    let image = format!("{}/passed:1", one.address);
    Builder::new().build(context.path(), &["-t", &image, "--push", "--cache-from", &here, "--cache-to", &to]);
    let built = Builder::new().build(context.path(), &["--cache-from", &there]);
    assert_eq!(built.ran().len(), 0, "{}", built.output.both());
}

/// Steps that make the same on every machine and at any time.
fn repeatable() -> tempfile::TempDir {
    let directory = super::support::scratch();
    let base = registry::base(super::Base::Busybox);
    let text = format!(
        "FROM {base} AS made\nRUN seq 1 60000 > /numbers && touch -d @1000 /numbers / /etc\n\
         FROM {base}\nCOPY --from=made /numbers /numbers\nCOPY file /file\n\
         RUN wc -l < /numbers > /count && touch -d @2000000000 /count && touch -d @1000 / /etc\n"
    );
    write(directory.path(), "Dockerfile", text);
    write(directory.path(), "file", "a file\n");
    let file = std::fs::File::open(directory.path().join("file")).expect("the file");
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000)).expect("its time");
    directory
}

#[test]
fn whether_there_was_a_cache_does_not_show_in_the_image() {
    let (context, directory) = (repeatable(), super::support::scratch());
    let path = directory.path().display();
    let (from, to) = (format!("type=local,src={path}"), format!("type=local,dest={path},mode=max"));
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
    let cached = |arguments: &[&str]| {
        Builder::new().build(context.path(), &[&epoch, arguments, &["--cache-from", &from][..]].concat())
    };
    let plain = |arguments: &[&str]| Builder::new().build(context.path(), &[&epoch, arguments].concat());
    Builder::new().build(context.path(), &[&epoch[..], &["--cache-to", &to]].concat());
    let scratch = super::support::scratch();
    let archive = scratch.path().join("image.tar").display().to_string();
    for output in [
        vec!["-t", "kept"],
        vec!["-t", "kept", "--reproducible"],
        vec!["-o", "type=oci,dest=ARCHIVE"],
        vec!["-o", "type=oci,dest=ARCHIVE,compression=zstd"],
        vec!["-o", "type=oci,dest=ARCHIVE,compression=estargz"],
        vec!["-o", "type=oci,dest=ARCHIVE,compression=uncompressed"],
        vec!["-o", "type=oci,dest=ARCHIVE,rewrite-timestamp=true"],
        vec!["-o", "type=docker,dest=ARCHIVE"],
    ] {
        let output: Vec<String> = output.iter().map(|word| word.replace("ARCHIVE", &archive)).collect();
        let output: Vec<&str> = output.iter().map(String::as_str).collect();
        let (with, without) = (cached(&output), plain(&output));
        assert_eq!((with.ran().len(), without.ran().len()), (0, 4), "{output:?} {}", with.output.both());
        assert_eq!(with.digest, without.digest, "{output:?}");
    }
}

#[test]
fn an_ordinary_user_takes_what_root_made() {
    if !super::support::has_root() {
        return;
    }
    let (registry, context) = (registry::shared(), context("user"));
    let cache = format!("{}/cache/user", registry.address);
    let to = format!("type=registry,ref={cache},mode=max");
    Builder::new().build(context.path(), &["--cache-to", &to]);
    let user = Builder { kiln: super::support::kiln::Kiln::of(super::support::user::User::with_ranges()) };
    let copy = super::support::copy_of(context.path());
    let built = user.build(copy.path(), &["-t", "kept", "--cache-from", &cache]);
    assert_eq!(built.ran(), Vec::<&str>::new(), "{}", built.output.both());
    let said = user.kiln.run(["run", "kept", "cat", "/made/count"]);
    assert_eq!(said.succeeded().stdout, "user\n");
}

#[test]
fn a_password_in_an_address_goes_nowhere() {
    let (context, directory) = (context("password"), super::support::scratch());
    let dockerfile = std::fs::read_to_string(context.path().join("Dockerfile")).unwrap();
    write(context.path(), "Dockerfile", dockerfile + "RUN echo https://someone:hunter2@host.example/ > /address\n");
    let to = format!("type=local,dest={},mode=max", directory.path().display());
    let built = Builder::new().build(context.path(), &["--cache-to", &to]);
    assert!(built.output.stderr.contains("a step is not published"), "{}", built.output.both());
    for entry in std::fs::read_dir(directory.path().join("steps")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn an_image_whose_layers_never_came_says_how_to_get_them() {
    let (registry, context) = (registry::shared(), context("absent"));
    let cache = format!("{}/cache/absent", registry.address);
    let to = format!("type=registry,ref={cache},mode=max");
    Builder::new().build(context.path(), &["--cache-to", &to]);
    let (other, name) = (Builder::new(), format!("{}/cache/absent-image:1", registry.address));
    other.build(context.path(), &["-t", &name, "--push", "--cache-from", &cache]);
    let archive = other.kiln.out().join("image.tar");
    let file = format!("{name}:/made/count");
    for words in [vec!["cp", &file, "-"], vec!["save", "-o", archive.to_str().expect("a path of UTF-8"), &name]] {
        other.kiln.run(&words).failed_saying(&["not in the store", "kiln pull"]);
    }
    // A build on it fetches what it needs, and a pull the rest.
    write(context.path(), "Dockerfile", format!("FROM {name}\nRUN cat /made/count\n"));
    let built = other.build(context.path(), &[]);
    assert!(built.output.stderr.contains(" absent"), "{}", built.output.both());
    other.kiln.run(["pull", &name]).succeeded();
    other.kiln.run(["save", "-o", archive.to_str().expect("a path of UTF-8"), &name]).succeeded();
}

#[test]
fn a_record_says_how_much_memory_a_command_took() {
    let (context, directory) = (super::support::scratch(), super::support::scratch());
    let base = registry::base(super::Base::Busybox);
    let large = "dd if=/dev/zero of=/dev/null bs=64M count=1";
    write(context.path(), "Dockerfile", format!("FROM {base}\nRUN true\nRUN {large} | cat\nCOPY Dockerfile /\n"));
    Builder::new().build(context.path(), &["--cache-to", &format!("type=local,dest={}", directory.path().display())]);
    let mut peaks = Vec::new();
    for entry in std::fs::read_dir(directory.path().join("steps")).unwrap() {
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        peaks.push(record["peakMemoryBytes"].as_u64());
    }
    peaks.sort();
    assert!(matches!(peaks[..], [None, Some(1..0x300_0000), Some(0x400_0000..0x800_0000)]), "{peaks:?}");
}
