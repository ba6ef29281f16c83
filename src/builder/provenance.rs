//! What provenance tells of a build: from the request, the plan and what was fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::load::Loaded;
use super::remote::repository;
use super::{BuildRequest, ContextSource, DockerfileSource, NamedContext, ProvenanceMode};
use crate::attest::{self, Build, Dependency, Details, Predicate, provenance};
use crate::context::{bare_address, without_credentials};
use crate::digest::to_hex;
use crate::fsutil::Timestamp;
use crate::oci::Platform;
use crate::ops::{Worker, uri_of_repository};
use crate::plan::{CopySource, ImageSource, KnownImages, MountKind, Op, RunNetwork, Step, StepGraph, StepId, is_proxy};
use crate::source::{SourceFile, SourceId};

/// A build whose steps are done.
pub(super) struct Told<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) loaded: &'a Loaded,
    pub(super) worker: &'a Worker,
    pub(super) graph: &'a StepGraph,
    /// Every image that the plans of all platforms asked for.
    pub(super) known: &'a KnownImages,
    pub(super) began: Instant,
    /// Tells this build from others; the same for each platform.
    pub(super) invocation: &'a str,
}

impl Told<'_> {
    /// Returns what `steps` (those of one platform) say of how its image came to be; nothing if nobody asked.
    pub(super) fn provenance(&self, steps: &[StepId]) -> Option<Predicate> {
        let wanted = self.request.attestations.provenance.as_ref()?;
        let steps: BTreeSet<StepId> = steps.iter().copied().collect();
        let ops = || steps.iter().map(|id| &self.graph.step(*id).op);
        Some(provenance(&Build {
            source: self.source(),
            dockerfile: self.dockerfile(),
            arguments: self.arguments(),
            locals: self.locals(),
            dependencies: self.dependencies(ops()),
            builder_platform: Platform::host().to_string(),
            builder: wanted.builder.clone(),
            is_hermetic: ops().all(|op| !matches!(op, Op::Run(run) if run.network != RunNetwork::None)),
            is_reproducible: wanted.reproducible,
            details: (wanted.mode == ProvenanceMode::Max).then(|| self.details(&steps)),
        }))
    }

    /// The context, if it came from elsewhere.
    fn source(&self) -> Option<Dependency> {
        let uri = match &self.request.context {
            ContextSource::Git(url) => uri_of_repository(&repository(url).ok()?),
            ContextSource::Http(url) => bare_address(url),
            ContextSource::Directory(_) | ContextSource::Tar(_) | ContextSource::Empty => return None,
        };
        let fetched = self.worker.fetcher.fetched.all();
        let (_, algorithm, digest) = fetched.into_iter().find(|(from, _, _)| *from == uri)?;
        Some(Dependency { uri, algorithm: algorithm.to_owned(), digest })
    }

    /// Paths of this machine beside the file's name say nothing to others.
    fn dockerfile(&self) -> String {
        match &self.request.dockerfile {
            DockerfileSource::InContext(path) => path.display().to_string(),
            DockerfileSource::File(path) => {
                path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
            }
            DockerfileSource::Text { name, .. } => name.clone(),
            DockerfileSource::Http(url) => bare_address(url),
        }
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        if let Some(target) = &self.request.target {
            all.insert("target".to_owned(), target.clone());
        }
        for (name, context) in &self.request.build_contexts {
            let value = match context {
                NamedContext::Directory(_) => "local".to_owned(),
                NamedContext::Image(reference) => format!("docker-image://{reference}"),
                NamedContext::OciLayout { .. } => "oci-layout".to_owned(),
                NamedContext::Target(stage) => format!("target:{stage}"),
                NamedContext::Git(url) | NamedContext::Http(url) => bare_address(url),
            };
            all.insert(format!("context:{name}"), value);
        }
        all
    }

    fn locals(&self) -> Vec<String> {
        let main = match &self.request.context {
            ContextSource::Directory(_) | ContextSource::Tar(_) => Some("context"),
            ContextSource::Empty | ContextSource::Git(_) | ContextSource::Http(_) => None,
        };
        let file = match &self.request.dockerfile {
            DockerfileSource::InContext(_) => main.map(|_| "dockerfile"),
            DockerfileSource::File(_) | DockerfileSource::Text { .. } => Some("dockerfile"),
            DockerfileSource::Http(_) => None,
        };
        let directory =
            |context: &NamedContext| matches!(context, NamedContext::Directory(_) | NamedContext::OciLayout { .. });
        let named = self.request.build_contexts.iter().filter(|(_, context)| directory(context));
        main.into_iter().chain(file).map(str::to_owned).chain(named.map(|(name, _)| name.clone())).collect()
    }

    /// Images, then what was fetched for the build, then what the Dockerfile names by its digest; each once.
    fn dependencies<'a>(&self, ops: impl Iterator<Item = &'a Op> + Clone) -> Vec<Dependency> {
        let used: BTreeSet<_> =
            ops.clone().filter_map(|op| if let Op::Image(image) = op { Some(image.manifest) } else { None }).collect();
        let images = self.known.iter().filter(|(_, known)| used.contains(&known.image.manifest)).map(|(key, known)| {
            let uri = match &key.source {
                ImageSource::Reference(reference) => attest::of_image(reference, &known.platform),
                ImageSource::Layout(name) => attest::of_layout(name),
            };
            Dependency { uri, algorithm: "sha256".to_owned(), digest: known.image.manifest.hex() }
        });
        let fetched = self.worker.fetcher.fetched.all().into_iter();
        let fetched =
            fetched.map(|(uri, algorithm, digest)| Dependency { uri, algorithm: algorithm.to_owned(), digest });
        let all: BTreeSet<Dependency> = images.chain(fetched).chain(ops.flat_map(pinned)).collect();
        all.into_iter().collect()
    }

    fn details(&self, steps: &BTreeSet<StepId>) -> Details {
        let (_, main) = self.loaded.sources();
        let file = (main, &self.loaded.dockerfile);
        let request = self.request;
        // Proxies are no part of a build: they are in no key and in no history.
        let arguments = request.build_args.iter().filter(|(name, _)| !is_proxy(name));
        let build_args = arguments.map(|(name, value)| (format!("build-arg:{name}"), without_credentials(value)));
        let labels = request.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone()));
        let places: BTreeMap<StepId, usize> = steps.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let told = steps.iter().map(|id| step(self.graph.step(*id), &places, file));
        let took = self.began.elapsed();
        let finished = Timestamp {
            seconds: request.now.seconds.saturating_add(i64::try_from(took.as_secs()).unwrap_or(0)),
            ..request.now
        };
        Details {
            arguments: build_args.chain(labels).collect(),
            secrets: request.secrets.iter().map(|secret| secret.id.clone()).collect(),
            agents: request.ssh.iter().map(|agent| agent.id.clone()).collect(),
            steps: told.collect(),
            text: without_credentials(self.loaded.dockerfile.text()),
            run: match self.worker.settings.epoch {
                Some(_) => None,
                None => Some((request.now, finished, self.invocation.to_owned())),
            },
        }
    }
}

/// Files that an ADD names with their digest.
fn pinned(op: &Op) -> Vec<Dependency> {
    let Op::Copy(copy) = op else { return Vec::new() };
    let checksum = copy.add.as_ref().and_then(|add| add.checksum.as_deref()).and_then(|text| text.split_once(':'));
    let Some((algorithm, digest)) = checksum else { return Vec::new() };
    let of = |source: &CopySource| match source {
        CopySource::Url { url, .. } => {
            Some(Dependency { uri: bare_address(url), algorithm: algorithm.to_owned(), digest: digest.to_owned() })
        }
        _ => None,
    };
    copy.sources.iter().filter_map(of).collect()
}

/// A step in the words of BuildKit's `pb.Op`, as far as they have one for it.
fn step(step: &Step, places: &BTreeMap<StepId, usize>, (main, file): (SourceId, &SourceFile)) -> attest::Step {
    use serde_json::json;
    let op = match &step.op {
        Op::Image(image) => {
            json!({ "source": { "identifier": format!("docker-image://{}", image.reference) } })
        }
        Op::Run(run) => {
            let env: Vec<String> = run.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mounts: Vec<_> =
                run.mounts.iter().map(|mount| mounted(&mount.target, mount.readonly, &mount.kind)).collect();
            json!({ "exec": {
                "meta": { "args": run.argv, "env": env, "cwd": run.cwd, "user": run.user },
                "mounts": mounts,
                "network": match run.network { RunNetwork::Default => 0, RunNetwork::Host => 1, RunNetwork::None => 2 },
            } })
        }
        Op::Copy(copy) => {
            let from: Vec<String> = copy.sources.iter().map(named).collect();
            json!({ "file": { "actions": [{ "Action": { "copy": { "src": from, "dest": copy.destination } } }] } })
        }
        Op::Workdir(workdir) => {
            json!({ "file": { "actions": [{ "Action": { "mkdir": { "path": workdir.path, "makeParents": true } } }] } })
        }
    };
    let inputs: BTreeSet<usize> = step.op.inputs().iter().filter_map(|id| places.get(id).copied()).collect();
    let lines = (step.span.source == main).then(|| file.lines_of(step.span));
    attest::Step { op: json!({ "Op": op }), inputs: inputs.into_iter().collect(), lines }
}

fn named(source: &CopySource) -> String {
    match source {
        CopySource::Path { path, .. } | CopySource::InPlace { path, .. } => path.clone(),
        CopySource::Inline { name, .. } => name.clone(),
        CopySource::Url { url, .. } => bare_address(url),
        CopySource::Git { shown, .. } => shown.clone(),
    }
}

/// The numbers are those of BuildKit's `pb.MountType`.
fn mounted(target: &str, readonly: bool, kind: &MountKind) -> serde_json::Value {
    use serde_json::json;
    let mut shown = match kind {
        MountKind::Bind { source, .. } => json!({ "dest": target, "selector": source, "mountType": 0 }),
        MountKind::Secret { id, required, .. } => {
            json!({ "dest": target, "mountType": 1, "secretOpt": { "ID": id, "optional": !required } })
        }
        MountKind::Ssh { id, required, .. } => {
            json!({ "dest": target, "mountType": 2, "SSHOpt": { "ID": id, "optional": !required } })
        }
        MountKind::Cache { id, .. } => json!({ "dest": target, "mountType": 3, "cacheOpt": { "ID": id } }),
        MountKind::Tmpfs { .. } => json!({ "dest": target, "mountType": 4 }),
    };
    if readonly {
        shown["readonly"] = json!(true);
    }
    shown
}

/// A new name for a build.
pub(super) fn invocation() -> String {
    to_hex(crate::fsutil::random_name().as_bytes())
}
