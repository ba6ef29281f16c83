//! Section 13: instructions that say how containers run, and WORKDIR.

use serde_json::{Value, json};

use super::build::{Built, Case};

/// The image's container config that these lines make on busybox, and the history of it.
#[track_caller]
fn made(lines: &str) -> (Value, Vec<String>) {
    let built = Case::new(&format!("FROM BUSYBOX\n{lines}\n")).build(&[]);
    let own = built.history().split_off(2);
    (built.config["config"].clone(), own)
}

#[track_caller]
fn fails(line: &str, words: &str) {
    Case::new(&format!("FROM scratch\n{line}\n")).fails(&[words, "Dockerfile:2"]);
}

fn owner_and_mode(built: &Built, path: &str) -> (u64, u64, u32) {
    let node = built.files.get(path).unwrap_or_else(|| panic!("no {path}"));
    (node.uid, node.gid, node.mode)
}

// language 13.1
#[test]
fn workdir_joins_what_is_relative() {
    for (lines, want) in [
        ("WORKDIR a b/c", "/a b/c"),
        ("WORKDIR /a\nWORKDIR ../b//./c/", "/b/c"),
        ("ENV D=d\nWORKDIR /x\nWORKDIR $D/e", "/x/d/e"),
        ("WORKDIR /x\nWORKDIR $NOPE", "/x"),
        ("WORKDIR //a//b/", "//a//b/"),
    ] {
        assert_eq!(made(lines).0["WorkingDir"], want, "{lines}");
    }
    let built = Case::new("FROM BUSYBOX\nWORKDIR /x\nRUN pwd > out\n").build(&[]);
    assert_eq!(built.text("/x/out"), "/x\n");
}

// language 13.2
#[test]
fn workdir_makes_directories_of_the_user() {
    let built = Case::new(
        "FROM BUSYBOX\n\
         RUN echo u:x:5:6::/: >> /etc/passwd; mkdir -m 700 /there\n\
         WORKDIR /root/made\nUSER u\nWORKDIR /of/u\nUSER 7:8\nWORKDIR sub\nWORKDIR /there\nWORKDIR /\n",
    )
    .build(&[]);
    assert_eq!(owner_and_mode(&built, "/root/made"), (0, 0, 0o755));
    assert_eq!(owner_and_mode(&built, "/of/u"), (5, 6, 0o755));
    assert_eq!(owner_and_mode(&built, "/of/u/sub"), (7, 8, 0o755));
    assert_eq!(owner_and_mode(&built, "/there"), (0, 0, 0o700));
    let history = built.config["history"].as_array().expect("a list");
    let made =
        history.iter().map(|entry| (entry["created_by"].as_str().unwrap_or_default(), entry["empty_layer"] == true));
    let of_workdir: Vec<(&str, bool)> = made.filter(|(text, _)| text.starts_with("WORKDIR")).collect();
    let want = [("/root/made", false), ("/of/u", false), ("/of/u/sub", false), ("/there", false), ("/", true)];
    assert_eq!(
        of_workdir,
        want.map(|(path, empty)| (["WORKDIR ", path].concat(), empty)).each_ref().map(|(t, e)| (t.as_str(), *e))
    );
}

// language 13.3
#[test]
fn workdir_follows_links() {
    let case =
        Case::new("FROM BUSYBOX\nRUN mkdir /real; ln -s real /link; echo > /file\nWORKDIR /link/x\nRUN pwd > out\n");
    let built = case.build(&[]);
    assert!(built.files.contains_key("/real/x/out"));
    assert_eq!(built.config["config"]["WorkingDir"], "/link/x");
    case.dockerfile("FROM BUSYBOX\nRUN echo > /file\nWORKDIR /file/x\n");
    case.fails(&["not a directory", "Dockerfile:3"]);
}

// language 13.4
#[test]
fn the_user_is_stored_as_it_comes() {
    let (config, history) = made("ENV U=me\nUSER $U and  nobody:else");
    assert_eq!(config["User"], "me and  nobody:else");
    assert_eq!(history[1], "USER me and  nobody:else");
    assert_eq!(made("USER 5\nUSER $NOPE").0["User"], Value::Null);
}

// language 13.5
#[test]
fn volumes_are_strings() {
    let (config, history) = made("ENV V=/v\nVOLUME /a b //c/ $V\nVOLUME [\"/with blank\", \"$V\"]");
    assert_eq!(config["Volumes"], json!({"//c/": {}, "/a": {}, "/v": {}, "/with blank": {}, "b": {}}));
    assert_eq!(history[1..], ["VOLUME [/a b //c/ /v]", "VOLUME [/with blank /v]"]);
    for line in ["VOLUME [\"/a\", \"\"]", "VOLUME $NOPE"] {
        fails(line, "VOLUME specified can not be an empty string");
    }
    let case =
        Case::new("FROM BUSYBOX\nVOLUME /v\nRUN mkdir /v && echo run > /v/run\nCOPY f /v/copied\n").file("f", "f");
    let built = case.build(&[]);
    assert_eq!((built.text("/v/run").as_str(), built.text("/v/copied").as_str()), ("run\n", "f"));
}

// language 13.6
#[test]
fn ports_are_sorted_and_spread() {
    let (config, history) =
        made("ENV P=70\nEXPOSE 81 80/TCP 53/Udp 10-11/sctp 127.0.0.1:1:90 99:98 [::1]:5:6 $P $NOPE 65535 0");
    let keys = [
        "0/tcp",
        "10/sctp",
        "11/sctp",
        "53/udp",
        "6/tcp",
        "65535/tcp",
        "70/tcp",
        "80/tcp",
        "81/tcp",
        "90/tcp",
        "98/tcp",
    ];
    assert_eq!(config["ExposedPorts"].as_object().expect("a map").keys().collect::<Vec<_>>(), keys);
    // Sorted as they are written, variables too, not as they come out.
    let shown = "EXPOSE [70/tcp 0/tcp 10/sctp 11/sctp 90/tcp 53/udp 65535/tcp 80/tcp 81/tcp 98/tcp 6/tcp]";
    assert_eq!(history[1], shown);
    assert_eq!(made("EXPOSE $NOPE").1, ["EXPOSE []"]);
    for (port, words) in [
        ("80a", "invalid containerPort: 80a"),
        ("65536", "invalid containerPort: 65536"),
        ("5-3", "invalid containerPort: 5-3"),
        ("80/icmp", "invalid port: \"80/icmp\": invalid proto: icmp"),
        ("a:80", "invalid hostPort: a"),
        ("1.2.3:80:80", "invalid IP address: 1.2.3"),
        ("1-2:3-6", "invalid ranges specified for container and host Ports: 3-6 and 1-2"),
    ] {
        fails(&format!("EXPOSE {port}"), words);
    }
}

// language 13.7
#[test]
fn stop_signals_are_stored_as_written() {
    let good = ["65", "-1", "KILL", "sigterm", "SIGRTMIN", "rtmin+1", "RTMIN+15", "SIGRTMAX-14", "rtmax-1", "RTMAX"];
    for signal in good {
        let (config, history) = made(&format!("ENV S={signal}\nSTOPSIGNAL $S"));
        assert_eq!(config["StopSignal"], signal);
        assert_eq!(history[1], format!("STOPSIGNAL {signal}"));
    }
    for signal in ["0", "SIGNOPE", "RTMIN+16", "RTMAX-15", "9 9"] {
        fails(&format!("STOPSIGNAL {signal}"), &format!("invalid signal: {signal}"));
    }
}

// language 13.8
#[test]
fn shell_is_for_later_shell_forms() {
    let (config, history) = made(
        "RUN before\\\n || true\nSHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN true\nCMD a  b\nENTRYPOINT c\nHEALTHCHECK CMD d\nRUN [\"true\"]",
    );
    assert_eq!(config["Shell"], json!(["/bin/sh", "-e", "-c"]));
    assert_eq!(config["Cmd"], json!(["/bin/sh", "-e", "-c", "a  b"]));
    assert_eq!(config["Entrypoint"], json!(["/bin/sh", "-e", "-c", "c"]));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD-SHELL", "d"]));
    let want =
        ["RUN /bin/sh -c before || true # buildkit", "SHELL [/bin/sh -e -c]", "RUN /bin/sh -e -c true # buildkit"];
    assert_eq!(history[..3], want);
    assert_eq!(history[6], "RUN true # buildkit");
    fails("SHELL /bin/sh -c", "SHELL requires the arguments to be in JSON form");
}

// language 13.9
#[test]
fn healthchecks() {
    let (config, history) = made(
        "HEALTHCHECK --retries=3 CMD first\n\
         HEALTHCHECK --interval=1h2m3.5s --timeout=0 --start-period=1ms --start-interval=1.5h cmd [\"a\", \"b c\"]",
    );
    let want = json!({"Test": ["CMD", "a", "b c"], "Interval": 3_723_500_000_000_u64, "StartPeriod": 1_000_000, "StartInterval": 5_400_000_000_000_u64});
    assert_eq!(config["Healthcheck"], want);
    assert_eq!(
        history,
        [
            "HEALTHCHECK {Test:[CMD-SHELL first] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}",
            "HEALTHCHECK {Test:[CMD a b c] Interval:1h2m3.5s Timeout:0s StartPeriod:1ms StartInterval:1h30m0s Retries:0}",
        ]
    );
    assert_eq!(made("HEALTHCHECK CMD x\nHEALTHCHECK none").0["Healthcheck"], json!({"Test": ["NONE"]}));
    for (line, words) in [
        ("--interval=10 CMD x", "time: missing unit in duration \"10\""),
        ("--interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms"),
        ("--timeout=-5s CMD x", "Interval \"timeout\" cannot be less than 1ms"),
        ("--retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("FOO x", "Unknown type \"FOO\" in HEALTHCHECK (try CMD)"),
    ] {
        fails(&format!("HEALTHCHECK {line}"), words);
    }
}

// language 13.10
#[test]
fn cmd_says_that_its_arguments_are_escaped() {
    let (config, history) = made("CMD [\"a\", \"b \\\"c\\\"\\n\"]");
    assert_eq!((&config["Cmd"], &config["ArgsEscaped"]), (&json!(["a", "b \"c\"\n"]), &json!(true)));
    assert_eq!(history, ["CMD [\"a\" \"b \\\"c\\\"\\n\"]"]);
    assert_eq!(made("ENTRYPOINT a").0["ArgsEscaped"], Value::Null);
}

// language 13.11
#[test]
fn an_entrypoint_clears_what_cmd_is_inherited() {
    assert_eq!(made("ENTRYPOINT [\"e\"]").0["Cmd"], Value::Null);
    assert_eq!(made("ENTRYPOINT [\"e\"]\nCMD [\"c\"]").0["Cmd"], json!(["c"]));
    assert_eq!(made("CMD [\"c\"]\nENTRYPOINT [\"e\"]").0["Cmd"], json!(["c"]));
    let built = Case::new("FROM scratch AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]\n").build(&[]);
    assert_eq!(built.config["config"]["Cmd"], Value::Null);
}

// language 13.12
#[test]
fn the_last_of_several_counts() {
    let case = Case::new(
        "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\nENTRYPOINT [\"c\"]\nENTRYPOINT [\"d\"]\nHEALTHCHECK CMD e\nHEALTHCHECK CMD f\n",
    );
    let built = case.build(&[]);
    let config = &built.config["config"];
    assert_eq!((&config["Cmd"], &config["Entrypoint"]), (&json!(["b"]), &json!(["d"])));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD-SHELL", "f"]));
    assert_eq!(built.history().len(), 6);
    let said = case.kiln.build(case.context(), &["--check"]).both();
    assert_eq!(said.matches("MultipleInstructionsDisallowed").count(), 3, "{said}");
}
