//! What a user types, and what comes of it: outputs, identifiers, contexts, the cache, the store.

// Tests are the edge: they list directories.
#![allow(clippy::disallowed_methods)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use support::bases::{self, Base};
use support::image::{self, Files};
use support::kiln::{Kiln, Output};
use support::{registry, tool, write};

#[test]
fn quiet_prints_the_image_id_alone_and_the_files_agree_with_it() {
    let (kiln, context) = (Kiln::new(), random_context());
    let (id_file, metadata_file) = (kiln.out().join("id"), kiln.out().join("metadata"));
    let arguments =
        ["-q", "-t", "one", "-t", "two:2", "--iidfile", text(&id_file), "--metadata-file", text(&metadata_file)];
    let output = kiln.build(context.path(), &arguments);
    output.succeeded();
    let id = output.stdout.trim();
    assert!(id.len() == 71 && id.starts_with("sha256:"), "{}", output.both());
    assert_eq!(output.stderr, "");
    assert_eq!(std::fs::read_to_string(&id_file).expect("the id file").trim(), id);
    let metadata = std::fs::read(&metadata_file).expect("the metadata file");
    let metadata: Value = serde_json::from_slice(&metadata).expect("the metadata file is JSON");
    assert_eq!(metadata["containerimage.config.digest"], id);
    assert_eq!(metadata["image.name"], "docker.io/library/one:latest,docker.io/library/two:2");
    assert!(
        metadata["containerimage.digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")),
        "{metadata}"
    );
    let listed = kiln.run(["images"]);
    assert!(listed.succeeded().stdout.contains("one") && listed.stdout.contains("two"), "{}", listed.both());
}

#[test]
fn a_dockerfile_alone_comes_by_standard_input() {
    let kiln = Kiln::new();
    let base = registry::base(Base::Busybox);
    let output = piped(&kiln, &["-t", "piped", "-"], format!("FROM {base}\nRUN echo here > /here\n").as_bytes());
    output.succeeded();
}

#[test]
fn a_context_comes_by_standard_input_as_an_archive() {
    let (kiln, context) = (Kiln::new(), random_context());
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY file /copied\n");
    let archive = kiln.out().join("out.tar");
    tool::run(tool::tool("tar").arg("-czf").arg(kiln.out().join("context.tgz")).arg("-C").arg(context.path()).arg("."));
    let bytes = std::fs::read(kiln.out().join("context.tgz")).expect("the archive");
    piped(&kiln, &["-o", &format!("type=oci,dest={}", archive.display()), "-"], &bytes).succeeded();
    assert_eq!(files_of(&archive)["/copied"].data, b"a file\n");
}

#[test]
fn files_of_an_image_come_out_as_a_directory_and_as_an_archive() {
    let (kiln, context) = (Kiln::new(), random_context());
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY --chmod=640 file /a/b\n");
    let (directory, archive) = (kiln.out().join("files"), kiln.out().join("files.tar"));
    kiln.build(context.path(), &["-o", text(&directory)]).succeeded();
    assert_eq!(std::fs::read(directory.join("a/b")).expect("the file"), b"a file\n");
    kiln.build(context.path(), &["-o", &format!("type=tar,dest={}", archive.display())]).succeeded();
    let listed = tool::run(tool::tool("tar").arg("-tvf").arg(&archive));
    assert!(listed.contains("-rw-r-----") && listed.contains("a/b"), "{listed}");
}

#[test]
fn a_changed_file_runs_again_only_what_reads_it() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    let random = "cat /proc/sys/kernel/random/uuid >";
    let dockerfile = format!(
        "FROM {base} AS one\nCOPY one /one\nRUN {random} /ran-one\nFROM {base} AS two\nCOPY two /two\nRUN {random} /ran-two\n\
         FROM {base}\nCOPY --from=one /ran-one /\nCOPY --from=two /ran-two /\n"
    );
    write(context.path(), "Dockerfile", dockerfile);
    write(context.path(), "one", "1");
    write(context.path(), "two", "2");
    let before = files_of(&kiln.build_archive(context.path(), "before.tar", &[]));
    write(context.path(), "two", "3");
    let after = files_of(&kiln.build_archive(context.path(), "after.tar", &[]));
    assert_eq!(before["/ran-one"].data, after["/ran-one"].data, "a step ran although nothing it reads has changed");
    assert_ne!(
        before["/ran-two"].data, after["/ran-two"].data,
        "a step did not run although what it reads has changed"
    );
    // Not the time of a file counts, but what is in it.
    tool::run(tool::tool("touch").arg(context.path().join("one")));
    let touched = files_of(&kiln.build_archive(context.path(), "touched.tar", &[]));
    assert_eq!(touched["/ran-one"].data, after["/ran-one"].data);
}

#[test]
fn a_step_that_makes_the_same_again_leaves_the_next_one_in_the_cache() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    let dockerfile = format!(
        "FROM {base} AS made\nCOPY source /source\nRUN wc -c < /source > /size\nFROM {base}\n\
         COPY --from=made /size /size\nRUN cat /proc/sys/kernel/random/uuid > /ran\n"
    );
    write(context.path(), "Dockerfile", dockerfile);
    write(context.path(), "source", "abc");
    let before = files_of(&kiln.build_archive(context.path(), "before.tar", &[]));
    write(context.path(), "source", "xyz");
    let after = files_of(&kiln.build_archive(context.path(), "after.tar", &[]));
    assert_eq!(before["/ran"].data, after["/ran"].data);
}

#[test]
fn the_cache_can_be_passed_over_as_a_whole_and_by_stage() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    let random = "cat /proc/sys/kernel/random/uuid >";
    let dockerfile = format!(
        "FROM {base} AS one\nRUN {random} /ran-one\nFROM {base} AS two\nRUN {random} /ran-two\n\
         FROM {base}\nCOPY --from=one /ran-one /\nCOPY --from=two /ran-two /\n"
    );
    write(context.path(), "Dockerfile", dockerfile);
    let first = files_of(&kiln.build_archive(context.path(), "1.tar", &[]));
    let stage = files_of(&kiln.build_archive(context.path(), "2.tar", &["--no-cache-filter", "two"]));
    assert_eq!(first["/ran-one"].data, stage["/ran-one"].data);
    assert_ne!(first["/ran-two"].data, stage["/ran-two"].data);
    let whole = files_of(&kiln.build_archive(context.path(), "3.tar", &["--no-cache"]));
    assert_ne!(stage["/ran-one"].data, whole["/ran-one"].data);
    assert_ne!(stage["/ran-two"].data, whole["/ran-two"].data);
}

#[test]
fn a_cache_mount_keeps_its_files_and_leaves_none_in_the_image() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    let count = "--mount=type=cache,target=/kept echo x >> /kept/runs && wc -l < /kept/runs > /count";
    write(context.path(), "Dockerfile", format!("FROM {base}\nARG TURN\nRUN {count}; echo $TURN\n"));
    for turn in ["1", "2", "3"] {
        let argument = format!("TURN={turn}");
        let archive = kiln.build_archive(context.path(), "out.tar", &["--build-arg", &argument]);
        let files = files_of(&archive);
        assert_eq!(files["/count"].data, format!("{turn}\n").as_bytes());
        assert!(!files.contains_key("/kept/runs"));
    }
}

#[test]
fn a_secret_is_seen_by_its_step_and_nowhere_else() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    let dockerfile = format!(
        "FROM {base}\nRUN --mount=type=secret,id=token grep -q '^very.secret.words$' /run/secrets/token\n\
         RUN --mount=type=secret,id=token,env=TOKEN echo \"$TOKEN\" | grep -q '^very.secret.words$'\nRUN ! test -e /run/secrets/token\n"
    );
    write(context.path(), "Dockerfile", dockerfile);
    write(&kiln.out(), "token", "very-secret-words");
    let secret = format!("id=token,src={}", kiln.out().join("token").display());
    let archive = kiln.build_archive(context.path(), "out.tar", &["--secret", &secret]);
    let found = std::process::Command::new("grep").args(["-rl", "very-secret-words"]).arg(kiln.store()).output();
    assert_eq!(String::from_utf8_lossy(&found.expect("grep").stdout), "", "the secret is in the store");
    let image = image::read(&archive).expect("an OCI archive");
    let held = image.layers.iter().any(|layer| layer.windows(17).any(|bytes| bytes == b"very-secret-words"));
    assert!(!held && !image.config.to_string().contains("very-secret-words"), "the secret is in the image");
}

#[test]
fn a_key_file_is_forwarded_by_an_agent_and_never_seen() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let key = kiln.out().join("key");
    tool::run(tool::tool("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "kiln-test-key", "-f"]).arg(&key));
    // SSH_AGENTC_REQUEST_IDENTITIES (11); the answer (12) has the number of keys, and each with its comment.
    let ask = r#"use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die $!; syswrite $s, pack("NC", 1, 11); sysread $s, my $answer, 65536; my (undef, $type, $count) = unpack("NCN", $answer); print "type $type, $count key\n"; print "named\n" if $answer =~ /kiln-test-key/;"#;
    write(context.path(), "ask.pl", ask);
    let base = registry::base(Base::Debian);
    let dockerfile = format!(
        "FROM {base}\nRUN --mount=type=ssh --mount=type=bind,source=ask.pl,target=/ask.pl perl /ask.pl > /answer\n\
         FROM scratch\nCOPY --from=0 /answer /\n"
    );
    write(context.path(), "Dockerfile", dockerfile);
    let forwarded = format!("default={}", key.display());
    let archive = kiln.build_archive(context.path(), "out.tar", &["--ssh", &forwarded]);
    let image = image::read(&archive).expect("an OCI archive");
    let files = image::flatten(&image.layers).expect("whole layers");
    assert_eq!(files["/answer"].data, b"type 12, 1 key\nnamed\n");
    let left = tool::run(tool::tool("ps").args(["-eo", "args"]));
    assert!(!left.contains(&kiln.store().display().to_string()), "the agent is gone: {left}");
}

#[test]
fn named_contexts_are_directories_images_and_layouts() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    let other = support::scratch();
    write(other.path(), "file", "from a directory\n");
    let layout = bases::layout(Base::Busybox);
    let dockerfile = "FROM pinned\nCOPY --from=directory file /directory\nCOPY --from=layout /etc/passwd /layout\n";
    write(context.path(), "Dockerfile", dockerfile);
    let archive = kiln.build_archive(
        context.path(),
        "out.tar",
        &[
            "--build-context",
            &format!("directory={}", other.path().display()),
            "--build-context",
            &format!("pinned=docker-image://{base}"),
            "--build-context",
            &format!("layout=oci-layout://{}:busybox", layout.display()),
        ],
    );
    let files = files_of(&archive);
    assert_eq!(files["/directory"].data, b"from a directory\n");
    assert_eq!(files["/layout"].data, b"root:x:0:0:root:/root:/bin/sh\n");
}

#[test]
fn ignored_files_are_not_copied() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY . /\n");
    write(context.path(), ".dockerignore", "# a comment\n*.log\n!keep.log\nDockerfile\n.dockerignore\nbuild/\n");
    for name in ["a.log", "keep.log", "main.c", "build/out"] {
        write(context.path(), name, name);
    }
    let files = files_of(&kiln.build_archive(context.path(), "out.tar", &[]));
    assert_eq!(files.keys().collect::<Vec<_>>(), ["/keep.log", "/main.c"]);
}

#[test]
fn source_date_epoch_makes_two_stores_give_one_image() {
    let context = random_context();
    let base = registry::base(Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base}\nCOPY file /file\nRUN echo made > /made\n"));
    let digests: Vec<String> = (0..2)
        .map(|_| {
            let kiln = Kiln::new();
            let output = format!("type=oci,rewrite-timestamp=true,dest={}", kiln.out().join("out.tar").display());
            kiln.build(context.path(), &["--build-arg", "SOURCE_DATE_EPOCH=1700000000", "-o", &output]).succeeded();
            image::read(&kiln.out().join("out.tar")).expect("an OCI archive").digest
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn plain_progress_names_every_step_and_marks_the_cached_ones() {
    let (kiln, context) = (Kiln::new(), random_context());
    let first = kiln.build(context.path(), &["--progress=plain"]);
    assert!(first.succeeded().stderr.contains("RUN cat /proc/sys/kernel/random/uuid"), "{}", first.both());
    let second = kiln.build(context.path(), &["--progress=plain"]);
    let cached = |output: &Output| output.stderr.matches("CACHED").count();
    assert_eq!(cached(second.succeeded()), cached(&first) + 2, "{}{}", first.both(), second.both());
}

#[test]
fn on_a_terminal_progress_is_drawn_with_times_and_cached_steps_are_marked() {
    let (kiln, context) = (Kiln::new(), random_context());
    // `script` gives kiln a terminal of its own.
    let typed = format!("{} build {}", kiln.command().get_program().display(), context.path().display());
    let on_terminal = || {
        let mut command = tool::tool("script");
        command.args(["--quiet", "--return", "--command", &typed, "/dev/null"]);
        tool::run(command.env("KILN_ROOT", kiln.store()).env("TERM", "xterm").env_remove("NO_COLOR"))
    };
    let first = on_terminal();
    assert!(first.contains("\u{1b}[") && first.contains("RUN cat") && first.contains("0."), "{first}");
    let second = on_terminal();
    assert!(second.contains("CACHED"), "{second}");
}

#[test]
fn raw_progress_is_a_json_object_on_each_line() {
    let (kiln, context) = (Kiln::new(), random_context());
    let output = kiln.build(context.path(), &["--progress=rawjson"]);
    output.succeeded();
    let seen = solve_status::read(&output.stderr);
    assert!(seen.vertexes > 3 && seen.statuses > 0, "{}", output.both());
}

#[test]
fn raw_progress_of_a_failed_build_ends_in_the_words_of_docker() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base} AS Named\nRUN echo said; exit 3\n"));
    let output = kiln.build(context.path(), &["--progress=rawjson"]);
    let (stream, report): (Vec<&str>, Vec<&str>) = output.stderr.lines().partition(|line| line.starts_with('{'));
    let seen = solve_status::read(&stream.join("\n"));
    assert!(seen.logs == 1 && seen.warnings == 1, "{}", output.both());
    assert!(report.contains(&"   2 | >>> RUN echo said; exit 3"), "{}", output.both());
    let last = "ERROR: failed to build: failed to solve: \
        process \"/bin/sh -c echo said; exit 3\" did not complete successfully: exit code: 3";
    assert_eq!(report.last(), Some(&last));
}

/// The stream of `--progress=rawjson`, read as `client.SolveStatus` of moby/buildkit is declared: nothing else.
#[expect(dead_code, reason = "the shape is what is tested")]
mod solve_status {
    use regex::Regex;
    use serde::{Deserialize, Deserializer, de::Error};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct SolveStatus {
        #[serde(default)]
        vertexes: Vec<Vertex>,
        #[serde(default)]
        statuses: Vec<Status>,
        #[serde(default)]
        logs: Vec<Log>,
        #[serde(default)]
        warnings: Vec<Warning>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Vertex {
        #[serde(deserialize_with = "digest")]
        digest: String,
        #[serde(default)]
        inputs: Vec<String>,
        name: String,
        #[serde(default, deserialize_with = "time")]
        started: String,
        #[serde(default, deserialize_with = "time")]
        completed: String,
        #[serde(default)]
        cached: bool,
        #[serde(default)]
        error: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Status {
        id: String,
        #[serde(deserialize_with = "digest")]
        vertex: String,
        #[serde(default)]
        name: String,
        #[serde(default)]
        total: i64,
        current: i64,
        #[serde(deserialize_with = "time")]
        timestamp: String,
        #[serde(default, deserialize_with = "time")]
        started: String,
        #[serde(default, deserialize_with = "time")]
        completed: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Log {
        #[serde(deserialize_with = "digest")]
        vertex: String,
        stream: u8,
        #[serde(deserialize_with = "base64")]
        data: String,
        #[serde(deserialize_with = "time")]
        timestamp: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Warning {
        #[serde(deserialize_with = "digest")]
        vertex: String,
        level: i64,
        #[serde(deserialize_with = "base64")]
        short: String,
        #[serde(default)]
        detail: Vec<String>,
        #[serde(default)]
        url: String,
        source_info: Option<SourceInfo>,
        #[serde(default)]
        range: Vec<Range>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct SourceInfo {
        filename: String,
        #[serde(deserialize_with = "base64")]
        data: String,
        language: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Range {
        start: Position,
        end: Position,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Position {
        line: i32,
        #[serde(default)]
        character: i32,
    }

    fn of_form<'de, D: Deserializer<'de>>(form: &str, value: D) -> Result<String, D::Error> {
        let text = String::deserialize(value)?;
        let is_so = Regex::new(form).expect("a pattern").is_match(&text);
        if is_so { Ok(text) } else { Err(D::Error::custom(format!("{text:?} is not of the form {form}"))) }
    }

    fn digest<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
        of_form("^sha256:[0-9a-f]{64}$", value)
    }

    fn base64<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
        of_form("^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$", value)
    }

    fn time<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
        of_form(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z$", value)
    }

    /// How many objects of each kind there were.
    pub(super) struct Seen {
        pub(super) vertexes: usize,
        pub(super) statuses: usize,
        pub(super) logs: usize,
        pub(super) warnings: usize,
    }

    /// Reads a stream; panics at a line of another shape.
    pub(super) fn read(stream: &str) -> Seen {
        let mut seen = Seen { vertexes: 0, statuses: 0, logs: 0, warnings: 0 };
        for line in stream.lines() {
            let status: SolveStatus = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            seen.vertexes += status.vertexes.len();
            seen.statuses += status.statuses.len();
            seen.logs += status.logs.len();
            seen.warnings += status.warnings.len();
        }
        seen
    }
}

#[test]
fn pruning_keeps_what_the_named_images_need() {
    let (kiln, context) = (Kiln::new(), random_context());
    kiln.build(context.path(), &["-t", "kept"]).succeeded();
    let other = random_context();
    write(other.path(), "file", vec![b'z'; 3 << 20]);
    kiln.build(other.path(), &["-o", "type=cacheonly"]).succeeded();
    let before = size_of(kiln.store());
    kiln.run(["prune"]).succeeded();
    let after = size_of(kiln.store());
    assert!(after + (3 << 20) <= before, "{before} bytes before, {after} after");
    let source = format!("oci:{}:kept:latest", kiln.store().join("content").display());
    let copy = format!("dir:{}", kiln.out().join("copy").display());
    tool::run(tool::tool("skopeo").args(["copy", "-q", &source, &copy]));
}

/// A context of one file and a step that makes something else each time it runs.
fn random_context() -> tempfile::TempDir {
    let context = support::scratch();
    let base = registry::base(Base::Busybox);
    let dockerfile = format!("FROM {base}\nCOPY file /file\nRUN cat /proc/sys/kernel/random/uuid > /random\n");
    write(context.path(), "Dockerfile", dockerfile);
    write(context.path(), "file", "a file\n");
    context
}

/// Runs `kiln build` with `input` on its standard input.
fn piped(kiln: &Kiln, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = kiln.command();
    command.arg("build").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kiln starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("kiln reads its input");
    let output = child.wait_with_output().expect("the end of kiln");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn files_of(archive: &Path) -> Files {
    let image = image::read(archive).expect("an OCI archive");
    image::flatten(&image.layers).expect("whole layers")
}

fn size_of(directory: &Path) -> u64 {
    let listed = tool::run(tool::tool("du").args(["-s", "--block-size=1", "--apparent-size"]).arg(directory));
    listed.split_whitespace().next().and_then(|size| size.parse().ok()).expect("a size in bytes")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}
