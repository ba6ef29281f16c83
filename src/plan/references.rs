//! What a `--from`, or the `from=` of a mount, names: a stage, an image, a named context.

use std::collections::HashMap;

use super::stage::{Base, Stages};
use super::{ImageKey, ImageSource, NamedContext, Options};
use crate::diag::{Diagnostic, nearest};
use crate::dockerfile::{Instruction, InstructionKind, Text};
use crate::oci::{Platform, Reference};

/// Among how many stages a near name is looked for.
const CANDIDATES: usize = 1_000;

/// Where the stages of each name stand; never walked.
#[derive(Debug, Default)]
pub(super) struct Places<'a>(HashMap<&'a str, Vec<usize>>);

impl<'a> Places<'a> {
    /// Adds a stage that stands behind all others.
    pub(super) fn add(&mut self, name: &'a str, at: usize) {
        self.0.entry(name).or_default().push(at);
    }

    /// Returns the last stage of that name before `at`.
    pub(super) fn before(&self, name: &str, at: usize) -> Option<usize> {
        let places = self.0.get(name)?;
        places[..places.partition_point(|place| *place < at)].last().copied()
    }

    /// Returns the first stage of that name from `at` on.
    pub(super) fn after(&self, name: &str, at: usize) -> Option<usize> {
        let places = self.0.get(name)?;
        places.get(places.partition_point(|place| *place < at)).copied()
    }
}

impl Stages<'_> {
    /// Returns what `--from=` or a mount's `from=` of the stage at `at` names. Numbers count for COPY only (7.6).
    pub(super) fn resolve(&self, from: &Text, at: usize, numbers: bool, options: &Options) -> Result<Base, Diagnostic> {
        if from.text == "scratch" {
            return Ok(Base::Scratch);
        }
        let target = target_of(options, &from.text);
        let name = target.map_or_else(|| from.text.to_lowercase(), str::to_owned);
        if let Some(earlier) = self.places.before(&name, at) {
            return Ok(Base::Stage(earlier));
        }
        if let Some(later) = self.places.after(&name, at) {
            return Err(self.not_before(from, at, later, numbers));
        }
        if let Some(target) = target {
            return Err(no_target(from, target));
        }
        if numbers && let Ok(number) = name.parse::<i64>() {
            return match usize::try_from(number) {
                Ok(stage) if stage < at => Ok(Base::Stage(stage)),
                Ok(stage) if stage < self.all.len() => Err(self.not_before(from, at, stage, numbers)),
                _ => Err(Diagnostic::error("unknown-stage", from.span, format!("invalid stage index {number}"))
                    .with_help(format!("the stages of this file have the numbers 0 to {}", self.all.len() - 1))),
            };
        }
        // An image is taken for the platform built for, whatever `FROM --platform` says (moby/buildkit issue 5671).
        let platform = &options.platform;
        if let Some(context) = named_context(options, &from.text, platform) {
            return Ok(context);
        }
        let reference = Reference::parse(&from.text).map_err(|error| {
            let message = format!("failed to parse stage name \"{}\": {error}", from.text);
            Diagnostic::error("invalid-reference", from.span, message)
        })?;
        let key = ImageKey { source: ImageSource::Reference(reference), platform: platform.clone() };
        Ok(Base::Image(key, from.text.clone()))
    }

    /// Adds "did you mean" to what [`Self::resolve`] said, where an earlier stage has nearly that name.
    pub(super) fn suggest(&self, error: Diagnostic, from: &Text, at: usize, options: &Options) -> Diagnostic {
        let name = target_of(options, &from.text).unwrap_or(&from.text);
        if !["invalid-reference", "unknown-stage"].contains(&error.code) || name.parse::<i64>().is_ok() {
            return error;
        }
        let earlier = self.all[..at].iter().rev().take(CANDIDATES);
        let Some(near) = nearest(name, earlier.filter_map(|stage| stage.name)) else { return error };
        let stage = self.places.before(near, at).map(|stage| &self.all[stage].head.kind);
        match stage {
            Some(InstructionKind::From(from)) => {
                let span = from.stage_name.as_ref().map_or(from.reference.span, |name| name.span);
                error.with_note(span, format!("did you mean `{near}`?"))
            }
            _ => error,
        }
    }

    fn not_before(&self, from: &Text, at: usize, later: usize, copy: bool) -> Diagnostic {
        let me = self.all[at].name.map_or_else(|| format!("stage-{at}"), str::to_owned);
        let head = self.all[later].head.span;
        if later == at || self.need_each_other(at, later) {
            let message = format!("circular dependency detected on stage: {me}");
            return Diagnostic::error("circular-dependency", from.span, message)
                .with_note(head, format!("`{}` is defined here", from.text));
        }
        let message = if copy {
            format!("cannot copy from stage \"{}\", it needs to be defined before current stage \"{me}\"", from.text)
        } else {
            format!("cannot mount from stage \"{}\", stage needs to be defined before current command", from.text)
        };
        Diagnostic::error("stage-order", from.span, message).with_note(head, "it is defined here")
    }
}

/// Returns every `--from=` of an instruction, and whether a number may stand there.
pub(super) fn references(instruction: &Instruction) -> Vec<(&Text, bool)> {
    match &instruction.kind {
        InstructionKind::Copy(copy) => copy.from.iter().map(|from| (from, true)).collect(),
        InstructionKind::Run(run) => {
            run.mounts.iter().filter_map(|mount| mount.from()).map(|from| (from, false)).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the stage that stands for `name`, where `--build-context NAME=target:STAGE` says so.
pub(super) fn target_of<'o>(options: &'o Options, name: &str) -> Option<&'o str> {
    match options.named_contexts.get(&name.to_lowercase())? {
        NamedContext::Target(stage) => Some(stage),
        _ => None,
    }
}

/// Says that there is no stage that a named context could stand for.
pub(super) fn no_target(written: &Text, target: &str) -> Diagnostic {
    let message = format!("target stage \"{target}\" of named context \"{}\" could not be found", written.text);
    Diagnostic::error("unknown-stage", written.span, message)
        .with_help("`target:` names a stage that stands earlier in this Dockerfile")
}

/// Returns the named context that stands for `name`, if there is one (rule 7.13).
pub(super) fn named_context(options: &Options, name: &str, platform: &Platform) -> Option<Base> {
    let lower = name.to_lowercase();
    if options.named_contexts.is_empty() || lower == "scratch" || lower == "context" {
        return None;
    }
    let familiar = Reference::parse(name).ok().map(|reference| reference.familiar());
    let familiar = familiar.as_deref().map(|name| name.strip_suffix(":latest").unwrap_or(name));
    let names = [familiar, Some(lower.as_str())].into_iter().flatten();
    let candidates = names.flat_map(|name| [format!("{name}::{platform}"), name.to_owned()]);
    candidates.into_iter().find_map(|name| {
        Some(match options.named_contexts.get(&name)? {
            NamedContext::Directory => Base::Directory(name),
            NamedContext::Image(source) => {
                Base::Image(ImageKey { source: source.clone(), platform: platform.clone() }, name)
            }
            NamedContext::Target(_) => return None,
        })
    })
}
