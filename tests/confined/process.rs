//! What a step is handed by the process that kiln was started from.

use std::time::Duration;

use super::support::kiln::{Kiln, Output, output_of};
use super::support::{has_root, tool};
use super::{Builder, command, context_of};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a program that runs kiln, in kiln's environment.
fn by(mut starter: std::process::Command, kiln: &std::process::Command) -> Output {
    starter.envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(std::process::Stdio::null());
    output_of(&mut starter, LIMIT)
}

#[test]
fn a_step_is_in_none_of_the_builders_namespaces() {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    let read = "for kind in cgroup ipc mnt net pid uts; do echo is $(readlink /proc/self/ns/$kind); done";
    let context = context_of(&format!("FROM BUSYBOX\nRUN --network=none {read}\n"));
    for builder in Builder::all() {
        let said = output_of(&mut command(&builder.kiln(), context.path(), &[]), LIMIT);
        said.succeeded();
        for kind in kinds {
            let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
            assert!(said.stderr.contains(&format!(" is {kind}:[")), "{}", said.both());
            assert!(!said.stderr.contains(&own.display().to_string()), "{builder:?} {kind}: {}", said.both());
        }
    }
}

/// A step has none, or it could write to the user's, and read what he types.
#[test]
fn the_terminal_of_the_builder_is_not_the_one_of_a_step() {
    let context = context_of("FROM BUSYBOX\nRUN (echo intruder > /dev/tty) 2>/dev/null && echo written; echo done\n");
    let build = command(&Kiln::new(), context.path(), &["--no-cache"]);
    let words = [build.get_program()].into_iter().chain(build.get_args()).map(|word| word.to_string_lossy());
    let line = format!("echo control > /dev/tty; {}", words.collect::<Vec<_>>().join(" "));
    let mut script = tool::tool("script");
    script.args(["-qec", &line, "/dev/null"]).env("SHELL", "/bin/sh");
    let said = by(script, &build);
    said.succeeded();
    let lines: Vec<&str> = said.stdout.lines().map(str::trim_end).collect();
    assert!(lines.contains(&"control"), "{}", said.both());
    assert!(!lines.contains(&"intruder") && !said.stdout.contains(" written\r"), "{}", said.both());
}

/// CVE-2022-24769: what is inheritable comes to a program whose file names it, whoever runs that.
#[test]
fn capabilities_that_kiln_was_started_with_are_not_inherited() {
    if !has_root() {
        return;
    }
    let read = "RUN grep -E '^Cap(Inh|Amb|Eff)' /proc/self/status\n";
    let context = context_of(&format!("FROM BUSYBOX\n{read}USER 5\n{read}"));
    let build = command(&Kiln::new(), context.path(), &["--no-cache"]);
    let inherited = ["--inh-caps=+chown,+sys_admin", "--ambient-caps=+chown,+sys_admin"];
    let mut starter = tool::tool("setpriv");
    starter.args(inherited).arg(build.get_program()).args(build.get_args());
    let said = by(starter, &build);
    said.succeeded();
    for (line, times) in
        [("CapInh:\t0000000000000000", 2), ("CapAmb:\t0000000000000000", 2), ("CapEff:\t00000000a80425fb", 1)]
    {
        assert_eq!(said.stderr.matches(line).count(), times, "{}", said.both());
    }
    // The control.
    let mut starter = tool::tool("setpriv");
    let outside = output_of(starter.args(inherited).args(["grep", "^Cap", "/proc/self/status"]), LIMIT);
    assert!(outside.stdout.contains("CapAmb:\t0000000000200001"), "{}", outside.both());
}
