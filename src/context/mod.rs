//! Build contexts: the trees a build reads its files from, and what of them is left out.
//!
//! A context is a local directory, a tar stream unpacked into a scratch directory, or nothing but a
//! Dockerfile. All become a [`Source`]: an open directory, an [`Ignore`] and a [`StatCache`]. Which files
//! a COPY takes from it is decided in `ops::copy`.
//!
//! Not here: HTTP (what it gives is handed over as a file), Dockerfile text, layers.
//!
//! On disk: only the stat cache (see `stat_cache.rs`), one file per context, replaced by rename.
//! Callers: `ops`, `builder`. Locking: none between processes; a [`StatCache`] may be shared between threads.

mod compression;
mod git;
pub mod glob;
mod hash;
mod http_date;
mod ignore;
mod source;
mod stat_cache;
mod unpack;

pub use compression::{Decompressed, decompressed};
pub use git::{
    GitAccess, GitAddress, GitAddressError, GitCommit, GitError, GitRemote, bare_address, header_text, percent_decoded,
    without_credentials,
};
pub use hash::{ContentHash, hash_bytes, hash_reader};
pub use http_date::http_date;
pub use ignore::{Ignore, IgnoreError, Rule, Verdict};
pub use source::{Origin, Source};
pub use stat_cache::{Block, StatCache};
pub use unpack::{UnpackError, begins_as_tar, is_archive, unpack};
