//! Commands: CMD, ENTRYPOINT, SHELL, HEALTHCHECK.

use std::ops::Range;
use std::time::Duration;

use crate::diag::Diagnostic;

use super::super::duration;
use super::super::instruction::{CommandForm, Healthcheck, HealthcheckCommand, InstructionKind, Text};
use super::Line;
use super::flags::{Flags, Holds};

impl Line<'_> {
    pub(super) fn cmd(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        self.command().map(InstructionKind::Cmd)
    }

    pub(super) fn entrypoint(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        self.command().map(InstructionKind::Entrypoint)
    }

    pub(super) fn shell(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        if self.arguments.is_empty() {
            return Err(self.requires("at least one argument"));
        }
        match self.command()? {
            CommandForm::Shell(_) => {
                let message = "SHELL requires the arguments to be in JSON form";
                let help = "for example SHELL [\"/bin/sh\", \"-e\", \"-c\"]";
                Err(Diagnostic::error("arguments", self.arguments_span(), message).with_help(help))
            }
            CommandForm::Exec(words) if words.is_empty() => Err(self.requires("at least one argument")),
            CommandForm::Exec(words) => Ok(InstructionKind::Shell(words)),
        }
    }

    /// Reads all arguments as a command.
    pub(super) fn command(&self) -> Result<CommandForm, Diagnostic> {
        self.command_in(&(0..self.text().len()))
    }

    fn command_in(&self, range: &Range<usize>) -> Result<CommandForm, Diagnostic> {
        let form = match self.json(range)? {
            Some(words) => CommandForm::Exec(words.into_iter().map(|word| word.text).collect()),
            None => CommandForm::Shell(self.text()[range.clone()].to_owned()),
        };
        Ok(form)
    }

    pub(super) fn healthcheck(&self) -> Result<InstructionKind, Diagnostic> {
        let text = self.text();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let rest = end + (text.len() - end - text[end..].trim_start().len());
        let checked = match text[..end].to_uppercase().as_str() {
            "" => return Err(self.requires("at least one argument")),
            "NONE" if rest < text.len() => {
                let span = self.word(&(rest..text.len())).span;
                return Err(Diagnostic::error("arguments", span, "HEALTHCHECK NONE takes no arguments"));
            }
            "NONE" => Healthcheck::None,
            "CMD" => Healthcheck::Command(self.healthcheck_command(&(rest..text.len()))?),
            _ => {
                let message = format!("Unknown type {:?} in HEALTHCHECK (try CMD)", &text[..end].to_uppercase());
                return Err(Diagnostic::error("arguments", self.word(&(0..end)).span, message));
            }
        };
        Ok(InstructionKind::Healthcheck(checked))
    }

    fn healthcheck_command(&self, range: &Range<usize>) -> Result<HealthcheckCommand, Diagnostic> {
        let flags = self.flags(&[
            ("interval", Holds::Text),
            ("timeout", Holds::Text),
            ("start-period", Holds::Text),
            ("start-interval", Holds::Text),
            ("retries", Holds::Text),
        ])?;
        let command = self.command_in(range)?;
        if range.is_empty() || command == CommandForm::Exec(Vec::new()) {
            let message = "Missing command after HEALTHCHECK CMD";
            return Err(Diagnostic::error("arguments", self.arguments_span(), message));
        }
        Ok(HealthcheckCommand {
            command,
            interval: interval(&flags, "interval")?,
            timeout: interval(&flags, "timeout")?,
            start_period: interval(&flags, "start-period")?,
            start_interval: interval(&flags, "start-interval")?,
            retries: flags.text("retries").map_or(Ok(0), |text| retries(&text))?,
        })
    }
}

/// Nothing, zero, or at least a millisecond.
fn interval(flags: &Flags<'_>, name: &str) -> Result<Duration, Diagnostic> {
    let Some(text) = flags.text(name) else { return Ok(Duration::ZERO) };
    let too_short = || {
        let message = format!("Interval {name:?} cannot be less than 1ms");
        Diagnostic::error("duration", text.span, message)
    };
    match duration::parse(&text.text) {
        Ok(value) if value.is_zero() || value >= Duration::from_millis(1) => Ok(value),
        Ok(_) | Err(duration::DurationError::Negative(_)) => Err(too_short()),
        Err(error) => Err(Diagnostic::error("duration", text.span, error.to_string())),
    }
}

fn retries(text: &Text) -> Result<u32, Diagnostic> {
    let message = match text.text.parse::<i32>() {
        Ok(number) => match u32::try_from(number) {
            Ok(number) => return Ok(number),
            Err(_) => format!("--retries cannot be negative ({number})"),
        },
        Err(_) => format!("--retries is no number: {:?}: invalid syntax", text.text),
    };
    Err(Diagnostic::error("flag-value", text.span, message))
}
