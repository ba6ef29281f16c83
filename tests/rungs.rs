//! The rungs of the ladder: who builds and with what isolation. Small builds that every rung passes, and whose images are
//! the same to the byte on all of them.

// Tests are the edge: they list directories and read the environment.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::bases::{self, Base};
use support::kiln::{Kiln, Output, output_of};
use support::user::User;
use support::{image, tool, write};

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
}

impl Rung {
    const ALL: [Self; 6] =
        [Self::Root, Self::RootCopy, Self::Rootless, Self::RootlessCopy, Self::RootOnOverlay, Self::RootlessOnOverlay];

    /// What the first line of the log says.
    fn said(self) -> &'static str {
        match self {
            Self::Root => "root isolation, overlay snapshots",
            Self::RootCopy | Self::RootOnOverlay => "root isolation, copy snapshots",
            Self::Rootless => "rootless isolation, overlay snapshots",
            Self::RootlessCopy | Self::RootlessOnOverlay => "rootless isolation, copy snapshots",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::RootCopy | Self::RootlessCopy => &["--snapshotter=copy"],
            _ => &[],
        }
    }

    fn kiln(self) -> Kiln {
        match self {
            Self::Root | Self::RootCopy | Self::RootOnOverlay => Kiln::new(),
            Self::Rootless | Self::RootlessCopy | Self::RootlessOnOverlay => Kiln::of(User::with_ranges()),
        }
    }

    /// Returns `kiln` with these arguments, in the surroundings of the rung.
    fn command(self, kiln: &Kiln, arguments: &[&str]) -> Command {
        let mut inner = kiln.command();
        inner.args(arguments);
        match self {
            Self::RootOnOverlay | Self::RootlessOnOverlay => inside("on-overlay.sh", &inner),
            _ => inner,
        }
    }

    /// Builds `context`; returns the log and the archive.
    #[track_caller]
    fn build(self, kiln: &Kiln, context: &Path, flags: &[&str]) -> (Output, PathBuf) {
        let archive = kiln.out().join("image.tar");
        let destination = format!("type=oci,dest={},rewrite-timestamp=true", archive.display());
        let layout = format!("base=oci-layout://{}:busybox", bases::layout(Base::Busybox).display());
        let mut arguments = vec!["build", "--progress=plain", "-o", &destination, "--build-context", &layout];
        arguments.extend(["--build-arg", "SOURCE_DATE_EPOCH=1000000000", "--network=none"]);
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
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Builds one Dockerfile on every rung, each of which must say what it is and give the same image.
#[track_caller]
fn same_everywhere(dockerfile: &str) {
    if !support::has_root() {
        return;
    }
    let context = support::scratch();
    write(context.path(), "Dockerfile", dockerfile);
    write(context.path(), "tree/file", "of the context\n");
    write(context.path(), "tree/sub/file", "deeper\n");
    tool::run(tool::tool("chmod").args(["-R", "a+rX"]).arg(context.path()));
    let mut first = None;
    for rung in Rung::ALL {
        let kiln = rung.kiln();
        let (output, archive) = rung.build(&kiln, context.path(), &[]);
        assert_eq!(output.code, 0, "{rung:?}\n{}", output.both());
        let line = format!("#0 building with {}", rung.said());
        assert!(output.stderr.starts_with(&line), "{rung:?} does not say `{line}`\n{}", output.both());
        let layers = image::read(&archive).unwrap_or_else(|error| panic!("{rung:?}: {error}")).layers;
        let (_, wanted) = first.get_or_insert((rung, layers.clone()));
        for (place, (layer, wanted)) in layers.iter().zip(wanted.iter()).enumerate() {
            assert!(layer == wanted, "{rung:?}: layer {place} differs: {:?}", differences(layer, wanted));
        }
        assert_eq!(layers.len(), wanted.len(), "{rung:?}");
    }
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
