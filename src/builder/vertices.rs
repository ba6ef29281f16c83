//! Numbers of progress vertices: one run over all platforms, resolutions and outputs of a build.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::executor::CancelFlag;
use crate::progress::{Event, Outcome, SharedSink, VertexId};

/// Hands out vertex ids.
pub(super) struct Vertices {
    sink: SharedSink,
    cancel: CancelFlag,
    next: AtomicU32,
}

impl Vertices {
    /// `cancel` tells work that the user stopped from work that failed.
    pub(super) fn new(sink: SharedSink, cancel: CancelFlag) -> Self {
        Self { sink, cancel, next: AtomicU32::new(0) }
    }

    /// Takes `count` ids in a row and returns the first.
    pub(super) fn reserve(&self, count: usize) -> u32 {
        let count = u32::try_from(count).expect("a build has fewer than 2^32 steps");
        self.next.fetch_add(count, Ordering::Relaxed)
    }

    /// Shows `work` as a vertex of its own, named `name`.
    pub(super) async fn show<T, E: std::fmt::Display>(
        &self,
        name: String,
        work: impl AsyncFnOnce(VertexId) -> Result<T, E>,
    ) -> Result<T, E> {
        let id = VertexId(self.reserve(1));
        self.sink.event(Event::Added { id, name, inputs: Vec::new() });
        self.sink.event(Event::Started(id));
        let ended = work(id).await;
        let outcome = match &ended {
            Ok(_) => Outcome::Done,
            Err(_) if self.cancel.is_cancelled() => Outcome::Canceled,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.sink.event(Event::Ended { id, outcome });
        ended
    }
}
