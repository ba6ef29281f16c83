//! Programs that keep credentials: `docker-credential-<name> get` reads a server's name from its standard input and
//! writes JSON.

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
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper `name` for the credentials of `server`; `None` when it has none.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credentials>, Cause> {
    let program = format!("docker-credential-{name}");
    let failed = |detail: String| Cause::CredentialHelper { program: program.clone(), detail };
    if name.contains('/') {
        return Err(failed("its name has a slash".to_owned()));
    }
    let output = match tokio::time::timeout(TIME_LIMIT, run(&program, server)).await {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("no answer in {} seconds", TIME_LIMIT.as_secs()))),
    };
    if !output.status.success() {
        // The protocol tells absence from failure by words only, on standard output.
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let is_absent = said.contains("credentials not found");
        return if is_absent { Ok(None) } else { Err(failed(format!("{}: {said}", output.status))) };
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("its answer is not JSON with Username and Secret".to_owned()))?;
    let secret = Secret::new(answer.secret);
    Ok(Some(match answer.username {
        user if user == TOKEN_USER => Credentials::Identity(secret),
        user => Credentials::Password { user, password: secret },
    }))
}

async fn run(program: &str, server: &str) -> std::io::Result<std::process::Output> {
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that ends without reading has its reason on standard output.
        let _ = input.write_all(format!("{server}\n").as_bytes()).await;
    }
    child.wait_with_output().await
}
