//! What every kind of place must do, asked through the door of the room.

use std::path::Path;
use std::sync::{Arc, Mutex};

use kiln::cache::{Elsewhere, Key, Place, Record};
use kiln::content::Store;
use kiln::digest::{DiffId, Digest};
use kiln::oci::{Platform, descriptor, media_type};
use kiln::progress::{Event, Sink};
use kiln::registry::{BlobSource, Client, Settings};
use kiln::remotecache::{Account, Accounts, Blob, Caches, SharedRecord, SigningKey, Trust};

use super::support::bucket::{self, Buckets};
use super::support::casd::Casd;
use super::support::http::{self, HttpServer, Request, Response};
use super::support::relay::{Fate, Relay};
use super::support::{self, registry};
use super::trust;

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

fn accounts() -> Accounts {
    let (access_key_id, secret_access_key) = (bucket::KEY.0.to_owned(), bucket::KEY.1.to_owned());
    let usual = Some(Account { access_key_id, secret_access_key, session_token: None });
    Accounts { usual, ..Accounts::default() }
}

fn open(place: &Place, heard: &Arc<Heard>) -> Arc<Caches> {
    open_trusting(place, Trust::default(), heard)
}

fn open_trusting(place: &Place, trust: Trust, heard: &Arc<Heard>) -> Arc<Caches> {
    let (from, to) = (vec![(place.clone(), trust)], vec![place.clone()]);
    let client = Client::new(Settings::default());
    Caches::open(from, to, Trust::default(), accounts(), vec![Platform::host()], client, heard.clone())
}

fn key(number: u32) -> Key {
    Key::from_hex(&format!("{number:064x}")).expect("64 digits")
}

const FACTS: &str = "op = run/1\nargv = \\u{1f980} <&>\n";

/// What is known of a step whose layer is `tar`.
fn record(tar: &[u8]) -> Record {
    Record {
        diff_id: DiffId(Digest::of(tar)),
        length: tar.len() as u64,
        created: "2026-01-01T00:00:00Z".to_owned(),
        facts: FACTS.to_owned(),
        milliseconds: Some(5),
        peak_memory: Some(1 << 20),
        elsewhere: None,
        imported: None,
    }
}

/// The step, with its layer as it is published.
fn step(number: u32, tar: &[u8]) -> (SharedRecord, Elsewhere) {
    let layer = descriptor(media_type::OCI_LAYER, &Digest::of(tar), tar.len() as u64);
    let shared = SharedRecord::new(&key(number), &record(tar), layer.clone(), "none".to_owned());
    (shared, Elsewhere { layer, codec: "none".to_owned(), places: Vec::new() })
}

async fn publish(caches: &Caches, number: u32, tar: &[u8]) {
    put(caches, number, tar, None, false).await;
}

/// Publishes a step, signed perhaps, and perhaps over what is there.
async fn put(caches: &Caches, number: u32, tar: &[u8], sign: Option<&SigningKey>, replaces: bool) {
    let (record, layer) = step(number, tar);
    let record = if let Some(key) = sign { record.signed(key) } else { record };
    let blob = Blob { descriptor: &layer.layer, source: BlobSource::Bytes(tar.to_vec()), origin: None };
    assert!(caches.publish(0, &key(number), &record, &blob, replaces).await);
}

async fn keeps_signatures(place: Place) {
    let keys = trust::keys();
    let read = |name: &str| std::fs::read(keys.path().join(name)).expect("a key");
    let sign = SigningKey::read(&read("a")).expect("a private key");
    let [a, b] = ["a.pub", "b.pub"].map(|name| {
        let mut trust = Trust::default();
        trust.add(&read(name)).expect("a public key");
        trust
    });
    let heard = Arc::new(Heard::default());
    let writer = open(&place, &heard);
    put(&writer, 40, b"unsigned", None, false).await;
    assert!(open_trusting(&place, a.clone(), &heard).record(&key(40), FACTS).await.is_none());
    put(&writer, 40, b"unsigned", Some(&sign), true).await;
    put(&writer, 41, b"signed", Some(&sign), false).await;
    for number in [40, 41] {
        assert!(open_trusting(&place, a.clone(), &heard).record(&key(number), FACTS).await.is_some());
        assert!(open_trusting(&place, b.clone(), &heard).record(&key(number), FACTS).await.is_none());
        assert!(open(&place, &heard).record(&key(number), FACTS).await.is_some());
    }
    // One doubt of each reader who asked for the wrong key, or for one where there was none.
    assert_eq!(heard.0.lock().expect("no panic while held").len(), 3);
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
    let said = (found.record.milliseconds, found.record.peak_memory);
    assert_eq!((found.place, said), (place.clone(), (Some(5), Some(1 << 20))));
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
    block_on(async {
        keeps_signatures(place.clone()).await;
        keeps_the_contract(place).await;
    });
}

/// Asks for a runtime with time and IO.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

#[test]
fn of_a_bucket() {
    let Some(buckets) = Buckets::shared() else { return };
    let place = format!("s3:{},prefix=contract", buckets.attributes());
    run(place.parse().expect("a place"));
    // Another name is another cache.
    let place: Place = format!("s3:{},prefix=contract,name=main", buckets.attributes()).parse().expect("a place");
    assert_eq!(block_on(open(&place, &Arc::default()).has(0, &key(1))), Some(false));
    run(place);
}

fn bucket_at(address: &str, prefix: &str) -> Place {
    let place = format!("s3:bucket=kiln,region=us-east-1,prefix={prefix},endpoint_url=http://{address}");
    format!("{place},use_path_style=true").parse().expect("a place")
}

/// Stores that know no conditions: some say so, some take no notice.
#[test]
fn of_a_bucket_that_knows_no_conditions() {
    let Some(buckets) = Buckets::shared() else { return };
    for status in [501, 400, 0] {
        let to = buckets.address.clone();
        let server = HttpServer::start(move |request| match request.header("if-none-match") {
            Some(_) if status != 0 => Response::status(status),
            Some(_) => http::forwarded(&to, &unconditional(request)),
            None => http::forwarded(&to, request),
        });
        run(bucket_at(&server.host(), &format!("contract{status}")));
    }
}

/// Signed by whom the store believes everything.
fn unconditional(request: &Request) -> Request {
    let mut request = request.clone();
    request.headers.retain(|(name, _)| name != "if-none-match");
    request.headers.push(("authorization".to_owned(), "AWS test".to_owned()));
    request
}

#[test]
fn the_first_record_of_a_step_stays_in_a_bucket_unless_it_is_of_no_use() {
    let Some(buckets) = Buckets::shared() else { return };
    let to = buckets.address.clone();
    let server = HttpServer::start(move |request| http::forwarded(&to, request));
    let place = bucket_at(&server.host(), "first");
    let length = || async {
        let found = open(&place, &Arc::default()).record(&key(1), FACTS).await;
        found.expect("a record").record.length
    };
    block_on(async {
        let (one, other) = (open(&place, &Arc::default()), open(&place, &Arc::default()));
        put(&one, 1, b"1", None, false).await;
        put(&other, 1, b"22", None, false).await;
        assert_eq!(length().await, 1);
        put(&other, 1, b"333", None, true).await;
        assert_eq!(length().await, 3);
    });
    let requests = server.requests();
    let of_records =
        requests.iter().filter(|(request, _)| request.method == "PUT" && request.target.contains("/steps/"));
    let seen: Vec<_> = of_records.map(|(request, status)| (request.header("if-none-match"), *status)).collect();
    assert_eq!(seen, [(Some("*"), 200), (Some("*"), 412), (None, 200)]);
}

/// A store in which everything was written in 1970.
fn ancient(to: &str, request: &Request) -> Response {
    let mut response = http::forwarded(to, request);
    response.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("last-modified"));
    response.with("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")
}

#[test]
fn a_bucket_keeps_what_is_used() {
    let Some(buckets) = Buckets::shared() else { return };
    let to = buckets.address.clone();
    let server = HttpServer::start(move |request| ancient(&to, request));
    let caches = open(&bucket_at(&server.host(), "k!~ept"), &Arc::default());
    block_on(async {
        publish(&caches, 1, b"a layer").await;
        server.requests();
        caches.keep(0, &key(1)).await;
        caches.keep(0, &key(2)).await;
    });
    let requests = server.requests();
    let copies = requests.iter().filter_map(|(request, status)| {
        let from = request.header("x-amz-copy-source")?;
        assert!(request.method == "PUT" && request.target.contains("x-amz-copy-source"), "{request:?}");
        Some((from.to_owned(), *status))
    });
    let names = [format!("blobs/sha256-{}", Digest::of(b"a layer").hex()), format!("steps/{}", key(1).hex())];
    let expected = names.map(|name| (format!("/kiln/k!~ept/{name}"), 200));
    assert_eq!(copies.collect::<Vec<_>>(), expected, "the layer, and then the record");
    let name = format!("k!~ept/blobs/sha256-{}", Digest::of(b"a layer").hex());
    assert_eq!(buckets.get(&name), b"a layer");
}

/// Longer than two parts.
const LONG: usize = 130 << 20;

/// What a client asks of a store to send a long layer, of its requests.
fn of_upload(request: &Request) -> Option<String> {
    let (_, query) = request.target.split_once('?')?;
    let has = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)).map(str::to_owned);
    has("partNumber=").or_else(|| has("uploads=").map(|_| "begin".to_owned())).or_else(|| {
        has("uploadId=").map(|_| if request.method == "DELETE" { "abort".to_owned() } else { "end".to_owned() })
    })
}

/// A server in front of a bucket; `fault` answers in its place, told the number of what is asked for, from 0.
fn in_front(to: &str, fault: impl Fn(&str, usize) -> Option<Response> + Send + Sync + 'static) -> HttpServer {
    let (to, seen) = (to.to_owned(), Mutex::new(Vec::new()));
    HttpServer::start(move |request| {
        let Some(what) = of_upload(request) else { return http::forwarded(&to, request) };
        let number = {
            let mut seen = seen.lock().expect("no panic while held");
            seen.push(what.clone());
            seen.iter().filter(|one| **one == what).count() - 1
        };
        fault(&what, number).unwrap_or_else(|| http::forwarded(&to, request))
    })
}

#[test]
fn a_long_layer_goes_into_a_bucket_in_parts() {
    let Some(buckets) = Buckets::shared() else { return };
    let tar: Vec<u8> = (0..LONG).map(|place| (place / 1000) as u8).collect();
    let failed = "<Error><Code>InternalError</Code><Message>again</Message></Error>";
    // Each thing fails once: a part, and the end, which a store begins to answer before it knows.
    let server = in_front(&buckets.address, move |what, number| match (what, number) {
        ("2", 0) => Some(Response::status(503)),
        ("end", 0) => Some(Response::of(failed)),
        _ => None,
    });
    let place = bucket_at(&server.host(), "long");
    let heard = Arc::default();
    block_on(async {
        let caches = open(&place, &heard);
        put(&caches, 1, &tar, None, false).await;
        let scratch = support::scratch();
        let store = Store::open(&scratch.path().join("store")).expect("a store");
        let found = open(&place, &heard).record(&key(1), FACTS).await.expect("what was published");
        let layer = found.record.elsewhere.expect("a layer elsewhere");
        assert!(caches.fetch(&layer, &store, &|_| {}).await);
    });
    assert_eq!(*heard.0.lock().expect("no panic while held"), Vec::<String>::new());
    let asked: Vec<_> = server.requests().iter().filter_map(|(request, _)| of_upload(request)).collect();
    assert_eq!(asked, ["begin", "1", "2", "2", "3", "end", "end"]);
}

#[test]
fn a_long_layer_that_cannot_be_sent_is_taken_back() {
    let Some(buckets) = Buckets::shared() else { return };
    let server = in_front(&buckets.address, |what, _| (what == "2").then(|| Response::status(403)));
    let place = bucket_at(&server.host(), "taken-back");
    let heard = Arc::default();
    block_on(async {
        let caches = open(&place, &heard);
        let (record, layer) = step(1, &vec![1; LONG]);
        let blob = Blob { descriptor: &layer.layer, source: BlobSource::Bytes(vec![1; LONG]), origin: None };
        assert!(!caches.publish(0, &key(1), &record, &blob, false).await);
    });
    let asked: Vec<_> = server.requests().iter().filter_map(|(request, _)| of_upload(request)).collect();
    assert_eq!(asked, ["begin", "1", "2", "abort"]);
    assert!(!buckets.names().iter().any(|name| name.starts_with("taken-back/")));
    let heard = heard.0.lock().expect("no panic while held").join("\n");
    assert!(heard.contains("is not written any more") && heard.contains("403"), "{heard}");
}

#[test]
fn a_layer_that_no_object_can_hold_is_not_published() {
    let heard = Arc::default();
    let caches = open(&bucket_at("127.0.0.1:1", "huge"), &heard);
    let (record, _) = step(1, b"");
    let huge = descriptor(media_type::OCI_LAYER, &Digest::of(b""), (5 << 40) + 1);
    let blob = Blob { descriptor: &huge, source: BlobSource::Bytes(Vec::new()), origin: None };
    assert!(!block_on(caches.publish(0, &key(1), &record, &blob, false)));
    let heard = heard.0.lock().expect("no panic while held").join("\n");
    assert!(heard.contains("too large for a bucket: 5497558138880 bytes at most"), "{heard}");
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

fn service_at(address: &str) -> Place {
    format!("reapi:endpoint=grpc://{address}").parse().expect("a place")
}

#[test]
fn of_a_service() {
    let Some(casd) = Casd::shared() else { return };
    run(service_at(&casd.address));
}

#[test]
fn of_an_instance_of_a_service() {
    let Some(casd) = Casd::start_with(&["--local-server-instance=team/main"]) else { return };
    run(format!("reapi:endpoint=grpc://{},instance=team/main", casd.address).parse().expect("a place"));
    let heard = Arc::new(Heard::default());
    let none = format!("reapi:endpoint=grpc://{},instance=other", casd.address).parse().expect("a place");
    block_on(async { assert!(open(&none, &heard).record(&key(1), FACTS).await.is_none()) });
    let heard = heard.0.lock().expect("no panic while held");
    assert!(heard.len() == 1 && heard[0].contains("is not read any more"), "{heard:?}");
}

/// A layer that no message takes, and facts that no result takes.
#[test]
fn of_a_service_where_nothing_is_small() {
    let Some(casd) = Casd::shared() else { return };
    let (place, heard) = (service_at(&casd.address), Arc::new(Heard::default()));
    let tar: Vec<u8> = (0..2_300_000_u32).flat_map(u32::to_le_bytes).collect();
    let facts = format!("op = run/1\nargv = {}\n", "a".repeat(200_000));
    let (_, layer) = step(200, &tar);
    let record = Record { facts: facts.clone(), ..record(&tar) };
    let shared = SharedRecord::new(&key(200), &record, layer.layer.clone(), "none".to_owned());
    let scratch = support::scratch();
    let (path, store) = (scratch.path().join("tar"), Store::open(&scratch.path().join("store")).expect("a store"));
    std::fs::write(&path, &tar).expect("a file");
    block_on(async {
        let blob = Blob { descriptor: &layer.layer, source: BlobSource::File(path), origin: None };
        assert!(open(&place, &heard).publish(0, &key(200), &shared, &blob, false).await);
        // Where connections break, it goes on from there.
        let relay = Relay::start(&casd.address, Fate::Cut(3_000_000));
        let other = open(&service_at(&relay.host()), &heard);
        let found = other.record(&key(200), &facts).await.expect("what was published");
        let elsewhere = found.record.elsewhere.expect("a layer elsewhere");
        assert!(other.fetch(&elsewhere, &store, &|_| {}).await);
        assert!(relay.connections() > 3, "{}", relay.connections());
    });
    assert_eq!(store.length_of(&Digest::of(&tar)).expect("a length"), Some(tar.len() as u64));
    assert_eq!(*heard.0.lock().expect("no panic while held"), Vec::<String>::new());
}

#[test]
fn a_service_is_asked_for_many_records_at_once() {
    let Some(casd) = Casd::shared() else { return };
    let (wait, trail) = (std::time::Duration::from_millis(500), "cd".repeat(32));
    let relay = Relay::start(&casd.address, Fate::Late(wait));
    block_on(async {
        let writer = open(&service_at(&casd.address), &Arc::default());
        let numbers = 300..400;
        for number in numbers.clone() {
            publish(&writer, number, b"a layer").await;
        }
        writer.put_trail(0, &trail, &numbers.clone().map(key).collect::<Vec<_>>()).await;
        let (reader, began) = (open(&service_at(&relay.host()), &Arc::default()), std::time::Instant::now());
        reader.ask_ahead(&trail);
        // So that the trail is there before the steps ask.
        tokio::time::sleep(wait * 4).await;
        for number in numbers {
            assert!(reader.record(&key(number), FACTS).await.is_some(), "{number}");
        }
        // A hundred round trips are fifty seconds.
        assert!(began.elapsed() < wait * 16, "it took {:?}", began.elapsed());
    });
    assert_eq!(relay.connections(), 1);
}
