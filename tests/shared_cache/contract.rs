//! What every kind of place must do, asked through the door of the room.

use std::path::Path;
use std::sync::{Arc, Mutex};

use kiln::cache::{Elsewhere, Key, Place, Record};
use kiln::content::Store;
use kiln::digest::{DiffId, Digest};
use kiln::oci::{Platform, descriptor, media_type};
use kiln::progress::{Event, Sink};
use kiln::registry::{BlobSource, Client, Settings};
use kiln::remotecache::{Blob, Caches, SharedRecord, Trust};

use super::support::{self, registry};

/// Keeps what is said.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Sink for Heard {
    fn event(&self, event: Event) {
        if let Event::Notice(text) = event {
            self.0.lock().expect("no panic while held").push(text);
        }
    }
}

fn open(place: &Place, heard: &Arc<Heard>) -> Arc<Caches> {
    let (from, to) = (vec![(place.clone(), Trust::default())], vec![place.clone()]);
    Caches::open(from, to, Trust::default(), vec![Platform::host()], Client::new(Settings::default()), heard.clone())
}

fn key(number: u32) -> Key {
    Key::from_hex(&format!("{number:064x}")).expect("64 digits")
}

const FACTS: &str = "op = run/1\nargv = \\u{1f980} <&>\n";

/// A step whose layer is `tar`, with the layer as it is published.
fn step(number: u32, tar: &[u8]) -> (SharedRecord, Elsewhere) {
    let digest = Digest::of(tar);
    let layer = descriptor(media_type::OCI_LAYER, &digest, tar.len() as u64);
    let record = Record {
        diff_id: DiffId(digest),
        length: tar.len() as u64,
        created: "2026-01-01T00:00:00Z".to_owned(),
        facts: FACTS.to_owned(),
        milliseconds: Some(5),
        elsewhere: None,
        imported: None,
    };
    let shared = SharedRecord::new(&key(number), &record, layer.clone(), "none".to_owned());
    (shared, Elsewhere { layer, codec: "none".to_owned(), places: Vec::new() })
}

async fn publish(caches: &Caches, number: u32, tar: &[u8]) {
    let (record, layer) = step(number, tar);
    let blob = Blob { descriptor: &layer.layer, source: BlobSource::Bytes(tar.to_vec()), origin: None };
    assert!(caches.publish(0, &key(number), &record, &blob).await);
}

async fn keeps_the_contract(place: Place) {
    let heard = Arc::new(Heard::default());
    let one = open(&place, &heard);
    // Nothing is there, which is nothing to complain of.
    assert_eq!(one.has(0, &key(1)).await, Some(false));
    assert!(open(&place, &heard).record(&key(1), FACTS).await.is_none());
    publish(&one, 1, b"a layer").await;
    publish(&one, 2, b"another").await;
    // Again is as once.
    publish(&one, 1, b"a layer").await;
    assert_eq!(one.has(0, &key(1)).await, Some(true));

    // Whoever comes later finds it, and its bytes.
    let other = open(&place, &heard);
    let found = other.record(&key(1), FACTS).await.expect("what was published");
    assert_eq!((found.place, found.record.milliseconds), (place.clone(), Some(5)));
    let elsewhere = found.record.elsewhere.expect("a layer elsewhere");
    let scratch = support::scratch();
    let store = Store::open(&scratch.path().join("store")).expect("a store");
    assert!(other.offers(&elsewhere) && other.fetch(&elsewhere, &store, &|_| {}).await);
    assert_eq!(store.read_blob(&Digest::of(b"a layer"), 100).expect("the layer"), b"a layer");
    // Other facts are another step.
    assert!(open(&place, &heard).record(&key(2), "op = run/2\n").await.is_none());
    assert_eq!(heard.0.lock().expect("no panic while held").len(), 1, "the one doubt is told");

    // A trail is what was written last.
    let trail = "ab".repeat(32);
    other.put_trail(0, &trail, &[key(7)]).await;
    other.put_trail(0, &trail, &[key(1), key(2)]).await;
    let third = open(&place, &heard);
    third.ask_ahead(&trail);
    assert!(third.record(&key(2), FACTS).await.is_some());

    // A layer that is promised and not there is lost, and never offered again.
    let (_, gone) = step(9, b"never published");
    let gone = Elsewhere { places: vec![place.clone()], ..gone };
    assert!(third.offers(&gone) && !third.fetch(&gone, &store, &|_| {}).await && !third.offers(&gone));

    // Writers never lose each other's records.
    let writers: Vec<_> = (0..4).map(|_| open(&place, &heard)).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (writer, caches) in writers.into_iter().enumerate() {
        tasks.spawn(async move {
            for number in 0..8 {
                let number = 100 + number * 4 + u32::try_from(writer).expect("four writers");
                publish(&caches, number, format!("layer {number}").as_bytes()).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a writer that does not panic");
    }
    let last = open(&place, &heard);
    for number in 100..132 {
        assert!(last.record(&key(number), FACTS).await.is_some(), "the record {number} is lost");
    }
}

fn run(place: Place) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(keeps_the_contract(place));
}

#[test]
fn of_a_registry() {
    run(format!("registry:{}/contract/plain", registry::shared().address).parse().expect("a place"));
}

#[test]
fn of_a_registry_with_a_tag() {
    run(format!("registry:{}/contract/tagged:branch", registry::shared().address).parse().expect("a place"));
}

#[test]
fn of_a_directory() {
    let directory = support::scratch();
    run(Place::Directory(Path::join(directory.path(), "cache")));
}
