//! The step cache: what a step made, by a key of everything it depends on.
//!
//! * `key`: one walk over a step's facts feeds a hash (the [`Key`]) or a text (the explanation).
//! * `local`: records on this machine, one small immutable file per key.
//! * `place`: where a shared cache is, and so the layer of a record that is not on this machine.
//! * `turn`: of several that need a step at once, one does it.
//! * `last`, `difference`: what steps were when the same was last built, and what is not the same now.
//! * `downloads`: what servers said of files that were downloaded earlier, by URL.
//!
//! Not here: shared caches themselves (`remotecache`), which facts a step has (each op in `ops` says so in a table), or the layers themselves (`content`).
//! A record is advice. One that is damaged, or whose layer is gone, is a miss, never an error of the build.

mod difference;
mod downloads;
mod key;
mod last;
mod local;
mod place;
mod reapi;
mod s3;
mod turn;

pub use difference::{Difference, differences};
pub use downloads::{DownloadCache, DownloadRecord};
pub use key::{Explanation, Key, KeyHasher, KeySink, Keyed, explain, key_of};
pub use last::{LastBuild, LastStep};
pub use local::{CacheError, Elsewhere, Imported, LocalCache, Record, Signature};
pub use place::{Place, PlaceError};
pub use reapi::ReapiPlace;
pub use s3::S3Place;
pub use turn::Turn;
