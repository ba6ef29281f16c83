//! What is known of each vertex: the part of the state that every printer needs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::progress::{Outcome, VertexId};

/// One vertex.
#[derive(Debug)]
pub(super) struct Vertex {
    /// Its number on screen, from 1, in the order in which vertices were first shown.
    pub(super) number: Option<usize>,
    /// What users see.
    pub(super) name: String,
    /// Vertices whose results it needs.
    pub(super) inputs: Vec<VertexId>,
    /// When work began.
    pub(super) started: Option<Duration>,
    /// When and how it ended.
    pub(super) ended: Option<(Duration, Outcome)>,
}

impl Vertex {
    /// Returns how long it has worked, or did.
    pub(super) fn elapsed(&self, now: Duration) -> Duration {
        let end = self.ended.as_ref().map_or(now, |(end, _)| *end);
        self.started.map_or(Duration::ZERO, |start| end.saturating_sub(start))
    }
}

/// All vertices of a build.
#[derive(Debug, Default)]
pub(super) struct Vertices {
    all: BTreeMap<VertexId, Vertex>,
    numbered: usize,
}

impl Vertices {
    /// Takes a new vertex; one that is known keeps its state.
    pub(super) fn add(&mut self, id: VertexId, name: String, inputs: Vec<VertexId>) {
        self.all.entry(id).or_insert(Vertex { number: None, name, inputs, started: None, ended: None });
    }

    /// Returns a vertex; one that nobody announced gets a name of its own.
    pub(super) fn get(&mut self, id: VertexId) -> &mut Vertex {
        let unnamed = || Vertex {
            number: None,
            name: format!("[step {}]", id.0),
            inputs: Vec::new(),
            started: None,
            ended: None,
        };
        self.all.entry(id).or_insert_with(unnamed)
    }

    /// Returns the number of a vertex on screen, giving it one if it has none.
    pub(super) fn number(&mut self, id: VertexId) -> usize {
        if let Some(number) = self.get(id).number {
            return number;
        }
        self.numbered += 1;
        let number = self.numbered;
        self.get(id).number = Some(number);
        number
    }

    /// Returns how many there are, and how many have ended.
    pub(super) fn totals(&self) -> (usize, usize) {
        (self.all.len(), self.all.values().filter(|vertex| vertex.ended.is_some()).count())
    }

    /// Returns all, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&VertexId, &Vertex)> {
        self.all.iter()
    }
}

/// Writes a length of time in seconds: `0.3s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}
