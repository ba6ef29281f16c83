//! Heredocs: which lines may have them, and the bodies behind the line, first named first taken.

use std::ops::Range;

use crate::diag::Diagnostic;

use super::instruction::{Heredoc, Text};
use super::lines::{Lines, LogicalLine};
use super::parse;

/// A heredoc with what only the reading of its line needs.
pub(super) struct Taken {
    pub(super) heredoc: Heredoc,
    /// The body with its leading tabs.
    pub(super) raw: String,
    /// The word, in the logical line.
    pub(super) range: Range<usize>,
}

/// Takes the bodies of the heredocs in `arguments` of an instruction called `name`, all of them, even if one is
/// not terminated: then nothing is left to read, and that is the error.
pub(super) fn take(
    lines: &mut Lines<'_>,
    line: &LogicalLine,
    name: &str,
    arguments: Range<usize>,
    escape: char,
) -> Result<Vec<Taken>, Diagnostic> {
    if !may_have(name, &line.text[arguments.clone()], escape) {
        return Ok(Vec::new());
    }
    let mut unterminated = None;
    let mut taken = Vec::new();
    for word in parse::heredocs(&line.text[arguments.clone()]) {
        let range = arguments.start + word.range.start..arguments.start + word.range.end;
        let span = line.span(range.clone());
        let body = lines.take_body(&word.name, word.strips_tabs);
        if !body.is_terminated && unterminated.is_none() {
            let missing = format!("no later line is exactly `{}`", word.name);
            unterminated = Some(Diagnostic::error("heredoc", span, "unterminated heredoc").with_label(missing));
        }
        let text = if word.strips_tabs { without_tabs(body.text) } else { body.text.to_owned() };
        let name = Text::new(word.name, span);
        let heredoc = Heredoc { name, body: text, body_span: body.span, expand: !word.is_quoted };
        taken.push(Taken { heredoc, raw: body.text.to_owned(), range });
    }
    unterminated.map_or(Ok(taken), Err)
}

/// RUN, COPY and ADD in shell form, and ONBUILD of these.
fn may_have(name: &str, arguments: &str, escape: char) -> bool {
    match name {
        "RUN" | "COPY" | "ADD" => arguments.contains("<<") && parse::json_strings(arguments).is_none(),
        "ONBUILD" => parse::head(arguments).is_some_and(|(name, rest)| {
            let (name, rest) = (arguments[name].to_uppercase(), &arguments[rest]);
            let (_, after_flags) = parse::flags(rest, escape);
            name != "ONBUILD" && may_have(&name, rest[after_flags..].trim(), escape)
        }),
        _ => false,
    }
}

fn without_tabs(body: &str) -> String {
    body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}
