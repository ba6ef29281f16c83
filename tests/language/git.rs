//! Repositories of other kinds: behind git's own daemon, behind a server that knows nothing of git, named by SHA-256.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::build::Case;
use super::support::http::{HttpServer, Response};
use super::support::image;
use super::support::kiln::Kiln;
use super::support::registry::free_address;
use super::support::repository::Repository;
use super::support::{scratch, tool};

/// A running `git daemon`, which ends with this value, or with the thread that started it.
struct Daemon {
    address: String,
    child: Child,
}

impl Daemon {
    /// Serves the repositories below `root`.
    fn start(root: &Path) -> Self {
        let address = free_address();
        let (host, port) = address.split_once(':').expect("a port");
        let mut git = tool::tool("git");
        let programs = git.arg("--exec-path").output().expect("git is installed").stdout;
        let program = Path::new(String::from_utf8_lossy(&programs).trim()).join("git-daemon");
        let mut command = tool::tool("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).args(["--export-all", "--reuseaddr"]);
        command
            .arg(format!("--base-path={}", root.display()))
            .args([format!("--listen={host}"), format!("--port={port}")]);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("setpriv starts");
        let is_up = || TcpStream::connect(&address).is_ok();
        let waited = (0..500).any(|_| {
            is_up() || {
                std::thread::sleep(Duration::from_millis(10));
                false
            }
        });
        assert!(waited, "git daemon does not answer at {address}");
        Self { address, child }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves the files below `root` as they are: git then reads a repository object by object.
fn file_server(root: &Path) -> HttpServer {
    let root = root.to_owned();
    HttpServer::start(move |request| {
        let path = request.target.split('?').next().unwrap_or_default();
        match std::fs::read(root.join(path.trim_start_matches('/'))) {
            Ok(bytes) => Response::of(bytes),
            Err(_) => Response::status(404),
        }
    })
}

#[track_caller]
fn text_of_context(kiln: &Kiln, address: &str) -> String {
    let archive = kiln.out().join("image.tar");
    let destination = format!("type=oci,dest={}", archive.display());
    kiln.run(["build", "--progress=plain", "-o", &destination, address]).succeeded();
    let image = image::read(&archive).expect("an OCI archive");
    let files = image::flatten(&image.layers).expect("whole layers");
    String::from_utf8_lossy(&files["/f"].data).into_owned()
}

// language 12.6, 15.12
#[test]
fn every_server_and_every_kind_of_commit() {
    let (root, kiln) = (scratch(), Kiln::new());
    let (daemon, files) = (Daemon::start(root.path()), file_server(root.path()));
    for format in ["sha1", "sha256"] {
        let repository = Repository::with_format(root.path(), format, format);
        let commit = repository.commit(&[("Dockerfile", "FROM scratch\nCOPY f /\n"), ("f", format)]);
        repository.git(&["tag", "v1"]);
        repository.commit(&[("f", "later")]);
        repository.publish();
        for server in [format!("git://{}", daemon.address), files.url()] {
            let address = format!("{server}/{format}.git");
            assert_eq!(text_of_context(&kiln, &address), "later", "{address}");
            for rest in ["#v1".to_owned(), format!("#{commit}"), format!("?tag=v1&checksum={}", &commit[..12])] {
                assert_eq!(text_of_context(&kiln, &format!("{address}{rest}")), format, "{address}{rest}");
            }
            let added = Case::new(&format!("FROM scratch\nADD --keep-git-dir=true {address}#v1 /\n")).build(&[]);
            assert_eq!((added.text("/f").as_str(), added.text("/.git/HEAD").trim()), (format, commit.as_str()));
            let lost = format!("{address}#{}", "1".repeat(commit.len()));
            kiln.run(["build", "-o", "type=cacheonly", &lost]).failed_saying(&["11111111"]);
        }
    }
}
