//! How a run ends: the exit codes, and the words for a failure.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use super::terminal;
use super::usage::UsageError;
use crate::builder::{BuildFailure, FailureKind};
use crate::diag::{Diagnostic, Severity, chain, printable, render};
use crate::images::ImagesError;
use crate::signature::KeyError;
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
    /// A build that was asked to be reproducible is not.
    NotReproducible,
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
            Self::NotReproducible => 6,
            Self::Canceled => 130,
        }
    }

    /// Returns what a failure ends with.
    pub(super) fn of(kind: FailureKind) -> Self {
        match kind {
            FailureKind::User | FailureKind::Build { .. } => Self::Failed,
            FailureKind::Environment => Self::Environment,
            FailureKind::Network => Self::Network,
            FailureKind::NotReproducible => Self::NotReproducible,
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
    say(error.code(), chain(error), error.help());
    Exit::Usage
}

/// Says that an argument is none that there is, in the form of all messages.
pub(super) fn not_understood(error: &clap::Error) -> Exit {
    let text = error.render().to_string();
    let mut message = Vec::new();
    let mut help = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            help.push(tip.replace('\'', "`"));
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            help.push(format!("usage: `{usage}`"));
        } else if !line.starts_with("For more information") {
            message.push(line.strip_prefix("error: ").unwrap_or(line).replace('\'', "`"));
        }
    }
    help.push("`kiln --help` and `kiln build --help` say what there is".to_owned());
    say("usage", message.join(" "), help);
    Exit::Usage
}

/// Says that the system did not let something be done.
pub(super) fn failed(what: &str, error: &dyn std::error::Error) -> Exit {
    say("environment", format!("{what}: {}", chain(error)), Vec::new());
    Exit::Environment
}

/// Says why a key cannot be used.
pub(super) fn unusable_key(error: &dyn std::error::Error, cause: &KeyError) -> Exit {
    let help = match cause {
        KeyError::Encrypted | KeyError::Password => {
            vec!["its password is read from $COSIGN_PASSWORD, or asked for".to_owned()]
        }
        _ => Vec::new(),
    };
    say("key", chain(error), help);
    Exit::Failed
}

/// Says why something could not be done with an image.
pub(super) fn of_images(error: &ImagesError) -> Exit {
    say(error.code(), chain(error), error.help());
    Exit::of(error.kind())
}

/// Says what went wrong, and what to do about it.
pub(super) fn error(code: &'static str, error: &dyn std::error::Error, help: Vec<String>) {
    say(code, chain(error), help);
}

/// Prints an error that is about no place in a file.
#[expect(clippy::disallowed_methods, reason = "the command line that Environment belongs to was not understood")]
fn say(code: &'static str, message: String, help: Vec<String>) {
    let error = Diagnostic { help, ..Diagnostic::whole_file(code, message) };
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    terminal::print_error(&render(&error, &Sources::default(), color));
}

/// Says so when a result could not be printed.
pub(super) fn printed(result: io::Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Success,
        Err(error) => failed("cannot write to standard output", &error),
    }
}

/// How the end of a build is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Style {
    /// With ANSI colours.
    pub(super) color: bool,
    /// With the excerpt and the last line that readers of `docker buildx` logs look for.
    pub(super) for_logs: bool,
}

/// How many errors are shown; who sees these has enough to do.
const MOST_ERRORS: usize = 20;

/// Returns the report of a failure: a frame for each error and their number; for logs, also an excerpt around the
/// first one and a last line, which says what failed.
pub(super) fn failure(failure: &BuildFailure, style: Style) -> String {
    let (errors, warnings): (Vec<_>, Vec<_>) =
        failure.diagnostics.iter().cloned().partition(|found| found.severity == Severity::Error);
    let itself =
        || Diagnostic { help: failure.help.clone(), ..Diagnostic::whole_file(failure.code(), failure.to_string()) };
    let errors = if errors.is_empty() { vec![itself()] } else { errors };
    let mut frames = self::warnings(&warnings, &failure.sources, style.color);
    for error in errors.iter().take(MOST_ERRORS) {
        frames += &(render(error, &failure.sources, style.color) + "\n");
    }
    let mut out = frames.trim_end().to_owned() + "\n";
    if errors.len() > MOST_ERRORS {
        let _ = writeln!(out, "\n... and {} more", errors.len() - MOST_ERRORS);
    }
    if errors.len() > 1 {
        let _ = writeln!(out, "\n{} errors", errors.len());
    }
    if failure.kind == FailureKind::Internal {
        out.push_str("  = help: this is a bug of kiln, please report it\n");
    }
    if style.for_logs {
        out.push('\n');
        if let Some(span) = errors.iter().chain(&warnings).find_map(|found| found.span) {
            out.push_str(&excerpt(&failure.sources, span));
        }
        let _ = writeln!(out, "ERROR: failed to build: failed to solve: {}", printable(&failure.to_string()));
    }
    out
}

/// Returns warnings as frames.
pub(super) fn warnings(all: &[Diagnostic], sources: &Sources, color: bool) -> String {
    all.iter().map(|diagnostic| render(diagnostic, sources, color) + "\n").collect()
}

/// The excerpt that docker prints below a failed build: two lines around one line, one around several.
///
/// ```text
/// Dockerfile:2
/// --------------------
///    1 |     FROM busybox
///    2 | >>> RUN false
/// --------------------
/// ```
pub(super) fn excerpt(sources: &Sources, span: Span) -> String {
    let file = sources.get(span.source);
    let (first, last) = file.lines_of(span);
    let around = if first == last { 2 } else { 1 };
    // What follows the last newline is a line to docker.
    let end = file.line_of(u32::MAX);
    let mut out = format!("{}:{first}\n--------------------\n", file.name());
    for line in first.saturating_sub(around).max(1)..=(last + around).min(end) {
        let mark = if (first..=last).contains(&line) { ">>>" } else { "   " };
        let _ = writeln!(out, "{line:4} | {mark} {}", printable(file.line(line)));
    }
    out.push_str("--------------------\n");
    out
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
        failure.diagnostics =
            vec![Diagnostic::error("run-failed", span, "the command exited with 2").with_help("make it work")];
        failure
    }

    #[test]
    fn a_failed_step_is_shown_in_its_file() {
        let frame = "\
error[run-failed]: the command exited with 2
 --> Dockerfile:3:1
3 > RUN make \\
4 >   all
  = help: make it work
";
        let excerpt = "
Dockerfile:3
--------------------
   2 |     RUN true
   3 | >>> RUN make \\
   4 | >>>   all
   5 |     
--------------------
ERROR: failed to build: failed to solve: process `/bin/sh -c make all` did not complete: exit code: 2
";
        assert_eq!(failure(&a_failure(), Style::default()), frame);
        let for_logs = Style { for_logs: true, ..Style::default() };
        assert_eq!(failure(&a_failure(), for_logs), format!("{frame}{excerpt}"));
        assert!(
            failure(&a_failure(), Style { color: true, ..for_logs }).contains("\x1b[1;31merror[run-failed]\x1b[0m")
        );
    }

    #[test]
    fn errors_are_counted_and_not_all_of_very_many_are_shown() {
        let mut many = a_failure();
        many.diagnostics = vec![many.diagnostics[0].clone(); 30];
        let text = failure(&many, Style::default());
        assert_eq!(text.matches("exited with 2").count(), MOST_ERRORS);
        assert!(text.ends_with("\n\n... and 10 more\n\n30 errors\n"), "{text}");
    }

    #[test]
    fn the_excerpt_ends_where_docker_ends_it() {
        let mut failed = a_failure();
        failed.diagnostics[0].span = Some(Span::new(SourceId(0), 46..47));
        let text = failure(&failed, Style { for_logs: true, ..Style::default() });
        assert!(text.contains("   5 |     \n   6 |     CMD x\n   7 | >>> CMD y\n   8 |     \n-----"), "{text}");
    }

    #[test]
    fn causes_are_told_once() {
        let mut told = BuildFailure::new(FailureKind::Network, "cannot resolve `a`: timed out");
        told.causes = vec!["timed out".to_owned(), "os error 110".to_owned(), "os error 110".to_owned()];
        told.help = vec!["try again".to_owned()];
        let want = "error[network]: cannot resolve `a`: timed out: os error 110\n = help: try again\n";
        assert_eq!(failure(&told, Style::default()), want);
    }

    #[test]
    fn codes_are_distinct() {
        let kinds = [
            (FailureKind::User, 1),
            (FailureKind::Build { exit_code: 7 }, 1),
            (FailureKind::Environment, 3),
            (FailureKind::Network, 4),
            (FailureKind::Internal, 5),
            (FailureKind::NotReproducible, 6),
            (FailureKind::Canceled, 130),
        ];
        for (kind, code) in kinds {
            assert_eq!(Exit::of(kind).code(), code, "{kind:?}");
        }
    }
}
