//! Lint rules about what FROM lines expand to.

use std::collections::BTreeSet;

use super::Options;
use super::arguments::{Globals, MOST_BYTES, add_globals, automatic};
use super::stage::{expand_from, stage_name};
use crate::diag::Diagnostic;
use crate::dockerfile::expand::expand;
use crate::dockerfile::instruction::From;
use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, lint};
use crate::oci::{Platform, Reference};

/// To how many undeclared arguments a near name is said: more would take the time of a build.
const SUGGESTIONS: usize = 100;

/// What the rules compare FROM lines with.
pub(super) struct FromLint<'a> {
    file: &'a Dockerfile,
    globals: &'a Globals,
    /// The globals as they are without any build argument.
    defaults: Globals,
    /// The names of the ARGs before the first FROM.
    declared: BTreeSet<&'a str>,
    suggestions: usize,
}

impl<'a> FromLint<'a> {
    /// `head` is what stands before the first FROM.
    pub(super) fn new(file: &'a Dockerfile, head: &'a [Instruction], globals: &'a Globals, options: &Options) -> Self {
        let options = Options { build_args: Default::default(), ..options.clone() };
        let (mut defaults, mut declared) = (automatic(&options, ""), BTreeSet::new());
        let mut room = MOST_BYTES;
        for instruction in head {
            if let InstructionKind::Arg(declarations) = &instruction.kind {
                // What is wrong has been said of the globals themselves.
                let _ = add_globals(&mut defaults, &mut room, declarations, &options, file.directives.escape);
                declared.extend(declarations.iter().map(|declaration| declaration.name.text.as_str()));
            }
        }
        Self { file, globals, defaults, declared, suggestions: SUGGESTIONS }
    }

    /// Returns what the rules say of one FROM.
    pub(super) fn warnings(&mut self, head: &Instruction, from: &From) -> Vec<Diagnostic> {
        let (file, escape) = (self.file, self.file.directives.escape);
        let mut found = Vec::new();
        let mut warn = |rule, span, message: String| found.extend(lint::warning(file, rule, head, span, message));
        let by_default = expand(&from.reference.text, escape, &|name| self.defaults.get(name).cloned());
        if by_default.is_ok_and(|expanded| Reference::parse(&expanded.text).is_err()) {
            let written = &from.reference.text;
            let message = format!("Default value for ARG {written} results in empty or invalid base image name");
            warn("InvalidDefaultArgInFrom", from.reference.span, message);
        }
        for text in [&from.reference].into_iter().chain(&from.platform) {
            let Ok((_, used)) = expand_from(text, self.globals, escape) else { continue };
            for name in used.unknown.iter().filter(|name| !self.declared.contains(name.as_str())) {
                let near = if self.suggestions == 0 { String::new() } else { self.near(name) };
                self.suggestions = self.suggestions.saturating_sub(1);
                warn("UndefinedArgInFrom", text.span, format!("FROM argument '{name}' is not declared{near}"));
            }
        }
        let Some(platform) = &from.platform else { return found };
        let Ok((value, used)) = expand_from(platform, self.globals, escape) else { return found };
        if used.known == ["TARGETPLATFORM"]
            && used.unknown.is_empty()
            && self.globals.get("TARGETPLATFORM") == Some(&value)
        {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                platform.text
            );
            warn("RedundantTargetPlatform", platform.span, message);
        }
        if used.known.is_empty() && used.unknown.is_empty() && !is_named_for(from, &value) {
            let message = format!("FROM --platform flag should not use constant value \"{value}\"");
            warn("FromPlatformFlagConstDisallowed", platform.span, message);
        }
        found
    }

    fn near(&self, name: &str) -> String {
        lint::did_you_mean(name, "", self.globals.keys().map(String::as_str).chain(self.declared.iter().copied()))
    }
}

/// Whether the name of a stage says that a constant platform is meant. One that cannot be read is an error anyway.
fn is_named_for(from: &From, platform: &str) -> bool {
    let name = stage_name(from).unwrap_or_default();
    platform.parse().is_ok_and(|Platform { os, architecture, .. }| name.contains(&os) || name.contains(&architecture))
        || platform.parse::<Platform>().is_err()
}
