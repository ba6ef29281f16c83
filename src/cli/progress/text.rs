//! Making what a command wrote safe and bounded for a terminal or a log file.
//!
//! A command inside a build is not trusted with the user's terminal: every control character but newline and tab
//! goes, escape sequences as a whole, so that nothing can move the cursor, set a title or hide text.

/// The longest line shown, in bytes; the rest of it is dropped.
const LINE_LIMIT: usize = 16 << 10;

/// How many bytes are cut into lines at once: each may be a line of its own, and a line takes many times that.
pub(super) const PIECE: usize = 4 << 10;

/// What a line costs beside its text: its number, its time and its end.
const LINE_COST: usize = 16;

/// The most that is shown of one vertex, in bytes; a build that logs more is told so once.
pub(super) const VERTEX_LIMIT: usize = 64 << 20;

/// Says that it was reached.
pub(super) const CLIPPED: &str = "[output clipped, log limit 64MiB reached]";

/// Cuts a stream of bytes into clean lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come yet, raw.
    partial: Vec<u8>,
    /// Bytes of lines given out so far.
    given: usize,
    /// Whether the limit was reached.
    full: bool,
}

impl Lines {
    /// Takes bytes and gives the lines that are complete, without their ends.
    pub(super) fn feed(&mut self, data: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        if self.full {
            return lines;
        }
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_LIMIT.saturating_sub(self.partial.len());
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                lines.extend(self.take());
            }
        }
        lines
    }

    /// Gives the line that was not ended, if there is one.
    pub(super) fn finish(&mut self) -> Option<String> {
        if self.partial.is_empty() { None } else { self.take() }
    }

    fn take(&mut self) -> Option<String> {
        let line = sanitize(&std::mem::take(&mut self.partial));
        if self.full {
            return None;
        }
        self.given += line.len() + LINE_COST;
        if self.given > VERTEX_LIMIT {
            self.full = true;
            return Some(CLIPPED.to_owned());
        }
        Some(line)
    }
}

/// Returns `bytes` as text without control characters. A carriage return shows what a terminal would: the text
/// behind the last one that something follows.
pub(super) fn sanitize(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\r');
    let text = text.rsplit('\r').next().unwrap_or(text);
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\t' => clean.push('\t'),
            '\u{1b}' => skip_escape(&mut characters),
            '\u{9b}' => skip_control_sequence(&mut characters),
            other if other.is_control() => {}
            other => clean.push(other),
        }
    }
    clean
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Skips what follows an ESC (ECMA-48): `[`..final, a string up to its terminator, or one character.
fn skip_escape(characters: &mut Characters<'_>) {
    match characters.next() {
        Some('[') => skip_control_sequence(characters),
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(character) = characters.next() {
                if character == '\u{7}' || character == '\u{9c}' {
                    break;
                }
                if character == '\u{1b}' {
                    characters.next();
                    break;
                }
            }
        }
        // Intermediate bytes, then the final one: `ESC ( B`.
        Some(' '..='/') => while characters.next().is_some_and(|c| (' '..='/').contains(&c)) {},
        _ => {}
    }
}

fn skip_control_sequence(characters: &mut Characters<'_>) {
    for character in characters.by_ref() {
        if ('@'..='~').contains(&character) {
            break;
        }
    }
}

/// Returns at most `width` characters of `text`, the last one an ellipsis when something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_they_end() {
        let mut lines = Lines::default();
        assert_eq!(lines.feed(b"a\nb"), ["a"]);
        assert_eq!(lines.feed(b"c\r\n\nd"), ["bc", ""]);
        assert_eq!(lines.finish().as_deref(), Some("d"));
        assert_eq!(lines.finish(), None);
        let long = lines.feed(&[vec![b'x'; 100_000], b"\ny\n".to_vec()].concat());
        assert_eq!((long[0].len(), long[1].as_str()), (LINE_LIMIT, "y"));
    }

    #[test]
    fn one_vertex_cannot_fill_the_disk() {
        let mut lines = Lines { given: VERTEX_LIMIT, ..Lines::default() };
        assert_eq!(lines.feed(b"a\nb\n"), ["[output clipped, log limit 64MiB reached]"]);
    }

    #[test]
    fn nothing_moves_the_cursor() {
        for (raw, want) in [
            ("plain\ttext", "plain\ttext"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link", "link"),
            ("\x1b(Bascii", "ascii"),
            ("\u{9b}2Jcleared", "cleared"),
            ("10%\r50%\r100%\r", "100%"),
            ("a\x08b\x07", "ab"),
            ("\x1b[unfinished", "nfinished"),
            ("\x1b", ""),
            ("é…", "é…"),
        ] {
            assert_eq!(sanitize(raw.as_bytes()), want, "{raw:?}");
        }
        assert_eq!(sanitize(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!((cut("abcdef", 4), cut("abcd", 4)), ("abc…".to_owned(), "abcd".to_owned()));
    }
}
