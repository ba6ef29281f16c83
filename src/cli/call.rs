//! `--call METHOD[,format=text|json][,ignorestatus=BOOL]` and `--check`.

use super::args::BuildArguments;
use super::fields;
use super::usage::UsageError;
use crate::builder::Call;

const CALL: &str = "--call";

/// What to describe in place of building, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct CallOptions {
    /// What.
    pub(super) call: Call,
    /// Whether it is printed as JSON.
    pub(super) json: bool,
    /// What the exit code tells.
    pub(super) status: Status,
}

/// What makes the exit code of a description say that something is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Status {
    /// Warnings and errors.
    #[default]
    Findings,
    /// Errors: `ignorestatus=true`.
    Errors,
    /// Nothing: `lint`, BuildKit's own name of the request, which reports and leaves the judgement to who asked.
    Never,
}

/// The words of `--call` that buildx tells of.
const CALLS: [&str; 4] = ["build", "check", "outline", "targets"];

/// Reads both flags.
pub(super) fn call(typed: &BuildArguments) -> Result<CallOptions, UsageError> {
    let Some(text) = &typed.call else {
        let call = if typed.check { Call::Check } else { Call::Build };
        return Ok(CallOptions { call, ..CallOptions::default() });
    };
    let mut options = CallOptions::default();
    for field in fields::parse(CALL, text)? {
        match (field.key.as_str(), field.value.as_deref()) {
            ("build" | "", None) => options.call = Call::Build,
            ("check", None) => options.call = Call::Check,
            ("lint", None) => (options.call, options.status) = (Call::Check, Status::Never),
            ("outline", None) => options.call = Call::Outline,
            ("targets", None) => options.call = Call::Targets,
            ("format", Some("json")) => options.json = true,
            ("format", Some("text")) => options.json = false,
            ("ignorestatus", _) if field.truth(CALL)? => options.status = options.status.max(Status::Errors),
            ("ignorestatus", _) => {}
            ("format", Some(other)) => return Err(UsageError::unknown(CALL, text, other, &["text", "json"])),
            (other, None) => return Err(UsageError::unknown(CALL, text, other, &CALLS)),
            (other, Some(_)) => return Err(UsageError::unknown(CALL, text, other, &["format", "ignorestatus"])),
        }
    }
    if typed.check && options.call != Call::Check {
        return Err(UsageError::Conflict { one: "--check", other: CALL });
    }
    Ok(options)
}
