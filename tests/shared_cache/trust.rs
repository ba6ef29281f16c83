//! Records that are signed, and builders that use no others. The keys are made by openssl.

use std::path::{Path, PathBuf};

use super::support::bucket::Buckets;
use super::support::kiln::{LIMIT, Output, output_of};
use super::support::{registry, scratch, tool, write};
use super::{Builder, Built, Cache, context, ran, warnings};

/// A directory with two pairs of keys, `a` and `b`, each with a `.pub` beside it.
pub(super) fn keys() -> tempfile::TempDir {
    let directory = scratch();
    for name in ["a", "b"] {
        let (private, public) = (directory.path().join(name), directory.path().join(format!("{name}.pub")));
        tool::run(tool::tool("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&private));
        tool::run(tool::tool("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public));
    }
    directory
}

pub(super) fn file(keys: &tempfile::TempDir, name: &str) -> String {
    keys.path().join(name).display().to_string()
}

fn to(cache: &Path, sign: Option<String>) -> String {
    let cache = Cache::directory(cache);
    sign.map(|file| cache.signing(&file)).unwrap_or(cache).to
}

fn from(cache: &Path, trust: &[String]) -> String {
    Cache::directory(cache).trusting(trust).from
}

/// What a machine that knows nothing makes of a cache.
#[track_caller]
fn fresh(context: &Path, from: &str) -> Built {
    Builder::new().build(context, &["--cache-from", from])
}

#[track_caller]
fn is_refused(built: &Built, why: &str) {
    assert_eq!(built.ran().len(), 6, "{}", built.output.both());
    let warnings = built.warnings();
    assert!(matches!(warnings[..], [one] if one.contains(why)), "{}", built.output.both());
}

#[track_caller]
fn is_used(built: &Built) {
    assert_eq!((built.ran().len(), built.warnings().len()), (0, 0), "{}", built.output.both());
}

fn records(cache: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(cache.join("steps"))
        .expect("the records")
        .map(|file| file.expect("a record").path())
        .collect();
    files.sort();
    files
}

#[test]
fn only_what_a_trusted_key_signed_is_used() {
    let (keys, context, cache) = (keys(), context("signed"), scratch());
    let cache = cache.path();
    let (a, b) = (file(&keys, "a.pub"), file(&keys, "b.pub"));
    let made = Builder::new().build(context.path(), &["--cache-to", &to(cache, Some(file(&keys, "a")))]);
    is_used(&fresh(context.path(), &from(cache, &[])));
    is_used(&fresh(context.path(), &from(cache, std::slice::from_ref(&a))));
    is_refused(&fresh(context.path(), &from(cache, std::slice::from_ref(&b))), "signed by no key that is trusted");
    is_used(&fresh(context.path(), &from(cache, &[b.clone(), a.clone()])));
    let both = [&a, &b].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    write(keys.path(), "both.pub", both);
    is_used(&fresh(context.path(), &from(cache, &[file(&keys, "both.pub")])));
    // The private key is nowhere.
    let private = std::fs::read_to_string(file(&keys, "a")).unwrap();
    let private = private.lines().nth(1).expect("the key").to_owned();
    assert!(!made.output.both().contains(&private));
    for record in records(cache) {
        let text = std::fs::read_to_string(&record).unwrap();
        assert!(text.contains("signatures") && !text.contains(&private), "{text}");
    }
    // A field that decides a result, another one in each record.
    for (number, record) in records(cache).iter().enumerate() {
        let mut text: serde_json::Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
        match number % 5 {
            0 => text["diffId"] = format!("sha256:{}", "a".repeat(64)).into(),
            1 => text["length"] = (text["length"].as_u64().unwrap() + 1).into(),
            2 => text["created"] = "2001-01-01T00:00:00Z".into(),
            3 => text["layer"]["digest"] = format!("sha256:{}", "a".repeat(64)).into(),
            _ => text["codec"] = "zstd-3".into(),
        }
        std::fs::write(record, text.to_string()).unwrap();
    }
    is_refused(&fresh(context.path(), &from(cache, &[a])), "not one of what it says");
}

#[test]
fn what_is_not_signed_is_a_miss_until_somebody_signs_it() {
    let (keys, context, directory) = (keys(), context("unsigned"), scratch());
    let mut places = vec![
        Cache::directory(directory.path()),
        Cache::registry(&format!("{}/cache/unsigned", registry::shared().address)),
    ];
    places.extend(Buckets::shared().map(|buckets| Cache::bucket(&buckets.address, "unsigned")));
    for cache in places {
        let a = cache.trusting(&[file(&keys, "a.pub")]).signing(&file(&keys, "a"));
        Builder::new().build(context.path(), &["--cache-to", &cache.to]);
        is_refused(&fresh(context.path(), &a.from), "it is not signed");
        // Whoever signs replaces what he does not trust.
        is_refused(&Builder::new().build_with(context.path(), &a, &[]), "it is not signed");
        is_used(&fresh(context.path(), &a.from));
        let b = cache.trusting(&[file(&keys, "b.pub")]);
        is_refused(&fresh(context.path(), &b.from), "signed by no key that is trusted");
    }
}

#[test]
fn a_signature_is_copied_and_nobody_signs_what_others_say() {
    let (keys, context) = (keys(), context("copied"));
    let [signed, unsigned, copy, forged, again] = [0; 5].map(|_| scratch());
    let (a, b) = (vec![file(&keys, "a.pub")], vec![file(&keys, "b.pub")]);
    Builder::new().build(context.path(), &["--cache-to", &to(signed.path(), Some(file(&keys, "a")))]);
    Builder::new().build(context.path(), &["--cache-to", &to(unsigned.path(), None)]);
    let pass = |from: &str, to: &str| {
        let passed = Builder::new().build(context.path(), &["--cache-from", from, "--cache-to", to]);
        assert_eq!(passed.ran().len(), 0, "{}", passed.output.both());
    };
    pass(&from(signed.path(), &[]), &to(copy.path(), None));
    is_used(&fresh(context.path(), &from(copy.path(), &a)));
    // This one has a key, but no reason to believe what it read.
    pass(&from(unsigned.path(), &[]), &to(forged.path(), Some(file(&keys, "b"))));
    is_refused(&fresh(context.path(), &from(forged.path(), &b)), "it is not signed");
    // This one has.
    pass(&from(signed.path(), &a), &to(again.path(), Some(file(&keys, "b"))));
    is_used(&fresh(context.path(), &from(again.path(), &b)));
    is_used(&fresh(context.path(), &from(again.path(), &a)));
}

fn with_variables(builder: &Builder, context: &Path, arguments: &[&str], variables: &[(&str, String)]) -> Output {
    let mut command = builder.kiln.command();
    command.args(["build", "--progress=plain"]).args(arguments).arg(context);
    command.envs(variables.iter().map(|(name, value)| (*name, value)));
    output_of(&mut command, LIMIT)
}

#[test]
fn the_environment_names_keys_and_a_store_does_not_remember_what_is_not_trusted() {
    let (keys, context, cache) = (keys(), context("environment keys"), scratch());
    let (sign, trust) = (("KILN_CACHE_SIGN_KEY", file(&keys, "a")), ("KILN_CACHE_TRUST_KEYS", file(&keys, "a.pub")));
    let other = ("KILN_CACHE_TRUST_KEYS", file(&keys, "b.pub"));
    with_variables(&Builder::new(), context.path(), &["--cache-to", &to(cache.path(), None)], &[sign]).succeeded();
    let builder = Builder::new();
    let arguments = ["--cache-from", &from(cache.path(), &[])];
    let used = with_variables(&builder, context.path(), &arguments, std::slice::from_ref(&trust));
    assert_eq!((ran(used.succeeded()).len(), warnings(&used).len()), (0, 0), "{}", used.both());
    // The records are in the store of this machine now, and nothing else is asked.
    let again = with_variables(&builder, context.path(), &[], &[trust]);
    assert_eq!(ran(again.succeeded()).len(), 0, "{}", again.both());
    let refused = with_variables(&builder, context.path(), &[], &[other]);
    assert_eq!((ran(refused.succeeded()).len(), warnings(&refused).len()), (6, 1), "{}", refused.both());
}

#[test]
fn records_in_an_image_are_signed_too() {
    let (keys, registry, context) = (keys(), registry::shared(), scratch());
    let base = registry::base(super::Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base}\nRUN head -c 100000 /dev/urandom > /noise\n"));
    let name = format!("{}/cache/inline-signed:1", registry.address);
    let to = format!("type=inline,sign-key={}", file(&keys, "a"));
    Builder::new().build(context.path(), &["-t", &name, "--push", "--cache-to", &to]);
    let from = |key: &str| format!("type=registry,ref={name},trust-key={}", file(&keys, key));
    is_used(&fresh(context.path(), &from("a.pub")));
    let refused = fresh(context.path(), &from("b.pub"));
    assert_eq!((refused.ran().len(), refused.warnings().len()), (1, 1), "{}", refused.output.both());
}

#[test]
fn files_that_hold_no_such_key_are_refused() {
    let (keys, context, cache) = (keys(), context("bad keys"), scratch());
    tool::run(tool::tool("openssl").args(["genpkey", "-algorithm", "RSA", "-out"]).arg(keys.path().join("rsa")));
    let locked = ["pkey", "-aes256", "-passout", "pass:x", "-in"];
    let (a, to_locked) = (keys.path().join("a"), keys.path().join("locked"));
    tool::run(tool::tool("openssl").args(locked).arg(&a).arg("-out").arg(to_locked));
    write(keys.path(), "text", "hello\n");
    let private = std::fs::read_to_string(&a).unwrap().lines().nth(1).expect("the key").to_owned();
    let refused = |flag: &str, value: &str, words: &[&str]| {
        let output = Builder::new().kiln.build(context.path(), &[flag, value]);
        output.failed_saying(words);
        assert!(!output.both().contains(&private), "{}", output.both());
    };
    for (name, why) in [
        ("rsa", "not a key for Ed25519"),
        ("a.pub", "not a `PRIVATE KEY`"),
        ("locked", "it is encrypted"),
        ("text", "no PEM"),
        ("missing", "cannot read"),
    ] {
        refused("--cache-to", &to(cache.path(), Some(file(&keys, name))), &["--cache-to", name, why]);
    }
    for (name, why) in [("a", "not a `PUBLIC KEY`"), ("text", "no PEM"), ("missing", "cannot read")] {
        refused("--cache-from", &from(cache.path(), &[file(&keys, name)]), &["--cache-from", name, why]);
    }
}
