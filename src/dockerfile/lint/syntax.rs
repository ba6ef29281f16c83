//! The checks that need only the text, one function per rule.

use std::collections::BTreeSet;
use std::mem::discriminant;

use super::super::instruction::{CommandForm, InstructionKind, Text};
use super::super::port::PortSpec;
use super::Report;
use super::stages::Stages;

pub(super) fn consistent_instruction_casing(stages: &Stages<'_>, report: &mut Report<'_>) {
    let instructions = &stages.file.instructions;
    let count = |case: fn(&str) -> bool| instructions.iter().filter(|one| case(&one.keyword_as_written)).count();
    let (case, name): (fn(&str) -> bool, _) =
        if count(is_lower) > count(is_upper) { (is_lower, "lower") } else { (is_upper, "upper") };
    for instruction in instructions.iter().filter(|one| !case(&one.keyword_as_written)) {
        let written = &instruction.keyword_as_written;
        let message = format!("instruction '{written}' should be {name} case, as most instructions of the file");
        report.add(instruction, instruction.name_span, message);
    }
}

fn is_lower(word: &str) -> bool {
    !word.contains(|c: char| c.is_ascii_uppercase())
}

fn is_upper(word: &str) -> bool {
    !word.contains(|c: char| c.is_ascii_lowercase())
}

pub(super) fn stage_name_casing(stages: &Stages<'_>, report: &mut Report<'_>) {
    for stage in &stages.all {
        let Some(name) = &stage.from.stage_name else { continue };
        let written = stages.written(name.span);
        if !is_lower(written) {
            report.add(stage.instruction, name.span, format!("stage name '{written}' should be lowercase"));
        }
    }
}

pub(super) fn from_as_casing(stages: &Stages<'_>, report: &mut Report<'_>) {
    for stage in &stages.all {
        let Some(keyword) = &stage.from.as_keyword else { continue };
        let from = &stage.instruction.keyword_as_written;
        let both = |case: fn(&str) -> bool| case(from) && case(&keyword.text);
        if !both(is_lower) && !both(is_upper) {
            let message = format!("'{}' and '{from}' should have the same casing", keyword.text);
            report.add(stage.instruction, keyword.span, message);
        }
    }
}

pub(super) fn duplicate_stage_name(stages: &Stages<'_>, report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    for stage in &stages.all {
        let Some(name) = &stage.from.stage_name else { continue };
        if !seen.insert(&name.text) {
            let message = format!("duplicate stage name '{}', stage names should be unique", name.text);
            report.add(stage.instruction, name.span, message);
        }
    }
}

pub(super) fn reserved_stage_name(stages: &Stages<'_>, report: &mut Report<'_>) {
    for stage in &stages.all {
        let reserved = |name: &&Text| matches!(name.text.as_str(), "scratch" | "context");
        if let Some(name) = stage.from.stage_name.as_ref().filter(reserved) {
            report.add(stage.instruction, name.span, format!("stage name '{}' is reserved", name.text));
        }
    }
}

pub(super) fn redundant_target_platform(stages: &Stages<'_>, report: &mut Report<'_>) {
    for stage in &stages.all {
        let Some(platform) = &stage.from.platform else { continue };
        if matches!(platform.text.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
            let message = "platform $TARGETPLATFORM is redundant, it is the default";
            report.add(stage.instruction, platform.span, message);
        }
    }
}

/// A stage named for its platform says that the constant is meant.
pub(super) fn from_platform_flag_const(stages: &Stages<'_>, report: &mut Report<'_>) {
    for stage in &stages.all {
        let Some(platform) = stage.from.platform.as_ref().filter(|platform| !platform.text.contains('$')) else {
            continue;
        };
        let name = stage.from.stage_name.as_ref().map_or("", |name| name.text.as_str());
        let is_named_for = |part: &str| !part.is_empty() && name.contains(&part.to_lowercase());
        if !platform.text.split('/').take(2).any(is_named_for) {
            let message = format!("FROM --platform should not be the constant value \"{}\"", platform.text);
            report.add(stage.instruction, platform.span, message);
        }
    }
}

pub(super) fn no_empty_continuation(stages: &Stages<'_>, report: &mut Report<'_>) {
    for instruction in &stages.file.instructions {
        if let Some(blank) = instruction.blank_continuation {
            report.add(instruction, blank, "empty continuation line");
        }
    }
}

pub(super) fn maintainer_deprecated(stages: &Stages<'_>, report: &mut Report<'_>) {
    for instruction in &stages.file.instructions {
        if let InstructionKind::Maintainer(name) = &instruction.kind {
            let message = format!(
                "MAINTAINER is deprecated, use a label: LABEL org.opencontainers.image.authors={:?}",
                name.text
            );
            report.add(instruction, instruction.name_span, message);
        }
    }
}

pub(super) fn legacy_key_value_format(stages: &Stages<'_>, report: &mut Report<'_>) {
    for instruction in &stages.file.instructions {
        let (InstructionKind::Env(set) | InstructionKind::Label(set)) = &instruction.kind else { continue };
        if set.legacy {
            let name = instruction.kind.name();
            let message = format!("\"{name} key=value\" should be used instead of the old \"{name} key value\"");
            report.add(instruction, instruction.span, message);
        }
    }
}

pub(super) fn secrets_in_arg_or_env(stages: &Stages<'_>, report: &mut Report<'_>) {
    for instruction in &stages.file.instructions {
        let keys: Vec<&Text> = match &instruction.kind {
            InstructionKind::Arg(declared) => declared.iter().map(|one| &one.name).collect(),
            InstructionKind::Env(set) => set.pairs.iter().map(|pair| &pair.key).collect(),
            _ => continue,
        };
        for key in keys.into_iter().filter(|key| names_a_secret(&key.text)) {
            let message = format!(
                "ARG and ENV should not hold sensitive data ({} {:?}), use a secret mount",
                instruction.kind.name(),
                key.text
            );
            report.add(instruction, key.span, message);
        }
    }
}

fn names_a_secret(key: &str) -> bool {
    const SECRET: [&str; 10] =
        ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let key = key.to_lowercase();
    let has = |words: &[&str]| key.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&HARMLESS)
}

pub(super) fn multiple_instructions(stages: &Stages<'_>, report: &mut Report<'_>) {
    for stage in &stages.all {
        for (index, instruction) in stage.body.iter().enumerate() {
            let counts_once = matches!(
                instruction.kind,
                InstructionKind::Cmd(_) | InstructionKind::Entrypoint(_) | InstructionKind::Healthcheck(_)
            );
            let same = |later: &super::Instruction| discriminant(&later.kind) == discriminant(&instruction.kind);
            if counts_once && stage.body[index + 1..].iter().any(same) {
                let name = instruction.kind.name();
                let message = format!("multiple {name} instructions in one stage: only the last one is used");
                report.add(instruction, instruction.name_span, message);
            }
        }
    }
}

/// A stage that sets its own SHELL, or builds on one that does, chose the shell form.
pub(super) fn json_args_recommended(stages: &Stages<'_>, report: &mut Report<'_>) {
    let is_shell = |kind: &InstructionKind| matches!(kind, InstructionKind::Shell(_));
    let shells = stages.inherit(is_shell);
    for stage in &stages.all {
        let mut has_shell = stage.base.is_some_and(|base| shells[base]);
        for instruction in stage.body {
            has_shell |= is_shell(&instruction.kind);
            let (InstructionKind::Cmd(form) | InstructionKind::Entrypoint(form)) = &instruction.kind else { continue };
            if matches!(form, CommandForm::Shell(_)) && !has_shell {
                let name = instruction.kind.name();
                let message =
                    format!("JSON arguments recommended for {name}, else a shell stands between it and signals");
                report.add(instruction, instruction.span, message);
            }
        }
    }
}

/// A path that starts with a variable is taken to be absolute.
pub(super) fn workdir_relative_path(stages: &Stages<'_>, report: &mut Report<'_>) {
    let workdirs = stages.inherit(|kind| matches!(kind, InstructionKind::Workdir(_)));
    for stage in stages.all.iter().filter(|stage| !stage.base.is_some_and(|base| workdirs[base])) {
        let first = stage.body.iter().find_map(|instruction| match &instruction.kind {
            InstructionKind::Workdir(path) => Some((instruction, path)),
            _ => None,
        });
        let Some((instruction, path)) = first else { continue };
        if !path.text.trim_start_matches(['"', '\'']).starts_with(['/', '$']) {
            let message = format!("relative workdir '{}' depends on the base image", path.text);
            report.add(instruction, path.span, message);
        }
    }
}

/// Calls `found` for each port that is given without variables and is valid.
fn for_each_port(stages: &Stages<'_>, mut found: impl FnMut(&super::Instruction, &Text, PortSpec)) {
    for instruction in &stages.file.instructions {
        let InstructionKind::Expose(words) = &instruction.kind else { continue };
        for word in words {
            if let Ok(port) = PortSpec::parse(&word.text) {
                found(instruction, word, port);
            }
        }
    }
}

pub(super) fn expose_proto_casing(stages: &Stages<'_>, report: &mut Report<'_>) {
    for_each_port(stages, |instruction, word, port| {
        if !port.protocol_is_lower_case {
            report.add(instruction, word.span, format!("protocol of '{}' should be lowercase", word.text));
        }
    });
}

pub(super) fn expose_invalid_format(stages: &Stages<'_>, report: &mut Report<'_>) {
    for_each_port(stages, |instruction, word, port| {
        if port.has_host_part {
            let message = format!("EXPOSE should not define an address or host port, found '{}'", word.text);
            report.add(instruction, word.span, message);
        }
    });
}

pub(super) fn invalid_definition_description(stages: &Stages<'_>, report: &mut Report<'_>) {
    for instruction in &stages.file.instructions {
        let (names, what) = match &instruction.kind {
            InstructionKind::From(from) => (from.stage_name.iter().collect::<Vec<_>>(), "stage"),
            InstructionKind::Arg(declared) => (declared.iter().map(|one| &one.name).collect(), "arg"),
            _ => continue,
        };
        let comments = instruction.comments.iter().filter(|comment| super::options_in(&comment.text).is_none());
        let comments: Vec<_> = comments.collect();
        let (Some(name), Some(last)) = (names.first(), comments.last()) else { continue };
        let describes = |text: &str| names.iter().any(|name| text.split(' ').next() == Some(&name.text));
        if !comments.iter().any(|comment| describes(&comment.text)) {
            let message = format!("comment for {what} should follow the format: `# {} <description>`", name.text);
            report.add(instruction, last.span, message);
        }
    }
}
