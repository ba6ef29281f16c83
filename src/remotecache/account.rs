//! Who buckets and services know us by. Accounts are no part of a [`Place`]: records name places.

use std::collections::BTreeMap;
use std::fmt;

use crate::cache::Place;
use crate::registry::Access;

/// An account at a store of buckets. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// What the key is called.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// What goes with a key that holds for a while only.
    pub session_token: Option<String>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<account>")
    }
}

/// The accounts of one build.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Accounts {
    /// Who reads a place.
    pub reading: BTreeMap<Place, Account>,
    /// Who writes a place.
    pub writing: BTreeMap<Place, Account>,
    /// Who does where nobody is named.
    pub usual: Option<Account>,
    /// How services are reached.
    pub services: BTreeMap<Place, Access>,
    /// How those are that are not among these.
    pub usual_access: Access,
}

impl Accounts {
    /// Who reads a place; who may write it may read what went there.
    pub(super) fn reader(&self, place: &Place) -> Option<&Account> {
        self.reading.get(place).or_else(|| self.writer(place))
    }

    /// Who writes a place.
    pub(super) fn writer(&self, place: &Place) -> Option<&Account> {
        self.writing.get(place).or(self.usual.as_ref())
    }

    /// How a service is reached.
    pub(super) fn access(&self, place: &Place) -> Access {
        self.services.get(place).unwrap_or(&self.usual_access).clone()
    }
}
