//! One test per fact of the key, and one for each thing that is none. A golden shows a whole key.

use super::*;
use crate::cache::{explain, key_of};
use crate::oci::Platform;
use crate::plan::{CacheSharing, Root, StepId, Variables};
use crate::source::{SourceId, Span};

struct Case {
    op: RunOp,
    inputs: Inputs,
    bound: Bound,
    devices: Brought,
}

const BIND: usize = 0;
const CACHE: usize = 1;
const SEEDED: usize = 2;
const TMPFS: usize = 3;
const SECRET: usize = 4;
const SSH: usize = 5;

/// Step 0 is what the command runs on; 1 is bound, 2 seeds a cache.
fn case() -> Case {
    let op = RunOp {
        platform: Platform::new("linux", "amd64", None),
        parent: Some(StepId(0)),
        argv: ["/bin/sh", "-c", "make"].map(str::to_owned).to_vec(),
        env: env(&[("A", "1"), ("B", "2")]),
        proxies: Vec::new(),
        cwd: "/w".to_owned(),
        user: String::new(),
        network: RunNetwork::Default,
        insecure: false,
        hostname: "box".to_owned(),
        add_hosts: vec![text("db", "10.0.0.1")],
        devices: Vec::new(),
        mounts: vec![
            mount("/bind", true, MountKind::Bind { from: Some(StepId(1)), source: "/src".to_owned() }),
            mount("/cache", false, cache("/cache", false, None)),
            mount("/seeded", false, cache("seeded", true, Some((Some(StepId(2)), "/seed".to_owned())))),
            mount("/tmp", false, MountKind::Tmpfs { size: Some(1024) }),
            mount("/run/secrets/s", true, secret("s", None, 0o400)),
            mount("/agent", true, ssh("default", 0o600)),
        ],
        script: Some(text("/dev/pipes/EOF", "#!/bin/sh\n")),
    };
    Case {
        op,
        inputs: Inputs::made_up(&[&["base"], &["bound"], &["seed"]]),
        bound: Bound::new(),
        devices: Brought::default(),
    }
}

fn text(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn env(variables: &[(&str, &str)]) -> Variables {
    variables.iter().map(|(name, value)| text(name, value)).collect()
}

fn mount(target: &str, readonly: bool, kind: MountKind) -> RunMount {
    RunMount { target: target.to_owned(), readonly, kind, span: Span::new(SourceId(0), 0..1) }
}

fn cache(id: &str, explicit_id: bool, from: Option<(Root, String)>) -> MountKind {
    let sharing = CacheSharing::Shared;
    MountKind::Cache { id: id.to_owned(), explicit_id, sharing, from, mode: 0o755, uid: 0, gid: 0 }
}

fn secret(id: &str, env: Option<&str>, mode: u32) -> MountKind {
    MountKind::Secret { id: id.to_owned(), env: env.map(str::to_owned), required: false, mode, uid: 0, gid: 0 }
}

fn ssh(id: &str, mode: u32) -> MountKind {
    MountKind::Ssh { id: id.to_owned(), required: false, mode, uid: 0, gid: 0 }
}

fn facts(case: &Case) -> Facts<'_> {
    Facts { op: &case.op, inputs: &case.inputs, bound: &case.bound, devices: &case.devices }
}

fn is_same_key(change: impl FnOnce(&mut Case)) -> bool {
    let mut other = case();
    change(&mut other);
    key_of(&facts(&case())) == key_of(&facts(&other))
}

#[track_caller]
fn counts(change: impl FnOnce(&mut Case)) {
    assert!(!is_same_key(change), "the key is the same");
}

#[track_caller]
fn does_not_count(change: impl FnOnce(&mut Case)) {
    assert!(is_same_key(change), "the key is another");
}

#[track_caller]
fn mount_counts(which: usize, kind: MountKind) {
    counts(|case| case.op.mounts[which].kind = kind);
}

#[test]
fn platform_counts() {
    counts(|case| case.op.platform = Platform::new("linux", "arm64", None));
}

#[test]
fn arguments_count() {
    counts(|case| case.op.argv[2] = "make all".to_owned());
    counts(|case| case.op.argv = vec!["/bin/sh".to_owned(), "-c make".to_owned()]);
}

#[test]
fn content_that_was_read_stands_for_the_layers_of_a_bind() {
    let read = |layer: &str, content: u8| {
        let mut case = case();
        case.inputs = Inputs::made_up(&[&["base"], &[layer], &["seed"]]);
        case.bound.insert(BIND, [content; 32]);
        key_of(&facts(&case))
    };
    assert_eq!(read("bound", 1), read("rebuilt", 1));
    assert_ne!(read("bound", 1), read("bound", 2));
    assert_ne!(read("bound", 1), key_of(&facts(&case())));
}

#[test]
fn a_script_counts() {
    counts(|case| case.op.script = Some(text("/dev/pipes/EOF", "#!/bin/bash\n")));
    counts(|case| case.op.script = Some(text("/dev/pipes/END", "#!/bin/sh\n")));
    counts(|case| case.op.script = None);
}

#[test]
fn names_values_and_order_of_the_environment_count() {
    counts(|case| case.op.env = env(&[("C", "1"), ("B", "2")]));
    counts(|case| case.op.env = env(&[("A", "3"), ("B", "2")]));
    counts(|case| case.op.env = env(&[("B", "2"), ("A", "1")]));
    counts(|case| case.op.env = env(&[("A", "1")]));
}

#[test]
fn the_working_directory_counts() {
    counts(|case| case.op.cwd = "/".to_owned());
}

#[test]
fn the_user_counts_as_written() {
    counts(|case| case.op.user = "0".to_owned());
    counts(|case| case.op.user = "root".to_owned());
}

#[test]
fn network_and_security_count() {
    counts(|case| case.op.network = RunNetwork::None);
    counts(|case| case.op.network = RunNetwork::Host);
    counts(|case| case.op.insecure = true);
}

#[test]
fn host_names_count_but_not_their_addresses() {
    counts(|case| case.op.hostname = "other".to_owned());
    counts(|case| case.op.add_hosts[0].0 = "web".to_owned());
    does_not_count(|case| case.op.add_hosts[0].1 = "::1".to_owned());
}

#[test]
fn target_access_and_order_of_mounts_count() {
    for which in [BIND, CACHE, SEEDED, TMPFS, SECRET, SSH] {
        counts(|case| case.op.mounts[which].target = "/other".to_owned());
        counts(|case| case.op.mounts[which].readonly ^= true);
        counts(|case| drop(case.op.mounts.remove(which)));
    }
    counts(|case| case.op.mounts.swap(BIND, CACHE));
}

#[test]
fn content_and_path_of_a_bind_count() {
    mount_counts(BIND, MountKind::Bind { from: Some(StepId(1)), source: "/other".to_owned() });
    mount_counts(BIND, MountKind::Bind { from: Some(StepId(2)), source: "/src".to_owned() });
    counts(|case| case.inputs = Inputs::made_up(&[&["base"], &["changed"], &["seed"]]));
}

#[test]
fn of_a_cache_its_seed_and_owner_count_and_that_it_has_an_id() {
    mount_counts(CACHE, cache("/cache", true, None));
    mount_counts(SEEDED, cache("seeded", true, None));
    mount_counts(SEEDED, cache("seeded", true, Some((Some(StepId(2)), "/".to_owned()))));
    counts(|case| case.inputs = Inputs::made_up(&[&["base"], &["bound"], &["changed"]]));
    let owned = |mode, uid, gid| MountKind::Cache {
        id: "/cache".to_owned(),
        explicit_id: false,
        sharing: CacheSharing::Shared,
        from: None,
        mode,
        uid,
        gid,
    };
    mount_counts(CACHE, owned(0o700, 0, 0));
    mount_counts(CACHE, owned(0o755, 1, 0));
    mount_counts(CACHE, owned(0o755, 0, 1));
}

#[test]
fn which_cache_it_is_and_who_shares_it_do_not_count() {
    does_not_count(|case| {
        case.op.mounts[SEEDED].kind = cache("renamed", true, Some((Some(StepId(2)), "/seed".to_owned())));
    });
    // The id is the target, behind a namespace.
    does_not_count(|case| case.op.mounts[CACHE].kind = cache("namespace//cache", false, None));
    for mode in [CacheSharing::Private, CacheSharing::Locked] {
        does_not_count(|case| {
            let MountKind::Cache { sharing, .. } = &mut case.op.mounts[CACHE].kind else { unreachable!() };
            *sharing = mode;
        });
    }
}

#[test]
fn the_size_of_a_tmpfs_counts() {
    mount_counts(TMPFS, MountKind::Tmpfs { size: None });
    mount_counts(TMPFS, MountKind::Tmpfs { size: Some(2048) });
}

#[test]
fn id_mode_and_variable_of_a_secret_count() {
    mount_counts(SECRET, secret("t", None, 0o400));
    mount_counts(SECRET, secret("s", Some("S"), 0o400));
    mount_counts(SECRET, secret("s", None, 0o440));
}

#[test]
fn whether_a_secret_must_be_there_does_not_count() {
    does_not_count(|case| {
        let MountKind::Secret { required, .. } = &mut case.op.mounts[SECRET].kind else { unreachable!() };
        *required = true;
    });
}

#[test]
fn id_and_mode_of_an_agent_count() {
    mount_counts(SSH, ssh("k", 0o600));
    mount_counts(SSH, ssh("default", 0o666));
}

#[test]
fn layers_count_in_their_order() {
    counts(|case| case.inputs = Inputs::made_up(&[&["changed"], &["bound"], &["seed"]]));
    counts(|case| case.inputs = Inputs::made_up(&[&["base", "more"], &["bound"], &["seed"]]));
    counts(|case| case.op.parent = None);
}

#[test]
fn devices_count_by_name() {
    let device = |case: &mut Case, name: &str| case.devices.names.push(name.to_owned());
    assert!(!is_same_key(|case| device(case, "v.example/c=a")));
    does_not_count(|case| case.devices.env.push(text("OF", "the file")));
}

#[test]
fn proxies_do_not_count() {
    does_not_count(|case| case.op.proxies = vec![text("HTTP_PROXY", "http://p")]);
}

#[test]
fn places_in_the_dockerfile_and_the_graph_do_not_count() {
    does_not_count(|case| case.op.mounts[BIND].span = Span::new(SourceId(3), 7..9));
    does_not_count(|case| {
        case.inputs = Inputs::made_up(&[&["base"], &[], &["seed"], &["bound"]]);
        case.op.mounts[BIND].kind = MountKind::Bind { from: Some(StepId(3)), source: "/src".to_owned() };
    });
}

#[test]
fn a_key_is_explained() {
    let want = include_str!("../../../testdata/keys/run.txt");
    assert_eq!(explain(&facts(&case())), want);
}
