//! Programs that keep credentials: `docker-credential-<name> get` reads a server's name from its standard input and
//! writes JSON; `store` reads the same JSON with the server's name in it; `erase` reads a name.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::error::Cause;
use super::secret::{Credentials, Secret};

/// A helper may ask the user to unlock a key ring, but not forever.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// The user name that marks a refresh token.
pub(super) const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper `name` for the credentials of `server`; `None` when it has none.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credentials>, Cause> {
    let Some(said) = ask(name, "get", format!("{server}\n")).await? else { return Ok(None) };
    let detail = || "its answer is not JSON with Username and Secret".to_owned();
    let answer: Answer = serde_json::from_slice(&said)
        .map_err(|_| Cause::CredentialHelper { program: program(name), detail: detail() })?;
    let secret = Secret::new(answer.secret);
    Ok(Some(match answer.username {
        user if user == TOKEN_USER => Credentials::Identity(secret),
        user => Credentials::Password { user, password: secret },
    }))
}

/// Gives credentials to the helper `name`.
pub(super) async fn store(name: &str, server: &str, user: &str, password: &Secret) -> Result<(), Cause> {
    let entry = serde_json::json!({ "ServerURL": server, "Username": user, "Secret": password.expose() });
    ask(name, "store", entry.to_string()).await.map(|_| ())
}

/// Makes the helper `name` forget the credentials of `server`.
pub(super) async fn erase(name: &str, server: &str) -> Result<(), Cause> {
    ask(name, "erase", server.to_owned()).await.map(|_| ())
}

fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// Runs a helper; `None` when it has no such credentials.
async fn ask(name: &str, action: &str, input: String) -> Result<Option<Vec<u8>>, Cause> {
    let program = program(name);
    let failed = |detail: String| Cause::CredentialHelper { program: program.clone(), detail };
    if name.contains('/') {
        return Err(failed("its name has a slash".to_owned()));
    }
    let output = match tokio::time::timeout(TIME_LIMIT, run(&program, action, &input)).await {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("no answer in {} seconds", TIME_LIMIT.as_secs()))),
    };
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    // The protocol tells absence from failure by words only, on standard output.
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let is_absent = said.contains("credentials not found");
    if is_absent { Ok(None) } else { Err(failed(format!("{}: {said}", output.status))) }
}

async fn run(program: &str, action: &str, input: &str) -> std::io::Result<std::process::Output> {
    let mut command = Command::new(program);
    command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that ends without reading has its reason on standard output.
        let _ = pipe.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}
