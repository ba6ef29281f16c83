//! Whole builds of real things: Debian's packages, a compiler, a web application; and what other tools say to the result.

// Tests are the edge: they look at the clock and the environment.
#![allow(clippy::disallowed_methods)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::bases::Base;
use support::bundle::Bundle;
use support::kiln::Kiln;
use support::user::User;
use support::{apt, image, registry, tool};

#[test]
fn a_web_application_on_debian_answers_http() {
    if support::has_root() {
        check_web_application(&Kiln::new());
    }
}

#[test]
fn a_web_application_built_by_an_ordinary_user_answers_http() {
    if support::has_root() {
        check_web_application(&Kiln::of(User::with_ranges()));
    }
}

#[test]
fn a_web_application_built_by_a_user_with_a_single_id_answers_http() {
    if support::has_root() {
        check_web_application(&Kiln::of(User::without_ranges()));
    }
}

#[test]
fn a_compiled_program_is_alone_in_its_image_and_runs() {
    if support::has_root() {
        check_program(&Kiln::new());
    }
}

#[test]
fn a_program_compiled_by_an_ordinary_user_is_alone_in_its_image_and_runs() {
    if support::has_root() {
        check_program(&Kiln::of(User::with_ranges()));
    }
}

#[test]
fn other_tools_read_every_kind_of_output() {
    if !support::has_root() {
        return;
    }
    let kiln = Kiln::new();
    let context = small_context();
    let oci = kiln.out().join("oci.tar");
    let docker = kiln.out().join("docker.tar");
    let layout = kiln.out().join("layout");
    let outputs = [
        format!("type=oci,dest={}", oci.display()),
        format!("type=oci,tar=false,dest={}", layout.display()),
        format!("type=docker,dest={}", docker.display()),
        "type=image".to_owned(),
    ];
    for output in &outputs {
        kiln.build(context.path(), &["-t", "example/small:1", "-o", output]).succeeded();
    }
    let stored = format!("oci:{}:example/small:1", kiln.store().join("content").display());
    let sources = [
        format!("oci-archive:{}", oci.display()),
        format!("oci:{}:1", layout.display()),
        format!("docker-archive:{}", docker.display()),
        stored,
    ];
    for source in &sources {
        let seen: Value = serde_json::from_str(&skopeo(&["inspect", source])).expect("skopeo prints JSON");
        assert_eq!(seen["Labels"]["kind"], "small", "{source}: {seen}");
        assert_eq!(seen["Layers"].as_array().map(Vec::len), Some(3), "{source}: {seen}");
        let copy = format!("dir:{}", kiln.out().join("copy").display());
        skopeo(&["copy", "-q", source, &copy]);
    }
    for (layout, tag) in [(layout, "1"), (kiln.store().join("content"), "example/small:1")] {
        assert_eq!(Bundle::of_layout(&layout, tag).run(), "small\n");
    }
}

#[test]
fn a_pushed_image_is_whole() {
    if !support::has_root() {
        return;
    }
    let kiln = Kiln::new();
    let context = small_context();
    let name = format!("{}/pushed/small:1", registry::shared().address);
    kiln.build(context.path(), &["-t", &name, "--push"]).succeeded();
    let remote = format!("docker://{name}");
    let seen: Value =
        serde_json::from_str(&skopeo(&["inspect", "--tls-verify=false", &remote])).expect("skopeo prints JSON");
    assert_eq!(seen["Labels"]["kind"], "small");
    let copy = kiln.out().join("copy");
    let to = format!("oci:{}:latest", copy.display());
    skopeo(&["copy", "-q", "--src-tls-verify=false", &remote, &to]);
    assert_eq!(Bundle::of_layout(&copy, "latest").run(), "small\n");
    // What was pushed is also a base for the next build, in a store that has never seen it.
    let child = tempfile::tempdir().expect("a scratch directory");
    support::write(child.path(), "Dockerfile", format!("FROM {name}\nRUN test \"$(cat /greeting)\" = small\n"));
    Kiln::new().build(child.path(), &[]).succeeded();
}

#[test]
fn a_build_without_change_runs_nothing_and_gives_the_same_image() {
    let kiln = Kiln::new();
    let context = small_context();
    let first = kiln.build_archive(context.path(), "first.tar", &[]);
    let second = kiln.build_archive(context.path(), "second.tar", &[]);
    assert!(std::fs::read(&first).ok() == std::fs::read(&second).ok(), "two archives of one build differ");
    // The step writes a random number, so equal images mean that it did not run again.
    let random = |archive: &Path| {
        let image = image::read(archive).expect("an OCI archive");
        image::flatten(&image.layers).expect("whole layers")["/random"].data.clone()
    };
    assert_eq!(random(&first), random(&second));
}

fn check_web_application(kiln: &Kiln) {
    let context = support::copy_of(&testdata("real/web"));
    let archive = kiln.build_archive(context.path(), "web.tar", &apt::arguments());
    let config = image::read(&archive).expect("an OCI archive").config["config"].clone();
    assert_eq!(config["User"], "web");
    assert_eq!(config["WorkingDir"], "/app");
    assert_eq!(config["ExposedPorts"], serde_json::json!({"8080/tcp": {}}));
    assert_eq!(config["Cmd"], serde_json::json!(["python3", "server.py"]));

    let bundle = Bundle::of_archive(&archive);
    let address = registry::free_address();
    bundle.set_environment("PORT", address.rsplit(':').next().expect("a port"));
    let _running = bundle.start_on_host_network();
    let answer: Value = serde_json::from_str(&http_get(&address)).expect("the application answers JSON");
    assert_eq!(answer["greeting"], "Hello from a container");
    assert_eq!(answer["uid"], 1234);
    assert_eq!(answer["directory"], "/app");
    assert_eq!(answer["page"], "A page of the application.");
    assert_eq!(answer["files"], serde_json::json!(["page.txt", "server.py"]));
}

fn check_program(kiln: &Kiln) {
    let mut arguments = apt::arguments();
    arguments.extend(["--build-arg", "VERSION=7"]);
    let context = support::copy_of(&testdata("real/program"));
    let archive = kiln.build_archive(context.path(), "program.tar", &arguments);
    let image = image::read(&archive).expect("an OCI archive");
    let files = image::flatten(&image.layers).expect("whole layers");
    assert_eq!(files.keys().collect::<Vec<_>>(), ["/program"]);
    assert_eq!(files["/program"].mode, 0o755);
    assert_eq!(Bundle::of_archive(&archive).run(), "Hello, world, from version 7\n");
}

/// A context for an image of three layers on busybox that says `small`.
fn small_context() -> tempfile::TempDir {
    let context = support::scratch();
    let base = registry::base(Base::Busybox);
    let dockerfile = format!(
        "FROM {base}\nCOPY greeting /greeting\nRUN cat /proc/sys/kernel/random/uuid > /random\n\
         LABEL kind=small\nCMD [\"cat\", \"/greeting\"]\n"
    );
    support::write(context.path(), "Dockerfile", dockerfile);
    support::write(context.path(), "greeting", "small\n");
    context
}

/// Asks until there is an answer; returns its body.
fn http_get(address: &str) -> String {
    let start = Instant::now();
    loop {
        if let Ok(answer) = try_get(address) {
            let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
            assert!(head.contains(" 200 "), "{head}");
            return body.to_owned();
        }
        assert!(start.elapsed() < Duration::from_secs(30), "nobody answers at {address}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn try_get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET / HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[track_caller]
fn skopeo(arguments: &[&str]) -> String {
    let mut command: Command = tool::tool("skopeo");
    tool::run(command.args(arguments))
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}
