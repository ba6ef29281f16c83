//! Expansion of words: `$NAME`, `${NAME}` with its modifiers, quotes and escapes.
//!
//! Pure: a word, an escape character and a lookup go in, a text comes out, with the names that were not set.
//! It is the shell's way of reading a word as BuildKit does it, not the shell: no commands, no arithmetic, no file
//! names. Which instructions are expanded, and with which variables, is `plan`'s to know.

mod lexer;
mod pattern;

use crate::diag::Diagnostic;

use super::instruction::Text;
use lexer::Lexer;

/// What a lookup says of a name: its value, or `None` when it is not set at all.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// An expanded word.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expanded {
    /// The text, quotes and escapes removed.
    pub text: String,
    /// Names that were looked up and are not set, each once, in order (lint rule UndefinedVar).
    pub undefined: Vec<String>,
}

/// Why a word could not be expanded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("failed to process {word:?}: {reason}")]
pub struct ExpandError {
    /// The word as written.
    pub word: String,
    /// What is wrong with it.
    pub reason: ExpandReason,
}

/// See [`ExpandError`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExpandReason {
    /// `'` is not closed.
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    /// `"` is not closed.
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    /// `${` is not closed.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${name/pattern` goes on without `/`.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// Nothing that can be a name follows `${`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// What follows the name is no modifier.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// The word ends inside `${name`.
    #[error("unsupported modifier (end of word) in substitution: missing '}}'")]
    EndOfWord,
    /// A pattern has an escape that means nothing.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The character after the escape.
        escaped: String,
    },
    /// `${name:?message}` and the name is not set.
    #[error("{name}: {message}")]
    Required {
        /// The name.
        name: String,
        /// The user's message, or that it may not be unset or empty.
        message: String,
    },
    /// `${a:-${b:-...` goes on and on.
    #[error("substitutions are nested more than {} deep", lexer::MAX_DEPTH)]
    TooDeep,
    /// A few lines of `ENV A=$A$A` would fill any memory.
    #[error("the variables in it come to more than {} MiB, or take too long to put in", LONGEST_WORD >> 20)]
    TooLong,
}

/// How much the variables of one word may come to. The kernel gives a program no single value above 128 KiB.
const LONGEST_WORD: usize = 1 << 20;

impl ExpandError {
    /// Makes the error a diagnostic at the word.
    pub fn at(&self, word: &Text) -> Diagnostic {
        Diagnostic::error("expansion", word.span, self.to_string())
    }
}

/// Expands one word: the result is never split.
pub fn expand(word: &str, escape: char, environment: Environment<'_>) -> Result<Expanded, ExpandError> {
    let mut lexer = Lexer::new(word, escape, environment);
    let text = lexer.whole_word()?;
    Ok(Expanded { text, undefined: lexer.undefined })
}

/// Expands one word and splits the result at blanks outside of quotes (EXPOSE). No rule asks for names that are not set.
pub fn expand_words(word: &str, escape: char, environment: Environment<'_>) -> Result<Vec<String>, ExpandError> {
    Lexer::new(word, escape, environment).split_words()
}

/// Expands the body of a COPY or ADD heredoc: the escape is always `\`, and quotes are ordinary characters.
pub fn expand_heredoc(body: &str, environment: Environment<'_>) -> Result<Expanded, ExpandError> {
    let mut lexer = Lexer::new(body, '\\', environment);
    lexer.quotes_are_text = true;
    let text = lexer.whole_word()?;
    Ok(Expanded { text, undefined: lexer.undefined })
}

#[cfg(test)]
mod tests;
