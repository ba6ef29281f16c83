//! Stages: instructions grouped under their FROM, and what each stage starts from and refers to.

use std::cell::RefCell;

use super::arguments::{EPOCH, Globals, MOST_BYTES, add_globals, automatic};
use super::{ImageKey, ImageSource, NamedContext, Options};
use crate::diag::{Diagnostic, nearest, suggestion};
use crate::dockerfile::expand::expand;
use crate::dockerfile::instruction::From;
use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, Text, lint};
use crate::oci::{Platform, Reference};
use crate::source::Span;

/// One stage.
#[derive(Clone, Debug)]
pub(super) struct Stage<'a> {
    /// In lower case.
    pub(super) name: Option<&'a str>,
    pub(super) head: &'a Instruction,
    pub(super) base: Base,
    /// `--platform`, or the build's.
    pub(super) platform: Platform,
    /// Empty when a named context replaces the stage.
    pub(super) body: Vec<&'a Instruction>,
}

/// What a stage starts from, or a `--from` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Base {
    /// The empty filesystem.
    Scratch,
    /// An earlier stage, by place.
    Stage(usize),
    /// An image; the text is as written.
    Image(ImageKey, String),
    /// A directory given as a named context.
    Directory(String),
}

/// All stages, the one to build, and the global arguments.
#[derive(Debug)]
pub(super) struct Stages<'a> {
    pub(super) all: Vec<Stage<'a>>,
    pub(super) target: usize,
    pub(super) globals: Globals,
    /// Lint warnings about FROM lines.
    pub(super) warnings: Vec<Diagnostic>,
}

impl<'a> Stages<'a> {
    /// Groups the instructions of `file` and links the stages. All mistakes are reported in one go.
    pub(super) fn link(file: &'a Dockerfile, options: &Options) -> Result<Self, Vec<Diagnostic>> {
        let escape = file.directives.escape;
        let mut errors = Vec::new();
        let mut globals = globals(file, options, &mut errors);
        if globals.contains_key(EPOCH) {
            match options.source_date_epoch {
                Some(seconds) => globals.insert(EPOCH.to_owned(), seconds.to_string()),
                None => globals.remove(EPOCH),
            };
        }
        let first_from = file.instructions.iter().position(|i| matches!(i.kind, InstructionKind::From(_)));
        let Some(first_from) = first_from else {
            if errors.is_empty() {
                errors.push(
                    Diagnostic::whole_file("no-stage", "dockerfile contains no stages to build")
                        .with_help("begin a stage: `FROM image`"),
                );
            }
            return Err(errors);
        };
        let mut stages: Vec<Stage<'a>> = Vec::new();
        let mut warnings = Vec::new();
        let defaults = default_globals(file, &file.instructions[..first_from], options);
        for instruction in &file.instructions[first_from..] {
            if let InstructionKind::From(from) = &instruction.kind {
                warnings.extend(from_warnings(file, instruction, from, &globals, &defaults));
                match open_stage(&stages, instruction, from, &globals, options, escape) {
                    Ok(stage) => stages.push(stage),
                    Err(error) => {
                        errors.push(error);
                        stages.push(broken_stage(instruction, from, options));
                    }
                }
            } else if let Some(stage) = stages.last_mut() {
                stage.body.push(instruction);
            }
        }
        let names: Vec<Option<&str>> = stages.iter().map(|stage| stage.name).collect();
        for stage in &mut stages {
            if let Some(context) = stage.name.and_then(|name| named_context(options, name, &stage.platform)) {
                stage.base = context;
                stage.body.clear();
            }
        }
        let target = match find_target(&names, options.target.as_deref()) {
            Ok(target) => target,
            Err(error) => {
                errors.push(error);
                0
            }
        };
        let stages = Self { all: stages, target, globals, warnings };
        stages.check_references(options, &mut errors);
        if errors.is_empty() {
            return Ok(stages);
        }
        errors.extend(stages.warnings);
        Err(errors)
    }

    /// Returns what `--from=` or a mount's `from=` of the stage at `at` names. Numbers count for COPY only (7.6).
    pub(super) fn resolve(&self, from: &Text, at: usize, numbers: bool, options: &Options) -> Result<Base, Diagnostic> {
        let target = target_of(options, &from.text);
        let name = target.map_or_else(|| from.text.to_lowercase(), str::to_owned);
        // An image is taken for the platform built for, whatever `FROM --platform` says (moby/buildkit issue 5671).
        let platform = &options.platform;
        if from.text == "scratch" {
            return Ok(Base::Scratch);
        }
        if let Some(earlier) = (0..at).rev().find(|stage| self.all[*stage].name == Some(name.as_str())) {
            return Ok(Base::Stage(earlier));
        }
        if let Some(later) = (at..self.all.len()).find(|stage| self.all[*stage].name == Some(name.as_str())) {
            return Err(self.not_before(from, at, later, numbers));
        }
        if let Some(target) = target {
            return Err(self.suggest(no_target(from, target), target, at));
        }
        if numbers && let Ok(number) = name.parse::<i64>() {
            return match usize::try_from(number) {
                Ok(stage) if stage < at => Ok(Base::Stage(stage)),
                Ok(stage) if stage < self.all.len() => Err(self.not_before(from, at, stage, numbers)),
                _ => Err(Diagnostic::error("unknown-stage", from.span, format!("invalid stage index {number}"))
                    .with_help(format!("the stages of this file have the numbers 0 to {}", self.all.len() - 1))),
            };
        }
        if let Some(context) = named_context(options, &from.text, platform) {
            return Ok(context);
        }
        let reference = Reference::parse(&from.text).map_err(|error| {
            let message = format!("failed to parse stage name \"{}\": {error}", from.text);
            let diagnostic = Diagnostic::error("invalid-reference", from.span, message);
            self.suggest(diagnostic, &name, at)
        })?;
        let key = ImageKey { source: ImageSource::Reference(reference), platform: platform.clone() };
        Ok(Base::Image(key, from.text.clone()))
    }

    /// Adds "did you mean" where an earlier stage has nearly that name.
    pub(super) fn suggest(&self, diagnostic: Diagnostic, name: &str, before: usize) -> Diagnostic {
        let earlier = &self.all[..before];
        let Some(near) = nearest(name, earlier.iter().filter_map(|stage| stage.name)) else { return diagnostic };
        let span = earlier.iter().rev().find_map(|stage| match &stage.head.kind {
            InstructionKind::From(from) if stage.name == Some(near) => from.stage_name.as_ref().map(|name| name.span),
            _ => None,
        });
        match span {
            Some(span) => diagnostic.with_note(span, format!("did you mean `{near}`?")),
            None => diagnostic,
        }
    }

    fn not_before(&self, from: &Text, at: usize, later: usize, copy: bool) -> Diagnostic {
        let me = self.all[at].name.map_or_else(|| format!("stage-{at}"), str::to_owned);
        let head = self.all[later].head.span;
        if later == at || self.refers_to(later, at) {
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

    /// Whether the stage at `from` needs the one at `to`, over any number of stages between.
    fn refers_to(&self, from: usize, to: usize) -> bool {
        let named = |name: &str| (0..self.all.len()).find(|i| self.all[*i].name == Some(name.to_lowercase().as_str()));
        let mut seen = vec![false; self.all.len()];
        let mut queue = vec![from];
        while let Some(stage) = queue.pop() {
            if stage == to {
                return true;
            }
            if std::mem::replace(&mut seen[stage], true) {
                continue;
            }
            if let Base::Stage(base) = self.all[stage].base {
                queue.push(base);
            }
            queue.extend(self.all[stage].body.iter().flat_map(|i| references(i)).filter_map(|(f, _)| named(&f.text)));
        }
        false
    }

    fn check_references(&self, options: &Options, errors: &mut Vec<Diagnostic>) {
        for (at, stage) in self.all.iter().enumerate() {
            for (from, numbers) in stage.body.iter().flat_map(|instruction| references(instruction)) {
                // Cycles and numbers are wrong anywhere; order, and a name that is no reference, only where it is built.
                if let Err(error) = self.resolve(from, at, numbers, options)
                    && !["invalid-reference", "stage-order"].contains(&error.code)
                {
                    errors.push(error);
                }
            }
        }
    }
}

/// Folds the ARGs before the first FROM; what is wrong with them, or stands there instead, goes to `errors`.
pub(super) fn globals(file: &Dockerfile, options: &Options, errors: &mut Vec<Diagnostic>) -> Globals {
    let mut globals = automatic(options, &target_stage_name(file, options));
    let mut room = MOST_BYTES;
    for instruction in &file.instructions {
        match &instruction.kind {
            InstructionKind::From(_) => break,
            InstructionKind::Arg(declarations) => {
                let added = add_globals(&mut globals, &mut room, declarations, options, file.directives.escape);
                errors.extend(added.err());
            }
            other => errors.push(before_first_stage(other.name(), instruction.span)),
        }
    }
    globals
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
fn target_of<'o>(options: &'o Options, name: &str) -> Option<&'o str> {
    match options.named_contexts.get(&name.to_lowercase())? {
        NamedContext::Target(stage) => Some(stage),
        _ => None,
    }
}

fn no_target(written: &Text, target: &str) -> Diagnostic {
    let message = format!("target stage \"{target}\" of named context \"{}\" could not be found", written.text);
    Diagnostic::error("unknown-stage", written.span, message)
        .with_help("`target:` names a stage that stands earlier in this Dockerfile")
}

/// Returns the named context that stands for `name`, if there is one (rule 7.13).
pub(super) fn named_context(options: &Options, name: &str, platform: &Platform) -> Option<Base> {
    let lower = name.to_lowercase();
    if lower == "scratch" || lower == "context" {
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

fn open_stage<'a>(
    earlier: &[Stage<'a>],
    head: &'a Instruction,
    from: &'a From,
    globals: &Globals,
    options: &Options,
    escape: char,
) -> Result<Stage<'a>, Diagnostic> {
    let platform = match &from.platform {
        None => options.platform.clone(),
        Some(text) => parse_platform(text, &expand_from(text, globals, escape)?.0)?,
    };
    let (reference, _) = expand_from(&from.reference, globals, escape)?;
    if reference.trim().is_empty() {
        let message = format!("base name ({}) should not be blank", from.reference.text);
        return Err(Diagnostic::error("blank-base", from.reference.span, message)
            .with_help("give the ARG a default before the first FROM, or pass `--build-arg`"));
    }
    let target = target_of(options, &reference);
    let wanted = target.unwrap_or(&reference);
    let stage = earlier.iter().rposition(|stage| stage.name == Some(wanted));
    let base = if reference == "scratch" {
        Base::Scratch
    } else if let Some(stage) = stage {
        Base::Stage(stage)
    } else if let Some(target) = target {
        return Err(no_target(&from.reference, target));
    } else if let Some(context) = named_context(options, &reference, &platform) {
        context
    } else {
        let parsed = Reference::parse(&reference).map_err(|error| {
            let message = format!("failed to parse stage name \"{reference}\": {error}");
            Diagnostic::error("invalid-reference", from.reference.span, message)
        })?;
        Base::Image(ImageKey { source: ImageSource::Reference(parsed), platform: platform.clone() }, reference)
    };
    let platform = match base {
        Base::Stage(stage) => earlier[stage].platform.clone(),
        // An empty filesystem is for any machine: `--platform` says nothing.
        Base::Scratch => options.platform.clone(),
        _ => platform,
    };
    Ok(Stage { name: stage_name(from), head, base, platform, body: Vec::new() })
}

/// Expands a word of a FROM; also says which arguments it used.
pub(super) fn expand_from(text: &Text, globals: &Globals, escape: char) -> Result<(String, Used), Diagnostic> {
    let known = RefCell::new(Vec::new());
    let look_up = |name: &str| {
        let value = globals.get(name).cloned();
        known.borrow_mut().extend(value.is_some().then(|| name.to_owned()));
        value
    };
    let expanded = expand(&text.text, escape, &look_up).map_err(|error| error.at(text))?;
    let mut known = known.into_inner();
    known.sort_unstable();
    known.dedup();
    Ok((expanded.text, Used { known, unknown: expanded.undefined }))
}

/// The arguments that a word looks up, each once.
pub(super) struct Used {
    pub(super) known: Vec<String>,
    unknown: Vec<String>,
}

fn broken_stage<'a>(head: &'a Instruction, from: &'a From, options: &Options) -> Stage<'a> {
    let platform = options.platform.clone();
    Stage { name: stage_name(from), head, base: Base::Scratch, platform, body: Vec::new() }
}

fn stage_name(from: &From) -> Option<&str> {
    from.stage_name.as_ref().map(|name| name.text.as_str())
}

fn parse_platform(text: &Text, expanded: &str) -> Result<Platform, Diagnostic> {
    if expanded.is_empty() {
        let message = format!("empty platform value from expression {}", text.text);
        return Err(Diagnostic::error("invalid-platform", text.span, message));
    }
    expanded.parse().map_err(|error: crate::oci::PlatformError| {
        let message = format!("failed to parse platform {expanded}: {error}");
        Diagnostic::error("invalid-platform", text.span, message)
    })
}

/// The globals as they are without any build argument.
fn default_globals(file: &Dockerfile, head: &[Instruction], options: &Options) -> Globals {
    let options = Options { build_args: Default::default(), ..options.clone() };
    let mut globals = automatic(&options, "");
    let mut room = MOST_BYTES;
    for instruction in head {
        if let InstructionKind::Arg(declarations) = &instruction.kind {
            // What is wrong has been said of the globals themselves.
            let _ = add_globals(&mut globals, &mut room, declarations, &options, file.directives.escape);
        }
    }
    globals
}

/// Lint rules about what FROM lines expand to.
fn from_warnings(
    file: &Dockerfile,
    head: &Instruction,
    from: &From,
    globals: &Globals,
    defaults: &Globals,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut warn = |rule, span, message: String| found.extend(lint::warning(file, rule, head, span, message));
    let by_default = expand(&from.reference.text, file.directives.escape, &|name| defaults.get(name).cloned());
    if by_default.is_ok_and(|expanded| Reference::parse(&expanded.text).is_err()) {
        let written = &from.reference.text;
        let message = format!("Default value for ARG {written} results in empty or invalid base image name");
        warn("InvalidDefaultArgInFrom", from.reference.span, message);
    }
    for text in [&from.reference].into_iter().chain(&from.platform) {
        let Ok((_, used)) = expand_from(text, globals, file.directives.escape) else { continue };
        for name in used.unknown.iter().filter(|name| !declared(file, name)) {
            let near = lint::did_you_mean(name, "", globals.keys().map(String::as_str).chain(global_names(file)));
            warn("UndefinedArgInFrom", text.span, format!("FROM argument '{name}' is not declared{near}"));
        }
    }
    let Some(platform) = &from.platform else { return found };
    let Ok((value, used)) = expand_from(platform, globals, file.directives.escape) else { return found };
    if used.known == ["TARGETPLATFORM"] && used.unknown.is_empty() && globals.get("TARGETPLATFORM") == Some(&value) {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            platform.text
        );
        warn("RedundantTargetPlatform", platform.span, message);
    }
    if used.known.is_empty() && used.unknown.is_empty() && !is_named_for(from, &value) {
        let message = format!("FROM --platform flag should not use constant value \"{value}\"");
        warn("FromPlatformFlagConstDisallowed", platform.span, message);
    }
    found
}

/// Whether the name of a stage says that a constant platform is meant. One that cannot be read is an error anyway.
fn is_named_for(from: &From, platform: &str) -> bool {
    let name = stage_name(from).unwrap_or_default();
    platform.parse().is_ok_and(|Platform { os, architecture, .. }| name.contains(&os) || name.contains(&architecture))
        || platform.parse::<Platform>().is_err()
}

/// The names of the ARGs before the first FROM.
fn global_names(file: &Dockerfile) -> impl Iterator<Item = &str> {
    let head = file.instructions.iter().map_while(|instruction| match &instruction.kind {
        InstructionKind::Arg(declarations) => Some(declarations),
        _ => None,
    });
    head.flatten().map(|declaration| declaration.name.text.as_str())
}

fn declared(file: &Dockerfile, name: &str) -> bool {
    global_names(file).any(|known| known == name)
}

fn before_first_stage(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "no-stage",
        span,
        format!("no build stage in current context: {name} stands before the first FROM"),
    )
    .with_help("only ARG may come before FROM")
}

fn target_stage_name(file: &Dockerfile, options: &Options) -> String {
    let last = file.instructions.iter().rev().find_map(|instruction| match &instruction.kind {
        InstructionKind::From(from) => Some(stage_name(from)),
        _ => None,
    });
    let last = last.flatten().map(str::to_owned);
    options.target.clone().or(last).unwrap_or_else(|| "default".to_owned())
}

fn find_target(names: &[Option<&str>], target: Option<&str>) -> Result<usize, Diagnostic> {
    let Some(target) = target.filter(|target| !target.is_empty()) else { return Ok(names.len() - 1) };
    let wanted = target.to_lowercase();
    names.iter().rposition(|name| *name == Some(wanted.as_str())).ok_or_else(|| {
        let hint = suggestion(&wanted, names.iter().copied().flatten());
        let message = format!("target stage \"{target}\" could not be found{hint}");
        let known: Vec<&str> = names.iter().copied().flatten().collect();
        let diagnostic = Diagnostic::whole_file("unknown-target", message);
        if known.is_empty() {
            diagnostic.with_help("no stage of this file has a name: add `AS name` to a FROM line")
        } else {
            diagnostic.with_help(format!("stages: {}", known.join(", ")))
        }
    })
}
