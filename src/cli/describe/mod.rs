//! What `--check` and `--call` print, as `docker buildx build` prints it: tables and excerpts for people, JSON of
//! BuildKit's subrequests for programs.

mod check;
mod outline;
mod targets;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::builder::CallReport;
use crate::source::{SourceFile, SourceId, Sources, Span};

/// A report as text.
pub(super) struct Description {
    /// For standard output, with a final newline.
    pub(super) text: String,
    /// For standard error: why the Dockerfile cannot be built.
    pub(super) error: String,
    /// Whether lint rules found something.
    pub(super) has_warnings: bool,
}

/// Writes a report as text for people, or as JSON.
pub(super) fn describe(report: &CallReport, sources: &Sources, as_json: bool, color: bool) -> Description {
    let (mut error, mut has_warnings) = (String::new(), false);
    let text = match report {
        CallReport::Check { warnings, error: failure } => {
            has_warnings = !warnings.is_empty();
            error = failure.as_ref().map(|failure| check::error(failure, sources, color)).unwrap_or_default();
            if as_json {
                check::json(warnings, failure.as_deref(), sources)
            } else {
                check::text(warnings, failure.is_some(), sources)
            }
        }
        CallReport::Outline(outline) if as_json => outline::json(outline, sources),
        CallReport::Outline(outline) => outline::text(outline),
        CallReport::Targets(targets) if as_json => targets::json(targets, sources),
        CallReport::Targets(targets) => targets::text(targets),
    };
    Description { text, error, has_warnings }
}

/// The Dockerfile, which was read first.
fn dockerfile(sources: &Sources) -> &SourceFile {
    sources.get(SourceId(0))
}

fn in_base64(file: &SourceFile) -> String {
    STANDARD.encode(file.text())
}

/// Two blanks to a level, and what means something in HTML escaped, as Go writes JSON.
fn pretty(value: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(value).expect("plain data has a JSON form");
    let mut out = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out + "\n"
}

/// Where something is: BuildKit's `pb.Location`, a range for each line.
#[derive(Serialize)]
struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

#[derive(Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Serialize)]
struct Position {
    line: u32,
}

impl Location {
    fn of(span: Option<Span>, sources: &Sources) -> Self {
        let lines = span.map(|span| {
            let file = sources.get(span.source);
            file.line_of(span.start)..=file.line_of(span.end.saturating_sub(1).max(span.start))
        });
        let range = |line| Range { start: Position { line }, end: Position { line } };
        Self { ranges: lines.into_iter().flatten().map(range).collect() }
    }
}

/// Rows of cells, each but the last filled up to the widest of its column and `gap` more.
fn columns(rows: &[Vec<&str>], gap: usize) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + gap
    };
    let mut text = String::new();
    for row in rows {
        let (last, others) = row.split_last().expect("a row has cells");
        for (column, cell) in others.iter().enumerate() {
            let _ = write!(text, "{cell:width$}", width = width(column));
        }
        text.push_str(last);
        text.push('\n');
    }
    text
}
