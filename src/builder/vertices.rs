//! Numbers of progress vertices: one run over all platforms, resolutions and outputs of a build.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::diag::Diagnostic;
use crate::executor::CancelFlag;
use crate::progress::{Event, Outcome, Place, SharedSink, VertexId};
use crate::source::Sources;

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

    /// Says that a part of a vertex is done, at once.
    pub(super) fn transferred(&self, id: VertexId, part: &str, bytes: usize) {
        let (part, current) = (part.to_owned(), bytes as u64);
        self.sink.event(Event::Status { id, part, current, total: 0, done: true });
    }

    /// Tells of a warning about a file that `id` read.
    pub(super) fn warn(&self, id: VertexId, diagnostic: &Diagnostic, sources: &Sources) {
        let place = diagnostic.span.map(|span| {
            let file = sources.get(span.source);
            let (first_line, last_line) = file.lines_of(span);
            Box::new(Place { file: file.clone(), first_line, last_line })
        });
        self.sink.event(Event::Warning { id, diagnostic: Box::new(diagnostic.clone()), place });
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
