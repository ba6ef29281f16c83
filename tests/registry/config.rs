//! The files that people already have: mirrors, other places, certificates, credentials.

use std::path::PathBuf;

use kiln::digest::Digest;
use kiln::oci::{Descriptor, descriptor, media_type};
use kiln::registry::{Cause, Client, ConfigFiles, Settings};

use super::server::{Reply, Server};
use super::{amd64, reference, settings, store};

const CONTENT: &[u8] = b"content";

fn blob() -> Descriptor {
    descriptor(media_type::OCI_LAYER, &Digest::of(CONTENT), CONTENT.len() as u64)
}

/// A directory of configuration.
pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new() -> Self {
        Self(crate::support::scratch())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, whose name may have directories.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn settings(&self) -> Settings {
        let at = |name: &str| vec![self.path(name)];
        let files = ConfigFiles {
            credentials: vec![self.path("config.json"), self.path("auth.json")],
            registries: at("registries.conf"),
            registries_drop_in: at("registries.conf.d"),
            certificates: vec![self.path("containerd"), self.path("docker")],
            daemon: at("daemon.json"),
        };
        Settings { files, ..settings() }
    }

    /// Writes a file and returns settings that find it.
    pub fn with(&self, name: &str, text: &str) -> Settings {
        self.write(name, text);
        self.settings()
    }
}

async fn fetch(settings: Settings, name: &str) -> Result<(), Cause> {
    let (_temp, store) = store();
    let fetched = Client::new(settings).fetch_blob(&reference(name), &blob(), &store, &|_| {}).await;
    fetched.map_err(|error| *error.cause)
}

fn serving() -> Server {
    Server::start(|_, _| Reply::new(200, CONTENT))
}

/// The line of the request for the blob below a path.
fn get(path: &str) -> String {
    format!("GET {path}/blobs/{}", Digest::of(CONTENT))
}

#[tokio::test]
async fn registries_conf_says_where_images_are() {
    let (mirror, place) = (Server::start(|_, _| Reply::new(404, "")), serving());
    let text = format!(
        "[[registry]]\nprefix = 'r.invalid/team'\nlocation = '{}/else'\n\
         [[registry.mirror]]\nlocation = '{}/cache'\n[[registry]]\nprefix = '*.bad.invalid'\nblocked = true\n",
        place.address, mirror.address
    );
    let files = Files::new();
    let settings = files.with("registries.conf.d/10-own.conf", &text);
    fetch(settings.clone(), "r.invalid/team/app").await.unwrap();
    assert_eq!((mirror.lines(), place.lines()), (vec![get("/v2/cache/app")], vec![get("/v2/else/app")]));
    let cause = fetch(settings, "sub.bad.invalid/x").await.unwrap_err();
    assert!(matches!(cause, Cause::Blocked { .. }) && cause.to_string().contains("10-own.conf"), "{cause}");
}

#[tokio::test]
async fn hosts_toml_says_whom_to_ask_for_what() {
    let (pulls, pushes) = (serving(), Server::start(|_, _| Reply::new(201, "")));
    let text = format!(
        "server = 'http://{}'\n[host.'http://{}/proxy/x']\ncapabilities = ['pull', 'resolve']\noverride_path = true\n\
         [host.'http://{}/proxy/x'.header]\nX-Key = 's3cr3t'\n",
        pushes.address, pulls.address, pulls.address
    );
    let files = Files::new();
    let settings = files.with("docker/r.invalid_5000_/hosts.toml", &text);
    fetch(settings.clone(), "r.invalid:5000/a").await.unwrap();
    assert_eq!(pulls.lines(), [get("/proxy/x/a")]);
    assert_eq!(pulls.seen()[0].header("x-key"), "s3cr3t");
    let name = reference("r.invalid:5000/a:b");
    Client::new(settings).put_manifest(&name, media_type::OCI_MANIFEST, b"{}").await.unwrap();
    assert_eq!(pushes.lines(), ["PUT /v2/a/manifests/b"]);
    assert_eq!(pushes.seen()[0].header("x-key"), "");
    // What is said of all registries.
    let other = files.with("docker/_default/hosts.toml", &format!("server = 'http://{}'", pulls.address));
    fetch(other, "else.invalid/a").await.unwrap();
}

#[tokio::test]
async fn own_headers_stay_with_their_host() {
    let storage = serving();
    let elsewhere = format!("http://{}/there", storage.address);
    let first = Server::start(move |_, _| Reply::new(307, "").header("Location", elsewhere.as_str()));
    let text = format!("[host.'http://{0}']\n[host.'http://{0}'.header]\nx-key = 's3cr3t'\n", first.address);
    fetch(Files::new().with("docker/r.invalid/hosts.toml", &text), "r.invalid/a").await.unwrap();
    assert_eq!((first.seen()[0].header("x-key"), storage.seen()[0].header("x-key")), ("s3cr3t", ""));
}

#[tokio::test]
async fn daemon_json_has_mirrors_of_the_default_domain() {
    let mirror = serving();
    let text = format!(r#"{{"registry-mirrors": ["http://{}"]}}"#, mirror.address);
    fetch(Files::new().with("daemon.json", &text), "busybox").await.unwrap();
    assert_eq!(mirror.lines(), [get("/v2/library/busybox")]);
}

#[tokio::test]
async fn credentials_are_in_the_first_file_that_knows() {
    // base64 of `me:s3cr3t`.
    let header = "Basic bWU6czNjcjN0";
    let registry = Server::start(move |request, _| match request.header("authorization") {
        sent if sent == header => Reply::new(200, CONTENT),
        _ => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=x"),
    });
    let entry = |host: &str| format!(r#"{{"auths":{{"{host}":{{"auth":"bWU6czNjcjN0"}}}}}}"#);
    let name = format!("{}/a", registry.address);
    let files = Files::new();
    files.write("config.json", entry("else.invalid"));
    let cause = fetch(files.settings(), &name).await.unwrap_err();
    assert!(matches!(cause, Cause::Unauthorized { had_credentials: false, .. }), "{cause}");
    fetch(files.with("auth.json", &entry(&registry.address)), &name).await.unwrap();
}

#[tokio::test]
async fn broken_files_are_told_with_their_line() {
    for (name, text, expected) in [
        ("registries.conf", "\n[[registry]", "registries.conf:2: "),
        ("daemon.json", "{\n", "daemon.json:2: EOF"),
        ("docker/r.invalid/hosts.toml", "\n\nca = 1", "hosts.toml:3: "),
        ("docker/r.invalid/a.crt", "rubbish", "a.crt`: there is no certificate in it"),
        ("docker/r.invalid/a.cert", "rubbish", "a.cert`: there is no key beside it"),
        ("docker/r.invalid/a.key", "rubbish", "a.key`: there is no certificate beside it"),
    ] {
        let cause = fetch(Files::new().with(name, text), "r.invalid/a").await.unwrap_err();
        assert!(matches!(cause, Cause::Config(_)) && cause.to_string().contains(expected), "{name}: {cause}");
    }
    let registry = Server::start(|_, _| Reply::new(401, "").header("WWW-Authenticate", "Basic realm=x"));
    let name = format!("{}/a", registry.address);
    let cause = fetch(Files::new().with("config.json", "{\n\n!"), &name).await.unwrap_err();
    assert!(cause.to_string().contains("config.json:3: not a docker config"), "{cause}");
}

/// Nothing is read for a client that asks nobody.
#[tokio::test]
async fn files_are_read_when_a_registry_is_used() {
    let files = Files::new();
    let client = Client::new(files.with("registries.conf", "["));
    files.write("registries.conf", "");
    let error = client.resolve(&reference("r.invalid/a"), &amd64()).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Network(_)), "{error:?}");
}

/// Settings under which a registry with this authority in `certs.d` is trusted.
pub fn trusting(files: &Files, domain: &str, authority: &[u8]) -> Settings {
    files.write(&format!("docker/{domain}/ca.crt"), authority);
    files.settings()
}
