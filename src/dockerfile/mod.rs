//! Dockerfile text to typed instructions.
//!
//! Takes a text, gives a flat list of [`Instruction`]s and all mistakes of the file, in one pass, in time
//! linear in its size, for any text. It does not group instructions into stages, expand variables or look at
//! files: those are `plan`'s. Everything here is pure, and anyone may call it.
//!
//! How a text is walked:
//!
//! ```text
//! frontend    whether the file is one for kiln at all
//! directive   the `# key=value` lines at the top, which may change the escape character
//! lines       physical lines -> logical lines, which know the bytes they came from
//! heredoc     the bodies behind a line, first named first taken
//! parse       the grammar (grammar/dockerfile.pest): names, flags, words of one logical line
//! convert     one logical line -> one typed Instruction, or one diagnostic
//! ```
//!
//! A line with a mistake is reported and left out, and reading goes on behind it and its heredocs. For a FROM with a
//! mistake an empty stage is put in, so that what refers to it, or counts stages, still finds it.
//!
//! What `plan` needs to finish an instruction is here too, as plain functions: [`expand`], [`Mount::resolve`],
//! [`chmod`], [`port`], [`signal`], [`duration`], [`size`], and the table of lint rules in [`lint`].

pub mod chmod;
mod convert;
pub mod device;
pub mod directive;
pub mod duration;
pub mod expand;
pub mod frontend;
mod heredoc;
pub mod instruction;
mod lines;
pub mod lint;
pub mod mount;
mod parse;
pub mod port;
pub mod signal;
pub mod size;

pub use directive::{CheckOptions, Directives};
pub use instruction::{CommandForm, Comment, Instruction, InstructionKind, Text};
pub use mount::{Mount, ResolvedMount};

use crate::diag::Diagnostic;
use crate::source::{SourceFile, SourceId, Sources, Span};
use lines::Lines;

/// A whole file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dockerfile {
    /// What stands at the top.
    pub directives: Directives,
    /// The instructions in order, those with mistakes left out.
    pub instructions: Vec<Instruction>,
}

/// What came of reading a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parsed {
    /// What could be read. To be built only when `diagnostics` is empty; what else is wrong with it can be told
    /// before that.
    pub file: Dockerfile,
    /// All mistakes, in order; each is an error. Lint warnings come from [`lint`].
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a Dockerfile.
pub fn parse(sources: &Sources, id: SourceId) -> Parsed {
    let text = sources.get(id).text();
    if text.is_empty() {
        let empty = Diagnostic::whole_file("empty-file", "the Dockerfile cannot be empty");
        return Parsed { diagnostics: vec![empty], ..Parsed::default() };
    }
    let mut diagnostics = Vec::new();
    let (directives, start) = directive::read(id, text, &mut diagnostics);
    let instructions = instructions(id, sources.get(id), start, directives.escape, &mut diagnostics);
    if instructions.is_empty() && diagnostics.is_empty() {
        diagnostics.push(Diagnostic::whole_file("no-instructions", "file with no instructions"));
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.map(|span| span.start));
    Parsed { file: Dockerfile { directives, instructions }, diagnostics }
}

/// Reads an ONBUILD trigger: one instruction, without directives, escaped by `\`.
///
/// Errors: all mistakes of the text; also that it is not one instruction, or one no trigger may be.
pub fn parse_trigger(sources: &Sources, id: SourceId) -> Result<Instruction, Vec<Diagnostic>> {
    let text = sources.get(id).text();
    let mut diagnostics = Vec::new();
    let mut instructions = instructions(id, sources.get(id), 0, '\\', &mut diagnostics);
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let span = Span::new(id, 0..text.len());
    let refused = |message: String| Err(vec![Diagnostic::error("trigger", span, message)]);
    let (Some(instruction), true) = (instructions.pop(), instructions.is_empty()) else {
        return refused("an ONBUILD trigger must be a single instruction".to_owned());
    };
    match instruction.kind {
        InstructionKind::OnBuild(_) => refused("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned()),
        InstructionKind::From(_) | InstructionKind::Maintainer(_) => {
            refused(format!("{} isn't allowed as an ONBUILD trigger", instruction.kind.name()))
        }
        _ => Ok(instruction),
    }
}

fn instructions(
    id: SourceId,
    file: &SourceFile,
    start: usize,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Instruction> {
    let mut lines = Lines::new(id, file, start, escape);
    let mut instructions = Vec::new();
    while let Some(line) = lines.next() {
        match convert::instruction(line, &mut lines, escape) {
            Ok(instruction) => instructions.push(instruction),
            Err(unread) => {
                instructions.extend(unread.stage.map(|stage| *stage));
                diagnostics.push(unread.mistake);
            }
        }
    }
    if let Some(not_utf8) = lines.not_utf8 {
        // In another encoding nothing reads as it was meant.
        *diagnostics = vec![not_utf8];
        return Vec::new();
    }
    diagnostics.append(&mut lines.diagnostics);
    instructions
}

/// Whether a text holds `$` and something behind it, so that expansion could change it.
fn may_expand(text: &str) -> bool {
    text.find('$').is_some_and(|at| at + 1 < text.len())
}
