//! Calls that describe a Dockerfile in place of building it.

use super::failure::split;
use super::{BuildFailure, BuildOutcome, BuildRequest, CallReport, FailureKind, failure};
use crate::diag::Diagnostic;
use crate::dockerfile::directive::{CHECK_OPTIONS, CheckOptions};
use crate::dockerfile::{Dockerfile, Parsed};

/// Lets the build argument BUILDKIT_DOCKERFILE_CHECK stand in place of the file's `# check=`, mistakes of that included.
pub(super) fn check_options(request: &BuildRequest, parsed: &mut Parsed) -> Result<(), BuildFailure> {
    const NAME: &str = "BUILDKIT_DOCKERFILE_CHECK";
    let Some((_, text)) = request.build_args.iter().rev().find(|(name, _)| name == NAME) else { return Ok(()) };
    parsed.file.directives.check = CheckOptions::parse(text).map_err(|error| {
        let mut failure = BuildFailure::new(FailureKind::User, format!("failed to parse build-arg:{NAME}: {error}"));
        failure
            .help
            .push("expected `skip=RULE,...`, `experimental=RULE,...` or `error=true`, with `;` between".to_owned());
        failure
    })?;
    parsed.diagnostics.retain(|mistake| mistake.code != CHECK_OPTIONS);
    Ok(())
}

/// The outcome of a call.
pub(super) fn described(report: CallReport) -> BuildOutcome {
    BuildOutcome { report: Some(report), ..BuildOutcome::default() }
}

/// Describes with warnings what can, or could, be built.
pub(super) fn checked(file: &Dockerfile, mut warnings: Vec<Diagnostic>, failed: Option<BuildFailure>) -> BuildOutcome {
    let mut failed = failed.map(|mut failure| {
        let (mut errors, more) = split(std::mem::take(&mut failure.diagnostics));
        warnings.extend(more);
        errors.iter_mut().for_each(|error| name_lines(error, file));
        failure.diagnostics = errors;
        failure
    });
    if failed.is_none() && file.directives.check.error && !warnings.is_empty() {
        failed = Some(BuildFailure { diagnostics: Vec::new(), ..failure::lint(warnings.clone()) });
    }
    described(CallReport::Check { warnings, error: failed.map(Box::new) })
}

/// An error in an instruction is at all lines of it.
fn name_lines(error: &mut Diagnostic, file: &Dockerfile) {
    let Some(span) = error.span else { return };
    let holds =
        |lines: &crate::source::Span| lines.source == span.source && lines.range().contains(&(span.start as usize));
    error.lines = file.instructions.iter().map(|instruction| instruction.lines).find(holds).or(Some(span));
}
