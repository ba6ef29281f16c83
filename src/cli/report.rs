//! How a run ends: the exit codes, and the words for a failure.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use super::terminal;
use super::usage::UsageError;
use crate::builder::{BuildFailure, FailureKind};
use crate::diag::{Diagnostic, Severity, chain, render};
use crate::source::{Sources, Span};

/// The exit codes, all of them; `kiln --help` lists them too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exit {
    /// Done.
    Success,
    /// The build failed as asked for: the Dockerfile, the context, or a `RUN` command (docker's code for these).
    Failed,
    /// The command line makes no sense; also what clap exits with.
    Usage,
    /// The kernel or the system lacks something.
    Environment,
    /// A registry or another server; trying again may help.
    Network,
    /// A bug of kiln.
    Internal,
    /// Canceled: what a shell says of an interrupted command.
    Canceled,
}

impl Exit {
    /// Returns the number.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::Network => 4,
            Self::Internal => 5,
            Self::Canceled => 130,
        }
    }

    /// Returns what a failure ends with.
    pub(super) fn of(kind: FailureKind) -> Self {
        match kind {
            FailureKind::User | FailureKind::Build { .. } => Self::Failed,
            FailureKind::Environment => Self::Environment,
            FailureKind::Network => Self::Network,
            FailureKind::Internal => Self::Internal,
            FailureKind::Canceled => Self::Canceled,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Says that a command line makes no sense.
pub(super) fn refused(error: &UsageError) -> Exit {
    terminal::print_error(&format!("ERROR: {}\n", chain(error)));
    Exit::Usage
}

/// Says that the system did not let something be done.
pub(super) fn failed(what: &str, error: &dyn std::error::Error) -> Exit {
    terminal::print_error(&format!("ERROR: {what}: {}\n", chain(error)));
    Exit::Environment
}

/// Says so when a result could not be printed.
pub(super) fn printed(result: io::Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Success,
        Err(error) => failed("cannot write to standard output", &error),
    }
}

/// Returns the report of a failure: a frame per diagnostic, an excerpt around the first one, and the last line,
/// which says what failed.
pub(super) fn failure(failure: &BuildFailure, color: bool) -> String {
    let mut out = String::new();
    for diagnostic in &failure.diagnostics {
        out.push_str(&render(diagnostic, &failure.sources, color));
        out.push('\n');
    }
    let what = failure.to_string();
    // A frame that says it all needs no more words.
    if !matches!(failure.diagnostics.as_slice(), [only] if only.message == what) {
        let first = failure.diagnostics.iter().find(|d| d.severity == Severity::Error && d.span.is_some());
        if let Some(span) = first.and_then(|diagnostic| diagnostic.span) {
            out.push_str(&excerpt(&failure.sources, span));
        }
        let _ = writeln!(out, "ERROR: {what}");
    }
    for help in &failure.help {
        let _ = writeln!(out, "help: {help}");
    }
    if failure.kind == FailureKind::Internal {
        out.push_str("help: this is a bug of kiln, please report it\n");
    }
    out
}

/// Returns warnings as frames.
pub(super) fn warnings(all: &[Diagnostic], sources: &Sources, color: bool) -> String {
    all.iter().map(|diagnostic| render(diagnostic, sources, color) + "\n").collect()
}

/// How many lines are shown before and after those that are meant.
const AROUND: u32 = 2;

/// The excerpt that docker prints below a failed build:
///
/// ```text
/// Dockerfile:2
/// --------------------
///    1 |     FROM busybox
///    2 | >>> RUN false
/// --------------------
/// ```
fn excerpt(sources: &Sources, span: Span) -> String {
    let file = sources.get(span.source);
    let first = file.line_of(span.start);
    let last = file.line_of(span.end.saturating_sub(1).max(span.start));
    let mut out = format!("{}:{first}\n--------------------\n", file.name());
    for line in first.saturating_sub(AROUND).max(1)..=(last + AROUND).min(file.line_count()) {
        let mark = if (first..=last).contains(&line) { ">>>" } else { "   " };
        let text: String = file.line(line).chars().map(printable).collect();
        let _ = writeln!(out, "{line:4} | {mark} {text}");
    }
    out.push_str("--------------------\n");
    out
}

fn printable(character: char) -> char {
    if character.is_control() && character != '\t' { '\u{fffd}' } else { character }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{SourceFile, SourceId};

    fn a_failure() -> BuildFailure {
        let mut sources = Sources::default();
        let text = "FROM busybox\nRUN true\nRUN make \\\n  all\n\nCMD x\nCMD y\n";
        sources.add(SourceFile::new("Dockerfile", text));
        let span = Span::new(SourceId(0), 22..38);
        let kind = FailureKind::Build { exit_code: 2 };
        let mut failure = BuildFailure::new(kind, "process `/bin/sh -c make all` did not complete: exit code: 2");
        failure.sources = sources;
        failure.diagnostics = vec![Diagnostic::error("run-failed", span, "the command exited with 2")];
        failure.help = vec!["build with --progress=plain to see all of its output".to_owned()];
        failure
    }

    #[test]
    fn a_failed_step_is_shown_in_its_file() {
        let want = "\
error[run-failed]: the command exited with 2
 --> Dockerfile:3:1
3 | RUN make \\
  | ^^^^^^^^^^

Dockerfile:3
--------------------
   1 |     FROM busybox
   2 |     RUN true
   3 | >>> RUN make \\
   4 | >>>   all
   5 |     
   6 |     CMD x
--------------------
ERROR: process `/bin/sh -c make all` did not complete: exit code: 2
help: build with --progress=plain to see all of its output
";
        assert_eq!(failure(&a_failure(), false), want);
        assert!(failure(&a_failure(), true).contains("\x1b[1;31merror[run-failed]\x1b[0m"));
    }

    #[test]
    fn what_a_frame_says_is_not_said_again() {
        let mut told = a_failure();
        told.message = told.diagnostics[0].message.clone();
        let text = failure(&told, false);
        assert_eq!(text.matches("the command exited with 2").count(), 1, "{text}");
        assert!(text.contains("3 | RUN make") && text.ends_with("all of its output\n"), "{text}");
    }

    #[test]
    fn causes_are_told_once() {
        let mut told = BuildFailure::new(FailureKind::Network, "cannot resolve `a`: timed out");
        told.causes = vec!["timed out".to_owned(), "os error 110".to_owned(), "os error 110".to_owned()];
        assert_eq!(failure(&told, false), "ERROR: cannot resolve `a`: timed out: os error 110\n");
    }

    #[test]
    fn codes_are_distinct() {
        let kinds = [
            (FailureKind::User, 1),
            (FailureKind::Build { exit_code: 7 }, 1),
            (FailureKind::Environment, 3),
            (FailureKind::Network, 4),
            (FailureKind::Internal, 5),
            (FailureKind::Canceled, 130),
        ];
        for (kind, code) in kinds {
            assert_eq!(Exit::of(kind).code(), code, "{kind:?}");
        }
    }
}
