//! Progress as a stream of events: what happens, never how it looks.
//!
//! Everything below `cli/` reports through a [`Sink`]; the printers (`cli::progress`) read the stream.
//! The shapes follow BuildKit's SolveStatus (vertex, log, status, warning), so that `rawjson` is a mapping.

use std::sync::Arc;

use crate::diag::Diagnostic;
use crate::source::SourceFile;

/// Identifies a vertex of this build's progress: a step, or something done beside the steps (an export).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VertexId(pub u32);

/// Which stream of a command a piece of log came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a vertex ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Its work was done now.
    Done,
    /// An earlier result was used.
    Cached,
    /// It failed; one line that says why.
    Failed(String),
    /// The build ended before it did.
    Canceled,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// What the steps of the build are isolated by, in a few words: the first event.
    Isolation(String),
    /// A vertex is known. `name` is what users see, for example `[builder 2/5] RUN make`.
    Added {
        /// The vertex.
        id: VertexId,
        /// What users see.
        name: String,
        /// Vertices whose results it needs.
        inputs: Vec<VertexId>,
    },
    /// Work on a vertex began.
    Started(VertexId),
    /// A command wrote something: raw bytes, not lines, not yet sanitised.
    Log {
        /// The vertex.
        id: VertexId,
        /// Which of its streams.
        stream: Stream,
        /// The bytes.
        data: Vec<u8>,
    },
    /// A part of a vertex moved, for example one blob of a pull.
    Status {
        /// The vertex.
        id: VertexId,
        /// Names the part, for example a digest.
        part: String,
        /// Bytes done.
        current: u64,
        /// Bytes in all; 0 when unknown.
        total: u64,
        /// Whether this part is finished.
        done: bool,
    },
    /// A vertex ended.
    Ended {
        /// The vertex.
        id: VertexId,
        /// How.
        outcome: Outcome,
    },
    /// A lint rule or another warning about a file.
    Warning {
        /// The vertex that read the file.
        id: VertexId,
        /// What it says.
        diagnostic: Box<Diagnostic>,
        /// Where, unless it is about the whole file.
        place: Option<Box<Place>>,
    },
    /// A one-line remark about the build itself, for example that host networking is used.
    Notice(String),
}

/// Lines of a file, for those who read events without the sources of the build.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub file: SourceFile,
    /// The first line, from 1.
    pub first_line: u32,
    /// The last line.
    pub last_line: u32,
}

/// Where events go. Called from many threads; must not block for long.
pub trait Sink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// A sink shared by everything that works on one build.
pub type SharedSink = Arc<dyn Sink>;

/// A sink that forgets everything.
pub struct Silent;

impl Sink for Silent {
    fn event(&self, _: Event) {}
}
