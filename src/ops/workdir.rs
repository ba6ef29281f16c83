//! WORKDIR as a step: makes the directory where it is missing.
//!
//! Facts of the key: `op`, `path`, `user`, `time` when SOURCE_DATE_EPOCH sets one, `layers` (what is below).

use std::sync::Arc;
use std::time::Instant;

use super::copy::{Owner, write_directory_layer};
use super::copy_step::explain;
use super::layers::blocking;
use super::users::resolve_owner;
use super::worker::{Made, Next, layers_fact, on_top};
use super::{Inputs, OpError, StepResult, Worker};
use crate::cache::{KeySink, Keyed};
use crate::digest::ChainId;
use crate::plan::{Step, WorkdirOp};
use crate::progress::VertexId;

struct Facts<'a> {
    op: &'a WorkdirOp,
    below: Option<ChainId>,
}

impl Keyed for Facts<'_> {
    fn write_key(&self, sink: &mut dyn KeySink) {
        sink.field("op", "workdir/1");
        sink.field("path", &self.op.path);
        sink.field("user", &self.op.user);
        if let Some(seconds) = self.op.mtime_seconds {
            sink.field("time", &seconds.to_string());
        }
        layers_fact(sink, "layers", self.below);
    }
}

/// Makes the directory, or finds that it was made before.
pub(super) async fn perform(
    worker: &Arc<Worker>,
    op: &WorkdirOp,
    step: &Step,
    vertex: VertexId,
    inputs: &Inputs,
    leads_to_network: bool,
) -> Result<StepResult, OpError> {
    let below = inputs.layers(op.parent);
    let facts = Facts { op, below: below.id() };
    if let Some(record) = worker.recall(step, &facts).await {
        return Ok(on_top(&below, &record, true));
    }
    let turn = match worker.missed((step, vertex), inputs, &[&facts], None).await? {
        Next::Do(turn) => turn,
        Next::Take(record) => return Ok(on_top(&below, &record, true)),
    };
    let began = Instant::now();
    worker.connect_ahead(leads_to_network);
    let view = worker.view(&below, vertex).await?;
    let (task_worker, task_op) = (worker.clone(), op.clone());
    let made = blocking(move || {
        let owner = resolve_owner(Some(&view), &task_op.user)
            .map_err(|error| OpError::user("unknown-user", error.to_string()))?;
        let owner = owner.unwrap_or(Owner { uid: 0, gid: 0 });
        let mut blob = task_worker.store.ingest()?;
        write_directory_layer(&task_op.path, Some(&view), owner, task_worker.settings.time, &mut blob)
            .map_err(|error| explain(error, None))?;
        let (digest, length) = blob.commit(None)?;
        Ok(Made { digest, length, peak_memory: None })
    })
    .await?;
    let record = worker.remember(step, &facts, &made, began)?;
    drop(turn);
    Ok(on_top(&below, &record, false))
}

#[cfg(test)]
mod tests;
