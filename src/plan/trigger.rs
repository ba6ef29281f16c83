//! What the target reaches: which stages, which images, and the ONBUILD triggers they bring along.

use std::collections::BTreeMap;

use super::arguments::{MOST_BYTES, too_many_bytes};
use super::references::references;
use super::stage::{Base, Stages};
use super::{ImageNeed, KnownImages, Options};
use crate::diag::Diagnostic;
use crate::dockerfile::{Instruction, InstructionKind, Text, parse_trigger};
use crate::source::{SourceFile, Sources};

/// The triggers that run right after FROM, by stage; exactly the stages that the target reaches are there.
pub(super) type Triggers = BTreeMap<usize, Vec<Instruction>>;

/// What a trigger takes beside its text, about.
const TRIGGER_BYTES: usize = 100;

/// To how many mistakes a near name is said: more would take the time of a build.
const SUGGESTIONS: usize = 100;

pub(super) enum Collected {
    Needs(Vec<ImageNeed>),
    All(Triggers),
}

/// Walks back from the target. References only ever point to earlier stages, so one walk is enough. What is wrong with a
/// reference goes to `errors`; only where it is built its order counts, and that it is a name.
pub(super) fn collect(
    stages: &Stages<'_>,
    sources: &mut Sources,
    options: &Options,
    known: &KnownImages,
    errors: &mut Vec<Diagnostic>,
) -> Collected {
    let mut reached = vec![options.every_stage; stages.all.len()];
    if let Some(target) = stages.target {
        reached[target] = true;
    }
    let mut triggers = Triggers::new();
    let mut needs: Vec<ImageNeed> = Vec::new();
    let mut room = MOST_BYTES;
    for at in (0..stages.all.len()).rev() {
        let stage = &stages.all[at];
        let InstructionKind::From(from) = &stage.head.kind else { continue };
        let is_reached = reached[at];
        let mut reach = |base: Base, text: &Text| match base {
            _ if !is_reached => {}
            Base::Stage(earlier) => reached[earlier] = true,
            Base::Image(key, written) if !known.contains_key(&key) => {
                needs.push(ImageNeed { key, written, span: text.span });
            }
            _ => {}
        };
        reach(stage.base.clone(), &from.reference);
        let mut mine = Vec::new();
        for text in trigger_texts(stages, &stage.base, known).into_iter().filter(|_| is_reached) {
            let Some(left) = room.checked_sub(text.len() + TRIGGER_BYTES) else {
                errors.push(too_many_bytes(stage.head.span));
                break;
            };
            room = left;
            let id = sources.add(SourceFile::new(format!("ONBUILD trigger of {}", from.reference.text), text));
            match parse_trigger(sources, id) {
                Ok(trigger) => mine.push(trigger),
                Err(more) => errors.extend(more),
            }
        }
        for (text, numbers) in mine.iter().chain(stage.body.iter().copied()).flat_map(references) {
            match stages.resolve(text, at, numbers, options) {
                Ok(base) => reach(base, text),
                Err(error) if !is_reached && ["invalid-reference", "stage-order"].contains(&error.code) => {}
                Err(error) if errors.len() < SUGGESTIONS => errors.push(stages.suggest(error, text, at, options)),
                Err(error) => errors.push(error),
            }
        }
        if is_reached {
            triggers.insert(at, mine);
        }
    }
    needs.sort_by(|a, b| (&a.key, a.span).cmp(&(&b.key, b.span)));
    needs.dedup_by(|a, b| a.key == b.key);
    if needs.is_empty() { Collected::All(triggers) } else { Collected::Needs(needs) }
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
