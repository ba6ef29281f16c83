//! Builds every case of `testdata/torture` with the kiln binary and checks the image that comes out, or the error.
//!
//! What a case is made of stands in `testdata/torture/README.md`. Each case is a test by its own name:
//! `cargo test --test torture 200-run` runs those whose name holds `200-run`. Where the tests run as root, each
//! case is built a second time by an ordinary user (`rootless/NAME`), and those about owners and users a third time by one
//! without subordinate ids (`single-id/NAME`). Those that run something are built also with whole trees in place of overlays
//! (`copy/NAME`) and without isolation (`chroot/NAME`).
//!
//! `testdata/torture/expected-failures.txt` names the cases that are known to fail: one of them that fails is told and
//! counts as passed; one that passes fails the run until its name is taken off the list.

// Tests are the edge: they list directories, print and look at the clock.
#![allow(clippy::disallowed_methods, clippy::print_stderr)]

mod case;
mod expect;
mod http;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/torture");
    let known = expected_failures(&root.join("expected-failures.txt"));
    let names = case_names(&root);
    let unknown: Vec<&String> = known.difference(&names).collect();
    if !unknown.is_empty() {
        eprintln!("expected-failures.txt names cases that are not there: {unknown:?}");
        return ExitCode::FAILURE;
    }
    let trials = |builder: Builder| {
        let (root, known, names, filtered) = (root.clone(), known.clone(), names.clone(), root.clone());
        names.into_iter().filter(move |name| builder.builds(&filtered.join(name))).map(move |name| {
            let (directory, expected) = (root.join(&name), known.contains(&name) || builder.cannot(&name));
            let title = format!("{}{name}", builder.prefix());
            Trial::test(title, move || verdict(&name, case::check(&directory, builder), expected).map_err(Into::into))
        })
    };
    let mut all: Vec<Trial> = trials(Builder::Caller).collect();
    if support::has_root() {
        all.extend(trials(Builder::OrdinaryUser));
        all.extend(trials(Builder::SingleId));
        all.extend(trials(Builder::WholeTrees));
        all.extend(trials(Builder::Unisolated));
    }
    libtest_mimic::run(&arguments, all).exit_code()
}

/// What cannot hold without namespaces: the name of the machine is its own, a read-only mount takes writes and forgets them, and
/// there is no network but the machine's. The README says so; like other cases that are known to fail, none of them may pass.
const NEED_NAMESPACES: [&str; 3] = ["200-run-environment", "203-run-mount-bind", "217-run-network-none"];

/// Who builds a case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Builder {
    /// Whoever runs the tests.
    Caller,
    /// An ordinary user with subordinate ids.
    OrdinaryUser,
    /// An ordinary user without.
    SingleId,
    /// Root, with copy snapshots.
    WholeTrees,
    /// Root, with chroot isolation.
    Unisolated,
}

impl Builder {
    /// What stands before the name of the case.
    fn prefix(self) -> &'static str {
        match self {
            Self::Caller => "",
            Self::OrdinaryUser => "rootless/",
            Self::SingleId => "single-id/",
            Self::WholeTrees => "copy/",
            Self::Unisolated => "chroot/",
        }
    }

    /// What it says on the command line.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Caller | Self::OrdinaryUser | Self::SingleId => &[],
            Self::WholeTrees => &["--snapshotter=copy"],
            Self::Unisolated => &["--isolation=chroot"],
        }
    }

    /// Whether the case is known to fail with this one alone.
    fn cannot(self, name: &str) -> bool {
        self == Self::Unisolated && NEED_NAMESPACES.contains(&name)
    }

    /// Whether this one builds the case in `directory`.
    fn builds(self, directory: &Path) -> bool {
        let has = |file: &str, words: &[&str]| {
            let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
            words.iter().any(|word| text.contains(word))
        };
        match self {
            Self::Caller | Self::OrdinaryUser => true,
            Self::SingleId => {
                ["expect.json", "Dockerfile"].iter().any(|file| has(file, &["\"uid\"", "\"gid\"", "chown", "USER "]))
            }
            Self::WholeTrees | Self::Unisolated => has("Dockerfile", &["RUN "]),
        }
    }
}

/// What a result means for the run, given whether the case is known to fail.
fn verdict(name: &str, result: Result<(), case::Failure>, expected: bool) -> Result<(), String> {
    match (result, expected) {
        (Ok(()), false) => Ok(()),
        (Ok(()), true) => Err("passes: take it off testdata/torture/expected-failures.txt".to_owned()),
        (Err(failure), true) => {
            eprintln!("known to fail: {name}: {}", failure.reasons.join("; "));
            Ok(())
        }
        (Err(failure), false) => Err(format!("{}\n--- what kiln said\n{}", failure.reasons.join("\n"), failure.log)),
    }
}

fn case_names(root: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root).expect("testdata/torture");
    let directories = entries.map(|entry| entry.expect("an entry of testdata/torture").path());
    let cases = directories.filter(|directory| directory.join("expect.json").is_file());
    cases.map(|directory| directory.file_name().expect("a name").to_string_lossy().into_owned()).collect()
}

/// The names in a file of one name a line; `#` starts a comment.
fn expected_failures(file: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file).expect("testdata/torture/expected-failures.txt");
    let words = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    words.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
