//! Certificates: known, unknown, and none at all.

use std::collections::BTreeSet;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::Path;
use std::process::{Child, Command};

use kiln::registry::{Cause, Client, Insecure, Settings};

use super::config::{Files, trusting};
use super::server::{Reply, Server};
use super::{amd64, reference, settings};
use crate::support::{skip, tool};

/// A name of this machine that is not a loopback name, so that certificates count.
pub fn name_of_this_machine() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?.to_ascii_lowercase();
    let is_known = (name.as_str(), 0).to_socket_addrs().is_ok();
    (is_known && name != "localhost").then_some(name)
}

/// The real registry behind TLS, with a certificate of its own.
pub struct Secured {
    pub domain: String,
    pub certificate: Vec<u8>,
    child: Child,
    _scratch: tempfile::TempDir,
}

impl Secured {
    /// `more` is added to its configuration; `client` is the one certificate that opens it.
    pub fn start(name: &str, more: &str, client: Option<&Path>) -> Self {
        let scratch = crate::support::scratch();
        let (key, certificate) = (scratch.path().join("key.pem"), scratch.path().join("certificate.pem"));
        make_certificate(name, &key, &certificate);
        let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let clients = client.map_or(String::new(), |client| format!(", clientcas: [{}]", client.display()));
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"0.0.0.0:{port}\", tls: {{certificate: {}, key: {}{clients}}}}}\n{more}",
            scratch.path().join("data").display(),
            certificate.display(),
            key.display(),
        );
        let configuration = scratch.path().join("config.yml");
        std::fs::write(&configuration, text).unwrap();
        let child = tool::tool("docker-registry").arg("serve").arg(configuration).spawn().unwrap();
        for _ in 0..500 {
            if std::net::TcpStream::connect((name, port)).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let certificate = std::fs::read(certificate).unwrap();
        Self { domain: format!("{name}:{port}"), certificate, child, _scratch: scratch }
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn make_certificate(name: &str, key: &Path, certificate: &Path) {
    let alternative = format!("subjectAltName=DNS:{name}");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args([
        "-subj",
        &format!("/CN={name}"),
        "-addext",
        &alternative,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    let output = openssl.arg("-keyout").arg(key).arg("-out").arg(certificate).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run `openssl` (package `openssl`): {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn insecure(domain: &str) -> Settings {
    Settings { insecure: Insecure::Hosts(BTreeSet::from([domain.to_owned()])), ..settings() }
}

async fn resolve(settings: Settings, domain: &str) -> Cause {
    let name = reference(&format!("{domain}/nothing"));
    *Client::new(settings).resolve(&name, &amd64()).await.unwrap_err().cause
}

#[tokio::test]
async fn certificates_count() {
    let Some(name) = name_of_this_machine() else { return skip("the name of this machine does not resolve") };
    let registry = Secured::start(&name, "", None);
    let domain = registry.domain.as_str();
    let cause = resolve(settings(), domain).await;
    assert!(matches!(cause, Cause::Tls(_)) && cause.to_string().contains("certificate"), "{cause}");
    let cause = resolve(trusting(&Files::new(), domain, &registry.certificate), domain).await;
    assert!(matches!(cause, Cause::NotFound { .. }), "{cause}");
    assert!(matches!(resolve(insecure(domain), domain).await, Cause::NotFound { .. }));
    let loopback = domain.replace(&name, "127.0.0.1");
    assert!(matches!(resolve(settings(), &loopback).await, Cause::NotFound { .. }));
}

#[tokio::test]
async fn plain_http_is_for_insecure_registries() {
    let Some(name) = name_of_this_machine() else { return skip("the name of this machine does not resolve") };
    let server = Server::start_at("0.0.0.0:0", |_, _| Reply::new(404, ""));
    let domain = format!("{name}:{}", server.address.rsplit(':').next().unwrap());
    let cause = resolve(settings(), &domain).await;
    assert!(matches!(cause, Cause::Tls(_) | Cause::Network(_)), "{cause:?}");
    assert!(server.seen().is_empty());
    assert!(matches!(resolve(insecure(&domain), &domain).await, Cause::NotFound { .. }));
    let all = Settings { insecure: Insecure::All, ..settings() };
    assert!(matches!(resolve(all, &domain).await, Cause::NotFound { .. }));
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_told() {
    let mut settings = settings();
    settings.proxies.https = Some("http://user:s3cr3t@[".to_owned());
    let cause = resolve(settings, "registry.invalid").await;
    assert!(matches!(cause, Cause::Settings { what: "proxy", .. }), "{cause:?}");
    assert!(!format!("{cause} {cause:?}").contains("s3cr3t"), "{cause:?}");
}

#[tokio::test]
async fn a_proxy_is_asked_for_what_is_elsewhere() {
    let proxy = Server::start(|_, _| Reply::new(404, ""));
    let mut settings = insecure("registry.invalid");
    settings.proxies.http = Some(format!("http://{}", proxy.address));
    assert!(matches!(resolve(settings, "registry.invalid").await, Cause::NotFound { .. }));
    assert_eq!(proxy.lines()[1], "GET http://registry.invalid/v2/nothing/manifests/latest");
}
