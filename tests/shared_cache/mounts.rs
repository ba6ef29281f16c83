//! Cache mounts on their way from one machine to another.

use std::path::Path;

use super::support::bucket::Buckets;
use super::support::casd::Casd;
use super::support::user::User;
use super::support::{registry, scratch, write};
use super::trust::{file, keys};
use super::{Builder, Cache, tags};

/// A build that writes a cache mount by this command, and shows what is in it.
fn context(command: &str) -> tempfile::TempDir {
    let directory = scratch();
    let base = registry::base(super::Base::Busybox);
    write(
        directory.path(),
        "Dockerfile",
        format!("FROM {base}\nRUN --mount=type=cache,id=c,target=/c {command}; ls -lnR /c; md5sum /c/noise; true\n"),
    );
    directory
}

/// Fills a mount with files of every kind, 12 MB of them noise that does not compress.
const FILL: &str = "if test -e /c/noise; then echo w''as there; else head -c 12000000 /dev/urandom > /c/noise; \
    mkdir -m 0750 /c/d; echo x > /c/d/x; chown 5:6 /c/d/x; chmod 4711 /c/d/x; ln /c/d/x /c/again; ln -s d/x /c/link; \
    mkfifo /c/pipe; fi";

/// What a step said of the mount, by its lines.
fn said(built: &super::Built) -> Vec<String> {
    let lines = built.output.stderr.lines().filter_map(|line| line.splitn(3, ' ').nth(2));
    let is_of_mount = |line: &&str| ["/c", "was there"].iter().any(|word| line.contains(word)) && !line.contains("RUN");
    let is_listed = |line: &&str| line.starts_with(['-', 'd', 'l', 'p']);
    let mut lines: Vec<String> = lines.filter(|line| is_of_mount(line) || is_listed(line)).map(str::to_owned).collect();
    lines.sort();
    lines
}

fn blobs(cache: &Path) -> usize {
    std::fs::read_dir(cache.join("blobs/sha256")).expect("the blobs").count()
}

fn local(cache: &Path) -> (String, String) {
    (format!("type=local,src={}", cache.display()), format!("type=local,dest={}", cache.display()))
}

#[test]
fn another_machine_has_the_mount_and_only_what_changed_moves() {
    let cache = scratch();
    let (from, to) = local(cache.path());
    let fill = context(FILL);
    let first = Builder::new().build(fill.path(), &["--cache-to", &to]);
    let before = blobs(cache.path());
    assert!((8..100).contains(&before), "{before} blobs");
    // Another step, so that it runs.
    let change = context(&format!("{FILL}; echo more > /c/more"));
    let other = Builder::new();
    let built = other.build(change.path(), &["--cache-from", &from, "--cache-to", &to]);
    let lines = said(&built);
    assert!(lines.iter().any(|line| line.contains("was there")), "{}", built.output.both());
    let sums = |lines: &[String]| lines.iter().filter(|line| line.ends_with("  /c/noise")).cloned().collect::<Vec<_>>();
    assert_eq!((sums(&lines).len(), sums(&lines)), (1, sums(&said(&first))));
    for part in ["-rws--x--x", "lrwxrwxrwx", "prw-r--r--", " 2 5 ", " -> d/x"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {}", built.output.both());
    }
    // The chunk at the change, the one at the end, and a layer.
    let new = blobs(cache.path()) - before;
    assert!((1..=4).contains(&new), "{new} new blobs");
    // A third one has both.
    let third = Builder::new().build(context(&format!("{FILL}; cat /c/more")).path(), &["--cache-from", &from]);
    assert!(third.output.stderr.contains(" more"), "{}", third.output.both());
    // What is here is used as it is.
    let again = other.build(context("ls /c/more && rm /c/more").path(), &["--cache-from", &from]);
    assert!(!again.output.stderr.contains("is here from"), "{}", again.output.both());
    let again = other.build(context("test ! -e /c/more && echo it is g''one").path(), &["--cache-from", &from]);
    assert!(again.output.stderr.contains(" it is gone"), "{}", again.output.both());
}

#[test]
fn a_registry_carries_a_mount() {
    let (registry, name) = (registry::shared(), "cache/mounts");
    let cache = format!("type=registry,ref={}/{name}:main", registry.address);
    Builder::new().build(context(FILL).path(), &["--cache-to", &cache]);
    let mounts = || tags(registry, name).into_iter().filter(|tag| tag.starts_with("main.mount-")).count();
    assert_eq!(mounts(), 1);
    let built = Builder::new().build(context(&format!("{FILL}; true again")).path(), &["--cache-from", &cache]);
    assert!(built.output.stderr.contains("was there"), "{}", built.output.both());
    assert!(built.warnings().is_empty(), "{}", built.output.both());
}

#[test]
fn a_bucket_carries_a_mount_and_lacking_chunks_alone_move() {
    let Some(buckets) = Buckets::shared() else { return };
    let cache = Cache::bucket(&buckets.address, "mounts");
    let blobs = || buckets.names().iter().filter(|name| name.starts_with("mounts/blobs/")).count();
    Builder::new().build(context(FILL).path(), &["--cache-to", &cache.to]);
    let before = blobs();
    let change = context(&format!("{FILL}; echo more > /c/more"));
    let built = Builder::new().build(change.path(), &["--cache-from", &cache.from, "--cache-to", &cache.to]);
    assert!(built.output.stderr.contains("was there") && built.warnings().is_empty(), "{}", built.output.both());
    let new = blobs() - before;
    assert!(before > 8 && (1..=4).contains(&new), "{before} blobs and {new} new ones");
}

#[test]
fn a_service_carries_a_mount_and_lacking_chunks_alone_move() {
    let Some(casd) = Casd::start() else { return };
    let cache = Cache::service(&casd.address);
    Builder::new().build(context(FILL).path(), &["--cache-to", &cache.to]);
    let before = casd.blobs().len();
    let change = context(&format!("{FILL}; echo more > /c/more"));
    let built = Builder::new().build(change.path(), &["--cache-from", &cache.from, "--cache-to", &cache.to]);
    assert!(built.output.stderr.contains("was there") && built.warnings().is_empty(), "{}", built.output.both());
    // Two chunks and a layer, and of the step and the mount records, actions and commands.
    let new = casd.blobs().len() - before;
    assert!(before > 8 && (1..=10).contains(&new), "{before} blobs and {new} new ones");
}

#[test]
fn a_mount_that_nothing_changed_is_not_published() {
    let cache = scratch();
    let (_, to) = local(cache.path());
    let builder = Builder::new();
    builder.build(context("echo x > /c/x").path(), &[]);
    builder.build(context("cat /c/x").path(), &["--cache-to", &to]);
    assert_eq!(std::fs::read_dir(cache.path().join("mounts")).expect("a directory").count(), 0);
    // Neither is what a failed step wrote; but what another one wrote before it is.
    let failing = context("echo y > /c/y");
    let text = std::fs::read_to_string(failing.path().join("Dockerfile")).unwrap();
    write(failing.path(), "Dockerfile", text + "RUN --mount=type=cache,id=c,target=/c touch /c/z && exit 7\n");
    builder.kiln.build(failing.path(), &["--cache-to", &to]).failed_saying(&["exit code: 7"]);
    let (from, _) = local(cache.path());
    let built = Builder::new().build(context("echo seen: $(ls /c)").path(), &["--cache-from", &from]);
    assert!(built.output.stderr.contains(" seen: x y\n"), "{}", built.output.both());
}

#[test]
fn a_mount_is_used_that_a_trusted_key_signed_and_no_other() {
    let (keys, cache) = (keys(), scratch());
    let (from, to) = local(cache.path());
    let sign = format!("{to},sign-key={}", file(&keys, "a"));
    Builder::new().build(context("echo x > /c/x").path(), &["--cache-to", &sign]);
    let seen = |number: usize, key: &str| {
        let from = format!("{from},trust-key={}", file(&keys, key));
        Builder::new().build(context(&format!("echo {number} seen: $(ls /c)")).path(), &["--cache-from", &from])
    };
    let (a, b) = (seen(1, "a.pub"), seen(2, "b.pub"));
    assert!(a.output.stderr.contains(" seen: x\n") && a.warnings().is_empty(), "{}", a.output.both());
    assert!(b.output.stderr.contains(" seen:\n") && b.warnings().len() == 1, "{}", b.output.both());
    // Somebody puts another chunk into the list.
    let record = std::fs::read_dir(cache.path().join("mounts")).unwrap().next().expect("a record").unwrap().path();
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    value["chunks"][0]["size"] = 7.into();
    std::fs::write(&record, value.to_string()).unwrap();
    let forged = seen(3, "a.pub");
    assert!(forged.output.stderr.contains(" seen:\n") && forged.warnings().len() == 1, "{}", forged.output.both());
    // Whoever signs replaces it.
    let trusted = format!("{from},trust-key={}", file(&keys, "a.pub"));
    let mended = context("echo y > /c/y");
    Builder::new().build(mended.path(), &["--cache-from", &trusted, "--cache-to", &sign]);
    assert!(seen(4, "a.pub").output.stderr.contains(" seen: y\n"));
}

#[test]
fn a_damaged_or_hostile_mount_is_no_mount_and_no_failure() {
    let cache = scratch();
    let (from, to) = local(cache.path());
    Builder::new().build(context(FILL).path(), &["--cache-to", &to]);
    let blob = std::fs::read_dir(cache.path().join("blobs/sha256")).unwrap();
    let mut blobs: Vec<_> = blob.map(|blob| blob.unwrap().path()).collect();
    blobs.sort_by_key(|path| path.metadata().unwrap().len());
    let largest = blobs.last().expect("a chunk");
    let mut bytes = std::fs::read(largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(largest, bytes).unwrap();
    let other = Builder::new();
    let built = other.build(context("echo seen: $(ls /c)").path(), &["--cache-from", &from]);
    assert!(built.output.stderr.contains(" seen:\n"), "{}", built.output.both());
    assert!(!built.warnings().is_empty(), "{}", built.output.both());
    super::support::leftovers::assert_no_temporary_files(other.kiln.store());
    let record = std::fs::read_dir(cache.path().join("mounts")).unwrap().next().expect("a record").unwrap().path();
    for text in ["{", r#"{"version":9}"#, ""] {
        std::fs::write(&record, text).unwrap();
        let built = Builder::new().build(context("echo seen: $(ls /c)").path(), &["--cache-from", &from]);
        assert!(built.output.stderr.contains(" seen:\n"), "{text}: {}", built.output.both());
    }
}

#[test]
fn an_ordinary_user_takes_the_mount_that_root_left() {
    if !super::support::has_root() {
        return;
    }
    let registry = registry::shared();
    let cache = format!("type=registry,ref={}/cache/mounts-user", registry.address);
    Builder::new().build(context(FILL).path(), &["--cache-to", &cache]);
    for user in [User::with_ranges(), User::without_ranges()] {
        let user = Builder { kiln: super::support::kiln::Kiln::of(user) };
        let again = context(&format!("{FILL}; true for a user"));
        let built = user.build(again.path(), &["--cache-from", &cache]);
        let lines = said(&built);
        for part in ["was there", "-rws--x--x", " 2 5 "] {
            assert!(lines.iter().any(|line| line.contains(part)), "{part}: {}", built.output.both());
        }
    }
}
