//! `--progress=plain`: numbered lines, never taken back, in the words of `docker buildx build`.
//!
//! ```text
//! #5 [builder 2/5] RUN make
//! #5 0.123 a line that the command wrote
//! #5 DONE 0.3s
//! ```
//!
//! One vertex speaks at a time, under its heading. The others' lines are held until it ends, or until it has
//! been silent, or has spoken alone for long enough; a vertex that ends, or that has much to say, is shown at once.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::tails::Tails;
use super::text::{self, Lines};
use super::vertices::{Vertices, seconds};
use super::{Printer, Writer, summary};
use crate::cli::size;
use crate::diag::Diagnostic;
use crate::progress::{Event, Outcome, Place, VertexId};

/// How long the speaker may be silent before another one that has something to say takes over.
const SILENCE: Duration = Duration::from_millis(500);
/// How long the speaker may go on while others wait.
const TURN: Duration = Duration::from_secs(5);
/// The most that is held of a vertex, in bytes.
const MOST_HELD: usize = 1 << 20;
/// What a line costs beside its text, in bytes.
const LINE: usize = 64;
/// How often an unfinished part is shown again.
const PART_INTERVAL: Duration = Duration::from_secs(5);

/// The printer.
pub(super) struct Plain {
    out: Writer,
    vertices: Vertices,
    lines: BTreeMap<VertexId, Lines>,
    /// Lines of vertices that do not speak now.
    held: BTreeMap<VertexId, Held>,
    /// When a part of a vertex began, and was last shown.
    parts: BTreeMap<(VertexId, String), (Duration, Duration)>,
    tails: Tails,
    speaker: Option<Speaker>,
    anything_shown: bool,
}

#[derive(Default)]
struct Held {
    lines: Vec<String>,
    bytes: usize,
}

struct Speaker {
    id: VertexId,
    since: Duration,
    last: Duration,
}

impl Plain {
    pub(super) fn new(out: Writer) -> Self {
        Self {
            out,
            vertices: Vertices::default(),
            lines: BTreeMap::new(),
            held: BTreeMap::new(),
            parts: BTreeMap::new(),
            tails: Tails::default(),
            speaker: None,
            anything_shown: false,
        }
    }

    /// Shows `lines` of a vertex now or, while another one speaks, later.
    fn say(&mut self, at: Duration, id: VertexId, lines: Vec<String>) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        match &self.speaker {
            Some(speaker) if speaker.id != id => {
                let held = self.held.entry(id).or_default();
                held.bytes += lines.iter().map(|line| line.len() + LINE).sum::<usize>();
                held.lines.extend(lines);
                if held.bytes > MOST_HELD { self.speak(at, id) } else { self.take_turns(at) }
            }
            _ => {
                self.speak(at, id)?;
                self.write(id, &lines)
            }
        }
    }

    /// Makes `id` the speaker: closes the one before, writes the heading and what was held.
    fn speak(&mut self, at: Duration, id: VertexId) -> io::Result<()> {
        if let Some(speaker) = &mut self.speaker {
            speaker.last = at;
            if speaker.id == id {
                return Ok(());
            }
            let number = self.vertices.number(speaker.id);
            writeln!(self.out, "#{number} ...")?;
        }
        let number = self.vertices.number(id);
        if self.anything_shown {
            writeln!(self.out)?;
        }
        self.anything_shown = true;
        writeln!(self.out, "#{number} {}", self.vertices.get(id).name)?;
        self.speaker = Some(Speaker { id, since: at, last: at });
        let held = self.held.remove(&id).unwrap_or_default();
        self.write(id, &held.lines)
    }

    fn write(&mut self, id: VertexId, lines: &[String]) -> io::Result<()> {
        let number = self.vertices.number(id);
        for line in lines {
            writeln!(self.out, "#{number} {line}")?;
        }
        Ok(())
    }

    /// Lets one that waits speak, if the speaker has had its turn.
    fn take_turns(&mut self, at: Duration) -> io::Result<()> {
        let over = |speaker: &Speaker| at - speaker.last >= SILENCE || at - speaker.since >= TURN;
        if self.speaker.as_ref().is_none_or(over)
            && let Some(id) = self.held.keys().next().copied()
        {
            self.speak(at, id)?;
        }
        Ok(())
    }

    fn end(&mut self, at: Duration, id: VertexId, outcome: Outcome) -> io::Result<()> {
        let last = self.lines.remove(&id).and_then(|mut lines| lines.finish());
        let started = self.vertices.get(id).started.is_some();
        self.vertices.get(id).ended = Some((at, outcome.clone()));
        let elapsed = self.vertices.get(id).elapsed(at);
        if outcome == Outcome::Canceled && !started {
            // It never came to do anything, and nobody was told of it.
            return Ok(());
        }
        self.speak(at, id)?;
        let failed = matches!(outcome, Outcome::Failed(_));
        let word = match outcome {
            Outcome::Done => format!("DONE {}", seconds(elapsed)),
            Outcome::Cached => "CACHED".to_owned(),
            Outcome::Failed(why) => format!("ERROR: {}", text::sanitize(why.replace('\n', " ").as_bytes())),
            Outcome::Canceled => "CANCELED".to_owned(),
        };
        let last = last.map(|line| format!("{:.3} {line}", elapsed.as_secs_f64()));
        self.tails.push(id, last.clone());
        self.tails.end(id, failed);
        let lines: Vec<String> = last.into_iter().chain([word]).collect();
        self.write(id, &lines)?;
        self.speaker = None;
        self.take_turns(at)
    }

    fn log(&mut self, at: Duration, id: VertexId, data: &[u8]) -> io::Result<()> {
        let elapsed = self.vertices.get(id).elapsed(at);
        let lines = self.lines.entry(id).or_default().feed(data);
        let stamp = |line: String| format!("{:.3} {line}", elapsed.as_secs_f64());
        let lines: Vec<String> = lines.into_iter().map(stamp).collect();
        self.tails.push(id, lines.iter().cloned());
        self.say(at, id, lines)
    }

    /// Shows a warning under the vertex that read the file, again when that is over.
    fn warn(&mut self, at: Duration, id: VertexId, diagnostic: &Diagnostic, place: Option<&Place>) -> io::Result<()> {
        let mut lines = vec![format!("WARN: {}", text::sanitize(summary(diagnostic, place).as_bytes()))];
        let over = self.vertices.get(id).ended.is_some();
        if over {
            lines.push(format!("DONE {}", seconds(self.vertices.get(id).elapsed(at))));
        }
        self.speak(at, id)?;
        self.write(id, &lines)?;
        if over {
            self.speaker = None;
        }
        Ok(())
    }

    fn part(&mut self, at: Duration, id: VertexId, part: &str, current: u64, total: u64, done: bool) -> io::Result<()> {
        let key = (id, part.to_owned());
        let known = self.parts.get(&key).copied();
        if !done && known.is_some_and(|(_, shown)| at - shown < PART_INTERVAL) {
            return Ok(());
        }
        let begun = known.map_or(at, |(begun, _)| begun);
        self.parts.insert(key, (begun, at));
        let amount = match (current, total) {
            (0, 0) => String::new(),
            (current, 0) => format!(" {}", size::bytes(current)),
            (current, total) => format!(" {} / {}", size::bytes(current), size::bytes(total)),
        };
        let elapsed = if at > begun { format!(" {}", seconds(at - begun)) } else { String::new() };
        let done = if done { " done" } else { "" };
        let part = text::sanitize(part.as_bytes());
        self.say(at, id, vec![format!("{part}{amount}{elapsed}{done}")])
    }
}

impl Printer for Plain {
    fn event(&mut self, at: Duration, event: Event) -> io::Result<()> {
        match event {
            Event::Isolation(words) => {
                self.anything_shown = true;
                writeln!(self.out, "#0 building with {words}")
            }
            Event::Added { id, name, inputs } => {
                self.vertices.add(id, text::sanitize(name.replace('\n', " ").as_bytes()), inputs);
                Ok(())
            }
            Event::Started(id) => {
                self.vertices.get(id).started = Some(at);
                // The heading of one that starts is worth showing when nobody speaks.
                if self.speaker.is_none() { self.speak(at, id) } else { Ok(()) }
            }
            Event::Log { id, data, .. } => data.chunks(text::PIECE).try_for_each(|piece| self.log(at, id, piece)),
            Event::Status { id, part, current, total, done } => self.part(at, id, &part, current, total, done),
            Event::Ended { id, outcome } => self.end(at, id, outcome),
            Event::Warning { id, diagnostic, place } => self.warn(at, id, &diagnostic, place.as_deref()),
            Event::Notice(remark) => writeln!(self.out, "{}", text::sanitize(remark.as_bytes())),
        }
    }

    fn tick(&mut self, at: Duration) -> io::Result<()> {
        self.take_turns(at)
    }

    fn finish(&mut self, at: Duration) -> io::Result<()> {
        for id in self.held.keys().copied().collect::<Vec<_>>() {
            self.speak(at, id)?;
        }
        for line in self.tails.of_failed(&mut self.vertices) {
            writeln!(self.out, "{line}")?;
        }
        if self.anything_shown {
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
