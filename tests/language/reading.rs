//! Reads Dockerfiles that stand in a test, without building them.

use kiln::dockerfile::{CommandForm, Dockerfile, InstructionKind, parse};
use kiln::source::{SourceFile, Sources};

/// What a Dockerfile says; it must be without mistakes.
#[track_caller]
pub(crate) fn read(text: &str) -> Dockerfile {
    let mut sources = Sources::default();
    let id = sources.add(SourceFile::new("Dockerfile", text));
    let parsed = parse(&sources, id);
    assert_eq!(parsed.diagnostics, [], "{text}");
    parsed.file
}

/// The instructions, printed as they were understood.
#[track_caller]
pub(crate) fn instructions(text: &str) -> Vec<String> {
    read(text).instructions.into_iter().map(|instruction| instruction.original).collect()
}

/// The commands of all RUN, CMD, ENTRYPOINT, SHELL, as `text` or `["a", "b"]`.
#[track_caller]
pub(crate) fn commands(text: &str) -> Vec<String> {
    let commands = read(text).instructions.into_iter().filter_map(|instruction| match instruction.kind {
        InstructionKind::Run(run) => Some(run.command),
        InstructionKind::Cmd(form) | InstructionKind::Entrypoint(form) => Some(form),
        InstructionKind::Shell(words) => Some(CommandForm::Exec(words)),
        _ => None,
    });
    commands
        .map(|command| match command {
            CommandForm::Shell(text) => text,
            CommandForm::Exec(words) => format!("{words:?}"),
        })
        .collect()
}

/// The sources and the destination of the only COPY or ADD.
#[track_caller]
pub(crate) fn paths(text: &str) -> Vec<String> {
    let transfer = read(text).instructions.into_iter().find_map(|instruction| match instruction.kind {
        InstructionKind::Copy(copy) => Some(copy.transfer),
        InstructionKind::Add(add) => Some(add.transfer),
        _ => None,
    });
    let transfer = transfer.expect("a COPY or ADD");
    transfer.sources.into_iter().chain([transfer.destination]).map(|path| path.text).collect()
}

/// The names and values of all ENV, LABEL and ARG, as written.
#[track_caller]
pub(crate) fn pairs(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for instruction in read(text).instructions {
        match instruction.kind {
            InstructionKind::Env(set) | InstructionKind::Label(set) => {
                all.extend(set.pairs.into_iter().map(|pair| format!("{}={}", pair.key.text, pair.value.text)));
            }
            InstructionKind::Arg(declared) => all.extend(declared.into_iter().map(|one| match one.default {
                Some(default) => format!("{}={}", one.name.text, default.text),
                None => one.name.text,
            })),
            _ => {}
        }
    }
    all
}

/// The mistakes of a text, each with its line: `3: unknown instruction: RUNN`.
pub(crate) fn mistakes(text: &str) -> Vec<String> {
    let mut sources = Sources::default();
    let id = sources.add(SourceFile::new("Dockerfile", text));
    let line =
        |diagnostic: &kiln::diag::Diagnostic| diagnostic.span.map_or(0, |span| sources.get(id).line_of(span.start));
    let diagnostics = parse(&sources, id).diagnostics;
    diagnostics.iter().map(|diagnostic| format!("{}: {}", line(diagnostic), diagnostic.message)).collect()
}
