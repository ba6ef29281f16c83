//! kiln turns a Dockerfile into an OCI image: one binary, no daemon, no root needed.
//!
//! # Bird's eye
//!
//! **Pure middle, dirty edges.** Text, plan, keys and configs are computed by plain synchronous functions over plain
//! data: [`dockerfile`] reads a file, [`plan`] turns it into a graph of steps, [`cache`] gives each step a key. What
//! touches the world stands at the edges, behind few and small doors: [`registry`] and [`content`] for images,
//! [`snapshot`] and [`sandbox`] for the kernel, [`cli`] for the terminal and the environment. [`builder`] is the one
//! public door: a `BuildRequest` goes in, a `BuildOutcome` comes out, and events flow to a [`progress::Sink`] meanwhile.
//! Beside it, [`images`] is what people do before and after a build: list, name, move, try and remove images.
//!
//! Every value that may be shown to a user knows which bytes of which Dockerfile it came from ([`source::Span`]), from
//! the parser to the step that failed an hour later.
//!
//! # Layers
//!
//! A room is a module of the crate's top level. It may import rooms of smaller levels, and a neighbour where the line
//! says so. `tests/layering.rs` reads this list and compares it with the code.
//!
//! ```text
//! 0 source diag digest progress fsutil expansion: spans, diagnostics, digests, events, directory handles, bombs; they know nothing (diag uses source, progress uses diag, progress uses source, fsutil uses digest)
//! 1 dockerfile oci layer context: text to instructions; image types; layer tars in and out; build contexts (layer uses oci)
//! 2 content snapshot cache registry attest signature: blobs by digest; unpacked layers; step records by key; the distribution client; what is said about images; signatures of images (registry uses content)
//! 3 sandbox executor remotecache: one process in namespaces; a run request to its exit status; shared caches (executor uses sandbox)
//! 4 plan: instructions to a graph of steps, pure
//! 5 ops: doing one step: source, run, copy
//! 6 solver: graph, cache and ops to results
//! 7 export builder images: image assembly and every output; the public door; what is done with images beside a build (builder uses export, images uses export, images uses builder)
//! 8 cli: the command line, the printers, the reports and exit codes
//! 9 main: the binary; it checks for the sandbox's re-exec before anything else
//! ```
//!
//! # The way data walks
//!
//! ```text
//! SourceFile -> instructions (spans) -> stages -> step graph -> keys -> solver -> snapshots and layers
//!            -> blobs -> config and manifest -> outputs
//! ```
//!
//! Nothing walks back up, with one loop: a plan cannot know the ONBUILD triggers, the user or the environment of a base
//! image, so it returns *what it needs* as data; the caller fetches those configs and asks again.
//!
//! # Invariants
//!
//! - Below `cli` nobody prints, reads the environment, or asks for the time of day.
//! - What is hashed or written does not depend on time, directory order, thread count, umask or hash-map order.
//! - A blob is verified by the reader that hands it out. Nothing from a registry, a context, a tar or the cache is
//!   trusted before that.
//! - Paths inside a rootfs are resolved by the kernel below a directory handle ([`fsutil::Dir`]), never by joining text.
//! - Finished names in the store appear by rename, after everything they refer to. Any number of kiln processes share
//!   one store, and one that is killed costs at most its step in flight.
//! - A cache record that is damaged is a miss and a warning, never a failed build and never a result. A shared cache that
//!   is slow, dead or wrong is done without.
//! - Threads exist, so nothing forks and goes on: the sandbox starts from the program file again, with its orders as data.
//! - `unsafe` stands only in the files that wrap system calls, each block with its reason.
//!
//! # Words
//!
//! The words of the OCI specifications (*digest*, *diff id*, *chain id*, *descriptor*, *blob*, *manifest*, *index*,
//! *config*, *layer*, *reference*, *platform*) mean what they mean there. Beside them:
//!
//! - *image id*: the digest of the config.
//! - *step*: one vertex of the plan; what a user sees as one line of progress.
//! - *stage*: what one FROM starts.
//! - *scope*: ARG, ENV, SHELL, WORKDIR and USER at one place of a stage, an immutable value.
//! - *key*: the hash of everything that decides a step's result; *record*: what the cache holds under a key.
//! - *shared cache*: records and layers that several machines have in common ([`remotecache`]); *place*: where one is; *trail*: the keys
//!   that a build like this one had last.
//! - *snapshot*: one layer on disk as files, unpacked or mounted as the tar it is, or, without overlayfs, the whole tree of a
//!   chain; *view*: a chain seen as one tree.
//! - *rung*: what isolates the steps of a build, of what can be had ([`sandbox::idmap::Rung`]). Layers do not depend on it.
//! - *context*: the directory, archive or repository that COPY reads from.
//! - *op*: the code that does a kind of step; *executor*: what runs a process for it; *exporter*: what writes a result.

pub mod attest;
pub mod builder;
pub mod cache;
pub mod cli;
pub mod content;
pub mod context;
pub mod diag;
pub mod digest;
pub mod dockerfile;
pub mod executor;
pub mod expansion;
pub mod export;
pub mod fsutil;
pub mod images;
pub mod layer;
pub mod oci;
pub mod ops;
pub mod plan;
pub mod progress;
pub mod registry;
pub mod remotecache;
pub mod sandbox;
pub mod signature;
pub mod snapshot;
pub mod solver;
pub mod source;
