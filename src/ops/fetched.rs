//! What came from elsewhere during a build: addresses, and what they stood for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::context::{GitAddress, GitCommit, bare_address, without_credentials};
use crate::digest::Digest;

/// An address, an algorithm, and a digest in hex digits.
type File = (String, &'static str, String);

/// Shared by everything that fetches for one build.
#[derive(Clone, Debug, Default)]
pub struct Fetched(Arc<Mutex<BTreeSet<File>>>);

impl Fetched {
    /// Returns addresses without credentials and queries, in order, each with an algorithm and a digest in hex digits. One address may have
    /// given several files.
    pub fn all(&self) -> BTreeSet<File> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn file(&self, url: &str, digest: &Digest) {
        self.note(bare_address(url), ("sha256", digest.hex()));
    }

    pub(super) fn commit(&self, address: &GitAddress, commit: &GitCommit) {
        let algorithm = if commit.id().len() == 40 { "sha1" } else { "sha256" };
        self.note(uri_of_repository(address), (algorithm, commit.id().to_owned()));
    }

    fn note(&self, uri: String, what: (&'static str, String)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((uri, what.0, what.1));
    }
}

/// Returns the address of a repository as BuildKit writes it: `https://host/name.git#reference:directory`.
pub fn uri_of_repository(address: &GitAddress) -> String {
    let reference = address.reference.as_deref().unwrap_or_default();
    let below = address.subdirectory.as_ref().map(|below| format!(":{below}")).unwrap_or_default();
    let fragment = format!("{reference}{below}");
    let remote = without_credentials(&address.remote);
    if fragment.is_empty() { remote } else { format!("{remote}#{fragment}") }
}
