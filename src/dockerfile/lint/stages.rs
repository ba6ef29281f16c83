//! The file as the checks see it: instructions by stage, and which stage builds on which.

use std::collections::BTreeMap;

use crate::source::{Sources, Span};

use super::super::Dockerfile;
use super::super::instruction::{From, Instruction, InstructionKind};

/// All stages, and what stands before the first.
pub(super) struct Stages<'a> {
    pub(super) file: &'a Dockerfile,
    pub(super) all: Vec<Stage<'a>>,
    sources: &'a Sources,
}

/// One stage.
pub(super) struct Stage<'a> {
    /// Its FROM.
    pub(super) instruction: &'a Instruction,
    pub(super) from: &'a From,
    /// What follows FROM.
    pub(super) body: &'a [Instruction],
    /// The earlier stage it builds on.
    pub(super) base: Option<usize>,
}

impl<'a> Stages<'a> {
    pub(super) fn new(file: &'a Dockerfile, sources: &'a Sources) -> Self {
        let mut all: Vec<Stage<'a>> = Vec::new();
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, instruction) in file.instructions.iter().enumerate() {
            let InstructionKind::From(from) = &instruction.kind else { continue };
            let rest = &file.instructions[index + 1..];
            let is_from = |other: &Instruction| matches!(other.kind, InstructionKind::From(_));
            let body = &rest[..rest.iter().position(is_from).unwrap_or(rest.len())];
            let base = by_name.get(from.reference.text.as_str()).copied();
            if let Some(name) = &from.stage_name {
                by_name.insert(&name.text, all.len());
            }
            all.push(Stage { instruction, from, body, base });
        }
        Self { file, all, sources }
    }

    /// Returns the text of a span as it was written.
    pub(super) fn written(&self, span: Span) -> &'a str {
        self.sources.text(span)
    }

    /// For each stage, whether `holds` is true of an instruction in it or in a stage it builds on.
    pub(super) fn inherit(&self, holds: impl Fn(&InstructionKind) -> bool) -> Vec<bool> {
        let mut found: Vec<bool> = Vec::new();
        for stage in &self.all {
            let inherited = stage.base.is_some_and(|base| found[base]);
            found.push(inherited || stage.body.iter().any(|instruction| holds(&instruction.kind)));
        }
        found
    }
}
