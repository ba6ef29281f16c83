//! Walking a source directory: every entry that the rules leave in, each directory before what is in it.
//!
//! Almost all the time goes into asking the kernel about files, so several threads look at directories, in any
//! order, and at large ones piece by piece; what they saw is put in order afterwards.

use std::num::NonZero;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::vec::IntoIter;

use super::content::Wanted;
use super::entries::{Entries, Tree};
use super::error::CopyError;
use super::look::{Listing, Looked, Looker, Rules, Verdicts};
use crate::context::Source;

/// With fewer directories waiting, starting threads costs more than it saves.
const WORTH_A_THREAD: usize = 8;

/// So many names of a directory are looked at by one thread in one go.
const PIECE: usize = 256;

/// What a walk found, and the files whose hashes are still to be had (by index of the entry).
pub(super) struct Found {
    pub entries: Entries,
    pub wanted: Vec<(usize, Wanted)>,
}

/// Walks the directory at `top` (a path in the tree, without links); it is not itself an entry.
pub(super) fn walk(source: &Source, top: &[u8], rules: Rules) -> Result<Found, CopyError> {
    let tree = Arc::new(Tree { root: source.root.clone(), top: top.to_vec() });
    let looker = Looker { source, rules, tree: tree.clone() };
    let work = Work::default();
    work.lock().add(Vec::new(), looker.top_verdicts());
    thread::scope(|scope| {
        while !work.is_worth_a_thread() && work.step(&looker) {}
        if work.is_worth_a_thread() {
            let threads = thread::available_parallelism().map_or(1, NonZero::get);
            for _ in 1..threads {
                scope.spawn(|| while work.step(&looker) {});
            }
        }
        while work.step(&looker) {}
    });
    Ok(in_order(tree, work.finish()?))
}

/// What can be done by one thread.
enum Task {
    /// A directory, by its number.
    List(usize, Vec<u8>, Verdicts),
    /// Some names of a directory; which of its pieces they are.
    Look(usize, usize, Arc<Listing>, Range<usize>),
}

/// What was seen of some names of a directory; of those that are directories the index, the number, and whether they
/// are taken for their own sake.
struct Piece {
    entries: Entries,
    wanted: Vec<(usize, Wanted)>,
    directories: Vec<(usize, usize, bool)>,
}

/// The pieces of a directory.
type Pieces = Vec<Option<Piece>>;

/// What is to be looked at, and what was seen. Directories are numbered as they were met; the top is 0.
#[derive(Default)]
struct Work {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    directories: Vec<Task>,
    /// Taken first: their directories are open.
    pieces: Vec<Task>,
    busy: usize,
    idle: usize,
    seen: Vec<Pieces>,
    error: Option<CopyError>,
}

impl State {
    fn add(&mut self, path: Vec<u8>, verdicts: Verdicts) -> usize {
        let number = self.seen.len();
        self.seen.push(Pieces::new());
        self.directories.push(Task::List(number, path, verdicts));
        number
    }

    fn put(&mut self, number: usize, piece: usize, looked: Looked) {
        let directories = looked.directories.into_iter();
        let directories = directories.map(|one| (one.at, self.add(one.path, one.verdicts), one.is_selected)).collect();
        let pieces = &mut self.seen[number];
        if pieces.len() <= piece {
            pieces.resize_with(piece + 1, || None);
        }
        pieces[piece] = Some(Piece { entries: looked.entries, wanted: looked.wanted, directories });
    }
}

impl Work {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_worth_a_thread(&self) -> bool {
        let state = self.lock();
        state.directories.len() >= WORTH_A_THREAD || !state.pieces.is_empty()
    }

    /// Does one task; returns whether there may be more to do.
    fn step(&self, looker: &Looker) -> bool {
        let Some(task) = self.take() else { return false };
        let (number, piece, looked) = match task {
            Task::List(number, path, verdicts) => {
                let listing = looker.list(path, verdicts).map(Arc::new);
                (number, 0, listing.and_then(|listing| looker.look(&listing, self.share(number, &listing))))
            }
            Task::Look(number, piece, listing, names) => (number, piece, looker.look(&listing, names)),
        };
        let mut state = self.lock();
        state.busy -= 1;
        match looked {
            Ok(looked) => state.put(number, piece, looked),
            Err(error) => {
                state.directories.clear();
                state.pieces.clear();
                state.error.get_or_insert(error);
            }
        }
        self.wake(&state);
        true
    }

    fn take(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.pieces.pop().or_else(|| state.directories.pop()) {
                state.busy += 1;
                return Some(task);
            }
            if state.busy == 0 {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Offers all but the first piece of a directory to whoever has time, and returns the first.
    fn share(&self, number: usize, listing: &Arc<Listing>) -> Range<usize> {
        let all = listing.len();
        let pieces = (1..all.div_ceil(PIECE)).rev();
        let tasks =
            pieces.map(|piece| Task::Look(number, piece, listing.clone(), piece * PIECE..all.min((piece + 1) * PIECE)));
        if all > PIECE {
            let mut state = self.lock();
            state.pieces.extend(tasks);
            self.wake(&state);
        }
        0..all.min(PIECE)
    }

    /// Waking costs a call of the kernel even where nobody sleeps.
    fn wake(&self, state: &State) {
        if state.idle > 0 {
            self.changed.notify_all();
        }
    }

    fn finish(self) -> Result<Vec<Pieces>, CopyError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.error.map_or(Ok(state.seen), Err)
    }
}

/// A directory whose entries are being put in order.
struct Level {
    pieces: IntoIter<Option<Piece>>,
    at: Option<(Piece, usize, usize)>,
    /// Where its own entry stands, if it is only kept when something below it is.
    provisional: Option<usize>,
}

impl Level {
    fn new(pieces: Pieces, provisional: Option<usize>) -> Self {
        let mut pieces = pieces.into_iter();
        let first = pieces.next().flatten();
        Self { pieces, at: first.map(|piece| (piece, 0, 0)), provisional }
    }

    /// Moves entries up to and with the next directory; returns its number and whether it is taken for its own sake.
    fn next_directory(&mut self, found: &mut Found) -> Option<(usize, bool)> {
        while let Some((piece, entry, directory)) = &mut self.at {
            let next = piece.directories.get(*directory).copied();
            let end = next.map_or(piece.entries.len(), |(at, ..)| at + 1);
            move_entries(piece, *entry..end, found);
            (*entry, *directory) = (end, *directory + 1);
            if let Some((_, number, is_selected)) = next {
                return Some((number, is_selected));
            }
            self.at = self.pieces.next().flatten().map(|piece| (piece, 0, 0));
        }
        None
    }
}

fn move_entries(piece: &mut Piece, range: Range<usize>, found: &mut Found) {
    let base = found.entries.len();
    let here = piece.wanted.iter().take_while(|(at, _)| *at < range.end).count();
    let wanted = piece.wanted.drain(..here);
    found.wanted.extend(wanted.map(|(at, wanted)| (base + at - range.start, wanted)));
    range.for_each(|at| found.entries.push_from(&piece.entries, at));
}

/// Puts each directory's entries behind the directory, and drops directories that were only there for what is
/// below them, with nothing below them.
fn in_order(tree: Arc<Tree>, mut seen: Vec<Pieces>) -> Found {
    let mut found = Found { entries: Entries::of_tree(tree), wanted: Vec::new() };
    let mut levels = vec![Level::new(std::mem::take(&mut seen[0]), None)];
    while let Some(level) = levels.last_mut() {
        if let Some((number, is_selected)) = level.next_directory(&mut found) {
            let provisional = (!is_selected).then(|| found.entries.len() - 1);
            levels.push(Level::new(std::mem::take(&mut seen[number]), provisional));
            continue;
        }
        let provisional = levels.pop().and_then(|level| level.provisional);
        if provisional.is_some_and(|at| at + 1 == found.entries.len()) {
            found.entries.pop();
        }
    }
    found
}
