//! Walking a source directory: every entry that the rules leave in, each directory before what is in it.
//!
//! Almost all the time goes into asking the kernel about files, so several threads look at directories, in any
//! order; what they saw is put in order afterwards.

use std::num::NonZero;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::vec::IntoIter;

use super::content::Wanted;
use super::error::CopyError;
use super::look::{Looked, Looker, Rules, Verdicts};
use super::select::SelectedEntry;
use crate::context::Source;

/// With fewer directories waiting, starting threads costs more than it saves.
const WORTH_A_THREAD: usize = 8;

/// What a walk found, and the files whose hashes are still to be had (by index of the entry).
#[derive(Default)]
pub(super) struct Found {
    pub entries: Vec<SelectedEntry>,
    pub wanted: Vec<(usize, Wanted)>,
}

/// Walks the directory at `top` (a path in the tree, without links); it is not itself an entry.
pub(super) fn walk(source: &Source, top: &[u8], rules: Rules) -> Result<Found, CopyError> {
    let looker = Looker { source, rules, top };
    let work = Work::default();
    work.add(Vec::new(), looker.top_verdicts());
    thread::scope(|scope| {
        while work.waiting() < WORTH_A_THREAD && work.step(&looker) {}
        if work.waiting() >= WORTH_A_THREAD {
            let threads = thread::available_parallelism().map_or(1, NonZero::get);
            for _ in 1..threads {
                scope.spawn(|| while work.step(&looker) {});
            }
        }
        while work.step(&looker) {}
    });
    Ok(in_order(work.finish()?))
}

/// One directory's names; of a name that is a directory, the number of its own listing.
type Listing = Vec<(Looked, Option<usize>)>;

/// What is to be looked at, and what was seen. Listings are numbered as they were asked for; the top is 0.
#[derive(Default)]
struct Work {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<(usize, Vec<u8>, Verdicts)>,
    busy: usize,
    listings: Vec<Listing>,
    error: Option<CopyError>,
}

impl State {
    fn add(&mut self, path: Vec<u8>, verdicts: Verdicts) -> usize {
        let number = self.listings.len();
        self.listings.push(Listing::new());
        self.waiting.push((number, path, verdicts));
        number
    }
}

impl Work {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, path: Vec<u8>, verdicts: Verdicts) {
        self.lock().add(path, verdicts);
    }

    fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Looks at one directory; returns whether there may be more to do.
    fn step(&self, looker: &Looker) -> bool {
        let mut state = self.lock();
        let (number, path, verdicts) = loop {
            if let Some(next) = state.waiting.pop() {
                break next;
            }
            if state.busy == 0 {
                return false;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.busy += 1;
        drop(state);
        let looked = looker.look(&path, &verdicts);
        let mut state = self.lock();
        state.busy -= 1;
        match looked {
            Ok(looked) => {
                let number_of = |state: &mut State, one: &mut Looked| {
                    one.directory.take().map(|verdicts| state.add(one.entry.entry.path.clone(), *verdicts))
                };
                let listing = looked.into_iter().map(|mut one| {
                    let number = number_of(&mut state, &mut one);
                    (one, number)
                });
                let listing = listing.collect();
                state.listings[number] = listing;
            }
            Err(error) => {
                state.waiting.clear();
                state.error.get_or_insert(error);
            }
        }
        self.changed.notify_all();
        true
    }

    fn finish(self) -> Result<Vec<Listing>, CopyError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.error.map_or(Ok(state.listings), Err)
    }
}

/// A directory whose entries are being put in order.
struct Level {
    rest: IntoIter<(Looked, Option<usize>)>,
    /// Where its own entry stands, if it is only kept when something below it is.
    provisional: Option<usize>,
}

/// Puts each directory's entries behind the directory, and drops directories that were only there for what is
/// below them, with nothing below them.
fn in_order(mut listings: Vec<Listing>) -> Found {
    let mut found = Found::default();
    let mut take = |number: usize| std::mem::take(&mut listings[number]).into_iter();
    let mut levels = vec![Level { rest: take(0), provisional: None }];
    while let Some(level) = levels.last_mut() {
        let Some((looked, directory)) = level.rest.next() else {
            let provisional = levels.pop().and_then(|level| level.provisional);
            if provisional.is_some_and(|at| at + 1 == found.entries.len()) {
                found.entries.pop();
            }
            continue;
        };
        let at = found.entries.len();
        found.wanted.extend(looked.wanted.map(|wanted| (at, *wanted)));
        found.entries.push(looked.entry);
        if let Some(number) = directory {
            levels.push(Level { rest: take(number), provisional: (!looked.is_selected).then_some(at) });
        }
    }
    found
}
