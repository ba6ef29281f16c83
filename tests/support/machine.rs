//! A machine that is a little different: see `machine.sh`.

use std::path::Path;
use std::process::Command;

use super::tool;

/// Returns a command that runs `command` where `words` hold.
pub fn with(words: &[&str], command: &Command) -> Command {
    let mut different = tool::tool("bash");
    different.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/machine.sh")).args(words).arg("--");
    different.arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        different.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => different.env(name, value),
            None => different.env_remove(name),
        };
    }
    different
}
