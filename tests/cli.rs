//! The program from outside: what it prints where, and its exit codes.

use std::process::{Command, Output};

fn kiln(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(arguments).env("COLUMNS", "100").env_remove("BUILDKIT_PROGRESS").env("NO_COLOR", "1");
    command.output().expect("kiln starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// Fails unless `text` is the content of `golden`; `UPDATE=1` writes it anew.
fn assert_golden(golden: &str, text: &str) {
    if std::env::vars_os().any(|(name, _)| name == "UPDATE") {
        std::fs::write(golden, text).expect("the golden is written");
    }
    assert_eq!(text, std::fs::read_to_string(golden).expect("the golden is there"), "{golden}");
}

#[test]
fn the_version_is_on_standard_output() {
    let output = kiln(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), concat!("kiln ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn help_is_on_standard_output() {
    for (arguments, golden) in
        [(&["--help"][..], "testdata/cli/help.txt"), (&["build", "-h"][..], "testdata/cli/help-build.txt")]
    {
        let output = kiln(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert_golden(golden, text(&output.stdout));
    }
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    for (arguments, word) in [
        (&[][..], "Usage"),
        (&["buidl"], "`build`"),
        (&["build"], "required arguments"),
        (&["build", "--tagg", "x", "."], "a similar argument exists: `--tag`"),
        (&["build", "--tag", "UPPER", "."], "must be lower case"),
        (&["build", "/no/such/directory"], "path `/no/such/directory` not found"),
        (&["build", "--progress", "plan", "."], "did you mean `plain`?"),
        (&["build", "--squash", "."], "--squash is not supported yet"),
    ] {
        let output = kiln(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        assert!(text(&output.stderr).contains(word), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn looking_at_a_store_that_is_not_there_does_not_make_one() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let store = scratch.path().join("store");
    let output = kiln(&["images", "--store", store.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n");
    assert!(!store.exists());
}
