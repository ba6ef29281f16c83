//! The frame that users see: the message, the lines it is about with marks under the very characters, and help.
//!
//! A place on one line gets carets. A place that goes over several lines (an instruction with continuations, a
//! heredoc) is shown line by line, marked by `>` in place of `|`. Columns are those of a terminal: a tab counts
//! four, a wide character two, and what could move or hide text is shown as `U+FFFD`.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

use super::{Diagnostic, Severity};
use crate::source::{SourceFile, Sources, Span};

/// The longest line shown, in columns; longer ones are cut.
const LINE_WIDTH: usize = 160;
/// How much is shown before a place that is too far to the right.
const CONTEXT_WIDTH: usize = 40;
/// How many lines of one place are shown; the last one is always among them.
const MOST_LINES: u32 = 8;
/// What stands for a tab.
const TAB: &str = "    ";

/// Renders `diagnostic` as the frame of [`super`], ending in a newline; `color` adds ANSI colours.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, color: bool) -> String {
    let (word, ansi) = match diagnostic.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
    };
    let notes = diagnostic.notes.iter().map(|note| note.span);
    let last_line = |span: Span| Place::of(span, sources).last;
    let widest = diagnostic.span.into_iter().chain(notes).map(last_line).max();
    let mut frame = Frame { text: String::new(), gutter: widest.map_or(0, |line| line.to_string().len()), color };
    let head = frame.paint(ansi, &format!("{word}[{}]", diagnostic.code));
    let _ = writeln!(frame.text, "{head}: {}", said(&diagnostic.message));
    let mut shown_file = None;
    if let Some(span) = diagnostic.span {
        frame.heading(&Place::of(span, sources));
        frame.place(&Place::of(span, sources), '^', &said(diagnostic.label.as_deref().unwrap_or("")), ansi);
        shown_file = Some(span.source);
    }
    for note in &diagnostic.notes {
        if shown_file.replace(note.span.source) != Some(note.span.source) {
            frame.heading(&Place::of(note.span, sources));
        }
        frame.place(&Place::of(note.span, sources), '-', &said(&note.message), "1;34");
    }
    for help in &diagnostic.help {
        let word = frame.paint("1;36", "help");
        let _ = writeln!(frame.text, "{:width$} = {word}: {}", "", said(help), width = frame.gutter);
    }
    frame.text
}

/// The lines of a span, from 1.
struct Place<'a> {
    file: &'a SourceFile,
    first: u32,
    last: u32,
    span: Span,
}

impl<'a> Place<'a> {
    fn of(span: Span, sources: &'a Sources) -> Self {
        let file = sources.get(span.source);
        let (first, last) = file.lines_of(span);
        Self { file, first, last, span }
    }
}

struct Frame {
    text: String,
    /// Columns of the line numbers.
    gutter: usize,
    color: bool,
}

impl Frame {
    fn paint(&self, ansi: &str, text: &str) -> String {
        if self.color { format!("\x1b[{ansi}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn heading(&mut self, place: &Place<'_>) {
        let name = printable(place.file.name());
        let (line, column) = (place.first, place.file.column_of(place.span.start));
        let _ = writeln!(self.text, "{:width$}--> {name}:{line}:{column}", "", width = self.gutter);
    }

    fn place(&mut self, place: &Place<'_>, mark: char, message: &str, ansi: &str) {
        if place.first == place.last {
            return self.line_with_marks(place, mark, message, ansi);
        }
        let bar = self.paint(ansi, ">");
        let width = self.gutter;
        for line in place.first..=place.last {
            if place.last - place.first >= MOST_LINES && (place.first + MOST_LINES - 2..place.last).contains(&line) {
                if line + 1 == place.last {
                    let _ = writeln!(self.text, "{:width$} {bar} ...", "");
                }
                continue;
            }
            let (shown, _) = cut(place.file.line(line), 0..0);
            let _ = writeln!(self.text, "{line:>width$} {bar} {shown}");
        }
        if !message.is_empty() {
            let _ = writeln!(self.text, "{:width$} | {}", "", self.paint(ansi, message));
        }
    }

    fn line_with_marks(&mut self, place: &Place<'_>, mark: char, message: &str, ansi: &str) {
        let text = place.file.line(place.first);
        let start = place.span.start as usize - place.file.start_of(place.first);
        let end = (place.span.end as usize).saturating_sub(place.file.start_of(place.first));
        let (shown, marked) = cut(text, start.min(text.len())..end.clamp(start.min(text.len()), text.len()));
        let marks = mark.to_string().repeat(marked.len().max(1));
        let marks = if message.is_empty() { marks } else { format!("{marks} {message}") };
        let (line, width, pad) = (place.first, self.gutter, marked.start);
        let _ = writeln!(self.text, "{line:>width$} | {shown}");
        let _ = writeln!(self.text, "{:width$} | {:pad$}{}", "", "", self.paint(ansi, &marks));
    }
}

/// Returns the part of a line that is shown, and the columns of it that the bytes of `range` take.
fn cut(text: &str, range: std::ops::Range<usize>) -> (String, std::ops::Range<usize>) {
    let columns_to = |end: usize| -> usize { text[..text.floor_char_boundary(end)].chars().map(columns).sum() };
    let (start, end) = (columns_to(range.start), columns_to(range.end));
    // What is far to the right is shown with the text before it cut away.
    let skip = if end > LINE_WIDTH { start.saturating_sub(CONTEXT_WIDTH) } else { 0 };
    let (mut shown, mut at, mut skipped) = (String::new(), 0, 0);
    for character in text.chars() {
        if at < skip {
            skipped = at + columns(character);
        } else if at + columns(character) <= skip + LINE_WIDTH {
            push_printable(&mut shown, character);
        }
        at += columns(character);
    }
    (shown.trim_end().to_owned(), start - skipped..end.min(skipped + LINE_WIDTH).max(start) - skipped)
}

/// How wide a character is shown.
fn columns(character: char) -> usize {
    match character {
        '\t' => TAB.len(),
        other if is_unsafe(other) => 1,
        other => other.width().unwrap_or(1),
    }
}

fn push_printable(shown: &mut String, character: char) {
    match character {
        '\t' => shown.push_str(TAB),
        other if is_unsafe(other) => shown.push('\u{fffd}'),
        other => shown.push(other),
    }
}

/// Control characters, and those that turn the direction of text, would move the marks, or lie about the text.
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The words of a message, which may be those of a registry or of an archive; its lines stay.
fn said(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Returns `text` with everything that could move or hide text replaced; tabs are kept.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character != '\t' && is_unsafe(character) { '\u{fffd}' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceId;

    /// A frame about what stands between `[` and `]` of `text`.
    fn frame(text: &str) -> String {
        let (start, end) = (text.find('[').expect("a start"), text.find(']').expect("an end") - 1);
        let mut sources = Sources::default();
        sources.add(SourceFile::new("f", text.replace(['[', ']'], "")));
        let diagnostic = Diagnostic::error("code", Span::new(SourceId(0), start..end), "what").with_label("here");
        render(&diagnostic, &sources, false)
    }

    #[test]
    fn what_others_say_moves_nothing() {
        let mut sources = Sources::default();
        sources.add(SourceFile::new("Docker\u{9b}file", "FROM a\n"));
        let span = Span::new(SourceId(0), 0..4);
        let evil = "said \u{1b}]0;x\u{7}\u{9b}2J\r\u{202e}\nand more";
        let diagnostic = Diagnostic::error("code", span, evil).with_label(evil).with_note(span, evil).with_help(evil);
        let shown = render(&diagnostic, &sources, false);
        assert!(!shown.contains(|character| character != '\n' && is_unsafe(character)), "{shown:?}");
        assert!(
            shown.starts_with("error[code]: said \u{fffd}]0;x\u{fffd}\u{fffd}2J\u{fffd}\u{fffd}\nand more\n"),
            "{shown:?}"
        );
    }

    #[test]
    fn a_frame_shows_line_caret_note_and_help() {
        let mut sources = Sources::default();
        sources.add(SourceFile::new("Dockerfile", "FROM rust:1 AS builder\nCOPY --from=biulder /a /b\n"));
        sources.add(SourceFile::new(".dockerignore", "x\n*.log\n"));
        let at = |source, range| Span::new(SourceId(source), range);
        let diagnostic = Diagnostic::error("unknown-stage", at(0, 35..42), "no stage named `biulder`")
            .with_note(at(0, 15..22), "did you mean `builder`?")
            .with_note(at(1, 2..7), "and this")
            .with_help("name a stage");
        let want = "\
error[unknown-stage]: no stage named `biulder`
 --> Dockerfile:2:13
2 | COPY --from=biulder /a /b
  |             ^^^^^^^
1 | FROM rust:1 AS builder
  |                ------- did you mean `builder`?
 --> .dockerignore:2:1
2 | *.log
  | ----- and this
  = help: name a stage
";
        assert_eq!(render(&diagnostic, &sources, false), want);
        assert!(render(&diagnostic, &sources, true).starts_with("\x1b[1;31merror[unknown-stage]\x1b[0m: no"));
    }

    #[test]
    fn carets_stand_under_what_they_mean() {
        for (text, want) in [
            ("COPY [a] b\n", "1 | COPY a b\n  |      ^ here\n"),
            ("\tRUN\t[x]\n", "1 |     RUN    x\n  |            ^ here\n"),
            ("RUN 日本 [語]\n", "1 | RUN 日本 語\n  |          ^^ here\n"),
            ("RUN e\u{301} [x]\n", "1 | RUN e\u{301} x\n  |       ^ here\n"),
            ("A \u{202e}\x1b[x]\n", "1 | A \u{fffd}\u{fffd}x\n  |     ^ here\n"),
            ("FROM[]\n", "1 | FROM\n  |     ^ here\n"),
        ] {
            assert_eq!(frame(text), format!("error[code]: what\n --> f:1:{}\n{want}", column(text)));
        }
    }

    fn column(text: &str) -> usize {
        text[..text.find('[').expect("a start")].chars().count() + 1
    }

    #[test]
    fn what_goes_over_lines_is_marked_line_by_line() {
        let want = "error[code]: what\n --> f:2:1\n2 > RUN a \\\n3 >   b\n  | here\n";
        assert_eq!(frame("FROM x\n[RUN a \\\n  b]\nCMD c\n"), want);
        let long = format!("[RUN <<E{}\nE]\n", "\nx".repeat(20));
        let shown = frame(&long);
        assert!(shown.contains(" 6 > x\n   > ...\n22 > E\n"), "{shown}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let shown = frame(&format!("{}[yy]{}", "x".repeat(300), "z".repeat(300)));
        let lines: Vec<&str> = shown.lines().skip(2).collect();
        assert!(lines[0].starts_with(&format!("1 | {}yyzz", "x".repeat(40))) && lines[0].len() == 164, "{shown}");
        assert_eq!(lines[1], format!("  | {}^^ here", " ".repeat(40)));
        let all = frame(&format!("[{}]", "x".repeat(300)));
        assert!(all.ends_with(&format!("{} here\n", "^".repeat(160))), "{all}");
    }
}
