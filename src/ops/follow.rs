//! A layer that somebody else gets too, while it is written into the store.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use crate::content::{ContentError, Ingest};
use crate::digest::{DiffId, Digest};
use crate::source::Span;

/// Shorter layers are there before anybody could make use of their beginning.
const LONG: usize = 4 << 20;

/// Takes long layers while they are written.
pub trait Follower: Send + Sync {
    /// A layer begins; `None` if it is not wanted.
    fn begin(&self) -> Option<Box<dyn Following>>;
}

/// Takes one layer. Dropped before its end, it is a layer that came to nothing.
pub trait Following: Send {
    /// The next bytes of the tar. Whether more are wanted.
    fn bytes(&mut self, bytes: &[u8]) -> bool;

    /// That was all, and `layer` is what it is.
    fn end(self: Box<Self>, layer: DiffId);
}

/// Who follows which steps.
pub struct Followed {
    /// The steps, by their instructions.
    pub steps: BTreeSet<Span>,
    /// Who gets their layers.
    pub follower: Arc<dyn Follower>,
}

/// A blob being written, and who follows it.
pub(super) struct NewLayer {
    blob: Ingest,
    state: State,
}

enum State {
    Alone,
    /// What there is of a layer that is not long yet.
    Short(Vec<u8>, Arc<dyn Follower>),
    Followed(Box<dyn Following>),
}

impl NewLayer {
    pub(super) fn new(blob: Ingest, follower: Option<Arc<dyn Follower>>) -> Self {
        Self { blob, state: follower.map_or(State::Alone, |follower| State::Short(Vec::new(), follower)) }
    }

    /// Ends it; returns its digest and length.
    pub(super) fn commit(self) -> Result<(Digest, u64), ContentError> {
        let committed = self.blob.commit(None)?;
        if let State::Followed(following) = self.state {
            following.end(DiffId(committed.0));
        }
        Ok(committed)
    }

    fn tell(&mut self, bytes: &[u8]) {
        self.state = match std::mem::replace(&mut self.state, State::Alone) {
            State::Alone => State::Alone,
            State::Short(mut first, follower) => {
                first.extend_from_slice(bytes);
                if first.len() < LONG {
                    State::Short(first, follower)
                } else {
                    follower.begin().map_or(State::Alone, |following| told(following, &first))
                }
            }
            State::Followed(following) => told(following, bytes),
        };
    }
}

fn told(mut following: Box<dyn Following>, bytes: &[u8]) -> State {
    if following.bytes(bytes) { State::Followed(following) } else { State::Alone }
}

impl Write for NewLayer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.blob.write(bytes)?;
        self.tell(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.blob.flush()
    }
}
