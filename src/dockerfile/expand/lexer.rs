//! The word lexer: one walk over the characters of a word, nested only by `${...}`.

use super::super::parse::{is_digit, is_letter};
use super::pattern::Pattern;
use super::{Environment, ExpandError, ExpandReason, LONGEST_WORD};

/// How deep `${a:-${b:-...}}` may nest; the walk recurses there.
pub(super) const MAX_DEPTH: usize = 100;

pub(super) struct Lexer<'a> {
    word: &'a str,
    rest: &'a str,
    escape: char,
    environment: Environment<'a>,
    depth: usize,
    /// Bytes of the values that were put in.
    put_in: usize,
    /// Set for heredoc bodies.
    pub(super) quotes_are_text: bool,
    /// Names looked up and not found.
    pub(super) undefined: Vec<String>,
}

/// Collects what a walk gives; a part is either safe from splitting or not.
trait Output {
    fn quoted(&mut self, text: &str);
    fn open(&mut self, text: &str);
}

impl Output for String {
    fn quoted(&mut self, text: &str) {
        self.push_str(text);
    }

    fn open(&mut self, text: &str) {
        self.push_str(text);
    }
}

/// Words split at blanks that are neither quoted nor escaped; empty words are dropped.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
}

impl Output for Words {
    fn quoted(&mut self, text: &str) {
        self.current.push_str(text);
    }

    fn open(&mut self, text: &str) {
        for character in text.chars() {
            if !character.is_whitespace() {
                self.current.push(character);
            } else if !self.current.is_empty() {
                self.done.push(std::mem::take(&mut self.current));
            }
        }
    }
}

/// Where a walk ends, and how it treats escapes.
#[derive(Clone, Copy)]
struct Until {
    /// The closing character; `None` is the end of the word.
    closing: Option<char>,
    /// True in patterns: the escape character is kept, for the pattern to read.
    keeps_escapes: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(word: &'a str, escape: char, environment: Environment<'a>) -> Self {
        Self {
            word,
            rest: word,
            escape,
            environment,
            depth: 0,
            put_in: 0,
            quotes_are_text: false,
            undefined: Vec::new(),
        }
    }

    pub(super) fn whole_word(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        self.whole(&mut text)?;
        Ok(text)
    }

    pub(super) fn split_words(&mut self) -> Result<Vec<String>, ExpandError> {
        let mut words = Words::default();
        self.whole(&mut words)?;
        words.open(" ");
        Ok(words.done)
    }

    fn whole(&mut self, output: &mut dyn Output) -> Result<(), ExpandError> {
        let until = Until { closing: None, keeps_escapes: false };
        self.walk(until, output).map(|_| ()).map_err(|reason| ExpandError { word: self.word.to_owned(), reason })
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.rest = &self.rest[character.len_utf8()..];
        Some(character)
    }

    /// Takes the characters that `wanted` accepts.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|character| !wanted(character)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Walks to the closing character and past it. Returns false when the word ended first.
    fn walk(&mut self, until: Until, output: &mut dyn Output) -> Result<bool, ExpandReason> {
        let escape = self.escape;
        loop {
            let plain = self.take_while(|character| {
                character != '$'
                    && character != '\''
                    && character != '"'
                    && character != escape
                    && Some(character) != until.closing
            });
            output.open(plain);
            let Some(character) = self.next() else { return Ok(until.closing.is_none()) };
            let mut encoded = [0; 4];
            match character {
                _ if Some(character) == until.closing => return Ok(true),
                '$' => output.open(&self.dollar()?),
                '\'' if !self.quotes_are_text => output.quoted(self.single_quoted()?),
                '"' if !self.quotes_are_text => output.quoted(&self.double_quoted(until.keeps_escapes)?),
                _ if character == escape => {
                    if until.keeps_escapes {
                        output.quoted(escape.encode_utf8(&mut encoded));
                    }
                    if let Some(escaped) = self.next() {
                        output.quoted(escaped.encode_utf8(&mut encoded));
                    }
                }
                _ => output.open(character.encode_utf8(&mut encoded)),
            }
        }
    }

    /// Behind `'`: everything up to the next one.
    fn single_quoted(&mut self) -> Result<&'a str, ExpandReason> {
        let text = self.take_while(|character| character != '\'');
        self.next().map(|_| text).ok_or(ExpandReason::SingleQuote)
    }

    /// Behind `"`: `$` means what it means, and the escape works before `"`, `$` and itself only.
    fn double_quoted(&mut self, keeps_escapes: bool) -> Result<String, ExpandReason> {
        let escape = self.escape;
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|character| character != '"' && character != '$' && character != escape));
            match self.next().ok_or(ExpandReason::DoubleQuote)? {
                '"' => return Ok(text),
                '$' => text.push_str(&self.dollar()?),
                _ => {
                    if keeps_escapes {
                        text.push(escape);
                    }
                    match self.peek() {
                        Some(next) if next == '"' || next == '$' || next == escape => {
                            text.push(next);
                            self.next();
                        }
                        _ => text.push(escape),
                    }
                }
            }
        }
    }

    /// Behind `$`.
    fn dollar(&mut self) -> Result<String, ExpandReason> {
        if self.peek() == Some('{') {
            self.next();
            if self.depth == MAX_DEPTH {
                return Err(ExpandReason::TooDeep);
            }
            self.depth += 1;
            let value = self.braced();
            self.depth -= 1;
            return value;
        }
        match self.name() {
            "" => Ok("$".to_owned()),
            name => Ok(self.look_up(name)?.unwrap_or_default()),
        }
    }

    /// A name: digits, or one of the shell's special parameters, or letters, digits and `_`; perhaps empty.
    fn name(&mut self) -> &'a str {
        match self.peek() {
            Some(first) if is_digit(first) => self.take_while(is_digit),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                let (name, rest) = self.rest.split_at(1);
                self.rest = rest;
                name
            }
            _ => self.take_while(|character| is_letter(character) || is_digit(character) || character == '_'),
        }
    }

    fn look_up(&mut self, name: &str) -> Result<Option<String>, ExpandReason> {
        let value = (self.environment)(name);
        self.put_in += value.as_ref().map_or(0, String::len);
        if self.put_in > LONGEST_WORD {
            return Err(ExpandReason::TooLong);
        }
        if value.is_none() && !self.undefined.iter().any(|known| known == name) {
            self.undefined.push(name.to_owned());
        }
        Ok(value)
    }

    /// Behind `${`.
    fn braced(&mut self) -> Result<String, ExpandReason> {
        match self.peek() {
            None => return Err(ExpandReason::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandReason::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.next().ok_or(ExpandReason::EndOfWord)? {
            '}' => Ok(self.look_up(name)?.unwrap_or_default()),
            ':' => match self.next().ok_or(ExpandReason::MissingBrace)? {
                modifier @ ('-' | '+' | '?') => self.conditional(name, modifier, true),
                other => Err(ExpandReason::Modifier(format!(":{other}"))),
            },
            modifier @ ('-' | '+' | '?') => self.conditional(name, modifier, false),
            end @ ('#' | '%') => self.trimmed(name, end),
            '/' => self.replaced(name),
            other => Err(ExpandReason::Modifier(other.to_string())),
        }
    }

    /// Reads up to `closing` as a word of its own.
    fn nested(&mut self, closing: char, keeps_escapes: bool, missing: ExpandReason) -> Result<String, ExpandReason> {
        let mut text = String::new();
        let until = Until { closing: Some(closing), keeps_escapes };
        if self.walk(until, &mut text)? { Ok(text) } else { Err(missing) }
    }

    /// `-`, `+` or `?`, where `empty_is_unset` tells `:-` from `-`.
    fn conditional(&mut self, name: &str, modifier: char, empty_is_unset: bool) -> Result<String, ExpandReason> {
        let word = self.nested('}', false, ExpandReason::MissingBrace)?;
        let value = self.look_up(name)?;
        let problem = match &value {
            None => Some("is not allowed to be unset"),
            Some(value) if empty_is_unset && value.is_empty() => Some("is not allowed to be empty"),
            Some(_) => None,
        };
        match (modifier, problem) {
            ('+', None) | ('-', Some(_)) => Ok(word),
            ('+', Some(_)) => Ok(String::new()),
            ('?', Some(problem)) => {
                let message = if word.is_empty() { problem.to_owned() } else { word };
                Err(ExpandReason::Required { name: name.to_owned(), message })
            }
            _ => Ok(value.unwrap_or_default()),
        }
    }

    /// `#` takes a prefix away, `%` a suffix; twice the sign takes the longest.
    fn trimmed(&mut self, name: &str, end: char) -> Result<String, ExpandReason> {
        let word = self.nested('}', true, ExpandReason::MissingBrace)?;
        let longest = word.strip_prefix(end);
        let pattern = Pattern::parse(longest.unwrap_or(&word))?;
        let value = self.look_up(name)?.unwrap_or_default();
        Ok(match end {
            '#' => pattern.without_prefix(&value, longest.is_some()),
            _ => pattern.without_suffix(&value, longest.is_some()),
        })
    }

    /// `/pattern/text` replaces the first match, `//pattern/text` all.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandReason> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.nested('/', true, ExpandReason::MissingSlash)?;
        let replacement = self.nested('}', true, ExpandReason::MissingBrace)?;
        let value = self.look_up(name)?.unwrap_or_default();
        Pattern::parse(&pattern)?.replaced(&value, &replacement, all)
    }
}
