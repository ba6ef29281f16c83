//! Which process is who.
//!
//! Credentials are inherited by fork and kept by exec, and a child may outlive its parent before it asks anything. So the
//! kernel carries them: each set of credentials has a number, and a process has the number in its soft limit `RLIMIT_RTTIME`,
//! which counts for real-time scheduling only, which nobody in a sandbox may have. The filter keeps the step
//! from setting that limit. A process without a number is as pid 1 was at the start. The threads of a process share a limit, and so
//! their credentials, which is what POSIX and the C libraries want.

use std::collections::BTreeMap;

use rustix::io::{Errno, Result};

use super::credentials::Credentials;
use crate::sandbox::system;

/// Number 0, in microseconds: twelve days.
const FIRST: u64 = 1 << 40;
/// A step that becomes so many users is up to no good.
const MOST: usize = 1 << 16;

/// All sets of credentials there have been.
pub(super) struct Identities {
    known: Vec<Credentials>,
    numbers: BTreeMap<Credentials, usize>,
}

impl Identities {
    pub(super) fn new(first: Credentials) -> Self {
        Self { known: vec![first.clone()], numbers: BTreeMap::from([(first, 0)]) }
    }

    /// Returns who a process is.
    pub(super) fn of(&self, pid: i32) -> Option<&Credentials> {
        let number =
            system::real_time_limit(pid).ok()?.checked_sub(FIRST).and_then(|number| usize::try_from(number).ok());
        self.known.get(number.unwrap_or(0)).or(self.known.first())
    }

    /// Makes a process someone else.
    pub(super) fn set(&mut self, pid: i32, credentials: Credentials) -> Result<()> {
        let number = match self.numbers.get(&credentials) {
            Some(number) => *number,
            None if self.known.len() == MOST => return Err(Errno::AGAIN),
            None => {
                self.known.push(credentials.clone());
                self.numbers.insert(credentials, self.known.len() - 1);
                self.known.len() - 1
            }
        };
        system::set_real_time_limit(pid, FIRST + number as u64)
    }
}
