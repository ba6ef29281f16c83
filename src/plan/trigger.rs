//! What the target reaches: which stages, which images, and the ONBUILD triggers they bring along.

use std::collections::BTreeMap;

use super::stage::{Base, Stages, references};
use super::{ImageNeed, KnownImages, Options};
use crate::diag::Diagnostic;
use crate::dockerfile::{Instruction, InstructionKind, Text, parse_trigger};
use crate::source::{SourceFile, Sources};

/// The triggers that run right after FROM, by stage; exactly the stages that the target reaches are there.
pub(super) type Triggers = BTreeMap<usize, Vec<Instruction>>;

pub(super) enum Collected {
    Needs(Vec<ImageNeed>),
    All(Triggers),
}

/// Walks back from the target. References only ever point to earlier stages, so one walk is enough.
pub(super) fn collect(
    stages: &Stages<'_>,
    sources: &mut Sources,
    options: &Options,
    known: &KnownImages,
) -> Result<Collected, Vec<Diagnostic>> {
    let mut reached = vec![options.every_stage; stages.all.len()];
    reached[stages.target] = true;
    let mut triggers = Triggers::new();
    let mut needs: Vec<ImageNeed> = Vec::new();
    let mut errors = Vec::new();
    for at in (0..stages.all.len()).rev() {
        if !reached[at] {
            continue;
        }
        let stage = &stages.all[at];
        let InstructionKind::From(from) = &stage.head.kind else { continue };
        let mut reach = |base: Base, text: &Text| match base {
            Base::Stage(earlier) => reached[earlier] = true,
            Base::Image(key, written) if !known.contains_key(&key) => {
                needs.push(ImageNeed { key, written, span: text.span });
            }
            _ => {}
        };
        reach(stage.base.clone(), &from.reference);
        let mut mine = Vec::new();
        for text in trigger_texts(stages, &stage.base, known) {
            let id = sources.add(SourceFile::new(format!("ONBUILD trigger of {}", from.reference.text), text));
            match parse_trigger(sources, id) {
                Ok(trigger) => mine.push(trigger),
                Err(more) => errors.extend(more),
            }
        }
        for (text, numbers) in mine.iter().chain(stage.body.iter().copied()).flat_map(references) {
            match stages.resolve(text, at, numbers, options) {
                Ok(base) => reach(base, text),
                Err(error) => errors.push(error),
            }
        }
        triggers.insert(at, mine);
    }
    if !errors.is_empty() {
        Err(errors)
    } else if needs.is_empty() {
        Ok(Collected::All(triggers))
    } else {
        needs.sort_by(|a, b| (&a.key, a.span).cmp(&(&b.key, b.span)));
        needs.dedup_by(|a, b| a.key == b.key);
        Ok(Collected::Needs(needs))
    }
}

/// The ONBUILD texts of what a stage starts from; a stage's own are those it writes, never inherited (14.3).
fn trigger_texts(stages: &Stages<'_>, base: &Base, known: &KnownImages) -> Vec<String> {
    match base {
        Base::Stage(earlier) => {
            let texts = stages.all[*earlier].body.iter().filter_map(|instruction| match &instruction.kind {
                InstructionKind::OnBuild(on_build) => Some(on_build.text.clone()),
                _ => None,
            });
            texts.collect()
        }
        Base::Image(key, _) => known.get(key).map(|image| image.config.config.on_build.clone()).unwrap_or_default(),
        Base::Scratch | Base::Directory(_) => Vec::new(),
    }
}
