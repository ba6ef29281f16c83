//! The one public door: a [`BuildRequest`] goes in, a [`BuildOutcome`] or a [`BuildFailure`] comes out.
//!
//! The request is plain data made by `cli`: everything the build may depend on is in it, so nothing below
//! reads the environment, the clock or the terminal. The outcome is plain data too; what users see of it
//! (report, exit code, metadata file) is made by `cli`.
//!
//! Not here: argument syntax (`cli`), the order of steps (`solver`), what a step does (`ops`).

mod access;
mod annotations;
mod assemble;
mod attest;
mod boot;
mod build;
mod call;
mod early;
mod engine;
mod epoch;
mod failure;
mod files;
mod images;
mod load;
mod lock;
mod mounts;
mod outcome;
mod outputs;
mod platforms;
mod provenance;
mod publish;
mod remarks;
mod remote;
mod request;
mod root;
mod same;
mod settle;
mod store;
mod verify;
mod vertices;

pub use build::build;
pub use failure::kind_of_registry;
pub use images::remembered;

pub use lock::{LockError, StoreLock};
pub use outcome::{BuildFailure, BuildOutcome, BuiltImage, CallReport, FailureKind, StepCounts};
pub use request::{
    Annotation, AnnotationLevel, Attestations, BuildRequest, CacheMode, CacheSource, CacheTarget, Call, ContextSource,
    Destination, DockerfileSource, EngineChoice, Entitlement, ImageAttributes, InlineCache, LayerCompression, LoadInto,
    LocalDirectory, NamedContext, Network, Output, Provenance, ProvenanceMode, RegistrySettings, Secret, SecretBytes,
    SecretSource, SharedCaches, SshAgent, SshSource, Which,
};
pub use store::open_snapshots;
