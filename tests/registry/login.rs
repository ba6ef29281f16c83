//! Accounts: with passwords and certificates at the real registry, and what `kiln login` leaves.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kiln::registry::{Account, Cause, Client, Settings};

use super::config::Files;
use super::settings;
use super::tls::{Secured, make_certificate, name_of_this_machine};
use crate::support::http::{HttpServer, Response};
use crate::support::skip;

/// `me:s3cr3t`, as htpasswd writes it.
const HTPASSWD: &str = "me:$2b$05$abcdefghijklmnopqrstuu9Avu/WgbsK7g7xfCY1X3pdjsTgxqQLS\n";

/// A registry with TLS that wants a password, and settings that trust it.
fn guarded(name: &str) -> (Secured, Files) {
    let files = Files::new();
    files.write("htpasswd", HTPASSWD);
    let auth = format!("auth: {{htpasswd: {{realm: r, path: {}}}}}\n", files.path("htpasswd").display());
    let registry = Secured::start(name, &auth, None);
    files.write(&format!("docker/{}/ca.crt", registry.domain), &registry.certificate);
    (registry, files)
}

async fn try_login(settings: Settings, domain: &str, password: &str) -> Result<(), Cause> {
    let mut account = Account::new("me", password);
    let client = Client::new(Settings { docker_config: Some(account.at(domain)), ..settings });
    client.check_login(domain, &mut account).await.map_err(|error| *error.cause)
}

#[tokio::test]
async fn an_account_is_tried_at_the_registry() {
    let Some(name) = name_of_this_machine() else { return skip("the name of this machine does not resolve") };
    let (registry, files) = guarded(&name);
    try_login(files.settings(), &registry.domain, "s3cr3t").await.unwrap();
    let cause = try_login(files.settings(), &registry.domain, "wrong").await.unwrap_err();
    assert!(matches!(cause, Cause::Unauthorized { had_credentials: true, .. }), "{cause}");
    assert!(matches!(try_login(settings(), &registry.domain, "s3cr3t").await, Err(Cause::Tls(_))));
}

#[tokio::test]
async fn a_client_certificate_opens_the_door() {
    let Some(name) = name_of_this_machine() else { return skip("the name of this machine does not resolve") };
    let files = Files::new();
    let (key, certificate) = (files.path("me.key"), files.path("me.cert"));
    make_certificate("me", &key, &certificate);
    let registry = Secured::start(&name, "", Some(&certificate));
    let directory = format!("docker/{}", registry.domain);
    files.write(&format!("{directory}/ca.crt"), &registry.certificate);
    let cause = try_login(files.settings(), &registry.domain, "").await.unwrap_err();
    assert!(matches!(cause, Cause::Tls(_) | Cause::Network(_)), "{cause:?}");
    files.write(&format!("{directory}/me.cert"), std::fs::read(&certificate).unwrap());
    files.write(&format!("{directory}/me.key"), std::fs::read(&key).unwrap());
    try_login(files.settings(), &registry.domain, "").await.unwrap();
    // Of several it is the one whose authority the registry names, wherever it stands.
    for other in ["another", "stranger"] {
        let at = |kind: &str| files.path(&format!("{directory}/{other}.{kind}"));
        make_certificate(other, &at("key"), &at("cert"));
    }
    try_login(files.settings(), &registry.domain, "").await.unwrap();
    std::fs::remove_file(files.path(&format!("{directory}/me.cert"))).unwrap();
    std::fs::remove_file(files.path(&format!("{directory}/me.key"))).unwrap();
    assert!(try_login(files.settings(), &registry.domain, "").await.is_err(), "no other opens it");
    // The same by containerd's file.
    std::fs::remove_dir_all(files.path("docker")).unwrap();
    files.write("ca.pem", &registry.certificate);
    let text = format!(
        "[host.'https://{}']\nca = '{}'\nclient = [['{}', '{}']]\n",
        registry.domain,
        files.path("ca.pem").display(),
        certificate.display(),
        key.display()
    );
    files.write(&format!("containerd/{}/hosts.toml", registry.domain), text);
    try_login(files.settings(), &registry.domain, "").await.unwrap();
}

/// Runs kiln as a user whose files are below `home`.
fn kiln(home: &Path, arguments: &[&str], input: &str) -> Output {
    let mut kiln = Command::new(env!("CARGO_BIN_EXE_kiln"));
    let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap());
    kiln.env_clear().env("HOME", home).env("PATH", path).args(arguments);
    let mut child = kiln.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn config(home: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(config_file(home)).unwrap()).unwrap()
}

fn config_file(home: &Path) -> PathBuf {
    home.join(".docker/config.json")
}

#[test]
fn login_and_logout_write_what_docker_writes() {
    let Some(name) = name_of_this_machine() else { return skip("the name of this machine does not resolve") };
    let (registry, files) = guarded(&name);
    let (domain, home) = (registry.domain.as_str(), files.path("home"));
    let login = ["login", "-u", "me", "--password-stdin", domain];

    // Its certificate is not known, then the password is wrong: nothing is kept.
    assert_eq!(kiln(&home, &login, "s3cr3t\n").status.code(), Some(4));
    files.write(&format!("home/.config/docker/certs.d/{domain}/ca.crt"), &registry.certificate);
    let refused = kiln(&home, &login, "wrong\n");
    assert!(refused.status.code() == Some(1) && said(&refused).contains("access denied"), "{}", said(&refused));
    assert!(!said(&refused).contains("wrong") && !config_file(&home).exists());

    let done = kiln(&home, &login, "s3cr3t\n");
    assert!(done.status.success() && said(&done).starts_with("Login Succeeded\n"), "{}", said(&done));
    assert!(said(&done).contains("stored unencrypted"));
    assert_eq!(config(&home)["auths"][domain]["auth"], "bWU6czNjcjN0");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&config_file(&home)), mode(config_file(&home).parent().unwrap())), (0o600, 0o700));

    // What kiln does not know stays.
    let text = format!(
        r#"{{"HttpHeaders":{{"X":"y"}},"auths":{{"https://{domain}/v2/":{{"auth":"bWU6eA=="}},"o.example":{{}}}}}}"#
    );
    files.write("home/.docker/config.json", text);
    assert!(kiln(&home, &["login", "-u", "me", "-p", "s3cr3t", domain], "").status.success());
    let expected = serde_json::json!({
        "HttpHeaders": {"X": "y"}, "auths": {"o.example": {}, domain: {"auth": "bWU6czNjcjN0"}},
    });
    assert_eq!(config(&home), expected);
    let out = kiln(&home, &["logout", domain], "");
    assert_eq!(said(&out), format!("Removing login credentials for {domain}\n"));
    assert_eq!(config(&home)["auths"], serde_json::json!({"o.example": {}}));
    assert_eq!(said(&kiln(&home, &["logout", domain], "")), format!("Not logged in to {domain}\n"));
    let entries = std::fs::read_dir(home.join(".docker")).unwrap().count();
    assert_eq!(entries, 1, "a temporary file is left");
}

#[test]
fn a_helper_keeps_the_password_out_of_the_file() {
    let Some(name) = name_of_this_machine() else { return skip("the name of this machine does not resolve") };
    let (registry, files) = guarded(&name);
    let (domain, home) = (registry.domain.as_str(), files.path("home"));
    files.write(&format!("home/.config/docker/certs.d/{domain}/ca.crt"), &registry.certificate);
    files.write("home/bin/docker-credential-notes", "#!/bin/sh\necho \"$1 $(cat)\" >> $HOME/notes\n");
    let helper = home.join("bin/docker-credential-notes");
    std::fs::set_permissions(helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    files.write("home/.docker/config.json", r#"{"credsStore":"notes"}"#);
    let done = kiln(&home, &["login", "-u", "me", "--password-stdin", domain], "s3cr3t");
    assert_eq!(said(&done), "Login Succeeded\n");
    assert_eq!(config(&home), serde_json::json!({"credsStore": "notes", "auths": {domain: {}}}));
    assert!(kiln(&home, &["logout", domain], "").status.success());
    let notes = std::fs::read_to_string(home.join("notes")).unwrap();
    let stored = format!(r#"store {{"ServerURL":"{domain}","Username":"me","Secret":"s3cr3t"}}"#);
    assert_eq!(notes, format!("{stored}\nerase {domain}\n"));
}

/// A registry whose token server has tokens that stand for the password, and gives a new one for each that it exchanges.
fn with_identity_tokens() -> (HttpServer, HttpServer) {
    let tokens = HttpServer::start(|request| {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        match (request.header("authorization"), request.method.as_str()) {
            (Some("Basic bWU6czNjcjN0"), "GET") if request.target.contains("offline_token=true") => {
                Response::of(r#"{"token":"t0k3n","refresh_token":"r3fr3sh"}"#)
            }
            (None, "POST") if form.contains("grant_type=refresh_token&") && form.contains("refresh_token=r3fr3sh") => {
                Response::of(r#"{"access_token":"t0k3n","refresh_token":"r3fr3sh-2"}"#)
            }
            _ => Response::status(401),
        }
    });
    let challenge = format!(r#"Bearer realm="{}/token",service="reg""#, tokens.url());
    let registry = HttpServer::start(move |request| match request.header("authorization") {
        Some("Bearer t0k3n") => Response::of("{}"),
        _ => Response::status(401).with("WWW-Authenticate", &challenge),
    });
    (registry, tokens)
}

#[test]
fn a_token_that_stands_for_the_password_is_kept_in_its_place() {
    let (registry, tokens) = with_identity_tokens();
    let (files, domain) = (Files::new(), registry.host());
    let (home, domain) = (files.path("home"), domain.as_str());
    let done = kiln(&home, &["login", "-u", "me", "--password-stdin", domain], "s3cr3t");
    assert!(done.status.success(), "{}", said(&done));
    // `bWU6` is the user without a password, as docker leaves it.
    assert_eq!(config(&home)["auths"][domain], serde_json::json!({"auth": "bWU6", "identitytoken": "r3fr3sh"}));
    // With it other commands are let in.
    let pulled = kiln(&home, &["pull", "-q", &format!("{domain}/a:1")], "");
    assert!(said(&pulled).contains("manifest"), "{}", said(&pulled));
    let asked = tokens.requests().into_iter().map(|(request, status)| (request.method, status));
    assert_eq!(asked.collect::<Vec<_>>(), [("GET".to_owned(), 200), ("POST".to_owned(), 200)]);
    assert!(!said(&pulled).contains("denied"), "{}", said(&pulled));

    files.write("home/bin/docker-credential-notes", "#!/bin/sh\necho \"$1 $(cat)\" >> $HOME/notes\n");
    let helper = home.join("bin/docker-credential-notes");
    std::fs::set_permissions(helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    files.write("home/.docker/config.json", r#"{"credsStore":"notes"}"#);
    assert!(kiln(&home, &["login", "-u", "me", "--password-stdin", domain], "s3cr3t").status.success());
    let notes = std::fs::read_to_string(home.join("notes")).unwrap();
    assert_eq!(
        notes,
        format!("store {{\"ServerURL\":\"{domain}\",\"Username\":\"<token>\",\"Secret\":\"r3fr3sh\"}}\n")
    );
}

#[test]
fn what_makes_no_sense_is_told() {
    let files = Files::new();
    let home = files.path("home");
    for (arguments, expected) in [
        (&["login", "-u", "me", "a b"][..], "expected the host of a registry"),
        (&["login", "r.invalid"], "standard input is no terminal"),
        (&["login", "--password-stdin", "r.invalid"], "it is needed with --password-stdin"),
        (&["login", "-p", "x", "--password-stdin", "-u", "me"], "cannot be used with"),
        (&["login", "-u", "a:b", "-p", "x", "r.invalid"], "expected a name without a colon"),
    ] {
        let output = kiln(&home, arguments, "");
        assert!(
            output.status.code() == Some(2) && said(&output).contains(expected),
            "{arguments:?}: {}",
            said(&output)
        );
    }
    files.write("home/.docker/config.json", "{\n[");
    let output = kiln(&home, &["logout", "r.invalid"], "");
    assert!(said(&output).contains("config.json:2: not a docker config"), "{}", said(&output));
}
