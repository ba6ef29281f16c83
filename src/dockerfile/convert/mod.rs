//! From a logical line to a typed instruction: one file per family of instructions.
//!
//! Each converter gets a [`Line`] and gives the instruction's kind, or the one diagnostic that says why not.

mod assign;
mod command;
mod flags;
mod from;
mod onbuild;
mod run;
mod transfer;
mod words;

use std::ops::Range;

use crate::diag::{Diagnostic, nearest, suggestion};
use crate::source::Span;

use super::heredoc::{self, Taken};
use super::instruction::{Instruction, InstructionKind, Text};
use super::lines::{Lines, LogicalLine};
use super::parse::{self, FlagWord};

/// All instructions.
const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A line cut into name, flags and arguments, with its heredocs taken. All ranges are of the logical line.
pub(super) struct Line<'a> {
    logical: &'a LogicalLine,
    /// In capitals.
    name: &'static str,
    name_range: Range<usize>,
    flags: Vec<FlagWord>,
    /// What follows the flags, without white space around it.
    arguments: Range<usize>,
    heredocs: Vec<Taken>,
    escape: char,
}

/// A line that cannot be read.
pub(super) struct Unread {
    pub(super) mistake: Diagnostic,
    /// What stands in place of a FROM, so that the stages of the file can still be told apart.
    pub(super) stage: Option<Box<Instruction>>,
}

/// Reads the instruction on `logical`, and its heredocs from `lines`.
pub(super) fn instruction(logical: LogicalLine, lines: &mut Lines<'_>, escape: char) -> Result<Instruction, Unread> {
    let whole = logical.trimmed(0..logical.text.len());
    let (name_range, arguments) = parse::head(&logical.text).unwrap_or((whole.clone(), whole.end..whole.end));
    let written = &logical.text[name_range.clone()];
    let known = NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(written));
    let near = known.or_else(|| nearest(written, NAMES));
    let (flags, after_flags) = flags_of(&logical, arguments.clone(), escape);
    let arguments = logical.trimmed(after_flags..arguments.end);
    // A mistyped RUN still has its heredocs, else each line of a body would be a mistake too.
    let heredocs = heredoc::take(lines, &logical, near.unwrap_or_default(), arguments.clone(), escape);
    let kind = match known {
        None => Err(unknown_instruction(written, near, logical.span(name_range.clone()))),
        Some(name) => heredocs.and_then(|heredocs| {
            let (name_range, arguments) = (name_range.clone(), arguments.clone());
            Line { logical: &logical, name, name_range, flags, arguments, heredocs, escape }.kind()
        }),
    };
    let (kind, mistake) = match kind {
        Ok(kind) => (kind, None),
        Err(mistake) if near == Some("FROM") => (from::unread(&logical, arguments), Some(mistake)),
        Err(mistake) => return Err(Unread { mistake, stage: None }),
    };
    let instruction = Instruction {
        span: logical.span(whole.clone()),
        lines: lines.since(logical.span(whole.clone())),
        name_span: logical.span(name_range.clone()),
        keyword_as_written: logical.text[name_range].to_owned(),
        original: logical.text[whole].to_owned(),
        blank_continuation: logical.blank,
        comments: logical.comments,
        kind,
    };
    match mistake {
        None => Ok(instruction),
        Some(mistake) => {
            // No lint rule is to say anything about it.
            let stage = Instruction { comments: Vec::new(), blank_continuation: None, ..instruction };
            Err(Unread { mistake, stage: Some(Box::new(stage)) })
        }
    }
}

/// Reads the flags at the start of `arguments`, and says where what follows begins.
fn flags_of(logical: &LogicalLine, arguments: Range<usize>, escape: char) -> (Vec<FlagWord>, usize) {
    let base = arguments.start;
    let (mut flags, after) = parse::flags(&logical.text[arguments], escape);
    for flag in &mut flags {
        flag.range = base + flag.range.start..base + flag.range.end;
        if let Some(value) = &mut flag.value {
            value.range = base + value.range.start..base + value.range.end;
        }
    }
    (flags, base + after)
}

fn unknown_instruction(written: &str, near: Option<&str>, span: Span) -> Diagnostic {
    let message = format!("unknown instruction: {written}{}", suggestion(written, near));
    let error = Diagnostic::error("unknown-instruction", span, message);
    if written.is_empty() { error.with_label("goes on, but nothing follows") } else { error }
}

impl Line<'_> {
    fn kind(&self) -> Result<InstructionKind, Diagnostic> {
        match self.name {
            "ADD" => self.add(),
            "ARG" => self.arg(),
            "CMD" => self.cmd(),
            "COPY" => self.copy(),
            "ENTRYPOINT" => self.entrypoint(),
            "ENV" => self.env(),
            "EXPOSE" => self.expose(),
            "FROM" => self.from(),
            "HEALTHCHECK" => self.healthcheck(),
            "LABEL" => self.label(),
            "MAINTAINER" => self.maintainer(),
            "ONBUILD" => self.onbuild(),
            "RUN" => self.run(),
            "SHELL" => self.shell(),
            "STOPSIGNAL" => self.stop_signal(),
            "USER" => self.user(),
            "VOLUME" => self.volume(),
            _ => self.workdir(),
        }
    }

    fn text(&self) -> &str {
        &self.logical.text[self.arguments.clone()]
    }

    /// Moves a range of [`Line::text`] to the logical line.
    fn shifted(&self, range: &Range<usize>) -> Range<usize> {
        self.arguments.start + range.start..self.arguments.start + range.end
    }

    /// Makes a text of a range of [`Line::text`].
    fn word(&self, range: &Range<usize>) -> Text {
        self.logical.word(self.shifted(range))
    }

    /// The span of the arguments, or of the name when there are none.
    fn arguments_span(&self) -> Span {
        if self.arguments.is_empty() { self.name_span() } else { self.logical.span(self.arguments.clone()) }
    }

    fn name_span(&self) -> Span {
        self.logical.span(self.name_range.clone())
    }

    /// An error about how many arguments there are: `NAME requires ...`.
    fn requires(&self, what: &str) -> Diagnostic {
        Diagnostic::error("arguments", self.arguments_span(), format!("{} requires {what}", self.name))
    }

    /// Reads the arguments as words of a JSON array, or else as plain words. True for JSON.
    fn word_list(&self) -> Result<(Vec<Text>, bool), Diagnostic> {
        if let Some(words) = self.json(&(0..self.text().len()))? {
            return Ok((words, true));
        }
        Ok((parse::plain_words(self.text()).iter().map(|word| self.word(word)).collect(), false))
    }

    /// Reads a range of [`Line::text`] as a JSON array of strings; `None` when it is no JSON array at all.
    fn json(&self, range: &Range<usize>) -> Result<Option<Vec<Text>>, Diagnostic> {
        let text = &self.text()[range.clone()];
        if !text.trim_start().starts_with('[') {
            return Ok(None);
        }
        if let Some(words) = parse::json_strings(text) {
            let word = |word: parse::Word| {
                let at = range.start + word.range.start..range.start + word.range.end;
                Text::new(word.text, self.logical.span(self.shifted(&at)))
            };
            return Ok(Some(words.into_iter().map(word).collect()));
        }
        // Any other array is an error; what is no JSON at all is left to the shell.
        match serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text) {
            Ok(_) => {
                let message = "when using JSON array syntax, arrays must be comprised of strings only";
                Err(Diagnostic::error("json-strings", self.logical.span(self.shifted(range)), message))
            }
            Err(_) => Ok(None),
        }
    }
}
