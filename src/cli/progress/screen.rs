//! What `--progress=tty` shows, as lines of text: no terminal, no clock.
//!
//! Steps that ended move up and stay; below them is the live part, drawn anew each time:
//!
//! ```text
//!  => CACHED [1/3] FROM docker.io/library/busybox                 0.0s
//! [+] Building 1.2s (1/3)
//!  => [2/3] RUN make                                              1.1s
//!  => => # the last lines that the command wrote
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use super::tails::Tails;
use super::text::{self, Lines};
use super::vertices::{Vertex, Vertices, seconds};
use crate::cli::size;
use crate::progress::{Event, Outcome, VertexId};

/// How many lines of a running command are shown.
const LOG_TAIL: usize = 6;

/// The state of the display.
#[derive(Default)]
pub(super) struct Screen {
    vertices: Vertices,
    lines: BTreeMap<VertexId, Lines>,
    tails: Tails,
    parts: BTreeMap<VertexId, Vec<Part>>,
}

struct Part {
    name: String,
    current: u64,
    total: u64,
    begun: Duration,
    ended: Option<Duration>,
}

impl Screen {
    /// Takes an event; returns lines that are final and go above the live part.
    pub(super) fn event(&mut self, at: Duration, event: Event, width: usize) -> Vec<String> {
        match event {
            Event::Added { id, name, inputs } => {
                self.vertices.add(id, text::sanitize(name.replace('\n', " ").as_bytes()), inputs);
            }
            Event::Started(id) => self.vertices.get(id).started = Some(at),
            Event::Log { id, data, .. } => {
                let elapsed = self.vertices.get(id).elapsed(at).as_secs_f64();
                for piece in data.chunks(text::PIECE) {
                    let lines = self.lines.entry(id).or_default().feed(piece);
                    self.tails.push(id, lines.into_iter().map(|line| format!("{elapsed:.3} {line}")));
                }
            }
            Event::Status { id, part, current, total, done } => self.part(at, id, part, current, total, done),
            Event::Ended { id, outcome } => return self.end(at, id, outcome, width),
            // Shown as a frame when the build is over.
            Event::Isolation(_) | Event::Warning { .. } => {}
            Event::Notice(remark) => return vec![text::cut(&text::sanitize(remark.as_bytes()), width)],
        }
        Vec::new()
    }

    fn part(&mut self, at: Duration, id: VertexId, name: String, current: u64, total: u64, done: bool) {
        let parts = self.parts.entry(id).or_default();
        let index = parts.iter().position(|part| part.name == name).unwrap_or(parts.len());
        if index == parts.len() {
            parts.push(Part { name, current, total, begun: at, ended: None });
        }
        let part = &mut parts[index];
        (part.current, part.total) = (current, total);
        part.ended = done.then_some(at);
    }

    fn end(&mut self, at: Duration, id: VertexId, outcome: Outcome, width: usize) -> Vec<String> {
        let failed = matches!(outcome, Outcome::Failed(_));
        let quiet = outcome == Outcome::Canceled && self.vertices.get(id).started.is_none();
        self.vertices.get(id).ended = Some((at, outcome));
        self.parts.remove(&id);
        if let Some(line) = self.lines.remove(&id).and_then(|mut lines| lines.finish()) {
            let elapsed = self.vertices.get(id).elapsed(at).as_secs_f64();
            self.tails.push(id, [format!("{elapsed:.3} {line}")]);
        }
        self.tails.end(id, failed);
        if quiet { Vec::new() } else { vec![step_line(self.vertices.get(id), at, width)] }
    }

    /// Returns the live part, in at most `height` lines of `width` characters.
    pub(super) fn live(&self, at: Duration, width: usize, height: usize) -> Vec<String> {
        let mut lines = vec![self.heading(at, "")];
        let running = |(_, vertex): &(&VertexId, &Vertex)| vertex.started.is_some() && vertex.ended.is_none();
        let running: Vec<_> = self.vertices.iter().filter(running).collect();
        // Each gets an equal share of the lines that the steps themselves leave.
        let room = height.saturating_sub(1 + running.len()) / running.len().max(1);
        for (id, vertex) in running {
            lines.push(step_line(vertex, at, width));
            lines.extend(self.details(*id, at, width, room.min(LOG_TAIL)));
        }
        lines.truncate(height.max(1));
        lines
    }

    fn details(&self, id: VertexId, at: Duration, width: usize, room: usize) -> Vec<String> {
        let parts = self.parts.get(&id).map_or(&[][..], Vec::as_slice);
        let parts = parts.iter().filter(|part| part.ended.is_none()).map(|part| part_line(part, at, width));
        let tail = self.tails.of(id).map(|line| text::cut(&format!(" => => # {}", line.replace('\t', "    ")), width));
        let all: Vec<String> = parts.chain(tail).collect();
        let skip = all.len().saturating_sub(room);
        all.into_iter().skip(skip).collect()
    }

    fn heading(&self, at: Duration, word: &str) -> String {
        let (all, ended) = self.vertices.totals();
        format!("[+] Building {} ({ended}/{all}){word}", seconds(at))
    }

    /// Returns the lines that stay below everything: the total, and what failed commands wrote last.
    pub(super) fn last(&mut self, at: Duration) -> Vec<String> {
        [self.heading(at, " FINISHED")].into_iter().chain(self.failed()).collect()
    }

    /// Returns what failed commands wrote last.
    pub(super) fn failed(&mut self) -> Vec<String> {
        self.tails.of_failed(&mut self.vertices)
    }
}

fn step_line(vertex: &Vertex, at: Duration, width: usize) -> String {
    let word = match &vertex.ended {
        Some((_, Outcome::Cached)) => "CACHED ",
        Some((_, Outcome::Failed(_))) => "ERROR ",
        Some((_, Outcome::Canceled)) => "CANCELED ",
        Some((_, Outcome::Done)) | None => "",
    };
    justify(&format!(" => {word}{}", vertex.name), &seconds(vertex.elapsed(at)), width)
}

fn part_line(part: &Part, at: Duration, width: usize) -> String {
    let amount = match (part.current, part.total) {
        (0, 0) => String::new(),
        (current, 0) => format!(" {}", size::bytes(current)),
        (current, total) => format!(" {} / {}", size::bytes(current), size::bytes(total)),
    };
    let name = text::sanitize(part.name.as_bytes());
    justify(&format!(" => => {name}{amount}"), &seconds(at.saturating_sub(part.begun)), width)
}

/// Puts `right` at the right edge of a line, cutting `left` when it must.
fn justify(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(right.chars().count() + 1);
    format!("{:room$} {right}", text::cut(left, room))
}
