//! Caches that are dead, slow, wrong or hostile: the build ends as it would without, says so once, and soon.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::bucket::{Buckets, KEY};
use super::support::casd::Casd;
use super::support::http::{self, HttpServer, Response};
use super::support::registry::{self, Registry};
use super::{Builder, Built, Cache, context};

/// What no cache may add to a build that takes a second or two without.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The kinds of places that are behind a server, at an address.
fn kinds(address: &str) -> [Cache; 3] {
    [Cache::registry(&format!("{address}/c")), Cache::bucket(address, "c"), Cache::service(address)]
}

#[track_caller]
pub(super) fn builds_without(cache: &Cache, context: &Path) -> Built {
    let began = Instant::now();
    let built = Builder::new().build_with(context, cache, &[]);
    assert!(began.elapsed() < PATIENCE, "it took {:?}\n{}", began.elapsed(), built.output.both());
    assert_eq!(built.ran().len(), 6, "{}", built.output.both());
    // Once for reading, once for writing.
    assert!((1..=2).contains(&built.warnings().len()), "{}", built.output.both());
    shows_no_secret(&built);
    built
}

#[track_caller]
pub(super) fn shows_no_secret(built: &Built) {
    let all = built.output.both();
    assert!(!all.contains(KEY.1) && !all.contains("X-Amz"), "a secret is shown:\n{all}");
}

#[test]
fn a_cache_that_is_not_there_is_done_without() {
    for cache in kinds(&registry::free_address()) {
        builds_without(&cache, context("dead").path());
    }
}

#[test]
fn a_cache_that_refuses_or_talks_nonsense_is_done_without() {
    for (status, body) in [(503, ""), (429, ""), (401, ""), (500, "broken"), (200, "<html>"), (200, "{}")] {
        let answer = move |_: &_| Response { status, body: body.into(), ..Response::default() };
        let server = HttpServer::start(answer);
        for cache in kinds(&server.host()) {
            builds_without(&cache, context(&format!("nonsense {status}")).path());
        }
    }
}

#[test]
fn a_cache_that_never_answers_is_done_without() {
    let server = HttpServer::start(|_| {
        std::thread::sleep(Duration::from_secs(120));
        Response::status(200)
    });
    for cache in kinds(&server.host()) {
        builds_without(&cache, context("silent").path());
    }
}

#[test]
fn a_build_may_be_told_to_insist_on_its_cache() {
    let (context, cache) = (context("insist"), registry::free_address());
    let to = format!("type=registry,ref={cache}/c,ignore-error=false");
    let output = Builder::new().kiln.build(context.path(), &["--cache-to", &to]);
    output.failed_saying(&["cannot write the cache", "ignore-error"]);
    assert_eq!(output.code, 4);
}

/// A registry of its own with the cache of a context; the builder that made it is gone.
fn filled(context: &Path) -> (Registry, String) {
    let registry = Registry::start();
    let cache = format!("type=registry,ref={}/c", registry.address);
    Builder::new().build(context, &["--cache-to", &format!("{cache},mode=max")]);
    (registry, cache)
}

#[test]
fn layers_that_are_gone_when_they_are_needed_are_made_again() {
    let context = context("gone");
    let (registry, cache) = filled(context.path());
    let other = Builder::new();
    let image = format!("{}/gone:1", registry.address);
    let first = other.build(context.path(), &["-t", &image, "--push", "--cache-from", &cache]);
    assert_eq!(first.ran().len(), 0, "{}", first.output.both());
    let another = Builder::new();
    another.build(context.path(), &["-t", &image, "--push", "--cache-from", &cache]);
    drop(registry);
    // The records are here; no layer is. One builder wants to keep the image, one wants a step on top.
    let began = Instant::now();
    let built = other.build(context.path(), &["-t", "here"]);
    assert!(began.elapsed() < PATIENCE);
    assert!(built.ran().len() >= 6, "{}", built.output.both());
    assert!(!built.warnings().is_empty());
    other.kiln.run(["run", "here", "cat", "/made/count"]).succeeded();
    let dockerfile = std::fs::read_to_string(context.path().join("Dockerfile")).unwrap();
    super::support::write(context.path(), "Dockerfile", dockerfile + "RUN cat /made/count\n");
    let built = another.build(context.path(), &["-t", "here", "--cache-from", &cache]);
    assert!(built.ran().len() >= 7, "{}", built.output.both());
    another.kiln.run(["run", "here", "cat", "/made/count"]).succeeded();
}

#[test]
fn damaged_layers_are_refused_and_made_again() {
    let context = context("damaged");
    let (registry, cache) = filled(context.path());
    let mut damaged = 0;
    for tag in super::tags(&registry, "c").iter().filter(|tag| tag.starts_with("step-")) {
        let manifest = manifest(&registry, tag);
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        let path = registry.blob_file(layer);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        damaged += 1;
    }
    assert!(damaged >= 6);
    let other = Builder::new();
    let built = other.build(context.path(), &["-t", "right", "--cache-from", &cache]);
    assert!(!built.warnings().is_empty(), "{}", built.output.both());
    let said = other.kiln.run(["run", "right", "cat", "/made/count"]);
    assert_eq!(said.succeeded().stdout, "damaged\n");
}

fn manifest(registry: &Registry, tag: &str) -> serde_json::Value {
    let mut command = super::support::tool::tool("skopeo");
    command.args(["inspect", "--raw", "--tls-verify=false"]).arg(format!("docker://{}/c:{tag}", registry.address));
    serde_json::from_slice(&command.output().expect("skopeo runs").stdout).expect("a manifest")
}

#[test]
fn a_layer_that_is_gone_is_published_again_by_whoever_makes_it() {
    let (context, directory) = (context("mended"), super::support::scratch());
    let path = directory.path().display();
    let (from, to) = (format!("type=local,src={path}"), format!("type=local,dest={path},mode=max"));
    Builder::new().build(context.path(), &["--cache-to", &to]);
    for entry in std::fs::read_dir(directory.path().join("blobs/sha256")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let built = Builder::new().build(context.path(), &["-t", "here", "--cache-from", &from, "--cache-to", &to]);
    assert!(built.ran().len() >= 6 && !built.warnings().is_empty(), "{}", built.output.both());
    let built = Builder::new().build(context.path(), &["-t", "here", "--cache-from", &from]);
    assert_eq!((built.ran().len(), built.warnings().len()), (0, 0), "{}", built.output.both());
}

#[test]
fn the_record_of_another_step_is_refused() {
    let (context, directory) = (context("tampered"), super::support::scratch());
    let path = directory.path().display();
    Builder::new().build(context.path(), &["--cache-to", &format!("type=local,dest={path},mode=max")]);
    // Every record under the name of the next one.
    let steps = directory.path().join("steps");
    let mut names: Vec<_> = std::fs::read_dir(&steps).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let contents: Vec<_> = names.iter().map(|name| std::fs::read(name).unwrap()).collect();
    for (at, name) in names.iter().enumerate() {
        std::fs::write(name, &contents[(at + 1) % names.len()]).unwrap();
    }
    let from = format!("type=local,src={path}");
    let built = Builder::new().build(context.path(), &["--cache-from", &from]);
    assert_eq!((built.ran().len(), built.warnings().len()), (6, 1), "{}", built.output.both());
    // Whoever may write mends the cache.
    let to = format!("type=local,dest={path},mode=max");
    Builder::new().build(context.path(), &["--cache-from", &from, "--cache-to", &to]);
    let built = Builder::new().build(context.path(), &["--cache-from", &from]);
    assert_eq!((built.ran().len(), built.warnings().len()), (0, 0), "{}", built.output.both());
    // Records that are no files of the directory, and would go on for ever.
    for entry in std::fs::read_dir(&steps).unwrap() {
        let name = entry.unwrap().path();
        std::fs::remove_file(&name).unwrap();
        std::os::unix::fs::symlink("/dev/zero", name).unwrap();
    }
    let built = Builder::new().build(context.path(), &["--cache-from", &from]);
    assert_eq!(built.ran().len(), 6, "{}", built.output.both());
}

#[test]
fn a_record_that_promises_another_layer_is_found_out() {
    let (context, directory) = (context("promise"), super::support::scratch());
    let path = directory.path().display();
    Builder::new().build(context.path(), &["--cache-to", &format!("type=local,dest={path},mode=max")]);
    // The blobs are whole and have the digests that the records say, but the diff ids are others'.
    for entry in std::fs::read_dir(directory.path().join("steps")).unwrap() {
        let name = entry.unwrap().path();
        let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&name).unwrap()).unwrap();
        record["diffId"] = format!("sha256:{}", "a".repeat(64)).into();
        std::fs::write(&name, record.to_string()).unwrap();
    }
    let other = Builder::new();
    let built = other.build(context.path(), &["-t", "right", "--cache-from", &format!("type=local,src={path}")]);
    assert!(!built.warnings().is_empty(), "{}", built.output.both());
    let said = other.kiln.run(["run", "right", "cat", "/made/count"]);
    assert_eq!(said.succeeded().stdout, "promise\n");
}

/// Adds steps that want the files of those that are cached, after a while.
pub(super) fn go_on(context: &Path) {
    let text = std::fs::read_to_string(context.join("Dockerfile")).expect("the Dockerfile");
    let text = text + "RUN sleep 2; cat /made/count > /count\nRUN cat /count\n";
    super::support::write(context, "Dockerfile", text);
}

/// Builds with a cache whose server goes wrong meanwhile.
#[track_caller]
pub(super) fn survives(cache: &Cache, context: &Path, count: &str) -> Built {
    let (began, builder) = (Instant::now(), Builder::new());
    let built = builder.build_with(context, cache, &["-t", "alive"]);
    assert!(began.elapsed() < PATIENCE + PATIENCE, "it took {:?}", began.elapsed());
    shows_no_secret(&built);
    let said = builder.kiln.run(["run", "alive", "cat", "/count"]);
    assert_eq!(said.succeeded().stdout, format!("{count}\n"), "{}", built.output.both());
    built
}

/// The server goes when two steps are cached.
fn dies(cache: &Cache, server: impl Send + 'static) {
    let context = context("dies");
    Builder::new().build(context.path(), &["--cache-to", &cache.to]);
    go_on(context.path());
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1200));
        drop(server);
    });
    let built = survives(cache, context.path(), "dies");
    killer.join().expect("a server that ends");
    assert!(!built.warnings().is_empty(), "{}", built.output.both());
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_build_costs_it_the_cache_alone() {
    let registry = Registry::start();
    dies(&Cache::registry(&format!("{}/c", registry.address)), registry);
    if let Some(buckets) = Buckets::start() {
        dies(&Cache::bucket(&buckets.address, "dies"), buckets);
    }
    if let Some(casd) = Casd::start() {
        dies(&Cache::service(&casd.address), casd);
    }
}

/// How a server goes wrong.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Answers(u16, &'static str),
    Slow(Duration),
}

/// Answers what another server says, and goes wrong after so many answers.
fn going_wrong(to: &str, after: usize, wrong: Wrong) -> HttpServer {
    let (to, seen) = (to.to_owned(), AtomicUsize::new(0));
    HttpServer::start(move |request| match wrong {
        _ if seen.fetch_add(1, Ordering::Relaxed) < after => http::forwarded(&to, request),
        Wrong::Answers(status, body) => Response { status, body: body.into(), ..Response::default() },
        Wrong::Slow(wait) => {
            std::thread::sleep(wait);
            http::forwarded(&to, request)
        }
    })
}

/// `cache` is the one at an address. What went wrong for one builder does no harm to the next.
fn goes_wrong(address: &str, cache: impl Fn(&str) -> Cache) {
    let context = context("wrong");
    let good = cache(address);
    Builder::new().build(context.path(), &["--cache-to", &good.to]);
    go_on(context.path());
    for (after, wrong) in [
        (4, Wrong::Answers(503, "")),
        (9, Wrong::Answers(503, "")),
        (4, Wrong::Answers(200, "<html>")),
        (9, Wrong::Slow(Duration::from_secs(30))),
        (0, Wrong::Slow(Duration::from_secs(1))),
    ] {
        let server = going_wrong(address, after, wrong);
        survives(&cache(&server.host()), context.path(), "wrong");
    }
    let mended = Builder::new().build_with(context.path(), &good, &[]);
    assert_eq!(mended.warnings(), Vec::<&str>::new(), "{}", mended.output.both());
    let built = Builder::new().build(context.path(), &["--cache-from", &good.from]);
    assert_eq!((built.ran().len(), built.warnings().len()), (0, 0), "{}", built.output.both());
}

#[test]
fn a_registry_that_goes_wrong_in_the_middle_of_a_build_costs_it_the_cache_alone() {
    goes_wrong(&Registry::start().address, |address| Cache::registry(&format!("{address}/c")));
}

#[test]
fn a_bucket_that_goes_wrong_in_the_middle_of_a_build_costs_it_the_cache_alone() {
    let Some(buckets) = Buckets::shared() else { return };
    goes_wrong(&buckets.address, |address| Cache::bucket(address, "wrong"));
}
