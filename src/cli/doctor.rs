//! `kiln doctor`: what this machine offers to a build, and what it lacks.

use std::path::PathBuf;

use super::args::StoreArguments;
use super::environment::{self, Environment};
use super::report::{self, Exit};
use super::table::Table;
use super::terminal;
use crate::executor::{self, LimitsHere, NoNetwork};
use crate::sandbox::idmap::{self, Entered, IdmapError, Rung};
use crate::snapshot::refusal;

/// Looks, prints, and ends with [`Exit::Environment`] when a build cannot work. `entered` is how entering the
/// namespaces went.
pub(super) fn run(typed: &StoreArguments, entered: Result<Entered, IdmapError>) -> Exit {
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(error) => return report::refused(&error),
    };
    let findings = findings(&environment, typed, entered);
    let fit = findings.iter().all(|finding| finding.verdict != Verdict::Missing);
    match report::printed(terminal::print(&text(&findings))) {
        Exit::Success if !fit => Exit::Environment,
        exit => exit,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Ok,
    /// Builds work, with less.
    Note,
    /// Builds do not work.
    Missing,
}

#[derive(Debug)]
struct Finding {
    subject: &'static str,
    verdict: Verdict,
    words: String,
}

fn findings(environment: &Environment, typed: &StoreArguments, entered: Result<Entered, IdmapError>) -> Vec<Finding> {
    let kernel = environment::machine_text("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Only root of some namespace may try.
    let emulation = if entered.is_ok() { executor::try_emulation() } else { Err("no namespaces".to_owned()) };
    let network = entered.is_ok().then(|| network(executor::try_network()));
    let snapshots = snapshots(environment.store(typed.store.as_deref()).ok(), entered.as_ref().ok());
    let kernel = Finding { subject: "kernel", verdict: Verdict::Ok, words: kernel.trim().to_owned() };
    let rest = [
        emulators(emulation),
        limits(&executor::try_limits()),
        seccomp(environment::machine_text("/proc/sys/kernel/seccomp/actions_avail").is_some()),
        store(environment, typed),
        resolver(&environment.resolv_conf),
    ];
    [kernel, isolation(entered)].into_iter().chain(snapshots).chain(network).chain(rest).collect()
}

fn isolation(entered: Result<Entered, IdmapError>) -> Finding {
    let (verdict, words) = match entered {
        Ok(Entered { rung, .. }) => {
            let verdict = if rung == Rung::SingleId { Verdict::Note } else { Verdict::Ok };
            (verdict, format!("{rung}: {}", rung.description()))
        }
        Err(error) => {
            let instead = match idmap::stay() {
                Ok(_) => "; `--isolation=chroot` builds here, without isolating its steps",
                Err(_) => "",
            };
            (Verdict::Missing, format!("{}{instead}", crate::diag::chain(&error)))
        }
    };
    Finding { subject: "isolation", verdict, words }
}

/// Tries it in the store, with the rights that a build would have.
fn snapshots(store: Option<PathBuf>, entered: Option<&Entered>) -> Option<Finding> {
    let (store, entered) = store.zip(entered)?;
    refusal(&store, entered.user_namespace).ok().map(snapshots_of)
}

fn snapshots_of(refusal: Option<String>) -> Finding {
    let (verdict, words) = match refusal {
        None => (Verdict::Ok, "overlay: a step writes over the layers below".to_owned()),
        Some(why) => (Verdict::Note, format!("copy: each RUN gets a copy of all files, which is slower: {why}")),
    };
    Finding { subject: "snapshots", verdict, words }
}

fn network(tried: Result<String, NoNetwork>) -> Finding {
    let (verdict, words) = match tried {
        Ok(by) => (Verdict::Ok, format!("a RUN has one of its own, connected by {by}")),
        Err(missing) => {
            let (why, help) = (missing.reason(), missing.help());
            (Verdict::Note, format!("a RUN has the host's: {why}: {help}"))
        }
    };
    Finding { subject: "network", verdict, words }
}

fn emulators(tried: Result<(), String>) -> Finding {
    let (verdict, words) = match tried {
        Ok(()) => (Verdict::Ok, "RUN works for other machines too, in the emulators installed here".to_owned()),
        Err(why) => {
            let what = "RUN for another machine needs one that is registered, or the package qemu-user-static";
            (Verdict::Note, format!("{why}: {what}"))
        }
    };
    Finding { subject: "emulators", verdict, words }
}

fn limits(here: &LimitsHere) -> Finding {
    let mut words = match here.had.as_slice() {
        [] => format!("nothing limits a RUN as a whole ({})", here.version),
        all => format!("a RUN can be limited in {} ({})", all.join(", "), here.version),
    };
    // What keeps one from being had mostly keeps the others too.
    if let Some((_, error)) = here.missing.first() {
        let all: Vec<&str> = here.missing.iter().map(|(controller, _)| *controller).collect();
        words += &format!("; not in {}: {error}", all.join(", "));
        error.help().iter().for_each(|help| words += &format!("; {help}"));
    }
    let verdict = if here.missing.is_empty() { Verdict::Ok } else { Verdict::Note };
    Finding { subject: "limits", verdict, words }
}

fn seccomp(known: bool) -> Finding {
    let (verdict, words) = match known {
        true => (Verdict::Ok, "system calls can be filtered"),
        false => (Verdict::Missing, "the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)"),
    };
    Finding { subject: "seccomp", verdict, words: words.to_owned() }
}

fn store(environment: &Environment, typed: &StoreArguments) -> Finding {
    let (verdict, words) = match environment.store(typed.store.as_deref()) {
        Ok(path) if path.exists() => (Verdict::Ok, path.display().to_string()),
        Ok(path) => (Verdict::Ok, format!("{} (made by the first build)", path.display())),
        Err(error) => (Verdict::Missing, error.to_string()),
    };
    Finding { subject: "store", verdict, words }
}

fn resolver(resolv_conf: &str) -> Finding {
    let servers: Vec<&str> = resolv_conf.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
    let (verdict, words) = match servers.as_slice() {
        [] => (Verdict::Note, "/etc/resolv.conf names no server: steps cannot resolve names".to_owned()),
        all => (Verdict::Ok, all.join(" ")),
    };
    Finding { subject: "name servers", verdict, words }
}

fn text(findings: &[Finding]) -> String {
    let mut table = Table::new(&["", "SUBJECT", "FOUND"]);
    for finding in findings {
        let word = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Missing => "MISSING",
        };
        table.row([word, finding.subject, &finding.words]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::CgroupError;

    #[test]
    fn what_is_missing_comes_with_what_to_do() {
        let emulation = emulators(Err("no emulator is installed".to_owned()));
        let findings =
            [snapshots_of(Some("it is refused".to_owned())), emulation, seccomp(true), resolver("search x\n")];
        let want = "       SUBJECT        FOUND
note   snapshots      copy: each RUN gets a copy of all files, which is slower: it is refused
note   emulators      no emulator is installed: RUN for another machine needs one that is registered, or the package qemu-user-static
ok     seccomp        system calls can be filtered
note   name servers   /etc/resolv.conf names no server: steps cannot resolve names
";
        assert_eq!(text(&findings), want);
        assert_eq!(snapshots_of(None).verdict, Verdict::Ok);
    }

    #[test]
    fn the_network_is_told_with_who_connects_it_or_what_to_install() {
        let found = network(Ok("slirp4netns version 1.2.0".to_owned()));
        assert_eq!(found.verdict, Verdict::Ok);
        assert_eq!(found.words, "a RUN has one of its own, connected by slirp4netns version 1.2.0");
        let found = network(Err(NoNetwork::NoTool));
        assert_eq!(found.verdict, Verdict::Note);
        assert_eq!(
            found.words,
            "a RUN has the host's: neither of the programs `pasta` and `slirp4netns` is installed: install the package \
             `passt`, which has pasta, or `slirp4netns`"
        );
    }

    #[test]
    fn limits_are_told_with_what_is_missing() {
        let error = CgroupError::NoController { flag: "--memory", controller: "memory" };
        let missing = vec![("memory", error)];
        let here = LimitsHere { version: "cgroup v2", had: vec!["cpu", "pids"], missing };
        let found = limits(&here);
        assert_eq!(found.verdict, Verdict::Note);
        assert_eq!(
            found.words,
            "a RUN can be limited in cpu, pids (cgroup v2); not in memory: --memory cannot be had here: no mounted cgroup \
             hierarchy has the controller `memory`; mount it, or start the kernel with it (`cgroup_enable=memory`); \
             /proc/cgroups says what the kernel has"
        );
        let all = LimitsHere { had: vec!["cpu"], missing: Vec::new(), ..here };
        assert_eq!(
            (limits(&all).verdict, limits(&all).words),
            (Verdict::Ok, "a RUN can be limited in cpu (cgroup v2)".to_owned())
        );
    }
}
