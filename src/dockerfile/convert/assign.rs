//! ARG, ENV, LABEL: `name=value` words.

use std::ops::Range;

use crate::diag::Diagnostic;

use super::super::instruction::{ArgDeclaration, InstructionKind, KeyValue, KeyValues};
use super::super::parse;
use super::Line;

impl Line<'_> {
    /// Flags of ARG are not looked at, as in BuildKit.
    pub(super) fn arg(&self) -> Result<InstructionKind, Diagnostic> {
        let words = self.assignment_words()?;
        let declaration = |word: &Range<usize>| {
            let (name, default) = self.split_at_equals(word);
            let default = default.map(|default| self.word(&default));
            self.not_blank(&name, word)?;
            Ok(ArgDeclaration { name: self.word(&name), default, span: self.word(word).span })
        };
        words.iter().map(declaration).collect::<Result<_, _>>().map(InstructionKind::Arg)
    }

    pub(super) fn env(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        self.key_values().map(InstructionKind::Env)
    }

    pub(super) fn label(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        self.key_values().map(InstructionKind::Label)
    }

    /// The first word decides: without `=` the line is `key value` in the old form.
    fn key_values(&self) -> Result<KeyValues, Diagnostic> {
        let words = self.assignment_words()?;
        if !self.text()[words[0].clone()].contains('=') {
            return self.legacy();
        }
        let pair = |word: &Range<usize>| {
            let (key, value) = self.split_at_equals(word);
            let Some(value) = value else {
                let message = format!(
                    "Syntax error - can't find = in {:?}. Must be of the form: name=value",
                    &self.text()[word.clone()]
                );
                return Err(Diagnostic::error("key-value", self.word(word).span, message));
            };
            self.not_blank(&key, word)?;
            Ok(KeyValue { key: self.word(&key), value: self.word(&value) })
        };
        Ok(KeyValues { pairs: words.iter().map(pair).collect::<Result<_, _>>()?, legacy: false })
    }

    fn legacy(&self) -> Result<KeyValues, Diagnostic> {
        let text = self.text();
        let words = parse::plain_words(text);
        let [key, second, ..] = words.as_slice() else {
            let message = format!("{} must have two arguments", self.name);
            return Err(Diagnostic::error("key-value", self.arguments_span(), message));
        };
        let value = self.word(&(second.start..text.len()));
        Ok(KeyValues { pairs: vec![KeyValue { key: self.word(key), value }], legacy: true })
    }

    fn assignment_words(&self) -> Result<Vec<Range<usize>>, Diagnostic> {
        let words = parse::assignments(self.text(), self.escape);
        if words.is_empty() { Err(self.requires("at least one argument")) } else { Ok(words) }
    }

    /// Cuts a word at its first `=`, wherever it stands.
    fn split_at_equals(&self, word: &Range<usize>) -> (Range<usize>, Option<Range<usize>>) {
        match self.text()[word.clone()].find('=') {
            Some(at) => (word.start..word.start + at, Some(word.start + at + 1..word.end)),
            None => (word.clone(), None),
        }
    }

    fn not_blank(&self, name: &Range<usize>, word: &Range<usize>) -> Result<(), Diagnostic> {
        if !name.is_empty() {
            return Ok(());
        }
        let message = format!("{} names can not be blank", self.name);
        Err(Diagnostic::error("blank-name", self.word(word).span, message))
    }
}
