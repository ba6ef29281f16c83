//! Texts that get past the first word often enough.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const PARTS: &[&str] = &[
    "FROM ",
    "FROM scratch AS b\n",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "CMD ",
    "ENTRYPOINT ",
    "EXPOSE ",
    "HEALTHCHECK ",
    "ONBUILD ",
    "VOLUME ",
    "SHELL ",
    "USER ",
    "WORKDIR ",
    "STOPSIGNAL ",
    "MAINTAINER ",
    "run ",
    "<<EOF",
    "<<-'E'",
    "<<\\E",
    "<<\"E\"",
    "<<",
    "EOF\n",
    "E\n",
    "\n",
    "\n",
    " ",
    "\t",
    "\\\n",
    "\\",
    "`",
    "# escape=`\n",
    "# check=skip=all\n",
    "# syntax=docker/dockerfile:1\n",
    "#!",
    "#",
    "--mount=",
    "--from=",
    "--from=b ",
    "--chmod=u+x ",
    "--chown=",
    "--exclude=",
    "--link ",
    "--parents ",
    "--platform=",
    "--",
    "=",
    "A=",
    "type=cache",
    "type=secret",
    ",",
    "id=a",
    "env=A",
    "target=/x",
    "source=y",
    "size=1k",
    "mode=",
    "[",
    "]",
    "\"a\"",
    "[\"a\", \"b\"]",
    "\\u00e9",
    "'",
    "\"",
    "$A",
    "${",
    "${A:-",
    "${A%",
    "${A//",
    "}",
    ":-",
    "#*",
    "/",
    "*",
    "?",
    "NONE",
    "AS ",
    "a",
    "b",
    "0",
    "é",
    "\u{feff}",
    "\r\n",
    "\u{a0}",
    "\u{0}",
    "8080:80/tcp",
    "0-65535",
    "1s",
    "https://registry.example/x.git#a:b",
    "sha256:",
];

/// A Dockerfile, more or less.
pub(crate) fn dockerfile_like() -> impl Strategy<Value = String> {
    let part = prop_oneof![8 => select(PARTS).prop_map(str::to_owned), 1 => ".{0,3}"];
    (any::<bool>(), vec(part, 0..40)).prop_map(|(begins, parts)| {
        let begin = if begins { "FROM scratch\n" } else { "" };
        begin.to_owned() + &parts.concat()
    })
}

/// Something that is expanded, or a value with a syntax of its own.
pub(crate) fn word_like() -> impl Strategy<Value = String> {
    let part = select(&[
        "$A",
        "${A}",
        "${",
        "${A:-",
        "${B+",
        "${A:?",
        "${A#",
        "${A%%",
        "${A/",
        "${A//",
        "}",
        "/",
        "*",
        "?",
        "'",
        "\"",
        "\\",
        "`",
        "$",
        "a",
        "AB",
        "é",
        " ",
        "\n",
        "\u{0}",
        "1",
        "0",
        "-",
        "+",
        ":",
        ".",
        ",",
        "=",
        "@",
        "#",
        "!",
        "**",
        "[",
        "]",
        "^",
        "u+x",
        "go=rX",
        "777",
        "s",
        "1h",
        "1.5ms",
        "9999999999",
        "/tcp",
        "80",
        "65536",
        "linux",
        "amd64",
        "sha256:",
        "registry.example:5000/",
        "https://",
        ".git",
        "type=",
    ]);
    vec(part, 0..16).prop_map(|parts| parts.concat())
}

/// A real Dockerfile with bytes changed, and pieces moved, lost or doubled.
pub(crate) fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..5_u8), 0..8);
    (select(dockerfiles()), select(dockerfiles()), damage).prop_map(|(mut text, other, damage)| {
        for (first, second, byte, kind) in damage {
            if text.is_empty() {
                break;
            }
            let (from, to) = (first.index(text.len()), second.index(text.len()));
            let (from, to) = (from.min(to), from.max(to));
            match kind {
                0 => text[from] = byte,
                1 => text.insert(from, byte),
                2 => drop(text.drain(from..to)),
                3 => text = [&text[..to], &text[from..]].concat(),
                _ => text.splice(from..from, other.iter().copied().take(to)).for_each(drop),
            }
        }
        text
    })
}

/// The Dockerfiles of the test data.
fn dockerfiles() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for directory in ["testdata/dockerfile", "testdata/plan", "testdata/torture"] {
        #[expect(clippy::disallowed_methods, reason = "a test lists its own cases, and sorts them")]
        let entries =
            std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).expect("testdata is there");
        let paths = entries.map(|entry| entry.expect("readable").path().join("Dockerfile"));
        found.extend(paths.filter_map(|path| std::fs::read(path).ok()));
    }
    assert!(found.len() > 100, "the test data is there");
    found.sort();
    found
}
