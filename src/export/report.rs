//! How far an export is, as status events of one vertex.

use std::io::{self, Read};
use std::sync::Arc;

use crate::executor::CancelFlag;
use crate::progress::{Event, SharedSink, Silent, VertexId};

/// Where the exporters say how far they are: a sink and the vertex the work belongs to.
#[derive(Clone)]
pub struct Report {
    sink: SharedSink,
    id: VertexId,
    /// When it is set, whatever reads through the report fails, and the exporter cleans up.
    cancel: Option<CancelFlag>,
}

/// Bytes between two events of one part.
const STEP: u64 = 1 << 20;

impl Report {
    /// Makes a report for the vertex `id`, which the caller has added. `cancel` stops the export.
    pub fn new(sink: SharedSink, id: VertexId, cancel: CancelFlag) -> Self {
        Self { sink, id, cancel: Some(cancel) }
    }

    /// Makes a report of work that nothing but the end of the process stops.
    pub fn of(sink: SharedSink, id: VertexId) -> Self {
        Self { sink, id, cancel: None }
    }

    /// Makes a report nobody hears.
    pub fn silent() -> Self {
        Self { sink: Arc::new(Silent), id: VertexId(0), cancel: None }
    }

    /// The same, of work that `cancel` stops.
    pub fn silent_until(cancel: CancelFlag) -> Self {
        Self { cancel: Some(cancel), ..Self::silent() }
    }

    /// Says that `current` of `total` bytes of `part` are done.
    pub fn status(&self, part: &str, current: u64, total: u64, done: bool) {
        self.sink.event(Event::Status { id: self.id, part: part.to_owned(), current, total, done });
    }

    /// Says something about the export that the user should know.
    pub(super) fn notice(&self, text: String) {
        self.sink.event(Event::Notice(text));
    }

    /// Fails when the export shall stop.
    pub(super) fn go_on(&self) -> io::Result<()> {
        match self.cancel.as_ref().is_some_and(CancelFlag::is_cancelled) {
            true => Err(io::Error::other("canceled")),
            false => Ok(()),
        }
    }

    /// Wraps a reader so that what is read from it is told.
    pub(super) fn reading<R: Read>(&self, part: String, total: u64, inner: R) -> Reading<'_, R> {
        Reading { report: self, part, total, current: 0, told: 0, inner }
    }
}

/// See [`Report::reading`].
pub(super) struct Reading<'a, R> {
    report: &'a Report,
    part: String,
    total: u64,
    current: u64,
    told: u64,
    inner: R,
}

impl<R: Read> Read for Reading<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.report.go_on()?;
        let n = self.inner.read(buffer)?;
        self.current += n as u64;
        let done = n == 0 && !buffer.is_empty();
        if done || self.current - self.told >= STEP {
            self.told = self.current;
            self.report.status(&self.part, self.current, self.total, done);
        }
        Ok(n)
    }
}
