//! The same Dockerfile, context and base give the same manifest, whoever builds it, where and when; and a step that does not is named.

// Tests are the edge: they list directories.
#![allow(clippy::disallowed_methods)]

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::bases::Base;
use support::kiln::{Kiln, Output, output_of};
use support::user::User;
use support::{registry, tool, write};

const LIMIT: Duration = Duration::from_secs(300);
/// Not the same twice.
const UUID: &str = "cat /proc/sys/kernel/random/uuid";

/// Builds a Dockerfile on busybox with `--verify-reproducible`.
fn verified(dockerfile: &str, flags: &[&str]) -> Output {
    let (kiln, context) = (Kiln::new(), support::scratch());
    write(context.path(), "Dockerfile", dockerfile.replace("FROM base", &on_busybox()));
    write(context.path(), "file", "of the context\n");
    let mut all = vec!["--verify-reproducible", "--progress=plain"];
    all.extend(flags);
    kiln.build(context.path(), &all)
}

fn on_busybox() -> String {
    format!("FROM {}", registry::base(Base::Busybox))
}

/// The build fails, naming the step at this line and these words.
#[track_caller]
fn names(output: &Output, line: usize, words: &[&str]) {
    output.failed_saying(&["error[not-reproducible]", &format!("--> Dockerfile:{line}:1")]).failed_saying(words);
    assert_eq!(output.code, 6, "{}", output.both());
}

#[test]
fn a_reproducible_build_is_found_to_be_one() {
    let dockerfile = "FROM base AS made\nARG SOURCE_DATE_EPOCH\nWORKDIR /work\nCOPY file .\n\
                      RUN sort file >sorted && mkdir d && ln file d/same && ln -s file link && chown 3:4 sorted\n\
                      FROM base\nCOPY --from=made /work /work\nRUN rm /work/file && touch /work/new\n";
    let output = verified(dockerfile, &["--reproducible", "-t", "app"]);
    assert!(output.succeeded().stderr.contains("again: "), "{}", output.both());
    // What touches nothing is reproducible without any flag.
    verified("FROM base\nCOPY file /\nRUN true\n", &[]).succeeded();
}

#[test]
fn the_first_file_of_the_first_step_that_differs_is_named() {
    let reproducible = &["--reproducible"][..];
    let date = format!("FROM base\nRUN true\nRUN echo a >/a && {UUID} >/x && echo b >/y\nRUN {UUID} >/later\n");
    names(&verified(&date, reproducible), 3, &["it wrote different bytes to `/x`", "RUN echo a", "pin it"]);
    let name = format!("FROM base\nRUN touch /tmp/$({UUID})\n");
    names(&verified(&name, reproducible), 2, &["it wrote `/tmp/", "in one build and not in the other"]);
    let target = format!("FROM base\nRUN ln -s $({UUID}) /link\n");
    names(&verified(&target, reproducible), 2, &["it made `/link` a link to something else"]);
    // Of an order that changes, what was written in it differs.
    let order = "FROM base\nRUN for i in 1 2 3 4 5 6 7 8 9; do echo $i $(head -c4 /dev/urandom | od -An -tu4); done | sort -k2 | cut -c1 >/list\n";
    names(&verified(order, reproducible), 2, &["different bytes to `/list`"]);
    let mode = "FROM base\nRUN touch /f && chmod 0$(($(od -An -N1 -tu1 /dev/urandom) % 2 * 100 + 600)) /f\n";
    // A coin decides; both sides are told apart from each other at the latest after some throws.
    let thrown =
        (0..12).map(|_| verified(mode, reproducible)).find(|output| output.code != 0).expect("a mode that differs");
    names(&thrown, 2, &["it gave `/f` different modes"]);
}

#[test]
fn times_differ_unless_they_are_bound() {
    // Whole seconds count.
    let dockerfile = "FROM base\nRUN echo same >/same && sleep 1.1\n";
    verified(dockerfile, &["--reproducible"]).succeeded();
    verified(dockerfile, &["--reproducible", "--build-arg", "SOURCE_DATE_EPOCH=1000000000"]).succeeded();
    names(&verified(dockerfile, &[]), 2, &["it gave `/", "different times", "--reproducible"]);
    let later = &["--reproducible", "--build-arg", "SOURCE_DATE_EPOCH=9999999999"];
    names(&verified(dockerfile, later), 2, &["different times"]);
}

#[test]
fn a_step_of_any_stage_is_named() {
    let dockerfile = format!(
        "FROM base AS one\nRUN {UUID} >/a\nFROM base AS two\nRUN {UUID} >/b\nFROM base\nCOPY --from=two /b /\nCOPY --from=one /a /\n"
    );
    let output = verified(&dockerfile, &["--reproducible"]);
    // The plan has the stages in the order in which the target needs them.
    let is_first = output.stderr.contains("Dockerfile:2:1");
    names(&output, if is_first { 2 } else { 4 }, &[if is_first { "`/a`" } else { "`/b`" }]);
    let one = format!("FROM base AS one\nRUN {UUID} >/a\nFROM base\nCOPY --from=one /a /\nRUN true\n");
    names(&verified(&one, &["--reproducible"]), 2, &["`/a`"]);
    // A step that no longer differs hides nothing of the next.
    let two = format!("FROM base\nRUN {UUID} >/a && rm /a\nRUN {UUID} >/b\n");
    names(&verified(&two, &["--reproducible"]), 3, &["`/b`"]);
}

#[test]
fn nothing_is_kept_of_a_build_that_was_refused() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    write(context.path(), "Dockerfile", format!("{}\nRUN {UUID} >/x\n", on_busybox()));
    let archive = kiln.out().join("image.tar");
    let to = format!("type=oci,dest={}", archive.display());
    let output = kiln.build(context.path(), &["--verify-reproducible", "-t", "app", "-o", &to]);
    assert_eq!(output.code, 6, "{}", output.both());
    assert!(!archive.exists());
    assert_eq!(kiln.run(["images", "-q"]).stdout, "");
    support::leftovers::assert_no_temporary_files(kiln.store());
    // The first result is what the cache has: a later build is as the build would have been.
    let id = |output: Output| output.succeeded().stdout.clone();
    let first = id(kiln.build(context.path(), &["-q"]));
    assert_eq!(id(kiln.build(context.path(), &["-q"])), first);
}

/// A Dockerfile with some of everything that could depend on who builds.
const EVERYTHING: &str = "FROM base AS made\nWORKDIR /work/deep\nCOPY tree tree\nCOPY --chown=7:8 --chmod=750 tree/b /b\n\
    RUN mkdir x && echo 1 >x/1 && ln x/1 x/2 && ln -s 1 x/3 && chown 5:6 x/1 && chmod 4711 x/1 && umask >x/4\n\
    RUN --mount=type=cache,target=/cache echo x >/cache/x && rm tree/a && mkfifo fifo && nproc >/dev/null\n\
    FROM base\nENV A=b\nCOPY --from=made / /all\nADD tree/c* /c/\nRUN ls /all/work/deep/tree >/list\nCMD [\"sh\"]\n";

/// A context whose files are made in this order, with times of their own.
fn context_in(directory: &Path, order: &[&str]) {
    for name in order {
        write(directory, &format!("tree/{name}"), format!("content of {name}\n"));
    }
    symlink("a", directory.join("tree/link")).expect("a link");
    write(directory, "Dockerfile", EVERYTHING.replace("FROM base", &on_busybox()));
    tool::run(tool::tool("chmod").args(["-R", "u=rwX,go=rX"]).arg(directory));
}

/// The digest of the manifest that a way to build gives.
#[track_caller]
fn digest(kiln: &Kiln, context: &Path, flags: &[&str], change: impl Fn(Command) -> Command) -> String {
    let metadata = kiln.out().join("metadata.json");
    let archive = format!("type=oci,dest={}", kiln.out().join("image.tar").display());
    let mut command = kiln.command();
    command
        .args(["build", "--reproducible", "-o", &archive, "--metadata-file"])
        .arg(&metadata)
        .args(flags)
        .arg(context);
    output_of(&mut change(command), LIMIT).succeeded();
    let metadata: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&metadata).expect("the metadata")).expect("JSON");
    metadata["containerimage.digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn the_manifest_is_the_same_whoever_builds_it_and_where() {
    if !support::has_root() {
        return;
    }
    let names = ["a", "b", "c1", "c2", "d/e/f", "z"];
    let mut reversed = names;
    reversed.reverse();
    let context = support::scratch();
    context_in(context.path(), &names);
    let here = context.path();
    let plain = |command| command;
    let expected = digest(&Kiln::new(), here, &[], plain);
    let same = |what: &str, found: String| assert_eq!(found, expected, "{what}");
    for jobs in ["1", "8"] {
        same(jobs, digest(&Kiln::new(), here, &["--jobs", jobs], plain));
    }
    same("copy snapshots", digest(&Kiln::new(), here, &["--snapshotter=copy"], plain));
    same("without cache", {
        let kiln = Kiln::new();
        digest(&kiln, here, &[], plain);
        digest(&kiln, here, &["--no-cache"], plain)
    });
    for umask in ["000", "077"] {
        same("umask", digest(&Kiln::new(), here, &[], |command| with_umask(&command, umask)));
    }
    for (name, value) in [("LANG", "tr_TR.UTF-8"), ("LC_ALL", "C"), ("TZ", "Asia/Kathmandu")] {
        let with_variable = |mut command: Command| {
            command.env(name, value);
            command
        };
        same(name, digest(&Kiln::new(), here, &[], with_variable));
    }
    for user in [User::with_ranges(), User::without_ranges()] {
        same("an ordinary user", digest(&Kiln::of(user), here, &[], plain));
    }
    // Other times, another order of directories, other file systems.
    let other = support::scratch();
    context_in(other.path(), &reversed);
    for file in ["tree/a", "tree/d", "tree"] {
        tool::run(tool::tool("touch").args(["-h", "-d", "2001-02-03 04:05:06"]).arg(other.path().join(file)));
    }
    same("made in another order", digest(&Kiln::new(), other.path(), &[], plain));
    for file_system in [Mounted::tmpfs(), Mounted::ext4()] {
        let context = file_system.0.path().join("mount/context");
        std::fs::create_dir(&context).expect("a directory");
        context_in(&context, &reversed);
        same("another file system", digest(&Kiln::new(), &context, &[], plain));
        let store = file_system.0.path().join("mount/store");
        same("a store there", digest(&Kiln::new().with_store(&store), here, &[], plain));
    }
}

/// The same command with this umask.
fn with_umask(inner: &Command, umask: &str) -> Command {
    let mut command = tool::tool("sh");
    command.args(["-c", "umask $0; exec \"$@\"", umask]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// A file system of its own, at `mount` of a scratch directory.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn tmpfs() -> Self {
        let scratch = Self::empty();
        tool::run(tool::tool("mount").args(["-t", "tmpfs", "tmpfs"]).arg(scratch.path().join("mount")));
        Self(scratch)
    }

    fn ext4() -> Self {
        let scratch = Self::empty();
        let image = scratch.path().join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(256 << 20)).expect("an image");
        tool::run(tool::tool("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        tool::run(tool::tool("mount").args(["-o", "loop"]).arg(&image).arg(scratch.path().join("mount")));
        Self(scratch)
    }

    fn empty() -> tempfile::TempDir {
        let scratch = support::scratch();
        std::fs::create_dir(scratch.path().join("mount")).expect("a directory");
        scratch
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = tool::tool("umount").arg("-l").arg(self.0.path().join("mount")).status();
    }
}
