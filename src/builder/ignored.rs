//! Lint rule CopyIgnoredFile: a COPY names a file that the ignore file leaves out.

use super::load::Loaded;
use crate::context::glob::has_wildcard;
use crate::diag::Diagnostic;
use crate::plan::{CopySource, Op, StepGraph, Tree};

/// Returns a warning for each such source of the build context. An ignore file that takes things back in (`!`)
/// is too subtle to warn about, as in BuildKit.
pub(super) fn warnings(graph: &StepGraph, loaded: &Loaded) -> Vec<Diagnostic> {
    let Some(ignore) = loaded.contexts.get(&None).and_then(|source| source.ignore.clone()) else { return Vec::new() };
    if ignore.has_negations() {
        return Vec::new();
    }
    let copies = graph.steps.iter().filter_map(|step| match &step.op {
        Op::Copy(copy) if copy.from == Tree::Context(None) => Some(&copy.sources),
        _ => None,
    });
    let hidden = copies.flatten().filter_map(|source| {
        let CopySource::Path { path, span } = source else { return None };
        let clean = crate::context::glob::clean(path.as_bytes());
        if has_wildcard(&clean) || clean.is_empty() || !ignore.excludes(&clean) {
            return None;
        }
        let message = format!("Attempting to Copy file {path:?} that is excluded by .dockerignore");
        Some(Diagnostic::warning("CopyIgnoredFile", *span, message))
    });
    hidden.collect()
}
