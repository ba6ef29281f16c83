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
    /// Whether findings leave the exit code alone.
    pub(super) ignore_status: bool,
}

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
            // BuildKit's name of the same request, which reports and leaves the judgement to who asked.
            ("lint", None) => (options.call, options.ignore_status) = (Call::Check, true),
            ("outline", None) => options.call = Call::Outline,
            ("targets", None) => options.call = Call::Targets,
            ("format", Some("json")) => options.json = true,
            ("format", Some("text")) => options.json = false,
            ("ignorestatus", _) => options.ignore_status = field.truth(CALL)?,
            _ => return Err(UsageError::malformed(CALL, text, "expected build, check, outline or targets")),
        }
    }
    if typed.check && options.call != Call::Check {
        return Err(UsageError::Conflict { one: "--check", other: CALL });
    }
    Ok(options)
}
