//! Flags of an instruction: which there are, and their values.

use crate::diag::{Diagnostic, suggestion};

use super::super::instruction::Text;
use super::super::parse::FlagWord;
use super::Line;

/// What a flag holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Text,
    /// May be repeated.
    Texts,
    Boolean,
}

/// Flags that passed the check.
pub(super) struct Flags<'a>(&'a Line<'a>);

impl<'a> Line<'a> {
    /// Checks the flags against those the instruction knows.
    pub(super) fn flags(&'a self, known: &[(&str, Holds)]) -> Result<Flags<'a>, Diagnostic> {
        for (index, flag) in self.flags.iter().enumerate() {
            let error = |code, message| Err(Diagnostic::error(code, self.logical.span(flag.range.clone()), message));
            let name = &flag.name;
            let Some((_, holds)) = known.iter().find(|(known, _)| known == name) else {
                let near = suggestion(name, known.iter().map(|(known, _)| *known));
                return error("unknown-flag", format!("unknown flag: --{name}{near}"));
            };
            if *holds != Holds::Texts && self.flags[..index].iter().any(|earlier| earlier.name == *name) {
                return error("duplicate-flag", format!("duplicate flag specified: --{name}"));
            }
            let value = flag.value.as_ref().map(|value| value.text.as_str());
            match (holds, value) {
                (Holds::Boolean, None) => {}
                (Holds::Text | Holds::Texts, None) | (Holds::Boolean, Some("")) => {
                    return error("flag-value", format!("missing a value on flag: --{name}"));
                }
                (Holds::Boolean, Some(value)) if truth(value).is_none() => {
                    return error("flag-value", format!("expecting boolean value for flag --{name}, not: {value}"));
                }
                _ => {}
            }
        }
        Ok(Flags(self))
    }

    /// Refuses every flag.
    pub(super) fn no_flags(&self) -> Result<(), Diagnostic> {
        self.flags(&[]).map(|_| ())
    }
}

fn truth(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

impl Flags<'_> {
    fn named(&self, name: &str) -> impl Iterator<Item = &FlagWord> {
        self.0.flags.iter().filter(move |flag| flag.name == name)
    }

    /// Returns the values of a repeatable flag.
    pub(super) fn texts(&self, name: &str) -> Vec<Text> {
        let values = self.named(name).filter_map(|flag| flag.value.as_ref());
        values.map(|value| Text::new(value.text.clone(), self.0.logical.span(value.range.clone()))).collect()
    }

    /// Returns the value of a flag; an empty one is as good as none.
    pub(super) fn text(&self, name: &str) -> Option<Text> {
        self.texts(name).pop().filter(|value| !value.text.is_empty())
    }

    /// Returns a switch, `None` when it was not given.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        let flag = self.named(name).next()?;
        Some(flag.value.as_ref().is_none_or(|value| truth(&value.text) == Some(true)))
    }
}
