//! What the cache of this machine learns during a build goes to shared caches beside it (`--cache-to`): each step as soon as it is done, or
//! was found here. So what was finished is there for others although the build fails or is canceled later.
//!
//! Some steps at once, one layer compressed at a time: a build that is slow to publish takes no more memory. A cache that cannot be
//! written is no reason for a build to fail, unless `ignore-error=false` says so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};

use super::outputs::first_push;
use super::remote::blocking;
use super::store::Open;
use super::{BuildFailure, BuildRequest, CacheMode, CacheTarget, FailureKind};
use crate::cache::{Elsewhere, Key, Place, Record};
use crate::content::Store;
use crate::context::without_credentials;
use crate::digest::DiffId;
use crate::export::{self, Ahead, Codec, Format, Report};
use crate::oci::{Layer, Reference, descriptor, digest_of, media_type, rfc3339};
use crate::ops::Remembered;
use crate::progress::{Event, SharedSink};
use crate::registry::BlobSource;
use crate::remotecache::{Blob, Caches, SharedRecord, SigningKey};
use crate::snapshot::Snapshots;
use crate::source::Span;

/// Steps that are published at once.
const AT_ONCE: usize = 4;

/// Publishes what it is told, from its start to the end of the build.
pub(super) struct Publisher {
    pub(super) caches: Arc<Caches>,
    store: Store,
    records: PathBuf,
    pub(super) targets: Vec<Target>,
    /// What signs the records in images.
    inline_sign: Option<SigningKey>,
    /// How new layers are written: as the image that is pushed has them.
    codec: Codec,
    /// Where the image goes first: a layer may have arrived there already.
    pushed: Option<Reference>,
    /// The instructions whose layers the images have.
    inside: Mutex<BTreeSet<Span>>,
    /// What may be about to have compressed a layer.
    ahead: Mutex<Option<Arc<Ahead>>>,
    /// Everything that was told, by its key.
    told: Mutex<BTreeMap<Key, Record>>,
    at_once: Semaphore,
    compressing: Semaphore,
    pending: watch::Sender<usize>,
    has_withheld: AtomicBool,
    /// Where cache mounts are, and how their layers are seen as one.
    pub(super) mounts: PathBuf,
    pub(super) snapshots: Snapshots,
    /// The names of those in which there is something new.
    pub(super) changed: Mutex<BTreeSet<String>>,
    /// When the build began, RFC 3339.
    pub(super) created: String,
    pub(super) sink: SharedSink,
}

pub(super) struct Target {
    pub(super) request: CacheTarget,
    /// Something of it could not be written.
    pub(super) failed: AtomicBool,
    /// The steps of this build that it has.
    there: Mutex<BTreeSet<Key>>,
}

impl Publisher {
    /// Starts; `None` when there is nothing to be written.
    pub(super) fn start(request: &BuildRequest, open: &Open, sink: SharedSink) -> Option<Arc<Self>> {
        let shared = &request.shared_caches;
        if shared.to.is_empty() && shared.inline.is_none() {
            return None;
        }
        let gzip = Codec { format: Format::Gzip, level: None, force: false };
        let (pushed, codec) = first_push(request).map_or((None, gzip), |(name, codec)| (Some(name), codec));
        // A layer with another diff id is not what the step made.
        let codec = if codec.format == Format::Estargz { gzip } else { codec };
        let target = |target: &CacheTarget| {
            let (failed, there) = Default::default();
            Target { request: target.clone(), failed, there }
        };
        let (inside, ahead, told, changed) = Default::default();
        Some(Arc::new(Self {
            caches: open.caches.clone(),
            store: open.content.clone(),
            records: request.store.join("cache/compressed"),
            targets: shared.to.iter().map(target).collect(),
            inline_sign: shared.inline.as_ref().and_then(|inline| inline.sign.clone()),
            codec: Codec { force: false, ..codec },
            pushed,
            inside,
            ahead,
            told,
            at_once: Semaphore::new(AT_ONCE),
            compressing: Semaphore::new(1),
            pending: watch::Sender::new(0),
            has_withheld: AtomicBool::new(false),
            mounts: request.store.join("mounts"),
            snapshots: open.snapshots.clone(),
            changed,
            created: rfc3339(request.now),
            sink,
        }))
    }

    /// Hears which instructions made the layers of the images, and who compresses some of them.
    pub(super) fn expect(&self, inside: BTreeSet<Span>, ahead: Option<Arc<Ahead>>) {
        *lock(&self.inside) = inside;
        *lock(&self.ahead) = ahead;
    }

    /// Takes a step, and does not wait. Must be called within a runtime.
    pub(super) fn take(self: &Arc<Self>, step: Remembered) {
        // An address with a password, in what decides the step or in a file of a repository that it names: not for others.
        if without_credentials(&step.record.facts) != step.record.facts {
            if !self.has_withheld.swap(true, Ordering::Relaxed) {
                let text = "a step is not published: what decides it has an address with a password";
                self.sink.event(Event::Notice(text.to_owned()));
            }
            return;
        }
        // A layer that was promised and could not be had is told of again, as it was made here.
        let before = lock(&self.told).insert(step.key, step.record.clone());
        if before.as_ref() == Some(&step.record) || self.targets.is_empty() {
            return;
        }
        self.pending.send_modify(|pending| *pending += 1);
        let publisher = self.clone();
        tokio::spawn(async move {
            let ended = Ended(&publisher.pending);
            publisher.publish(&step).await;
            drop(ended);
        });
    }

    /// Waits until everything that was told is published, or was given up.
    pub(super) async fn idle(&self) {
        let mut pending = self.pending.subscribe();
        // The sender lives as long as this.
        let _ = pending.wait_for(|pending| *pending == 0).await;
    }

    /// A repository at the registry of `name` that layers of this build are put into.
    pub(super) fn beside(&self, name: &Reference) -> Option<Reference> {
        let places = self.targets.iter().filter_map(|target| target.request.place.repository());
        let mut there = places.filter(|place| place.domain == name.domain && place.path != name.path);
        there.next().cloned()
    }

    /// Remembers in each cache which keys such a build has.
    pub(super) async fn leave_trail(&self, trail: &str) {
        for (to, target) in self.targets.iter().enumerate() {
            let keys: Vec<Key> = lock(&target.there).iter().copied().collect();
            self.caches.put_trail(to, trail, &keys).await;
        }
    }

    /// Fails if a cache was not written that the build must write.
    pub(super) fn check(&self) -> Result<(), BuildFailure> {
        let failed = |target: &&Target| !target.request.ignore_error && target.failed.load(Ordering::Relaxed);
        match self.targets.iter().find(failed) {
            None => Ok(()),
            Some(target) => {
                let message = format!("cannot write the cache {}", target.request.place);
                let mut failure = BuildFailure::new(FailureKind::Network, message);
                failure.help.push("without `ignore-error=false` the build succeeds all the same".to_owned());
                Err(failure)
            }
        }
    }

    /// The records of the steps that made these layers. They went out as `outgoing`, new ones written by `codec`.
    pub(super) fn records(&self, layers: &[Layer], outgoing: &[Layer], codec: Codec) -> Vec<SharedRecord> {
        let told = lock(&self.told);
        let mut records = Vec::new();
        for (layer, out) in layers.iter().zip(outgoing).filter(|(layer, out)| layer.diff_id == out.diff_id) {
            for (key, record) in told.iter().filter(|(_, record)| record.diff_id == layer.diff_id) {
                // Unless it went out as the cache has it.
                let as_it_was = record.elsewhere.as_ref().filter(|was| was.layer.digest() == out.descriptor.digest());
                let codec = as_it_was.map_or(codec.to_string(), |was| was.codec.clone());
                let shared = SharedRecord::new(key, record, out.descriptor.clone(), codec);
                records.push(self.signed(shared, record, self.inline_sign.as_ref()));
            }
        }
        records
    }

    async fn publish(&self, step: &Remembered) {
        let _permit = self.at_once.acquire().await;
        let mut packed = None;
        for (to, target) in self.targets.iter().enumerate() {
            if target.request.mode == CacheMode::Min && !lock(&self.inside).contains(&step.span) {
                continue;
            }
            match self.publish_to(to, target, step, &mut packed).await {
                true => _ = lock(&target.there).insert(step.key),
                false => target.failed.store(true, Ordering::Relaxed),
            }
        }
    }

    /// Whether a cache has the record of a step, in the end.
    async fn publish_to(&self, to: usize, target: &Target, step: &Remembered, packed: &mut Option<Elsewhere>) -> bool {
        let place = &target.request.place;
        let is_from_there = step.place.as_ref() == Some(place);
        let is_there = if is_from_there { Some(true) } else { self.caches.has(to, &step.key).await };
        let Some(is_there) = is_there else { return false };
        // The first result of a step stays that of everybody, unless it is of no use.
        let is_good = is_from_there || (!step.anew && !self.is_of_no_use(&step.key, target));
        if is_there && is_good {
            self.caches.keep(to, &step.key).await;
            return true;
        }
        if packed.is_none() {
            *packed = self.packed(&step.record).await;
        }
        match packed {
            Some(layer) => self.put(to, target, step, layer, is_there).await,
            None => false,
        }
    }

    /// Whether a record that is in a cache should be replaced. Who signs replaces those of others that he does not trust.
    fn is_of_no_use(&self, key: &Key, target: &Target) -> bool {
        self.caches.is_spoilt(key) || (target.request.sign.is_some() && self.caches.is_distrusted(key))
    }

    /// Signs what was made here, or by somebody who is trusted; nobody else's work.
    fn signed(&self, shared: SharedRecord, record: &Record, key: Option<&SigningKey>) -> SharedRecord {
        match key {
            Some(key) if self.caches.vouches(record) => shared.signed(key),
            _ => shared,
        }
    }

    /// Puts a layer and its record into a cache.
    async fn put(&self, to: usize, target: &Target, step: &Remembered, layer: &Elsewhere, replaces: bool) -> bool {
        let place = &target.request.place;
        let Ok(digest) = digest_of(&layer.layer) else { return false };
        let here = || self.store.length_of(&digest).ok().flatten() == Some(layer.layer.size());
        let repositories = layer.places.iter().filter_map(Place::repository).chain(&self.pushed);
        let domain = place.repository().map(|repository| &repository.domain);
        let origin = repositories.into_iter().find(|repository| Some(&repository.domain) == domain);
        // One registry may take a layer over from another repository of its own; else its bytes are needed.
        if !here() && (origin.is_none() || step.record.elsewhere.is_none()) {
            let is_fetched = self.caches.fetch(layer, &self.store, &|_| {}).await;
            if !is_fetched {
                return false;
            }
        }
        let record = SharedRecord::new(&step.key, &step.record, layer.layer.clone(), layer.codec.clone());
        let record = self.signed(record, &step.record, target.request.sign.as_ref());
        let source = BlobSource::File(self.store.path_of(&digest));
        let blob = Blob { descriptor: &layer.layer, source, origin };
        if self.caches.publish(to, &step.key, &record, &blob, replaces).await {
            return true;
        }
        let is_worth_it = !here() && self.caches.is_written(to);
        is_worth_it
            && self.caches.fetch(layer, &self.store, &|_| {}).await
            && self.caches.publish(to, &step.key, &record, &blob, replaces).await
    }

    /// Returns the layer of a step as it leaves.
    async fn packed(&self, record: &Record) -> Option<Elsewhere> {
        if let Some(elsewhere) = &record.elsewhere {
            return Some(elsewhere.clone());
        }
        let _permit = self.compressing.acquire().await;
        let (store, records, codec, ahead) =
            (self.store.clone(), self.records.clone(), self.codec, lock(&self.ahead).clone());
        let layer = plain(record.diff_id, record.length);
        let packed = blocking(move || {
            if let Some(ahead) = ahead {
                ahead.settle();
            }
            export::compressed(&[layer], &store, codec, &records, threads(), &Report::silent())
        });
        let layer = packed.await.ok()?.into_iter().next()?.descriptor;
        Some(Elsewhere { layer, codec: codec.to_string(), places: Vec::new() })
    }
}

/// Counts one less, however its work ends.
struct Ended<'a>(&'a watch::Sender<usize>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|pending| *pending -= 1);
    }
}

fn plain(diff_id: DiffId, length: u64) -> Layer {
    Layer { diff_id, descriptor: descriptor(media_type::OCI_LAYER, &diff_id.0, length), origin: None }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
