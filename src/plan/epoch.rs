//! What SOURCE_DATE_EPOCH names: a time, or something that has one (language rule 17.5).

use super::arguments::{EPOCH, Globals, MOST_BYTES, add_globals};
use super::graph::CopySource;
use super::{NamedContext, Options, lower, stage};
use crate::context::GitAddress;
use crate::diag::Diagnostic;
use crate::dockerfile::expand::expand;
use crate::dockerfile::instruction::From;
use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, Text};

/// What SOURCE_DATE_EPOCH names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Epoch {
    /// No time.
    Unset,
    /// Seconds since 1970.
    Seconds(i64),
    /// The build context, or a named one: the commit or the `Last-Modified` it was fetched with. A directory has none.
    Context(Option<String>),
    /// A URL: `Last-Modified`, or the latest time in the archive it is.
    Http(String),
    /// A repository: the time of the commit.
    Git(Box<GitAddress>),
}

/// Reads the build argument, or else the global ARG of that name. Other mistakes of global ARGs are [`super::plan`]'s.
pub fn epoch(file: &Dockerfile, options: &Options) -> Result<Epoch, Diagnostic> {
    let globals = stage::globals(file, options, &mut Vec::new());
    let given = options.build_args.get(EPOCH).or_else(|| globals.get(EPOCH));
    let Some(value) = given.map(String::as_str).filter(|value| !value.is_empty()) else { return Ok(Epoch::Unset) };
    if let Ok(seconds) = value.parse() {
        return Ok(Epoch::Seconds(seconds));
    }
    if value == "context" {
        return Ok(Epoch::Context(None));
    }
    if let Some(context) = options.named_contexts.get(value) {
        return Ok(match context {
            NamedContext::Directory => Epoch::Context(Some(value.to_owned())),
            NamedContext::Image(_) | NamedContext::Target(_) => Epoch::Unset,
        });
    }
    let stage = file.instructions.iter().position(|instruction| match &instruction.kind {
        InstructionKind::From(from) => {
            from.stage_name.as_ref().is_some_and(|name| name.text.eq_ignore_ascii_case(value))
        }
        _ => false,
    });
    let Some(stage) = stage else {
        let message = format!("invalid SOURCE_DATE_EPOCH: {value}");
        return Err(Diagnostic::whole_file("invalid-epoch", message)
            .with_help("give whole seconds since 1970, for example `$(git log -1 --format=%ct)`")
            .with_help("or `context`, a named context, or a stage that only fetches one source with ADD"));
    };
    of_stage(file, &file.instructions[stage..], options, globals)
}

/// The source of the only ADD of a stage that does nothing else.
fn of_stage(
    file: &Dockerfile,
    stage: &[Instruction],
    options: &Options,
    globals: Globals,
) -> Result<Epoch, Diagnostic> {
    let escape = file.directives.escape;
    let head = &stage[0];
    let wrong = |instruction: &Instruction, what: &str| {
        let message = format!("SOURCE_DATE_EPOCH stage {what}");
        let diagnostic = Diagnostic::error("epoch-stage", instruction.span, message);
        if instruction.span == head.span { diagnostic } else { diagnostic.with_note(head.span, "the stage it names") }
    };
    let mut known = globals;
    let mut room = MOST_BYTES;
    known.remove(EPOCH);
    let expanded = |text: &Text, known: &Globals| {
        let found = expand(&text.text, escape, &|name| known.get(name).cloned());
        found.map(|expanded| expanded.text).map_err(|error| error.at(text))
    };
    if let InstructionKind::From(From { reference, .. }) = &head.kind
        && expanded(reference, &known)? != "scratch"
    {
        return Err(wrong(head, "must use FROM scratch"));
    }
    let mut found = None;
    for instruction in stage[1..].iter().take_while(|instruction| !matches!(instruction.kind, InstructionKind::From(_)))
    {
        match &instruction.kind {
            InstructionKind::Arg(declarations) => {
                add_globals(&mut known, &mut room, declarations, options, escape)?;
            }
            InstructionKind::Add(_) if found.is_some() => {
                return Err(wrong(instruction, "must contain exactly one remote ADD"));
            }
            InstructionKind::Add(add) => {
                let ([source], []) = (&add.transfer.sources[..], &add.transfer.heredocs[..]) else {
                    return Err(wrong(instruction, "must contain exactly one remote ADD source"));
                };
                let path = CopySource::Path { path: expanded(source, &known)?, span: source.span };
                found = Some(match lower::remote(path, (None, None))? {
                    CopySource::Url { url, .. } => Epoch::Http(url),
                    CopySource::Git { address, .. } => Epoch::Git(address),
                    _ => return Err(wrong(instruction, "source must be a single HTTP(S) or Git ADD")),
                });
            }
            other => {
                let what = format!("does not meet source-only requirements: unsupported {} instruction", other.name());
                return Err(wrong(instruction, &what));
            }
        }
    }
    found.ok_or_else(|| wrong(head, "must contain exactly one remote ADD"))
}
