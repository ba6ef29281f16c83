//! Lint rules: what is legal, and probably not meant.
//!
//! [`RULES`] names every rule. Those that need only the text have their check in the table, and [`lint`] runs
//! them; the others are seen by `plan`, which knows values, base images and the context, and which reports through
//! the same door, [`warning`], so that `# check=skip=` holds for all.

mod stages;
mod syntax;

use crate::diag::Diagnostic;
use crate::source::{Sources, Span};

use super::Dockerfile;
use super::directive::CheckOptions;
use super::instruction::Instruction;
use stages::Stages;

/// A lint rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// BuildKit's name, the code of its diagnostics.
    pub name: &'static str,
    /// One line on what it asks for.
    pub description: &'static str,
    /// True: silent unless `experimental=` asks for it.
    pub is_experimental: bool,
    /// How to see from the text alone that it is broken; `None` when `plan` has to look.
    check: Option<Check>,
}

type Check = fn(&Stages<'_>, &mut Report<'_>);

const fn text(name: &'static str, check: Check, description: &'static str) -> Rule {
    Rule { name, description, is_experimental: false, check: Some(check) }
}

const fn plan(name: &'static str, description: &'static str) -> Rule {
    Rule { name, description, is_experimental: false, check: None }
}

/// All rules, in the order of their names.
pub const RULES: &[Rule] = &[
    text(
        "ConsistentInstructionCasing",
        syntax::consistent_instruction_casing,
        "Instruction names should all be in capitals or all in small letters",
    ),
    plan("CopyIgnoredFile", "A file that is copied should not be excluded by the ignore file"),
    text("DuplicateStageName", syntax::duplicate_stage_name, "Stage names should be unique"),
    text(
        "ExposeInvalidFormat",
        syntax::expose_invalid_format,
        "EXPOSE should name ports of the container, without address or host port",
    ),
    text("ExposeProtoCasing", syntax::expose_proto_casing, "Protocols in EXPOSE should be lower case"),
    text("FromAsCasing", syntax::from_as_casing, "FROM and AS should be written in the same case"),
    text(
        "FromPlatformFlagConstDisallowed",
        syntax::from_platform_flag_const,
        "FROM --platform should not be a constant",
    ),
    plan("InvalidBaseImagePlatform", "The base image should be of the target platform"),
    plan("InvalidDefaultArgInFrom", "Default values of global ARGs should give a valid base image"),
    Rule {
        is_experimental: true,
        ..text(
            "InvalidDefinitionDescription",
            syntax::invalid_definition_description,
            "A comment right above a stage or ARG should start with its name",
        )
    },
    text(
        "JSONArgsRecommended",
        syntax::json_args_recommended,
        "CMD and ENTRYPOINT should be in JSON form, so that signals arrive",
    ),
    text("LegacyKeyValueFormat", syntax::legacy_key_value_format, "ENV and LABEL should be written key=value"),
    text("MaintainerDeprecated", syntax::maintainer_deprecated, "MAINTAINER is old: a label says the same"),
    text(
        "MultipleInstructionsDisallowed",
        syntax::multiple_instructions,
        "Only the last of several CMD, ENTRYPOINT or HEALTHCHECK counts",
    ),
    text("NoEmptyContinuation", syntax::no_empty_continuation, "Blank lines inside an instruction mislead"),
    text(
        "RedundantTargetPlatform",
        syntax::redundant_target_platform,
        "FROM --platform=$TARGETPLATFORM is the default",
    ),
    text("ReservedStageName", syntax::reserved_stage_name, "Stages should not be named scratch or context"),
    text("SecretsUsedInArgOrEnv", syntax::secrets_in_arg_or_env, "Secrets should not be given by ARG or ENV"),
    text("StageNameCasing", syntax::stage_name_casing, "Stage names should be lower case"),
    plan("UndefinedArgInFrom", "FROM should use declared ARGs"),
    plan("UndefinedVar", "Variables should be defined before they are used"),
    text("WorkdirRelativePath", syntax::workdir_relative_path, "The first WORKDIR of a stage should be absolute"),
];

impl Rule {
    /// Returns the rule called `name`.
    pub fn named(name: &str) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.name == name)
    }

    /// Whether the rule speaks under these options.
    fn speaks(&self, skip: &[&CheckOptions]) -> bool {
        let listed = |names: &[String]| names.iter().any(|name| name == "all" || name.eq_ignore_ascii_case(self.name));
        let is_skipped = skip.iter().any(|options| listed(&options.skip));
        !is_skipped && (!self.is_experimental || skip.iter().any(|options| listed(&options.experimental)))
    }
}

/// Runs all rules that need only the text. The warnings come in the order of the lines they are about.
pub fn lint(file: &Dockerfile, sources: &Sources) -> Vec<Diagnostic> {
    let stages = Stages::new(file, sources);
    let mut report = Report { file, rule: "", warnings: Vec::new() };
    for rule in RULES {
        report.rule = rule.name;
        if let Some(check) = rule.check {
            check(&stages, &mut report);
        }
    }
    report.warnings.sort_by_key(|warning| warning.span.map(|span| span.start));
    report.warnings
}

/// Makes the warning of a rule about `instruction`, unless the file's `# check=` directive, or one in the comments
/// right above the instruction, silences it. `rule` must be a name of [`RULES`].
pub fn warning(
    file: &Dockerfile,
    rule: &'static str,
    instruction: &Instruction,
    span: Span,
    message: impl Into<String>,
) -> Option<Diagnostic> {
    let own: Vec<CheckOptions> = instruction.comments.iter().filter_map(|comment| options_in(&comment.text)).collect();
    let options: Vec<&CheckOptions> = std::iter::once(&file.directives.check).chain(&own).collect();
    let speaks = Rule::named(rule).is_none_or(|rule| rule.speaks(&options));
    speaks.then(|| Diagnostic::warning(rule, span, message))
}

/// Reads a comment `check=...`; a mistake in it is no reason to fail, so it is then only a comment.
fn options_in(comment: &str) -> Option<CheckOptions> {
    let (key, value) = comment.split_once('=')?;
    key.trim().eq_ignore_ascii_case("check").then(|| CheckOptions::parse(value).ok())?
}

/// Where checks put their findings.
struct Report<'a> {
    file: &'a Dockerfile,
    /// The rule being checked.
    rule: &'static str,
    warnings: Vec<Diagnostic>,
}

impl Report<'_> {
    fn add(&mut self, instruction: &Instruction, span: Span, message: impl Into<String>) {
        self.warnings.extend(warning(self.file, self.rule, instruction, span, message));
    }
}

#[cfg(test)]
mod tests;
