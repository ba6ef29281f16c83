//! `--load`: real engines that run images, and what they have afterwards.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::support::http::{HttpServer, Response};
use super::support::user::User;
use super::support::{self, Kiln, Output, tool, write};

/// A daemon of its own in a directory of its own. It ends with this value, and with the test process however that ends.
struct Daemon {
    child: Child,
    directory: tempfile::TempDir,
}

impl Daemon {
    fn start(program: &str, arguments: impl Fn(&Path) -> Vec<String>, answers: impl Fn(&Path) -> bool) -> Self {
        let directory = support::scratch();
        let file = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = tool::tool("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(tool::find(program).expect(program));
        command.args(arguments(directory.path())).stdout(Stdio::null()).stderr(file);
        let mut daemon = Self { child: command.spawn().unwrap(), directory };
        for _ in 0..200 {
            if answers(daemon.directory.path()) {
                return daemon;
            }
            assert!(daemon.child.try_wait().unwrap().is_none(), "{}", daemon.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{program} does not answer: {}", daemon.log());
    }

    /// Docker's daemon without networks, on plain directories.
    fn docker() -> Self {
        let arguments = |directory: &Path| {
            let at = |name: &str| directory.join(name).display().to_string();
            let mut all: Vec<String> =
                ["--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--bridge=none"]
                    .map(str::to_owned)
                    .into();
            all.extend([format!("--data-root={}", at("data")), format!("--exec-root={}", at("exec"))]);
            all.extend([format!("--pidfile={}", at("pid")), format!("--host=unix://{}", at("socket"))]);
            all
        };
        Self::start("dockerd", arguments, |directory| {
            let mut ping = docker(directory);
            ping.args(["version"]).output().unwrap().status.success()
        })
    }

    fn containerd() -> Self {
        let arguments = |directory: &Path| {
            let at = |name: &str| directory.join(name).display().to_string();
            let names = [("--root", at("root")), ("--state", at("state")), ("--address", at("socket"))];
            names.into_iter().flat_map(|(flag, path)| [flag.to_owned(), path]).collect()
        };
        Self::start("containerd", arguments, |directory| {
            let mut version = tool::tool("ctr");
            let version = version.arg("--address").arg(directory.join("socket")).arg("version");
            version.output().unwrap().status.success()
        })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A daemon that is asked to end takes its own children with it.
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        support::kiln::wait(&mut self.child, Duration::from_secs(20));
    }
}

/// Docker's own program, as Debian packages it.
fn docker(directory: &Path) -> Command {
    assert!(Path::new("/usr/bin/docker").exists(), "apt-get install docker.io");
    let mut command = Command::new("/usr/bin/docker");
    command.env("DOCKER_HOST", format!("unix://{}", directory.join("socket").display()));
    command.env("DOCKER_CONFIG", directory).stdin(Stdio::null());
    command
}

/// A context of two layers; the upper one says `word`.
fn context(word: &str) -> tempfile::TempDir {
    let context = support::scratch();
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY lower /lower\nCOPY upper /upper\nCMD [\"/upper\"]\n");
    write(context.path(), "lower", vec![7; 300_000]);
    write(context.path(), "upper", word);
    context
}

/// Builds in an environment without any engine but those that are given.
fn load(kiln: &Kiln, word: &str, arguments: &[&str], variables: &[(&str, &Path)]) -> Output {
    let context = context(word);
    let mut command = kiln.command();
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock").env("CONTAINERD_ADDRESS", "/nowhere/containerd.sock");
    command.envs(variables.iter().copied()).args(["build", "--progress=plain"]).args(arguments).arg(context.path());
    support::kiln::output_of(&mut command, Duration::from_secs(120))
}

/// A directory for `PATH` in which there are only the programs of that name.
fn only(programs: &[&str]) -> tempfile::TempDir {
    let directory = support::scratch();
    for program in programs {
        std::os::unix::fs::symlink(tool::find(program).expect(program), directory.path().join(program)).unwrap();
    }
    directory
}

fn id(kiln: &Kiln, name: &str) -> String {
    let listed = kiln.run(["images", "-q", "--no-trunc", name]);
    listed.succeeded().stdout.trim().to_owned()
}

#[test]
fn docker_takes_an_image_and_then_only_the_layers_it_lacks() {
    if !support::has_root() {
        return;
    }
    let (kiln, daemon) = (Kiln::new(), Daemon::docker());
    let host = PathBuf::from(format!("unix://{}", daemon.directory.path().join("socket").display()));
    let docker = || docker(daemon.directory.path());
    let first = load(&kiln, "one", &["--load", "-t", "app:1", "-t", "example.com/app:2"], &[("DOCKER_HOST", &host)]);
    first.succeeded();
    assert!(
        first.both().contains("importing to docker") && !first.both().contains("were not sent"),
        "{}",
        first.both()
    );
    for name in ["app:1", "example.com/app:2"] {
        let found = tool::run(docker().args(["image", "inspect", "-f", "{{.Id}} {{.Config.Cmd}}", name]));
        assert_eq!(found.trim(), format!("{} [/upper]", id(&kiln, "app:1")));
    }
    let second = load(&kiln, "two", &["-o", "type=docker,name=app:1"], &[("DOCKER_HOST", &host)]);
    second.succeeded();
    assert!(second.both().contains("docker has 1 of the layers already"), "{}", second.both());
    let third = load(&kiln, "two", &["--load=docker", "-t", "app:1"], &[("DOCKER_HOST", &host)]);
    assert!(third.succeeded().both().contains("docker has 2 of the layers already"), "{}", third.both());
    // What it has is all of it.
    let container = tool::run(docker().args(["create", "app:1"]));
    let files = daemon.directory.path().join("files.tar");
    tool::run(docker().args(["export", "-o"]).arg(&files).arg(container.trim()));
    assert_eq!(tool::run(tool::tool("tar").arg("-xOf").arg(&files).arg("upper")), "two");
    let lower = tool::tool("tar").arg("-xOf").arg(&files).arg("lower").output().unwrap().stdout;
    assert!(lower == vec![7; 300_000]);
    // By a context, as docker's own program finds it.
    let name = kiln::digest::Digest::of(b"here").hex();
    let meta = serde_json::json!({ "Name": "here", "Endpoints": { "docker": { "Host": host } } });
    write(daemon.directory.path(), &format!("contexts/meta/{name}/meta.json"), meta.to_string());
    let variables: [(&str, &Path); 2] = [("DOCKER_CONFIG", daemon.directory.path()), ("DOCKER_HOST", Path::new(""))];
    load(&kiln, "three", &["-t", "app:3", "-o", "type=docker,context=here"], &variables).succeeded();
    tool::run(docker().args(["image", "inspect", "app:3"]));
    // Of several platforms it gets its own.
    let both = ["--load", "-t", "app:4", "--platform=linux/arm64,linux/amd64"];
    load(&kiln, "four", &both, &[("DOCKER_HOST", &host)]).succeeded();
    let found = tool::run(docker().args(["image", "inspect", "-f", "{{.Architecture}}", "app:4"]));
    assert_eq!(found.trim(), kiln::oci::Platform::host().architecture);
}

fn podman_storage(directory: &Path) -> PathBuf {
    let configuration = directory.join("storage.conf");
    let [graph, run] = ["graph", "run"].map(|name| directory.join(name).display().to_string());
    // An ordinary user's podman asks for the second name of the first place.
    let places = format!("graphroot = \"{graph}\"\nrootless_storage_path = \"{graph}\"\nrunroot = \"{run}\"\n");
    let text = format!("[storage]\ndriver = \"vfs\"\n{places}");
    std::fs::write(&configuration, text).unwrap();
    configuration
}

#[test]
fn podman_takes_an_image_as_root_and_as_an_ordinary_user() {
    if !support::has_root() {
        return;
    }
    for user in [None, Some(User::with_ranges())] {
        let scratch = support::scratch();
        let storage = podman_storage(scratch.path());
        let kiln = match &user {
            None => Kiln::new(),
            Some(user) => {
                user.give_tree(scratch.path());
                Kiln::of(user.clone())
            }
        };
        let variables: [(&str, &Path); 1] = [("CONTAINERS_STORAGE_CONF", &storage)];
        load(&kiln, "one", &["--load", "-t", "app:1", "-t", "example.com/app:2"], &variables).succeeded();
        load(&kiln, "two", &["--load=podman"], &variables).succeeded();
        let podman = |arguments: &[&str]| {
            let mut command = match &user {
                None => tool::tool("podman"),
                Some(user) => user.command(&tool::find("podman").expect("podman")),
            };
            tool::run(command.env("CONTAINERS_STORAGE_CONF", &storage).args(arguments))
        };
        let names = podman(&["images", "--sort=repository", "--format", "{{.Repository}}:{{.Tag}}"]);
        let names: std::collections::BTreeSet<&str> = names.lines().collect();
        let expected = ["<none>:<none>", "docker.io/library/app:1", "example.com/app:2"];
        assert_eq!(names, expected.into(), "{user:?}");
        let found = podman(&["image", "inspect", "-f", "sha256:{{.Id}} {{.Config.Cmd}}", "app:1"]);
        assert_eq!(found.trim(), format!("{} [/upper]", id(&kiln, "app:1")));
        let files = std::fs::read_dir(kiln.store().join("tmp")).unwrap().count();
        assert_eq!(files, 0, "nothing is left in the store");
    }
}

#[test]
fn containerd_takes_an_image_with_all_its_platforms() {
    if !support::has_root() {
        return;
    }
    let (kiln, daemon, path) = (Kiln::new(), Daemon::containerd(), only(&["ctr"]));
    let socket = daemon.directory.path().join("socket");
    let variables: [(&str, &Path); 2] = [("CONTAINERD_ADDRESS", &socket), ("PATH", path.path())];
    let built = load(&kiln, "one", &["--load", "-t", "app:1", "--platform=linux/amd64,linux/arm64"], &variables);
    assert!(built.succeeded().both().contains("importing to containerd"), "{}", built.both());
    let ctr = |arguments: &[&str]| tool::run(tool::tool("ctr").arg("--address").arg(&socket).args(arguments));
    let listed = ctr(&["images", "ls"]);
    assert!(listed.contains("docker.io/library/app:1") && listed.contains("linux/amd64,linux/arm64"), "{listed}");
    assert!(ctr(&["images", "check"]).contains("complete"), "all its blobs are there");
}

#[test]
fn without_an_engine_the_image_stays_in_the_store_and_that_is_said() {
    let (kiln, nothing) = (Kiln::new(), only(&[]));
    let variables: [(&str, &Path); 1] = [("PATH", nothing.path())];
    let built = load(&kiln, "one", &["--load", "-t", "app:1"], &variables);
    assert!(built.succeeded().both().contains("the image is in kiln's store only"), "{}", built.both());
    kiln.run(["inspect", "app:1"]).succeeded();
    let quiet = load(&kiln, "one", &["--load=kiln", "-t", "app:2"], &variables);
    assert!(!quiet.succeeded().both().contains("store only"), "{}", quiet.both());
    load(&kiln, "one", &["--load=docker"], &variables)
        .failed_saying(&["does not answer at `unix:///nowhere", "DOCKER_HOST"]);
    load(&kiln, "one", &["--load=podman"], &variables).failed_saying(&["`podman` cannot be started"]);
    load(&kiln, "one", &["--load=containerd"], &variables).failed_saying(&["`ctr` cannot be started"]);
    load(&kiln, "one", &["--load=dockre"], &variables).failed_saying(&["did you mean `docker`"]);
    let far: [(&str, &Path); 1] = [("DOCKER_HOST", Path::new("ssh://far"))];
    load(&kiln, "one", &["--load=docker"], &far).failed_saying(&["ssh://far", "docker load"]);
}

#[test]
fn what_docker_says_against_an_image_is_passed_on() {
    let (kiln, scratch) = (Kiln::new(), support::scratch());
    let socket = scratch.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).unwrap_or(0) > 0 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let answer = match head.split_whitespace().nth(1).unwrap_or_default() {
                "/_ping" => "OK",
                "/info" => "{}",
                "/images/json" => "[]",
                _ => {
                    "{\"stream\":\"x\"}\n{\"errorDetail\":{\"message\":\"no space left\"},\"error\":\"no space left\"}\n"
                }
            };
            let length = answer.len();
            let _ =
                write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}");
            // What comes after the head of a load is read, and forgotten.
            let _ = connection.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut connection, &mut std::io::sink());
        }
    });
    let host = PathBuf::from(format!("unix://{}", socket.display()));
    let refused = load(&kiln, "one", &["--load=docker", "-t", "app"], &[("DOCKER_HOST", &host)]);
    refused.failed_saying(&["docker's daemon did not take the image: no space left", "--load=kiln"]);
    kiln.run(["inspect", "app"]).succeeded();
}

#[test]
fn a_daemon_that_says_too_much_or_sends_elsewhere_is_none() {
    let kiln = Kiln::new();
    let elsewhere = HttpServer::start(|_| Response::of("{}"));
    let to = elsewhere.url();
    let load_at = |info: fn(&str) -> Response| {
        let to = to.clone();
        let daemon = HttpServer::start(move |request| match request.target.as_str() {
            "/info" => info(&to),
            _ => Response::of("[]"),
        });
        let host = PathBuf::from(format!("tcp://{}", daemon.host()));
        load(&kiln, "one", &["--load=docker", "-t", "app"], &[("DOCKER_HOST", &host)])
    };
    load_at(|_| Response { endless: true, ..Response::of(vec![b' '; 1 << 20]) })
        .failed_saying(&["its answer is longer than 64 MiB"]);
    load_at(|to| Response::status(307).with("location", &format!("{to}/info"))).failed_saying(&["docker's daemon"]);
    assert!(elsewhere.requests().is_empty());
}
