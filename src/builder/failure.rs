//! From the errors of all rooms to the one failure that is reported: which kind it is decides the exit code.

use std::error::Error;

use super::{BuildFailure, FailureKind};
use crate::diag::{Diagnostic, Severity};
use crate::ops::OpError;
use crate::plan::StepGraph;
use crate::registry::{Cause, RegistryError};
use crate::solver::SolveError;

/// Makes a failure of an error and what is below it.
pub(super) fn failure(kind: FailureKind, error: &(dyn Error + 'static)) -> BuildFailure {
    let mut failure = BuildFailure::of(kind, error);
    if let Some(help) = errno_of(error).and_then(help_for_errno) {
        failure.help.push(help.to_owned());
    }
    failure
}

/// What to do when the kernel says so.
fn help_for_errno(errno: i32) -> Option<&'static str> {
    match errno {
        libc::ENOSPC | libc::EDQUOT => {
            Some("make room on that disk; if the store is on it, `kiln prune` takes out what no image needs")
        }
        _ => None,
    }
}

/// Makes a failure of this machine: `message`, then the error.
pub(super) fn environment(message: impl Into<String>, error: &(dyn Error + 'static)) -> BuildFailure {
    let mut failure = failure(FailureKind::Environment, error);
    failure.causes.insert(0, std::mem::replace(&mut failure.message, message.into()));
    failure
}

/// Makes a failure that is kiln's own fault.
pub(super) fn internal(message: impl Into<String>) -> BuildFailure {
    BuildFailure::new(FailureKind::Internal, message)
}

/// Makes a failure of located errors.
pub(super) fn diagnostics(diagnostics: Vec<Diagnostic>) -> BuildFailure {
    let message = match diagnostics.as_slice() {
        [one] => one.message.clone(),
        many => format!("{} errors in the Dockerfile", many.len()),
    };
    BuildFailure { diagnostics, ..BuildFailure::new(FailureKind::User, message) }
}

/// Makes the failure of `# check=error=true` (rule 18.1).
pub(super) fn lint(warnings: Vec<Diagnostic>) -> BuildFailure {
    let mut rules: Vec<&str> = warnings.iter().map(|warning| warning.code).collect();
    rules.sort_unstable();
    rules.dedup();
    let message = format!("lint violation found for rules: {}", rules.join(", "));
    BuildFailure { diagnostics: warnings, ..BuildFailure::new(FailureKind::User, message) }
}

/// Says of a failure for which of several platforms it was.
pub(super) fn of_platform(mut failure: BuildFailure, platform: &str) -> BuildFailure {
    let messages = failure.diagnostics.iter_mut().map(|diagnostic| &mut diagnostic.message);
    for message in messages.chain([&mut failure.message]) {
        *message = format!("{platform}: {message}");
    }
    failure
}

/// Parts errors from warnings.
pub(super) fn split(diagnostics: Vec<Diagnostic>) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
    diagnostics.into_iter().partition(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Puts the failure of a step at its instruction.
pub(super) fn solve(error: SolveError, graph: &StepGraph) -> BuildFailure {
    let (step, error) = match error {
        SolveError::Canceled => return BuildFailure::new(FailureKind::Canceled, "the build was canceled"),
        SolveError::Step { step, error } => (graph.step(step), error),
    };
    let kind = kind_of(&error);
    let mut failure = failure(kind, &error);
    let mut span = step.span;
    let mut help = std::mem::take(&mut failure.help);
    match &error {
        OpError::User { help: more, span: place, .. } => {
            span = place.unwrap_or(span);
            help.clone_from(more);
        }
        OpError::Registry(error) => help.extend(error.help()),
        OpError::Sandbox(error) => help.extend(error.help()),
        _ => {}
    }
    let mut diagnostic = Diagnostic::error(code_of(&error), span, failure.to_string());
    diagnostic.help = help;
    failure.diagnostics.push(diagnostic);
    match &step.platform {
        Some(platform) => of_platform(failure, platform),
        None => failure,
    }
}

fn kind_of(error: &OpError) -> FailureKind {
    match error {
        OpError::Exit { code, .. } => FailureKind::Build { exit_code: *code },
        OpError::User { .. } => FailureKind::User,
        OpError::Registry(error) => kind_of_registry(error),
        // A layer that cannot be written here says nothing about where it comes from.
        OpError::Unpack { source, .. } if is_local(source.as_ref()) => FailureKind::Environment,
        OpError::Unpack { .. } | OpError::WrongDiffId { .. } => FailureKind::Network,
        OpError::Canceled => FailureKind::Canceled,
        OpError::Panicked { .. } => FailureKind::Internal,
        OpError::Layer(_)
        | OpError::Sandbox(_)
        | OpError::Store(_)
        | OpError::Snapshot(_)
        | OpError::Cache(_)
        | OpError::Io { .. } => FailureKind::Environment,
    }
}

/// Says whose turn it is when talking to a registry failed: this machine's, or the other side's.
pub(super) fn kind_of_registry(error: &RegistryError) -> FailureKind {
    match *error.cause {
        Cause::Content(_) | Cause::Source { .. } | Cause::Stream(_) | Cause::Settings { .. } => {
            FailureKind::Environment
        }
        _ => FailureKind::Network,
    }
}

/// Whether the kernel refused something.
fn is_local(error: &(dyn Error + 'static)) -> bool {
    errno_of(error).is_some()
}

/// Returns the kernel's answer behind an error.
fn errno_of(error: &(dyn Error + 'static)) -> Option<i32> {
    match error.downcast_ref::<std::io::Error>() {
        Some(found) if found.raw_os_error().is_some() => found.raw_os_error(),
        Some(found) => found.get_ref().and_then(|wrapped| errno_of(wrapped)),
        None => error.source().and_then(errno_of),
    }
}

fn code_of(error: &OpError) -> &'static str {
    match error {
        OpError::Exit { .. } => "step-failed",
        OpError::User { .. } => "step",
        OpError::Registry(_) => "registry",
        OpError::Unpack { .. } | OpError::WrongDiffId { .. } => "layer",
        OpError::Sandbox(_) => "sandbox",
        OpError::Canceled => "canceled",
        OpError::Panicked { .. } => "internal",
        OpError::Layer(_) | OpError::Store(_) | OpError::Snapshot(_) | OpError::Cache(_) | OpError::Io { .. } => {
            "store"
        }
    }
}

/// Makes the failure of work that belongs to no instruction.
pub(super) fn op(error: &OpError) -> BuildFailure {
    failure(kind_of(error), error)
}
