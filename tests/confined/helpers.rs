//! The processes that connect networks: which one there is, when it is started, and that it goes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::network::build;
use super::support::kiln::{Kiln, output_of};
use super::support::{has_root, machine, scratch, tool, write};
use super::{Builder, context_of};

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn the_doctor_names_the_helper_or_what_is_missing() {
    if !has_root() {
        return;
    }
    for (words, verdict, told) in [
        (&["tun"][..], "ok", "connected by pasta "),
        (&["tun", "without=pasta"], "ok", "connected by slirp4netns version "),
        (&["tun", "without=pasta", "without=slirp4netns"], "note", "of the packages `passt` and `slirp4netns`"),
        (&["no-tun"], "note", "/dev/net/tun cannot be opened: as root: `modprobe tun`"),
    ] {
        for builder in Builder::all() {
            let kiln = builder.kiln();
            let mut command = kiln.command();
            let output = output_of(&mut machine::with(words, command.arg("doctor")), LIMIT);
            let line = output.stdout.lines().find(|line| line.contains(" network ")).unwrap_or_default();
            assert!(line.starts_with(verdict) && line.contains(told), "{builder:?} {words:?}: {}", output.both());
        }
    }
}

/// A `pasta` that notes each start in the file it returns. The words put it in place of the real one.
fn counted_pasta(directory: &Path) -> (PathBuf, String) {
    let (real, log) = (directory.join("pasta"), directory.join("started"));
    let found = std::fs::canonicalize(tool::find("pasta").expect("pasta is installed: passt")).expect("a path");
    std::fs::copy(&found, &real).expect("a copy of pasta");
    write(directory, "started", "");
    std::os::unix::fs::symlink(&real, directory.join("link")).expect("a link");
    let script = format!("#!/bin/sh\necho started >> {}\nexec {} \"$@\"\n", log.display(), real.display());
    write(directory, "counting", script);
    tool::run(tool::tool("chmod").args(["0755"]).arg(directory.join("counting")));
    let word = format!("file={}:{}", directory.join("counting").display(), found.display());
    (log, word)
}

#[test]
fn a_helper_is_started_for_a_step_that_runs_and_for_no_other() {
    if !has_root() {
        return;
    }
    let directory = scratch();
    let (log, word) = counted_pasta(directory.path());
    let started = || std::fs::read_to_string(&log).expect("the log").lines().count();
    let kiln = Kiln::new();
    let context = context_of("FROM BUSYBOX\nCOPY f /\nRUN echo one\nRUN echo two\nCOPY g /\n");
    write(context.path(), "f", "1");
    write(context.path(), "g", "1");
    build(&kiln, &[&word], context.path(), &[]);
    assert_eq!(started(), 1, "two steps share one");
    build(&kiln, &[&word], context.path(), &[]);
    assert_eq!(started(), 1, "everything is cached");
    write(context.path(), "g", "2");
    build(&kiln, &[&word], context.path(), &[]);
    assert_eq!(started(), 1, "no RUN comes after what changed");
    write(context.path(), "f", "2");
    build(&kiln, &[&word], context.path(), &[]);
    assert_eq!(started(), 2, "the RUN after what changed");
    build(&kiln, &[&word], context.path(), &["--no-cache", "--network=none"]);
    build(&kiln, &[&word], context.path(), &["--no-cache", "--network=host"]);
    assert_eq!(started(), 2, "no step has a network of its own");
}

/// Process, parent and program of all processes.
fn processes() -> Vec<(u32, u32, String)> {
    let listed = tool::run(tool::tool("ps").args(["-eo", "pid=,ppid=,comm="]));
    let process = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.to_owned()))
    };
    listed.lines().filter_map(process).collect()
}

fn descendants(ancestor: u32) -> Vec<(u32, String)> {
    let all = processes();
    let mut found = vec![(ancestor, String::new())];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next].0;
        found.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|(id, _, name)| (*id, name.clone())));
        next += 1;
    }
    found.remove(0);
    found
}

#[test]
fn a_killed_kiln_takes_its_helpers_along() {
    if !has_root() {
        return;
    }
    let context = context_of("FROM BUSYBOX\nRUN echo now sleeping; sleep 300\n");
    for (other, helper) in [("slirp4netns", "pas"), ("pasta", "slirp4netns")] {
        for builder in Builder::all() {
            let kiln = builder.kiln();
            let log = kiln.out().join("log");
            let command = super::command(&kiln, context.path(), &[]);
            let mut command = machine::with(&["tun", &format!("without={other}")], &command);
            command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).expect("a log"));
            let mut child = command.spawn().expect("kiln starts");
            let start = Instant::now();
            while !std::fs::read_to_string(&log).expect("the log").contains("now sleeping\n") {
                assert!(start.elapsed() < LIMIT, "the step does not start");
                std::thread::sleep(Duration::from_millis(10));
            }
            let below = descendants(child.id());
            assert!(below.iter().any(|(_, name)| name.starts_with(helper)), "no {helper}: {below:?}");
            child.kill().expect("a signal");
            child.wait().expect("the end of kiln");
            let killed = Instant::now();
            loop {
                let left: Vec<_> =
                    processes().into_iter().filter(|(id, _, name)| below.contains(&(*id, name.clone()))).collect();
                if left.is_empty() {
                    break;
                }
                assert!(killed.elapsed() < Duration::from_secs(3), "{builder:?}: {left:?} are left");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// A helper that hangs, and does not end when asked to, keeps a build waiting for a few seconds, and is killed.
#[test]
fn a_helper_that_hangs_is_given_up_for_another() {
    if !has_root() {
        return;
    }
    let directory = scratch();
    let log = directory.path().join("started");
    write(
        directory.path(),
        "hanging",
        format!("#!/bin/sh\ntrap '' TERM HUP INT\necho $$ >{}\nsleep 47601\n", log.display()),
    );
    tool::run(tool::tool("chmod").args(["0755"]).arg(directory.path().join("hanging")));
    let pasta = std::fs::canonicalize(tool::find("pasta").expect("pasta is installed: passt")).expect("a path");
    let word = format!("file={}:{}", directory.path().join("hanging").display(), pasta.display());
    let (kiln, context) = (Kiln::new(), context_of("FROM BUSYBOX\nRUN echo devices $(ls /sys/class/net)\n"));
    let start = Instant::now();
    let output = build(&kiln, &["tun", &word], context.path(), &[]);
    assert!(output.stderr.contains("devices lo tap0") || output.stderr.contains("devices tap0"), "{}", output.both());
    assert!(start.elapsed() > Duration::from_secs(5), "nothing hung: {}", output.both());
    let process = std::fs::read_to_string(&log).expect("it was started");
    let status = std::fs::read_to_string(format!("/proc/{}/cmdline", process.trim())).unwrap_or_default();
    assert!(!status.contains("hanging"), "it is left: {status}");
}
