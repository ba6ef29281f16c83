//! Shared caches: what a step made on one machine is found on every other.
//!
//! One door, [`Caches`]: it is asked for the [record](Caches::record) of a key (or [ahead](Caches::ask_ahead) for those of many), for
//! the [bytes](Caches::fetch) of a layer that a record named, and [publishes](Caches::publish) what was made. Behind it
//! stand stores, each of one kind:
//!
//! * `registry`: a tag per step in a repository; `inline`: records in the config of an image.
//! * `directory`: a file per step in a directory.
//! * `s3`: an object per step in a bucket.
//! * `reapi`: a result per step in a service of the Remote Execution API.
//!
//! `account` is who they know us by.
//!
//! A record ([`SharedRecord`]) is small, complete and written once; nothing lists all of them, so writers never meet. `trail` is advice
//! about which keys to ask for first. A hit is a record: its layer stays where it is until somebody needs the bytes, and a push to the
//! registry that has it moves none.
//!
//! Cache mounts travel as chunks (`mount`, `chunks`, `mounts`): the record of one is replaced by who writes it next, and only the chunks
//! move that a store lacks.
//!
//! Nothing from a store is trusted. Where keys are named, a record must be signed by one of them (`trust`), also one of this machine
//! that came from a store before. A record must be that of the step it is found for, a layer must have the digest its record
//! names, and unpack to the diff id. What does not fit is a miss and a warning. A store that is slow or dead is left alone after a few
//! failures, and said so once (`guard`); no build waits for it any more, and none fails. A layer that was promised and cannot be had
//! is [lost](Caches::lose): whoever needs it makes it again.
//!
//! Not here: which facts a key has (`ops`), the records of this machine (`cache`), how a layer is compressed (`export`), when
//! something is published (`builder`). Called by `ops` and `builder`. Async; locks are held only between awaits.

mod account;
mod chunks;
mod directory;
mod guard;
mod inline;
mod mount;
mod mounts;
mod parts;
mod reapi;
mod record;
mod registry;
mod s3;
mod store;
mod trail;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

pub use account::{Account, Accounts};
pub use chunks::{Cutter, pack};
pub use inline::write as write_inline;
pub use mount::{CHUNKS_LIMIT, Chunk, SharedMount, mount_key};
pub use record::{RecordError, SharedRecord};
pub use registry::TAG_LIMIT;
pub use store::{Blob, StoreError};
pub use trust::{Distrust, KeyError, SigningKey, Trust};

use crate::cache::{Elsewhere, Imported, Key, Place, Record};
use crate::content::Store as Content;
use crate::digest::Digest;
use crate::oci::{Platform, digest_of};
use crate::progress::{Event, SharedSink, Silent};
use crate::registry::{Client, Settings};
use guard::Guard;
use store::{Store, Use};

/// Layers that are fetched, and that are published, at once. Both together are no more than the client moves: a layer that waits for
/// its turn must not look like one that stands still.
const TRANSFERS: usize = 4;

/// How many blobs the client of [`Caches`] must be willing to move at once.
pub const CONCURRENCY: usize = 3 * TRANSFERS;

/// A store and the watch over one use of it.
struct Watched {
    place: Place,
    store: Store,
    /// Whose records of it are used.
    trust: Trust,
    guard: Guard,
}

/// A record that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it says, if it is that of the step.
    pub record: Record,
    /// Where it was.
    pub place: Place,
}

/// As it came: nobody looked at what it says.
type Asked = Option<(SharedRecord, Place)>;
type Cells = BTreeMap<Key, Arc<OnceCell<Asked>>>;

/// The shared caches of one build.
pub struct Caches {
    client: Client,
    accounts: Accounts,
    sink: SharedSink,
    from: Vec<Arc<Watched>>,
    to: Vec<Arc<Watched>>,
    /// The platforms whose images may hold records.
    platforms: Vec<Platform>,
    inline: OnceCell<BTreeMap<Key, (SharedRecord, Place)>>,
    asked: Mutex<Cells>,
    /// Stores that layers are fetched from, also those that only a record of this machine names.
    sources: Mutex<BTreeMap<Place, Arc<Watched>>>,
    /// Where layers are that need not be here, by the digests of their blobs.
    layers: Mutex<BTreeMap<Digest, Elsewhere>>,
    lost: Mutex<BTreeSet<Digest>>,
    /// Steps of which there is a record that is of no use.
    spoilt: Mutex<BTreeSet<Key>>,
    /// Steps of which there is a record by somebody who is not trusted.
    distrusted: Mutex<BTreeSet<Key>>,
    /// Who is trusted wherever nothing else is said.
    trust: Trust,
    fetching: Semaphore,
    publishing: Semaphore,
}

impl Caches {
    /// Opens caches to read, each with those whose records of it are used, and to write; nothing is connected yet. `trust` is for records
    /// of this machine that came from other caches. `client` should not be patient.
    pub fn open(
        from: Vec<(Place, Trust)>,
        to: Vec<Place>,
        trust: Trust,
        accounts: Accounts,
        platforms: Vec<Platform>,
        client: Client,
        sink: SharedSink,
    ) -> Arc<Self> {
        let watched = |place, trust, done| Arc::new(Watched::new((place, trust), done, &accounts, &client, &sink));
        let from = from.into_iter().map(|(place, trust)| watched(place, trust, Use::Reading)).collect();
        let to = to.into_iter().map(|place| watched(place, Trust::default(), Use::Writing)).collect();
        let inline = OnceCell::new();
        let (asked, sources, layers, lost, spoilt, distrusted) = Default::default();
        let (fetching, publishing) = (Semaphore::new(TRANSFERS), Semaphore::new(TRANSFERS));
        Arc::new(Self {
            client,
            accounts,
            sink,
            from,
            to,
            platforms,
            inline,
            asked,
            sources,
            layers,
            lost,
            spoilt,
            distrusted,
            trust,
            fetching,
            publishing,
        })
    }

    /// No caches at all.
    pub fn none() -> Arc<Self> {
        let (from, to, platforms) = (Vec::new(), Vec::new(), Vec::new());
        let (trust, accounts) = Default::default();
        Self::open(from, to, trust, accounts, platforms, Client::new(Settings::default()), Arc::new(Silent))
    }

    /// Whether there is any to read.
    pub fn are_read(&self) -> bool {
        !self.from.is_empty()
    }

    /// Returns the record of a step from the store that answers first.
    pub async fn record(self: &Arc<Self>, key: &Key, facts: &str) -> Option<Found> {
        let (shared, place) = self.ask(*key).await?;
        match shared.accept(key, facts, &place) {
            Ok(record) => Some(Found { record, place }),
            Err(error) => {
                self.spoil(key);
                self.doubt(&place, error);
                None
            }
        }
    }

    /// Begins to ask for all keys that a build like this one had, and does not wait. `trail` names such builds: 64 hex digits.
    pub fn ask_ahead(self: &Arc<Self>, trail: &str) {
        let caches = self.clone();
        // Nobody who waits for it may take it along when he stops waiting.
        tokio::spawn(async move { _ = caches.images().await });
        for place in 0..self.from.len() {
            let (caches, trail) = (self.clone(), trail.to_owned());
            tokio::spawn(async move {
                let watched = &caches.from[place];
                let keys = watched.guard.question(watched.store.trail(&trail)).await.unwrap_or_default();
                caches.ask_all(keys).await;
            });
        }
    }

    /// Asks for the records of many keys, so that they are known when a step asks.
    async fn ask_all(self: &Arc<Self>, keys: Vec<Key>) {
        let at_once = self.from.iter().map(|watched| watched.store.at_once()).min().unwrap_or(1);
        let mut asking = JoinSet::new();
        for key in keys {
            if asking.len() >= at_once {
                asking.join_next().await;
            }
            let caches = self.clone();
            asking.spawn(async move { drop(caches.ask(key).await) });
        }
        while asking.join_next().await.is_some() {}
    }

    /// Every key is asked for once.
    async fn ask(self: &Arc<Self>, key: Key) -> Asked {
        let cell = lock(&self.asked).entry(key).or_default().clone();
        cell.get_or_init(|| self.ask_stores(key)).await.clone()
    }

    /// What the first store or image says that has a record.
    async fn ask_stores(self: &Arc<Self>, key: Key) -> Asked {
        let mut asking = JoinSet::new();
        for place in 0..self.from.len() {
            let caches = self.clone();
            asking.spawn(async move {
                let watched = &caches.from[place];
                let found = async {
                    let found = watched.store.record(&key).await?;
                    Ok(found.map(|record| record.of_key(&key)?.trusted(&watched.trust)).transpose()?)
                };
                let found = async { found.await.inspect_err(|error: &StoreError| caches.blame(&key, error)) };
                let found = watched.guard.question(found).await.flatten();
                found.map(|record| (record, watched.place.clone()))
            });
        }
        let caches = self.clone();
        asking.spawn(async move { caches.images().await.get(&key).cloned() });
        // A hit is not held up by a store that is slower: what is still on its way is dropped.
        while let Some(answer) = asking.join_next().await {
            if let Ok(Some(found)) = answer {
                return Some(found);
            }
        }
        None
    }

    /// All records that images hold.
    async fn images(&self) -> &BTreeMap<Key, (SharedRecord, Place)> {
        let all = self.inline.get_or_init(|| async {
            let mut all = BTreeMap::new();
            for watched in &self.from {
                let Store::Registry(store) = &watched.store else { continue };
                for platform in &self.platforms {
                    let found = watched.guard.question(store.inline(platform)).await.unwrap_or_default();
                    for (key, record) in found.into_iter().filter_map(|record| Some((record.key()?, record))) {
                        match record.trusted(&watched.trust) {
                            Ok(record) => _ = all.insert(key, (record, watched.place.clone())),
                            Err(error) => watched.guard.doubt(&StoreError::from(error)),
                        }
                    }
                }
            }
            all
        });
        all.await
    }

    fn blame(&self, key: &Key, error: &StoreError) {
        match error {
            StoreError::Record(RecordError::Distrusted(_)) => _ = lock(&self.distrusted).insert(*key),
            error if error.is_of_content() => self.spoil(key),
            _ => {}
        }
    }

    /// Whether there is a record of the step by somebody who is not trusted.
    pub fn is_distrusted(&self, key: &Key) -> bool {
        lock(&self.distrusted).contains(key)
    }

    /// Whether a record of this machine may be used: it was made here, or who signed it where it came from is trusted.
    pub fn trusts(&self, record: &Record) -> bool {
        let Err((place, error)) = self.judge(record) else { return true };
        if let Some(place) = place {
            self.source(place).guard.doubt(&StoreError::from(RecordError::from(error)));
        }
        false
    }

    /// Whether somebody who has a key may sign a record: it was made here, or by somebody whose signature is asked for.
    pub fn vouches(&self, record: &Record) -> bool {
        let is_asked = |imported: &Imported| self.trust_in(&imported.place).is_asked() && self.judge(record).is_ok();
        match &record.imported {
            None => record.elsewhere.is_none(),
            Some(imported) => is_asked(imported),
        }
    }

    fn judge<'a>(&self, record: &'a Record) -> Result<(), (Option<&'a Place>, Distrust)> {
        match (&record.imported, &record.elsewhere) {
            (Some(imported), _) => record::judge_imported(record, imported, self.trust_in(&imported.place))
                .map_err(|error| (Some(&imported.place), error)),
            (None, Some(elsewhere)) if self.trust.is_asked() => Err((elsewhere.places.first(), Distrust::Unsigned)),
            (None, _) => Ok(()),
        }
    }

    fn trust_in(&self, place: &Place) -> &Trust {
        self.from.iter().find(|watched| watched.place == *place).map_or(&self.trust, |watched| &watched.trust)
    }

    /// Notes that the record of a step is of no use: whoever makes the step replaces it.
    pub fn spoil(&self, key: &Key) {
        lock(&self.spoilt).insert(*key);
    }

    /// Whether the record of a step was found to be of no use.
    pub fn is_spoilt(&self, key: &Key) -> bool {
        lock(&self.spoilt).contains(key)
    }

    fn doubt(&self, place: &Place, error: RecordError) {
        if let Some(watched) = self.from.iter().find(|watched| watched.place == *place) {
            watched.guard.doubt(&StoreError::from(error));
        }
    }

    /// Remembers where a layer can be had that is not in the store of this machine. Whether it is worth trying.
    pub fn offers(&self, elsewhere: &Elsewhere) -> bool {
        let Ok(digest) = digest_of(&elsewhere.layer) else { return false };
        let is_there = |place: &Place| !self.source(place).guard.is_open();
        if lock(&self.lost).contains(&digest) || !elsewhere.places.iter().any(is_there) {
            return false;
        }
        self.note(elsewhere);
        true
    }

    /// Remembers where a layer came from, or can be had.
    pub fn note(&self, elsewhere: &Elsewhere) {
        if let Ok(digest) = digest_of(&elsewhere.layer) {
            lock(&self.layers).entry(digest).or_insert_with(|| elsewhere.clone());
        }
    }

    /// Returns what is known of the layer with this blob, if it is one of a shared cache.
    pub fn layer(&self, blob: &Digest) -> Option<Elsewhere> {
        lock(&self.layers).get(blob).cloned()
    }

    /// Brings a layer of a shared cache into the store, verified. Whether that worked; if not, it is lost. `progress` is told the
    /// bytes that came.
    pub async fn fetch(&self, layer: &Elsewhere, to: &Content, progress: &(dyn Fn(u64) + Send + Sync)) -> bool {
        let _permit = self.fetching.acquire().await;
        for place in &layer.places {
            let watched = self.source(place);
            let moved = AtomicU64::new(0);
            let telling = |bytes| {
                moved.store(bytes, Ordering::Relaxed);
                progress(bytes);
            };
            let fetched = watched.store.fetch(&layer.layer, to, &telling);
            if watched.guard.transfer(&moved, fetched).await.is_some() {
                return true;
            }
        }
        if let Ok(digest) = digest_of(&layer.layer) {
            self.lose(&digest, "it cannot be had");
        }
        false
    }

    /// Never promises this layer again: its bytes are gone, or are not what its record says.
    pub fn lose(&self, blob: &Digest, why: &str) {
        if lock(&self.lost).insert(*blob) {
            let places = lock(&self.layers).get(blob).map(|layer| layer.places.clone()).unwrap_or_default();
            let places: Vec<String> = places.iter().map(Place::to_string).collect();
            let places = places.join(", ");
            let text = format!("WARNING: cache {places}: the layer {blob} is not used, and made again: {why}");
            self.sink.event(Event::Notice(text));
        }
    }

    /// Whether the cache `to` is written as it should be.
    pub fn is_written(&self, to: usize) -> bool {
        !self.to[to].guard.is_open()
    }

    /// Whether the cache `to` has a record of a key; `None` if it does not say.
    pub async fn has(&self, to: usize, key: &Key) -> Option<bool> {
        self.to[to].guard.question(self.to[to].store.has(key)).await
    }

    /// Tells the cache `to` that a step is used, if it is one that may drop what is not.
    pub async fn keep(&self, to: usize, key: &Key) {
        let watched = &self.to[to];
        match &watched.store {
            Store::S3(store) if watched.guard.question(store.is_old(key)).await == Some(true) => store.renew(key).await,
            // To look at it is to use it.
            Store::Reapi(store) => _ = watched.guard.question(store.has(key)).await,
            _ => {}
        }
    }

    /// Puts a layer and its record into the cache `to`. Whether that worked. `replaces` a record that is there; else the first may stay.
    pub async fn publish(&self, to: usize, key: &Key, record: &SharedRecord, layer: &Blob<'_>, replaces: bool) -> bool {
        let _permit = self.publishing.acquire().await;
        let (watched, moved) = (&self.to[to], AtomicU64::new(0));
        let telling = |bytes| moved.store(bytes, Ordering::Relaxed);
        let published = watched.store.publish(key, record, layer, replaces, &telling);
        watched.guard.transfer(&moved, published).await.is_some()
    }

    /// Remembers the keys of a build in the cache `to`, for [`Self::ask_ahead`].
    pub async fn put_trail(&self, to: usize, trail: &str, keys: &[Key]) {
        let watched = &self.to[to];
        let known = watched.guard.question(watched.store.trail(trail)).await;
        let is_known = known.is_some_and(|known| known.iter().collect::<BTreeSet<_>>() == keys.iter().collect());
        if !is_known {
            watched.guard.question(watched.store.put_trail(trail, keys)).await;
        }
    }

    /// The store at a place that layers are fetched from.
    fn source(&self, place: &Place) -> Arc<Watched> {
        let known = self.from.iter().find(|watched| watched.place == *place);
        known.cloned().unwrap_or_else(|| {
            let mut sources = lock(&self.sources);
            let anybodys = (place.clone(), Trust::default());
            let open = || Arc::new(Watched::new(anybodys, Use::Reading, &self.accounts, &self.client, &self.sink));
            sources.entry(place.clone()).or_insert_with(open).clone()
        })
    }
}

impl Watched {
    fn new((place, trust): (Place, Trust), done: Use, accounts: &Accounts, client: &Client, sink: &SharedSink) -> Self {
        let verb = if done == Use::Reading { "read" } else { "written" };
        let guard = Guard::new(format!("cache {place}"), verb, sink.clone());
        Self { store: Store::open(&place, done, accounts, client), place, trust, guard }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
