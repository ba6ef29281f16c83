//! Command lines in, requests out.

use clap::Parser;

use super::*;
use crate::cli::args::{Arguments, Verb};
use crate::fsutil::Timestamp;

fn environment(directory: &std::path::Path) -> Environment {
    let pairs = [("HOME", "/home/u"), ("FROM_ENV", "seen"), ("XDG_RUNTIME_DIR", "/run/user/1000")];
    Environment {
        variables: pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        directory: directory.to_owned(),
        now: Timestamp::from_seconds(1_700_000_000),
        resolv_conf: "nameserver 192.0.2.1\n".to_owned(),
        ..Environment::default()
    }
}

fn typed(line: &str) -> BuildArguments {
    let words = ["kiln", "build"].into_iter().chain(line.split(' ')).chain(["."]);
    match Arguments::try_parse_from(words).expect("it parses").verb {
        Verb::Build(arguments) => *arguments,
        other => panic!("{other:?}"),
    }
}

/// What `pick` shows of the request of `line`, or the error.
fn shown(line: &str, pick: impl Fn(&BuildRequest) -> String) -> String {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    match build_request(&typed(line), &environment(scratch.path())) {
        Ok(request) => pick(&request),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_whole_request() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let line = "-t a:1 --tag b --tag a:1 -f D --target t --build-arg A=1=2 --build-arg FROM_ENV --build-arg UNSET \
                --label l=v --label m --platform linux/amd64,linux/arm64 --pull --jobs 3 --insecure localhost:5000";
    let request = build_request(&typed(line), &environment(scratch.path())).expect("a request");
    let text = format!("{request:#?}\n").replace(&scratch.path().display().to_string(), "/w");
    let golden = "testdata/cli/request.txt";
    if std::env::vars_os().any(|(name, _)| name == "UPDATE") {
        std::fs::write(golden, &text).expect("the golden is written");
    }
    assert_eq!(text, std::fs::read_to_string(golden).expect("the golden is there"));
}

#[test]
fn hosts() {
    let hosts = |line: &str| shown(line, |request| format!("{:?}", request.add_hosts));
    for (line, want) in [
        ("--add-host a:10.0.0.1", r#"[("a", "10.0.0.1")]"#),
        ("--add-host a=10.0.0.1", r#"[("a", "10.0.0.1")]"#),
        ("--add-host a:::1", r#"[("a", "::1")]"#),
        ("--add-host a=[::1]", r#"[("a", "::1")]"#),
        (
            "--add-host a:host-gateway",
            "invalid value `a:host-gateway` for --add-host: unable to derive the IP value for host-gateway: a step has no address \
             of the services of this machine; give one that it can reach, or `--network host`",
        ),
        ("--add-host a", "invalid value `a` for --add-host: bad format for add-host: expected HOST:IP"),
        ("--add-host a:b", "invalid value `a:b` for --add-host: invalid IP address in add-host: `b`"),
    ] {
        assert_eq!(hosts(line), want, "{line}");
    }
}

#[test]
fn networks_and_privileges() {
    let allowed = |line: &str| shown(line, |request| format!("{:?} {:?}", request.network, request.allow));
    for (line, want) in [
        ("--pull", "Default {}"),
        ("--network none", "None {}"),
        ("--network host", "Host {NetworkHost}"),
        ("--allow network.host,security.insecure", "Default {NetworkHost, SecurityInsecure}"),
        ("--network bridge", "invalid value `bridge` for --network: expected default, none or host"),
        (
            "--allow devices",
            "invalid value `devices` for --allow: expected network.host, security.insecure, device or device=NAME: did you mean `device`?",
        ),
    ] {
        assert_eq!(allowed(line), want, "{line}");
    }
}

#[test]
fn cache_flags() {
    let cache = |line: &str| shown(line, |request| format!("{:?}", request.no_cache));
    for (line, want) in [
        ("--no-cache", "All"),
        ("--no-cache=false", "None"),
        ("--no-cache-filter a,b", r#"Stages(["a", "b"])"#),
        ("--no-cache --no-cache-filter a", "--no-cache and --no-cache-filter cannot be used together"),
    ] {
        assert_eq!(cache(line), want, "{line}");
    }
    let required = |line: &str| shown(line, |request| format!("{:?} {}", request.require_cached, request.explain));
    for (line, want) in [
        ("--explain", "None true"),
        ("--require-cached", "All false"),
        ("--require-cached=a,b", r#"Stages(["a", "b"]) false"#),
        ("--require-cached --no-cache", "--no-cache and --require-cached cannot be used together"),
    ] {
        assert_eq!(required(line), want, "{line}");
    }
}

#[test]
fn the_environments_time_is_a_build_argument() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut environment = environment(scratch.path());
    environment.variables.insert("SOURCE_DATE_EPOCH".to_owned(), "7".to_owned());
    let given = |line: &str| build_request(&typed(line), &environment).expect("a request").build_args;
    assert_eq!(given("--pull"), [("SOURCE_DATE_EPOCH".to_owned(), "7".to_owned())]);
    assert_eq!(given("--build-arg SOURCE_DATE_EPOCH=9"), [("SOURCE_DATE_EPOCH".to_owned(), "9".to_owned())],);
}

#[test]
fn calls() {
    let call = |line: &str| match call::call(&typed(line)) {
        Ok(options) => format!("{:?} {} {:?}", options.call, options.json, options.status),
        Err(error) => error.to_string(),
    };
    for (line, want) in [
        ("--pull", "Build false Findings"),
        ("--check", "Check false Findings"),
        ("--call lint", "Check false Never"),
        ("--call check", "Check false Findings"),
        ("--call check,format=json,ignorestatus=true", "Check true Errors"),
        ("--call targets", "Targets false Findings"),
        ("--check --call outline", "--check and --call cannot be used together"),
        ("--call x", "invalid value `x` for --call: expected build, check, outline or targets"),
    ] {
        assert_eq!(call(line), want, "{line}");
    }
    assert_eq!(shown("--check", |request| request.outputs.len().to_string()), "0");
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let refused = |line: &str| shown(line, |_| "accepted".to_owned());
    for (line, want) in [
        (
            "--cache-to type=gha",
            "--cache-to type=gha is not supported yet: use type=registry, type=s3, type=reapi or type=local",
        ),
        ("--security-opt label=disable", "--security-opt is not supported yet"),
        ("--shm-size 1g --ulimit nofile=1", "accepted"),
        ("--rm --force-rm=true --compress", "accepted"),
        ("--squash=false", "accepted"),
    ] {
        assert_eq!(refused(line), want, "{line}");
    }
}
