//! Who is told what: tokens, passwords, helpers, redirects.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kiln::digest::Digest;
use kiln::oci::{Descriptor, descriptor, media_type};
use kiln::registry::{Cause, Client, DockerConfig, Settings};

use super::server::{Reply, Request, Server};
use super::{client, reference, settings, store};

const CONTENT: &[u8] = b"content";

fn blob() -> Descriptor {
    descriptor(media_type::OCI_LAYER, &Digest::of(CONTENT), CONTENT.len() as u64)
}

/// base64 of `me:s3cr3t`.
const BASIC: &str = "bWU6czNjcjN0";

fn with_config(text: &str) -> Settings {
    let docker_config = Some(DockerConfig::parse(text.as_bytes(), Path::new("config.json")).unwrap());
    Settings { docker_config, ..settings() }
}

fn logged_in(address: &str) -> Client {
    Client::new(with_config(&format!(r#"{{"auths":{{"{address}":{{"auth":"{BASIC}"}}}}}}"#)))
}

async fn fetch(client: &Client, name: &str) -> Result<(), kiln::registry::RegistryError> {
    let (_temp, store) = store();
    client.fetch_blob(&reference(name), &blob(), &store, &|_| {}).await
}

/// A registry that wants tokens from `realm`, and takes `wanted`.
fn wants_token(realm: &str, wanted: &'static str) -> Server {
    let challenge = format!(r#"Bearer realm="{realm}",service="reg",scope="repository:a/b:pull""#);
    Server::start(move |request, _| match request.header("authorization") {
        header if header == format!("Bearer {wanted}") => Reply::new(200, CONTENT),
        _ => Reply::new(401, "").header("WWW-Authenticate", challenge.as_str()),
    })
}

#[tokio::test]
async fn a_token_is_fetched_once_and_kept() {
    let tokens = Server::start(|_, _| Reply::new(200, r#"{"token":"t0k3n","expires_in":300}"#));
    let registry = wants_token(&format!("http://{}/token", tokens.address), "t0k3n");
    let client = client();
    let name = format!("{}/a/b", registry.address);
    let fetches = (0..5).map(|_| {
        let (client, name) = (client.clone(), name.clone());
        tokio::spawn(async move { fetch(&client, &name).await.unwrap() })
    });
    for fetch in fetches.collect::<Vec<_>>() {
        fetch.await.unwrap();
    }
    assert_eq!(tokens.lines(), ["GET /token?service=reg&scope=repository%3Aa%2Fb%3Apull"]);
    assert_eq!(tokens.seen()[0].header("authorization"), "");
}

#[tokio::test]
async fn a_token_that_ended_early_is_renewed() {
    let tokens = Server::start(|_, before| Reply::new(200, format!(r#"{{"access_token":"t{before}"}}"#)));
    let realm = format!("http://{}/token", tokens.address);
    let challenge = format!(r#"Bearer realm="{realm}""#);
    // Each token is good for one request.
    let used = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let registry = Server::start(move |request, _| {
        let header = request.header("authorization").to_owned();
        match !header.is_empty() && used.lock().unwrap().insert(header) {
            true => Reply::new(200, CONTENT),
            false => Reply::new(401, "").header("WWW-Authenticate", challenge.as_str()),
        }
    });
    let client = client();
    for _ in 0..3 {
        fetch(&client, &format!("{}/a/b", registry.address)).await.unwrap();
    }
    assert_eq!(tokens.seen().len(), 3);
}

#[tokio::test]
async fn the_token_server_gets_the_password_and_the_registry_does_not() {
    let tokens = Server::start(|request, _| match request.header("authorization") {
        header if header == format!("Basic {BASIC}") => Reply::new(200, r#"{"token":"t0k3n"}"#),
        _ => Reply::new(401, ""),
    });
    let registry = wants_token(&format!("http://{}/token?x=y", tokens.address), "t0k3n");
    fetch(&logged_in(&registry.address), &format!("{}/a/b", registry.address)).await.unwrap();
    assert_eq!(tokens.lines(), ["GET /token?x=y&service=reg&scope=repository%3Aa%2Fb%3Apull&account=me"]);
    assert!(!registry.seen().iter().any(|request| request.header("authorization").contains("Basic")));
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let tokens = Server::start(|request: &Request, _| {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=r3fr3sh"), "{form}");
        Reply::new(200, r#"{"access_token":"t0k3n"}"#)
    });
    let registry = wants_token(&format!("http://{}/token", tokens.address), "t0k3n");
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{BASIC}","identitytoken":"r3fr3sh"}}}}}}"#, registry.address);
    fetch(&Client::new(with_config(&config)), &format!("{}/a/b", registry.address)).await.unwrap();
    assert_eq!(tokens.lines(), ["POST /token"]);
}

fn wants_basic() -> Server {
    Server::start(|request, _| match request.header("authorization") {
        header if header == format!("Basic {BASIC}") => Reply::new(200, CONTENT),
        _ => Reply::new(401, "").header("WWW-Authenticate", r#"Basic realm="x""#),
    })
}

#[tokio::test]
async fn a_password_is_sent_when_asked_for() {
    let registry = wants_basic();
    let client = logged_in(&registry.address);
    for _ in 0..2 {
        fetch(&client, &format!("{}/a/b", registry.address)).await.unwrap();
    }
    let sent: Vec<bool> = registry.seen().iter().map(|request| !request.header("authorization").is_empty()).collect();
    assert_eq!(sent, [false, true, true]);
}

#[tokio::test]
async fn refusals_tell_whether_an_account_was_known_and_no_secret() {
    let registry = wants_basic();
    let name = format!("{}/a/b", registry.address);
    let error = fetch(&client(), &name).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Unauthorized { had_credentials: false, .. }));
    assert!(error.help().unwrap().contains(&format!("kiln login {}", registry.address)));

    let refusing = Server::start(|_, _| Reply::new(401, "no").header("WWW-Authenticate", "Basic realm=x"));
    let client = logged_in(&refusing.address);
    let error = fetch(&client, &format!("{}/a/b", refusing.address)).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Unauthorized { had_credentials: true, .. }));
    assert_eq!(refusing.seen().len(), 2);
    for text in [format!("{error} {error:?}"), format!("{client:?}")] {
        assert!(!text.contains("s3cr3t") && !text.contains(BASIC), "{text}");
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_gets_no_authorization() {
    let storage = Server::start(|_, _| Reply::new(200, CONTENT));
    let elsewhere = format!("http://{}/blob?signature=x", storage.address);
    let registry = Server::start(move |request, _| match request.header("authorization") {
        "" => Reply::new(401, "").header("WWW-Authenticate", "Basic"),
        _ => Reply::new(307, "").header("Location", elsewhere.as_str()),
    });
    fetch(&logged_in(&registry.address), &format!("{}/a/b", registry.address)).await.unwrap();
    assert_eq!(storage.lines(), ["GET /blob?signature=x"]);
    assert_eq!((storage.seen()[0].header("authorization"), storage.seen()[0].header("referer")), ("", ""));
}

/// A host that a registry redirects to cannot ask for the registry's password.
#[tokio::test]
async fn a_redirect_cannot_ask_for_credentials() {
    let storage = Server::start(|_, _| Reply::new(401, "").header("WWW-Authenticate", "Basic"));
    let elsewhere = format!("http://{}/blob", storage.address);
    let registry = Server::start(move |_, _| Reply::new(307, "").header("Location", elsewhere.as_str()));
    let error = fetch(&logged_in(&registry.address), &format!("{}/a/b", registry.address)).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Unauthorized { .. }));
    assert!(storage.seen().iter().chain(&registry.seen()).all(|request| request.header("authorization").is_empty()));
}

#[tokio::test]
async fn errors_do_not_show_the_query_of_a_redirect() {
    let gone = crate::support::registry::free_address();
    let elsewhere = format!("http://{gone}/blob?signature=s3cr3t");
    let registry = Server::start(move |_, _| Reply::new(307, "").header("Location", elsewhere.as_str()));
    let error = fetch(&client(), &format!("{}/a/b", registry.address)).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
}

/// Credential helpers are found by `PATH`, so the test runs itself again with another one.
#[test]
fn helpers_are_asked() {
    let temp = tempfile::tempdir().unwrap();
    let helper = |name: &str, script: &str| {
        let path = temp.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\nread server\n[ \"$1\" = get ] || exit 9\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    helper("good", r#"echo "{\"ServerURL\":\"$server\",\"Username\":\"me\",\"Secret\":\"s3cr3t\"}""#);
    helper("empty", "echo credentials not found in native keychain; exit 1");
    helper("broken", "echo the key ring is locked; exit 1");
    let path = format!("{}:/usr/bin:/bin", temp.path().display());
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output =
        child.args(["--exact", "auth::child_that_asks_helpers", "--ignored"]).env("PATH", path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run by helpers_are_asked"]
async fn child_that_asks_helpers() {
    let registry = wants_basic();
    let name = format!("{}/a/b", registry.address);
    let fetch_by = async |helper: &str| {
        let config = format!(r#"{{"credHelpers":{{"{}":"{helper}"}},"credsStore":"missing"}}"#, registry.address);
        fetch(&Client::new(with_config(&config)), &name).await.map_err(|error| *error.cause)
    };
    fetch_by("good").await.unwrap();
    assert!(matches!(fetch_by("empty").await, Err(Cause::Unauthorized { had_credentials: false, .. })));
    for (helper, expected) in [("broken", "the key ring is locked"), ("missing", "No such file"), ("../x", "slash")] {
        let error = fetch_by(helper).await.unwrap_err();
        assert!(matches!(error, Cause::CredentialHelper { .. }) && error.to_string().contains(expected), "{error}");
    }
    // What is public needs no helper.
    let tokens = Server::start(|_, _| Reply::new(200, r#"{"token":"t0k3n"}"#));
    let public = wants_token(&format!("http://{}/token", tokens.address), "t0k3n");
    let config = with_config(r#"{"credsStore":"missing"}"#);
    fetch(&Client::new(config), &format!("{}/a/b", public.address)).await.unwrap();
}
