//! Many builds at once: independent steps of one build, and many kilns on one store.

// Tests are the edge: they look at the clock.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::bases::Base;
use support::kiln::{Kiln, Output};
use support::{image, leftovers, registry, write};

/// How many kilns run at once.
const PROCESSES: usize = 6;

#[test]
fn independent_stages_run_at_the_same_time() {
    let kiln = Kiln::new();
    let base = registry::base(Base::Busybox);
    let context = context_of(&format!(
        "FROM {base} AS left\nRUN sleep 3; echo left > /out\nFROM {base} AS right\nRUN sleep 3; echo right > /out\n\
         FROM scratch\nCOPY --from=left /out /left\nCOPY --from=right /out /right\n"
    ));
    let start = Instant::now();
    kiln.build(context.path(), &[]).succeeded();
    assert!(start.elapsed() < Duration::from_millis(5500), "two sleeps of 3 s took {:?}", start.elapsed());
}

#[test]
fn a_stage_that_the_target_does_not_need_does_not_run() {
    let kiln = Kiln::new();
    let base = registry::base(Base::Busybox);
    let context = context_of(&format!(
        "FROM {base} AS unused\nRUN exit 1\nFROM 127.0.0.1:1/no/such/image AS absent\nFROM {base}\nRUN true\n"
    ));
    kiln.build(context.path(), &[]).succeeded();
}

#[test]
fn a_failure_ends_the_steps_beside_it() {
    let kiln = Kiln::new();
    let base = registry::base(Base::Busybox);
    let context = context_of(&format!(
        "FROM {base} AS long\nRUN sleep 60; touch /out\nFROM {base} AS bad\nRUN sleep 1; exit 9\n\
         FROM scratch\nCOPY --from=long /out /\nCOPY --from=bad /out /\n"
    ));
    let start = Instant::now();
    kiln.build(context.path(), &[]).failed_saying(&["9", "Dockerfile:4"]);
    assert!(start.elapsed() < Duration::from_secs(20), "the other step kept the build for {:?}", start.elapsed());
    leftovers::assert_none_of(&kiln.store().display().to_string());
}

#[test]
fn kilns_that_build_the_same_at_once_all_succeed_with_one_result() {
    let kiln = Kiln::new();
    let base = registry::base(Base::Busybox);
    let context = context_of(&format!(
        "FROM {base}\nCOPY tree /tree\nRUN cat /tree/* | sort -n > /sorted\nRUN wc -l < /sorted > /count\n"
    ));
    for number in 0..300 {
        write(context.path(), &format!("tree/{number}"), format!("{number}\n"));
    }
    let all = at_once(&kiln, |number| (context.path().to_owned(), vec!["-t".to_owned(), format!("same:{number}")]));
    for output in &all {
        output.succeeded();
    }
    // After the dust has settled every name builds to the same, out of the cache.
    let archives: Vec<_> = (0..PROCESSES)
        .map(|number| kiln.build_archive(context.path(), &format!("{number}.tar"), &[]))
        .map(|archive| std::fs::read(archive).expect("an archive"))
        .collect();
    assert!(archives.windows(2).all(|pair| pair[0] == pair[1]), "builds out of one store differ");
    let image = image::read(&kiln.out().join("0.tar")).expect("an OCI archive");
    assert_eq!(image::flatten(&image.layers).expect("whole layers")["/count"].data, b"300\n");
    leftovers::assert_no_temporary_files(kiln.store());
}

#[test]
fn kilns_that_build_different_things_share_a_store() {
    let kiln = Kiln::new();
    let base = registry::base(Base::Busybox);
    let contexts: Vec<_> = (0..PROCESSES)
        .map(|number| context_of(&format!("FROM {base}\nRUN echo shared > /shared\nRUN echo {number} > /own\n")))
        .collect();
    let all = at_once(&kiln, |number| {
        (contexts[number].path().to_owned(), vec!["-t".to_owned(), format!("different:{number}")])
    });
    for output in &all {
        output.succeeded();
    }
    let listed = kiln.run(["images"]);
    for (number, context) in contexts.iter().enumerate() {
        let archive = kiln.build_archive(context.path(), "own.tar", &[]);
        let image = image::read(&archive).expect("an OCI archive");
        let files = image::flatten(&image.layers).expect("whole layers");
        assert_eq!(files["/own"].data, format!("{number}\n").into_bytes());
        assert!(listed.stdout.contains(&number.to_string()), "{}", listed.both());
    }
    assert_eq!(listed.stdout.matches("different").count(), PROCESSES, "{}", listed.both());
}

#[test]
fn pruning_beside_builds_breaks_none() {
    let kiln = Kiln::new();
    let base = registry::base(Base::Busybox);
    let contexts: Vec<_> =
        (0..3).map(|number| context_of(&format!("FROM {base}\nRUN echo {number} > /a\nRUN cat /a > /b\n"))).collect();
    std::thread::scope(|scope| {
        let builds: Vec<_> = contexts
            .iter()
            .map(|context| {
                let kiln = &kiln;
                scope.spawn(move || {
                    for _ in 0..4 {
                        kiln.build(context.path(), &["-t", "pruned"]).succeeded();
                    }
                })
            })
            .collect();
        while !builds.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            kiln.run(["prune"]).succeeded();
        }
    });
}

/// Runs [`PROCESSES`] builds at once on one store.
fn at_once(kiln: &Kiln, build: impl Fn(usize) -> (PathBuf, Vec<String>) + Sync) -> Vec<Output> {
    let run = |number: usize| {
        let (context, arguments) = build(number);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        kiln.build(&context, &arguments)
    };
    let run = &run;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PROCESSES).map(|number| scope.spawn(move || run(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a build that ends")).collect()
    })
}

fn context_of(dockerfile: &str) -> tempfile::TempDir {
    let context = support::scratch();
    write(context.path(), "Dockerfile", dockerfile);
    context
}
