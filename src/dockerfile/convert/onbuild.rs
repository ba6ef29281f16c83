//! ONBUILD: a trigger is stored as text and read in the child.

use crate::diag::Diagnostic;

use super::super::instruction::{InstructionKind, OnBuild};
use super::super::parse;
use super::Line;

impl Line<'_> {
    pub(super) fn onbuild(&self) -> Result<InstructionKind, Diagnostic> {
        self.no_flags()?;
        let Some((name, _)) = parse::head(self.text()) else {
            return Err(self.requires("at least one argument"));
        };
        let name_span = self.word(&name).span;
        let refused = |message: String| Err(Diagnostic::error("trigger", name_span, message));
        match self.text()[name].to_uppercase().as_str() {
            "ONBUILD" => return refused("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned()),
            name @ ("FROM" | "MAINTAINER") => return refused(format!("{name} isn't allowed as an ONBUILD trigger")),
            _ => {}
        }
        // Stored verbatim: blanks at the end of the line too.
        let mut text = self.logical.text[self.arguments.start..].to_owned();
        for taken in &self.heredocs {
            text.push('\n');
            text.push_str(&taken.raw);
            text.push_str(&taken.heredoc.name.text);
        }
        Ok(InstructionKind::OnBuild(OnBuild { text, span: self.arguments_span() }))
    }
}
