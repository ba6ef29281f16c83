//! Section 7: FROM, stages, targets.

use serde_json::json;

use super::build::{Built, Case};
use super::layout::Layout;

/// Builds `dockerfile`, which must fail with each of `words`.
#[track_caller]
fn fails(dockerfile: &str, words: &[&str]) {
    Case::new(dockerfile).fails(words);
}

fn label(built: &Built, name: &str) -> String {
    built.config["config"]["Labels"][name].as_str().unwrap_or("none").to_owned()
}

// language 7.1
#[test]
fn a_stage_has_an_image_and_perhaps_a_name() {
    let case =
        Case::new("FROM --platform=$BUILDPLATFORM 'scratch' aS Big.Name-1_x\nLABEL a=b\nFROM scratch\nLABEL a=c\n");
    assert_eq!(label(&case.build(&["--target=big.name-1_X"]), "a"), "b");
    for name in ["$N", "1abc", "a/b", "-a", "é"] {
        fails(
            &format!("ARG N=n\nFROM scratch AS {name}\n"),
            &[
                &format!("invalid name for build stage: \"{name}\", name can't start with a number or contain symbols"),
                "Dockerfile:2",
            ],
        );
    }
    for line in ["FROM", "FROM scratch AS", "FROM scratch as a b", "FROM scratch like a"] {
        fails(&format!("{line}\n"), &["FROM requires either one or three arguments", "Dockerfile:1"]);
    }
}

// language 7.2
#[test]
fn the_image_is_expanded_with_global_args() {
    let case = Case::new("ARG REST=atch\nARG B=\"scr${REST}\"\nFROM $B\nLABEL a=b\nARG B=later\n");
    assert_eq!(label(&case.build(&[]), "a"), "b");
    // What a stage declares is not global.
    case.dockerfile("FROM scratch AS a\nARG X=scratch\nFROM $X\n");
    case.fails(&["base name ($X) should not be blank", "Dockerfile:3:6", "--build-arg"]);
    fails("FROM a:b:c\n", &["failed to parse stage name \"a:b:c\"", "Dockerfile:1:6"]);
    fails("FROM ${NOPE:?missing}\n", &["NOPE: missing", "Dockerfile:1"]);
}

// language 7.3
#[test]
fn a_stage_begins_where_its_parent_ended() {
    let case = Case::new(
        "FROM BUSYBOX AS Parent\n\
         ARG A=arg\n\
         ENV E=env\n\
         WORKDIR /w\n\
         RUN echo file > here\n\
         USER 7\n\
         SHELL [\"/bin/sh\", \"-ec\"]\n\
         LABEL a=b\n\
         FROM parent\n\
         RUN echo \"$A $E $(id -u) $(cat here)\" > /tmp/out; false; true\n",
    );
    // SHELL stops at `false`.
    case.fails(&["exit code: 1"]);
    let text = std::fs::read_to_string(case.context().join("Dockerfile")).expect("the Dockerfile");
    case.dockerfile(&text.replace("; false; true", ""));
    let built = case.build(&[]);
    assert_eq!(built.text("/tmp/out"), "arg env 7 file\n");
    let config = &built.config["config"];
    assert_eq!(config["Env"], json!(["PATH=/bin:/usr/bin:/sbin:/usr/sbin", "E=env"]));
    assert_eq!((&config["WorkingDir"], &config["User"]), (&json!("/w"), &json!("7")));
    assert_eq!(config["Shell"], json!(["/bin/sh", "-ec"]));
    assert_eq!(label(&built, "a"), "b");
}

// language 7.3
#[test]
fn only_the_exact_name_of_an_earlier_stage_is_a_stage() {
    let layout = Layout::of(json!({"config": {"Labels": {"a": "image"}}}));
    let context = format!("x=oci-layout://{}", layout.path().display());
    let case = Case::new("");
    for (lines, want) in [
        ("FROM scratch AS me\nLABEL a=stage\nFROM me", "stage"),
        ("FROM x AS me\nFROM me AS me", "image"),
        ("FROM scratch AS other\nLABEL a=stage\nFROM x", "image"),
    ] {
        case.dockerfile(&format!("{lines}\n"));
        assert_eq!(label(&case.build(&["--build-context", &context]), "a"), want, "{lines}");
    }
    let missing = |image: &str| format!("{image}: failed to resolve source metadata for");
    let unknown = "127.0.0.1:1/none";
    for (lines, image) in [
        // With a tag, in capitals, a number, a later one, itself.
        (format!("FROM scratch AS me\nFROM {unknown}:latest\n"), format!("{unknown}:latest")),
        (format!("FROM {unknown} AS me\nFROM me AS me\n"), unknown.to_owned()),
    ] {
        fails(&lines, &[&missing(&image)]);
    }
    fails("FROM scratch AS me\nFROM ME\n", &["failed to parse stage name \"ME\""]);
}

// language 7.4
#[test]
fn scratch_is_empty() {
    let case = Case::new("FROM scratch\n");
    let built = case.build(&[]);
    assert!(built.files.is_empty());
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(built.config["config"], json!({"Env": [path], "WorkingDir": "/"}));
    assert_eq!(built.config["history"], json!(null));
    fails("FROM Scratch\n", &["failed to parse stage name \"Scratch\"", "lower case"]);
}

// language 7.5
#[test]
fn of_two_stages_with_one_name_the_latest_before_counts() {
    let case = Case::new(
        "FROM scratch AS a\nLABEL n=1\nFROM a AS b\nLABEL before=1\nFROM scratch AS A\nLABEL n=2\nFROM a AS c\nLABEL after=1\n",
    );
    assert_eq!(label(&case.build(&["--target=b"]), "n"), "1");
    assert_eq!(label(&case.build(&["--target=c"]), "n"), "2");
    let target = case.build(&["--target=a"]);
    assert_eq!((label(&target, "n"), label(&target, "before")), ("2".to_owned(), "none".to_owned()));
}

// language 7.6
#[test]
fn from_names_a_stage_or_a_number_or_an_image() {
    let case = Case::new(
        "FROM scratch AS First\nCOPY f /one\nFROM scratch\nCOPY f /two\n\
         FROM scratch\nCOPY --from=FIRST /one /a\nCOPY --from=1 /two /b\nCOPY --from=BUSYBOX /bin/busybox /c\n",
    )
    .file("f", "f");
    let built = case.build(&[]);
    assert_eq!(built.files.keys().collect::<Vec<_>>(), ["/a", "/b", "/c"]);
    case.dockerfile("FROM BUSYBOX AS x\nRUN echo x > /x\nFROM BUSYBOX\nRUN --mount=from=X,target=/m cp /m/x /y\n");
    assert_eq!(case.build(&[]).text("/y"), "x\n");
    // A stage may be called by a name that is a number for others; for a mount a number is an image.
    let layout = Layout::of(json!({}));
    case.dockerfile("FROM BUSYBOX\nRUN echo x > /x\nFROM BUSYBOX\nRUN --mount=from=0,target=/m cp /m/layer /y\n");
    let context = format!("0=oci-layout://{}", layout.path().display());
    assert_eq!(case.build(&["--build-context", &context]).text("/y"), "of the layout");
}

// language 7.7
#[test]
fn what_from_names_comes_before() {
    let forward = "FROM scratch AS a\nCOPY --from=later /f /\nFROM scratch AS later\nFROM scratch\nLABEL a=b\n";
    let case = Case::new(forward);
    case.build(&[]);
    let target = |words: &[&str]| {
        case.kiln.build(case.context(), &["--target=a", "-o", "type=cacheonly"]).failed_saying(words);
    };
    target(&["cannot copy from stage \"later\", it needs to be defined before current stage \"a\"", "Dockerfile:2"]);
    case.dockerfile(&forward.replace("COPY --from=later /f /", "COPY --from=1 /f /"));
    case.build(&[]);
    target(&["cannot copy from stage \"1\", it needs to be defined before"]);
    case.dockerfile(&forward.replace("COPY --from=later /f /", "RUN --mount=from=later,target=/x x"));
    case.build(&[]);
    target(&["cannot mount from stage \"later\"", "stage needs to be defined before current command", "Dockerfile:2"]);
    for (line, stage) in [("AS a\nCOPY --from=a", "a"), ("\nCOPY --from=0", "stage-0")] {
        let text = format!("FROM scratch {line} / /\nFROM scratch\n");
        fails(&text, &[&format!("circular dependency detected on stage: {stage}"), "Dockerfile:2"]);
    }
    let circle =
        "FROM scratch AS a\nRUN --mount=from=b,target=/x x\nFROM scratch AS b\nCOPY --from=a / /\nFROM scratch\n";
    fails(circle, &["circular dependency detected on stage: a"]);
    for number in ["7", "-1"] {
        let text = format!("FROM scratch\nCOPY --from={number} / /\nFROM scratch\n");
        fails(&text, &[&format!("invalid stage index {number}"), "Dockerfile:2"]);
    }
}

// language 7.8
#[test]
fn what_the_target_does_not_reach_is_left_alone() {
    let dead = "FROM 127.0.0.1:1/none AS dead\nRUN false\nCOPY --from=127.0.0.1:1/other / /\nEXPOSE what\nFROM scratch\nLABEL a=b\n";
    let case = Case::new(dead);
    let built = case.build(&[]);
    assert_eq!(label(&built, "a"), "b");
    assert!(!built.output.both().contains("127.0.0.1:1"), "{}", built.output.both());
    case.dockerfile(&dead.replace("RUN false", "RUNN false"));
    case.fails(&["unknown instruction: RUNN"]);
}

// language 7.9
#[test]
fn the_target_is_a_name_or_the_last_stage() {
    let case = Case::new("FROM scratch AS Alpha\nLABEL a=1\nFROM scratch\nLABEL a=2\n");
    assert_eq!(label(&case.build(&[]), "a"), "2");
    assert_eq!(label(&case.build(&["--target="]), "a"), "2");
    assert_eq!(label(&case.build(&["--target=aLPHA"]), "a"), "1");
    for (target, hint) in [("0", ""), ("1", ""), ("stage-1", ""), ("alhpa", " (did you mean alpha?)")] {
        let output = case.kiln.build(case.context(), &["--target", target, "-o", "type=cacheonly"]);
        output.failed_saying(&[&format!("target stage \"{target}\" could not be found{hint}")]);
    }
}

// language 7.11
#[test]
fn the_config_of_the_base_image_is_inherited() {
    let config = json!({
        "User": "7", "ExposedPorts": {"80/tcp": {}}, "Env": ["B=1", "PATH=/x", "A=2"], "Entrypoint": ["/e"], "Cmd": ["c"],
        "Volumes": {"/v": {}}, "WorkingDir": "/w", "Labels": {"l": "1"}, "StopSignal": "SIGINT", "ArgsEscaped": true,
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5}, "OnBuild": ["LABEL triggered=yes"], "Shell": ["/s"],
    });
    let history = json!([{"created": "2001-01-01T00:00:00Z", "created_by": "one", "author": "who", "comment": "c"},
                         {"created": "2002-01-01T00:00:00Z", "created_by": "two", "empty_layer": true}]);
    let layout = Layout::of(json!({
        "author": "someone", "created": "2009-01-01T00:00:00Z", "config": config, "history": history,
    }));
    let case = Case::new("FROM base\nLABEL own=1\n");
    let built = case.build(&["--build-context", &format!("base=oci-layout://{}", layout.path().display())]);
    let mut want = config;
    want.as_object_mut().expect("a map").remove("OnBuild");
    want["Labels"] = json!({"l": "1", "own": "1", "triggered": "yes"});
    assert_eq!(built.config["config"], want);
    assert_eq!(built.config["author"], "someone");
    // The time is that of the history.
    assert_eq!(built.config["created"], "2002-01-01T00:00:00Z");
    assert_eq!(built.config["history"].as_array().expect("a list")[..2], history.as_array().expect("a list")[..]);
    assert_eq!(built.history(), ["one", "two", "LABEL triggered=yes", "LABEL own=1"]);
}

// language 7.12
#[test]
fn an_image_without_path_gets_one() {
    let layout = Layout::of(json!({"config": {"Env": ["A=1"]}}));
    let case =
        Case::new("FROM base\nCOPY --from=BUSYBOX /bin/busybox /bin/sh\nRUN echo $PATH > /path\nLABEL p=$PATH\n");
    let built = case.build(&["--build-context", &format!("base=oci-layout://{}", layout.path().display())]);
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(built.config["config"]["Env"], json!(["A=1", format!("PATH={path}")]));
    assert_eq!(label(&built, "p"), path);
    case.dockerfile("FROM BUSYBOX\n");
    assert_eq!(case.build(&[]).config["config"]["Env"], json!(["PATH=/bin:/usr/bin:/sbin:/usr/sbin"]));
}

// language 7.13
#[test]
fn a_named_context_replaces_stages_and_images() {
    let layouts = ["one", "two"].map(|name| Layout::of(json!({"config": {"Labels": {"from": name}}})));
    let is =
        |name: &str, layout: usize| format!("--build-context={name}=oci-layout://{}", layouts[layout].path().display());
    let case = Case::new("");
    let from = |dockerfile: &str, contexts: &[String]| {
        case.dockerfile(&format!("{dockerfile}\nLABEL x=y\n"));
        label(&case.build(&contexts.iter().map(String::as_str).collect::<Vec<_>>()), "from")
    };
    assert_eq!(from("FROM scratch AS stage\nRUN false\nFROM stage", &[is("stage", 0)]), "one");
    assert_eq!(from("FROM docker.io/library/some:latest", &[is("some", 0)]), "one");
    assert_eq!(from("FROM some", &[is("some", 0), is("other", 1)]), "one");
    assert_eq!(from("FROM some:tag", &[is("some", 0), is("some:tag", 1)]), "two");
    let own = format!("some::{}", kiln::oci::Platform::host());
    assert_eq!(from("FROM some", &[is("some", 0), is(&own, 1)]), "two");
    assert_eq!(from("FROM scratch", &[is("scratch", 0)]), "none");
    // In `--from`: of a stage, of an image, of an image with a tag.
    for name in ["stage", "image", "image:latest"] {
        let stage = if name == "stage" { "FROM scratch AS stage\nRUN false\n" } else { "" };
        case.dockerfile(&format!("{stage}FROM scratch\nCOPY --from={name} /layer /\n"));
        assert_eq!(case.build(&[&is(name.trim_end_matches(":latest"), 0)]).text("/layer"), "of the layout");
    }
    // `context` is the build's own.
    let case = Case::new("FROM scratch\nCOPY --from=context / /\n");
    let output = case.kiln.build(case.context(), &[&is("context", 0), "-o", "type=cacheonly"]);
    assert!(!output.both().contains("of the layout"));
}

// language 7.14
#[test]
fn an_image_in_from_gives_no_config() {
    let layout =
        Layout::of(json!({"config": {"Labels": {"l": "1"}, "Env": ["A=1"], "OnBuild": ["LABEL x=y"], "User": "1"}}));
    let case = Case::new("FROM scratch\nCOPY --from=base /layer /\n");
    let built = case.build(&["--build-context", &format!("base=oci-layout://{}", layout.path().display())]);
    assert_eq!(built.text("/layer"), "of the layout");
    assert_eq!(built.config["config"].as_object().expect("a map").keys().collect::<Vec<_>>(), ["Env", "WorkingDir"]);
    assert_eq!(built.history(), ["COPY /layer / # buildkit"]);
}

// language 7.15
#[test]
fn a_missing_image_is_told_by_both_its_names() {
    let address = &super::support::registry::shared().address;
    let name = format!("{address}/none/such");
    let words = format!("{name}: failed to resolve source metadata for {name}:latest: ");
    fails(&format!("FROM scratch\nFROM {name}\n"), &[&words, "not found", "Dockerfile:2:6"]);
    fails(&format!("FROM scratch\nCOPY --from={name}:1 / /\n"), &[&format!("metadata for {name}:1: "), "Dockerfile:2"]);
}
