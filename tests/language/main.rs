//! What a Dockerfile means, statement by statement.
//!
//! `testdata/language` numbers the statements of the language. A test that pins one says so: `// language 11.8` above a
//! Rust test, `# language 11.8` in a Dockerfile of `testdata`; a statement names the torture case that pins it
//! (`T:copy-parents`). [`index`] holds the numbers and the marks together. The other modules try statements that need a
//! whole build, and are named like the files of `testdata/language`.

// Tests are the edge: they list directories.
#![allow(clippy::disallowed_methods)]

mod add;
mod arg;
mod build;
mod cache;
mod cache_mounts;
mod copy;
mod directives;
mod env;
mod expansion;
mod flags;
mod from;
mod git;
mod heredocs;
mod ignore;
mod index;
mod json;
mod layout;
mod lines;
mod lint;
mod metadata;
mod mounts;
mod onbuild;
mod output;
mod platforms;
mod reading;
mod remote;
mod requests;
mod run;
mod ssh;
#[path = "../support/mod.rs"]
mod support;
