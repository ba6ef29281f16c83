//! Steps that take all they can get: processes, memory. Each with the same act where it is allowed.

use kiln::sandbox::Exceeded;

use super::*;

/// `None`, said aloud, where limits cannot be had: in a user namespace without a delegated cgroup.
fn limited(spec: &SandboxSpec) -> Option<Ran> {
    match try_run(spec) {
        Ok(ran) => Some(ran),
        Err(ExecError::Limit(why)) => {
            println!("skipped: {why}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_fork_bomb_gets_no_further_than_its_limit() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    let limits = ResourceLimits { pids: Some(32), ..ResourceLimits::default() };
    let bomb = "bomb() { bomb | bomb & }; sleep 4444 & bomb; bomb; sleep 1; exit 0";
    let mut spec = bench.spec(bomb);
    spec.limits = limits.clone();
    let started = Instant::now();
    let Some(ran) = limited(&spec) else { return };
    assert!(ran.stderr.contains("can't fork: Resource temporarily unavailable"), "{}", ran.stderr);
    assert_eq!(ran.outcome.exceeded, [Exceeded::Pids(32)]);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert!(!processes().contains("sleep 4444"));
    // The next step finds everything as it was.
    assert_eq!(bench.sh("echo well").stdout, "well\n");
    // As many processes as the bomb was denied are nothing to the machine.
    let many = "for i in $(seq 100); do sleep 4445 & done; echo started";
    let mut spec = bench.spec(many);
    assert_eq!(run(&spec).stdout, "started\n");
    (spec, spec.limits) = (bench.spec(many), limits);
    assert_eq!(run(&spec).stdout, "");
    assert!(!processes().contains("sleep 4445"));
}

#[test]
fn a_memory_bomb_kills_only_itself() {
    if !possible() {
        return;
    }
    let bench = Bench::new();
    // 128 MiB, by doubling.
    let bomb = "awk 'BEGIN { s = \"x\"; for (i = 0; i < 27; i++) s = s s; print length(s) }'; echo ended $?";
    let mut spec = bench.spec(bomb);
    spec.limits = ResourceLimits { memory: Some(32 << 20), ..ResourceLimits::default() };
    let Some(ran) = limited(&spec) else { return };
    assert_eq!((ran.stdout.as_str(), ran.outcome.exceeded), ("ended 137\n", vec![Exceeded::Memory(Some(32 << 20))]));
    let free = run(&bench.spec(bomb));
    assert_eq!((free.stdout.as_str(), free.outcome.exceeded), ("134217728\nended 0\n", vec![]));
}
