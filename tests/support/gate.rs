//! nginx before a service that speaks gRPC: what stands between users and services in earnest.

use std::ffi::OsStr;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use super::{registry, tool};

/// A gate that is open to some.
pub struct Gate {
    /// `127.0.0.1:PORT`.
    pub address: String,
    child: Child,
    scratch: tempfile::TempDir,
}

impl Gate {
    /// One with TLS, before the service at `HOST:PORT`: who shows the client's certificate and this token comes in.
    pub fn protected(to: &str, token: &str) -> Self {
        let rules = format!("if ($http_authorization != \"Bearer {token}\") {{ return 401; }}");
        Self::start(&|files| {
            let file = |name: &str| files.join(name).display().to_string();
            let own = format!("ssl_certificate {}; ssl_certificate_key {};", file("server.pem"), file("server.key"));
            let clients = format!("ssl_client_certificate {}; ssl_verify_client on;", file("client.pem"));
            ("ssl", format!("{own} {clients} {rules} location / {{ grpc_pass grpc://{to}; }}"))
        })
    }

    /// One without, which lets nobody write a result.
    pub fn without_results(to: &str) -> Self {
        let refused = "location ~ /UpdateActionResult$ { return 403; }";
        Self::start(&|_| ("", format!("{refused} location / {{ grpc_pass grpc://{to}; }}")))
    }

    fn start(server: &dyn Fn(&Path) -> (&'static str, String)) -> Self {
        let scratch = super::scratch();
        for name in ["server", "client"] {
            certify(scratch.path(), name);
        }
        let (listening, server) = server(scratch.path());
        // Between the choice of a port and its use, somebody else may take it.
        let started = (0..5).find_map(|_| try_start(scratch.path(), listening, &server));
        let (address, child) = started.expect("nginx to answer on a free port");
        Self { address, child, scratch }
    }

    /// `server.pem`, `client.pem` or `client.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

fn try_start(files: &Path, listening: &str, server: &str) -> Option<(String, Child)> {
    let address = registry::free_address();
    let directory = files.display();
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let places: String = kinds.iter().map(|kind| format!("{kind}_temp_path {directory}/{kind}; ")).collect();
    let text = format!(
        "daemon off; master_process off; pid {directory}/pid; error_log {directory}/log;\nevents {{}}\n\
         http {{ access_log off; {places}client_max_body_size 0;\n\
         server {{ listen {address} http2 {listening}; {server} }} }}\n"
    );
    let configuration = files.join("nginx.conf");
    std::fs::write(&configuration, text).expect("the configuration of nginx");
    let nginx = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let arguments: [&OsStr; 3] = [nginx.as_ref(), "-c".as_ref(), configuration.as_ref()];
    let mut child = registry::spawn_with_this_process(&arguments);
    for _ in 0..500 {
        if child.try_wait().expect("the state of nginx").is_some() {
            return None;
        }
        if TcpStream::connect(&address).is_ok() {
            return Some((address, child));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Makes a key, and a certificate that nobody else signed.
fn certify(directory: &Path, name: &str) {
    let file = |end: &str| directory.join(format!("{name}.{end}"));
    let mut command = tool::tool("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    tool::run(command.arg("-keyout").arg(file("key")).arg("-out").arg(file("pem")));
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
