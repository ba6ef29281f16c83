//! A real OpenSSH server on the loopback interface, which serves git repositories to who has its key.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::registry::free_address;
use super::tool;
use super::user::User;

/// A running server with keys of its own. It ends with this value, or with the thread that started it.
pub struct SshServer {
    address: String,
    child: Child,
    keys: Keys,
}

/// The keys of a server, and of the only one it lets in: the user who runs the tests.
pub struct Keys {
    scratch: tempfile::TempDir,
}

impl Keys {
    /// Makes new keys.
    pub fn make() -> Self {
        let keys = Self { scratch: super::scratch() };
        for name in ["host", "user"] {
            make_key(&keys.path(name));
        }
        keys
    }

    /// The private key that is let in.
    pub fn user(&self) -> PathBuf {
        self.path("user")
    }

    /// The line of a `known_hosts` file for a server with these keys.
    pub fn known_host(&self, host: &str) -> String {
        format!("{host} {}", std::fs::read_to_string(self.path("host.pub")).expect("the host key"))
    }

    /// The command of a server that stays in the foreground, and ends with the thread that started it.
    fn server(&self, address: &str) -> Command {
        tool::tool("sshd");
        if nix::unistd::geteuid().is_root() {
            // What Debian's service makes when it starts.
            std::fs::create_dir_all("/run/sshd").expect("the directory in which sshd of root locks its workers");
        }
        let configuration = self.path("config");
        let [host, user] = ["host", "user.pub"].map(|name| self.path(name).display().to_string());
        let text = format!(
            "ListenAddress {address}\nHostKey {host}\nAuthorizedKeysFile {user}\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin yes\n\
             PidFile none\nSetEnv GIT_CONFIG_GLOBAL=/dev/null\n"
        );
        std::fs::write(&configuration, text).expect("the server's configuration");
        let mut command = tool::tool("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(tool::find("sshd").expect("just found"));
        command.args(["-D", "-e", "-f"]).arg(configuration);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

impl SshServer {
    /// Starts a server on a free port.
    pub fn start() -> Self {
        // Between the choice of a port and its use, somebody else may take it.
        let started = (0..5).find_map(|_| Self::start_at(&free_address()));
        started.expect("sshd to answer on a free port, in five attempts")
    }

    /// Starts a server at `127.0.0.1:PORT`, if that is free.
    pub fn start_at(address: &str) -> Option<Self> {
        let keys = Keys::make();
        let child = keys.server(address).spawn().expect("setpriv starts");
        let mut server = Self { address: address.to_owned(), child, keys };
        for _ in 0..500 {
            if server.child.try_wait().expect("the server's state").is_some() {
                return None;
            }
            if TcpStream::connect(address).is_ok() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// The keys it has.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The address of a repository on this machine.
    pub fn url(&self, repository: &Path) -> String {
        format!("ssh://{}@{}{}", user_name(), self.address, repository.display())
    }

    /// Its name in a `known_hosts` file.
    pub fn host(&self) -> String {
        self.address.replace("127.0.0.1", "[127.0.0.1]")
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An ssh agent with one key. It ends with this value.
pub struct SshAgent {
    child: Child,
    scratch: tempfile::TempDir,
}

impl SshAgent {
    /// Starts an agent that has `key`.
    pub fn start(key: &Path) -> Self {
        Self::run(tool::tool("ssh-agent"), super::scratch(), key)
    }

    /// Starts the agent of another user; it speaks to that user and to root.
    pub fn of(user: &User, key: &Path) -> Self {
        let scratch = super::scratch();
        user.give(scratch.path());
        Self::run(user.command(&tool::find("ssh-agent").expect("ssh-agent is installed")), scratch, key)
    }

    fn run(mut command: Command, scratch: tempfile::TempDir, key: &Path) -> Self {
        command.args(["-D", "-a"]).arg(scratch.path().join("agent")).stdout(Stdio::null());
        let agent = Self { child: command.spawn().expect("ssh-agent starts"), scratch };
        let is_there = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            agent.socket().exists()
        });
        assert!(is_there, "ssh-agent makes its socket");
        tool::run(tool::tool("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", agent.socket()));
        agent
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.scratch.path().join("agent")
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a private key without a passphrase, and `path.pub` beside it.
pub fn make_key(path: &Path) {
    tool::run(tool::tool("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(path));
}

/// The name of the user who runs the tests.
pub fn user_name() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).expect("the user database");
    user.expect("a user with a name").name
}
