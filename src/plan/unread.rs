//! What else is wrong with a file of which some lines cannot be read.

use super::{KnownImages, Options, linked};
use crate::diag::{Diagnostic, Severity};
use crate::dockerfile::{InstructionKind, Parsed};
use crate::source::Sources;

/// Returns the mistakes of the stages and references of a file with mistakes of reading, in the order of the file. Left
/// out is whatever may only follow from a line that was not read.
pub fn mistakes_beside(parsed: &Parsed, sources: &mut Sources, options: &Options) -> Vec<Diagnostic> {
    // A directive may have changed what every line means.
    if parsed.diagnostics.iter().any(|mistake| mistake.code == "directive") {
        return Vec::new();
    }
    let mut mistakes = linked(&parsed.file, sources, options, &KnownImages::new()).err().unwrap_or_default();
    mistakes.retain(|mistake| mistake.severity == Severity::Error && stands_alone(mistake, parsed, sources));
    mistakes
}

/// Whether a mistake would be one whatever the lines that were not read say.
fn stands_alone(mistake: &Diagnostic, parsed: &Parsed, sources: &Sources) -> bool {
    let unread = |code: &str| parsed.diagnostics.iter().any(|unread| unread.code == code);
    let start_of_stages = parsed.file.instructions.iter().find_map(|instruction| match instruction.kind {
        InstructionKind::From(_) => Some(instruction.span.start),
        _ => None,
    });
    let is_before_stages =
        |unread: &Diagnostic| unread.span.is_some_and(|span| start_of_stages.is_none_or(|start| span.start < start));
    match mistake.code {
        // Any line may have been the FROM that is missing.
        "no-stage" => mistake.span.is_some() && !unread("unknown-instruction"),
        // A heredoc without an end has taken the rest of the file.
        "unknown-target" | "unknown-stage" if unread("heredoc") => false,
        // An argument may have been lost.
        _ if parsed.diagnostics.iter().any(is_before_stages) => {
            mistake.span.is_none_or(|span| !sources.text(span).contains('$'))
        }
        _ => true,
    }
}
