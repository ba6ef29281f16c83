//! Section 16: what runs again. A step that ran has made another `id`: its layer holds random bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use super::build::Case;

/// Reads the random bytes of its layer, in the file `$1`.
const ID: &str = "cat /proc/sys/kernel/random/uuid >";

/// Builds of one store that differ in something.
struct Builds {
    case: Case,
    before: &'static str,
}

impl Builds {
    /// `before` is what every Dockerfile begins with.
    fn new(before: &'static str) -> Self {
        Self { case: Case::new(""), before }
    }

    /// The `/id` of a build of this Dockerfile; `ID` stands for the command that makes it.
    #[track_caller]
    fn id(&self, rest: &str, arguments: &[&str]) -> String {
        self.case.dockerfile(&format!("{}{}", self.before, rest.replace("ID", &format!("{ID} /id"))));
        self.case.build(arguments).text("/id")
    }
}

// language 16.1
#[test]
fn facts_of_a_command() {
    let builds = Builds::new("FROM BUSYBOX\n");
    let first = builds.id("ENV A=1\nENV B=2\nRUN ID\n", &["--add-host=db:10.0.0.1"]);
    let same = [
        ("ENV A=1\nENV B=2\nRUN ID   \n", "--add-host=db:10.0.0.2"),
        ("ENV A=1\nARG B=2\nRUN ID\n", "--add-host=db:10.0.0.1"),
        ("ENV A=1 B=2\nRUN [\"/bin/sh\", \"-c\", \"ID\"]\n", "--add-host=db:10.0.0.1"),
    ];
    for (dockerfile, argument) in same {
        assert_eq!(builds.id(dockerfile, &[argument]), first, "{dockerfile}");
    }
    let others = [
        ("ENV B=2\nENV A=1\nRUN ID\n", "--add-host=db:10.0.0.1"),
        ("ENV A=1\nENV B=2\nRUN ID\n", "--add-host=other:10.0.0.1"),
        ("ENV A=1\nENV B=2\nRUN  true;  ID\n", "--add-host=db:10.0.0.1"),
        ("ENV A=1\nENV B=2\nRUN --network=none ID\n", "--add-host=db:10.0.0.1"),
        ("ENV A=1\nENV B=2\nRUN --mount=type=tmpfs,target=/t ID\n", "--add-host=db:10.0.0.1"),
        ("ENV A=1\nENV B=2\nRUN --mount=type=cache,target=/t ID\n", "--add-host=db:10.0.0.1"),
        ("ENV A=1\nENV B=2\nRUN --mount=type=cache,target=/t,id=own ID\n", "--add-host=db:10.0.0.1"),
        ("ENV A=1\nENV B=2\nUSER 0\nRUN ID\n", "--add-host=db:10.0.0.1"),
        ("ENV A=1\nENV B=2\nUSER root\nRUN ID\n", "--add-host=db:10.0.0.1"),
        ("ENV A=1\nENV B=2\nWORKDIR /tmp\nRUN ID\n", "--add-host=db:10.0.0.1"),
        ("RUN true\nENV A=1\nENV B=2\nRUN ID\nRUN true\n", "--add-host=db:10.0.0.1"),
        ("RUN echo > /x\nENV A=1\nENV B=2\nRUN ID\n", "--add-host=db:10.0.0.1"),
    ];
    let mut ids = vec![first];
    for (dockerfile, argument) in others {
        let id = builds.id(dockerfile, &[argument]);
        assert!(!ids.contains(&id), "{dockerfile}");
        ids.push(id);
    }
    // Nor does another id or sharing of a cache mount count, where one is given.
    let mount = |options: &str| format!("RUN --mount=type=cache,target=/t,{options} ID\n");
    assert_eq!(builds.id(&mount("id=a"), &[]), builds.id(&mount("id=b,sharing=locked"), &[]));
}

// language 16.2
#[test]
fn what_never_counts() {
    let builds = Builds::new("FROM BUSYBOX\n");
    fs::write(builds.case.context().join("token"), "one").expect("a secret");
    let secret = format!("--secret=id=s,src={}", builds.case.context().join("token").display());
    let mounts = "--mount=type=secret,id=s --mount=type=cache,target=/c";
    let first = builds.id(&format!("RUN {mounts} ID\n"), &[&secret]);
    fs::write(builds.case.context().join("token"), "two").expect("a secret");
    assert_eq!(builds.id(&format!("RUN {mounts} ID\n"), &[&secret]), first, "the value of a secret");
    assert_eq!(builds.id(&format!("RUN {mounts} ID\n"), &[]), first, "no secret");
    assert_eq!(
        builds.id(&format!("RUN {mounts} ID\n"), &["--build-arg=HTTP_PROXY=http://x.example"]),
        first,
        "a proxy"
    );
    let metadata = "LABEL a=b\nEXPOSE 80\nCMD x\nENTRYPOINT y\nVOLUME /v\nSTOPSIGNAL 9\nHEALTHCHECK NONE\n";
    assert_eq!(builds.id(&format!("# comment\n\n{metadata}\nrun   \\\n# more\n{mounts} ID\n"), &[]), first, "writing");
    let after = format!("RUN {mounts} ID\nRUN --mount=type=cache,target=/c date +%N > /c/filled\n");
    assert_eq!(builds.id(&after, &[]), first);
    assert_eq!(builds.id(&format!("RUN {mounts} ID\n"), &[]), first, "what a cache mount holds");
}

// language 16.3
#[test]
fn variables_count_for_what_follows() {
    let builds = Builds::new("FROM BUSYBOX\nRUN cat /proc/sys/kernel/random/uuid > /before\nARG V\nENV W=$V\n");
    for name in ["a1", "a2"] {
        fs::write(builds.case.context().join(name), name).expect("a file");
    }
    let text = "COPY a1 /copied\nARG N=1\nCOPY a$N /expanded\nRUN ID\n";
    builds.case.dockerfile(&format!(
        "{}{}",
        builds.before,
        text.replace("ID", "cat /proc/sys/kernel/random/uuid > /id")
    ));
    let one = builds.case.build(&["--build-arg=V=1"]);
    let two = builds.case.build(&["--build-arg=V=2"]);
    assert_eq!(one.text("/before"), two.text("/before"));
    assert_ne!(one.text("/id"), two.text("/id"));
    // The base, /before and both COPYs.
    assert_eq!(two.cached(), 4, "{}", two.output.stderr);
    let three = builds.case.build(&["--build-arg=V=2", "--build-arg=N=2"]);
    assert_eq!(three.text("/expanded"), "a2");
    assert_eq!(three.cached(), 3, "{}", three.output.stderr);
}

// language 16.4
#[test]
fn facts_of_a_copy() {
    let builds = Builds::new("ARG NOBODY=1\nFROM BUSYBOX\n");
    let at = |name: &str| builds.case.context().join(name);
    fs::create_dir(at("d")).expect("a directory");
    for (name, text) in [("a", "1"), ("b", "1"), ("d/f", "f"), ("other", "")] {
        fs::write(at(name), text).expect("a file");
    }
    let text = "COPY a d /new/deep/\nCOPY <<EOF /here/doc\nx\nEOF\nRUN ID\n";
    let first = builds.id(text, &[]);
    for path in ["a", "d/f", "d"] {
        let open = fs::File::open(at(path)).expect("what was written");
        open.set_modified(UNIX_EPOCH + Duration::from_secs(1_234_567_890)).expect("a time");
    }
    fs::write(at("other"), "changed").expect("a file");
    assert_eq!(builds.id(text, &[]), first, "times");
    assert_eq!(builds.id(text, &["--build-arg=SOURCE_DATE_EPOCH=1000000000"]), first, "SOURCE_DATE_EPOCH");
    assert_eq!(builds.id(text, &["--build-arg=NOBODY=2"]), first, "an argument nobody uses");
    for same in ["./a /d", "/a d/"] {
        assert_eq!(builds.id(&text.replace("a d", same), &[]), first, "{same}");
    }
    let mut ids = vec![first];
    let mut differs = |text: &str, what: &str| {
        let id = builds.id(text, &[]);
        assert!(!ids.contains(&id), "{what}");
        ids.push(id);
    };
    differs(&text.replace("a d", "b d"), "the name of a source");
    differs(&text.replace("COPY a", "COPY --chown=0:0 a"), "an owner");
    differs(&text.replace("COPY a", "COPY --chmod=0644 a"), "a mode");
    differs(&text.replace("/new/", "/other/"), "the destination");
    differs(&text.replace("x\n", "y\n"), "a heredoc");
    fs::set_permissions(at("d/f"), fs::Permissions::from_mode(0o600)).expect("a mode");
    differs(text, "the mode of a file");
    fs::write(at("d/f"), "F").expect("a file");
    differs(text, "the bytes of a file");
    fs::rename(at("d/f"), at("d/g")).expect("a rename");
    differs(text, "the name of a file");
    std::os::unix::fs::symlink("a", at("d/l")).expect("a link");
    differs(text, "another file");
    fs::remove_file(at("d/l")).and_then(|()| std::os::unix::fs::symlink("b", at("d/l"))).expect("a link");
    differs(text, "the target of a link");
    // The files in which names of owners are looked up are below.
    let chown = "RUN echo 'ann:x:UID:1::/:' >> /etc/passwd\nCOPY --chown=ann a /x\nRUN ID\n";
    assert_ne!(builds.id(&chown.replace("UID", "1"), &[]), builds.id(&chown.replace("UID", "2"), &[]));
}

// language 16.5
#[test]
fn other_stages_count_by_content() {
    let text = "FROM BUSYBOX AS s\nARG V\nRUN sleep 0.01; echo same > /out; echo $V > /noise; mkdir /t && echo t > /t/f\nFROM BUSYBOX\n";
    let builds = Builds::new(text);
    for rest in [
        "COPY --from=s /out /x\nCOPY --from=s /t /y\nRUN ID\n",
        "RUN --mount=from=s,source=/out,target=/o --mount=from=s,source=t,target=/t ID\n",
        "RUN --mount=from=s,source=/t,target=/t,rw ID\n",
    ] {
        let first = builds.id(rest, &["--build-arg=V=1"]);
        assert_eq!(builds.id(rest, &["--build-arg=V=2"]), first, "{rest}");
        assert_eq!(builds.id(rest, &["--build-arg=V=2"]), first, "{rest}");
    }
    // What is seen of the stage counts, and so does a filesystem that a command runs in.
    for rest in ["RUN --mount=from=s,target=/s ID\n", "COPY --from=s /noise /x\nRUN ID\n", "FROM s\nRUN ID\n"] {
        assert_ne!(builds.id(rest, &["--build-arg=V=1"]), builds.id(rest, &["--build-arg=V=2"]), "{rest}");
    }
}

// language 16.6
#[test]
fn what_is_not_selected_and_what_is_not_taken_from_the_cache() {
    let builds = Builds::new("FROM BUSYBOX AS first\nRUN cat /proc/sys/kernel/random/uuid > /first\nFROM BUSYBOX\n");
    let at = |name: &str| builds.case.context().join(name);
    fs::create_dir(at("d")).expect("a directory");
    fs::write(at(".dockerignore"), "d/ignored\n").expect("a file");
    fs::write(at("d/f"), "f").expect("a file");
    let text = "COPY d /d\nCOPY --from=first /first /\nRUN ID\n";
    let first = builds.id(text, &[]);
    fs::write(at("d/ignored"), "").expect("a file");
    fs::write(at("beside"), "").expect("a file");
    assert_eq!(builds.id(text, &[]), first);
    let again = builds.id(text, &["--no-cache-filter=other"]);
    assert_eq!(again, first);
    let again = builds.id(text, &["--no-cache-filter=first"]);
    assert_ne!(again, first);
    assert_eq!(builds.id(text, &[]), again);
    assert_ne!(builds.id(text, &["--no-cache"]), again);

    let linked = |base: &str| {
        builds.case.dockerfile(&format!("FROM BUSYBOX\nRUN echo {base} > /base\nCOPY --link d /linked\n"));
        builds.case.build(&[]).cached()
    };
    linked("one");
    assert_eq!(linked("two"), 2, "the base image and the COPY");
}
