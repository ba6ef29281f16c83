//! Programs of engines: they are run, and say on standard error what went wrong.

use std::process::Stdio;

use tokio::process::Command;

use super::EngineError;

/// Runs `command` to its end with nothing to read; returns what it printed.
pub(super) async fn run(program: &'static str, command: &mut Command) -> Result<String, EngineError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = command.output().await.map_err(|source| EngineError::NoProgram { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(failed(program, command, &output.stderr, output.status))
}

/// The failure of a program, with the end of what it said.
pub(super) fn failed(program: &str, command: &Command, said: &[u8], status: std::process::ExitStatus) -> EngineError {
    let first = command.as_std().get_args().next().map(|word| word.to_string_lossy().into_owned());
    let said = String::from_utf8_lossy(said);
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let said = last.map_or_else(|| status.to_string(), str::to_owned);
    EngineError::Failed { command: [program, first.as_deref().unwrap_or_default()].join(" "), said }
}
