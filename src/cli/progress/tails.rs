//! What commands wrote last: shown while they run, and once more below everything when they failed.

use std::collections::{BTreeMap, VecDeque};

use super::vertices::Vertices;
use crate::progress::VertexId;

/// How many lines of a failed command are shown.
const MOST_LINES: usize = 50;

/// The last lines of each vertex that runs or failed.
#[derive(Default)]
pub(super) struct Tails {
    lines: BTreeMap<VertexId, VecDeque<String>>,
    failed: Vec<VertexId>,
}

impl Tails {
    /// Takes lines as they are shown.
    pub(super) fn push(&mut self, id: VertexId, lines: impl IntoIterator<Item = String>) {
        let tail = self.lines.entry(id).or_default();
        tail.extend(lines);
        tail.drain(..tail.len().saturating_sub(MOST_LINES));
    }

    /// Forgets what a vertex wrote, unless it failed.
    pub(super) fn end(&mut self, id: VertexId, failed: bool) {
        if failed {
            self.failed.push(id);
        } else {
            self.lines.remove(&id);
        }
    }

    /// Returns the last lines of a vertex.
    pub(super) fn of(&self, id: VertexId) -> impl Iterator<Item = &String> {
        self.lines.get(&id).into_iter().flatten()
    }

    /// Returns the last lines of those that failed, each vertex in a block as docker prints it.
    pub(super) fn of_failed(&self, vertices: &mut Vertices) -> Vec<String> {
        const RULE: &str = "------";
        let block = |id: &VertexId| {
            let heading = format!(" > {}:", vertices.get(*id).name);
            [RULE.to_owned(), heading]
                .into_iter()
                .chain(self.of(*id).cloned())
                .chain([RULE.to_owned()])
                .collect::<Vec<_>>()
        };
        self.failed.iter().flat_map(block).collect()
    }
}
