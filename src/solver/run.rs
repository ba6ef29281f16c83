//! The loop: starts what is ready, takes what ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::order::Order;
use super::state::{Completion, Engine};
use crate::diag::chain;
use crate::ops::{Inputs, OpError, StepResult, Worker};
use crate::plan::{Op, RunNetwork, StepGraph, StepId};
use crate::progress::{Event, Outcome, VertexId};

/// How long running steps may take to notice that the build stops. What does not, for example a thread that reads a
/// large file, is left behind: whatever it still makes appears whole or not at all.
const PATIENCE: Duration = Duration::from_millis(400);

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
/// `vertex` gives the progress vertex of a step; `made` is told each result as soon as it is there.
pub async fn solve(
    graph: &Arc<StepGraph>,
    worker: &Arc<Worker>,
    jobs: usize,
    vertex: impl Fn(StepId) -> VertexId,
    made: impl Fn(StepId, &StepResult),
) -> Result<Vec<Arc<StepResult>>, SolveError> {
    let inputs: Vec<Vec<usize>> =
        graph.steps.iter().map(|step| step.op.inputs().iter().map(|input| input.index()).collect()).collect();
    announce(graph, worker, &vertex);
    let to_network = graph.leading_to(|step| matches!(&step.op, Op::Run(run) if run.network == RunNetwork::Default));
    let mut engine = Engine::new(&inputs);
    let mut order = Order::new(graph, worker, &inputs);
    let mut results: Vec<Option<Arc<StepResult>>> = vec![None; graph.steps.len()];
    let mut tasks: JoinSet<Result<StepResult, OpError>> = JoinSet::new();
    let mut running = BTreeMap::new();
    let mut failure = None;
    let mut deadline = None;
    loop {
        while tasks.len() < jobs.max(1) && !worker.cancel.is_cancelled() {
            order.look(engine.ready() + tasks.len() > jobs.max(1));
            let Some(index) = engine.start_next(|step| order.may_start(step), |step| order.weight(step)) else { break };
            let id = step_id(index);
            worker.sink.event(Event::Started(vertex(id)));
            let inputs = Inputs::of(graph.step(id), &results);
            let (graph, worker, vertex, ahead) = (graph.clone(), worker.clone(), vertex(id), to_network[index]);
            let task = tasks.spawn(async move { worker.run_step(graph.step(id), vertex, &inputs, ahead).await });
            running.insert(task.id(), index);
        }
        if worker.cancel.is_cancelled() && deadline.is_none() {
            deadline = Some(Instant::now() + PATIENCE);
        }
        let next = tasks.join_next_with_id();
        let joined = match deadline {
            None => tokio::select! {
                joined = next => joined,
                () = worker.canceled() => continue,
            },
            Some(deadline) => timeout_at(deadline, next).await.unwrap_or(None),
        };
        let (task, result) = match joined {
            Some(Ok(ended)) => ended,
            // A panic in a step is a bug of kiln's; it must not become a build that seems to hang.
            Some(Err(error)) => (error.id(), Err(OpError::panicked(error))),
            None => break,
        };
        let index = running.remove(&task).expect("only tasks that were started end");
        let ended = |outcome| worker.sink.event(Event::Ended { id: vertex(step_id(index)), outcome });
        match result {
            Ok(result) => {
                ended(if result.cached { Outcome::Cached } else { Outcome::Done });
                made(step_id(index), &result);
                results[index] = Some(Arc::new(result));
                order.ended(index);
                engine.complete(index, Completion::Done);
            }
            Err(OpError::Canceled) => {
                ended(Outcome::Canceled);
                engine.complete(index, Completion::Canceled);
            }
            Err(error) => {
                ended(Outcome::Failed(chain(&error)));
                engine.complete(index, Completion::Failed);
                worker.cancel.cancel();
                failure.get_or_insert(SolveError::Step { step: step_id(index), error });
            }
        }
    }
    for index in running.into_values() {
        worker.sink.event(Event::Ended { id: vertex(step_id(index)), outcome: Outcome::Canceled });
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

#[cfg(test)]
mod tests;
