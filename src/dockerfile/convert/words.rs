//! Instructions of plain words: EXPOSE, VOLUME, WORKDIR, USER, STOPSIGNAL, MAINTAINER.

use crate::diag::Diagnostic;

use super::super::instruction::{InstructionKind, Text};
use super::super::parse;
use super::Line;

impl Line<'_> {
    pub(super) fn expose(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        let words: Vec<Text> = parse::plain_words(self.text()).iter().map(|word| self.word(word)).collect();
        if words.is_empty() { Err(self.requires("at least one argument")) } else { Ok(InstructionKind::Expose(words)) }
    }

    pub(super) fn volume(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        let (mut words, _) = self.word_list()?;
        if words.is_empty() {
            return Err(self.requires("at least one argument"));
        }
        for word in &mut words {
            word.text = word.text.trim().to_owned();
            if word.text.is_empty() {
                let message = "VOLUME specified can not be an empty string";
                return Err(Diagnostic::error("arguments", word.span, message));
            }
        }
        Ok(InstructionKind::Volume(words))
    }

    pub(super) fn workdir(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        self.rest_of_line().map(InstructionKind::Workdir)
    }

    pub(super) fn user(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        self.rest_of_line().map(InstructionKind::User)
    }

    /// Flags of STOPSIGNAL are not looked at, as in BuildKit.
    pub(super) fn stop_signal(&self) -> Result<InstructionKind, Diagnostic> {
        self.rest_of_line().map(InstructionKind::StopSignal)
    }

    pub(super) fn maintainer(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        self.rest_of_line().map(InstructionKind::Maintainer)
    }

    fn rest_of_line(&self) -> Result<Text, Diagnostic> {
        if self.arguments.is_empty() {
            return Err(self.requires("exactly one argument"));
        }
        Ok(self.word(&(0..self.text().len())))
    }
}
