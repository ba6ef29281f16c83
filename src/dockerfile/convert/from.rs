//! FROM.

use std::ops::Range;

use crate::diag::Diagnostic;

use super::super::instruction::{From, InstructionKind, Text};
use super::super::lines::LogicalLine;
use super::super::parse;
use super::Line;
use super::flags::Holds;

impl Line<'_> {
    pub(super) fn from(&self) -> Result<InstructionKind, Diagnostic> {
        let flags = self.flags(&[("platform", Holds::Text)])?;
        let words: Vec<Text> = parse::plain_words(self.text()).iter().map(|word| self.word(word)).collect();
        let (reference, name) = match <[Text; 3]>::try_from(words) {
            Ok([reference, keyword, name]) if keyword.text.eq_ignore_ascii_case("as") => {
                (reference, Some((keyword, stage_name(&name)?)))
            }
            Err(mut words) if words.len() == 1 => (words.remove(0), None),
            _ => return Err(self.requires("either one or three arguments").with_help("FROM image [AS name]")),
        };
        let (as_keyword, stage_name) = name.unzip();
        Ok(InstructionKind::From(From { platform: flags.text("platform"), reference, as_keyword, stage_name }))
    }
}

/// Stands for a FROM that cannot be read: an empty stage, of the name that it seems to have.
pub(super) fn unread(line: &LogicalLine, arguments: Range<usize>) -> InstructionKind {
    let written = |word: &Range<usize>| &line.text[arguments.start + word.start..arguments.start + word.end];
    let words = parse::plain_words(&line.text[arguments.clone()]);
    let keyword = words.iter().rposition(|word| written(word).eq_ignore_ascii_case("as"));
    let name = match keyword {
        Some(keyword) => words.get(keyword + 1),
        None => words.last().filter(|_| words.len() > 1),
    };
    let name = name.map(|word| {
        let span = line.span(arguments.start + word.start..arguments.start + word.end);
        Text::new(written(word).to_lowercase(), span)
    });
    let reference = Text::new("scratch", line.span(arguments.clone()));
    InstructionKind::From(From { platform: None, reference, as_keyword: None, stage_name: name })
}

/// Checks a stage's name and makes it lower case: letters, digits, `-`, `_` and `.`, a letter first.
fn stage_name(written: &Text) -> Result<Text, Diagnostic> {
    let name = written.text.to_lowercase();
    let is_valid = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if is_valid {
        return Ok(Text::new(name, written.span));
    }
    let message =
        format!("invalid name for build stage: {:?}, name can't start with a number or contain symbols", written.text);
    Err(Diagnostic::error("stage-name", written.span, message))
}
