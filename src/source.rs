//! Source texts and spans: which bytes of which file a value came from.
//!
//! A build reads one Dockerfile, and the ONBUILD triggers of its base images, each of which is a source
//! of its own. A [`Span`] is twelve bytes, `Copy`, made when the text is parsed and carried to the last error.

use std::ops::Range;

/// Which source of a [`Sources`] a span points into.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SourceId(pub u32);

/// A range of bytes in one source; `start == end` marks a place between bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span {
    /// The source the bytes are in.
    pub source: SourceId,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// Makes the span of `range` in `source`.
    pub fn new(source: SourceId, range: Range<usize>) -> Self {
        Self { source, start: clamp(range.start), end: clamp(range.end) }
    }

    /// Returns the bytes covered, as a range to index the source's text with.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Returns the smallest span that covers both (of one source).
    pub fn to(self, other: Span) -> Self {
        Self { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

fn clamp(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// One text with its name, as shown in diagnostics.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: String,
    text: String,
    line_starts: Vec<u32>,
    not_utf8: Vec<u32>,
}

impl SourceFile {
    /// Takes a text under `name`. Bytes that are not UTF-8 are replaced, and their places kept.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let (text, not_utf8) = decode(bytes.into());
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| clamp(at + 1));
        let line_starts = std::iter::once(0).chain(newlines).collect();
        Self { name: name.into(), text, line_starts, not_utf8 }
    }

    /// Returns the name, for example `Dockerfile`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns where in `range` of the text the first replacement stands for bytes that are not UTF-8.
    pub fn first_not_utf8(&self, range: Range<usize>) -> Option<usize> {
        let first = self.not_utf8.partition_point(|offset| (*offset as usize) < range.start);
        self.not_utf8.get(first).map(|offset| *offset as usize).filter(|offset| *offset < range.end)
    }

    /// Returns the line (from 1) that holds the byte at `offset`.
    pub fn line_of(&self, offset: u32) -> u32 {
        clamp(self.line_starts.partition_point(|start| *start <= offset))
    }

    /// Returns the column (from 1, in characters) of the byte at `offset`.
    pub fn column_of(&self, offset: u32) -> u32 {
        let start = self.line_range(self.line_of(offset)).start;
        let end = self.text.floor_char_boundary(offset as usize).max(start);
        clamp(self.text[start..end].chars().count() + 1)
    }

    /// Returns the text of `line` (from 1) without its line ending; empty past the end.
    pub fn line(&self, line: u32) -> &str {
        self.text[self.line_range(line)].trim_end_matches(['\r', '\n'])
    }

    /// Returns the first and the last line (from 1) that hold a byte of `span`.
    pub fn lines_of(&self, span: Span) -> (u32, u32) {
        let first = self.line_of(span.start);
        (first, self.line_of(span.end.saturating_sub(1)).max(first))
    }

    /// Returns the offset of the first byte of `line` (from 1).
    pub fn start_of(&self, line: u32) -> usize {
        self.line_range(line).start
    }

    /// Returns the span of `line` (from 1) without blanks around it; `id` is that of this file.
    pub fn span_of_line(&self, id: SourceId, line: u32) -> Span {
        let text = self.line(line);
        let start = self.start_of(line) + text.len() - text.trim_start().len();
        Span::new(id, start..start + text.trim().len())
    }

    /// Returns how many lines there are; a final newline does not start another.
    pub fn line_count(&self) -> u32 {
        let count = clamp(self.line_starts.len());
        if self.text.is_empty() || self.text.ends_with('\n') { count - 1 } else { count }
    }

    fn line_range(&self, line: u32) -> Range<usize> {
        let at = |line: u32| self.line_starts.get(line as usize).map_or(self.text.len(), |start| *start as usize);
        at(line.saturating_sub(1))..at(line)
    }
}

/// Replaces what is not UTF-8; also returns where the replacements are.
fn decode(bytes: Vec<u8>) -> (String, Vec<u32>) {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return (text, Vec::new()),
        Err(error) => error.into_bytes(),
    };
    let (mut text, mut replaced) = (String::with_capacity(bytes.len()), Vec::new());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            replaced.push(clamp(text.len()));
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    (text, replaced)
}

/// All sources of one build; the Dockerfile is the first.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<SourceFile>);

impl Sources {
    /// Adds a source, unless it is there already, and returns its id.
    pub fn add(&mut self, file: SourceFile) -> SourceId {
        if let Some(known) = self.0.iter().position(|known| known.name == file.name && known.text == file.text) {
            return SourceId(clamp(known));
        }
        self.0.push(file);
        SourceId(clamp(self.0.len() - 1))
    }

    /// Returns a source by an id that [`Sources::add`] of this value returned.
    pub fn get(&self, id: SourceId) -> &SourceFile {
        &self.0[id.0 as usize]
    }

    /// Returns how many there are: the id of the next one.
    pub fn next_id(&self) -> SourceId {
        SourceId(clamp(self.0.len()))
    }

    /// Returns the text a span covers.
    pub fn text(&self, span: Span) -> &str {
        self.get(span.source).text().get(span.range()).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let file = SourceFile::new("f", "ab\né d\n");
        assert_eq!((file.line_of(0), file.column_of(1)), (1, 2));
        assert_eq!((file.line_of(3), file.column_of(5)), (2, 2));
        assert_eq!(file.line(2), "é d");
        assert_eq!(file.line_count(), 2);
        assert_eq!(file.line(9), "");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_known() {
        let file = SourceFile::new("f", b"a\xff\xef\xbf\xbd b\xe9".to_vec());
        assert_eq!(file.text(), "a\u{fffd}\u{fffd} b\u{fffd}");
        assert_eq!(file.first_not_utf8(0..file.text().len()), Some(1));
        assert_eq!(file.first_not_utf8(2..file.text().len()), Some(9));
        assert_eq!(file.first_not_utf8(2..9), None);
    }
}
