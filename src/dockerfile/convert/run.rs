//! RUN.

use crate::diag::{Diagnostic, nearest};

use super::super::device::Device;
use super::super::instruction::{CommandForm, InstructionKind, NetworkMode, Run, Script, SecurityMode, Text};
use super::super::mount::Mount;
use super::Line;
use super::flags::{Flags, Holds};

impl Line<'_> {
    pub(super) fn run(&self) -> Result<InstructionKind, Diagnostic> {
        let flags = self.flags(&[
            ("mount", Holds::Texts),
            ("network", Holds::Text),
            ("security", Holds::Text),
            ("device", Holds::Texts),
        ])?;
        let (command, script) = self.run_command()?;
        if command == CommandForm::Exec(Vec::new()) {
            return Err(Diagnostic::error("arguments", self.arguments_span(), "arguments are required"));
        }
        let mounts = flags.texts("mount").into_iter().map(|text| Mount::parse(&text));
        Ok(InstructionKind::Run(Box::new(Run {
            command,
            command_span: self.arguments_span(),
            script,
            mounts: mounts.collect::<Result<_, _>>()?,
            network: network(&flags)?,
            security: security(&flags)?,
            devices: flags.texts("device").iter().map(Device::parse).collect::<Result<_, _>>()?,
            heredocs: self.heredocs.iter().map(|taken| taken.heredoc.clone()).collect(),
        })))
    }

    /// One heredoc and nothing else is the script itself; any other heredocs are for the shell to read.
    fn run_command(&self) -> Result<(CommandForm, Option<Script>), Diagnostic> {
        match self.heredocs.as_slice() {
            [] => Ok((self.command()?, None)),
            [only] if only.range == self.arguments => {
                let body = only.heredoc.body.clone();
                if !body.starts_with("#!") {
                    return Ok((CommandForm::Shell(body), None));
                }
                let path = format!("/dev/pipes/{}", only.heredoc.name.text);
                Ok((CommandForm::Shell(path.clone()), Some(Script { path, body })))
            }
            all => {
                let mut text = self.text().to_owned();
                for taken in all {
                    text.push('\n');
                    text.push_str(&taken.raw);
                    text.push_str(&taken.heredoc.name.text);
                }
                Ok((CommandForm::Shell(text), None))
            }
        }
    }
}

fn network(flags: &Flags<'_>) -> Result<Option<NetworkMode>, Diagnostic> {
    let Some(mode) = flags.text("network") else { return Ok(None) };
    match mode.text.as_str() {
        "default" => Ok(Some(NetworkMode::Default)),
        "none" => Ok(Some(NetworkMode::None)),
        "host" => Ok(Some(NetworkMode::Host)),
        other => Err(wrong(&mode, format!("invalid network mode {other:?}"), ["default", "none", "host"])),
    }
}

fn security(flags: &Flags<'_>) -> Result<Option<SecurityMode>, Diagnostic> {
    let Some(mode) = flags.text("security") else { return Ok(None) };
    match mode.text.as_str() {
        "sandbox" => Ok(Some(SecurityMode::Sandbox)),
        "insecure" => Ok(Some(SecurityMode::Insecure)),
        other => Err(wrong(&mode, format!("security {other:?} is not valid"), ["sandbox", "insecure"])),
    }
}

fn wrong<const N: usize>(value: &Text, message: String, known: [&str; N]) -> Diagnostic {
    let error = Diagnostic::error("flag-value", value.span, message);
    match nearest(&value.text, known) {
        Some(near) => error.with_label(format!("did you mean `{near}`?")),
        None => error.with_help(format!("one of {}", known.join(", "))),
    }
}
