//! Lowering: each reachable stage is a fold over its instructions, `(state, instruction) -> state`, and steps
//! are added to the graph on the way.
//!
//! * here: the fold, FROM, and what all instructions share (expansion, history, steps)
//! * `metadata`: instructions that only change the config or the scope
//! * `run`, `copy`: instructions that make steps
//! * `lint`: what is legal, and probably not meant

mod copy;
mod lint;
mod metadata;
mod run;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::arguments::{MOST_BYTES, too_many_bytes};
use super::graph::{ImageOp, Op, Root, Step, StepGraph, StepId, Tree};
use super::outline::{self, Given};
use super::scope::Scope;
use super::stage::{Base, Stage, Stages};
use super::trigger::Triggers;
use lint::{Finding, Once};

use super::{HistoryItem, KnownImages, NoCache, Options, Plan};
use crate::context::without_credentials;
use crate::diag::Diagnostic;
use crate::dockerfile::expand::{ExpandError, expand};
use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, Text};
use crate::oci::{ImageConfig, Platform};
use crate::source::Span;

pub(super) use copy::remote;

/// What an image has for PATH when nothing says otherwise (rule 7.12).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// To how many undefined variables a near name is said, and of how many candidates: more would take the time of a build.
const SUGGESTIONS: usize = 100;
const CANDIDATES: usize = 1_000;

/// A stage after some of its instructions.
#[derive(Clone, Debug)]
struct StageState {
    scope: Scope,
    config: ImageConfig,
    /// Where each name stands in the config's environment; never walked.
    env_places: HashMap<String, usize>,
    history: Vec<HistoryItem>,
    root: Root,
    /// Whether CMD was set in this stage (rule 13.11).
    cmd_set: bool,
    /// Whether this stage, or one it builds on, has a WORKDIR.
    workdir_set: bool,
}

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

/// Where an instruction stands: which stage, and which of its steps comes next.
struct Place<'a> {
    stage: &'a Stage<'a>,
    stage_index: usize,
    /// `builder`, or `stage-1` for one without a name; empty when the file has a single stage without a name.
    label: String,
    /// Of several.
    platform: Option<String>,
    next: usize,
    total: usize,
    /// What its FROM names.
    named: Span,
    /// The lines of the current instruction; of the FROM when that triggers it.
    lines: Span,
    once: Once,
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
            Some(state) => finished.insert(*at, state),
            // Later stages may build on this one; what they would say after it is not to be trusted.
            None => break,
        };
    }
    if !lowering.errors.is_empty() {
        lowering.errors.extend(lowering.warnings);
        return Err(lowering.errors);
    }
    let target = stages.target.expect("without a target there are errors before");
    let mut last = finished.remove(&target).expect("the target is always reachable");
    last.config.config.labels.extend(options.labels.clone());
    Ok(Plan {
        graph: lowering.graph,
        root: last.root,
        config: last.config,
        history: last.history,
        outline: outline::outline(file, stages, target, &lowering.given, options),
        warnings: lowering.warnings,
    })
}

impl Place<'_> {
    /// `[linux/arm64 builder 2/5]`.
    fn shown(&self, number: usize) -> String {
        let platform = self.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
        format!("[{platform}{}{number}/{}]", self.label, self.total)
    }
}

/// How many mistakes of a stage are looked for: each costs another walk over its instructions.
const MOST_ERRORS: usize = 20;

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
        loop {
            let folded = self.fold(at, triggers, finished, &wrong);
            self.warnings.truncate(*warnings.get_or_insert(self.warnings.len()));
            let (place, error) = match folded {
                Ok(state) => return Some(state),
                Err(found) => found,
            };
            let body = &self.stages.all[at].body;
            let instruction = |place: usize| triggers.iter().chain(body.iter().copied()).nth(place);
            let is_follow_up = self.lost.iter().any(|name| error.code == "expansion" && error.message.contains(name));
            if !is_follow_up {
                self.errors.push(error);
            }
            let place = place.filter(|_| wrong.len() < MOST_ERRORS)?;
            self.lost.extend(instruction(place).into_iter().flat_map(names_set_by));
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
            self.take_room(added_bytes(&state, instruction), instruction.span).map_err(|error| (None, error))?;
        }
        Ok(state)
    }

    /// Counts bytes that the plan keeps because of what stands at `span`.
    fn take_room(&mut self, bytes: usize, span: Span) -> Result<(), Diagnostic> {
        self.room = self.room.checked_sub(bytes).ok_or_else(|| too_many_bytes(span))?;
        Ok(())
    }

    /// What users see of the platform of a stage, where `scope` holds; `None` when there is but one.
    fn platform_shown(&self, platform: &Platform, scope: &Scope) -> Option<String> {
        self.options.several_platforms.then(|| format!("{platform}{}", crossing(platform, scope)))
    }

    /// FROM: the state a stage begins with.
    fn open(
        &mut self,
        place: &mut Place<'_>,
        finished: &BTreeMap<usize, StageState>,
    ) -> Result<StageState, Diagnostic> {
        let stage = place.stage;
        let mut state = match &stage.base {
            Base::Scratch => scratch(stage),
            Base::Stage(earlier) => finished[earlier].clone(),
            Base::Image(key, written) => {
                let known = &self.known[key];
                self.check_platform(key, written, known, place.named);
                let root = Some(self.image_step(place, known.image.clone(), stage.head.span));
                let config = known.config.clone();
                let history = config.history.iter().cloned().map(HistoryItem::Inherited).collect();
                StageState {
                    scope: Scope::default(),
                    config,
                    env_places: HashMap::new(),
                    history,
                    root,
                    cmd_set: false,
                    workdir_set: false,
                }
            }
            Base::Directory(name) => {
                let mut state = scratch(stage);
                state.root = Some(self.context_step(Some(name.clone()), "/", stage.head.span));
                state
            }
        };
        place.next = 2;
        state.cmd_set = false;
        state.config.created = None;
        state.config.history = Vec::new();
        state.config.rootfs = crate::oci::RootFs::default();
        state.config.config.on_build = Vec::new();
        let directory = &state.config.config.working_dir;
        if !directory.is_empty() {
            state.config.config.working_dir = super::path::workdir(directory, directory);
        }
        let env = &mut state.config.config.env;
        if let Base::Stage(_) = stage.base {
            state.scope = state.scope.with_image_env(env);
        } else {
            if !env.iter().any(|entry| entry == "PATH" || entry.starts_with("PATH=")) {
                env.push(format!("PATH={DEFAULT_PATH}"));
            }
            state.scope = Scope::default().with_image_env(env);
            for (place, entry) in env.iter().enumerate() {
                let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
                state.env_places.entry(name.to_owned()).or_insert(place);
            }
        }
        Ok(state)
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

    /// Adds the step of an instruction, named as users see it.
    fn step(&mut self, place: &mut Place<'_>, instruction: &Instruction, op: Op) -> StepId {
        let first_line = instruction.original.lines().next().unwrap_or("");
        let name = format!("{} {}", place.shown(place.next), without_credentials(first_line));
        place.next += 1;
        let ignore_cache = self.ignores_cache(place);
        let platform = place.platform.clone();
        self.graph.push(Step { name, span: instruction.span, platform, ignore_cache, op })
    }

    fn image_step(&mut self, place: &Place<'_>, image: ImageOp, span: Span) -> StepId {
        let name = format!("{} FROM {}", place.shown(1), image.reference);
        let platform = place.platform.clone();
        self.graph.push(Step { name, span, platform, ignore_cache: false, op: Op::Image(image) })
    }

    /// Copies `path` of a context into a filesystem of its own, under the same path.
    fn context_step(&mut self, context: Option<String>, path: &str, span: Span) -> StepId {
        let shown = context.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        let op = copy::whole(Tree::Context(context), path, span);
        let name = format!("[internal] load{shown} context {path}");
        self.graph.push(Step { name, span, platform: None, ignore_cache: false, op: Op::Copy(op) })
    }

    /// Returns the filesystem that a `--from` names.
    fn tree(
        &mut self,
        from: Option<&Text>,
        numbers: bool,
        place: &Place<'_>,
        finished: &BTreeMap<usize, StageState>,
    ) -> Result<Tree, Diagnostic> {
        let Some(from) = from else { return Ok(Tree::Context(None)) };
        Ok(match self.stages.resolve(from, place.stage_index, numbers, self.options)? {
            Base::Scratch => Tree::Root(None),
            Base::Stage(earlier) => Tree::Root(finished[&earlier].root),
            Base::Directory(name) => Tree::Context(Some(name)),
            Base::Image(key, written) => {
                let known = &self.known[&key];
                self.check_platform(&key, &written, known, from.span);
                let image = known.image.clone();
                let name = format!("FROM {written}");
                let (op, platform) = (Op::Image(image), place.platform.clone());
                Tree::Root(Some(self.graph.push(Step { name, span: from.span, platform, ignore_cache: false, op })))
            }
        })
    }

    fn ignores_cache(&self, place: &Place<'_>) -> bool {
        match &self.options.no_cache {
            NoCache::Never => false,
            NoCache::All => true,
            NoCache::Stages(names) => {
                let mine = |name: &String| place.stage.name.is_some_and(|stage| stage.eq_ignore_ascii_case(name));
                names.iter().any(mine)
            }
        }
    }
}

/// Returns `->arm64` where a stage of `platform` that has asked for its target builds for another machine.
fn crossing(platform: &Platform, scope: &Scope) -> String {
    let asked = |name: &str| scope.get(name).filter(|value| !value.is_empty());
    let target = asked("TARGETPLATFORM").map(str::to_owned).or_else(|| {
        let parts = ["TARGETOS", "TARGETARCH", "TARGETVARIANT"].map(asked);
        let os = parts[0].unwrap_or(&platform.os);
        let architecture = parts[1].unwrap_or(&platform.architecture);
        let variant = parts[2].map(|variant| format!("/{variant}")).unwrap_or_default();
        parts.iter().any(Option::is_some).then(|| format!("{os}/{architecture}{variant}"))
    });
    match target {
        Some(target) if target.parse().as_ref() != Ok(platform) => {
            format!("->{}", target.strip_prefix(&format!("{}/", platform.os)).unwrap_or(&target))
        }
        _ => String::new(),
    }
}

fn names_set_by(instruction: &Instruction) -> Vec<String> {
    match &instruction.kind {
        InstructionKind::Arg(declarations) => declarations.iter().map(|one| one.name.text.clone()).collect(),
        InstructionKind::Env(set) => set.pairs.iter().map(|pair| pair.key.text.clone()).collect(),
        _ => Vec::new(),
    }
}

/// Rule 7.4.
fn scratch(stage: &Stage<'_>) -> StageState {
    let mut config = ImageConfig {
        architecture: stage.platform.architecture.clone(),
        os: stage.platform.os.clone(),
        variant: stage.platform.variant.clone(),
        ..ImageConfig::default()
    };
    config.config.working_dir = "/".to_owned();
    let (scope, env_places) = (Scope::default(), HashMap::new());
    StageState { scope, config, env_places, history: Vec::new(), root: None, cmd_set: false, workdir_set: false }
}

/// Whether users see a numbered step for it.
fn makes_step(kind: &InstructionKind) -> bool {
    matches!(
        kind,
        InstructionKind::Run(_) | InstructionKind::Copy(_) | InstructionKind::Add(_) | InstructionKind::Workdir(_)
    )
}

impl StageState {
    /// Adds a history entry that made no layer.
    fn with_history(mut self, created_by: String) -> Self {
        self.history.push(HistoryItem::New { created_by, layer: None });
        self
    }

    /// Adds the history entry of a step and moves on to its filesystem.
    fn with_layer(mut self, created_by: String, layer: StepId) -> Self {
        self.history.push(HistoryItem::New { created_by, layer: Some(layer) });
        self.root = Some(layer);
        self
    }

    /// The absolute working directory.
    fn workdir(&self) -> &str {
        match self.config.config.working_dir.as_str() {
            "" => "/",
            path => path,
        }
    }

    /// What shell forms are given to.
    fn shell(&self) -> Vec<String> {
        match &self.config.config.shell[..] {
            [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            shell => shell.to_vec(),
        }
    }
}

/// How many bytes of values an instruction has added to the plan: its history, and the environment of a RUN.
fn added_bytes(state: &StageState, instruction: &Instruction) -> usize {
    let history = match state.history.last() {
        Some(HistoryItem::New { created_by, .. }) => created_by.len(),
        _ => 0,
    };
    let environment = match instruction.kind {
        InstructionKind::Run(_) => state.scope.variables().iter().map(|(name, value)| name.len() + value.len()).sum(),
        _ => 0,
    };
    history + environment
}
