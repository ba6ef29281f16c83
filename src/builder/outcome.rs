//! How a build ended: plain data, turned into words, files and an exit code by `cli`.

use serde_json::Value;

use crate::content::damaged_blob;
use crate::diag::{Diagnostic, add_cause};
use crate::digest::Digest;
use crate::oci::{Descriptor, Platform, Reference};
use crate::plan::{Outline, Target};
use crate::source::Sources;

/// A build that ended well.
#[derive(Clone, Debug, Default)]
pub struct BuildOutcome {
    /// The image, when an output made one.
    pub image: Option<BuiltImage>,
    /// What a call other than a build found.
    pub report: Option<CallReport>,
    /// How much work was done.
    pub steps: StepCounts,
    /// What the lint rules and the steps warned of, in the order of the Dockerfile; shown after the build.
    pub warnings: Vec<Diagnostic>,
    /// The texts that diagnostics point into.
    pub sources: Sources,
}

/// An image that was made.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// The manifest, or the index of several platforms.
    pub descriptor: Descriptor,
    /// The config, which is the image id of docker-like tools; of the first platform.
    pub config_digest: Digest,
    /// All names it was given, in the order asked for.
    pub names: Vec<Reference>,
    /// How it came to be, for each platform, if that was asked for.
    pub provenance: Vec<(Platform, Value)>,
}

/// How many steps ran, and how many were found in the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StepCounts {
    /// Steps whose work was done now.
    pub run: usize,
    /// Steps whose result was used again.
    pub cached: usize,
}

/// What a call other than a build found.
#[derive(Clone, Debug)]
pub enum CallReport {
    /// `--call=check`.
    Check {
        /// What the lint rules say, in the order in which they were asked.
        warnings: Vec<Diagnostic>,
        /// Why it cannot be built: a mistake in it, an image that cannot be had, or warnings and `# check=error=true`.
        error: Option<Box<BuildFailure>>,
    },
    /// `--call=outline`.
    Outline(Outline),
    /// `--call=targets`, in the order of the Dockerfile.
    Targets(Vec<Target>),
}

/// A build that did not end well.
#[derive(Clone, Debug)]
pub struct BuildFailure {
    /// Whose turn it is now; decides the exit code.
    pub kind: FailureKind,
    /// Short and stable, like that of a diagnostic.
    pub code: Option<&'static str>,
    /// One line: what failed, in BuildKit's words. Lower case, no full stop.
    pub message: String,
    /// The errors below it, outermost first; shown as `caused by`.
    pub causes: Vec<String>,
    /// What to do, a line each.
    pub help: Vec<String>,
    /// What is known with its place in the Dockerfile; may be empty.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that `diagnostics` point into.
    pub sources: Sources,
    /// The blob of the store whose loss or damage is the cause.
    pub(super) damaged: Option<Digest>,
}

/// Message and causes, in one line.
impl std::fmt::Display for BuildFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = self.message.clone();
        for cause in &self.causes {
            add_cause(&mut text, cause);
        }
        f.write_str(&text)
    }
}

impl BuildFailure {
    /// Makes a failure without a place in the Dockerfile.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let (causes, help, diagnostics) = (Vec::new(), Vec::new(), Vec::new());
        let (message, sources) = (message.into(), Sources::default());
        Self { kind, code: None, message, causes, help, diagnostics, sources, damaged: None }
    }

    /// Returns the stable name of this failure: its own, or that of its kind.
    pub fn code(&self) -> &'static str {
        self.code.unwrap_or(match self.kind {
            FailureKind::User => "build",
            FailureKind::Environment => "environment",
            FailureKind::Network => "network",
            FailureKind::Build { .. } => "run-failed",
            FailureKind::NotReproducible => "not-reproducible",
            FailureKind::Internal => "internal",
            FailureKind::Canceled => "canceled",
        })
    }

    /// Gives a failure a name of its own.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Makes a failure of `error` and the errors below it.
    pub fn of(kind: FailureKind, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        failure.damaged = damaged_blob(error);
        let mut below = error.source();
        while let Some(cause) = below {
            failure.causes.push(cause.to_string());
            below = cause.source();
        }
        failure
    }
}

/// Whose turn it is after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// The user's: the Dockerfile, a flag or a file of the context is wrong.
    User,
    /// The machine's owner: the kernel or the system lacks something.
    Environment,
    /// Nobody's; trying again may help.
    Network,
    /// The user's: a `RUN` command failed.
    Build {
        /// The exit code of the command; 128 and the signal's number when a signal ended it.
        exit_code: i32,
    },
    /// The user's: a step that was done twice made two different layers (`--verify-reproducible`).
    NotReproducible,
    /// kiln's own: a bug.
    Internal,
    /// Canceled by the user.
    Canceled,
}
