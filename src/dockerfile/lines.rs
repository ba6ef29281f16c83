//! Logical lines: physical lines joined at continuations, without the comments and blank lines between them.
//!
//! Each knows which bytes of the source its characters came from. Heredoc bodies are not lines; whoever
//! finds a heredoc in a line takes its body with [`Lines::take_body`] before asking for the next line.

use std::ops::Range;

use crate::diag::Diagnostic;
use crate::source::{SourceFile, SourceId, Span};

use super::instruction::{Comment, Text};

/// BuildKit reads no longer lines.
const LONGEST_LINE_BYTES: usize = 65_535;

/// One logical line.
#[derive(Clone, Debug, Default)]
pub(super) struct LogicalLine {
    /// The joined text.
    pub(super) text: String,
    source: SourceId,
    /// Where each part of `text` begins, there and in the source. Never empty.
    parts: Vec<(usize, usize)>,
    /// The block of comments that ends right above.
    pub(super) comments: Vec<Comment>,
    /// The first blank line inside.
    pub(super) blank: Option<Span>,
}

impl LogicalLine {
    /// Makes the span of a range of `text`.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let start = self.offset(range.start, false);
        // The end belongs to the part of the last character, not to the part after it.
        let end = if range.is_empty() { start } else { self.offset(range.end, true) };
        Span::new(self.source, start..end)
    }

    fn offset(&self, at: usize, is_end: bool) -> usize {
        let after = self.parts.partition_point(|(local, _)| if is_end { *local < at } else { *local <= at });
        let (local, source) = self.parts[after.saturating_sub(1)];
        source + (at - local)
    }

    /// Makes a text of a range.
    pub(super) fn word(&self, range: Range<usize>) -> Text {
        Text::new(&self.text[range.clone()], self.span(range))
    }

    /// Returns the range of `range` without white space around it.
    pub(super) fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let text = &self.text[range.clone()];
        let start = range.start + (text.len() - text.trim_start().len());
        start..start + text.trim().len()
    }

    fn push(&mut self, part: &str, offset: usize) {
        self.parts.push((self.text.len(), offset));
        self.text.push_str(part);
    }
}

/// Walks a source.
pub(super) struct Lines<'a> {
    source: SourceId,
    file: &'a SourceFile,
    at: usize,
    escape: char,
    /// Lines that are too long.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Bytes that are not UTF-8, where they would count.
    pub(super) not_utf8: Option<Diagnostic>,
}

/// The body of a heredoc.
pub(super) struct Body<'a> {
    /// The lines before the terminator, as they are.
    pub(super) text: &'a str,
    pub(super) span: Span,
    pub(super) is_terminated: bool,
}

impl<'a> Lines<'a> {
    /// Starts at `at`, behind the directives.
    pub(super) fn new(source: SourceId, file: &'a SourceFile, at: usize, escape: char) -> Self {
        Self { source, file, at, escape, diagnostics: Vec::new(), not_utf8: None }
    }

    /// Returns the lines read so far, from the start of `span` on.
    pub(super) fn since(&self, span: Span) -> Span {
        let read = self.file.text()[..self.at].trim_end_matches(['\r', '\n']).len();
        Span::new(self.source, span.start as usize..read.max(span.end as usize))
    }

    /// Takes one physical line with its ending; returns where it starts.
    fn physical(&mut self) -> Option<(usize, &'a str)> {
        let rest = &self.file.text()[self.at..];
        if rest.is_empty() {
            return None;
        }
        let start = self.at;
        let line = rest.find('\n').map_or(rest, |newline| &rest[..=newline]);
        self.at += line.len();
        if line.trim_end_matches('\n').len() > LONGEST_LINE_BYTES {
            let message = format!("dockerfile line greater than max allowed size of {LONGEST_LINE_BYTES}");
            let span = Span::new(self.source, start..start + 1);
            self.diagnostics.push(Diagnostic::error("line-too-long", span, message));
        }
        Some((start, line))
    }

    /// Takes the next logical line.
    pub(super) fn next(&mut self) -> Option<LogicalLine> {
        let mut comments = Vec::new();
        while let Some((start, line)) = self.physical() {
            let text = line.trim_start();
            let start = start + (line.len() - text.len());
            let text = text.trim_end_matches(['\r', '\n']);
            if let Some(comment) = text.strip_prefix('#') {
                let comment = comment.trim();
                let span = Span::new(self.source, start..start + text.len());
                match comment {
                    "" => comments.clear(),
                    _ => comments.push(Comment { text: comment.to_owned(), span }),
                }
            } else if !text.is_empty() {
                // Blank lines do not part comments from what they stand above.
                return Some(self.continued(start, text, comments));
            }
        }
        None
    }

    fn continued(&mut self, start: usize, first: &'a str, comments: Vec<Comment>) -> LogicalLine {
        let mut line = LogicalLine { source: self.source, comments, ..LogicalLine::default() };
        let (part, mut goes_on) = self.without_continuation(first);
        self.push(&mut line, part, start);
        while goes_on {
            let Some((start, physical)) = self.physical() else { break };
            let text = physical.trim_end_matches(['\r', '\n']);
            let trimmed = text.trim_start();
            if trimmed.starts_with('#') {
                continue;
            }
            if trimmed.is_empty() {
                line.blank.get_or_insert(Span::new(self.source, start..start + text.len()));
                continue;
            }
            let (part, more) = self.without_continuation(text);
            self.push(&mut line, part, start);
            goes_on = more;
        }
        line
    }

    fn push(&mut self, line: &mut LogicalLine, part: &str, start: usize) {
        self.must_be_utf8(start..start + part.len());
        line.push(part, start);
    }

    /// Comments may be in any encoding; what ends up in an image must not be changed without a word.
    fn must_be_utf8(&mut self, range: Range<usize>) {
        if self.not_utf8.is_some() {
            return;
        }
        self.not_utf8 = self.file.first_not_utf8(range).map(|at| {
            let span = Span::new(self.source, at..at + char::REPLACEMENT_CHARACTER.len_utf8());
            let error = Diagnostic::error("not-utf8", span, "the Dockerfile is not UTF-8 here");
            error.with_help("save the file as UTF-8")
        });
    }

    /// Cuts an escape character at the end, with the blanks behind it. One that has another directly before it
    /// is an ordinary character, however many there are.
    fn without_continuation(&self, line: &'a str) -> (&'a str, bool) {
        let cut = line.trim_end_matches([' ', '\t']).strip_suffix(self.escape);
        cut.filter(|rest| !rest.ends_with(self.escape)).map_or((line, false), |rest| (rest, true))
    }

    /// Takes lines up to one that is `terminator`; without one, everything that is left.
    pub(super) fn take_body(&mut self, terminator: &str, strips_tabs: bool) -> Body<'a> {
        let start = self.at;
        loop {
            let end = self.at;
            let line = self.physical();
            let is_terminated = line.is_some_and(|(_, line)| {
                let line = line.trim_end_matches(['\r', '\n']);
                let line = if strips_tabs { line.trim_start_matches('\t') } else { line };
                line == terminator
            });
            if is_terminated || line.is_none() {
                let span = Span::new(self.source, start..end);
                self.must_be_utf8(start..end);
                return Body { text: &self.file.text()[start..end], span, is_terminated };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[&str]) {
        let file = SourceFile::new("Dockerfile", text);
        let mut lines = Lines::new(SourceId(0), &file, 0, '\\');
        let got: Vec<String> = std::iter::from_fn(|| lines.next()).map(|line| line.text).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn lines_are_joined() {
        check("a \\\n  b\\ \t\n# no \\\n\nc\n\nd\r\n", &["a   bc", "d"]);
        check("a\\\\\nb\\", &["a\\\\", "b"]);
        check("a\\\r\nb\r\n", &["ab"]);
        check("\\\n  RUN x\n \\\n", &["  RUN x", ""]);
        check("", &[]);
    }

    #[test]
    fn spans_see_through_continuations() {
        let text = "  RUN ab\\\n  cd\n";
        let file = SourceFile::new("Dockerfile", text);
        let line = Lines::new(SourceId(0), &file, 0, '\\').next().expect("has a line");
        assert_eq!(line.text, "RUN ab  cd");
        assert_eq!(&text[line.span(4..6).range()], "ab");
        assert_eq!(&text[line.span(5..10).range()], "b\\\n  cd");
        assert_eq!(&text[line.span(8..10).range()], "cd");
    }

    #[test]
    fn comments_above_belong_to_a_line() {
        let file = SourceFile::new("Dockerfile", "# far\n#\n# a\n\n#  b \nFROM x\nRUN y");
        let mut lines = Lines::new(SourceId(0), &file, 0, '\\');
        let texts: Vec<_> = lines.next().expect("has a line").comments.into_iter().map(|c| c.text).collect();
        assert_eq!(texts, ["a", "b"]);
        assert!(lines.next().expect("has a line").comments.is_empty());
    }
}
