//! Diagnostics: errors and warnings that point at bytes of a source.
//!
//! A [`Diagnostic`] is plain data, made by the parser, the planner, the linter and (for a failed step) the
//! solver. [`render`] turns it into the one frame that users see; JSON progress reads the same fields.
//!
//! ```text
//! error[unknown-stage]: no stage named `biulder` comes before this line
//!   --> Dockerfile:9:13
//!  9 | COPY --from=biulder /out/app /app
//!    |             ^^^^^^^
//!  1 | FROM rust:1 AS builder
//!    |                ------- did you mean `builder`?
//!   = help: ...
//! ```

mod frame;

use std::fmt::Write as _;

use crate::source::Span;

pub use frame::{is_unsafe, printable, render};

/// How bad it is. Only errors end a build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The build cannot go on.
    Error,
    /// The build goes on.
    Warning,
}

/// A second place that helps to understand the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What about it.
    pub message: String,
}

/// One error or warning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Short and stable, for example `unknown-instruction`; lint rules use BuildKit's rule names.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// The bytes it is about.
    pub span: Option<Span>,
    /// The whole instruction `span` is a part of: what is named where only lines can be named.
    pub lines: Option<Span>,
    /// Shown behind the carets.
    pub label: Option<String>,
    /// Other places.
    pub notes: Vec<Label>,
    /// What to do, a line each.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// Makes an error at `span`.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, Some(span), message.into())
    }

    /// Makes a warning at `span`.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, Some(span), message.into())
    }

    /// Makes an error about the whole file.
    pub fn whole_file(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, None, message.into())
    }

    fn new(code: &'static str, severity: Severity, span: Option<Span>, message: String) -> Self {
        Self { code, severity, message, span, lines: None, label: None, notes: Vec::new(), help: Vec::new() }
    }

    /// Adds the text behind the carets.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn with_note(mut self, span: Span, message: impl Into<String>) -> Self {
        self.notes.push(Label { span, message: message.into() });
        self
    }

    /// Adds a line of help.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
}

/// Returns an error and those below it in one line. What a message quotes already is not said again.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        add_cause(&mut text, &cause.to_string());
        below = cause.source();
    }
    text
}

/// Adds a cause to the line that tells of an error, unless it is in it.
pub fn add_cause(text: &mut String, cause: &str) {
    if !text.contains(cause) {
        let _ = write!(text, ": {cause}");
    }
}

/// Returns ` (did you mean X?)` for the candidate nearest to `word`, or nothing.
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}

/// Returns the candidate nearest to `word`, if fewer than three edits away (BuildKit's rule). Two letters exchanged are
/// one edit.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let scored = candidates.into_iter().map(|candidate| (edit_distance(&word, &candidate.to_lowercase()), candidate));
    scored.filter(|(distance, _)| *distance < 3).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// The optimal string alignment distance: letters added, left out, replaced, or exchanged with their neighbour.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 12 || a.len() > 1000 {
        return usize::MAX;
    }
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            next[j] = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("RUNN", ["COPY", "RUN"]), Some("RUN"));
        assert_eq!(nearest("XYZZY", ["COPY", "RUN"]), None);
        assert_eq!(nearest("chwon", ["chmod", "chown"]), Some("chown"));
        assert_eq!(nearest("", ["ab", "a"]), Some("a"));
    }
}
