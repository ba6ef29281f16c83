//! kiln

pub mod builder;
pub mod cache;
pub mod content;
pub mod diag;
pub mod digest;
pub mod dockerfile;
pub mod executor;
pub mod export;
pub mod fsutil;
pub mod oci;
pub mod progress;
pub mod sandbox;
pub mod snapshot;
pub mod source;
