//! A real registry (Debian's `docker-registry`) on the loopback interface, with the base images in it.

use std::ffi::OsStr;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::bases::{self, Base};
use super::tool;

/// A running registry. It ends with this value, and with the test process however that ends.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub address: String,
    child: Child,
    scratch: tempfile::TempDir,
}

impl Registry {
    /// Starts an empty registry on a free port.
    pub fn start() -> Self {
        // Between the choice of a port and its use, somebody else may take it.
        (0..5).find_map(|_| Self::try_start()).expect("docker-registry to answer on a free port, in five attempts")
    }

    fn try_start() -> Option<Self> {
        let scratch = super::scratch();
        let address = free_address();
        let configuration = scratch.path().join("config.yml");
        let storage = scratch.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{address}\"}}\n",
            storage.display()
        );
        std::fs::write(&configuration, text).expect("the registry's configuration");
        let mut child = spawn_serving(&configuration);
        for _ in 0..500 {
            if child.try_wait().expect("the registry's state").is_some() {
                return None;
            }
            if TcpStream::connect(&address).is_ok() {
                return Some(Self { address, child, scratch });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        None
    }

    /// Copies a base image into this registry; returns the full name under which it is there.
    pub fn serve(&self, base: Base) -> String {
        let name = format!("{}/{}", self.address, base.name());
        let from = format!("oci:{}:{}", bases::layout(base).display(), base.tag());
        tool::run(
            tool::tool("skopeo").args(["copy", "-q", "--dest-tls-verify=false", &from]).arg(format!("docker://{name}")),
        );
        name
    }

    /// The file that holds a blob, for tests that damage it. `digest` is `sha256:` and 64 hex digits.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.scratch.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The full name of a base image in the registry that all tests of this process share.
pub fn base(base: Base) -> String {
    static SERVED: Mutex<Vec<(Base, String)>> = Mutex::new(Vec::new());
    let mut served = SERVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, name)) = served.iter().find(|(known, _)| *known == base) {
        return name.clone();
    }
    let name = shared().serve(base);
    served.push((base, name.clone()));
    name
}

/// The registry that all tests of this process share.
pub fn shared() -> &'static Registry {
    static SHARED: OnceLock<Registry> = OnceLock::new();
    SHARED.get_or_init(Registry::start)
}

/// An address of the loopback interface where nobody listens at this moment.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("the address of a listener").to_string()
}

/// Starts a server so that the kernel ends it with this process: a static is never dropped. The kernel watches the
/// *thread* that spawned it, so that thread sleeps for as long as the process lives.
pub fn spawn_with_this_process(arguments: &[&OsStr]) -> Child {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut command = tool::tool("setpriv");
    command.args(["--pdeathsig", "KILL"]).args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    std::thread::spawn(move || {
        sender.send(command.spawn()).expect("the thread that waits for the server");
        loop {
            std::thread::park();
        }
    });
    receiver.recv().expect("the thread that starts the server").expect("the server starts")
}

fn spawn_serving(configuration: &Path) -> Child {
    tool::tool("docker-registry");
    let arguments: [&OsStr; 3] = ["docker-registry".as_ref(), "serve".as_ref(), configuration.as_ref()];
    spawn_with_this_process(&arguments)
}
