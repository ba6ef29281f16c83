//! Text and actions, and the words of an action.

use super::TemplateError;

/// A piece of a template.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Piece {
    /// Text that is written as it is.
    Text(String),
    /// The words between `{{` and `}}`, and how it was written.
    Action(Vec<Word>, String),
}

/// A word of an action.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Word {
    /// `.A.B`, and `.` alone, whose list is empty. The flag is set when it stands directly after what is before it: `$x.A`, `(..).A`.
    Field(Vec<String>, bool),
    /// `$x`, and `$`, whose name is empty.
    Variable(String),
    /// A function or a keyword.
    Name(String),
    Text(String),
    Number(serde_json::Number),
    Open,
    Close,
    Pipe,
    Comma,
    /// `:=` or `=`.
    Assign,
}

/// Splits a template; trim marks and comments are gone.
pub(super) fn lex(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut rest, mut trim_next) = (template, false);
    while !rest.is_empty() {
        let (text, action) = rest.split_once("{{").map_or((rest, None), |(text, action)| (text, Some(action)));
        let trims_before = action.is_some_and(|action| action.starts_with("- "));
        let mut text = if trim_next { text.trim_start() } else { text };
        text = if trims_before { text.trim_end() } else { text };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let Some(action) = action else { break };
        let end = end_of(action)?;
        let inside = &action[..end];
        rest = &action[end + 2..];
        let inside = if trims_before { &inside[2..] } else { inside };
        trim_next = inside.ends_with(" -") || inside == "-";
        let inside = if trim_next { &inside[..inside.len() - 1] } else { inside };
        let is_comment = inside.trim().starts_with("/*");
        if !is_comment {
            pieces.push(Piece::Action(words(inside)?, inside.to_owned()));
        }
    }
    Ok(pieces)
}

/// Where `}}` stands, outside of strings.
fn end_of(action: &str) -> Result<usize, TemplateError> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in action.char_indices() {
        match (quote, character) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), _) if open == character && !escaped => quote = None,
            (None, '"' | '`') => quote = Some(character),
            (None, '}') if action[at..].starts_with("}}") => return Ok(at),
            _ => {}
        }
        escaped = false;
    }
    Err(TemplateError::new(if quote.is_some() { "a string is not closed" } else { "`{{` is not closed" }))
}

fn words(action: &str) -> Result<Vec<Word>, TemplateError> {
    let mut words = Vec::new();
    let mut rest = action;
    while let Some(first) = rest.chars().next() {
        let is_joined =
            rest.len() < action.len() && !action[..action.len() - rest.len()].ends_with(char::is_whitespace);
        let (word, length) = match first {
            _ if first.is_whitespace() => {
                rest = rest.trim_start();
                continue;
            }
            '(' => (Word::Open, 1),
            ')' => (Word::Close, 1),
            '|' => (Word::Pipe, 1),
            ',' => (Word::Comma, 1),
            '=' => (Word::Assign, 1),
            ':' if rest.starts_with(":=") => (Word::Assign, 2),
            '"' => quoted(rest)?,
            '`' => {
                let end = rest[1..].find('`').ok_or_else(|| TemplateError::new("a string is not closed"))?;
                (Word::Text(rest[1..=end].to_owned()), end + 2)
            }
            '.' => {
                let length = rest.find(|c: char| c != '.' && !is_name(c)).unwrap_or(rest.len());
                let names = rest[1..length].split('.').filter(|name| !name.is_empty());
                (Word::Field(names.map(str::to_owned).collect(), is_joined), length)
            }
            '$' => {
                let length = 1 + rest[1..].find(|c| !is_name(c)).unwrap_or(rest.len() - 1);
                (Word::Variable(rest[1..length].to_owned()), length)
            }
            '-' | '+' | '0'..='9' => {
                let length = 1 + rest[1..].find(|c: char| c != '.' && !is_name(c)).unwrap_or(rest.len() - 1);
                let number = serde_json::from_str(rest[..length].trim_start_matches('+'));
                (Word::Number(number.map_err(|_| bad(&rest[..length]))?), length)
            }
            _ if is_name(first) => {
                let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                (Word::Name(rest[..length].to_owned()), length)
            }
            other => return Err(bad(&other.to_string())),
        };
        words.push(word);
        rest = &rest[length..];
    }
    Ok(words)
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn bad(text: &str) -> TemplateError {
    TemplateError::new(format!("`{text}` makes no sense in an action"))
}

/// A string as Go writes it; what JSON writes differently (`\x`, `\'`) is taken as it stands.
fn quoted(text: &str) -> Result<(Word, usize), TemplateError> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((Word::Text(out), at + 1)),
            '\\' => match characters.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, other)) => out.push(other),
                None => break,
            },
            other => out.push(other),
        }
    }
    Err(TemplateError::new("a string is not closed"))
}
