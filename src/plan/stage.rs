//! Stages: instructions grouped under their FROM, and what each stage starts from.

use std::cell::{OnceCell, RefCell};

use super::arguments::{EPOCH, Globals, MOST_BYTES, add_globals, automatic};
use super::cycle::Circles;
use super::from_lint::FromLint;
use super::references::{Places, named_context, no_target, target_of};
use super::{ImageKey, ImageSource, Options};
use crate::diag::{Diagnostic, suggestion};
use crate::dockerfile::expand::expand;
use crate::dockerfile::instruction::From;
use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, Text};
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
#[derive(Debug, Default)]
pub(super) struct Stages<'a> {
    pub(super) all: Vec<Stage<'a>>,
    pub(super) places: Places<'a>,
    /// `None` when there is no such stage, which is an error.
    pub(super) target: Option<usize>,
    pub(super) globals: Globals,
    /// Lint warnings about FROM lines.
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) circles: OnceCell<Circles>,
}

impl<'a> Stages<'a> {
    /// Groups the instructions of `file` and says what each stage starts from. What is wrong goes to `errors`; a stage
    /// with a mistake is then an empty one.
    pub(super) fn link(file: &'a Dockerfile, options: &Options, errors: &mut Vec<Diagnostic>) -> Self {
        let mut globals = globals(file, options, errors);
        if globals.contains_key(EPOCH) {
            match options.source_date_epoch {
                Some(seconds) => globals.insert(EPOCH.to_owned(), seconds.to_string()),
                None => globals.remove(EPOCH),
            };
        }
        let first_from = file.instructions.iter().position(|i| matches!(i.kind, InstructionKind::From(_)));
        let Some(first_from) = first_from else {
            if errors.is_empty() {
                errors.push(no_stages());
            }
            return Self::default();
        };
        let (head, body) = file.instructions.split_at(first_from);
        let mut lint = FromLint::new(file, head, &globals, options);
        let mut stages = Self::default();
        for instruction in body {
            if let InstructionKind::From(from) = &instruction.kind {
                stages.warnings.extend(lint.warnings(instruction, from));
                let opened = stages.open(instruction, from, &globals, options, file.directives.escape);
                stages.push(opened.unwrap_or_else(|error| {
                    errors.push(error);
                    broken_stage(instruction, from, options)
                }));
            } else if let Some(stage) = stages.all.last_mut() {
                stage.body.push(instruction);
            }
        }
        for stage in &mut stages.all {
            if let Some(context) = stage.name.and_then(|name| named_context(options, name, &stage.platform)) {
                stage.base = context;
                stage.body.clear();
            }
        }
        stages.target = stages.find_target(options).map_err(|error| errors.push(error)).ok();
        Self { globals, ..stages }
    }

    fn push(&mut self, stage: Stage<'a>) {
        if let Some(name) = stage.name {
            self.places.add(name, self.all.len());
        }
        self.all.push(stage);
    }

    /// Makes the stage of a FROM.
    fn open(
        &self,
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
        let base = self.base(&from.reference, reference, &platform, options)?;
        let platform = match base {
            Base::Stage(stage) => self.all[stage].platform.clone(),
            // An empty filesystem is for any machine: `--platform` says nothing.
            Base::Scratch => options.platform.clone(),
            _ => platform,
        };
        Ok(Stage { name: stage_name(from), head, base, platform, body: Vec::new() })
    }

    /// What `reference` names at the place of a FROM, where it is `written` so.
    fn base(
        &self,
        written: &Text,
        reference: String,
        platform: &Platform,
        options: &Options,
    ) -> Result<Base, Diagnostic> {
        if reference.trim().is_empty() {
            let message = format!("base name ({}) should not be blank", written.text);
            return Err(Diagnostic::error("blank-base", written.span, message)
                .with_help("give the ARG a default before the first FROM, or pass `--build-arg`"));
        }
        if reference == "scratch" {
            return Ok(Base::Scratch);
        }
        let target = target_of(options, &reference);
        if let Some(stage) = self.places.before(target.unwrap_or(&reference), self.all.len()) {
            return Ok(Base::Stage(stage));
        }
        if let Some(target) = target {
            return Err(no_target(written, target));
        }
        if let Some(context) = named_context(options, &reference, platform) {
            return Ok(context);
        }
        let parsed = Reference::parse(&reference).map_err(|error| {
            let message = format!("failed to parse stage name \"{reference}\": {error}");
            Diagnostic::error("invalid-reference", written.span, message)
        })?;
        Ok(Base::Image(ImageKey { source: ImageSource::Reference(parsed), platform: platform.clone() }, reference))
    }

    fn find_target(&self, options: &Options) -> Result<usize, Diagnostic> {
        let target = options.target.as_deref().filter(|target| !target.is_empty());
        let Some(target) = target else { return Ok(self.all.len() - 1) };
        let wanted = target.to_lowercase();
        self.places.before(&wanted, self.all.len()).ok_or_else(|| {
            let known: Vec<&str> = self.all.iter().filter_map(|stage| stage.name).collect();
            let hint = suggestion(&wanted, known.iter().copied());
            let message = format!("target stage \"{target}\" could not be found{hint}");
            let diagnostic = Diagnostic::whole_file("unknown-target", message);
            if known.is_empty() {
                diagnostic.with_help("no stage of this file has a name: add `AS name` to a FROM line")
            } else {
                diagnostic.with_help(format!("stages: {}", known.join(", ")))
            }
        })
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
    pub(super) unknown: Vec<String>,
}

fn broken_stage<'a>(head: &'a Instruction, from: &'a From, options: &Options) -> Stage<'a> {
    let platform = options.platform.clone();
    Stage { name: stage_name(from), head, base: Base::Scratch, platform, body: Vec::new() }
}

pub(super) fn stage_name(from: &From) -> Option<&str> {
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

fn no_stages() -> Diagnostic {
    Diagnostic::whole_file("no-stage", "dockerfile contains no stages to build")
        .with_help("begin a stage: `FROM image`")
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
