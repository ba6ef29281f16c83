//! Caches that are dead, slow, wrong or hostile: the build ends as it would without, says so once, and soon.

use std::path::Path;
use std::time::{Duration, Instant};

use super::support::http::{HttpServer, Response};
use super::support::registry::{self, Registry};
use super::{Builder, context};

/// What no cache may add to a build that takes a second or two without.
const PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
fn builds_without(cache: &str, context: &Path) -> super::Built {
    let began = Instant::now();
    let (from, to) = (format!("type=registry,ref={cache}/c"), format!("type=registry,ref={cache}/c,mode=max"));
    let built = Builder::new().build(context, &["--cache-from", &from, "--cache-to", &to]);
    assert!(began.elapsed() < PATIENCE, "it took {:?}\n{}", began.elapsed(), built.output.both());
    assert_eq!(built.ran().len(), 6, "{}", built.output.both());
    // Once for reading, once for writing.
    assert!((1..=2).contains(&built.warnings().len()), "{}", built.output.both());
    built
}

#[test]
fn a_cache_that_is_not_there_is_done_without() {
    builds_without(&registry::free_address(), context("dead").path());
}

#[test]
fn a_cache_that_refuses_or_talks_nonsense_is_done_without() {
    for (status, body) in [(503, ""), (429, ""), (401, ""), (500, "broken"), (200, "<html>"), (200, "{}")] {
        let answer = move |_: &_| Response { status, body: body.into(), ..Response::default() };
        let server = HttpServer::start(answer);
        builds_without(&server.host(), context(&format!("nonsense {status}")).path());
    }
}

#[test]
fn a_cache_that_never_answers_is_done_without() {
    let server = HttpServer::start(|_| {
        std::thread::sleep(Duration::from_secs(120));
        Response::status(200)
    });
    builds_without(&server.host(), context("silent").path());
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

#[test]
fn a_registry_that_dies_in_the_middle_of_a_build_costs_it_the_cache_alone() {
    let context = context("dies");
    let dockerfile = std::fs::read_to_string(context.path().join("Dockerfile")).unwrap();
    let (registry, cache) = filled(context.path());
    // Two steps are cached, then the registry goes, and a third wants the files of both.
    super::support::write(
        context.path(),
        "Dockerfile",
        dockerfile + "RUN sleep 2; cat /made/count > /count\nRUN cat /count\n",
    );
    let other = Builder::new();
    let to = format!("{cache},mode=max");
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1200));
        drop(registry);
    });
    let began = Instant::now();
    let built = other.build(context.path(), &["-t", "alive", "--cache-from", &cache, "--cache-to", &to]);
    killer.join().expect("a registry that ends");
    assert!(began.elapsed() < PATIENCE + PATIENCE, "it took {:?}", began.elapsed());
    assert!(!built.warnings().is_empty(), "{}", built.output.both());
    let said = other.kiln.run(["run", "alive", "cat", "/count"]);
    assert_eq!(said.succeeded().stdout, "dies\n");
}
