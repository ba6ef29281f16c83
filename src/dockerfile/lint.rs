//! Lint rules: what is legal, and probably not meant.
//!
//! The table names every rule, also those that need more than the text and are reported by `plan`.

use super::directive::CheckOptions;

/// A lint rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// BuildKit's name, the code of its diagnostics.
    pub name: &'static str,
    /// One line on what it asks for.
    pub description: &'static str,
    /// Who reports it.
    pub stage: RuleStage,
    /// True: silent unless `experimental=` asks for it.
    pub experimental: bool,
}

/// Who can see that a rule is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleStage {
    /// This module, from the instructions alone.
    Syntax,
    /// `plan`, which knows values, base images and the context.
    Plan,
}

const fn rule(name: &'static str, stage: RuleStage, description: &'static str) -> Rule {
    Rule { name, description, stage, experimental: false }
}

use RuleStage::{Plan, Syntax};

/// All rules, in the order of their names.
pub const RULES: &[Rule] = &[
    rule("ConsistentInstructionCasing", Syntax, "Instruction names should all be in capitals or all in small letters"),
    rule("CopyIgnoredFile", Plan, "A file that is copied should not be excluded by the ignore file"),
    rule("DuplicateStageName", Syntax, "Stage names should be unique"),
    rule("ExposeInvalidFormat", Syntax, "EXPOSE should name ports of the container, without address or host port"),
    rule("ExposeProtoCasing", Syntax, "Protocols in EXPOSE should be lower case"),
    rule("FromAsCasing", Syntax, "FROM and AS should be written in the same case"),
    rule("FromPlatformFlagConstDisallowed", Syntax, "FROM --platform should not be a constant"),
    rule("InvalidBaseImagePlatform", Plan, "The base image should be of the target platform"),
    rule("InvalidDefaultArgInFrom", Plan, "Default values of global ARGs should give a valid base image"),
    Rule {
        name: "InvalidDefinitionDescription",
        description: "A comment right above a stage or ARG should start with its name",
        stage: Syntax,
        experimental: true,
    },
    rule("JSONArgsRecommended", Syntax, "CMD and ENTRYPOINT should be in JSON form, so that signals arrive"),
    rule("LegacyKeyValueFormat", Syntax, "ENV and LABEL should be written key=value"),
    rule("MaintainerDeprecated", Syntax, "MAINTAINER is old: a label says the same"),
    rule("MultipleInstructionsDisallowed", Syntax, "Only the last of several CMD, ENTRYPOINT or HEALTHCHECK counts"),
    rule("NoEmptyContinuation", Syntax, "Blank lines inside an instruction will become errors"),
    rule("RedundantTargetPlatform", Syntax, "FROM --platform=$TARGETPLATFORM is the default"),
    rule("ReservedStageName", Syntax, "Stages should not be named scratch or context"),
    rule("SecretsUsedInArgOrEnv", Syntax, "Secrets should not be given by ARG or ENV"),
    rule("StageNameCasing", Syntax, "Stage names should be lower case"),
    rule("UndefinedArgInFrom", Plan, "FROM should use declared ARGs"),
    rule("UndefinedVar", Plan, "Variables should be defined before they are used"),
    rule("WorkdirRelativePath", Syntax, "The first WORKDIR of a stage should be absolute"),
];

impl Rule {
    /// Returns the rule called `name`.
    pub fn named(name: &str) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.name == name)
    }

    /// Whether the rule speaks under these options: the file's, and perhaps those above one instruction.
    pub fn speaks(&self, options: &CheckOptions) -> bool {
        let listed = |names: &[String]| names.iter().any(|name| name == "all" || name.eq_ignore_ascii_case(self.name));
        !listed(&options.skip) && (!self.experimental || listed(&options.experimental))
    }
}
