//! `--progress=rawjson`: BuildKit's `SolveStatus` objects, one JSON text per line.
//!
//! ```text
//! {"vertexes":[{"digest":"sha256:..","name":"[1/2] RUN make","started":"2026-01-01T00:00:00Z"}]}
//! {"logs":[{"vertex":"sha256:..","stream":1,"data":"<base64>","timestamp":".."}]}
//! ```
//!
//! Shapes and field names are those of `client.SolveStatus` of moby/buildkit. Logs are the raw bytes, up to the limit of a
//! vertex: what reads this is a program.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::text::{CLIPPED, VERTEX_LIMIT};
use super::vertices::Vertices;
use super::{Printer, Writer, summary};
use crate::diag::Diagnostic;
use crate::digest::Digest;
use crate::dockerfile::lint::Rule;
use crate::fsutil::Timestamp;
use crate::oci::rfc3339;
use crate::progress::{Event, Outcome, Place, Stream, VertexId};

/// One line of output; empty parts are left out.
#[derive(Serialize, Default)]
struct SolveStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<VertexJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<StatusJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<LogJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<WarningJson>,
}

#[derive(Serialize)]
struct VertexJson {
    digest: Digest,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Digest>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

#[derive(Serialize)]
struct StatusJson {
    id: String,
    vertex: Digest,
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    current: u64,
    timestamp: String,
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
}

#[derive(Serialize)]
struct LogJson {
    vertex: Digest,
    stream: u8,
    data: String,
    timestamp: String,
}

#[derive(Serialize, Default)]
struct WarningJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    vertex: Option<Digest>,
    level: u8,
    short: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detail: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(rename = "sourceInfo", skip_serializing_if = "Option::is_none")]
    source_info: Option<SourceInfoJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    range: Vec<RangeJson>,
}

#[derive(Serialize)]
struct SourceInfoJson {
    filename: String,
    data: String,
    language: &'static str,
}

#[derive(Serialize)]
struct RangeJson {
    start: PositionJson,
    end: PositionJson,
}

#[derive(Serialize)]
struct PositionJson {
    line: u32,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The printer.
pub(super) struct RawJson {
    out: Writer,
    start: Timestamp,
    vertices: Vertices,
    digests: BTreeMap<VertexId, Digest>,
    parts: BTreeMap<(VertexId, String), Duration>,
    /// Bytes of log of each vertex.
    logged: BTreeMap<VertexId, usize>,
}

impl RawJson {
    /// Times of events are counted from `start`.
    pub(super) fn new(out: Writer, start: Timestamp) -> Self {
        let (vertices, digests, parts) = (Vertices::default(), BTreeMap::new(), BTreeMap::new());
        Self { out, start, vertices, digests, parts, logged: BTreeMap::new() }
    }

    fn time(&self, at: Duration) -> String {
        let nanoseconds = self.start.nanoseconds + at.subsec_nanos();
        let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX) + i64::from(nanoseconds / 1_000_000_000);
        let time =
            Timestamp { seconds: self.start.seconds.saturating_add(seconds), nanoseconds: nanoseconds % 1_000_000_000 };
        rfc3339(time)
    }

    /// Number and name together are unique in a build and the same in the next.
    fn digest(&mut self, id: VertexId) -> Digest {
        let name = self.vertices.get(id).name.clone();
        *self.digests.entry(id).or_insert_with(|| Digest::of(format!("{} {name}", id.0).as_bytes()))
    }

    fn vertex(&mut self, id: VertexId) -> VertexJson {
        let digest = self.digest(id);
        let inputs = self.vertices.get(id).inputs.clone();
        let inputs = inputs.into_iter().map(|input| self.digest(input)).collect();
        let vertex = self.vertices.get(id);
        let (name, started, ended) = (vertex.name.clone(), vertex.started, vertex.ended.clone());
        let (completed, outcome) = ended.unzip();
        // A cached vertex began and ended at once: BuildKit's readers take one without a beginning for one to come.
        let started = started.or(completed).map(|at| self.time(at));
        let completed = completed.map(|at| self.time(at));
        let error = match &outcome {
            Some(Outcome::Failed(why)) => why.clone(),
            Some(Outcome::Canceled) => "context canceled".to_owned(),
            _ => String::new(),
        };
        VertexJson { digest, inputs, name, started, completed, cached: outcome == Some(Outcome::Cached), error }
    }

    /// `None` when there is nothing to say any more.
    fn status(&mut self, at: Duration, event: Event) -> Option<SolveStatus> {
        let mut status = SolveStatus::default();
        match event {
            // The format has no place for it.
            Event::Isolation(_) => return None,
            Event::Added { id, name, inputs } => {
                self.vertices.add(id, name, inputs);
                status.vertexes.push(self.vertex(id));
            }
            Event::Started(id) => {
                self.vertices.get(id).started = Some(at);
                status.vertexes.push(self.vertex(id));
            }
            Event::Ended { id, outcome } => {
                self.vertices.get(id).ended = Some((at, outcome));
                status.vertexes.push(self.vertex(id));
            }
            Event::Log { id, stream, data } => {
                let logged = self.logged.entry(id).or_default();
                if *logged > VERTEX_LIMIT {
                    return None;
                }
                *logged += data.len();
                let data = if *logged > VERTEX_LIMIT { format!("{CLIPPED}\n").into_bytes() } else { data };
                let stream = if stream == Stream::Stdout { 1 } else { 2 };
                let data = STANDARD.encode(data);
                status.logs.push(LogJson { vertex: self.digest(id), stream, data, timestamp: self.time(at) });
            }
            Event::Status { id, part, current, total, done } => {
                let begun = *self.parts.entry((id, part.clone())).or_insert(at);
                let timestamp = self.time(at);
                let (started, completed) = (self.time(begun), done.then(|| timestamp.clone()));
                let vertex = self.digest(id);
                status.statuses.push(StatusJson { id: part, vertex, total, current, timestamp, started, completed });
            }
            Event::Warning { id, diagnostic, place } => {
                let vertex = self.digest(id);
                status.warnings.push(warning(vertex, &diagnostic, place.as_deref()));
            }
            Event::Notice(remark) => {
                let short = STANDARD.encode(remark);
                status.warnings.push(WarningJson { level: 1, short, ..WarningJson::default() });
            }
        }
        Some(status)
    }
}

fn warning(vertex: Digest, diagnostic: &Diagnostic, place: Option<&Place>) -> WarningJson {
    let rule = Rule::named(diagnostic.code);
    let detail = rule.map(|rule| rule.description.to_owned()).into_iter().chain(diagnostic.help.iter().cloned());
    WarningJson {
        vertex: Some(vertex),
        level: 1,
        short: STANDARD.encode(summary(diagnostic, place)),
        detail: detail.map(|line| STANDARD.encode(line)).collect(),
        url: rule.map(|rule| rule_url(rule.name)).unwrap_or_default(),
        source_info: place.map(|place| SourceInfoJson {
            filename: place.file.name().to_owned(),
            data: STANDARD.encode(place.file.text()),
            language: "Dockerfile",
        }),
        range: place.into_iter().map(range).collect(),
    }
}

fn range(place: &Place) -> RangeJson {
    RangeJson { start: PositionJson { line: place.first_line }, end: PositionJson { line: place.last_line } }
}

/// Docker's page on a rule: the rule's name in small letters, a hyphen before each word.
fn rule_url(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut page = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before_is_small = at > 0 && letters[at - 1].is_lowercase();
        let ends_capitals = at > 0 && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (before_is_small || ends_capitals) {
            page.push('-');
        }
        page.extend(letter.to_lowercase());
    }
    format!("https://docs.docker.com/go/dockerfile/rule/{page}/")
}

impl Printer for RawJson {
    fn event(&mut self, at: Duration, event: Event) -> io::Result<()> {
        let Some(status) = self.status(at, event) else { return Ok(()) };
        let mut line = serde_json::to_vec(&status)?;
        line.push(b'\n');
        self.out.write_all(&line)
    }

    fn tick(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
