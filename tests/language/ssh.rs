//! Repositories behind ssh, with a real server: contexts and ADD, keys, and hosts known and unknown.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::support::image::{self, Files};
use super::support::kiln::{Kiln, Output, output_of};
use super::support::repository::Repository;
use super::support::ssh::{Keys, SshAgent, SshServer, make_key, user_name};
use super::support::{has_root, scratch, tool, write};

const LIMIT: Duration = Duration::from_secs(120);

/// What every test here needs: a repository with a submodule that is named relative to it, and a home directory.
struct Bench {
    directory: tempfile::TempDir,
    kiln: Kiln,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: scratch(), kiln: Kiln::new() };
        let module = Repository::new(bench.directory.path(), "module");
        module.commit(&[("inner", "of the module")]);
        module.publish();
        let repository = Repository::new(bench.directory.path(), "r");
        let files = [
            ("Dockerfile", "FROM scratch\nCOPY . /\n"),
            ("f", "of the repository"),
            (".gitmodules", "[submodule \"m\"]\n\tpath = m\n\turl = ../module.git\n"),
        ];
        repository.commit(&files);
        let commit = module.git(&["rev-parse", "HEAD"]);
        repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},m")]);
        repository.git(&["commit", "--quiet", "--message=module"]);
        repository.publish();
        bench
    }

    fn repository(&self) -> PathBuf {
        self.directory.path().join("r.git")
    }

    /// A context with `ADD SOURCE /`.
    fn add(&self, source: &str) -> String {
        write(self.directory.path(), "add/Dockerfile", format!("FROM scratch\nADD {source} /\n"));
        self.directory.path().join("add").display().to_string()
    }

    fn know(&self, line: &str) {
        write(self.directory.path(), "home/.ssh/known_hosts", line);
    }

    fn known(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("home/.ssh/known_hosts")).unwrap_or_default()
    }

    /// `kiln build` for a user with a home directory of the test's.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.kiln.command();
        let destination = format!("type=oci,dest={}", self.archive().display());
        command.args(["build", "--progress=plain", "--no-cache", "-o", &destination]).args(arguments);
        command.env("HOME", self.directory.path().join("home"));
        command
    }

    fn archive(&self) -> PathBuf {
        self.kiln.out().join("image.tar")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        output_of(&mut self.command(arguments), LIMIT)
    }

    #[track_caller]
    fn built(&self, output: &Output) -> Files {
        output.succeeded();
        let image = image::read(&self.archive()).expect("an OCI archive");
        let files = image::flatten(&image.layers).expect("whole layers");
        let text = |path: &str| files.get(path).map(|node| String::from_utf8_lossy(&node.data).into_owned());
        assert_eq!(text("/f").as_deref(), Some("of the repository"));
        assert_eq!(text("/m/inner").as_deref(), Some("of the module"));
        files
    }
}

fn key_of(path: &Path) -> String {
    format!("--ssh=default={}", path.display())
}

// language 12.6
#[test]
fn trees_come_over_ssh() {
    let (bench, server) = (Bench::new(), SshServer::start());
    let (url, key) = (server.url(&bench.repository()), key_of(&server.keys().user()));
    let added = bench.add(&url);
    for context in [&url, &added] {
        let files = bench.built(&bench.run(&[&key, context]));
        assert!(!files.contains_key("/.git"), "{context}");
    }
    let kept = bench.add(&format!("--keep-git-dir=true {url}#main"));
    assert!(bench.built(&bench.run(&[&key, &kept])).contains_key("/.git/HEAD"));

    // The user's own agent: an ADD is given it by name, a context has it without being asked.
    let agent = SshAgent::start(&server.keys().user());
    for arguments in [vec![url.as_str()], vec!["--ssh=default", &url], vec!["--ssh=default", &added]] {
        let output = output_of(bench.command(&arguments).env("SSH_AUTH_SOCK", agent.socket()), LIMIT);
        bench.built(&output);
    }
}

#[test]
fn a_host_has_the_key_that_is_known_of_it() {
    let (bench, server) = (Bench::new(), SshServer::start());
    let (url, key) = (server.url(&bench.repository()), key_of(&server.keys().user()));
    let added = bench.add(&url);
    // That of a new one is taken for this build; the user's list stays as it is.
    bench.built(&bench.run(&[&key, &url]));
    assert_eq!(bench.known(), "");
    let right = server.keys().known_host(&server.host());
    bench.know(&right);
    bench.built(&bench.run(&[&key, &url]));
    assert_eq!(bench.known(), right);

    let wrong = Keys::make().known_host(&server.host());
    bench.know(&wrong);
    for context in [&url, &added] {
        let output = bench.run(&[&key, context]);
        output.failed_saying(&["failed to fetch remote", "Host key verification failed", "help:", "known_hosts"]);
    }
    assert_eq!(bench.known(), wrong);
}

#[test]
fn without_a_key_there_is_no_way_in() {
    let (bench, server) = (Bench::new(), SshServer::start());
    let url = server.url(&bench.repository());
    let added = bench.add(&url);
    bench.run(&[&added]).failed_saying(&[
        "no SSH key \"default\" forwarded from the client",
        "help:",
        "`--ssh default",
    ]);
    let words = ["cannot fetch the context", "no SSH key \"default\" forwarded", "help:", "`--ssh default=KEY`"];
    bench.run(&[&url]).failed_saying(&words);
    let stranger = bench.directory.path().join("stranger");
    make_key(&stranger);
    bench.run(&[&key_of(&stranger), &url]).failed_saying(&["Permission denied (publickey", "help:", "`--ssh default`"]);
    let nowhere = server.url(&bench.directory.path().join("none.git"));
    bench.run(&[&key_of(&server.keys().user()), &nowhere]).failed_saying(&["does not appear to be a git repository"]);
}

// `user@host:path` names no port: its server is at that of ssh, in a network of its own. Only the thread is in there, and
// what it starts.
#[test]
fn an_address_without_a_scheme_is_one_of_ssh() {
    if !has_root() {
        return;
    }
    let own_network = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network of its own");
        tool::run(tool::tool("busybox").args(["ip", "link", "set", "lo", "up"]));
        let (bench, server) = (Bench::new(), SshServer::start_at("127.0.0.1:22").expect("sshd answers"));
        let key = key_of(&server.keys().user());
        let url = format!("{}@127.0.0.1:{}", user_name(), bench.repository().display());
        for context in [&format!("{url}#main"), &bench.add(&url)] {
            bench.built(&bench.run(&[&key, context]));
        }
        bench.run(&[&bench.add(&url)]).failed_saying(&["no SSH key \"default\" forwarded from the client"]);
    };
    std::thread::scope(|scope| scope.spawn(own_network).join().expect("the test in its network"));
}
