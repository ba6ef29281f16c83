//! When a step has taken too long.

use std::time::{Duration, Instant};

/// A limit and when it is reached; or none.
pub(super) struct Deadline {
    limit: Option<(Duration, Instant)>,
}

impl Deadline {
    /// Starts the clock. A limit beyond what the clock can count is none.
    pub(super) fn of(limit: Option<Duration>) -> Self {
        Self { limit: limit.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?))) }
    }

    /// Returns the limit when it is reached.
    pub(super) fn passed(&self) -> Option<Duration> {
        self.limit.filter(|(_, end)| Instant::now() >= *end).map(|(limit, _)| limit)
    }

    /// Returns how long it is until then.
    pub(super) fn left(&self) -> Option<Duration> {
        self.limit.map(|(_, end)| end.saturating_duration_since(Instant::now()))
    }
}
