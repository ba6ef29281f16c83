//! Section 1: physical lines, comments, continuation.

use super::build::Case;
use super::reading::{commands, instructions, mistakes, read};

// language 1.1
#[test]
fn lines_end_at_newlines_and_have_a_longest_length() {
    assert_eq!(instructions("FROM a\nRUN b\nRUN c"), instructions("FROM a\nRUN b\nRUN c\n"));
    let line = |length: usize| format!("FROM a\nENV A={}\n", "x".repeat(length - "ENV A=".len()));
    read(&line(65_535));
    let too_long = "2: dockerfile line greater than max allowed size of 65535";
    assert_eq!(mistakes(&line(65_536)), [too_long]);
    assert_eq!(mistakes(line(65_536).trim_end()), [too_long]);
    assert_eq!(
        mistakes(&format!("FROM a\nCOPY <<E /\n{}\nE\n", "x".repeat(65_536))),
        ["3".to_owned() + &too_long[1..]]
    );
}

// language 1.2
#[test]
fn a_byte_order_mark_is_dropped() {
    assert_eq!(instructions("\u{feff}FROM a"), ["FROM a"]);
    assert_eq!(read("\u{feff}# escape=`\nFROM a").directives.escape, '`');
    assert_eq!(mistakes("FROM a\n\u{feff}RUN b"), ["2: unknown instruction: \u{feff}RUN (did you mean RUN?)"]);
}

// language 1.3
#[test]
fn carriage_returns_at_the_end_of_lines_are_dropped() {
    assert_eq!(commands("FROM a\r\nRUN b \\\r\n  c\r\nRUN d \\ \r\n# x\r\n\r\ne\r\n"), ["b   c", "d e"]);
    assert_eq!(commands("FROM a\nRUN b\rc\n"), ["b\rc"]);
}

// language 1.5
#[test]
fn blanks_before_an_instruction_are_dropped_and_those_of_continuations_stay() {
    assert_eq!(commands(" \t FROM a\n \tRUN b \\\n \t c\n"), ["b  \t c"]);
}

// language 1.7
#[test]
fn comments_inside_an_instruction_vanish() {
    assert_eq!(commands("FROM a\nRUN b \\\n # c \\\n#d\n  e \\\n#f\nCMD g\n"), ["b   e CMD g"]);
    assert_eq!(commands("FROM a\n# b \\\nRUN c\n"), ["c"]);
}

// language 1.8
#[test]
fn blank_lines_inside_an_instruction_are_skipped() {
    assert_eq!(commands("FROM a\nRUN b \\\n\n \t\n c\n"), ["b  c"]);
    let case = Case::new("FROM scratch\nLABEL a=b \\\n\n  c=d\nLABEL e=f\n");
    let built = case.build(&[]);
    assert_eq!(built.config["config"]["Labels"], serde_json::json!({"a": "b", "c": "d", "e": "f"}));
    assert_eq!(built.output.stderr.matches("warning[NoEmptyContinuation]").count(), 1, "{}", built.output.stderr);
}

// language 1.9
#[test]
fn lines_that_end_in_the_escape_character_are_joined() {
    assert_eq!(commands("FROM a\nRUN ab\\\ncd \\ \t \n  e\n"), ["abcd   e"]);
    assert_eq!(commands("# escape=`\nFROM a\nRUN ab`\ncd\\\nRUN e\n"), ["abcd\\", "e"]);
    assert_eq!(commands("FROM a\nRUN ab\\ c\nRUN d\n"), ["ab\\ c", "d"]);
}

// language 1.10
#[test]
fn an_escaped_escape_character_does_not_join() {
    assert_eq!(commands("FROM a\nRUN b\\\\\nRUN c\\\\\\\nRUN d\n"), ["b\\\\", "c\\\\\\", "d"]);
    let built = Case::new("FROM scratch\nENV A=x\\\\\\\nENV B=y\\\\\n").build(&[]);
    assert!(built.config["config"]["Env"].to_string().contains(r#""A=x\\","B=y\\""#), "{}", built.config);
}

// language 1.11
#[test]
fn a_continuation_at_the_end_of_the_file_is_dropped() {
    assert_eq!(commands("FROM a\nRUN b \\"), ["b"]);
    assert_eq!(commands("FROM a\nRUN b \\\n# c\n\n"), ["b"]);
}

// language 1.12
#[test]
fn a_line_of_the_escape_character_alone_begins_an_instruction() {
    assert_eq!(instructions("\\\nFROM a\n \\ \n# c\n\nRUN b\n"), ["FROM a", "RUN b"]);
    assert_eq!(mistakes("FROM a\n\\\n"), ["2: unknown instruction: "]);
}

// language 1.13
#[test]
fn there_must_be_a_stage() {
    assert_eq!(mistakes(""), ["0: the Dockerfile cannot be empty"]);
    for text in ["\n", "# only\n\n  # comments\n", "\u{feff}", " \t\r\n"] {
        assert_eq!(mistakes(text), ["0: file with no instructions"], "{text:?}");
    }
    Case::new("ARG A=1\n").fails(&["dockerfile contains no stages to build"]);
    for before in ["ENV A=1", "MAINTAINER me", "RUN a", "ONBUILD RUN a"] {
        Case::new(&format!("ARG A\n{before}\nFROM scratch\n")).fails(&["no build stage in current context", ":2:1"]);
    }
}

// language 1.14
#[test]
fn names_are_of_any_case_and_end_at_a_blank() {
    assert_eq!(commands("fRom a\nrun\t  b  c \t\nRun\u{b}d\nRUN\u{c}e\nrUN\r f\n"), ["b  c", "d", "e", "f"]);
    assert_eq!(mistakes("FROM a\nRUN\u{a0}b"), ["2: unknown instruction: RUN\u{a0}b (did you mean RUN?)"]);
}

// language 1.15
#[test]
fn unknown_instructions_are_mistakes_in_every_stage() {
    let text = "FROM scratch AS unused\nRUNN x\nCOPPY \\\n  y\nFROM scratch\nXYZZY\n";
    let all = [
        "2: unknown instruction: RUNN (did you mean RUN?)",
        "3: unknown instruction: COPPY (did you mean COPY?)",
        "6: unknown instruction: XYZZY",
    ];
    assert_eq!(mistakes(text), all);
    Case::new(text).fails(&[&all[0][3..], &all[1][3..], &all[2][3..]]);
}

// language 1.16
#[test]
fn mistakes_of_the_text_come_first_and_those_of_reached_instructions_last() {
    let text = "FROM ${NOPE} AS a\nCOPY --from=7 /x /x\nFROM scratch AS b\nUSER ${X:?y}\nFROM scratch\nEXPOSE x\n";
    let said = |text: &str, words: &[&str], silent: &[&str]| {
        let output = Case::new(text).fails(words).both();
        silent.iter().for_each(|word| assert!(!output.contains(word), "{word}\n{output}"));
    };
    let of_text = ["unknown flag: --x", "unknown instruction: RUNN"];
    let of_stages = ["base name (${NOPE}) should not be blank", "invalid stage index 7"];
    let of_instruction = "invalid containerPort: x";
    let unreadable = format!("{text}ENV --x A=b\nRUNN\n");
    said(&unreadable, &[of_text[0], of_text[1], of_stages[0], of_stages[1]], &[of_instruction]);
    said(&unreadable, &["failed to solve: dockerfile parse error on line 7: unknown flag: --x"], &[]);
    said(text, &of_stages, &[of_instruction]);
    // What the target does not reach is never looked at.
    said("FROM scratch AS b\nUSER ${X:?y}\nFROM scratch\nEXPOSE x\n", &[of_instruction], &["X: y"]);
}
