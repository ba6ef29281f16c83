//! What kiln says when something is wrong, word for word, as a user sees it: `testdata/messages`.

// Tests are the edge: they read directories and the environment.
#![allow(clippy::disallowed_methods)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use regex::Regex;
use support::bases::Base;
use support::{Kiln, registry};

const CASES: &str = "testdata/messages";

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> =
        cases().into_iter().map(|case| Trial::test(name(&case), move || check(&case))).collect();
    trials.push(Trial::test("every_code_is_listed_and_shown", codes));
    libtest_mimic::run(&arguments, trials).exit();
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(CASES).expect("the cases").map(|entry| entry.expect("an entry").path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

fn name(case: &Path) -> String {
    case.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Runs the command of a case in a copy of its files, and compares all that it says.
fn check(case: &Path) -> Result<(), Failed> {
    let (kiln, context) = (Kiln::new(), support::copy_of(case));
    let typed = std::fs::read_to_string(case.join("command")).unwrap_or_else(|_| "kiln build .\n".to_owned());
    for own in ["command", "expected.txt"] {
        let _ = std::fs::remove_file(context.path().join(own));
    }
    let dockerfile = context.path().join("Dockerfile");
    let text = std::fs::read_to_string(&dockerfile).unwrap_or_default();
    let mut base = None;
    if text.contains("BUSYBOX") {
        let reference = registry::base(Base::Busybox);
        std::fs::write(&dockerfile, text.replace("BUSYBOX", &reference))?;
        base = Some(reference);
    }
    let mut command = kiln.command();
    command.current_dir(context.path()).args(typed.split_whitespace().skip(1)).env("COLUMNS", "100");
    let output = command.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stderr) + &text(&output.stdout);
    let mut said = plainly(&said).replace(&context.path().display().to_string(), "CONTEXT");
    said = said.replace(&kiln.store().display().to_string(), "STORE");
    if let Some(base) = base {
        let host = base.split('/').next().unwrap_or_default();
        said = said.replace(&base, "BUSYBOX").replace(host, "REGISTRY");
    }
    let code = output.status.code().unwrap_or(-1);
    let said = format!("$ {}\n{}\nexit code {code}\n", typed.trim_end(), said.trim_end());
    golden(&case.join("expected.txt"), &said)
}

/// Leaves out progress, and what differs from run to run.
fn plainly(said: &str) -> String {
    let mut text = String::new();
    for line in said.lines().filter(|line| !is_progress(line)) {
        if !(line.is_empty() && (text.is_empty() || text.ends_with("\n\n"))) {
            text += line;
            text.push('\n');
        }
    }
    let text = Regex::new("(?m)^[0-9]+\\.[0-9]{3} ").expect("a pattern").replace_all(&text, "0.000 ").into_owned();
    let text = Regex::new("after [0-9]+ ms").expect("a pattern").replace_all(&text, "after 0 ms").into_owned();
    Regex::new("sha256:[0-9a-f]{64}").expect("a pattern").replace_all(&text, "sha256:DIGEST").into_owned()
}

/// `#5 DONE 0.3s`
fn is_progress(line: &str) -> bool {
    line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|character: char| character.is_ascii_digit()))
}

fn golden(path: &Path, said: &str) -> Result<(), Failed> {
    if std::env::var_os("UPDATE").is_some() {
        return Ok(std::fs::write(path, said)?);
    }
    let want = std::fs::read_to_string(path).unwrap_or_default();
    if want == said { Ok(()) } else { Err(format!("{}: want\n{want}\nnot\n{said}", path.display()).into()) }
}

/// Codes are stable names, so all of them stand in one list, each with a case that shows it, or the reason why none
/// does. Lint rules have a list of their own.
fn codes() -> Result<(), Failed> {
    let list = std::fs::read_to_string(Path::new(CASES).join("README.md"))?;
    let row = Regex::new("(?m)^\\| `([a-z-]+)` \\| .*? \\|(.*)\\|$").expect("a pattern");
    let rows: Vec<(String, String)> =
        row.captures_iter(&list).map(|found| (found[1].to_owned(), found[2].trim().to_owned())).collect();
    let shown = Regex::new("(?m)^(?:error|warning)\\[([a-z][a-z-]*)\\]").expect("a pattern");
    let mut seen = BTreeSet::new();
    for case in cases() {
        let text = std::fs::read_to_string(case.join("expected.txt"))?;
        seen.extend(shown.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    let listed: BTreeSet<String> = rows.iter().map(|(code, _)| code.clone()).collect();
    let lost: Vec<&String> = seen.difference(&listed).collect();
    let unseen: Vec<&String> =
        rows.iter().filter(|(code, why)| !seen.contains(code) && why.is_empty()).map(|(code, _)| code).collect();
    if lost.is_empty() && unseen.is_empty() && !rows.is_empty() {
        return Ok(());
    }
    Err(format!("not listed: {lost:?}; listed without a case or a reason: {unseen:?}").into())
}
