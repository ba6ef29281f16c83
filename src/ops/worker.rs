//! What every op may use, and the way from a step to its result.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::why::Missed;
use super::{AllowedDevices, Fetcher, Followed, Journal, OpError, layers};
use crate::cache::{Key, KeySink, Keyed, LastStep, LocalCache, Place, Record, Turn, explain, key_of};
use crate::content;
use crate::context::Source;
use crate::digest::{ChainId, DiffId, Digest};
use crate::executor::{CancelFlag, Executor};
use crate::fsutil::Timestamp;
use crate::oci::{Layer, Stack, descriptor, digest_of, media_type};
use crate::plan::{Op, Root, Step, StepId};
use crate::progress::{Event, SharedSink, Stream, VertexId};
use crate::registry;
use crate::remotecache::Caches;
use crate::sandbox::{Isolation, ResourceLimits};
use crate::snapshot::Snapshots;
use crate::source::Span;

/// How late a transfer may notice that the build is to stop. Commands are woken at once, by the flag's descriptor.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// How long a build waits for what another one does: that one may have been stopped by its user, and not go on.
const MOST_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// How late a build may notice that another one has done what it waits for.
const TURN_POLL: Duration = Duration::from_millis(20);

/// What a step gave: the filesystem after it.
#[derive(Clone, Debug, Default)]
pub struct StepResult {
    /// All its layers.
    pub layers: Stack,
    /// When its own layer was made, RFC 3339; `None` for an image.
    pub created: Option<String>,
    /// Whether the cache had it.
    pub cached: bool,
}

/// The results of the steps a step needs.
#[derive(Clone, Debug, Default)]
pub struct Inputs(BTreeMap<StepId, Arc<StepResult>>);

impl Inputs {
    /// Picks the inputs of `step` from the results so far, by place; all of them are there.
    pub fn of(step: &Step, results: &[Option<Arc<StepResult>>]) -> Self {
        let pick = |id: StepId| (id, results[id.index()].clone().expect("inputs are done before a step starts"));
        Self(step.op.inputs().into_iter().map(pick).collect())
    }

    /// Returns the layers of a filesystem; none for the empty one.
    pub fn layers(&self, root: Root) -> Stack {
        root.map(|id| self.0[&id].layers.clone()).unwrap_or_default()
    }

    /// Whether the cache had the result of a step.
    pub(super) fn is_cached(&self, id: StepId) -> bool {
        self.0.get(&id).is_none_or(|result| result.cached || result.created.is_none())
    }

    /// Whether a step is an image.
    pub(super) fn is_image(&self, id: StepId) -> bool {
        self.0.get(&id).is_some_and(|result| result.created.is_none())
    }
}

impl Inputs {
    /// Whether a step of the build made this filesystem: it is neither empty nor an image.
    pub(super) fn is_made(&self, root: Root) -> bool {
        root.is_some_and(|id| self.0[&id].created.is_some())
    }
}

#[cfg(test)]
impl Inputs {
    /// Makes up results: step `n` has a layer for each name of `layers[n]`.
    pub(super) fn made_up(layers: &[&[&str]]) -> Self {
        let layer = |name: &&str| {
            let digest = Digest::of(name.as_bytes());
            Layer { diff_id: DiffId(digest), descriptor: descriptor(media_type::OCI_LAYER, &digest, 1), origin: None }
        };
        let result =
            |names: &&[&str]| StepResult { layers: names.iter().map(layer).collect(), ..StepResult::default() };
        Self((0..).map(StepId).zip(layers.iter().map(|names| Arc::new(result(names)))).collect())
    }
}

/// What a build's request gives to its steps.
pub struct Settings {
    /// When the build began, RFC 3339, or SOURCE_DATE_EPOCH: `created` of what is made.
    pub created: String,
    /// The same, for files that have no time of their own.
    pub time: Timestamp,
    /// SOURCE_DATE_EPOCH, if it is set: seconds since 1970.
    pub epoch: Option<i64>,
    /// The host's `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// What keeps steps apart.
    pub isolation: Isolation,
    /// Whether this process is in a user namespace.
    pub user_namespace: bool,
    /// Devices that steps may have.
    pub devices: AllowedDevices,
    /// Where devices are described.
    pub device_directories: Vec<PathBuf>,
    /// How much each command may use.
    pub limits: ResourceLimits,
}

/// Hears the name of a cache mount.
pub type HearsOfMount = Arc<dyn Fn(&str) + Send + Sync>;

/// Does steps. Shared by all of a build's tasks.
pub struct Worker {
    /// Blobs.
    pub store: content::Store,
    /// Unpacked layers.
    pub snapshots: Snapshots,
    /// Records of earlier steps.
    pub cache: LocalCache,
    /// Brings URLs and repositories here.
    pub fetcher: Fetcher,
    /// Where base images come from.
    pub registry: registry::Client,
    /// Directories to COPY from: the build context under `None`, named ones under their names.
    pub contexts: BTreeMap<Option<String>, Arc<Source>>,
    /// Cache mounts, below the store's root.
    pub cache_mounts: PathBuf,
    /// Runs commands.
    pub executor: Executor,
    /// What the request gives to steps.
    pub settings: Settings,
    /// Where events go.
    pub sink: SharedSink,
    /// Set when the build is to stop.
    pub cancel: CancelFlag,
    /// Layers being fetched or unpacked by this process.
    pub busy: layers::Busy,
    /// Notices given so far, each once.
    pub notices: Mutex<BTreeSet<String>>,
    /// Who gets the layers of which RUNs while they are written.
    pub followed: OnceLock<Followed>,
    /// Shared caches.
    pub caches: Arc<Caches>,
    /// Who hears of every step that the cache has now.
    pub told: Option<Arc<dyn Fn(Remembered) + Send + Sync>>,
    /// Who hears the names of cache mounts in which there is something new.
    pub told_mount: Option<HearsOfMount>,
    /// What the steps come to be, and what explains it.
    pub journal: Journal,
}

/// How a step goes on that no cache has.
pub(super) enum Next {
    /// It is done here. The turn is kept until it is; there is none of a step that is done whatever the cache has.
    Do(Option<Turn>),
    /// Another build has just done it.
    Take(Box<Record>),
}

/// A step that the cache of this machine has now.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Its key.
    pub key: Key,
    /// Its record.
    pub record: Record,
    /// Its instruction.
    pub span: Span,
    /// Whether it was done although a cache may have it.
    pub anew: bool,
    /// The shared cache that the record came from.
    pub place: Option<Place>,
}

impl Worker {
    /// Does one step, or finds that it was done before. `leads_to_network` says that it is, or is needed by, a RUN with the
    /// default network.
    pub async fn run_step(
        self: &Arc<Self>,
        step: &Step,
        vertex: VertexId,
        inputs: &Inputs,
        leads_to_network: bool,
    ) -> Result<StepResult, OpError> {
        let ahead = leads_to_network;
        match &step.op {
            Op::Image(image) => Ok(layers::of_image(image)),
            Op::Run(run) => {
                let result = super::run::perform(self, run, step, vertex, inputs, ahead).await;
                if result.as_ref().is_ok_and(|result| result.cached) {
                    self.executor.forgo();
                }
                result
            }
            Op::Copy(copy) => super::copy_step::perform(self, copy, step, vertex, inputs, ahead).await,
            Op::Workdir(workdir) => super::workdir::perform(self, workdir, step, vertex, inputs, ahead).await,
        }
    }

    /// Begins to connect a network when a step that is not cached leads to a RUN that will need one. Does not wait.
    pub(super) fn connect_ahead(self: &Arc<Self>, leads_to_network: bool) {
        let has_namespaces = self.settings.isolation == Isolation::Namespaces;
        if leads_to_network && has_namespaces && self.executor.begin_ahead() {
            let worker = self.clone();
            tokio::task::spawn_blocking(move || worker.executor.connect_ahead());
        }
    }

    /// Returns the layer a step with these facts made earlier, here or on another machine, if it can be had.
    pub(super) async fn recall(self: &Arc<Self>, step: &Step, facts: &(dyn Keyed + Sync)) -> Option<Record> {
        if step.ignore_cache {
            return None;
        }
        let key = key_of(facts);
        if let Some(known) = self.cache.get(&key) {
            let is_shared = known.elsewhere.is_some() && self.caches.trusts(&known);
            if let Some(record) = self.at_hand(known) {
                self.tell(step, (key, &record), None, false);
                return Some(record);
            }
            if is_shared {
                self.caches.spoil(&key);
            }
        }
        if !self.caches.are_read() {
            return None;
        }
        let found = self.caches.record(&key, &explain(facts)).await?;
        let Some(record) = self.at_hand(found.record) else {
            self.caches.spoil(&key);
            return None;
        };
        // A record that cannot be written is asked for again.
        let _ = self.cache.put(&key, &record);
        self.tell(step, (key, &record), Some(found.place), true);
        Some(record)
    }

    /// A record outlives its blob when somebody pruned, or the disk lost it: then it is a miss, unless a shared cache has the layer.
    /// So is one that a build which asked for no signatures took from a shared cache, if this one does.
    fn at_hand(&self, record: Record) -> Option<Record> {
        if !self.caches.trusts(&record) {
            return None;
        }
        if self.store.length_of(&record.diff_id.0).ok()? == Some(record.length) {
            return Some(Record { elsewhere: None, ..record });
        }
        let elsewhere = record.elsewhere.as_ref()?;
        let blob = digest_of(&elsewhere.layer).ok()?;
        if self.store.length_of(&blob).ok()? == Some(elsewhere.layer.size()) {
            self.caches.note(elsewhere);
            return Some(record);
        }
        self.caches.offers(elsewhere).then_some(record)
    }

    /// A step that no cache has: says why, and waits while another build does it. Returns the turn to do it, or what the other
    /// build made. `facts` are those of its keys, the one that is shared last; `files` says what is known of its files.
    pub(super) async fn missed(
        self: &Arc<Self>,
        (step, vertex): (&Step, VertexId),
        inputs: &Inputs,
        facts: &[&(dyn Keyed + Sync)],
        files: Option<String>,
    ) -> Result<Next, OpError> {
        let keys: Vec<Key> = facts.iter().map(|facts| key_of(*facts)).collect();
        if self.asks_why(step) {
            let why = self.why(step, inputs, facts, &keys, files);
            if step.require_cached {
                return Err(OpError::not_cached(&step.name, &why));
            }
            self.sink.event(Event::Notice(format!("{}: not cached: {why}", step.name)));
        }
        let Some(shared) = keys.last().filter(|_| !step.ignore_cache) else { return Ok(Next::Do(None)) };
        let (mut waits, began) = (false, Instant::now());
        let turn = loop {
            if self.cancel.is_cancelled() {
                return Err(OpError::Canceled);
            }
            match self.cache.turn(shared) {
                Ok(Some(turn)) => break Some(turn),
                // Of a step that two do at once both results are right.
                Err(_) => break None,
                Ok(None) if began.elapsed() > MOST_PATIENCE => break None,
                Ok(None) => {}
            }
            if !waits {
                let data = b"kiln: another build is at this step; waiting for what it makes\n".to_vec();
                self.sink.event(Event::Log { id: vertex, stream: Stream::Stderr, data });
            }
            waits = true;
            tokio::time::sleep(TURN_POLL).await;
        };
        // The other one may have done it before this one looked for the turn.
        let made = self.cache.get(shared).and_then(|record| self.at_hand(record));
        Ok(made.map_or(Next::Do(turn), |record| {
            self.tell(step, (*shared, &record), None, false);
            Next::Take(Box::new(record))
        }))
    }

    /// Whether a step is to say why no cache has it.
    pub(super) fn asks_why(&self, step: &Step) -> bool {
        self.journal.explains() || step.require_cached
    }

    fn why(
        &self,
        step: &Step,
        inputs: &Inputs,
        facts: &[&(dyn Keyed + Sync)],
        keys: &[Key],
        files: Option<String>,
    ) -> String {
        let missed = match step.ignore_cache {
            true => Missed::Ignored,
            false if keys.iter().any(|key| self.cache.get(key).is_some_and(|known| self.caches.trusts(&known))) => {
                Missed::LayerGone
            }
            false => Missed::NoRecord,
        };
        let facts: Vec<String> = facts.iter().map(|facts| explain(*facts)).collect();
        self.journal.explaining(&self.cache).why(step, missed, inputs, &facts, files)
    }

    fn tell(&self, step: &Step, (key, record): (Key, &Record), place: Option<Place>, is_new: bool) {
        let (name, facts) = (step.name.clone(), record.facts.clone());
        let (layer, milliseconds) = (Some(record.diff_id), record.milliseconds);
        let noted = LastStep { name, key: key.hex(), facts, layer, milliseconds };
        self.journal.note(noted, is_new);
        if let Some(told) = &self.told {
            let (record, span, anew) = (record.clone(), step.span, step.ignore_cache);
            told(Remembered { key, record, span, anew, place });
        }
    }

    /// Says that there is something new in the cache mount at `base`. One that is beside another in use is nobody's for long.
    pub(super) fn tell_of_mount(&self, base: &Path) {
        let name = base.file_name().and_then(|name| name.to_str()).filter(|name| !name.contains('.'));
        if let (Some(told), Some(name)) = (&self.told_mount, name) {
            told(name);
        }
    }

    /// Returns a directory of the request; an empty one is nowhere.
    pub(super) fn context(&self, name: Option<&str>) -> Arc<Source> {
        let source = self.contexts.get(&name.map(str::to_owned));
        source.expect("plans only name contexts of the request").clone()
    }

    /// Waits until the build is to stop.
    pub async fn canceled(&self) {
        while !self.cancel.is_cancelled() {
            tokio::time::sleep(CANCEL_POLL).await;
        }
    }

    /// Says something about the build, once.
    pub(super) fn notice_once(&self, text: &str) {
        if self.notices.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned()) {
            self.sink.event(Event::Notice(text.to_owned()));
        }
    }

    /// Remembers a record under a second key.
    pub(super) fn remember_again(&self, step: &Step, facts: &dyn Keyed, record: &Record) -> Result<(), OpError> {
        let (key, record) = (key_of(facts), Record { facts: explain(facts), ..record.clone() });
        self.cache.put(&key, &record)?;
        self.tell(step, (key, &record), None, true);
        Ok(())
    }

    /// Remembers what a step made since `began`.
    pub(super) fn remember(
        &self,
        step: &Step,
        facts: &dyn Keyed,
        made: &Made,
        began: Instant,
    ) -> Result<Record, OpError> {
        let record = Record {
            diff_id: DiffId(made.digest),
            length: made.length,
            created: self.settings.created.clone(),
            facts: explain(facts),
            milliseconds: u64::try_from(began.elapsed().as_millis()).ok(),
            peak_memory: made.peak_memory,
            elsewhere: None,
            imported: None,
        };
        let key = key_of(facts);
        self.cache.put(&key, &record)?;
        self.tell(step, (key, &record), None, true);
        Ok(record)
    }
}

/// A layer blob just written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// Its digest, the layer's diff id.
    pub(super) digest: Digest,
    /// Its length in bytes.
    pub(super) length: u64,
    /// What a process of the command that made it had in memory at the most, in bytes.
    pub(super) peak_memory: Option<u64>,
}

/// The fact that a key has of a filesystem: what its layers hold, in their order; none of an empty one.
pub(super) fn layers_fact(sink: &mut dyn KeySink, name: &str, chain: Option<ChainId>) {
    if let Some(chain) = chain {
        sink.field(name, &chain.0.to_string());
    }
}

/// Returns the filesystem `below` with the layer of `record` on top.
pub(super) fn on_top(below: &Stack, record: &Record, cached: bool) -> StepResult {
    let layers = below.with(match &record.elsewhere {
        Some(elsewhere) => Layer {
            diff_id: record.diff_id,
            descriptor: elsewhere.layer.clone(),
            origin: elsewhere.places.iter().find_map(Place::repository).cloned(),
        },
        None => {
            let descriptor = descriptor(media_type::OCI_LAYER, &record.diff_id.0, record.length);
            Layer { diff_id: record.diff_id, descriptor, origin: None }
        }
    });
    StepResult { layers, created: Some(record.created.clone()), cached }
}
