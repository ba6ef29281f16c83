//! Git repositories as build contexts and ADD sources: their addresses, and fetching them with the `git` program.
//!
//! First the remote is asked which commit an address stands for ([`GitRemote::resolve`]); that commit decides what a step
//! gives, so it is the step's key (16.7). Only when it is not known yet the tree is fetched ([`GitRemote::fetch`]).
//!
//! `git` runs without the user's and the system's configuration, without hooks, prompts, or `file:` and other local
//! transports, so that neither a repository nor its submodules can make it do more than fetch. Credentials reach it by
//! its environment: neither its arguments nor the files it writes show them.

mod access;
mod address;
mod address_error;
mod credentials;
mod fetch;
mod parts;
mod program;
mod tidy;

pub use access::{GitAccess, header_text};
pub use address::GitAddress;
pub use address_error::GitAddressError;
pub use credentials::{bare_address, without_credentials};
pub use fetch::{GitCommit, GitRemote};
pub use parts::percent_decoded;
pub use program::GitError;
