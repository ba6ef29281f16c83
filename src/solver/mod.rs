//! The solver: runs the step graph, each step as soon as its inputs are there.
//!
//! * `state`: which step may run next; pure.
//! * `run`: the loop that starts steps and takes their ends.
//!
//! A step that the cache knows never runs, and what it made is fetched or unpacked only when a later step reads
//! it. The first failure stops everything else; what was finished stays in the cache.
//!
//! Not here: what a step does (`ops`), which steps there are (`plan`).

mod order;
mod run;
mod state;

pub use run::{SolveError, solve};
