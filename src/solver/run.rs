//! The loop: starts what is ready, takes what ends.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::state::{Completion, Engine};
use crate::ops::{Inputs, OpError, StepResult, Worker};
use crate::plan::{StepGraph, StepId};
use crate::progress::{Event, Outcome, VertexId};

/// How a build's steps came to a bad end.
#[derive(Debug)]
pub enum SolveError {
    /// A step failed.
    Step {
        /// Which.
        step: StepId,
        /// Why.
        error: OpError,
    },
    /// The user stopped the build.
    Canceled,
}

/// Runs all steps of `graph`, at most `jobs` at once, and returns their results by place.
/// `vertex` gives the progress vertex of a step.
pub async fn solve(
    graph: &Arc<StepGraph>,
    worker: &Arc<Worker>,
    jobs: usize,
    vertex: impl Fn(StepId) -> VertexId,
) -> Result<Vec<Arc<StepResult>>, SolveError> {
    let inputs: Vec<Vec<usize>> =
        graph.steps.iter().map(|step| step.op.inputs().iter().map(|input| input.index()).collect()).collect();
    announce(graph, worker, &vertex);
    let mut engine = Engine::new(&inputs);
    let mut results: Vec<Option<Arc<StepResult>>> = vec![None; graph.steps.len()];
    let mut tasks: JoinSet<(usize, Result<StepResult, OpError>)> = JoinSet::new();
    let mut failure = None;
    loop {
        while tasks.len() < jobs.max(1) && !worker.cancel.is_cancelled() {
            let Some(index) = engine.start_next() else { break };
            let id = step_id(index);
            worker.sink.event(Event::Started(vertex(id)));
            let inputs = Inputs::of(graph.step(id), &results);
            let (graph, worker, vertex) = (graph.clone(), worker.clone(), vertex(id));
            tasks.spawn(async move { (index, worker.run_step(graph.step(id), vertex, &inputs).await) });
        }
        let Some(joined) = tasks.join_next().await else { break };
        let (index, result) = match joined {
            Ok(ended) => ended,
            // A panic in a step is a bug of kiln's; it must not become a build that seems to hang.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let ended = |outcome| worker.sink.event(Event::Ended { id: vertex(step_id(index)), outcome });
        match result {
            Ok(result) => {
                ended(if result.cached { Outcome::Cached } else { Outcome::Done });
                results[index] = Some(Arc::new(result));
                engine.complete(index, Completion::Done);
            }
            Err(OpError::Canceled) => {
                ended(Outcome::Canceled);
                engine.complete(index, Completion::Canceled);
            }
            Err(error) => {
                ended(Outcome::Failed(error.to_string()));
                engine.complete(index, Completion::Failed);
                worker.cancel.cancel();
                failure.get_or_insert(SolveError::Step { step: step_id(index), error });
            }
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    results.into_iter().collect::<Option<Vec<_>>>().ok_or(SolveError::Canceled)
}

fn step_id(index: usize) -> StepId {
    StepId(u32::try_from(index).expect("plans have fewer than 2^32 steps"))
}

fn announce(graph: &StepGraph, worker: &Worker, vertex: &impl Fn(StepId) -> VertexId) {
    for (index, step) in graph.steps.iter().enumerate() {
        worker.sink.event(Event::Added {
            id: vertex(step_id(index)),
            name: step.name.clone(),
            inputs: step.op.inputs().into_iter().map(vertex).collect(),
        });
    }
}
