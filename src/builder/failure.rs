//! From the errors of all rooms to the one failure that is reported: which kind it is decides the exit code.

use std::error::Error;

use super::{BuildFailure, FailureKind};
use crate::diag::{Diagnostic, Severity};
use crate::ops::OpError;
use crate::plan::StepGraph;
use crate::solver::SolveError;

/// Makes a failure of an error and what is below it.
pub(super) fn failure(kind: FailureKind, error: &dyn Error) -> BuildFailure {
    BuildFailure::of(kind, error)
}

/// Makes a failure of this machine: `message`, then the error.
pub(super) fn environment(message: impl Into<String>, error: &dyn Error) -> BuildFailure {
    let mut failure = BuildFailure::new(FailureKind::Environment, message);
    failure.causes = BuildFailure::of(FailureKind::Environment, error).causes;
    failure.causes.insert(0, error.to_string());
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
    let mut failure = BuildFailure::of(kind, &error);
    let mut span = step.span;
    let mut help = Vec::new();
    if let OpError::User { help: more, span: place, .. } = &error {
        span = place.unwrap_or(span);
        help.clone_from(more);
    }
    let mut diagnostic = Diagnostic::error(code_of(&error), span, error.to_string());
    diagnostic.help = help;
    failure.diagnostics.push(diagnostic);
    failure
}

fn kind_of(error: &OpError) -> FailureKind {
    match error {
        OpError::Exit { code, .. } => FailureKind::Build { exit_code: *code },
        OpError::User { .. } => FailureKind::User,
        OpError::Registry(error) if error.is_temporary() => FailureKind::Network,
        OpError::Registry(_) | OpError::Unpack { .. } | OpError::WrongDiffId { .. } => FailureKind::Network,
        OpError::Canceled => FailureKind::Canceled,
        OpError::Layer(_)
        | OpError::Sandbox(_)
        | OpError::Store(_)
        | OpError::Snapshot(_)
        | OpError::Cache(_)
        | OpError::Io { .. } => FailureKind::Environment,
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
        OpError::Layer(_) | OpError::Store(_) | OpError::Snapshot(_) | OpError::Cache(_) | OpError::Io { .. } => {
            "store"
        }
    }
}

/// Makes the failure of work that belongs to no instruction.
pub(super) fn op(error: &OpError) -> BuildFailure {
    BuildFailure::of(kind_of(error), error)
}
