//! Section 4: JSON form and shell form.

use serde_json::json;

use super::build::Case;
use super::reading::{commands, mistakes, paths};

// language 4.1
#[test]
fn a_whole_json_array_is_the_json_form() {
    let text = "FROM a\nRUN  [\"a\", \"b c\"] \nCMD [ \"a\" ]\nENTRYPOINT\t[\"a\"\t,\"b\"]\nSHELL [\"s\"]\n";
    assert_eq!(commands(text), [r#"["a", "b c"]"#, r#"["a"]"#, r#"["a", "b"]"#, r#"["s"]"#]);
    assert_eq!(paths("FROM a\nCOPY [\"a b\", \"c\", \"d e/\"]\n"), ["a b", "c", "d e/"]);
    assert_eq!(paths("FROM a\nADD a\tb \u{b} c\u{c}\rd\n"), ["a", "b", "c", "d"]);
    assert_eq!(paths("FROM a\nCOPY [\"a\",\"b\"] c\n"), ["[\"a\",\"b\"]", "c"]);
    let text = "FROM scratch\nHEALTHCHECK CMD [\"a\", \"b c\"]\nVOLUME [\"/v w\", \" /x \"]\n";
    let built = Case::new(text).build(&[]);
    assert_eq!(built.config["config"]["Healthcheck"]["Test"], json!(["CMD", "a", "b c"]));
    assert_eq!(built.config["config"]["Volumes"], json!({"/v w": {}, "/x": {}}));
    let built = Case::new("FROM scratch\nHEALTHCHECK CMD a [\"b\"]\nVOLUME /v [\"/w\"]\n").build(&[]);
    assert_eq!(built.config["config"]["Healthcheck"]["Test"], json!(["CMD-SHELL", "a [\"b\"]"]));
    assert_eq!(built.config["config"]["Volumes"], json!({"/v": {}, "[/w]": {}}));
}

// language 4.2
#[test]
fn arrays_hold_strings_only() {
    let all = ["RUN", "CMD", "ENTRYPOINT", "SHELL", "HEALTHCHECK CMD", "COPY", "ADD", "VOLUME"];
    for (name, array) in
        all.into_iter().flat_map(|name| ["[1]", "[\"a\", [\"b\"]]", "[null]", "[{}, true]"].map(|array| (name, array)))
    {
        let want = "2: when using JSON array syntax, arrays must be comprised of strings only";
        assert_eq!(mistakes(&format!("FROM a\n{name} {array}\n")), [want], "{name} {array}");
    }
}

// language 4.3
#[test]
fn what_is_not_quite_json_is_the_shell_form() {
    let no_json = [
        r#"['a']"#,
        r#"["a" "b"]"#,
        r#"["a",]"#,
        r#"["a"] b"#,
        r#"["c:\d"]"#,
        r#"["a""#,
        "[1",
        "[a]",
        r#"["a",1"#,
        r#"["\x"]"#,
        "[\"\t\"]",
    ];
    for text in no_json {
        assert_eq!(commands(&format!("FROM a\nRUN {text}\nCMD {text}\n")), [text, text]);
    }
    assert_eq!(paths("FROM a\nCOPY ['a', 'b']\n"), ["['a',", "'b']"]);
    assert_eq!(mistakes("FROM a\nSHELL ['a']\n"), ["2: SHELL requires the arguments to be in JSON form"]);
}

// language 4.4
#[test]
fn escapes_are_decoded_and_only_paths_are_expanded() {
    let text = "FROM a\nRUN [\"\\u00e9\\n\\t\\\"\\\\\\/\\ud83d\\ude00\\ud800\", \"$X\"]\n";
    assert_eq!(commands(text), [format!("{:?}", ["é\n\t\"\\/😀\u{fffd}", "$X"])]);
    let text = "FROM scratch\nARG X=x\nADD [\"$X\", \"/${X}y/\"]\nCOPY [\"x\", \"/$X\"]\nVOLUME [\"/$X\"]\n\
                CMD [\"$X\"]\nENTRYPOINT [\"$X\"]\nSHELL [\"$X\"]\nHEALTHCHECK CMD [\"$X\"]\n";
    let built = Case::new(text).file("x", "1").build(&[]);
    assert_eq!([built.text("/xy/x"), built.text("/x")], ["1", "1"]);
    let config = &built.config["config"];
    assert_eq!(config["Volumes"], json!({"/x": {}}));
    let unexpanded = json!(["$X"]);
    assert_eq!([&config["Cmd"], &config["Entrypoint"], &config["Shell"]], [&unexpanded; 3]);
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "$X"]));
}

// language 4.5
#[test]
fn arrays_may_have_lines() {
    assert_eq!(
        commands("FROM a\nRUN [ \\\n \"a\", \\\n# c\n\n \"b\\\n c\" ]\nCMD [\"a\" \\\n]\n"),
        [r#"["a", "b c"]"#, r#"["a"]"#]
    );
}

// language 4.6
#[test]
fn the_shell_form_is_the_text_as_it_stands() {
    let text = "FROM a\nRUN --network=none  a  'b  c' \"d\\e\" \\$f  \\\n  $g # h \nCMD \"a  b\"  \n";
    assert_eq!(commands(text), ["a  'b  c' \"d\\e\" \\$f    $g # h", "\"a  b\""]);
    let text = "FROM BUSYBOX\nRUN printf '%s|' \"$0\" a\\ b 'c  d'   e > /o\nCMD a  'b'\nSHELL [\"/bin/sh\", \"-uc\"]\n\
                RUN echo \"${NO-unset} $-\" > /p\nENTRYPOINT x  $y\n";
    let built = Case::new(text).build(&[]);
    assert_eq!(built.text("/o"), "/bin/sh|a b|c  d|e|");
    assert!(built.text("/p").starts_with("unset ") && built.text("/p").contains('u'), "{}", built.text("/p"));
    assert_eq!(built.config["config"]["Entrypoint"], json!(["/bin/sh", "-uc", "x  $y"]));
    assert!(built.history().contains(&r#"CMD ["/bin/sh" "-c" "a  'b'"]"#.to_owned()), "{:?}", built.history());
}

// language 4.7
#[test]
fn empty_arrays() {
    let built = Case::new("FROM BUSYBOX\nENTRYPOINT [\"a\"]\nCMD [\"b\"]\nENTRYPOINT []\nCMD []\n").build(&[]);
    for key in ["Cmd", "Entrypoint"] {
        assert!(built.config["config"].get(key).is_none(), "{}", built.config);
    }
    for (line, want) in [
        ("RUN []", "arguments are required"),
        ("SHELL [ ]", "SHELL requires at least one argument"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ("HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD"),
    ] {
        assert_eq!(mistakes(&format!("FROM a\n{line}\n")), [format!("2: {want}")]);
    }
}

// language 4.8
#[test]
fn bare_run_cmd_and_entrypoint_are_empty_commands() {
    let built = Case::new("FROM BUSYBOX\nRUN\nCMD\nENTRYPOINT \nCMD\n").build(&[]);
    let empty = json!(["/bin/sh", "-c", ""]);
    assert_eq!([&built.config["config"]["Cmd"], &built.config["config"]["Entrypoint"]], [&empty, &empty]);
    assert!(built.history().contains(&"RUN /bin/sh -c  # buildkit".to_owned()), "{:?}", built.history());
    assert_eq!(built.manifest["layers"].as_array().map(Vec::len), Some(2));
}

// language 4.9
#[test]
fn other_instructions_need_arguments() {
    let two = "requires at least two arguments, but only one was provided. Destination could not be determined";
    let one = "requires at least one argument";
    let exactly = "requires exactly one argument";
    let all = [
        (two, vec!["COPY", "ADD", "COPY a", "ADD [\"a\"]", "COPY --link a"]),
        (one, vec!["ENV", "LABEL", "ARG", "EXPOSE", "VOLUME", "SHELL", "ONBUILD", "HEALTHCHECK"]),
        (exactly, vec!["WORKDIR", "USER", "STOPSIGNAL", "MAINTAINER", "USER --"]),
        ("requires either one or three arguments", vec!["FROM", "FROM a b", "FROM a AS", "FROM a AS b c"]),
    ];
    for (want, line) in all.into_iter().flat_map(|(want, lines)| lines.into_iter().map(move |line| (want, line))) {
        let name = line.split(' ').next().expect("a name");
        assert_eq!(mistakes(&format!("FROM a\n{line}\n")), [format!("2: {name} {want}")], "{line}");
    }
}
