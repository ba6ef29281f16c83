//! The rungs of the ladder: who builds and with what isolation. Small builds that every rung passes, and whose images are
//! the same to the byte on all of them.

// Tests are the edge: they list directories and read the environment.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::bases::Base;
use support::kiln::{Kiln, Output, output_of};
use support::user::User;
use support::{image, registry, tool, write};

const LIMIT: Duration = Duration::from_secs(300);

/// A way to build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rung {
    /// As whoever runs the tests: root.
    Root,
    /// Root with whole trees in place of overlays.
    RootCopy,
    /// An ordinary user with subordinate ids.
    Rootless,
    /// The same with whole trees.
    RootlessCopy,
    /// Root in a container whose own root is an overlay, with the store on it.
    RootOnOverlay,
    /// The ordinary user there.
    RootlessOnOverlay,
    /// An ordinary user without subordinate ids.
    SingleId,
    /// The same with whole trees.
    SingleIdCopy,
    /// Root with no more rights than an ordinary container has, without isolation.
    Chroot,
}

/// What root may do in a container that nobody gave more.
const CONTAINER: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,\
                         +net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

impl Rung {
    const ALL: [Self; 9] = [
        Self::Root,
        Self::RootCopy,
        Self::Rootless,
        Self::RootlessCopy,
        Self::RootOnOverlay,
        Self::RootlessOnOverlay,
        Self::SingleId,
        Self::SingleIdCopy,
        Self::Chroot,
    ];

    /// What the first line of the log says.
    fn said(self) -> &'static str {
        match self {
            Self::Root => "root isolation, overlay snapshots",
            Self::RootCopy | Self::RootOnOverlay => "root isolation, copy snapshots",
            Self::Rootless => "rootless isolation, overlay snapshots",
            Self::RootlessCopy | Self::RootlessOnOverlay => "rootless isolation, copy snapshots",
            Self::SingleId => "single-id isolation, overlay snapshots",
            Self::SingleIdCopy => "single-id isolation, copy snapshots",
            Self::Chroot => "chroot isolation, copy snapshots",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::RootCopy | Self::RootlessCopy | Self::SingleIdCopy => &["--snapshotter=copy"],
            Self::Chroot => &["--isolation=chroot"],
            _ => &[],
        }
    }

    fn kiln(self) -> Kiln {
        match self {
            Self::Root | Self::RootCopy | Self::RootOnOverlay | Self::Chroot => Kiln::new(),
            Self::Rootless | Self::RootlessCopy | Self::RootlessOnOverlay => Kiln::of(User::with_ranges()),
            Self::SingleId | Self::SingleIdCopy => Kiln::of(User::without_ranges()),
        }
    }

    /// Returns `kiln` with these arguments, in the surroundings of the rung.
    fn command(self, kiln: &Kiln, arguments: &[&str]) -> Command {
        let mut inner = kiln.command();
        inner.args(arguments);
        match self {
            Self::RootOnOverlay | Self::RootlessOnOverlay => inside("on-overlay.sh", &inner),
            Self::Chroot => with_rights(CONTAINER, &inner),
            _ => inner,
        }
    }

    /// Builds `context`; returns the log and the archive.
    #[track_caller]
    fn build(self, kiln: &Kiln, context: &Path, flags: &[&str]) -> (Output, PathBuf) {
        let archive = kiln.out().join("image.tar");
        let destination = format!("type=oci,dest={},rewrite-timestamp=true", archive.display());
        let mut arguments = vec!["build", "--progress=plain", "-o", &destination];
        arguments.extend(["--build-arg", "SOURCE_DATE_EPOCH=1000000000"]);
        arguments.extend(self.flags());
        arguments.extend(flags);
        let context = context.display().to_string();
        arguments.push(&context);
        (output_of(&mut self.command(kiln, &arguments), LIMIT), archive)
    }
}

/// The same command started by a script of `tests/support`.
fn inside(script: &str, inner: &Command) -> Command {
    let mut command = tool::tool("bash");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(script));
    wrap(command, inner)
}

/// The same command with these capabilities at the most.
fn with_rights(rights: &str, inner: &Command) -> Command {
    let mut command = tool::tool("setpriv");
    command.args(["--bounding-set", rights, "--inh-caps", "-all"]);
    wrap(command, inner)
}

fn wrap(mut command: Command, inner: &Command) -> Command {
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Names the image that `base` stands for.
fn on_busybox(dockerfile: &str) -> String {
    dockerfile.replace("FROM base", &format!("FROM {}", registry::base(Base::Busybox)))
}

/// Builds one Dockerfile on every rung, each of which must say what it is and give the same image.
#[track_caller]
fn same_everywhere(dockerfile: &str) {
    if !support::has_root() {
        return;
    }
    let context = support::scratch();
    write(context.path(), "Dockerfile", on_busybox(dockerfile));
    write(context.path(), "tree/file", "of the context\n");
    write(context.path(), "tree/sub/file", "deeper\n");
    if dockerfile.contains("COPY many") {
        write_many(context.path());
    }
    tool::run(tool::tool("chmod").args(["-R", "a+rX"]).arg(context.path()));
    let mut first = None;
    for rung in Rung::ALL {
        let kiln = rung.kiln();
        let (output, archive) = rung.build(&kiln, context.path(), &[]);
        assert_eq!(output.code, 0, "{rung:?}\n{}", output.both());
        let line = format!("#0 building with {}", rung.said());
        assert!(output.stderr.starts_with(&line), "{rung:?} does not say `{line}`\n{}", output.both());
        let image::Image { layers, digest, .. } =
            image::read(&archive).unwrap_or_else(|error| panic!("{rung:?}: {error}"));
        let (manifest, wanted) = first.get_or_insert((digest.clone(), layers.clone()));
        for (place, (layer, wanted)) in layers.iter().zip(wanted.iter()).enumerate() {
            assert!(layer == wanted, "{rung:?}: layer {place} differs: {:?}", differences(layer, wanted));
        }
        assert_eq!(layers.len(), wanted.len(), "{rung:?}");
        assert_eq!(digest, *manifest, "{rung:?}: the layers are the same, and the manifest is not");
    }
}

/// Writes so many files that their layer is mounted as it is, where that can be done.
fn write_many(context: &Path) {
    for number in 0..1200 {
        write(context, &format!("many/d{}/{number:04}", number % 7), format!("file {number}\n").repeat(number % 90));
    }
    write(context, "many/large", "0123456789abcdef".repeat(20_000));
}

/// The entries that only one of two tars has.
fn differences(left: &[u8], right: &[u8]) -> Vec<String> {
    let list = |bytes: &[u8]| {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().expect("a tar").map(|entry| {
            let entry = entry.expect("an entry");
            let (path, header) = (entry.path().expect("a path").display().to_string(), entry.header().clone());
            format!("{path} {:?} {:?} {:?}", header.mode(), header.uid(), header.mtime())
        });
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    list(left).symmetric_difference(&list(right)).cloned().collect()
}

#[test]
fn files_owners_and_modes() {
    same_everywhere(
        "FROM base\nCOPY --chown=7:8 tree /tree\n\
         RUN mkdir -p /a/b && echo one >/a/b/one && chown -R 5:6 /a && chmod 4755 /a/b/one && mkfifo /a/fifo\n\
         RUN ln /a/b/one /a/two && ln -s two /a/three && chmod 1777 /tree\nRUN true\n",
    );
}

#[test]
fn deletions_and_directories_made_anew() {
    same_everywhere(
        "FROM base\nCOPY tree /tree\nRUN cp -r /tree /other && mkdir /empty && ln /tree/file /tree/again\n\
         RUN rm -r /tree/sub /empty && rm -r /other && mkdir /other && echo x >/other/file\n\
         RUN mv /tree /moved && echo more >>/moved/file && mkdir /moved/sub\n\
         RUN rm /moved/again && chown 3:4 /moved/file\n",
    );
}

#[test]
fn layers_of_many_files() {
    same_everywhere(
        "FROM base AS one\nCOPY many /many\n\
         RUN ln /many/d1/0001 /linked && rm /many/d2/0002 && echo more >>/many/d3/0003 && chmod 600 /many/d4/0004 && \
         mv /many/d5 /moved && rm -r /many/d6 && mkdir /many/d6 && find /many /moved -type f | sort | xargs cat | md5sum >/sum\n\
         FROM base\nCOPY --from=one --chown=7:8 /many /copy\nCOPY --from=one /sum /linked /\n\
         RUN --mount=type=bind,from=one,source=/many,target=/bound cmp /bound/large /copy/large && \
         cat /copy/d3/0003 /bound/d0/0007 >/got && mv /copy/large /large\n",
    );
}

#[test]
fn a_large_copy_is_the_same_after_an_edit_as_without_a_past() {
    if !support::has_root() {
        return;
    }
    let context = support::scratch();
    write_many(context.path());
    write(
        context.path(),
        "Dockerfile",
        on_busybox("FROM base\nCOPY many /many\nRUN cat /many/d0/0007 /many/new >/got\n"),
    );
    let layers = |kiln: &Kiln, flags: &[&str]| {
        let (output, archive) = Rung::Root.build(kiln, context.path(), flags);
        output.succeeded();
        image::read(&archive).expect("the image").layers
    };
    let kiln = Kiln::new();
    write(context.path(), "many/new", "first");
    let first = layers(&kiln, &[]);
    write(context.path(), "many/new", "later");
    write(context.path(), "many/d0/0007", "changed");
    write(context.path(), "many/d3/0003", "shorter");
    std::fs::remove_file(context.path().join("many/d1/0001")).expect("a file goes");
    let edited = layers(&kiln, &[]);
    assert!(edited == layers(&Kiln::new(), &[]) && edited != first);
    assert!(layers(&kiln, &["--no-cache"]) == edited);
}

#[test]
fn users_and_work_directories() {
    same_everywhere(
        "FROM base\nRUN echo app:x:1000:1000::/home/app:/bin/sh >>/etc/passwd && mkdir -p /home/app && chown 1000 /home/app\n\
         USER app\nWORKDIR /home/app/work\nRUN id -u >../who && pwd >../where\n",
    );
}

#[test]
fn mounts_leave_nothing() {
    let mount = "RUN --mount=type=cache,target=/cache --mount=type=bind,from=other,source=/tree,target=/bound \
                 --mount=type=bind,from=other,target=/written,rw --mount=type=tmpfs,target=/memory";
    same_everywhere(&format!(
        "FROM base AS other\nCOPY tree /tree\nFROM base\n\
         {mount} cat /bound/file >/got && echo x >/cache/x && echo y >/written/y && echo z >/memory/z\n\
         RUN ls / >/seen\n"
    ));
}

/// Builds a Dockerfile without isolation, with no more rights than in a container.
fn unisolated(kiln: &Kiln, dockerfile: &str, flags: &[&str]) -> (Output, PathBuf) {
    let context = support::scratch();
    write(context.path(), "Dockerfile", on_busybox(dockerfile));
    Rung::Chroot.build(kiln, context.path(), flags)
}

#[test]
fn without_the_right_to_mount_it_is_said_what_is_missing() {
    if !support::has_root() {
        return;
    }
    let (kiln, context) = (Kiln::new(), support::scratch());
    write(context.path(), "Dockerfile", "FROM scratch\n");
    let context = context.path().display().to_string();
    let run = |rights: &str, arguments: &[&str]| {
        let mut inner = kiln.command();
        output_of(&mut with_rights(rights, inner.args(arguments)), LIMIT)
    };
    let refused = run(CONTAINER, &["build", &context]);
    assert_eq!(refused.failed_saying(&["CAP_SYS_ADMIN", "--isolation=chroot"]).code, 3);
    let refused = run("-all,+chown,+fowner,+dac_override,+kill", &["build", "--isolation=chroot", &context]);
    assert_eq!(refused.failed_saying(&["CAP_SETGID, CAP_SETUID, CAP_SYS_CHROOT"]).code, 3);
    let doctor = run(CONTAINER, &["doctor"]);
    assert!(doctor.code == 3 && doctor.stdout.contains("--isolation=chroot"), "{}", doctor.both());
    run(CONTAINER, &["build", "--isolation=chroot", &context]).succeeded();
    run(CONTAINER, &["prune"]).succeeded();
    let other = run(CONTAINER, &["build", "--isolation=hyperv", &context]);
    assert_eq!(other.failed_saying(&["hyperv", "expected default or chroot"]).code, 2);
}

#[test]
fn a_build_without_isolation_is_labelled() {
    if !support::has_root() {
        return;
    }
    let kiln = Kiln::new();
    let (output, _) = unisolated(&kiln, "FROM base\nRUN true\n", &[]);
    assert!(output.succeeded().stderr.contains("NOT ISOLATED"), "{}", output.both());
    assert!(kiln.run(["build", "--help"]).stdout.contains("does NOT isolate"));
}

#[test]
fn without_isolation_secrets_and_caches_are_placed_and_taken_away() {
    if !support::has_root() {
        return;
    }
    let kiln = Kiln::new();
    let secret = kiln.out().join("secret");
    std::fs::write(&secret, "hush-hush").expect("a secret");
    let flag = format!("--secret=id=s,src={}", secret.display());
    let (output, archive) = unisolated(
        &kiln,
        "FROM base\nRUN mkdir -p /run/secrets /cache && echo image >/cache/of\n\
         RUN --mount=type=secret,id=s --mount=type=cache,target=/cache,id=c \
         test hush-hush = \"$(cat /run/secrets/s)\" && test ! -e /cache/of && echo 1 >/cache/kept\n\
         RUN --mount=type=cache,target=/cache,id=c cat /cache/kept >/got && test ! -e /run/secrets/s\n\
         RUN cat /cache/of >/of && test -c /dev/null && echo gone >/dev/null && ls /proc >/proc-seen\n",
        &[&flag],
    );
    output.succeeded();
    let layers = image::read(&archive).expect("the image").layers;
    let has = |text: &[u8]| layers.iter().any(|layer| layer.windows(text.len()).any(|found| found == text));
    assert!(has(b"image") && !has(b"hush-hush"));
    let files = |layer: &Vec<u8>| {
        let mut archive = tar::Archive::new(layer.as_slice());
        let paths = archive.entries().expect("a tar").map(|entry| entry.expect("an entry").path_bytes().into_owned());
        paths.map(|path| String::from_utf8_lossy(&path).into_owned()).collect::<Vec<_>>()
    };
    let of_steps: Vec<_> = layers[2..].iter().map(files).collect();
    assert_eq!(of_steps, [vec![], vec!["got".to_owned()], vec!["of".to_owned(), "proc-seen".to_owned()]]);
}

#[test]
fn without_isolation_nothing_placed_stays_after_a_failure() {
    if !support::has_root() {
        return;
    }
    let kiln = Kiln::new();
    let secret = kiln.out().join("secret");
    std::fs::write(&secret, "hush-hush").expect("a secret");
    let flag = format!("--secret=id=s,src={}", secret.display());
    let mount = "FROM base\nRUN --mount=type=secret,id=s --mount=type=cache,target=/cache,id=c";
    unisolated(&kiln, &format!("{mount} echo 1 >/cache/kept\n"), &[&flag]).0.succeeded();
    for (command, words) in [
        ("exit 7", &["exit code: 7"][..]),
        ("mv /run/secrets/s /mine", &["/run/secrets/s", "moved, linked or removed"]),
        ("ln /run/secrets/s /mine", &["/run/secrets/s", "moved, linked or removed"]),
        ("mv /run /mine", &["/run/secrets/s", "moved, linked or removed"]),
    ] {
        unisolated(&kiln, &format!("{mount} {command}\n"), &[&flag]).0.failed_saying(words);
        support::leftovers::assert_no_temporary_files(kiln.store());
    }
    // The command is not there, and a place that cannot be one.
    unisolated(&kiln, &mount.replace("RUN", "SHELL [\"/none\"]\nRUN"), &[&flag]).0.failed_saying(&["/none"]);
    let nowhere = format!("{mount} --mount=type=bind,target=/bin/busybox/x true\n");
    unisolated(&kiln, &nowhere, &[&flag]).0.failed_saying(&["/bin/busybox/x"]);
    unisolated(&kiln, &format!("{mount} test 1 = \"$(cat /cache/kept)\"\n"), &[&flag]).0.succeeded();
}

#[test]
fn without_isolation_what_needs_namespaces_is_refused_by_name() {
    if !support::has_root() {
        return;
    }
    let kiln = Kiln::new();
    for (run, name) in [
        ("--mount=type=ssh,required=false true", "--mount=type=ssh"),
        ("--mount=type=tmpfs,target=/t,size=1m true", "a size of --mount=type=tmpfs"),
        ("--network=none true", "--network=none"),
    ] {
        let (output, _) = unisolated(&kiln, &format!("FROM base\nRUN {run}\n"), &[]);
        output.failed_saying(&["error[isolation]", name, "--isolation=chroot", "Dockerfile:2"]);
    }
}

#[test]
fn without_isolation_what_a_step_leaves_behind_is_ended() {
    if !support::has_root() {
        return;
    }
    let kiln = Kiln::new();
    let mark = format!("left-by-{}", std::process::id());
    let dockerfile = format!(
        "FROM base\nENV MARK={mark}\nRUN sleep 300 & (sleep 301 & setsid sleep 302 & true) & sleep 0.2; echo ended\n"
    );
    let (output, _) = unisolated(&kiln, &dockerfile, &[]);
    assert!(output.succeeded().stderr.contains("ended"));
    support::leftovers::assert_none_of(&mark);
    // It sees the way out of its root, and lacks the right to take it.
    let (output, _) = unisolated(&kiln, "FROM base\nRUN chroot / true || mknod /disk b 1 1\n", &[]);
    output.failed_saying(&["exit code: 1"]);
}
