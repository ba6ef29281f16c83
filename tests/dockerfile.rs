//! The Dockerfile room as its users see it: goldens. What any text at all may do is tried in `tests/fuzz.rs`.
//!
//! A golden is a directory `testdata/dockerfile/<case>/` with a `Dockerfile` and `expected.txt`: the typed
//! instructions, then the diagnostics. `UPDATE=1 cargo test --test dockerfile` writes the second anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kiln::diag::{self, Diagnostic};
use kiln::dockerfile::{Dockerfile, lint, parse, parse_trigger};
use kiln::source::{SourceFile, SourceId, Sources};

fn source(text: impl Into<Vec<u8>>) -> (Sources, SourceId) {
    let mut sources = Sources::default();
    let id = sources.add(SourceFile::new("Dockerfile", text));
    (sources, id)
}

/// Prints what a text says: an instruction is its line, its kind and the words in it with their offsets.
fn printed(text: &str) -> String {
    let (sources, id) = source(text);
    let parsed = parse(&sources, id);
    let mut out = String::new();
    let directives = &parsed.file.directives;
    if *directives != kiln::dockerfile::Directives::default() {
        let _ = writeln!(out, "{}\n", compact(&format!("{directives:?}")));
    }
    for instruction in &parsed.file.instructions {
        let line = sources.get(id).line_of(instruction.span.start);
        let _ = writeln!(out, "{line}: {}", instruction.original);
        for comment in &instruction.comments {
            let _ = writeln!(out, "   # {}", comment.text);
        }
        let _ = writeln!(out, "   {}", compact(&format!("{:?}", instruction.kind)));
    }
    for diagnostic in parsed.diagnostics.iter().chain(&linted(&parsed.file, &sources)) {
        let _ = write!(out, "\n{}", diag::render(diagnostic, &sources, false));
    }
    out
}

fn linted(file: &Dockerfile, sources: &Sources) -> Vec<Diagnostic> {
    [lint::of_instructions(file, sources), lint::of_stages(file, sources)].concat()
}

/// Shortens `Text { text: "a", span: Span { source: SourceId(0), start: 1, end: 2 } }` to `"a"@1..2`.
fn compact(debug: &str) -> String {
    let debug = debug.replace("Span { source: SourceId(0), start: ", "@").replace(", end: ", "..");
    let mut out = String::new();
    let mut rest = debug.as_str();
    while let Some(at) = rest.find("Text { text: ") {
        let (before, text) = rest.split_at(at);
        out.push_str(before);
        let text = &text["Text { text: ".len()..];
        let end = text.find(", span: @").unwrap_or(text.len());
        out.push_str(&text[..end]);
        let span = text[end..].strip_prefix(", span: ").unwrap_or("");
        let (offsets, after) = span.split_once(" } }").unwrap_or((span, ""));
        out.push_str(offsets);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[expect(clippy::disallowed_methods, reason = "a test lists its own cases, and sorts them")]
fn cases(directory: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(&root).expect("testdata is there");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    cases.retain(|case| case.join("Dockerfile").is_file());
    cases.sort();
    cases
}

#[test]
fn goldens() {
    #[expect(clippy::disallowed_methods, reason = "UPDATE is for whoever runs the tests")]
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for case in cases("testdata/dockerfile") {
        let text = std::fs::read_to_string(case.join("Dockerfile")).expect("a Dockerfile");
        let got = printed(&text);
        let path = case.join("expected.txt");
        if update {
            std::fs::write(&path, &got).expect("writable");
        } else if std::fs::read_to_string(&path).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What whole builds are tried with must be read here, or be refused with the words that the case asks for.
#[test]
fn torture_cases_are_read() {
    let mut refused = 0;
    for case in cases("testdata/torture") {
        let (sources, id) = source(std::fs::read(case.join("Dockerfile")).expect("a Dockerfile"));
        let parsed = parse(&sources, id);
        if parsed.diagnostics.is_empty() {
            continue;
        }
        refused += 1;
        let expected = std::fs::read(case.join("expect.json")).expect("an expectation");
        let expected: serde_json::Value = serde_json::from_slice(&expected).expect("JSON");
        let shown: String = parsed.diagnostics.iter().map(|one| diag::render(one, &sources, false)).collect();
        let wanted = match &expected["error_contains"] {
            serde_json::Value::Array(words) => words.clone(),
            word => vec![word.clone()],
        };
        for word in wanted {
            let word = word.as_str().unwrap_or("a build that works");
            assert!(shown.contains(word), "{} wants {word}\n{shown}", case.display());
        }
    }
    assert!(refused > 15, "only {refused} cases are about the text: are they all there?");
}

#[track_caller]
fn check_trigger(text: &str, want: Result<&str, &str>) {
    let (sources, id) = source(text);
    let got = parse_trigger(&sources, id);
    let got = got.as_ref().map(|one| one.kind.name()).map_err(|mistakes| mistakes[0].message.as_str());
    assert_eq!(got, want);
}

#[test]
fn a_trigger_is_one_instruction() {
    check_trigger("copy <<'E' /x\n$x\nE", Ok("COPY"));
    check_trigger("RUN a\nRUN b", Err("an ONBUILD trigger must be a single instruction"));
    check_trigger("", Err("an ONBUILD trigger must be a single instruction"));
    check_trigger("RUNN x", Err("unknown instruction: RUNN (did you mean RUN?)"));
    check_trigger("FROM x", Err("FROM isn't allowed as an ONBUILD trigger"));
}

#[test]
fn comments_describe_stages_and_arguments() {
    let (sources, id) = source("# about it\n# app is the product\n# appendix\nFROM a AS app\n");
    let parsed = parse(&sources, id);
    let from = &parsed.file.instructions[0];
    assert_eq!(from.description_of("app"), Some("is the product"));
    assert_eq!(from.description_of("other"), None);
}

/// Comments may be in any encoding, but nothing is changed without a word.
#[test]
fn what_counts_must_be_utf8() {
    let mistakes = |bytes: &[u8]| {
        let (sources, id) = source(bytes);
        let shown = parse(&sources, id).diagnostics;
        shown.iter().map(|one| diag::render(one, &sources, false)).collect::<String>()
    };
    assert_eq!(mistakes(b"# Jos\xe9\nFROM a\nRUN b \\\n# \xff\n  c \xef\xbf\xbd\n"), "");
    let want = "error[not-utf8]: the Dockerfile is not UTF-8 here\n --> Dockerfile:3:3\n3 | x \u{fffd}\n  |   ^\n  \
                = help: save the file as UTF-8\n";
    assert_eq!(mistakes(b"FROM a\nCOPY <<E /\nx \xe9\nE\nLABEL \xe9=\xe9\n"), want);
    assert!(mistakes(b"FROM a\nLABEL a=\xe9\n").contains("Dockerfile:2:9"));
    // UTF-16.
    assert_eq!(mistakes(b"\xff\xfeF\0R\0O\0M\0 \0a\0\n\0").matches("error").count(), 1);
}
