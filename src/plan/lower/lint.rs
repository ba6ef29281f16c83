//! Lint rules that see values: what an instruction says after expansion, and what its stage has said before it.
//!
//! Findings are collected while an instruction is lowered, and become warnings when it is done.

use std::collections::BTreeMap;

use super::super::scope::{NEVER_SET, Scope};
use super::super::{ImageKey, KnownImage};
use super::{CANDIDATES, Lowering, Place, SUGGESTIONS, StageState};
use crate::context::glob::clean;
use crate::diag::Diagnostic;
use crate::dockerfile::instruction::KeyValues;
use crate::dockerfile::lint::{did_you_mean, warning};
use crate::dockerfile::port::PortSpec;
use crate::dockerfile::{CommandForm, Instruction, Text};
use crate::source::Span;

/// What a rule found about the current instruction.
pub(super) struct Finding {
    rule: &'static str,
    span: Span,
    /// The instruction it is about, when that is an earlier one.
    lines: Option<Span>,
    message: String,
}

/// The last CMD, ENTRYPOINT and HEALTHCHECK of a stage: where the name stands, and all lines.
pub(super) type Once = BTreeMap<&'static str, (Span, Span)>;

impl Lowering<'_> {
    pub(super) fn find(&mut self, rule: &'static str, span: Span, message: String) {
        self.findings.push(Finding { rule, span, lines: None, message });
    }

    /// Makes warnings of what was found about `instruction`. What a FROM triggers is said to be at its `lines`.
    pub(super) fn report(&mut self, instruction: &Instruction, lines: Span) {
        for finding in std::mem::take(&mut self.findings) {
            let warning = warning(self.file, finding.rule, instruction, finding.span, finding.message);
            let lines = Some(finding.lines.unwrap_or(lines));
            self.warnings.extend(warning.map(|warning| Diagnostic { lines, ..warning }));
        }
    }

    /// Notes names that were looked up and are not set. One that an ARG declared may be unset.
    pub(super) fn note_undefined(&mut self, scope: &Scope, names: &[String], span: Span) {
        for name in names.iter().filter(|name| !scope.declares(name) && !NEVER_SET.contains(&name.as_str())) {
            let known = scope.variables().iter().map(|(name, _)| name.as_str()).take(CANDIDATES);
            let few = self.warnings.len() + self.findings.len() < SUGGESTIONS;
            let near = if few { did_you_mean(name, "$", known) } else { String::new() };
            self.find("UndefinedVar", span, format!("Usage of undefined variable '${name}'{near}"));
        }
    }

    /// The same for the image of a FROM or `--from`.
    pub(super) fn check_platform(&mut self, key: &ImageKey, written: &str, known: &KnownImage, span: Span) {
        let (wanted, actual) = (&key.platform, &known.platform);
        let same = (&wanted.os, &wanted.architecture) == (&actual.os, &actual.architecture);
        // Who names another image in its place knows what it is; without layers there is nothing to run.
        if same || known.image.layers.is_empty() || self.options.named_contexts.contains_key(written) {
            return;
        }
        let message = format!(
            "Base image {written} was pulled with platform \"{actual}\", expected \"{wanted}\" for current build"
        );
        self.find("InvalidBaseImagePlatform", span, message);
    }

    /// `keyword` is ARG or ENV.
    pub(super) fn check_secret(&mut self, keyword: &str, name: &str, span: Span) {
        if names_a_secret(name) {
            let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
            self.find("SecretsUsedInArgOrEnv", span, message);
        }
    }

    pub(super) fn check_form(&mut self, pairs: &KeyValues, instruction: &Instruction) {
        if pairs.legacy {
            let name = &instruction.keyword_as_written;
            let message = format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            self.find("LegacyKeyValueFormat", instruction.span, message);
        }
    }

    /// Only the first WORKDIR of a stage and of those it builds on counts: what is relative to it is well known.
    pub(super) fn check_workdir(&mut self, state: &StageState, path: &str, written: &Text) {
        if !state.workdir_set && !path.starts_with('/') {
            let message = format!("Relative workdir {path:?} can have unexpected results if the base image changes");
            self.find("WorkdirRelativePath", written.span, message);
        }
    }

    pub(super) fn check_port(&mut self, port: &PortSpec, word: &str, span: Span) {
        if !port.protocol_is_lower_case {
            let message = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
            self.find("ExposeProtoCasing", span, message);
        }
        if port.has_host_part {
            let message =
                format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
            self.find("ExposeInvalidFormat", span, message);
        }
    }

    /// `path` is a source in the build context. Where rules take things back in, it is too hard to say.
    pub(super) fn check_ignored(&mut self, path: &str, is_add: bool, span: Span) {
        let Some(ignore) = self.options.ignore.as_deref().filter(|ignore| !ignore.has_negations()) else { return };
        let clean = clean(path.as_bytes());
        let is_ignored = if clean.is_empty() { ignore.excludes_every_entry() } else { ignore.excludes(&clean) };
        if is_ignored {
            let verb = if is_add { "Add" } else { "Copy" };
            let clean = String::from_utf8_lossy(&clean);
            let shown = match (path.starts_with('/'), clean.as_ref()) {
                (true, clean) => format!("/{clean}"),
                (false, "") => ".".to_owned(),
                (false, clean) => clean.to_owned(),
            };
            let message = format!("Attempting to {verb} file {shown:?} that is excluded by .dockerignore");
            self.find("CopyIgnoredFile", span, message);
        }
    }

    /// CMD, ENTRYPOINT and HEALTHCHECK: the one before in this stage was in vain.
    pub(super) fn check_once(&mut self, instruction: &Instruction, place: &mut Place<'_>) {
        let here = (instruction.name_span, place.lines);
        if let Some((span, lines)) = place.once.insert(instruction.kind.name(), here) {
            let name = &instruction.keyword_as_written;
            let message = format!(
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            );
            let rule = "MultipleInstructionsDisallowed";
            self.findings.push(Finding { rule, span, lines: Some(lines), message });
        }
    }

    /// Who sets a SHELL, here or in the base image, chose it.
    pub(super) fn check_shell_form(&mut self, state: &StageState, form: &CommandForm, instruction: &Instruction) {
        let has_shell = !state.image().shell.is_empty();
        if matches!(form, CommandForm::Shell(_)) && !has_shell {
            let message = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                instruction.keyword_as_written
            );
            self.find("JSONArgsRecommended", instruction.span, message);
        }
    }
}

/// Whether a word between `_` or the ends says so, and none says that it is no secret after all.
fn names_a_secret(key: &str) -> bool {
    const SECRET: [&str; 10] =
        ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let key = key.to_lowercase();
    let has = |words: &[&str]| key.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&HARMLESS)
}
