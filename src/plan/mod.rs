//! The plan: from instructions to a graph of steps, and to the config of the image. Pure.
//!
//! ```text
//! instructions -> stages linked (stage) -> what images are needed? --no--> Planned::Needs, ask again with them
//!                                                 |yes, all known
//!                                                 v
//!                    each reachable stage folded, instruction by instruction (lower): (state, instruction) -> state
//!                                                 v
//!                                Plan { steps, config, history }
//! ```
//!
//! A plan cannot know the triggers, user or environment of a base image, so it says *what it needs* as data;
//! the caller resolves those images and asks again. Only what the target reaches is planned.
//!
//! Not here: reading the Dockerfile (`dockerfile`), files, the network, or doing any step.

mod arguments;
mod cycle;
mod epoch;
mod from_lint;
mod graph;
mod history;
mod lower;
mod names;
mod options;
mod outline;
mod path;
mod print;
mod references;
mod scope;
mod stage;
mod trigger;
mod unread;

use std::collections::BTreeMap;

use crate::diag::Diagnostic;
use crate::dockerfile::Dockerfile;
use crate::oci::{History, ImageConfig};
use crate::source::{Sources, Span};
use stage::Stages;
use trigger::Collected;

pub use arguments::is_proxy;
pub use epoch::{Epoch, epoch};
pub use graph::{
    AddOptions, CacheSharing, CopyOp, CopySource, ImageOp, KnownImage, MountKind, Op, Root, RunMount, RunNetwork,
    RunOp, Step, StepGraph, StepId, Tree, Variables, WorkdirOp,
};
pub use lower::DEFAULT_PATH;
pub use options::{ImageKey, ImageSource, NamedContext, Options, Which};
pub use outline::{Outline, OutlineArg, OutlineMount, Target, targets};
pub use unread::mistakes_beside;

/// The host name of a RUN unless BUILDKIT_SANDBOX_HOSTNAME gives another (rule 10.6).
const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// Images resolved so far.
pub type KnownImages = BTreeMap<ImageKey, KnownImage>;

/// An image that planning cannot go on without.
#[derive(Clone, Debug)]
pub struct ImageNeed {
    /// Which.
    pub key: ImageKey,
    /// As written in the Dockerfile, after expansion.
    pub written: String,
    /// Where it is written.
    pub span: Span,
}

/// The answer to [`plan`].
#[derive(Debug)]
pub enum Planned {
    /// Resolve these and ask again.
    Needs(Vec<ImageNeed>),
    /// Everything is known.
    Ready(Box<Plan>),
}

/// What to do, and what the image will say. Its `Display` is the whole plan but the warnings, a line per fact.
#[derive(Debug)]
pub struct Plan {
    /// The steps.
    pub graph: StepGraph,
    /// The filesystem of the image.
    pub root: Root,
    /// The config, but for `created`, `rootfs` and `history`.
    pub config: ImageConfig,
    /// History, oldest first.
    pub history: Vec<HistoryItem>,
    /// What it can be given.
    pub outline: Outline,
    /// Lint warnings that need more than the syntax.
    pub warnings: Vec<Diagnostic>,
}

/// One entry of the image's history.
#[derive(Clone, PartialEq, Debug)]
pub enum HistoryItem {
    /// Taken over from the base image.
    Inherited(History),
    /// Of this build.
    New {
        /// `created_by`.
        created_by: String,
        /// The step that makes its layer; `None` for metadata.
        layer: Option<StepId>,
    },
}

/// Plans the build of `file`. ONBUILD triggers are added to `sources`, so that their mistakes can be shown.
pub fn plan(
    file: &Dockerfile,
    sources: &mut Sources,
    options: &Options,
    known: &KnownImages,
) -> Result<Planned, Vec<Diagnostic>> {
    let (stages, collected) = linked(file, sources, options, known)?;
    match collected {
        Collected::Needs(needs) => Ok(Planned::Needs(needs)),
        Collected::All(triggers) => {
            lower::lower(file, &stages, &triggers, options, known).map(|plan| Planned::Ready(Box::new(plan)))
        }
    }
}

/// The stages, and what the target reaches; or all that is wrong with either.
fn linked<'a>(
    file: &'a Dockerfile,
    sources: &mut Sources,
    options: &Options,
    known: &KnownImages,
) -> Result<(Stages<'a>, Collected), Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let stages = Stages::link(file, options, &mut errors);
    let collected = trigger::collect(&stages, sources, options, known, &mut errors);
    if errors.is_empty() {
        return Ok((stages, collected));
    }
    errors.sort_by_key(|error| error.span.map(|span| (span.source, span.start)));
    errors.extend(stages.warnings);
    Err(errors)
}
