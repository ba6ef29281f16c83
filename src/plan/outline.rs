//! What a Dockerfile offers: its targets, and what a target can be given. Nothing is built for either.

use std::collections::{BTreeMap, BTreeSet};

use super::Options;
use super::references::references;
use super::stage::{Base, Stages, expand_from};
use crate::dockerfile::instruction::ArgDeclaration;
use crate::dockerfile::{Dockerfile, Instruction, InstructionKind};
use crate::source::Span;

/// A stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// In lower case; empty when it has none.
    pub name: String,
    /// Whether it is built when no target is named.
    pub is_default: bool,
    /// The comment above its FROM.
    pub description: String,
    /// What its FROM names, as written.
    pub base: String,
    /// Its `--platform`, as written, or empty.
    pub platform: String,
    /// Its FROM.
    pub lines: Span,
}

/// What a target and everything it reaches can be given, each in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outline {
    /// Name of the target; empty when the stage has none.
    pub name: String,
    /// The comment above its FROM.
    pub description: String,
    /// The arguments it uses or declares.
    pub args: Vec<OutlineArg>,
    /// The secrets that its mounts name.
    pub secrets: Vec<OutlineMount>,
    /// The agents that its mounts name.
    pub ssh: Vec<OutlineMount>,
}

/// One ARG.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// Its value in this build; empty when it has none.
    pub value: String,
    /// The comment above it.
    pub description: String,
    /// The line that gives it its value.
    pub lines: Span,
}

/// A secret or an agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// The first RUN that mounts it.
    pub lines: Span,
}

/// Returns the stages, in order.
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let stages = file.instructions.iter().filter_map(|instruction| match &instruction.kind {
        InstructionKind::From(from) => Some((instruction, from)),
        _ => None,
    });
    let mut targets: Vec<Target> = stages
        .map(|(instruction, from)| {
            let name = from.stage_name.as_ref().map(|name| name.text.clone()).unwrap_or_default();
            Target {
                description: description(instruction, &name),
                name,
                is_default: false,
                base: from.reference.text.clone(),
                platform: from.platform.as_ref().map(|platform| platform.text.clone()).unwrap_or_default(),
                lines: instruction.lines,
            }
        })
        .collect();
    if let Some(last) = targets.last_mut() {
        last.is_default = true;
    }
    targets
}

fn description(instruction: &Instruction, name: &str) -> String {
    let text = if name.is_empty() { None } else { instruction.description_of(name) };
    text.unwrap_or_default().to_owned()
}

/// What the instructions of one stage name, as they are lowered.
#[derive(Debug, Default)]
pub(super) struct Given {
    args: BTreeMap<String, Option<OutlineArg>>,
    secrets: Vec<OutlineMount>,
    ssh: Vec<OutlineMount>,
}

impl Given {
    /// Notes an ARG. Without a value of its own it is the global one, unless there was another in this stage.
    pub(super) fn arg(
        &mut self,
        declaration: &ArgDeclaration,
        value: Option<Option<&str>>,
        at: &Instruction,
        lines: Span,
    ) {
        let name = &declaration.name.text;
        let own = value.map(|value| OutlineArg {
            name: name.clone(),
            value: value.unwrap_or_default().to_owned(),
            description: description(at, name),
            lines,
        });
        let known = self.args.entry(name.clone()).or_default();
        *known = own.or_else(|| known.take());
    }

    pub(super) fn secret(&mut self, id: &str, required: bool, lines: Span) {
        self.secrets.push(OutlineMount { id: id.to_owned(), required, lines });
    }

    pub(super) fn ssh(&mut self, id: &str, required: bool, lines: Span) {
        self.ssh.push(OutlineMount { id: id.to_owned(), required, lines });
    }
}

/// The arguments before the first FROM, and the ones each takes its value from.
type GlobalArgs = BTreeMap<String, (OutlineArg, Vec<String>)>;

/// Puts together what the stages below the target were `given`. Of things of one name the one nearest to the target
/// counts.
pub(super) fn outline(
    file: &Dockerfile,
    stages: &Stages<'_>,
    target: usize,
    given: &BTreeMap<usize, Given>,
    options: &Options,
) -> Outline {
    let head = stages.all[target].head;
    let name = stages.all[target].name.unwrap_or_default();
    let mut outline = Outline { name: name.to_owned(), description: description(head, name), ..Outline::default() };
    let globals = global_args(file, stages, options);
    let mut walk = vec![target];
    let (mut seen, mut args) = (BTreeSet::new(), BTreeSet::new());
    let (mut secrets, mut agents) = (BTreeSet::new(), BTreeSet::new());
    while let Some(at) = walk.pop() {
        if !seen.insert(at) {
            continue;
        }
        let nothing = Given::default();
        let given = given.get(&at).unwrap_or(&nothing);
        outline.args.extend(args_of(stages, at, given, &globals, &mut args, file.directives.escape));
        outline.secrets.extend(given.secrets.iter().filter(|mount| secrets.insert(mount.id.clone())).cloned());
        outline.ssh.extend(given.ssh.iter().filter(|mount| agents.insert(mount.id.clone())).cloned());
        // The base comes next, and what it builds on.
        let named = stages.all[at].body.iter().rev().flat_map(|instruction| references(instruction));
        let named = named.filter_map(|(from, numbers)| stages.resolve(from, at, numbers, options).ok());
        walk.extend(named.chain([stages.all[at].base.clone()]).filter_map(|base| match base {
            Base::Stage(earlier) => Some(earlier),
            _ => None,
        }));
    }
    outline.args.sort_by_key(|arg| arg.lines.start);
    outline.secrets.sort_by_key(|mount| mount.lines.start);
    outline.ssh.sort_by_key(|mount| mount.lines.start);
    outline
}

fn global_args(file: &Dockerfile, stages: &Stages<'_>, options: &Options) -> GlobalArgs {
    let mut all = GlobalArgs::new();
    for instruction in &file.instructions {
        let InstructionKind::Arg(declarations) = &instruction.kind else { break };
        for declaration in declarations {
            let name = &declaration.name.text;
            let default = declaration.default.as_ref().filter(|_| !options.build_args.contains_key(name));
            let from = default.and_then(|text| expand_from(text, &stages.globals, file.directives.escape).ok());
            let mut from = from.map(|(_, used)| used.known).unwrap_or_default();
            from.retain(|other| other != name);
            let arg = OutlineArg {
                name: name.clone(),
                value: stages.globals.get(name).cloned().unwrap_or_default(),
                description: description(instruction, name),
                lines: instruction.lines,
            };
            all.insert(name.clone(), (arg, from));
        }
    }
    all
}

/// The arguments of one stage that are not `known` yet: what it declares, what its FROM uses, and what those of them that
/// are global are made of. Automatic ones are nobody's to give.
fn args_of(
    stages: &Stages<'_>,
    at: usize,
    given: &Given,
    globals: &GlobalArgs,
    known: &mut BTreeSet<String>,
    escape: char,
) -> Vec<OutlineArg> {
    let mut names: Vec<String> = given.args.keys().cloned().collect();
    if let InstructionKind::From(from) = &stages.all[at].head.kind {
        for text in [&from.reference].into_iter().chain(&from.platform) {
            names.extend(expand_from(text, &stages.globals, escape).map(|(_, used)| used.known).unwrap_or_default());
        }
    }
    let mut args = Vec::new();
    while let Some(name) = names.pop() {
        let global = globals.get(&name);
        let own = given.args.get(&name).cloned().flatten();
        let Some(arg) = own.or_else(|| global.map(|(arg, _)| arg.clone())) else { continue };
        if known.insert(name) {
            names.extend(global.into_iter().flat_map(|(_, from)| from.clone()));
            args.push(arg);
        }
    }
    args.sort_by(|one, other| (one.lines.start, &one.name).cmp(&(other.lines.start, &other.name)));
    args
}
