//! The step graph: what has to be done, as plain data.
//!
//! Steps are numbered in an order in which inputs come first. A filesystem is named by the step that made it;
//! `None` is the empty one (`FROM scratch`).

use std::collections::BTreeMap;

use crate::context::GitAddress;
use crate::digest::{DiffId, Digest};
use crate::dockerfile::chmod::Chmod;
use crate::dockerfile::device::Device;
use crate::oci::{Descriptor, ImageConfig, Platform, Reference};
use crate::source::Span;

/// A step by its place in [`StepGraph::steps`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StepId(pub u32);

impl StepId {
    /// Returns the place as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    fn of_index(index: usize) -> Self {
        Self(u32::try_from(index).expect("a Dockerfile has fewer than 2^32 instructions"))
    }
}

/// A filesystem: that of a step, or the empty one.
pub type Root = Option<StepId>;

/// All steps that the target needs.
#[derive(Clone, Debug, Default)]
pub struct StepGraph {
    /// In an order in which inputs come first.
    pub steps: Vec<Step>,
}

impl StepGraph {
    /// Returns a step by an id of this graph.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.index()]
    }

    /// Adds the steps of the plan for another platform, but for those that are here already; returns where each of
    /// them is now.
    pub fn merge(&mut self, more: Self) -> Vec<StepId> {
        let mut here: BTreeMap<Span, Vec<StepId>> = BTreeMap::new();
        for (id, step) in self.steps.iter().enumerate() {
            here.entry(step.span).or_default().push(StepId::of_index(id));
        }
        let mut places: Vec<StepId> = Vec::with_capacity(more.steps.len());
        for mut step in more.steps {
            step.op.renumber(|id| places[id.index()]);
            let same = |id: &&StepId| {
                let other = self.step(**id);
                let same_cache = other.ignore_cache == step.ignore_cache && other.require_cached == step.require_cached;
                other.op == step.op && same_cache
            };
            let found = here.get(&step.span).and_then(|ids| ids.iter().find(same)).copied();
            places.push(found.unwrap_or_else(|| self.push(step)));
        }
        places
    }

    /// Returns for each step whether `wanted` says yes to it or to a step that needs it.
    pub fn leading_to(&self, wanted: impl Fn(&Step) -> bool) -> Vec<bool> {
        let mut leads: Vec<bool> = self.steps.iter().map(wanted).collect();
        for (index, step) in self.steps.iter().enumerate().rev() {
            for input in step.op.inputs() {
                leads[input.index()] |= leads[index];
            }
        }
        leads
    }

    /// Requires what required steps need, too.
    pub fn require_inputs(&mut self) {
        let required = self.leading_to(|step| step.require_cached);
        for (step, required) in self.steps.iter_mut().zip(required) {
            step.require_cached = required;
        }
    }

    /// Returns the steps that made the layers of a filesystem, bottom first.
    pub fn chain(&self, root: Root) -> Vec<StepId> {
        let mut chain: Vec<StepId> = std::iter::successors(root, |id| self.step(*id).op.parent()).collect();
        chain.reverse();
        chain
    }

    /// Adds a step.
    pub(super) fn push(&mut self, step: Step) -> StepId {
        self.steps.push(step);
        StepId::of_index(self.steps.len() - 1)
    }
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// What users see, for example `[builder 2/5] RUN make`.
    pub name: String,
    /// The instruction it comes from.
    pub span: Span,
    /// The platform of its stage, where several are built for: `linux/arm64`, `linux/amd64->arm64`.
    pub platform: Option<String>,
    /// Run it even if the cache has it (`--no-cache`, `--no-cache-filter`).
    pub ignore_cache: bool,
    /// Do nothing at all if the cache lacks it (`--require-cached`).
    pub require_cached: bool,
    /// What to do.
    pub op: Op,
}

/// What a step does. Equal ones do the same.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// Takes the layers of an image.
    Image(ImageOp),
    /// Runs a command.
    Run(RunOp),
    /// Copies files in: COPY and ADD.
    Copy(CopyOp),
    /// Makes a directory: WORKDIR.
    Workdir(WorkdirOp),
}

impl Op {
    /// Returns the steps whose results it needs; one may stand twice.
    pub fn inputs(&self) -> Vec<StepId> {
        match self {
            Self::Image(_) => Vec::new(),
            Self::Run(run) => {
                let mounts = run.mounts.iter().filter_map(|mount| match &mount.kind {
                    MountKind::Bind { from, .. } => *from,
                    MountKind::Cache { from, .. } => from.as_ref().and_then(|(root, _)| *root),
                    _ => None,
                });
                run.parent.into_iter().chain(mounts).collect()
            }
            Self::Copy(copy) => copy.parent.into_iter().chain(copy.from.step()).collect(),
            Self::Workdir(workdir) => workdir.parent.into_iter().collect(),
        }
    }

    /// Returns the step whose filesystem it adds a layer to.
    fn parent(&self) -> Root {
        match self {
            Self::Image(_) => None,
            Self::Run(run) => run.parent,
            Self::Copy(copy) => copy.parent,
            Self::Workdir(workdir) => workdir.parent,
        }
    }

    /// Names the inputs anew.
    fn renumber(&mut self, place: impl Fn(StepId) -> StepId) {
        let renumber = |root: &mut Root| *root = root.map(&place);
        match self {
            Self::Image(_) => {}
            Self::Run(run) => {
                renumber(&mut run.parent);
                for mount in &mut run.mounts {
                    match &mut mount.kind {
                        MountKind::Bind { from, .. } | MountKind::Cache { from: Some((from, _)), .. } => renumber(from),
                        _ => {}
                    }
                }
            }
            Self::Copy(copy) => {
                renumber(&mut copy.parent);
                if let Tree::Root(root) = &mut copy.from {
                    renumber(root);
                }
            }
            Self::Workdir(workdir) => renumber(&mut workdir.parent),
        }
    }
}

/// An image as it was resolved: enough to plan on it and to fetch it.
#[derive(Clone, PartialEq, Debug)]
pub struct ImageOp {
    /// Where to fetch blobs; carries the digest of the manifest.
    pub reference: Reference,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Its layers, bottom first.
    pub layers: Vec<(DiffId, Descriptor)>,
}

/// A resolved image, as `plan` is given it.
#[derive(Clone, Debug)]
pub struct KnownImage {
    /// Its layers.
    pub image: ImageOp,
    /// Its config.
    pub config: ImageConfig,
    /// What platform it is for.
    pub platform: Platform,
}

/// Files to copy from. What RUN mounts from the context is first copied into a filesystem of its own, so that
/// the ignore file holds for it and writes cannot reach the user's files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tree {
    /// The build context (`None`), or a named one that is a directory.
    Context(Option<String>),
    /// The filesystem of a step.
    Root(Root),
}

impl Tree {
    fn step(&self) -> Option<StepId> {
        match self {
            Self::Context(_) => None,
            Self::Root(root) => *root,
        }
    }
}

/// Names and values. Steps share what their environments have in common: many may have a long one.
pub type Variables = rpds::VectorSync<(String, String)>;

/// RUN. Facts in its key: see `ops::run`.
#[derive(Clone, PartialEq, Debug)]
pub struct RunOp {
    /// The filesystem it runs in.
    pub parent: Root,
    /// The platform of its stage.
    pub platform: Platform,
    /// The command, SHELL included.
    pub argv: Vec<String>,
    /// Environment in order of first definition; without HOME and proxies.
    pub env: Variables,
    /// Proxy variables: set for the process, never in a key.
    pub proxies: Vec<(String, String)>,
    /// Absolute working directory.
    pub cwd: String,
    /// As written, expanded; empty for none.
    pub user: String,
    /// `--network`.
    pub network: RunNetwork,
    /// Whether `--security=insecure`.
    pub insecure: bool,
    /// Host name in the sandbox.
    pub hostname: String,
    /// `--add-host`: name and address.
    pub add_hosts: Vec<(String, String)>,
    /// `--device`, of the command line first.
    pub devices: Vec<Device>,
    /// In order of the line.
    pub mounts: Vec<RunMount>,
    /// A heredoc with `#!`: the path of the file, and its text.
    pub script: Option<(String, String)>,
}

/// `RUN --network`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunNetwork {
    /// The sandbox's own.
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// One `RUN --mount`.
#[derive(Clone, PartialEq, Debug)]
pub struct RunMount {
    /// Where it is mounted: absolute, clean. Empty for a secret that is only a variable.
    pub target: String,
    /// Writes are refused.
    pub readonly: bool,
    /// What it is.
    pub kind: MountKind,
    /// The `--mount` flag, for errors.
    pub span: Span,
}

/// What is mounted.
#[derive(Clone, PartialEq, Debug)]
pub enum MountKind {
    /// Files of another filesystem; writes vanish.
    Bind {
        /// Whose files.
        from: Root,
        /// Path in it, absolute, clean.
        source: String,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name, `BUILDKIT_CACHE_MOUNT_NS` included.
        id: String,
        /// Whether the line named the id (a fact of the key: 16.1).
        explicit_id: bool,
        /// Who else may use it meanwhile.
        sharing: CacheSharing,
        /// Initial content: filesystem and path.
        from: Option<(Root, String)>,
        /// Mode of the directory when it is made.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Size limit in bytes.
        size: Option<u64>,
    },
    /// A secret of the build's request.
    Secret {
        /// Its name.
        id: String,
        /// The variable to put it in.
        env: Option<String>,
        /// Fail when the request does not carry it.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// An agent socket of the build's request.
    Ssh {
        /// Its name.
        id: String,
        /// Fail when the request does not carry it.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// `sharing=` of a cache mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheSharing {
    /// Any number of steps at once.
    Shared,
    /// A second step at the same time gets a directory of its own.
    Private,
    /// A second step waits.
    Locked,
}

/// COPY and ADD. Facts in its key: see `ops::copy`.
#[derive(Clone, PartialEq, Debug)]
pub struct CopyOp {
    /// The filesystem it copies into.
    pub parent: Root,
    /// Where paths of `sources` are.
    pub from: Tree,
    /// In order of the line.
    pub sources: Vec<CopySource>,
    /// Absolute; a trailing `/` (or `/.`) is kept and means a directory.
    pub destination: String,
    /// Expanded `--chown`; `None` when absent or empty.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, as written.
    pub exclude: Vec<String>,
    /// For ADD.
    pub add: Option<AddOptions>,
}

/// One source of a COPY or ADD.
#[derive(Clone, PartialEq, Debug)]
pub enum CopySource {
    /// A path or wildcard in the tree, expanded.
    Path {
        /// As written after expansion.
        path: String,
        /// Where it stands.
        span: Span,
    },
    /// A path in the tree, without wildcards, which is copied with the links on the way to it, each to where it is.
    InPlace {
        /// The path.
        path: String,
        /// Where it stands.
        span: Span,
    },
    /// A heredoc: file name and text.
    Inline {
        /// File name.
        name: String,
        /// Text, expanded if the heredoc asked for it.
        text: String,
    },
    /// `http://` or `https://`.
    Url {
        /// The address.
        url: String,
        /// Where it stands.
        span: Span,
    },
    /// A git repository.
    Git {
        /// The repository, and what of it; the flags of the instruction are part of it.
        address: Box<GitAddress>,
        /// The address as written, without credentials.
        shown: String,
        /// Where it stands.
        span: Span,
    },
}

/// What only ADD has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AddOptions {
    /// `--unpack`; `None`: archives of the tree are unpacked, downloads are not.
    pub unpack: Option<bool>,
    /// `--checksum` of a URL, expanded.
    pub checksum: Option<String>,
}

/// WORKDIR: makes the directory if it is missing.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkdirOp {
    /// The filesystem it is made in.
    pub parent: Root,
    /// Absolute.
    pub path: String,
    /// Owner of what is made: USER as written; empty for root.
    pub user: String,
    /// SOURCE_DATE_EPOCH: time of what is made.
    pub mtime_seconds: Option<i64>,
}
