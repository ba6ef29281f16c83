//! Room for a number of bytes, shared by those who bring and one who takes away.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Counts bytes that wait. Who finds it full waits until there is room.
pub(super) struct Room {
    most: usize,
    /// `None` when nothing is counted any more.
    taken: Mutex<Option<usize>>,
    freed: Condvar,
}

impl Room {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::new(Some(0)), freed: Condvar::new() }
    }

    /// Waits for room and takes it. One piece larger than the whole room comes in when that is empty.
    pub(super) fn enter(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let full = |taken: &mut Option<usize>| taken.is_some_and(|taken| taken != 0 && taken + bytes > self.most);
        let mut taken = self.freed.wait_while(self.taken(), full).unwrap_or_else(PoisonError::into_inner);
        *taken = taken.map(|taken| taken + bytes);
    }

    /// Gives back what `enter` took.
    pub(super) fn leave(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut taken = self.taken();
        *taken = taken.map(|taken| taken - bytes);
        drop(taken);
        self.freed.notify_all();
    }

    /// Nobody takes anything away any more, and nobody waits.
    pub(super) fn open(&self) {
        *self.taken() = None;
        self.freed.notify_all();
    }

    fn taken(&self) -> MutexGuard<'_, Option<usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_it_full_waits_until_there_is_room() {
        let room = Room::new(10);
        room.enter(7);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| room.enter(7));
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!second.is_finished());
            room.leave(7);
            second.join().expect("there is room now");
            let third = scope.spawn(|| room.enter(4));
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!third.is_finished());
            room.open();
            third.join().expect("nothing is counted any more");
        });
        room.enter(100);
    }

    #[test]
    fn what_is_larger_than_the_room_comes_in_alone() {
        let room = Room::new(10);
        room.enter(100);
        room.leave(100);
        room.enter(1);
    }
}
