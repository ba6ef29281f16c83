//! kiln

pub mod diag;
pub mod digest;
pub mod fsutil;
pub mod progress;
pub mod source;
