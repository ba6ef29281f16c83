//! A bucket as the place: the second builder makes nothing, and what is wrong with the store harms no build.

use std::path::Path;

use super::faults::{builds_without, shows_no_secret};
use super::support::bucket::{Buckets, KEY, SESSION};
use super::support::http::{HttpServer, Response};
use super::support::kiln::{LIMIT, Output, output_of};
use super::support::{self, registry};
use super::{Builder, Cache, context, ran, warnings};

#[test]
fn what_one_builder_made_another_takes_from_a_bucket() {
    let Some(buckets) = Buckets::shared() else { return };
    let context = context("bucket");
    // With characters that signatures are made of in another form.
    let cache = Cache::bucket(&buckets.address, "one/o.n-e_!~");
    let image = |who: &str| format!("{}/bucket-{who}:1", registry::shared().address);
    let (one, other) = (Builder::new(), Builder::new());
    let first = one.build_with(context.path(), &cache, &["-t", &image("one"), "--push"]);
    assert_eq!((first.ran().len(), first.warnings().len()), (6, 0), "{}", first.output.both());
    let second = other.build(context.path(), &["-t", &image("two"), "--push", "--cache-from", &cache.from]);
    assert_eq!((second.ran(), &second.digest), (Vec::new(), &first.digest), "{}", second.output.both());
    let names = buckets.names();
    let count = |kind: &str| names.iter().filter(|name| name.starts_with(&format!("one/o.n-e_!~/{kind}"))).count();
    assert_eq!((count("steps/"), count("blobs/sha256-"), count("trails/")), (7, 6, 1), "{names:?}");
    for built in [&first, &second] {
        shows_no_secret(built);
    }
    for builder in [&one, &other] {
        assert!(!holds(builder.kiln.store(), KEY.0) && !holds(builder.kiln.store(), KEY.1), "the key is kept");
    }
    for name in names.iter().filter(|name| name.starts_with("one/o.n-e_!~/steps/")) {
        let record = String::from_utf8(buckets.get(name)).expect("a record");
        assert!(record.contains("sha256:") && !record.contains(KEY.0) && !record.contains(KEY.1), "{record}");
    }
    // A layer that the store keeps only there comes without a flag: the record names the place, the environment the account.
    let third = with_variables(&other, context.path(), &["-t", "kept"], &account());
    assert_eq!(ran(third.succeeded()), Vec::<&str>::new(), "{}", third.both());
    assert_eq!(other.kiln.run(["run", "kept", "cat", "/made/count"]).succeeded().stdout, "bucket\n");
}

fn account() -> [(&'static str, &'static str); 2] {
    [("AWS_ACCESS_KEY_ID", KEY.0), ("AWS_SECRET_ACCESS_KEY", KEY.1)]
}

pub(super) fn with_variables(
    builder: &Builder,
    context: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Output {
    let mut command = builder.kiln.command();
    command.args(["build", "--progress=plain"]).args(arguments).arg(context).envs(variables.iter().copied());
    output_of(&mut command, LIMIT)
}

/// Whether any file of a directory has a text.
pub(super) fn holds(directory: &Path, text: &str) -> bool {
    let mut command = support::tool::tool("grep");
    let status = command.args(["-rqF", "-D", "skip", "--", text]).arg(directory).status();
    status.expect("grep runs").success()
}

#[test]
fn the_environment_says_who_asks_and_others_are_refused() {
    let Some(buckets) = Buckets::shared() else { return };
    let context = context("who asks");
    let place = format!("type=s3,{},prefix=who", buckets.attributes());
    let to = format!("{place},mode=max");
    let build = |variables: &[(&str, &str)]| {
        let arguments = ["--cache-from", &place, "--cache-to", &to];
        let output = with_variables(&Builder::new(), context.path(), &arguments, variables);
        output.succeeded();
        output
    };
    let token = [("AWS_ACCESS_KEY_ID", SESSION.0), ("AWS_SECRET_ACCESS_KEY", SESSION.1)];
    let (forged, other) =
        ([account()[0], ("AWS_SECRET_ACCESS_KEY", "wrong")], [("AWS_ACCESS_KEY_ID", "AKIDOTHER"), account()[1]]);
    for (variables, why) in [
        (&[][..], "AccessDenied"),
        (&forged[..], "SignatureDoesNotMatch"),
        (&other[..], "InvalidAccessKeyId"),
        (&token[..], "InvalidToken"),
    ] {
        let refused = build(variables);
        assert_eq!((ran(&refused).len(), warnings(&refused).len()), (6, 2), "{}", refused.both());
        assert!(refused.both().contains(why), "{}", refused.both());
    }
    assert!(!buckets.names().iter().any(|name| name.starts_with("who/")));
    let session = [&token[..], &[("AWS_SESSION_TOKEN", SESSION.2)]].concat();
    let first = build(&session);
    assert_eq!((ran(&first).len(), warnings(&first).len()), (6, 0), "{}", first.both());
    let second = build(&account());
    assert_eq!((ran(&second).len(), warnings(&second).len()), (0, 0), "{}", second.both());
    // A profile of the file that AWS's own tools read.
    let file = support::scratch();
    let text = format!("[other]\nx = y\n[ci]\naws_access_key_id = {}\naws_secret_access_key = {}\n", KEY.0, KEY.1);
    support::write(file.path(), "credentials", text);
    let path = file.path().join("credentials").display().to_string();
    let third = build(&[("AWS_SHARED_CREDENTIALS_FILE", &path), ("AWS_PROFILE", "ci")]);
    assert_eq!((ran(&third).len(), warnings(&third).len()), (0, 0), "{}", third.both());
}

#[test]
fn garbage_in_a_bucket_is_not_used_and_replaced() {
    let Some(buckets) = Buckets::shared() else { return };
    let context = context("garbage");
    let cache = Cache::bucket(&buckets.address, "garbage");
    Builder::new().build(context.path(), &["--cache-to", &cache.to]);
    let is_mended = || {
        let mended = Builder::new();
        let built = mended.build(context.path(), &["-t", "kept", "--cache-from", &cache.from]);
        assert_eq!((built.ran().len(), built.warnings().len()), (0, 0), "{}", built.output.both());
        assert_eq!(mended.kiln.run(["run", "kept", "cat", "/made/count"]).succeeded().stdout, "garbage\n");
    };
    for name in buckets.names().iter().filter(|name| name.starts_with("garbage/")) {
        buckets.put(name, if name.contains("/steps/") { b"{\"version\":1}" } else { b"<html>" });
    }
    let built = Builder::new().build_with(context.path(), &cache, &["-t", "kept"]);
    assert_eq!((built.ran().len(), built.warnings().len()), (6, 1), "{}", built.output.both());
    is_mended();
    // Layers that are as long as they should be.
    for name in buckets.names().iter().filter(|name| name.starts_with("garbage/blobs/")) {
        buckets.put(name, &vec![0; buckets.get(name).len()]);
    }
    let built = Builder::new().build_with(context.path(), &cache, &["-t", "kept"]);
    assert!(!built.ran().is_empty() && !built.warnings().is_empty(), "{}", built.output.both());
    is_mended();
}

#[test]
fn layers_that_a_rule_removed_are_made_again_and_the_cache_is_read_on() {
    let Some(buckets) = Buckets::shared() else { return };
    let context = context("expired");
    let cache = Cache::bucket(&buckets.address, "expired");
    Builder::new().build(context.path(), &["--cache-to", &cache.to]);
    for name in buckets.names().iter().filter(|name| name.starts_with("expired/blobs/")) {
        buckets.remove(name);
    }
    let built = Builder::new().build_with(context.path(), &cache, &["-t", "kept"]);
    assert!(built.ran().len() >= 6, "{}", built.output.both());
    assert!(!built.output.both().contains("not read any more"), "{}", built.output.both());
    let built = Builder::new().build(context.path(), &["-t", "kept", "--cache-from", &cache.from]);
    assert_eq!((built.ran().len(), built.warnings().len()), (0, 0), "{}", built.output.both());
}

#[test]
fn a_store_of_buckets_that_refuses_says_why() {
    let denied = "<Error><Code>InvalidAccessKeyId</Code><Message>The key is not known.</Message></Error>";
    for (status, body) in [(403, denied), (301, ""), (404, "<Error><Code>NoSuchBucket</Code></Error>")] {
        let server = HttpServer::start(move |_: &_| Response { status, body: body.into(), ..Response::default() });
        let cache = Cache::bucket(&server.host(), "refused");
        let built = builds_without(&cache, context(&format!("refused {status}")).path());
        if let Some(code) = body.split(['<', '>']).nth(4) {
            assert!(built.output.both().contains(code), "{}", built.output.both());
        }
    }
    // A bucket that has no name there.
    let mut elsewhere = Cache::bucket("127.0.0.1:1", "no-address");
    elsewhere.from += ",use_path_style=false";
    elsewhere.to += ",use_path_style=false";
    builds_without(&elsewhere, context("no address").path());
}
