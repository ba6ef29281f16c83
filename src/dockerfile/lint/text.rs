//! The checks that need only the text.

use std::collections::BTreeSet;

use super::super::Dockerfile;
use super::super::instruction::{From, Instruction, InstructionKind, Text};
use super::warning;
use crate::diag::Diagnostic;
use crate::source::{Sources, Span};

/// Where checks put their findings.
struct Report<'a> {
    file: &'a Dockerfile,
    sources: &'a Sources,
    warnings: Vec<Diagnostic>,
}

impl Report<'_> {
    fn add(&mut self, rule: &'static str, instruction: &Instruction, span: Span, message: impl Into<String>) {
        self.warnings.extend(warning(self.file, rule, instruction, span, message));
    }
}

/// Checks each instruction by itself. A file with mistakes is checked as far as it could be read.
pub fn of_instructions(file: &Dockerfile, sources: &Sources) -> Vec<Diagnostic> {
    let mut report = Report { file, sources, warnings: Vec::new() };
    for instruction in &file.instructions {
        report.no_empty_continuation(instruction);
    }
    for instruction in &file.instructions {
        match &instruction.kind {
            InstructionKind::Maintainer(_) => {
                let message = "Maintainer instruction is deprecated in favor of using label";
                report.add("MaintainerDeprecated", instruction, instruction.span, message);
            }
            InstructionKind::From(from) => {
                report.from(instruction, from);
                let names: Vec<&Text> = from.stage_name.iter().collect();
                report.description("FROM", instruction, &names);
            }
            InstructionKind::Arg(declared) => {
                let names: Vec<&Text> = declared.iter().map(|one| &one.name).collect();
                report.description("ARG", instruction, &names);
            }
            _ => {}
        }
    }
    report.warnings
}

/// Checks what instructions and stages are to each other; for files without mistakes.
pub fn of_stages(file: &Dockerfile, sources: &Sources) -> Vec<Diagnostic> {
    let mut report = Report { file, sources, warnings: Vec::new() };
    report.stage_names();
    report.casing();
    report.warnings
}

impl Report<'_> {
    /// At the last line of the instruction, where BuildKit notices.
    fn no_empty_continuation(&mut self, instruction: &Instruction) {
        if let Some(blank) = instruction.blank_continuation {
            let end = instruction.lines.end as usize;
            let found = warning(self.file, "NoEmptyContinuation", instruction, blank, "Empty continuation line");
            let last_line = Some(Span::new(blank.source, end.saturating_sub(1)..end));
            self.warnings.extend(found.map(|found| Diagnostic { lines: last_line, ..found }));
        }
    }

    fn from(&mut self, instruction: &Instruction, from: &From) {
        let (Some(keyword), Some(name)) = (&from.as_keyword, &from.stage_name) else { return };
        let written = self.sources.text(name.span);
        if written != written.to_lowercase() {
            let message = format!("Stage name '{written}' should be lowercase");
            self.add("StageNameCasing", instruction, name.span, message);
        }
        // A FROM of mixed case is another rule's.
        let head = &instruction.keyword_as_written;
        let wrong = match case_of(head) {
            Some(Case::Lower) => *keyword.text != keyword.text.to_lowercase(),
            Some(Case::Upper) => *keyword.text != keyword.text.to_uppercase(),
            None => false,
        };
        if wrong {
            let message = format!("'{}' and '{head}' keywords' casing do not match", keyword.text);
            self.add("FromAsCasing", instruction, keyword.span, message);
        }
    }

    /// The last comment above should be about one of the names.
    fn description(&mut self, what: &str, instruction: &Instruction, names: &[&Text]) {
        let (Some(name), Some(comment)) = (names.first(), instruction.comments.last()) else { return };
        let begins = comment.text.split(' ').next().unwrap_or_default();
        if names.iter().any(|name| name.text == begins) {
            return;
        }
        let shown = if names.len() > 1 { "<arg_key>" } else { &name.text };
        let message = format!("Comment for {what} should follow the format: `# {shown} <description>`");
        self.add("InvalidDefinitionDescription", instruction, comment.span, message);
    }

    fn stage_names(&mut self) {
        let mut seen = BTreeSet::new();
        for instruction in &self.file.instructions {
            let InstructionKind::From(From { stage_name: Some(name), .. }) = &instruction.kind else { continue };
            if matches!(name.text.as_str(), "scratch" | "context") {
                let message = format!("Stage name should not use the same name as reserved stage \"{}\"", name.text);
                self.add("ReservedStageName", instruction, name.span, message);
            }
            if !seen.insert(&name.text) {
                let message = format!("Duplicate stage name \"{}\", stage names should be unique", name.text);
                self.add("DuplicateStageName", instruction, name.span, message);
            }
        }
    }

    /// What stands before the first FROM neither votes nor is judged.
    fn casing(&mut self) {
        let is_arg = |instruction: &&Instruction| matches!(instruction.kind, InstructionKind::Arg(_));
        let instructions: Vec<&Instruction> = self.file.instructions.iter().skip_while(is_arg).collect();
        let count = |case| instructions.iter().filter(|one| case_of(&one.keyword_as_written) == Some(case)).count();
        let majority = if count(Case::Lower) > count(Case::Upper) { Case::Lower } else { Case::Upper };
        for instruction in instructions {
            let written = &instruction.keyword_as_written;
            if case_of(written) != Some(majority) {
                let message =
                    format!("Command '{written}' should match the case of the command majority ({})", majority.name());
                self.add("ConsistentInstructionCasing", instruction, instruction.name_span, message);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Case {
    Lower,
    Upper,
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Lower => "lowercase",
            Self::Upper => "uppercase",
        }
    }
}

/// The case that all letters of a keyword have.
fn case_of(word: &str) -> Option<Case> {
    match word {
        _ if word == word.to_lowercase() => Some(Case::Lower),
        _ if word == word.to_uppercase() => Some(Case::Upper),
        _ => None,
    }
}
