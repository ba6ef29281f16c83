//! Path patterns: Go's `filepath.Match` (COPY sources) and the dialect of `.dockerignore` (with `**`).
//!
//! Both dialects become one list of tokens. Matching keeps the set of places in the path that the
//! tokens so far can reach, so that it takes time proportional to tokens x path length for any pattern.

use std::iter;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
}

/// A pattern that has no meaning: an unclosed or empty class, or a `\` at the end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct GlobError;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// These bytes.
    Literal(Vec<u8>),
    /// One character that is not `/`.
    AnyCharacter,
    /// One character in (or, negated, not in) the ranges.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// Any number of characters that are not `/`.
    WithinName,
    /// Nothing, or anything that ends in `/`.
    Directories,
    /// Anything.
    Anything,
}

impl Glob {
    /// Compiles a pattern of `filepath.Match`: `*`, `?`, `[a-z]`, `[^a]`, `\x`; `**` is `*`.
    pub fn of_name(pattern: &[u8]) -> Result<Self, GlobError> {
        compile(pattern, false)
    }

    /// Compiles a pattern of an ignore file, where `**` stands for any number of directories.
    pub fn of_ignore_rule(pattern: &[u8]) -> Result<Self, GlobError> {
        compile(pattern, true)
    }

    /// Whether the whole of `path` matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut tokens = self.tokens.as_slice();
        let mut path = path;
        // Most patterns are told apart from most paths by how they begin or end.
        if let [Token::Literal(text), rest @ ..] = tokens {
            let Some(after) = path.strip_prefix(text.as_slice()) else { return false };
            (tokens, path) = (rest, after);
        }
        if let [rest @ .., Token::Literal(text)] = tokens {
            let Some(before) = path.strip_suffix(text.as_slice()) else { return false };
            (tokens, path) = (rest, before);
        }
        match tokens {
            [] => path.is_empty(),
            [Token::Anything] => true,
            [Token::Directories] => path.is_empty() || path.ends_with(b"/"),
            [Token::WithinName] => !path.contains(&b'/'),
            _ => reachable(tokens, path)[path.len()],
        }
    }
}

/// Whether `pattern` has a wildcard that is not escaped.
pub fn has_wildcard(pattern: &[u8]) -> bool {
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Returns the pattern that matches just `name`.
pub fn escape(name: &str) -> String {
    let special = |character| matches!(character, '*' | '?' | '[' | '\\');
    name.chars().flat_map(|character| special(character).then_some('\\').into_iter().chain([character])).collect()
}

/// Returns for each offset of `path` whether the tokens can end there.
fn reachable(tokens: &[Token], path: &[u8]) -> Vec<bool> {
    let mut now = vec![false; path.len() + 1];
    now[0] = true;
    for token in tokens {
        now = step(token, path, &now);
    }
    now
}

fn step(token: &Token, path: &[u8], from: &[bool]) -> Vec<bool> {
    let mut to = vec![false; from.len()];
    let mut open = false;
    for at in 0..from.len() {
        match token {
            Token::Literal(text) if from[at] && path[at..].starts_with(text) => to[at + text.len()] = true,
            Token::AnyCharacter | Token::Class { .. } if from[at] => {
                if let Some((character, length)) = character_at(path, at)
                    && takes(token, character)
                {
                    to[at + length] = true;
                }
            }
            Token::Literal(_) | Token::AnyCharacter | Token::Class { .. } => {}
            Token::WithinName => {
                open = from[at] || (open && path[at - 1] != b'/');
                to[at] = open;
            }
            Token::Directories => {
                to[at] = from[at] || (open && path[at - 1] == b'/');
                open |= from[at];
            }
            Token::Anything => {
                open |= from[at];
                to[at] = open;
            }
        }
    }
    to
}

fn takes(token: &Token, character: char) -> bool {
    match token {
        Token::AnyCharacter => character != '/',
        Token::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
        }
        _ => false,
    }
}

/// Returns the character at `at` and its length; bytes that are not UTF-8 count one by one.
fn character_at(path: &[u8], at: usize) -> Option<(char, usize)> {
    let chunk = path[at..].utf8_chunks().next()?;
    let found = chunk.valid().chars().next().map(|character| (character, character.len_utf8()));
    Some(found.unwrap_or((char::REPLACEMENT_CHARACTER, 1)))
}

fn compile(pattern: &[u8], across_directories: bool) -> Result<Glob, GlobError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            b'*' if across_directories && pattern.get(at + 1) == Some(&b'*') => {
                let first = at == 0;
                at += 2;
                let slash = pattern.get(at) == Some(&b'/');
                at += usize::from(slash);
                let rest = &pattern[at..];
                // `**` at the start with only plain text behind it means "ends in", even within a name.
                let suffix = first && !slash && !rest.iter().any(|byte| b"*?[]\\".contains(byte));
                tokens.push(if rest.is_empty() || suffix { Token::Anything } else { Token::Directories });
                continue;
            }
            b'*' => {
                if tokens.last() != Some(&Token::WithinName) {
                    tokens.push(Token::WithinName);
                }
            }
            b'?' => tokens.push(Token::AnyCharacter),
            b'[' => {
                let (class, length) = class(&pattern[at..])?;
                tokens.push(class);
                at += length;
                continue;
            }
            b'\\' => {
                at += 1;
                push_literal(&mut tokens, *pattern.get(at).ok_or(GlobError)?);
            }
            byte => push_literal(&mut tokens, byte),
        }
        at += 1;
    }
    Ok(Glob { tokens })
}

fn push_literal(tokens: &mut Vec<Token>, byte: u8) {
    if let Some(Token::Literal(text)) = tokens.last_mut() {
        text.push(byte);
    } else {
        tokens.push(Token::Literal(vec![byte]));
    }
}

/// Reads a class from its `[`; returns it with its length in bytes.
fn class(pattern: &[u8]) -> Result<(Token, usize), GlobError> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = 1 + usize::from(negated);
    let mut ranges = Vec::new();
    while ranges.is_empty() || pattern.get(at) != Some(&b']') {
        let low = class_character(pattern, &mut at)?;
        let mut high = low;
        if pattern.get(at) == Some(&b'-') {
            at += 1;
            high = class_character(pattern, &mut at)?;
        }
        ranges.push((low, high));
    }
    Ok((Token::Class { negated, ranges }, at + 1))
}

fn class_character(pattern: &[u8], at: &mut usize) -> Result<char, GlobError> {
    match pattern.get(*at) {
        None | Some(b'-' | b']') => return Err(GlobError),
        Some(b'\\') => *at += 1,
        Some(_) => {}
    }
    let (character, length) = character_at(pattern, *at).ok_or(GlobError)?;
    *at += length;
    Ok(character)
}

/// Returns `path` without empty and `.` parts, each `..` taking back the part before it; what would
/// leave the top is dropped. The result neither begins nor ends in `/`; the top itself is empty.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Like [`clean`], but `None` for a path that leaves the top on its way.
pub fn clean_inside(path: &[u8]) -> Option<Vec<u8>> {
    let mut depth = 0usize;
    for part in path.split(|byte| *byte == b'/') {
        depth = match part {
            b"" | b"." => depth,
            b".." => depth.checked_sub(1)?,
            _ => depth + 1,
        };
    }
    Some(clean(path))
}

/// Returns the directories above a clean path, outermost first: `a/b/c` gives `a`, `a/b`.
pub fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    iter::from_fn(move || {
        let slash = from + path[from..].iter().position(|byte| *byte == b'/')?;
        from = slash + 1;
        Some(&path[..slash])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(pattern: &str, path: &str) -> Result<bool, GlobError> {
        Ok(Glob::of_name(pattern.as_bytes())?.matches(path.as_bytes()))
    }

    #[test]
    fn names_match_as_in_go() {
        let cases: &[(&str, &str, Result<bool, GlobError>)] = &[
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("*c", "abc", Ok(true)),
            ("a*", "a", Ok(true)),
            ("a*", "abc", Ok(true)),
            ("a*", "ab/c", Ok(false)),
            ("a*/b", "abc/b", Ok(true)),
            ("a*/b", "a/c/b", Ok(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Ok(true)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Ok(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Ok(false)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Ok(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Ok(false)),
            ("ab[c]", "abc", Ok(true)),
            ("ab[b-d]", "abc", Ok(true)),
            ("ab[e-g]", "abc", Ok(false)),
            ("ab[^c]", "abc", Ok(false)),
            ("ab[^b-d]", "abc", Ok(false)),
            ("ab[^e-g]", "abc", Ok(true)),
            ("a\\*b", "a*b", Ok(true)),
            ("a\\*b", "ab", Ok(false)),
            ("a?b", "a☺b", Ok(true)),
            ("a[^a]b", "a☺b", Ok(true)),
            ("a???b", "a☺b", Ok(false)),
            ("a[^a][^a][^a]b", "a☺b", Ok(false)),
            ("[a-ζ]*", "α", Ok(true)),
            ("*[a-ζ]", "A", Ok(false)),
            ("a?b", "a/b", Ok(false)),
            ("a*b", "a/b", Ok(false)),
            ("[\\]a]", "]", Ok(true)),
            ("[\\-]", "-", Ok(true)),
            ("[x\\-]", "x", Ok(true)),
            ("[x\\-]", "-", Ok(true)),
            ("[x\\-]", "z", Ok(false)),
            ("[\\-x]", "x", Ok(true)),
            ("[\\-x]", "a", Ok(false)),
            ("[]a]", "]", Err(GlobError)),
            ("[-]", "-", Err(GlobError)),
            ("[x-]", "x", Err(GlobError)),
            ("[-x]", "x", Err(GlobError)),
            ("\\", "a", Err(GlobError)),
            ("[a-b-c]", "a", Err(GlobError)),
            ("[", "a", Err(GlobError)),
            ("[^", "a", Err(GlobError)),
            ("[^bc", "a", Err(GlobError)),
            ("a[", "a", Err(GlobError)),
            ("a[", "ab", Err(GlobError)),
            ("*x", "xxx", Ok(true)),
            ("**", "a.b", Ok(true)),
            ("**/b", "a/b", Ok(true)),
            ("**/b", "b", Ok(false)),
            (".*", ".hidden", Ok(true)),
            ("*", ".hidden", Ok(true)),
            ("[[]x].q", "[x].q", Ok(true)),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(&name(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn hard_patterns_take_little_time() {
        let pattern = "*a".repeat(60) + "b";
        let path = "a".repeat(4000);
        assert!(!Glob::of_name(pattern.as_bytes()).unwrap().matches(path.as_bytes()));
    }

    #[test]
    fn paths_are_cleaned_below_the_top() {
        for (path, expected) in [("", ""), ("/", ""), ("./a//b/", "a/b"), ("../../a", "a"), ("b/../c", "c")] {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
        let found: Vec<_> = parents(b"a/b/c").collect();
        assert_eq!(found, [b"a".as_slice(), b"a/b"]);
    }
}
