//! Lowering: each reachable stage is a fold over its instructions, `(state, instruction) -> state`, and steps
//! are added to the graph on the way.
//!
//! * here: the fold, FROM, and what all instructions share
//! * `state`: what is folded; `place`: where an instruction stands; `step`: how steps come into the graph
//! * `metadata`: instructions that only change the config or the scope
//! * `run`, `copy`: instructions that make steps
//! * `lint`: what is legal, and probably not meant

mod copy;
mod lint;
mod metadata;
mod place;
mod run;
mod state;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use super::arguments::{MOST_BYTES, too_many_bytes};
use super::graph::StepGraph;
use super::outline::{self, Given};
use super::scope::Scope;
use super::stage::{Base, Stages};
use super::trigger::Triggers;
use super::{KnownImages, Options, Plan};
use crate::diag::Diagnostic;
use crate::dockerfile::expand::{ExpandError, expand};
use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, Text};
use crate::source::Span;
use lint::{Finding, Once};
use place::{Place, makes_step};
use state::StageState;

pub(super) use copy::remote;
pub use state::DEFAULT_PATH;

/// To how many undefined variables a near name is said, and of how many candidates: more would take the time of a build.
const SUGGESTIONS: usize = 100;
const CANDIDATES: usize = 1_000;

/// The steps and warnings made so far.
struct Lowering<'a> {
    file: &'a Dockerfile,
    stages: &'a Stages<'a>,
    options: &'a Options,
    known: &'a KnownImages,
    escape: char,
    graph: StepGraph,
    /// What stages can be given, by place.
    given: BTreeMap<usize, Given>,
    warnings: Vec<Diagnostic>,
    /// What lint rules say of the current instruction.
    findings: Vec<Finding>,
    errors: Vec<Diagnostic>,
    /// Names that instructions with mistakes would have set.
    lost: Vec<String>,
    /// How many bytes history, environments and heredocs may still take.
    room: usize,
}

/// Lowers every stage that `triggers` says is reachable.
pub(super) fn lower(
    file: &Dockerfile,
    stages: &Stages<'_>,
    triggers: &Triggers,
    options: &Options,
    known: &KnownImages,
) -> Result<Plan, Vec<Diagnostic>> {
    let mut lowering = Lowering {
        file,
        stages,
        options,
        known,
        escape: file.directives.escape,
        graph: StepGraph::default(),
        given: BTreeMap::new(),
        warnings: stages.warnings.clone(),
        findings: Vec::new(),
        errors: Vec::new(),
        lost: Vec::new(),
        room: MOST_BYTES,
    };
    let mut finished: BTreeMap<usize, StageState> = BTreeMap::new();
    for (at, triggers) in triggers {
        match lowering.stage(*at, triggers, &finished) {
            Some(state) => finished.insert(*at, state.ended()),
            // Later stages may build on this one; what they would say after it is not to be trusted.
            None => break,
        };
    }
    if !lowering.errors.is_empty() {
        lowering.errors.extend(lowering.warnings);
        return Err(lowering.errors);
    }
    let target = stages.target.expect("without a target there are errors before");
    let last = finished.remove(&target).expect("the target is always reachable");
    let root = last.root;
    let (mut config, history) = last.finish();
    config.config.labels.extend(options.labels.clone());
    Ok(Plan {
        graph: lowering.graph,
        root,
        config,
        history,
        outline: outline::outline(file, stages, target, &lowering.given, options),
        warnings: lowering.warnings,
    })
}

/// How many mistakes of a stage are looked for: each costs another walk over its instructions.
const MOST_ERRORS: usize = 20;

/// How many lost names are remembered: each is looked for in every mistake that follows.
const MOST_LOST: usize = 1_000;

impl<'a> Lowering<'a> {
    /// Folds a stage. An instruction with a mistake is noted and left out, and the fold done again without it, so that
    /// all mistakes are found. What then lacks a name that the instruction would have set is no mistake of its own.
    fn stage(
        &mut self,
        at: usize,
        triggers: &[Instruction],
        finished: &BTreeMap<usize, StageState>,
    ) -> Option<StageState> {
        let mut wrong = BTreeSet::new();
        // Warnings are told up to the first mistake, as by a builder that stops there.
        let mut warnings = (!self.errors.is_empty()).then_some(self.warnings.len());
        let room = self.room;
        loop {
            self.room = room;
            let folded = self.fold(at, triggers, finished, &wrong);
            self.warnings.truncate(*warnings.get_or_insert(self.warnings.len()));
            let (place, error) = match folded {
                Ok(state) => return Some(state),
                Err(found) => found,
            };
            let body = &self.stages.all[at].body;
            let instruction = |place: usize| triggers.iter().chain(body.iter().copied()).nth(place);
            let is_follow_up = error.code == "expansion" && self.lost.iter().any(|name| error.message.contains(name));
            if !is_follow_up {
                self.errors.push(error);
            }
            let place = place.filter(|_| wrong.len() < MOST_ERRORS)?;
            let names = instruction(place).into_iter().flat_map(names_set_by);
            self.lost.extend(names.take(MOST_LOST.saturating_sub(self.lost.len())));
            wrong.insert(place);
        }
    }

    /// Folds the instructions of a stage but those of `wrong`; an error comes with the place of its instruction.
    fn fold(
        &mut self,
        at: usize,
        triggers: &[Instruction],
        finished: &BTreeMap<usize, StageState>,
        wrong: &BTreeSet<usize>,
    ) -> Result<StageState, (Option<usize>, Diagnostic)> {
        let stages = self.stages;
        let stage = &stages.all[at];
        let instructions = || triggers.iter().chain(stage.body.iter().copied());
        let label = match stage.name {
            Some(name) => format!("{name} "),
            None if stages.all.len() > 1 => format!("stage-{at} "),
            None => String::new(),
        };
        let total = 1 + instructions().filter(|instruction| makes_step(&instruction.kind)).count();
        let platform = self.platform_shown(&stage.platform, &Scope::default());
        let lines = stage.head.lines;
        let named = match &stage.head.kind {
            InstructionKind::From(from) => from.reference.span,
            _ => stage.head.span,
        };
        let mut place =
            Place { stage, stage_index: at, label, platform, next: 1, total, named, lines, once: Once::new() };
        let mut state = self.open(&mut place, finished).map_err(|error| (None, error))?;
        self.report(stage.head, lines);
        for (number, instruction) in instructions().enumerate().filter(|(number, _)| !wrong.contains(number)) {
            place.platform = self.platform_shown(&stage.platform, &state.scope);
            place.lines = if number < triggers.len() { lines } else { instruction.lines };
            let lowered = self.instruction(state, instruction, &mut place, finished);
            self.report(instruction, place.lines);
            state = lowered.map_err(|error| (Some(number), error))?;
            self.take_room(state.newest_bytes(), instruction.span).map_err(|error| (None, error))?;
        }
        Ok(state)
    }

    /// Counts bytes that the plan keeps because of what stands at `span`.
    fn take_room(&mut self, bytes: usize, span: Span) -> Result<(), Diagnostic> {
        self.room = self.room.checked_sub(bytes).ok_or_else(|| too_many_bytes(span))?;
        Ok(())
    }

    /// FROM: the state a stage begins with.
    fn open(
        &mut self,
        place: &mut Place<'_>,
        finished: &BTreeMap<usize, StageState>,
    ) -> Result<StageState, Diagnostic> {
        let stage = place.stage;
        place.next = 2;
        Ok(match &stage.base {
            Base::Scratch => StageState::scratch(&stage.platform, None),
            Base::Stage(earlier) => finished[earlier].as_base(),
            Base::Image(key, written) => {
                let known = &self.known[key];
                self.check_platform(key, written, known, place.named);
                let root = self.image_step(place, known.image.clone(), stage.head.span);
                StageState::of_image(known.config.clone(), Some(root))
            }
            Base::Directory(name) => {
                let root = self.context_step(Some(name.clone()), "/", stage.head.span);
                StageState::scratch(&stage.platform, Some(root))
            }
        })
    }

    fn instruction(
        &mut self,
        state: StageState,
        instruction: &Instruction,
        place: &mut Place<'_>,
        finished: &BTreeMap<usize, StageState>,
    ) -> Result<StageState, Diagnostic> {
        use InstructionKind as Kind;
        match &instruction.kind {
            Kind::Run(run) => self.run(state, run, instruction, place, finished),
            Kind::Copy(copy) => self.copy(state, copy, instruction, place, finished),
            Kind::Add(add) => self.add(state, add, instruction, place),
            Kind::Workdir(path) => self.workdir(state, path, instruction, place),
            Kind::Arg(declarations) => self.arg(state, declarations, instruction, place),
            Kind::Env(pairs) => self.env(state, pairs, instruction),
            Kind::Label(pairs) => self.label(state, pairs, instruction),
            Kind::Cmd(form) => {
                self.check_once(instruction, place);
                self.check_shell_form(&state, form, instruction);
                Ok(metadata::cmd(state, form))
            }
            Kind::Entrypoint(form) => {
                self.check_once(instruction, place);
                self.check_shell_form(&state, form, instruction);
                Ok(metadata::entrypoint(state, form))
            }
            Kind::User(user) => self.user(state, user),
            Kind::Expose(words) => self.expose(state, words),
            Kind::Volume(words) => self.volume(state, words),
            Kind::StopSignal(signal) => self.stop_signal(state, signal),
            Kind::Healthcheck(check) => {
                self.check_once(instruction, place);
                Ok(metadata::healthcheck(state, check))
            }
            Kind::Shell(shell) => Ok(metadata::shell(state, shell)),
            Kind::OnBuild(trigger) => Ok(metadata::on_build(state, trigger)),
            Kind::Maintainer(name) => Ok(metadata::maintainer(state, name)),
            Kind::From(_) => unreachable!("FROM opens a stage, and is refused as a trigger"),
        }
    }

    /// Expands `text` in `scope`; unset names become warnings.
    fn expand(&mut self, scope: &Scope, text: &Text) -> Result<String, Diagnostic> {
        let escape = self.escape;
        let expanded = self.expand_with(scope, text, |environment| expand(&text.text, escape, environment))?;
        self.note_undefined(scope, &expanded.undefined, text.span);
        Ok(expanded.text)
    }

    fn expand_with<T>(
        &self,
        scope: &Scope,
        text: &Text,
        expand: impl FnOnce(&dyn Fn(&str) -> Option<String>) -> Result<T, ExpandError>,
    ) -> Result<T, Diagnostic> {
        expand(&|name| scope.get(name).map(str::to_owned)).map_err(|error| error.at(text))
    }
}

fn names_set_by(instruction: &Instruction) -> Vec<String> {
    match &instruction.kind {
        InstructionKind::Arg(declarations) => declarations.iter().map(|one| one.name.text.clone()).collect(),
        InstructionKind::Env(set) => set.pairs.iter().map(|pair| pair.key.text.clone()).collect(),
        _ => Vec::new(),
    }
}
