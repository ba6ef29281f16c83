//! A service of the Remote Execution API as the place: the second builder makes nothing, and what is wrong with the service harms no build.

use std::path::Path;
use std::time::Duration;

use super::buckets::{holds, with_variables};
use super::faults::{builds_without, go_on, survives};
use super::support::casd::Casd;
use super::support::gate::Gate;
use super::support::registry;
use super::support::relay::{Fate, Relay};
use super::{Builder, Cache, context, ran, warnings};

#[test]
fn what_one_builder_made_another_takes_from_a_service() {
    let Some(casd) = Casd::start() else { return };
    let (context, cache) = (context("service"), Cache::service(&casd.address));
    let image = |who: &str| format!("{}/service-{who}:1", registry::shared().address);
    let (one, other) = (Builder::new(), Builder::new());
    let first = one.build_with(context.path(), &cache, &["-t", &image("one"), "--push"]);
    assert_eq!((first.ran().len(), first.warnings().len()), (6, 0), "{}", first.output.both());
    let second = other.build(context.path(), &["-t", &image("two"), "--push", "--cache-from", &cache.from]);
    assert_eq!((second.ran(), &second.digest), (Vec::new(), &first.digest), "{}", second.output.both());
    assert_eq!(casd.results().len(), 8, "seven records and a trail");
    // A layer that the store keeps only there comes without a flag: the record names the place.
    let third = other.build(context.path(), &["-t", "kept"]);
    assert_eq!((third.ran().len(), third.warnings().len()), (0, 0), "{}", third.output.both());
    assert_eq!(other.kiln.run(["run", "kept", "cat", "/made/count"]).succeeded().stdout, "service\n");
}

/// The next builder makes everything, or what is wanted of it, and leaves the cache as it should be.
#[track_caller]
fn is_mended(context: &Path, cache: &Cache) {
    let built = Builder::new().build_with(context, cache, &["-t", "kept"]);
    assert_eq!(built.ran().len(), 6, "{}", built.output.both());
    assert!(!built.output.both().contains("any more"), "{}", built.output.both());
    let built = Builder::new().build(context, &["-t", "kept", "--cache-from", &cache.from]);
    assert_eq!((built.ran().len(), built.warnings().len()), (0, 0), "{}", built.output.both());
}

#[test]
fn garbage_in_a_service_is_not_used_and_replaced() {
    let Some(casd) = Casd::start() else { return };
    let (context, cache) = (context("garbage"), Cache::service(&casd.address));
    Builder::new().build(context.path(), &["--cache-to", &cache.to]);
    for path in casd.results() {
        std::fs::write(path, b"<html>").expect("a file of casd");
    }
    is_mended(context.path(), &cache);
}

#[test]
fn what_a_service_dropped_is_made_again() {
    let Some(casd) = Casd::start() else { return };
    let (context, cache) = (context("expired"), Cache::service(&casd.address));
    Builder::new().build(context.path(), &["--cache-to", &cache.to]);
    for path in casd.blobs() {
        std::fs::remove_file(path).expect("a file of casd");
    }
    is_mended(context.path(), &cache);
}

#[test]
fn layers_that_a_service_damaged_are_refused_and_made_again() {
    let Some(casd) = Casd::start() else { return };
    let (context, cache) = (context("damaged"), Cache::service(&casd.address));
    Builder::new().build(context.path(), &["--cache-to", &cache.to]);
    for path in casd.blobs() {
        let bytes = std::fs::read(&path).expect("a blob");
        if bytes.len() > 50_000 {
            std::fs::write(path, vec![0; bytes.len()]).expect("a file of casd");
        }
    }
    let other = Builder::new();
    let built = other.build_with(context.path(), &cache, &["-t", "right"]);
    assert!(!built.ran().is_empty() && !built.warnings().is_empty(), "{}", built.output.both());
    assert_eq!(other.kiln.run(["run", "right", "cat", "/made/count"]).succeeded().stdout, "damaged\n");
}

#[test]
fn a_service_that_cannot_be_a_cache_says_why() {
    let Some(casd) = Casd::start_with(&["--digest-function=SHA1"]) else { return };
    let built = builds_without(&Cache::service(&casd.address), context("sha1").path());
    assert!(built.output.both().contains("does not name blobs by their SHA-256"), "{}", built.output.both());
    // A server that speaks no TLS.
    let protected = |text: &str| text.replace("grpc://", "grpcs://");
    let Cache { from, to } = Cache::service(&casd.address);
    builds_without(&Cache { from: protected(&from), to: protected(&to) }, context("no tls").path());
}

#[test]
fn a_service_that_goes_wrong_in_the_middle_of_a_build_costs_it_the_cache_alone() {
    let Some(casd) = Casd::start() else { return };
    let (context, good) = (context("wrong"), Cache::service(&casd.address));
    Builder::new().build(context.path(), &["--cache-to", &good.to]);
    go_on(context.path());
    for fate in [
        Fate::Silent(1000),
        Fate::Silent(100_000),
        Fate::Cut(3000),
        Fate::Cut(100_000),
        Fate::Garbage(1000),
        Fate::Garbage(100_000),
        Fate::Late(Duration::from_secs(1)),
    ] {
        let relay = Relay::start(&casd.address, fate);
        survives(&Cache::service(&relay.host()), context.path(), "wrong");
    }
    let mended = Builder::new().build_with(context.path(), &good, &[]);
    assert_eq!(mended.warnings(), Vec::<&str>::new(), "{}", mended.output.both());
    let built = Builder::new().build(context.path(), &["--cache-from", &good.from]);
    assert_eq!((built.ran().len(), built.warnings().len()), (0, 0), "{}", built.output.both());
}

#[test]
fn a_service_behind_a_gate_is_shown_certificate_and_token() {
    let Some(casd) = Casd::start() else { return };
    let (gate, context, token) = (Gate::protected(&casd.address, "hunter2"), context("gate"), "KILN_CACHE_REAPI_TOKEN");
    let build = |files: &[(&str, &str)], token: &[(&str, &str)]| {
        let files = files.iter().map(|(key, name)| format!(",{key}={}", gate.file(name).display()));
        let from = format!("type=reapi,endpoint=grpcs://{}{}", gate.address, files.collect::<String>());
        let (builder, to) = (Builder::new(), format!("{from},mode=max"));
        let output = with_variables(&builder, context.path(), &["--cache-from", &from, "--cache-to", &to], token);
        output.succeeded();
        let shown = output.both().contains("hunter2") || holds(builder.kiln.store(), "hunter2");
        assert!(!shown, "the token is shown or kept:\n{}", output.both());
        output
    };
    let (authority, own) = (("ca", "server.pem"), [("cert", "client.pem"), ("key", "client.key")]);
    let (none, known, wrong) = (&[][..], [(token, "hunter2")], [(token, "hunter3")]);
    let all = [authority, own[0], own[1]];
    for (files, token, why) in [
        (&own[..], &known[..], "certificate"),
        (&[authority][..], &known[..], "400 Bad Request"),
        (&all[..], none, "access denied (401"),
        (&all[..], &wrong[..], "access denied (401"),
    ] {
        let refused = build(files, token);
        assert_eq!((ran(&refused).len(), warnings(&refused).len()), (6, 2), "{}", refused.both());
        assert!(refused.both().contains(why), "{why}: {}", refused.both());
    }
    let first = build(&all, &known);
    assert_eq!((ran(&first).len(), warnings(&first).len()), (6, 0), "{}", first.both());
    let second = build(&all, &known);
    assert_eq!((ran(&second).len(), warnings(&second).len()), (0, 0), "{}", second.both());
    assert!(casd.blobs().iter().all(|path| !holds(path, "hunter2")), "a record has the token");
}

#[test]
fn a_service_that_takes_no_results_is_read_and_said_so_once() {
    let Some(casd) = Casd::start() else { return };
    let (context, gate) = (context("reading"), Gate::without_results(&casd.address));
    Builder::new().build(context.path(), &["--cache-to", &Cache::service(&casd.address).to]);
    go_on(context.path());
    let built = Builder::new().build_with(context.path(), &Cache::service(&gate.address), &[]);
    assert_eq!((built.ran().len(), built.warnings().len()), (2, 1), "{}", built.output.both());
    let warning = built.warnings()[0];
    assert!(warning.contains("is not written any more") && warning.contains("403 Forbidden"), "{warning}");
}
