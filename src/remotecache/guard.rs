//! A store may be dead, slow or wrong, and the build goes on: every request has an end, a store that failed too often is left alone,
//! and each thing is said once.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::store::StoreError;
use crate::diag::chain;
use crate::progress::{Event, SharedSink};

/// How long one small question may take.
const QUESTION: Duration = Duration::from_secs(4);
/// How long a transfer may stand still.
const STANDSTILL: Duration = Duration::from_secs(20);
/// Failures in a row after which a store is left alone.
const FAILURES: u32 = 3;

/// Watches over one use of one store.
pub(super) struct Guard {
    /// `cache registry host/repository`.
    what: String,
    /// What is not done any more: `read`, `written`.
    done: &'static str,
    failures: AtomicU32,
    is_open: AtomicBool,
    /// A damaged record was told of.
    has_told: AtomicBool,
    sink: SharedSink,
}

impl Guard {
    pub(super) fn new(what: String, done: &'static str, sink: SharedSink) -> Self {
        let (failures, is_open, has_told) = Default::default();
        Self { what, done, failures, is_open, has_told, sink }
    }

    /// Whether the store is left alone.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Waits for the answer to a small question; `None` if there is none that can be used.
    pub(super) async fn question<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        if self.is_open() {
            return None;
        }
        let answer = timeout(QUESTION, work).await.unwrap_or(Err(StoreError::Silent(QUESTION)));
        self.judged(answer)
    }

    /// Waits for a transfer, as long as `moved` goes on.
    pub(super) async fn transfer<T>(
        &self,
        moved: &AtomicU64,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Option<T> {
        if self.is_open() {
            return None;
        }
        let stands_still = async {
            let mut before = None;
            loop {
                let now = moved.load(Ordering::Relaxed);
                if before == Some(now) {
                    return;
                }
                before = Some(now);
                sleep(STANDSTILL).await;
            }
        };
        let ended = tokio::select! {
            ended = work => ended,
            () = stands_still => Err(StoreError::Silent(STANDSTILL)),
        };
        self.judged(ended)
    }

    fn judged<T>(&self, answer: Result<T, StoreError>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.failures.store(0, Ordering::Relaxed);
                Some(answer)
            }
            Err(error) if error.is_of_content() => {
                self.doubt(&error);
                None
            }
            Err(error) => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= FAILURES || !error.passes() {
                    self.leave_alone(&error);
                }
                None
            }
        }
    }

    /// Says that something in the store is not what it should be. It is as if it were not there.
    pub(super) fn doubt(&self, error: &(dyn std::error::Error + 'static)) {
        if !self.has_told.swap(true, Ordering::Relaxed) {
            let text = format!("WARNING: {}: what does not fit is not used: {}", self.what, chain(error));
            self.sink.event(Event::Notice(text));
        }
    }

    fn leave_alone(&self, error: &StoreError) {
        if !self.is_open.swap(true, Ordering::Relaxed) {
            let text = format!("WARNING: {} is not {} any more: {}", self.what, self.done, chain(error));
            self.sink.event(Event::Notice(text));
        }
    }
}
