//! Section 11: COPY and ADD of files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::build::{Built, Case};

/// Mode, owner and group of a path of the image.
#[track_caller]
fn owned(built: &Built, path: &str) -> (u32, u64, u64) {
    let node = built.files.get(path).unwrap_or_else(|| panic!("no {path} in the image"));
    (node.mode, node.uid, node.gid)
}

/// What is below a directory of the image, in order.
fn below(built: &Built, directory: &str) -> Vec<String> {
    let inside = format!("{directory}/");
    built.files.keys().filter_map(|path| path.strip_prefix(&inside)).map(str::to_owned).collect()
}

/// The target of a link of the image.
#[track_caller]
fn link(built: &Built, path: &str) -> String {
    built.files.get(path).unwrap_or_else(|| panic!("no {path} in the image")).target.clone()
}

fn mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

// language 11.1, 11.2, 11.3, 11.13
#[test]
fn sources_and_destinations() {
    let case = Case::new(
        r#"FROM BUSYBOX AS other
RUN mkdir /o && echo o > /o/f
FROM BUSYBOX
RUN mkdir -m 0700 /there
WORKDIR /w
USER 7:7
COPY a b ./two/
COPY ../../a /clamped
COPY /a ./a /../x/../b /rooted/
COPY --from=other ../../o/f /of-stage
COPY --from=other o/f o/../../o/f /of-stage-too/
COPY a rel
COPY a .
COPY b ""
COPY a /there
COPY a /not-there
COPY a /new/deep/
COPY a /dot/.
COPY --chown=5:6 --chmod=0711 a /owned/deep/er
COPY --chmod=600 a /closed/a
"#,
    )
    .file("a", "A")
    .file("b", "B");
    let built = case.build(&[]);
    let same = |paths: &[&str], text: &str| paths.iter().for_each(|path| assert_eq!(built.text(path), text, "{path}"));
    same(&["/w/two/a", "/clamped", "/rooted/a", "/w/rel", "/w/a", "/there/a", "/not-there"], "A");
    same(&["/new/deep/a", "/dot/a", "/owned/deep/er", "/closed/a"], "A");
    same(&["/w/two/b", "/rooted/b", "/w/b"], "B");
    same(&["/of-stage", "/of-stage-too/f"], "o\n");
    assert_eq!(owned(&built, "/there"), (0o700, 0, 0));
    for path in ["/new", "/new/deep", "/w/two", "/dot"] {
        assert_eq!(owned(&built, path), (0o755, 0, 0), "{path}");
    }
    assert_eq!(owned(&built, "/not-there"), (0o644, 0, 0));
    for path in ["/owned", "/owned/deep", "/owned/deep/er"] {
        assert_eq!(owned(&built, path), (0o711, 5, 6), "{path}");
    }
    assert_eq!([owned(&built, "/closed"), owned(&built, "/closed/a")], [(0o600, 0, 0); 2]);
    case.dockerfile("FROM BUSYBOX\nCOPY a\n");
    case.fails(&["requires at least two arguments", "Dockerfile:2"]);
}

// language 11.4, 11.6
#[test]
fn directories() {
    let case = Case::new(
        r#"FROM BUSYBOX
RUN mkdir -p /old/sub /chowned/sub && echo keep > /old/sub/keep && echo old > /old/f && \
    chmod 0700 /old /old/sub /chowned /chowned/sub && chown -R 5:6 /old /chowned
COPY d /new
COPY d/ /slash
COPY d/. /dot
COPY d /old
COPY --chown=8:9 --chmod=u=rwX,go=X d /chowned
"#,
    )
    .file("d/f", "new")
    .file("d/sub/g", "g");
    mode(case.context().join("d"), 0o711);
    mode(case.context().join("d/sub"), 0o1777);
    fs::File::open(case.context().join("d")).and_then(|top| top.set_modified(time(1_000_000_000))).expect("a time");
    let built = case.build(&[]);
    for top in ["/new", "/slash", "/dot"] {
        assert_eq!(below(&built, top), ["f", "sub", "sub/g"], "{top}");
        assert_eq!([owned(&built, top), owned(&built, &format!("{top}/sub"))], [(0o755, 0, 0), (0o1777, 0, 0)]);
    }
    assert_eq!(below(&built, "/old"), ["f", "sub", "sub/g", "sub/keep"]);
    assert_eq!([owned(&built, "/old"), owned(&built, "/old/sub")], [(0o700, 5, 6), (0o1777, 0, 0)]);
    assert_eq!([built.text("/old/f"), built.text("/old/sub/keep")], ["new", "keep\n"]);
    assert_eq!(owned(&built, "/old/sub/keep"), (0o644, 5, 6));
    assert_eq!([owned(&built, "/chowned"), owned(&built, "/chowned/sub")], [(0o700, 5, 6), (0o1711, 8, 9)]);
    assert_eq!([built.files["/new"].mtime, built.files["/old"].mtime], [1_000_000_000; 2]);
}

fn time(seconds: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
}

// language 11.5, 11.7
#[test]
fn what_may_replace_what() {
    let case = Case::new(
        r#"FROM BUSYBOX
RUN mkdir /d && mkdir /d/d && echo old > /f && mkdir /links && ln -s /d /links/d
COPY b /f
COPY a b /dst
COPY d a /mixed
"#,
    )
    .file("a", "A")
    .file("b", "B")
    .file("d/in", "in")
    .file("t/d/in", "in")
    .file("u/f/in", "in");
    let built = case.build(&[]);
    assert_eq!([built.text("/f"), built.text("/dst")], ["B", "B"]);
    assert_eq!(below(&built, "/mixed"), ["a", "in"]);
    let before = "FROM BUSYBOX\nRUN mkdir -p /d/a && echo old > /f && mkdir /links && ln -s /d /links/d\n";
    for (copy, words) in [
        ("a d /dst", "cannot copy to non-directory"),
        ("a /d/", "cannot replace to directory"),
        ("t /links", "cannot copy to non-directory"),
        ("u /", "cannot copy to non-directory"),
        ("a /f/under", "mkdir /f: not a directory"),
        ("a /f/", "mkdir /f: not a directory"),
    ] {
        case.dockerfile(&format!("{before}COPY {copy}\n"));
        case.fails(&[words, "Dockerfile:3"]);
    }
}

// language 11.8
#[test]
fn links_at_the_destination() {
    let case = Case::new(
        r#"FROM BUSYBOX
RUN mkdir /real /dir /a && ln -s /real /lnk && ln -s ../../../real /dir/up && echo old > /tf && ln -s /tf /fl && \
    ln -s /not/there /dangling && ln -s /tf /dir/a && ln -s loop /loop
COPY a /lnk/one
COPY a /dir/up/new/two
COPY a /lnk
COPY d /dir/up
COPY b /fl
COPY a /dangling
COPY a /dir
"#,
    )
    .file("a", "A")
    .file("b", "B")
    .file("d/in", "in");
    let built = case.build(&[]);
    assert_eq!(below(&built, "/real"), ["a", "in", "new", "new/two", "one"]);
    assert_eq!([built.text("/tf"), built.text("/not/there")], ["B", "A"]);
    assert_eq!([built.files["/dir/a"].kind, &built.text("/dir/a")], ["file", "A"]);
    let kept = ["/lnk", "/dir/up", "/fl", "/dangling"].map(|path| link(&built, path));
    assert_eq!(kept, ["/real", "../../../real", "/tf", "/not/there"]);
}

// language 11.9
#[test]
fn links_at_the_source() {
    let case = Case::new(
        r#"FROM BUSYBOX AS stage
RUN mkdir /s && echo s > /s/f && ln -s ../../../s /s/up && ln -s /s/f /s/absolute
FROM BUSYBOX
COPY link /1
COPY dirlink /2
COPY *link /3/
COPY dirlink/f /4
COPY dir /5
COPY absolute /6
COPY --from=stage /s/up/up/f /s/absolute /7/
"#,
    )
    .file("file", "F")
    .file("dir/f", "f");
    let at = |name: &str| case.context().join(name);
    for (target, name) in
        [("file", "link"), ("dir", "dirlink"), ("/dir/f", "absolute"), ("../file", "dir/in"), ("/nope", "dir/dangling")]
    {
        symlink(target, at(name)).expect("a link");
    }
    let built = case.build(&[]);
    assert_eq!([built.files["/1"].kind, &built.text("/1")], ["file", "F"]);
    assert_eq!(below(&built, "/2"), ["dangling", "f", "in"]);
    assert_eq!(below(&built, "/3"), ["dangling", "f", "in", "link"]);
    assert_eq!([built.text("/3/link"), built.text("/4"), built.text("/6")], ["F", "f", "f"]);
    assert_eq!([link(&built, "/5/in"), link(&built, "/5/dangling")], ["../file", "/nope"]);
    assert_eq!([built.text("/7/f"), built.text("/7/absolute")], ["s\n", "s\n"]);
    symlink("/etc/hostname", at("out")).expect("a link");
    case.dockerfile("FROM BUSYBOX\nCOPY out /x\n");
    case.fails(&["\"/out\": not found", "Dockerfile:2"]);
}

// language 11.10, 11.11
#[test]
fn wildcards() {
    let case = Case::new(
        r#"FROM BUSYBOX
COPY *.txt /star/
COPY d?/[a-b][^a] /class/
COPY **/ab /double/
COPY d* /flat/
COPY ["[[]x]", "/literal"]
COPY none* /miss/
RUN test ! -e /miss
"#,
    )
    .file("1.txt", "1")
    .file(".dot.txt", ".")
    .file("sub/2.txt", "2")
    .file("d1/ab", "ab")
    .file("d1/aa", "aa")
    .file("d1/deep/ab", "deep")
    .file("d2/bb", "bb")
    .file("[x]", "x");
    let built = case.build(&[]);
    assert_eq!(below(&built, "/star"), [".dot.txt", "1.txt"]);
    assert_eq!(below(&built, "/class"), ["ab", "bb"]);
    assert_eq!(below(&built, "/double"), ["ab"]);
    assert_eq!(built.text("/double/ab"), "ab");
    assert_eq!(below(&built, "/flat"), ["aa", "ab", "bb", "deep", "deep/ab"]);
    assert_eq!(built.text("/literal"), "x");
    assert!(!built.files.contains_key("/miss"));
    let entries = built.config["history"].as_array().expect("a history");
    let miss = entries.iter().find(|entry| entry["created_by"] == "COPY none* /miss/ # buildkit").expect("its entry");
    assert_ne!(miss["empty_layer"], true);
    for missing in ["/nope.txt", "sub/nope", "1.txt/x"] {
        case.dockerfile(&format!("FROM BUSYBOX\nCOPY {missing} /\n"));
        case.fails(&[&format!("\"/{}\": not found", missing.trim_start_matches('/')), "Dockerfile:2"]);
    }
}

// language 11.12
#[test]
fn what_is_kept_of_a_file() {
    let case = Case::new(
        r#"FROM BUSYBOX AS stage
COPY tree /s
RUN rm /s/hard && ln /s/suid /s/hard && mkfifo /s/fifo && mknod /s/null c 1 3 && chown -h 5:6 /s/suid /s/link /s/d && chmod 4755 /s/suid && touch -d @1000000000 /s/suid
FROM BUSYBOX
COPY tree /context
COPY --from=stage /s /staged
COPY --from=stage /s/suid /single
"#,
    )
    .file("tree/suid", "x")
    .file("tree/d/f", "f");
    let at = |name: &str| case.context().join("tree").join(name);
    fs::hard_link(at("suid"), at("hard")).expect("a hard link");
    symlink("suid", at("link")).expect("a link");
    mode(at("suid"), 0o6711);
    mode(at("d"), 0o1750);
    let precise = time(1_234_567_890) + std::time::Duration::from_nanos(123_456_789);
    fs::File::options().write(true).open(at("suid")).and_then(|file| file.set_modified(precise)).expect("a time");
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
    let chown = std::os::unix::fs::chown(at("d/f"), Some(77), Some(78));

    let built = case.build(&[]);
    assert_eq!(owned(&built, "/context/suid"), (0o6711, 0, 0));
    assert_eq!(owned(&built, "/context/d"), (0o1750, 0, 0));
    assert_eq!(built.files["/context/suid"].mtime, 1_234_567_890);
    assert!(std::rc::Rc::ptr_eq(&built.files["/context/suid"], &built.files["/context/hard"]), "{chown:?}");
    assert_eq!([built.files["/context/socket"].kind, &built.text("/context/socket")], ["file", ""]);
    assert_eq!(link(&built, "/context/link"), "suid");
    assert_eq!(owned(&built, "/context/d/f").1, 0);

    assert_eq!([owned(&built, "/staged/suid"), owned(&built, "/single")], [(0o4755, 5, 6); 2]);
    assert_eq!([built.files["/staged/suid"].mtime, built.files["/single"].mtime], [1_000_000_000; 2]);
    assert_eq!([built.files["/staged/fifo"].kind, built.files["/staged/null"].kind], ["fifo", "char"]);
    assert_eq!([owned(&built, "/staged/link").1, owned(&built, "/staged/d").1], [5, 5]);
    assert!(std::rc::Rc::ptr_eq(&built.files["/staged/suid"], &built.files["/staged/hard"]));
}

// language 11.14
#[test]
fn owners() {
    let case = Case::new(
        r#"FROM BUSYBOX
ARG NONE OWNER=ann
RUN echo 'ann:x:12:34::/:/bin/sh' >> /etc/passwd; echo 'staff:x:50:' >> /etc/group; mkdir -m 0700 /there
COPY --chown=11 a /1
COPY --chown=ann a /2
COPY --chown=$OWNER:7 a /new/3
COPY --chown=:staff a /4
COPY --chown=nobody-knows:nor-this a /5
COPY --chown=$NONE a /6
COPY --chown=9:9 d /there
"#,
    )
    .file("a", "A")
    .file("d/s/f", "f");
    let built = case.build(&[]);
    let owner = |path: &str| (owned(&built, path).1, owned(&built, path).2);
    let of_files = ["/1", "/2", "/new/3", "/new", "/4", "/5", "/6"].map(owner);
    assert_eq!(of_files, [(11, 11), (12, 34), (12, 7), (12, 7), (0, 50), (0, 0), (0, 0)]);
    assert_eq!(["/there", "/there/s", "/there/s/f"].map(owner), [(0, 0), (9, 9), (9, 9)]);
}

// language 11.15
#[test]
fn modes() {
    let case = Case::new(
        r#"FROM BUSYBOX
ARG BITS=0600
COPY --chmod=$BITS d /octal
COPY --chmod=4711 d/f /suid
COPY --chmod=u=rwX,go=rX d /symbols
COPY --chmod=+x d/f /plus
COPY --chmod=go=u,o-w d/f /copied
"#,
    )
    .file("d/f", "f")
    .file("d/s/x", "x");
    mode(case.context().join("d/f"), 0o600);
    mode(case.context().join("d/s/x"), 0o700);
    symlink("f", case.context().join("d/l")).expect("a link");
    let built = case.build(&[]);
    let mode = |path: &str| owned(&built, path).0;
    assert_eq!(["/octal", "/octal/f", "/octal/s", "/octal/s/x"].map(mode), [0o600; 4]);
    assert_eq!(["/suid", "/plus", "/copied"].map(mode), [0o4711, 0o711, 0o664]);
    assert_eq!(["/symbols/f", "/symbols/s", "/symbols/s/x"].map(mode), [0o644, 0o755, 0o755]);
    assert_eq!(["/octal/l", "/symbols/l"].map(mode), [0o777; 2]);
    for (bits, words) in [
        ("999", "invalid chmod parameter: '999'. it should be octal string and between 0 and 07777"),
        ("10000", "invalid chmod parameter: '10000'. it should be octal string and between 0 and 07777"),
        ("rwx", "invalid syntax"),
    ] {
        case.dockerfile(&format!("FROM BUSYBOX\nCOPY --chmod={bits} d /d\n"));
        case.fails(&[words, "Dockerfile:2"]);
    }
}

// language 11.16, 11.21
#[test]
fn what_only_one_of_them_takes() {
    for (instruction, words) in [
        ("ADD --from=x a /", "unknown flag: --from"),
        ("COPY https://example.com/a /", "source can't be a URL for COPY"),
        ("COPY https://example.com/a.git /", "source can't be a git ref for COPY"),
        ("COPY git@example.com:a/b /", "source can't be a git ref for COPY"),
    ] {
        Case::new(&format!("FROM BUSYBOX\n{instruction}\n")).fails(&[words, "Dockerfile:2"]);
    }
}

// language 11.19
#[test]
fn copies_that_are_linked() {
    let case = Case::new(
        r#"FROM BUSYBOX
RUN mkdir -m 700 /d /real && chown 5:5 /d && ln -s /real /lnk && ln -s /real /lnk2 && echo keep > /d/keep
WORKDIR /w
COPY --link f /d/
COPY --link f /lnk
COPY --link f /lnk2/
COPY --link --chown=9:8 f /new/
COPY --link f rel/
COPY --link --chmod=600 f /real/
COPY --link --chown=root:root f /root-is-a-number
"#,
    )
    .file("f", "f");
    let built = case.build(&[]);
    assert_eq!(owned(&built, "/d"), (0o755, 0, 0));
    assert_eq!([built.text("/d/keep"), built.text("/d/f"), built.text("/w/rel/f")], ["keep\n", "f", "f"]);
    assert_eq!([built.files["/lnk"].kind, built.files["/lnk2"].kind], ["file", "dir"]);
    assert_eq!([owned(&built, "/new"), owned(&built, "/new/f")], [(0o755, 9, 8), (0o644, 9, 8)]);
    assert_eq!([owned(&built, "/real"), owned(&built, "/real/f")], [(0o700, 0, 0), (0o600, 0, 0)]);
    case.dockerfile("FROM BUSYBOX\nCOPY --link --chown=nobody f /\n");
    case.fails(&["invalid user index: -1", "Dockerfile:2"]);
}

// language 11.20
#[test]
fn history_of_copies() {
    let case = Case::new(
        r#"FROM BUSYBOX AS s
FROM BUSYBOX
ARG D=dest
WORKDIR /w
COPY --link --chmod=0755 --chown=1:2 --exclude=x a $D/
COPY --parents --from=s /bin/sh ./
COPY a <<EOF <<"OTHER" there/
text
EOF
text
OTHER
"#,
    )
    .file("a", "A");
    let history = case.build(&[]).history();
    let copies: Vec<&str> = history.iter().filter(|entry| entry.starts_with("COPY")).map(String::as_str).collect();
    let want = [
        "COPY --chown=1:2 --chmod=0755 a dest/ # buildkit",
        "COPY --parents /bin/sh ./ # buildkit",
        "COPY a <<EOF <<OTHER there/ # buildkit",
    ];
    assert!(copies.ends_with(&want), "{copies:?}");
}
