//! The Dockerfile room as its users see it: goldens, and properties over any text.
//!
//! A golden is a directory `testdata/dockerfile/<case>/` with a `Dockerfile` and `expected.txt`: the typed
//! instructions, then the diagnostics. `UPDATE=1 cargo test --test dockerfile` writes the second anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kiln::diag;
use kiln::dockerfile::expand::{expand, expand_heredoc, expand_words};
use kiln::dockerfile::{InstructionKind, lint, parse, parse_trigger};
use kiln::source::{SourceFile, SourceId, Sources, Span};
use proptest::prelude::*;

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
    for diagnostic in parsed.diagnostics.iter().chain(&lint::lint(&parsed.file, &sources)) {
        let _ = write!(out, "\n{}", diag::render(diagnostic, &sources, false));
    }
    out
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

/// Reads a text in every way there is, and checks that spans lie in it.
fn try_everything(text: &str) {
    let (sources, id) = source(text);
    let parsed = parse(&sources, id);
    let check = |span: Span| assert!(text.get(span.range()).is_some(), "{span:?} of {text:?}");
    let found: Vec<_> = parsed.diagnostics.iter().chain(&lint::lint(&parsed.file, &sources)).cloned().collect();
    for diagnostic in &found {
        diagnostic.span.into_iter().for_each(check);
        diag::render(diagnostic, &sources, true);
    }
    let value = |name: &str| (name.len().is_multiple_of(2)).then(|| name.to_owned());
    for instruction in &parsed.file.instructions {
        check(instruction.span);
        check(instruction.name_span);
        match &instruction.kind {
            InstructionKind::Run(run) => {
                check(run.command_span);
                for mount in &run.mounts {
                    check(mount.span);
                    let resolved = mount.resolve("/w", &mut |word| {
                        check(word.span);
                        expand(&word.text, '\\', &value).map(|done| done.text).map_err(|error| error.at(word))
                    });
                    if let Err(diagnostic) = resolved {
                        diagnostic.span.into_iter().for_each(check);
                    }
                }
            }
            InstructionKind::OnBuild(trigger) => {
                let (sources, id) = source(trigger.text.as_str());
                let _ = parse_trigger(&sources, id);
            }
            _ => {}
        }
    }
    for escape in ['\\', '`'] {
        let _ = expand(text, escape, &value);
        let _ = expand_words(text, escape, &value);
    }
    let _ = expand_heredoc(text, &value);
}

/// Texts that look like Dockerfiles often enough to get past the first word.
fn dockerfile_like() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        prop::sample::select(vec![
            "FROM ",
            "RUN ",
            "COPY ",
            "ADD ",
            "ENV ",
            "ARG ",
            "LABEL ",
            "CMD ",
            "EXPOSE ",
            "HEALTHCHECK ",
            "ONBUILD ",
            "VOLUME ",
            "SHELL ",
            "USER ",
            "WORKDIR ",
            "STOPSIGNAL ",
            "run ",
            "<<EOF",
            "<<-'E'",
            "<<",
            "EOF\n",
            "\n",
            "\n",
            " ",
            "\t",
            "\\\n",
            "\\",
            "`",
            "# escape=`\n",
            "# check=skip=all\n",
            "#",
            "--mount=",
            "--from=",
            "--chmod=",
            "--",
            "=",
            "type=cache",
            ",",
            "target=/x",
            "[",
            "]",
            "\"a\"",
            "'",
            "\"",
            "$A",
            "${",
            "}",
            ":-",
            "#*",
            "/",
            "NONE",
            "AS ",
            "a",
            "é",
            "\u{feff}",
            "\r\n",
            "\u{a0}",
            "8080:80/tcp",
            "1s",
        ])
        .prop_map(str::to_owned),
        ".{0,3}",
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_text_is_read(text in any::<String>()) {
        try_everything(&text);
    }

    #[test]
    fn any_bytes_are_read(bytes in any::<Vec<u8>>()) {
        try_everything(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn anything_like_a_dockerfile_is_read(text in dockerfile_like()) {
        try_everything(&text);
    }
}

/// Each of these would take minutes, or the whole stack, if reading were not linear.
#[test]
fn large_inputs_are_read() {
    let many = |line: &str| line.repeat(20_000);
    let texts = [
        format!("FROM a\n{}", many("RUN echo hello world\n")),
        format!("FROM a\nRUN {}b\n", many("a \\\n")),
        format!("FROM a\nRUN x \\\n{}b\n", many("# comment\n\n")),
        format!("FROM a\nENV {}\n", many("A=\"b c\" \\\n")),
        format!("FROM a\nCMD {}\n", many("[ \\\n")),
        format!("FROM a\nCMD [\"a\"{}]\n", many(",\"a\" \\\n")),
        format!("FROM a\nRUN {}\n{}", many("<<A \\\n"), many("x\nA\n")),
        format!("FROM a\nCOPY {} /\n{}", many("<<A \\\n"), many("x\nA\n")),
        format!("FROM a\n{}", many("RUN <<A\nx\n")),
        format!("FROM a\nRUN --mount={}\n", many("type=cache,\\\n")),
        format!("FROM a\nCOPY {} a b\n", many("--exclude=a \\\n")),
        format!("FROM a\nRUN {}\n", many("<<'a \\\n")),
        many("${A:-"),
        many("\\\n"),
        many("RUNN\n"),
        many("ONBUILD \\\n"),
    ];
    for text in texts {
        try_everything(&text);
    }
}
