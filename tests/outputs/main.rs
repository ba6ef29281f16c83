//! Every output as a user asks for it, and what strangers make of it.

// Tests are the edge: they list directories, and their helpers may fail.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod attributes;
mod bombs;
mod engines;
mod estargz;
mod readers;
mod upload;
