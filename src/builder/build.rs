//! One build, from request to outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::access::Access;
use super::annotations::Annotations;
use super::assemble::Built;
use super::call;
use super::early::Early;
use super::failure::{environment, internal};
use super::images::Images;
use super::load::{Loaded, load};
use super::outputs::Delivery;
use super::provenance::Told;
use super::publish::Publisher;
use super::store::Open;
use super::vertices::Vertices;
use super::{
    BuildFailure, BuildOutcome, BuildRequest, BuiltImage, Call, CallReport, Entitlement, FailureKind, StepCounts,
    Which, assemble, epoch, outputs, platforms, verify,
};
use crate::attest::SLSA;
use crate::cache::LocalCache;
use crate::context::Source;
use crate::diag::Diagnostic;
use crate::dockerfile::directive::CHECK_OPTIONS;
use crate::dockerfile::{self, lint};
use crate::executor::{CancelFlag, Executor};
use crate::export::{self, Image, MediaTypes, Report, described};
use crate::fsutil::Timestamp;
use crate::oci::{Layer, Platform, rfc3339};
use crate::ops::{AllowedDevices, DEVICE_DIRECTORIES, HearsOfMount, Journal, Remembered, Settings, StepResult, Worker};
use crate::plan::{self, KnownImages, Plan, Planned, Root, StepGraph, StepId};
use crate::progress::{Event, SharedSink};
use crate::remotecache::Caches;
use crate::sandbox::Isolation;
use crate::sandbox::idmap::Rung;
use crate::snapshot::Scratch;
use crate::solver;
use crate::source::{SourceId, Sources, Span};

/// How many steps run at once unless the request says otherwise. Steps mostly wait: for the network, for a
/// command that has threads of its own.
const DEFAULT_JOBS: usize = 16;

/// How late the builder may notice that the user stopped the build.
const CANCEL_POLL: Duration = Duration::from_millis(20);

/// Sets the flag of one attempt when the user stops the build. It has a flag of its own, because a step that fails stops
/// the others, which must not look like the user's wish.
async fn forward(user: CancelFlag, attempt: CancelFlag) {
    while !user.is_cancelled() {
        tokio::time::sleep(CANCEL_POLL).await;
    }
    attempt.cancel();
}

/// Ends with the attempt.
struct Forwarding(tokio::task::JoinHandle<()>);

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Does what `request` asks for. Blocks until everything is written, or nothing more will be.
pub fn build(request: BuildRequest, sink: SharedSink, cancel: &CancelFlag) -> Result<BuildOutcome, Box<BuildFailure>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The kernel kills a sandbox's network helper when the thread that started it ends.
        .thread_keep_alive(Duration::from_secs(u64::from(u32::MAX)))
        .build()
        .map_err(|error| Box::new(environment("cannot start the scheduler", &error)))?;
    let publisher = OnceLock::new();
    let build = Build { request: &request, sink, cancel: cancel.clone(), began: Instant::now(), publisher };
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = build.run() => ended,
            () = build.out_of_patience() => Err(canceled()),
        }
    });
    // A blocking task that is still on its way has been told to stop; it must not keep the process.
    runtime.shutdown_background();
    ended.map_err(Box::new)
}

/// The label of a build without isolation.
const UNISOLATED: &str = "WARNING: steps are NOT ISOLATED (--isolation=chroot): they see the processes and the network of \
     this machine, have no /proc and /sys, and their secrets are on the disk of the store while they run";

/// How long work may take to end by itself, and to clean up, once the user stopped the build.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long what was finished may take to get to shared caches, then. A second signal ends that too.
const PUBLISHING: Duration = Duration::from_secs(5);

fn canceled() -> BuildFailure {
    BuildFailure::new(FailureKind::Canceled, "the build was canceled")
}

/// The devices of the command line are the user's own choice.
fn allowed_devices(request: &BuildRequest) -> AllowedDevices {
    let of_one = |allowed: &Entitlement| match allowed {
        Entitlement::Device(name) => Some(name.clone()),
        _ => None,
    };
    let names = request.allow.iter().filter_map(of_one).chain(request.devices.iter().cloned()).collect();
    AllowedDevices { all: request.allow.contains(&Entitlement::Devices), names }
}

/// What tells two warnings apart: place, code and message.
fn identity(warning: &Diagnostic) -> (Option<Span>, &str, &str) {
    (warning.span, warning.code, &warning.message)
}

/// The plans of all platforms as one graph, in which what they share is there once.
#[derive(Default)]
struct Merged {
    graph: StepGraph,
    parts: Vec<Part>,
}

/// One platform of it.
struct Part {
    platform: Platform,
    /// Without its graph.
    plan: Plan,
    /// Where the steps of the plan are in the merged graph.
    places: Vec<StepId>,
}

impl Part {
    /// The step that makes the last layer of the image; none of an image without layers.
    fn root(&self) -> Root {
        self.plan.root.map(|root| self.places[root.index()])
    }
}

impl Merged {
    fn add(&mut self, platform: Platform, mut plan: Plan) {
        let places = self.graph.merge(std::mem::take(&mut plan.graph));
        self.parts.push(Part { platform, plan, places });
    }
}

/// What came of the steps of all platforms.
struct Solved {
    built: Vec<Built>,
    graph: Arc<StepGraph>,
    steps: StepCounts,
    early: Option<Early>,
}

/// What does the steps a second time.
struct Again {
    worker: Arc<Worker>,
    _forwarding: Forwarding,
    _cache: Scratch,
}

struct Build<'a> {
    request: &'a BuildRequest,
    sink: SharedSink,
    cancel: CancelFlag,
    began: Instant,
    /// Writes shared caches.
    publisher: OnceLock<Arc<Publisher>>,
}

impl Build<'_> {
    async fn run(&self) -> Result<BuildOutcome, BuildFailure> {
        outputs::check(self.request)?;
        for doubt in self.request.platforms.iter().filter_map(Platform::doubt) {
            self.sink.event(Event::Notice(format!("building for an unusual platform: {doubt}")));
        }
        let open = Open::store(self.request, self.sink.clone()).await?;
        self.tell_of(&open);
        let access = Access::of(self.request, &open, &self.cancel)?;
        let vertices = Vertices::new(self.sink.clone(), self.cancel.clone());
        let loaded = load(self.request, &open, &access, &vertices).await?;
        if self.request.call == Call::Build {
            if self.request.no_cache != Which::All {
                open.caches.ask_ahead(&self.trail(&loaded));
            }
            let publisher = Publisher::start(self.request, &open, self.sink.clone());
            publisher.map(|publisher| self.publisher.set(publisher));
        }
        let mut ended = self.until_mended(&open, &access, &loaded, &vertices).await;
        loaded.save_caches();
        if let Some(publisher) = self.publisher.get() {
            let published = self.published(publisher, &vertices, ended.is_ok().then(|| self.trail(&loaded))).await;
            ended = ended.and_then(|outcome| published.map(|()| outcome));
        }
        if self.cancel.is_cancelled() { Err(canceled()) } else { ended }
    }

    /// Names builds like this one: those of the same stages.
    fn trail(&self, loaded: &Loaded) -> String {
        let text = String::from_utf8_lossy(loaded.dockerfile.text().as_ref()).into_owned();
        let is_from = |line: &&str| line.trim_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case("from "));
        let mut hasher = blake3::Hasher::new();
        for line in text.lines().filter(is_from) {
            hasher.update(line.trim().as_bytes()).update(b"\n");
        }
        hasher.update(self.request.target.as_deref().unwrap_or_default().as_bytes());
        for platform in platforms::platforms(self.request) {
            hasher.update(b"\n").update(platform.to_string().as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Waits until shared caches have what was done; not long if the user stopped the build.
    async fn published(
        &self,
        publisher: &Publisher,
        vertices: &Vertices,
        trail: Option<String>,
    ) -> Result<(), BuildFailure> {
        if self.request.shared_caches.to.is_empty() {
            return Ok(());
        }
        let publish = async |_| {
            let all = async {
                publisher.idle().await;
                publisher.publish_mounts().await;
                if let Some(trail) = trail {
                    publisher.leave_trail(&trail).await;
                }
                publisher.check()
            };
            let given_up = async {
                while !self.cancel.is_cancelled() {
                    tokio::time::sleep(CANCEL_POLL).await;
                }
                tokio::time::sleep(PUBLISHING).await;
                Err(canceled())
            };
            tokio::select! {
                ended = all => ended,
                ended = given_up => ended,
            }
        };
        vertices.show("exporting cache".to_owned(), publish).await
    }

    /// Says what isolates the steps, and what their snapshots are.
    fn tell_of(&self, open: &Open) {
        let (rung, snapshotter) = (self.request.entered.rung, open.snapshots.snapshotter());
        self.sink.event(Event::Isolation(format!("{rung} isolation, {snapshotter} snapshots")));
        if rung == Rung::SingleId {
            self.sink.event(Event::Notice(rung.description().to_owned()));
        }
        if rung == Rung::Chroot {
            self.sink.event(Event::Notice(UNISOLATED.to_owned()));
        }
        if let Some(reason) = &open.no_overlay {
            let text = format!("each RUN gets a copy of all files, which is slower, and no overlay of them: {reason}");
            self.sink.event(Event::Notice(text));
        }
    }

    /// Waits until the user stops the build, and then a little longer.
    async fn out_of_patience(&self) {
        while !self.cancel.is_cancelled() {
            tokio::time::sleep(CANCEL_POLL).await;
        }
        tokio::time::sleep(PATIENCE).await;
        if let Some(publisher) = self.publisher.get() {
            let _ = tokio::time::timeout(PUBLISHING, publisher.idle()).await;
        }
    }

    /// Builds; and builds again when a blob of the store turned out to be lost or damaged, without that blob: what
    /// made it is then done again.
    async fn until_mended(
        &self,
        open: &Open,
        access: &Access,
        loaded: &Loaded,
        vertices: &Vertices,
    ) -> Result<BuildOutcome, BuildFailure> {
        let mut mended = BTreeSet::new();
        loop {
            let (mut sources, main) = loaded.sources();
            let failure = match self.of_dockerfile(open, access, loaded, vertices, &mut sources, main).await {
                Ok(outcome) => return Ok(BuildOutcome { sources, ..outcome }),
                Err(failure) => BuildFailure { sources, ..failure },
            };
            match failure.damaged {
                Some(blob) if !self.cancel.is_cancelled() && mended.insert(blob) => {
                    // What a shared cache promised and has not was told of.
                    if open.caches.layer(&blob).is_none() {
                        let text = format!("the store has lost or damaged the blob {blob}: what made it is done again");
                        self.sink.event(Event::Notice(text));
                    }
                    open.content
                        .remove_blob(&blob)
                        .map_err(|error| environment("cannot remove a damaged blob", &error))?;
                }
                _ => return Err(failure),
            }
        }
    }

    async fn of_dockerfile(
        &self,
        open: &Open,
        access: &Access,
        loaded: &Loaded,
        vertices: &Vertices,
        sources: &mut Sources,
        main: SourceId,
    ) -> Result<BuildOutcome, BuildFailure> {
        let frontend = self.request.build_args.iter().rev().find(|(name, _)| name == "BUILDKIT_SYNTAX");
        dockerfile::frontend::check(sources, main, frontend.map(|(_, value)| value.as_str()))
            .map_err(|error| super::failure::diagnostics(vec![error]))?;
        let mut parsed = dockerfile::parse(sources, main);
        dockerfile::frontend::check_devices(sources, main, frontend.map(|(_, value)| value.as_str()), &mut parsed);
        let first_trigger = sources.next_id();
        call::check_options(self.request, &mut parsed)?;
        let file = &parsed.file;
        let mut warnings = lint::of_instructions(file, sources);
        if let Some(first) = parsed.diagnostics.first() {
            let end = first.span.map_or(0, |span| span.start);
            warnings.retain(|warning| warning.span.is_some_and(|span| span.start < end));
            // What is asked of the rules is read before the file is.
            let mut failure = match first.code {
                CHECK_OPTIONS => super::failure::diagnostics(parsed.diagnostics.clone()),
                _ => super::failure::syntax(parsed.diagnostics.clone(), sources),
            };
            let options = self.first_options(loaded)?;
            failure.diagnostics.extend(plan::mistakes_beside(&parsed, sources, &options));
            return if self.is_check() { Ok(call::checked(file, warnings, Some(failure))) } else { Err(failure) };
        }
        if self.request.call == Call::Targets {
            return Ok(call::described(CallReport::Targets(plan::targets(file))));
        }
        warnings.extend(lint::of_stages(file, sources));
        let epoch = match self.epoch(access, loaded, file).await {
            Ok(epoch) => epoch,
            Err(failure) if self.is_check() => return Ok(call::checked(file, warnings, Some(failure))),
            Err(failure) => return Err(failure),
        };
        let worker = Arc::new(self.worker(open, access, loaded, epoch)?);
        let _forwarding = Forwarding(tokio::spawn(forward(self.cancel.clone(), worker.cancel.clone())));
        let images = Images::new(self.request, open, &worker, vertices);
        let mut known = KnownImages::new();
        let mut merged = Merged::default();
        for platform in platforms::platforms(self.request) {
            let options = loaded.options(self.request, &platform)?.with_epoch(epoch);
            let plan = match self.plan(file, sources, &options, &images, &mut known).await {
                Ok(plan) => plan,
                Err(failure) if self.is_check() => return Ok(call::checked(file, warnings, Some(failure))),
                Err(failure) => {
                    return Err(match options.several_platforms {
                        true => super::failure::of_platform(failure, &platform.to_string()),
                        false => failure,
                    });
                }
            };
            // What is said of one platform is mostly said of each.
            let said: BTreeSet<_> = warnings.iter().map(identity).collect();
            let new: Vec<_> =
                plan.warnings.iter().filter(|warning| !said.contains(&identity(warning))).cloned().collect();
            warnings.extend(new);
            match self.request.call {
                Call::Check => return Ok(call::checked(file, warnings, None)),
                Call::Outline => return Ok(call::described(CallReport::Outline(plan.outline))),
                Call::Build | Call::Targets => merged.add(platform, plan),
            }
        }
        // In the order of the file, each at the line it names.
        warnings.sort_by_key(|warning| warning.lines.map(|lines| lines.start));
        let is_lint_error = file.directives.check.error && !warnings.is_empty();
        let triggers = (first_trigger.0..sources.next_id().0).map(SourceId);
        warnings.extend(super::remarks::unused_arguments(self.request, file, sources, triggers));
        warnings.iter().for_each(|warning| vertices.warn(loaded.definition, warning, sources));
        if is_lint_error {
            return Err(super::failure::lint(warnings));
        }
        let again = match self.request.verify_reproducible {
            true => Some(self.worker_again(open, access, loaded, epoch)?),
            false => None,
        };
        let Solved { built, graph, steps, early } =
            match self.solve(merged, &worker, again.as_ref(), (open, loaded), vertices).await {
                Ok(solved) => solved,
                Err(mut failure) => {
                    failure.diagnostics.splice(0..0, warnings);
                    return Err(failure);
                }
            };
        let told = Told {
            request: self.request,
            loaded,
            worker: &worker,
            graph: &graph,
            known: &known,
            began: self.began,
            invocation: &super::provenance::invocation(),
        };
        let built = super::settle::settled(self.request, &worker, vertices, built).await?;
        let built = match self.request.reproducible {
            true => self.without_late_times(&worker, vertices, built).await?,
            false => built,
        };
        let image = self.deliver(open, &worker, vertices, (&built, &told), (early, steps.run > 0)).await?;
        Ok(BuildOutcome { image, report: None, steps, warnings, sources: Sources::default() })
    }

    fn is_check(&self) -> bool {
        self.request.call == Call::Check
    }

    /// The options of the first platform.
    fn first_options(&self, loaded: &Loaded) -> Result<plan::Options, BuildFailure> {
        let platform = platforms::platforms(self.request).into_iter().next().unwrap_or_else(Platform::host);
        loaded.options(self.request, &platform)
    }

    /// What SOURCE_DATE_EPOCH comes to.
    async fn epoch(
        &self,
        access: &Access,
        loaded: &Loaded,
        file: &dockerfile::Dockerfile,
    ) -> Result<Option<i64>, BuildFailure> {
        let options = self.first_options(loaded)?;
        let named = plan::epoch(file, &options).map_err(|error| super::failure::diagnostics(vec![error]))?;
        let resolved = epoch::resolve(self.request, access, named).await?;
        // Any other time would come from this machine: that of its files, or of now.
        Ok(resolved.or(self.request.reproducible.then_some(0)))
    }

    /// A worker that remembers nothing of earlier builds, and keeps nothing for later ones.
    fn worker_again(
        &self,
        open: &Open,
        access: &Access,
        loaded: &Loaded,
        epoch: Option<i64>,
    ) -> Result<Again, BuildFailure> {
        let wrong =
            |error: &(dyn std::error::Error + 'static)| super::failure::failure(FailureKind::Environment, error);
        let scratch = open.snapshots.scratch().map_err(|error| wrong(&error))?;
        let mut worker = self.worker(open, access, loaded, epoch)?;
        worker.cache = LocalCache::open(scratch.fs()).map_err(|error| wrong(&error))?;
        (worker.caches, worker.told, worker.told_mount) = (Caches::none(), None, None);
        let worker = Arc::new(worker);
        let _forwarding = Forwarding(tokio::spawn(forward(self.cancel.clone(), worker.cancel.clone())));
        Ok(Again { worker, _forwarding, _cache: scratch })
    }

    fn worker(
        &self,
        open: &Open,
        access: &Access,
        loaded: &Loaded,
        epoch: Option<i64>,
    ) -> Result<Worker, BuildFailure> {
        let request = self.request;
        let time = epoch.map_or(request.now, Timestamp::from_seconds);
        let contexts: BTreeMap<Option<String>, Arc<Source>> = loaded.contexts.clone();
        Ok(Worker {
            store: open.content.clone(),
            snapshots: open.snapshots.clone(),
            cache: open.cache.clone(),
            fetcher: access.fetcher.clone(),
            registry: open.registry.clone(),
            contexts,
            cache_mounts: request.store.join("mounts"),
            executor: Executor::of_this_process(),
            settings: Settings {
                created: rfc3339(time),
                time,
                epoch,
                resolv_conf: request.host_resolv_conf.clone(),
                isolation: match request.entered.rung {
                    Rung::Chroot => Isolation::Chroot,
                    _ => Isolation::Namespaces,
                },
                user_namespace: request.entered.user_namespace,
                devices: allowed_devices(request),
                device_directories: DEVICE_DIRECTORIES.map(PathBuf::from).to_vec(),
                limits: request.limits.clone(),
            },
            sink: self.sink.clone(),
            cancel: CancelFlag::new().map_err(|error| environment("cannot start the build", &error))?,
            busy: Default::default(),
            notices: Mutex::new(BTreeSet::new()),
            followed: Default::default(),
            caches: open.caches.clone(),
            journal: Journal::new(super::same::of_same(request), request.explain),
            told: self.publisher.get().cloned().map(|publisher| -> Arc<dyn Fn(Remembered) + Send + Sync> {
                Arc::new(move |step| publisher.take(step))
            }),
            told_mount: self
                .publisher
                .get()
                .cloned()
                .map(|publisher| -> HearsOfMount { Arc::new(move |name| publisher.changed(name)) }),
        })
    }

    async fn plan(
        &self,
        file: &dockerfile::Dockerfile,
        sources: &mut Sources,
        options: &plan::Options,
        images: &Images<'_>,
        known: &mut KnownImages,
    ) -> Result<Plan, BuildFailure> {
        loop {
            match plan::plan(file, sources, options, known).map_err(super::failure::diagnostics)? {
                Planned::Ready(plan) => return Ok(*plan),
                Planned::Needs(needs) => {
                    for need in needs {
                        let image = images.resolve(&need).await?;
                        known.insert(need.key, image);
                    }
                }
            }
        }
    }

    /// Runs the steps of a graph.
    async fn results(
        &self,
        graph: &Arc<StepGraph>,
        worker: &Arc<Worker>,
        loaded: &Loaded,
        vertices: &Vertices,
        made: impl Fn(StepId, &StepResult),
    ) -> Result<Vec<Arc<StepResult>>, BuildFailure> {
        let first = vertices.reserve(graph.steps.len());
        let jobs = self.request.jobs.unwrap_or(DEFAULT_JOBS);
        worker.executor.expect(graph.steps.iter().filter(|step| matches!(step.op, plan::Op::Run(_))).count());
        let results = solver::solve(graph, worker, jobs, |id| crate::progress::VertexId(first + id.0), made).await;
        results.map_err(|error| super::failure::solve(error, graph, loaded))
    }

    /// Takes late times out of the layers that were made here.
    async fn without_late_times(
        &self,
        worker: &Arc<Worker>,
        vertices: &Vertices,
        built: Vec<Built>,
    ) -> Result<Vec<Built>, BuildFailure> {
        let Some(latest) = worker.settings.epoch else { return Ok(built) };
        let (store, records) = (worker.store.clone(), self.request.store.join("cache/compressed"));
        let annotations = self.request.annotations.clone();
        let clamp = async |id| {
            let report = Report::new(worker.sink.clone(), id, worker.cancel.clone());
            super::remote::blocking(move || {
                let clamp = |built: Built| {
                    let layers = export::clamped(&built.layers, &store, latest, &records, &report)
                        .map_err(|error| super::failure::failure(FailureKind::Environment, &error))?;
                    let config = serde_json::from_slice(&built.image.config.bytes)
                        .map_err(|error| environment("cannot read the config just written", &error))?;
                    let image = Annotations(&annotations).assemble(config, &layers, MediaTypes::Oci);
                    Ok(Built { image, layers, ..built })
                };
                built.into_iter().map(clamp).collect()
            })
            .await
        };
        vertices.show("setting times of files".to_owned(), clamp).await
    }

    /// Runs the steps of all platforms, each once, and assembles the image of each platform.
    async fn solve(
        &self,
        merged: Merged,
        worker: &Arc<Worker>,
        again: Option<&Again>,
        (open, loaded): (&Open, &Loaded),
        vertices: &Vertices,
    ) -> Result<Solved, BuildFailure> {
        let mut graph = merged.graph;
        graph.require_inputs();
        let graph = Arc::new(graph);
        let roots = merged.parts.iter().map(|part| part.root());
        let wanted: Vec<StepId> = roots.flat_map(|root| graph.chain(root)).collect();
        let early = Early::start(self.request, open, worker, &graph, wanted.iter().copied());
        if let Some(publisher) = self.publisher.get() {
            let inside = wanted.iter().map(|step| graph.step(*step).span).collect();
            publisher.expect(inside, early.as_ref().and_then(Early::ahead));
        }
        let made = |step, result: &StepResult| _ = early.as_ref().map(|early| early.made(step, result));
        worker.journal.begin(&graph);
        let results = self.results(&graph, worker, loaded, vertices, made).await;
        worker.journal.end(&graph, &worker.cache);
        let results = results?;
        if let Some(Again { worker: again, .. }) = again {
            let second = self.results(&Arc::new(verify::again(&graph)), again, loaded, vertices, |_, _| ()).await?;
            let latest = worker.settings.epoch.filter(|_| self.request.reproducible);
            verify::compare(&graph, &results, &second, &worker.store, latest).await?;
        }
        worker.executor.rest();
        let mut steps = StepCounts::default();
        for (step, result) in graph.steps.iter().zip(&results) {
            match (&step.op, result.cached) {
                (plan::Op::Image(_), _) => {}
                (_, true) => steps.cached += 1,
                (_, false) => steps.run += 1,
            }
        }
        let built: Vec<Built> = merged
            .parts
            .into_iter()
            .map(|part| {
                let root = part.root();
                let layers =
                    root.map(|root| results[root.index()].layers.layers().cloned().collect()).unwrap_or_default();
                self.assemble(part, layers, &assemble::layers(&graph, root, &results), worker)
            })
            .collect();
        if let Some(early) = &early {
            built.iter().for_each(|built| early.config(&built.image.config));
        }
        Ok(Solved { built, graph, steps, early })
    }

    fn assemble(&self, part: Part, layers: Vec<Layer>, made: &[assemble::Made], worker: &Worker) -> Built {
        let epoch = worker.settings.epoch.map(|seconds| rfc3339(Timestamp::from_seconds(seconds)));
        let Part { plan, platform, places } = part;
        let mut config = plan.config;
        assemble::set_platform(&mut config, platform, !self.request.platforms.is_empty());
        let annotations = Annotations(&self.request.annotations);
        assemble::finish(&mut config, &plan.history, made, epoch.as_deref());
        let image = annotations.assemble(config, &layers, MediaTypes::Oci);
        Built { image, layers, steps: places }
    }

    async fn deliver(
        &self,
        open: &Open,
        worker: &Arc<Worker>,
        vertices: &Vertices,
        (built, told): (&[Built], &Told<'_>),
        (early, is_new): (Option<Early>, bool),
    ) -> Result<Option<BuiltImage>, BuildFailure> {
        if self.cancel.is_cancelled() {
            return Err(canceled());
        }
        let images: Vec<Image> = built.iter().map(|built| built.image.clone()).collect();
        let several = platforms::several(self.request)?;
        let set = Annotations(&self.request.annotations).set(images, several, MediaTypes::Oci);
        let said = super::attest::said(open, worker, vertices, built, told).await?;
        let (request, said_of) = (self.request, said.as_slice());
        let publisher = self.publisher.get().cloned();
        let delivery = Delivery { request, open, worker, vertices, set, built, said: said_of, is_new, publisher };
        let set = delivery.all(early).await?;
        let Some(set) = set else { return Ok(None) };
        let config_digest =
            set.images.first().ok_or_else(|| internal("a build has at least one platform"))?.config.digest;
        let provenance = set.images.iter().zip(said).filter_map(|(image, said)| {
            let found = said.into_iter().find(|said| said.kind == SLSA)?;
            Some((image.platform.clone(), found.value))
        });
        Ok(Some(BuiltImage {
            descriptor: described(&set),
            config_digest,
            provenance: provenance.collect(),
            names: outputs::given_names(self.request, &set),
        }))
    }
}
