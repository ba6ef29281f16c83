//! `--verify-reproducible`: all steps once more, without what earlier builds left, and the layers compared.

use std::sync::Arc;

use super::failure::{failure, internal};
use super::remote::blocking;
use super::{BuildFailure, FailureKind};
use crate::content::Store;
use crate::diag::Diagnostic;
use crate::layer::{Part, Parting, ReadError, parting};
use crate::oci::Layer;
use crate::ops::StepResult;
use crate::plan::{Op, Step, StepGraph};

/// The graph again, under names that tell its steps from those of the build.
pub(super) fn again(graph: &StepGraph) -> StepGraph {
    let mut graph = graph.clone();
    for step in &mut graph.steps {
        step.name = format!("again: {}", step.name);
        step.require_cached = false;
    }
    graph
}

/// Compares two results of each step, in the order of the plan; fails with the first step whose own layer differs. Times of files
/// after `latest` count as `latest`.
pub(super) async fn compare(
    graph: &StepGraph,
    once: &[Arc<StepResult>],
    again: &[Arc<StepResult>],
    store: &Store,
    latest: Option<i64>,
) -> Result<(), BuildFailure> {
    for ((step, once), again) in graph.steps.iter().zip(once).zip(again) {
        let (Some(one), Some(other)) = (once.layers.top(), again.layers.top()) else { continue };
        if matches!(step.op, Op::Image(_)) || one.diff_id == other.diff_id {
            continue;
        }
        let (store, one, other) = (store.clone(), one.clone(), other.clone());
        let found = blocking(move || layers(&store, &one, &other, latest)).await?;
        if let Some(found) = found {
            return Err(differs(step, &found));
        }
    }
    Ok(())
}

fn layers(store: &Store, one: &Layer, other: &Layer, latest: Option<i64>) -> Result<Option<Parting>, BuildFailure> {
    let open = |layer: &Layer| {
        let blob = store.open_blob(&layer.diff_id.0);
        blob.map_err(|error| failure(FailureKind::Environment, &error))
    };
    let found = parting(open(one)?, open(other)?, latest);
    let found = found.map_err(|error: ReadError| failure(FailureKind::Environment, &error))?;
    match (found, latest) {
        // Equal files make equal layers.
        (None, None) => Err(internal(format!("layers {} and {} hold the same files", one.diff_id, other.diff_id))),
        (found, _) => Ok(found),
    }
}

fn differs(step: &Step, found: &Parting) -> BuildFailure {
    let message = format!("this step is not reproducible: it {found}");
    let mut diagnostic = Diagnostic::error("not-reproducible", step.span, message.clone());
    diagnostic.help = help(step, &found.what);
    let mut failure = BuildFailure::new(FailureKind::NotReproducible, format!("`{}`: {message}", step.name));
    failure.diagnostics.push(diagnostic);
    match &step.platform {
        Some(platform) => super::failure::of_platform(failure, platform),
        None => failure,
    }
}

/// How to mend it.
fn help(step: &Step, what: &Part) -> Vec<String> {
    let is_run = matches!(step.op, Op::Run(_));
    let text = match what {
        Part::Time(..) => {
            "`--reproducible` gives every new file the same time; with SOURCE_DATE_EPOCH, no later one than it"
        }
        Part::Content | Part::Presence | Part::Target if is_run => {
            "what a command takes from the clock, a random source, the network, the order of a directory or the number of \
             processors is another one in each build: pin it, or take it out of the step; \
             with `ARG SOURCE_DATE_EPOCH` in the stage, many tools write that time in place of now"
        }
        _ if is_run => "the command does not do the same each time: pin what it depends on",
        _ => "what is copied changed between the two builds: give it a checksum, a commit or a digest",
    };
    vec![text.to_owned()]
}
