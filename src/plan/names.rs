//! Values by name, in the order in which the names came, found without a search.

use std::collections::HashMap;

/// A list in which each name stands once.
#[derive(Clone, Debug)]
pub(super) struct Names<T> {
    all: Vec<(String, T)>,
    /// Where each name stands in `all`; never walked, so its order does not matter.
    places: HashMap<String, usize>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: HashMap::new() }
    }
}

impl<T> Names<T> {
    /// Replaces the value of a name, or adds the name at the end.
    pub(super) fn set(&mut self, name: &str, value: T) {
        match self.places.get(name) {
            Some(place) => self.all[*place].1 = value,
            None => {
                self.places.insert(name.to_owned(), self.all.len());
                self.all.push((name.to_owned(), value));
            }
        }
    }

    /// Returns the value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.places.get(name).map(|place| &self.all[*place].1)
    }

    /// Returns all names and values.
    pub(super) fn all(&self) -> &[(String, T)] {
        &self.all
    }
}
