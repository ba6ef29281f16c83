//! From the errors of all rooms to the one failure that is reported: which kind it is decides the exit code.

use std::error::Error;

use nix::sys::signal::Signal;

use super::load::Loaded;
use super::{BuildFailure, FailureKind};
use crate::diag::{Diagnostic, Severity};
use crate::dockerfile::lint::Rule;
use crate::executor::ExecError;
use crate::ops::OpError;
use crate::plan::{CopyOp, Op, StepGraph, Tree};
use crate::registry::{Cause, RegistryError};
use crate::sandbox::Exceeded;
use crate::solver::SolveError;
use crate::source::Sources;

/// What a shell says of a command that was killed (SIGKILL).
const KILLED: i32 = 128 + 9;

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

/// Makes a failure of located errors; like BuildKit's, its one line tells of the first.
pub(super) fn diagnostics(mut diagnostics: Vec<Diagnostic>) -> BuildFailure {
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.map(|span| (span.source, span.start)));
    let message = first_error(&diagnostics).map(|first| first.message.clone()).unwrap_or_default();
    BuildFailure { diagnostics, ..BuildFailure::new(FailureKind::User, message) }
}

/// Makes a failure of what is no Dockerfile at all.
pub(super) fn syntax(errors: Vec<Diagnostic>, sources: &Sources) -> BuildFailure {
    let mut failure = diagnostics(errors);
    if let Some(span) = first_error(&failure.diagnostics).and_then(|first| first.span) {
        let line = sources.get(span.source).line_of(span.start);
        failure.message = format!("dockerfile parse error on line {line}: {}", failure.message);
    }
    failure
}

fn first_error(diagnostics: &[Diagnostic]) -> Option<&Diagnostic> {
    diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Makes the failure of `# check=error=true` (rule 18.1).
pub(super) fn lint(warnings: Vec<Diagnostic>) -> BuildFailure {
    let rules = warnings.iter().map(|warning| warning.code);
    let mut rules: Vec<&str> = rules.filter(|code| Rule::named(code).is_some()).collect();
    rules.sort_unstable();
    rules.dedup();
    let message = format!("lint violation found for rules: {}", rules.join(", "));
    let mut failure = BuildFailure::new(FailureKind::User, message).with_code("lint");
    failure.help.push("`# check=error=true` makes an error of every warning of this file".to_owned());
    BuildFailure { diagnostics: warnings, ..failure }
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
pub(super) fn solve(error: SolveError, graph: &StepGraph, loaded: &Loaded) -> BuildFailure {
    let (step, error) = match error {
        SolveError::Canceled => return BuildFailure::new(FailureKind::Canceled, "the build was canceled"),
        SolveError::Step { step, error } => (graph.step(step), error),
    };
    let mut failure = failure(kind_of(&error), &error);
    let mut diagnostic = Diagnostic::error(code_of(&error), step.span, failure.to_string());
    diagnostic.help = std::mem::take(&mut failure.help);
    match error {
        OpError::Exit { code, exceeded, .. } => {
            diagnostic.message = format!("the command {}", ended(code));
            diagnostic.help.extend(exceeded.iter().flat_map(help_for_limit));
            if exceeded.is_empty() {
                diagnostic.help.extend(help_for_exit(code).map(str::to_owned));
            }
        }
        OpError::TimedOut { limit, .. } => {
            diagnostic.message =
                format!("the command ran longer than --timeout {limit}: it was killed, with all it started");
        }
        OpError::User { help, span, .. } => {
            diagnostic.span = span.or(diagnostic.span);
            diagnostic.help = help;
        }
        OpError::NotFound { path, ignored_at, help, span } => {
            diagnostic.span = span.or(diagnostic.span);
            diagnostic.help = help;
            let context = match &step.op {
                Op::Copy(CopyOp { from: Tree::Context(name), .. }) => Some(name),
                _ => None,
            };
            let place = match context {
                Some(None) => "the build context".to_owned(),
                Some(Some(name)) => format!("the context `{name}`"),
                None => "what it is copied from".to_owned(),
            };
            let ignored = context.zip(ignored_at).and_then(|(name, line)| loaded.ignore_rule(name.as_ref(), line));
            diagnostic.message = match ignored {
                Some(rule) => {
                    diagnostic = diagnostic.with_note(rule, "this rule leaves it out");
                    format!("\"{path}\" is there, but left out of {place}")
                }
                None => format!("\"{path}\" is not in {place}"),
            };
        }
        OpError::Registry(error) => diagnostic.help.extend(error.help()),
        OpError::Sandbox(error) => diagnostic.help.extend(error.help()),
        _ => {}
    }
    failure.diagnostics.push(diagnostic);
    match &step.platform {
        Some(platform) => of_platform(failure, platform),
        None => failure,
    }
}

/// What was met, and what to do about it.
fn help_for_limit(met: &Exceeded) -> [String; 2] {
    let what = match met {
        Exceeded::Memory(Some(_)) => "give it more, or make it use less: fewer jobs at once (`make -j`), for example",
        Exceeded::Memory(None) => "see `dmesg`; fewer steps at once need less: `--jobs 1`",
        Exceeded::Pids(_) => "give it more, or make it start fewer",
    };
    [met.to_string(), what.to_owned()]
}

/// What a shell means by an exit code.
fn ended(code: i32) -> String {
    let signal = Signal::try_from(code - 128).ok().filter(|_| code > 128);
    match signal {
        Some(signal) => format!("was killed by signal {} ({signal}): exit code {code}", code - 128),
        None => format!("failed: exit code {code}"),
    }
}

/// What to do about an exit code that means the same for every command.
fn help_for_exit(code: i32) -> Option<&'static str> {
    Some(match code {
        126 => "126 says that a command was found and cannot be executed: no `chmod +x`, or for another architecture",
        127 => "127 says that a command was not found: it is not installed in this image, or not in its PATH",
        134 => "134 says that a program gave up (SIGABRT); its output says why",
        137 => "137 says that a process was killed from outside (SIGKILL), mostly because memory ran out: see `dmesg`",
        139 => "139 says that a program crashed (SIGSEGV); one for another architecture may do so too",
        _ => return None,
    })
}

fn kind_of(error: &OpError) -> FailureKind {
    match error {
        OpError::Exit { code, .. } => FailureKind::Build { exit_code: *code },
        OpError::TimedOut { .. } => FailureKind::Build { exit_code: KILLED },
        OpError::User { .. } | OpError::NotFound { .. } => FailureKind::User,
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
pub fn kind_of_registry(error: &RegistryError) -> FailureKind {
    match *error.cause {
        Cause::Content(_) | Cause::Source { .. } | Cause::Stream(_) | Cause::Settings { .. } => {
            FailureKind::Environment
        }
        Cause::Config(_) | Cause::Blocked { .. } | Cause::NoHost { .. } => FailureKind::User,
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
        OpError::Exit { .. } => "run-failed",
        OpError::TimedOut { .. } => "timeout",
        OpError::User { code, .. } => code,
        OpError::NotFound { .. } => "not-found",
        OpError::Registry(_) => "registry",
        OpError::Unpack { .. } | OpError::WrongDiffId { .. } => "layer",
        OpError::Sandbox(ExecError::Limit(_)) => "limit",
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
