//! Values by name, in the order in which the names came, found without a search. Copies share what they have in common.

use rpds::{HashTrieMapSync, VectorSync};

/// A list in which a name that is set again keeps its place.
#[derive(Clone, Debug)]
pub(super) struct Names<T> {
    all: VectorSync<(String, T)>,
    /// Where each name first stands in `all`; never walked, so its order does not matter.
    places: HashTrieMapSync<String, usize>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { all: VectorSync::new_sync(), places: HashTrieMapSync::new_sync() }
    }
}

impl<T> Names<T> {
    /// Replaces the value of a name, or adds the name at the end.
    pub(super) fn set(&mut self, name: &str, value: T) {
        match self.places.get(name) {
            Some(place) => {
                self.all.set_mut(*place, (name.to_owned(), value));
            }
            None => self.add(name, value),
        }
    }

    /// Adds at the end, even if the name is there already; the first place of a name counts.
    pub(super) fn add(&mut self, name: &str, value: T) {
        if !self.places.contains_key(name) {
            self.places.insert_mut(name.to_owned(), self.all.len());
        }
        self.all.push_back_mut((name.to_owned(), value));
    }

    /// Returns the value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.places.get(name).and_then(|place| self.all.get(*place)).map(|(_, value)| value)
    }

    /// Returns all names and values.
    pub(super) fn all(&self) -> &VectorSync<(String, T)> {
        &self.all
    }
}
