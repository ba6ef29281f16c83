//! Ways that lead out of a root file system: links that a step, an archive or an image made, and links that change while
//! they are read. Each points at a directory of the machine with a word in it that everybody may read and write: nothing
//! of it may be seen in an image, and nothing may happen to it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::kiln::{Kiln, output_of};
use super::support::user::User;
use super::support::{image, scratch, tool, write};
use super::{Builder, context_of};

const LIMIT: Duration = Duration::from_secs(120);
const WORD: &str = "kiln-canary-of-the-host";

/// The directory that links lead to.
struct Canary(tempfile::TempDir);

impl Canary {
    fn new() -> Self {
        let canary = Self(scratch());
        for name in ["secret", "resolv.conf", "hosts", "deep/secret"] {
            write(canary.path(), name, WORD);
        }
        write(canary.path(), "passwd", format!("canary:x:4242:4242:{WORD}:/:/bin/sh\n"));
        write(canary.path(), "group", "canary:x:4242:\n");
        tool::run(tool::tool("chmod").args(["-R", "a+rwX"]).arg(canary.path()));
        canary
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Name, kind, mode, owner and time of everything in it, and the bytes.
    fn state(&self) -> String {
        let listed = tool::run(tool::tool("find").arg(self.path()).args(["-printf", "%P %y %m %U %G %T@ %s\n"]));
        let mut lines: Vec<&str> = listed.lines().collect();
        lines.sort_unstable();
        let bytes = tool::run(tool::tool("grep").args(["-rc", WORD]).arg(self.path()));
        format!("{}\n{bytes}", lines.join("\n"))
    }
}

/// What a build of these lines does: `OUT` is the directory. `must` says whether it has to succeed.
struct Attack {
    name: &'static str,
    lines: &'static str,
    must: Must,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Must {
    Succeed,
    Fail,
    /// Whatever it does, nothing leaks.
    Either,
}

const fn attack(name: &'static str, must: Must, lines: &'static str) -> Attack {
    Attack { name, lines, must }
}

/// In the context: `f`, `d/f`, `d/deep/f`, `link` to the directory, `link-up` to it by many `..`, `d/link` to it, and archives:
/// `links.tar` (`x` that links there, then `x/new`), `proc.tar`, `dev.tar`, `sys.tar`, `etc.tar` (a root with that as a link).
const ATTACKS: &[Attack] = &[
    attack("copy into a link", Must::Succeed, "FROM BUSYBOX\nRUN ln -s OUT /o\nCOPY f /o/\nCOPY f /o/new\nCOPY d /o\n"),
    attack("copy onto a link", Must::Succeed, "FROM BUSYBOX\nRUN ln -s OUT/secret /o\nCOPY f /o\n"),
    attack(
        "copy by many parents",
        Must::Succeed,
        "FROM BUSYBOX\nRUN ln -s ../../../../../../../..OUT /o\nCOPY f /o/\n",
    ),
    attack("copy to /proc", Must::Either, "FROM BUSYBOX\nCOPY f /proc/self/root/../../OUT/\nCOPY f /proc/1/cwd/\n"),
    attack("copy over a linked directory", Must::Either, "FROM BUSYBOX\nRUN ln -s OUT /deep\nCOPY d /\n"),
    attack(
        "copy through a chain of links",
        Must::Succeed,
        "FROM BUSYBOX\nRUN ln -s OUT /a && ln -s a /b && ln -s /b/deep /c\nCOPY f /c/\n",
    ),
    attack("copy --link", Must::Succeed, "FROM BUSYBOX\nRUN ln -s OUT /o\nCOPY --link f /o/new\nRUN cat /o/new\n"),
    attack("copy --parents", Must::Either, "FROM BUSYBOX\nRUN ln -s OUT /d\nCOPY --parents d/deep/f /\n"),
    attack(
        "copy with an owner by link",
        Must::Either,
        "FROM BUSYBOX\nRUN ln -sf OUT/passwd /etc/passwd && ln -sf OUT/group /etc/group\nCOPY --chown=canary:canary f /\n",
    ),
    attack("user by link", Must::Fail, "FROM BUSYBOX\nRUN ln -sf OUT/passwd /etc/passwd\nUSER canary\nRUN id\n"),
    attack("heredoc into a link", Must::Succeed, "FROM BUSYBOX\nRUN ln -s OUT /o\nCOPY <<E /o/new\ntext\nE\n"),
    attack("add an archive into a link", Must::Succeed, "FROM BUSYBOX\nRUN ln -s OUT /o\nADD plain.tar /o/\n"),
    attack("add an archive that goes through its own link", Must::Either, "FROM BUSYBOX\nADD links.tar /\n"),
    attack(
        "workdir",
        Must::Succeed,
        "FROM BUSYBOX\nRUN ln -s OUT /o\nWORKDIR /o/new\nRUN touch here\nWORKDIR /o\nRUN touch there\n",
    ),
    attack(
        "workdir by many parents",
        Must::Succeed,
        "FROM BUSYBOX\nRUN ln -s ../../../../../..OUT /o\nWORKDIR /o/new\n",
    ),
    attack(
        "tmpfs",
        Must::Either,
        "FROM BUSYBOX\nRUN ln -s OUT /o\nRUN --mount=type=tmpfs,target=/o/new touch /o/new/x\n",
    ),
    attack(
        "tmpfs by a link to the root directory",
        Must::Fail,
        "FROM BUSYBOX\nRUN ln -s / /o\nRUN --mount=type=tmpfs,target=/o true\n",
    ),
    attack(
        "cache by a link above the root directory",
        Must::Fail,
        "FROM BUSYBOX\nRUN ln -s ../.. /o\nRUN --mount=type=cache,target=/o/.. true\n",
    ),
    attack(
        "cache",
        Must::Either,
        "FROM BUSYBOX\nRUN ln -s OUT /o\nRUN --mount=type=cache,target=/o/new touch /o/new/x\nRUN --mount=type=cache,target=/o touch /o/y\n",
    ),
    attack(
        "bind target",
        Must::Either,
        "FROM BUSYBOX\nRUN ln -s OUT /o\nRUN --mount=target=/o/new,rw touch /o/new/x\nRUN --mount=target=/o/secret,source=f cat /o/secret\n",
    ),
    attack(
        "bind source in the context",
        Must::Either,
        "FROM BUSYBOX\nRUN --mount=source=link,target=/m cat /m/secret > /got\n",
    ),
    attack(
        "bind source by many parents",
        Must::Either,
        "FROM BUSYBOX\nRUN --mount=source=link-up/deep,target=/m cat /m/secret > /got\n",
    ),
    attack(
        "bind of a context with a link",
        Must::Succeed,
        "FROM BUSYBOX\nRUN --mount=target=/m ! cat /m/link/secret\n",
    ),
    attack(
        "bind source in a stage",
        Must::Either,
        "FROM BUSYBOX AS s\nRUN ln -s OUT /l\nFROM BUSYBOX\nRUN --mount=from=s,source=/l,target=/m cat /m/secret > /got\n",
    ),
    attack(
        "cache from a stage",
        Must::Either,
        "FROM BUSYBOX AS s\nRUN ln -s OUT /l\nFROM BUSYBOX\nRUN --mount=type=cache,from=s,source=/l,target=/m cp -r /m /got\n",
    ),
    attack(
        "copy from a stage",
        Must::Either,
        "FROM BUSYBOX AS s\nRUN ln -s OUT /l\nFROM BUSYBOX\nCOPY --from=s /l/secret /got\n",
    ),
    attack(
        "copy a link from a stage",
        Must::Either,
        "FROM BUSYBOX AS s\nRUN ln -s OUT /l\nFROM BUSYBOX\nCOPY --from=s /l /got\n",
    ),
    attack(
        "copy a tree with a link from a stage",
        Must::Succeed,
        "FROM BUSYBOX AS s\nRUN mkdir /t && ln -s OUT /t/l\nFROM BUSYBOX\nCOPY --from=s /t /got\n",
    ),
    attack(
        "copy by wildcard from a stage",
        Must::Either,
        "FROM BUSYBOX AS s\nRUN ln -s OUT /l\nFROM BUSYBOX\nCOPY --from=s /l/* /got/\n",
    ),
    attack("copy from the context", Must::Either, "FROM BUSYBOX\nCOPY link/secret /got\n"),
    attack("copy a link of the context", Must::Either, "FROM BUSYBOX\nCOPY link /got\n"),
    attack("copy by many parents from the context", Must::Either, "FROM BUSYBOX\nCOPY link-up/secret /got\n"),
    attack("copy by wildcard from the context", Must::Either, "FROM BUSYBOX\nCOPY link/* d/link/* /got/\n"),
    attack("copy a tree with a link of the context", Must::Succeed, "FROM BUSYBOX\nCOPY d /got/\n"),
    attack(
        "an image whose /proc is a link",
        Must::Fail,
        "FROM BUSYBOX AS b\nFROM scratch\nCOPY --from=b /bin /bin\nADD proc.tar /\nRUN true\n",
    ),
    attack(
        "an image whose /dev is a link",
        Must::Fail,
        "FROM BUSYBOX AS b\nFROM scratch\nCOPY --from=b /bin /bin\nADD dev.tar /\nRUN true\n",
    ),
    attack(
        "an image whose /sys is a link",
        Must::Fail,
        "FROM BUSYBOX AS b\nFROM scratch\nCOPY --from=b /bin /bin\nADD sys.tar /\nRUN true\n",
    ),
    attack(
        "an image whose /etc is a link",
        Must::Succeed,
        "FROM BUSYBOX AS b\nFROM scratch\nCOPY --from=b /bin /bin\nADD etc.tar /\nRUN cat /etc/resolv.conf /etc/hosts > /got\n",
    ),
    attack(
        "an image whose resolv.conf and hosts are links",
        Must::Succeed,
        "FROM BUSYBOX\nRUN mkdir /e && ln -s OUT/resolv.conf /e/resolv.conf && ln -s OUT/hosts /e/hosts\nFROM BUSYBOX\nCOPY --from=0 /e /etc/\nRUN cat /etc/resolv.conf /etc/hosts > /got; echo more >> /etc/hosts || true\n",
    ),
    attack(
        "a secret and a script by link",
        Must::Either,
        "FROM BUSYBOX\nRUN mkdir -p /run && ln -s OUT /run/secrets && ln -sf OUT /dev/pipes\nRUN --mount=type=secret,id=s cat /run/secrets/s\n",
    ),
];

/// A context with all that [`ATTACKS`] use.
fn armed(canary: &Path, lines: &str) -> tempfile::TempDir {
    let context = context_of(&lines.replace("OUT", &canary.display().to_string()));
    let at = |name: &str| context.path().join(name);
    for name in ["f", "d/f", "d/deep/f"] {
        write(context.path(), name, "of the context\n");
    }
    let up = format!("../../../../../../../..{}", canary.display());
    for (name, to) in [("link", canary), ("d/link", canary), ("link-up", Path::new(&up))] {
        symlink(to, at(name)).expect("a link");
    }
    let mut plain = tar::Builder::new(std::fs::File::create(at("plain.tar")).expect("an archive"));
    append_file(&mut plain, "new/inner");
    plain.finish().expect("the end of an archive");
    let mut links = tar::Builder::new(std::fs::File::create(at("links.tar")).expect("an archive"));
    append_link(&mut links, "x", canary);
    append_file(&mut links, "x/new");
    links.finish().expect("the end of an archive");
    for name in ["proc", "dev", "sys", "etc"] {
        let mut root = tar::Builder::new(std::fs::File::create(at(&format!("{name}.tar"))).expect("an archive"));
        append_link(&mut root, name, canary);
        root.finish().expect("the end of an archive");
    }
    context
}

type Archive = tar::Builder<std::fs::File>;

fn append_file(archive: &mut Archive, name: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    archive.append_data(&mut header, name, &b"new\n"[..]).expect("an entry");
}

fn append_link(archive: &mut Archive, name: &str, to: &Path) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    archive.append_link(&mut header, name, to).expect("an entry");
}

/// Builds to an archive, and to a directory, with which it could be left by another way.
fn build(kiln: &Kiln, context: &Path) -> (Option<PathBuf>, String) {
    let archive = kiln.out().join("image.tar");
    let _ = std::fs::remove_file(&archive);
    let secret = format!("--secret=id=s,src={}", context.join("f").display());
    let to_archive = format!("-otype=oci,dest={}", archive.display());
    let output = kiln.build(context, &["--progress=plain", &secret, &to_archive]);
    if output.code != 0 {
        output.failed_saying(&[]);
        return (None, output.both());
    }
    let directory = kiln.out().join("files");
    let to_directory = format!("-otype=local,dest={}", directory.display());
    let local = kiln.build(context, &["--progress=plain", &secret, &to_directory]);
    let _ = std::fs::remove_dir_all(&directory);
    (Some(archive), output.both() + &local.both())
}

fn holds_the_word(archive: &Path) -> bool {
    let image = image::read(archive).expect("an OCI archive");
    let files = image::flatten(&image.layers).expect("whole layers");
    // An owner that only the canary's list of users knows.
    files.values().any(|node| node.uid == 4242 || node.gid == 4242)
        || image.layers.iter().any(|layer| layer.windows(WORD.len()).any(|bytes| bytes == WORD.as_bytes()))
}

#[test]
fn no_link_leads_out_of_a_root_file_system() {
    let mut wrong = Vec::new();
    for builder in Builder::all() {
        let kiln = builder.kiln();
        for Attack { name, lines, must } in ATTACKS {
            let canary = Canary::new();
            let context = armed(canary.path(), lines);
            let before = canary.state();
            let (archive, log) = build(&kiln, context.path());
            let mut check = |what: &str, right: bool| {
                if !right {
                    wrong.push(format!("{builder:?}, {name}: {what}\n{log}"));
                }
            };
            check("it changed the canary", canary.state() == before);
            check("it told the word", !log.contains(WORD));
            check("it failed", archive.is_some() || *must != Must::Succeed);
            check("it succeeded", archive.is_none() || *must != Must::Fail);
            check("it brought the word along", archive.is_none_or(|archive| !holds_the_word(&archive)));
        }
    }
    assert!(wrong.is_empty(), "{} attacks went wrong\n{}", wrong.len(), wrong.join("\n\n"));
}

// The control: the same links do lead there for whoever builds, and what is looked for is found in an image that has it.
#[test]
fn whoever_builds_could_follow_the_links() {
    let canary = Canary::new();
    let context = armed(canary.path(), "FROM scratch\nCOPY word /\n");
    for link in ["link", "link-up", "d/link"] {
        let secret = context.path().join(link).join("secret");
        assert_eq!(std::fs::read_to_string(&secret).expect("the word"), WORD);
        if Builder::all().contains(&Builder::OrdinaryUser) {
            let script = format!("cat {0}; echo x > {0}; printf {WORD} > {0}", secret.display());
            let read = tool::run(User::with_ranges().command(Path::new("/bin/sh")).args(["-c", &script]));
            assert!(read.starts_with(WORD));
        }
    }
    let before = canary.state();
    std::fs::write(canary.path().join("new"), "").expect("a new file");
    assert_ne!(canary.state(), before);
    write(context.path(), "word", WORD);
    let kiln = Kiln::new();
    let (archive, log) = build(&kiln, context.path());
    assert!(holds_the_word(&archive.unwrap_or_else(|| panic!("no image\n{log}"))));
}

/// Makes `place` a directory and a link to `to` by turns, until told to stop.
fn swap(place: &Path, to: &Path, stop: &AtomicBool) {
    let (aside, link) = (place.with_extension("aside"), place.with_extension("link"));
    symlink(to, &link).expect("a link");
    while !stop.load(Ordering::Relaxed) {
        let _ = std::fs::rename(place, &aside).and_then(|()| std::fs::rename(&link, place));
        std::thread::yield_now();
        let _ = std::fs::rename(place, &link).and_then(|()| std::fs::rename(&aside, place));
        std::thread::yield_now();
    }
}

#[test]
fn a_directory_that_becomes_a_link_while_it_is_copied_shows_nothing() {
    for builder in Builder::all() {
        let (kiln, canary) = (builder.kiln(), Canary::new());
        let context = armed(canary.path(), "FROM scratch\nCOPY d /d/\nCOPY d/deep /e/\nCOPY d/deep/* /g/\n");
        for number in 0..50 {
            write(context.path(), &format!("d/deep/{number}"), "of the context\n");
        }
        let (stop, deep) = (AtomicBool::new(false), context.path().join("d/deep"));
        let before = canary.state();
        let mut copied = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| swap(&deep, canary.path(), &stop));
            for _ in 0..12 {
                let (archive, log) = build(&kiln, context.path());
                // It may fail, and say that a file is not there.
                copied += u32::from(archive.is_some());
                assert!(archive.is_none_or(|archive| !holds_the_word(&archive)), "{builder:?}\n{log}");
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(canary.state(), before);
        println!("{builder:?}: {copied} of 12 builds found all files");
    }
}

// Two steps at once share a cache; one makes a directory of it a link again and again, where the other mounts.
#[test]
fn a_mount_point_in_a_shared_cache_that_becomes_a_link_leads_nowhere() {
    for builder in Builder::all() {
        let (kiln, canary) = (builder.kiln(), Canary::new());
        let swapping = "for i in $(seq 300); do mkdir -p /c/d; mv /c/d /c/aside; ln -s OUT /c/d; rm /c/d; mv /c/aside /c/d; done; true";
        let mut lines =
            format!("FROM BUSYBOX AS swap\nRUN --mount=type=cache,target=/c {swapping}\nFROM BUSYBOX AS mount\n");
        for number in 0..30 {
            lines += &format!(
                "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/c/d/t echo {number} > /c/d/t/x || true\n"
            );
        }
        lines += "FROM scratch\nCOPY --from=swap /bin/busybox /a\nCOPY --from=mount /bin/busybox /b\n";
        let context = armed(canary.path(), &lines);
        let before = canary.state();
        for _ in 0..5 {
            let output = output_of(&mut super::command(&kiln, context.path(), &["--no-cache"]), LIMIT);
            assert_eq!(canary.state(), before, "{}", output.both());
            // A step may find nothing where it mounts, and say so.
            let is_told = output.stderr.contains("cannot set up the sandbox: mount tmpfs on /c/d/t");
            assert!(output.code == 0 || is_told, "{}", output.both());
        }
    }
}
