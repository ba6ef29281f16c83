//! Section 2: parser directives. Which frontends are refused is tried in `src/dockerfile/frontend.rs`.

use kiln::dockerfile::CheckOptions;
use kiln::dockerfile::directive::Chosen;

use super::build::Case;
use super::reading::{commands, mistakes, pairs, paths, read};

/// Rules of these names.
fn named(names: &[&str]) -> Chosen {
    Chosen::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

// language 2.1
#[test]
fn directives_are_written_in_many_ways() {
    for text in [
        "# escape=`",
        "#escape=`",
        "#  \t EsCaPe \t=\t ` \t",
        "  # escape = `\r",
        "# syntax=docker/dockerfile:1\n# check=skip=all\n# escape=`",
    ] {
        assert_eq!(read(&format!("{text}\nFROM a")).directives.escape, '`', "{text:?}");
    }
    assert_eq!(read("#  CHECK = skip=A ; error=true \nFROM a").directives.check.skip, named(&["A"]));
}

// language 2.2
#[test]
fn the_first_other_line_ends_the_search() {
    for before in ["", "# a comment", "# foo=bar", "#", "# escape", "# escape=", "# es cape=`", "# 1escape=`"] {
        assert_eq!(read(&format!("{before}\n# escape=`\nFROM a")).directives.escape, '\\', "{before:?}");
    }
    assert_eq!(read("FROM a\n# escape=`\nRUN b").directives.escape, '\\');
    assert_eq!(read("# check=skip=all\n# escape=`\nFROM a").directives.escape, '`');
}

// language 2.3
#[test]
fn a_directive_may_be_given_once() {
    for name in ["escape=`", "check=skip=all", "syntax=docker/dockerfile"] {
        let key = name.split('=').next().expect("a name");
        let want = format!("2: only one {key} parser directive can be used");
        assert_eq!(mistakes(&format!("# {name}\n# {}\nFROM a", name.replace(key, &key.to_uppercase()))), [want]);
    }
}

// language 2.4
#[test]
fn the_escape_character_can_be_a_backtick() {
    assert_eq!(mistakes("# escape=x\nFROM a"), ["1: invalid escape token 'x' does not match ` or \\"]);
    assert_eq!(mistakes("# escape=``\nFROM a"), ["1: invalid escape token '``' does not match ` or \\"]);
    let text = "# escape=`\nFROM a\nRUN --network=no`ne b `\n  $c\\d `e\nENV A=b` c B='d'\n";
    assert_eq!(commands(text), ["b   $c\\d `e"]);
    assert_eq!(pairs(text), ["A=b` c", "B='d'"]);
    let case =
        Case::new("# escape=`\nFROM scratch\nENV A=b` c B=`$x`\" C=\\d\nCOPY <<`E <<\\F /\n`$A \\$A\n`E\n$A\nF\n");
    let built = case.build(&[]);
    let env = built.config["config"]["Env"].to_string();
    assert!(env.contains(r#""A=b c","B=$x\"","C=\\d""#), "{env}");
    // Neither the word of a heredoc nor its body knows the backtick.
    assert_eq!([built.text("/`E"), built.text("/F")], ["`b c $A\n", "b c\n"]);
}

// language 2.5
#[test]
fn then_a_backslash_is_text() {
    assert_eq!(paths("# escape=`\nFROM a\nCOPY f c:\\\nRUN b"), ["f", "c:\\"]);
}

// language 2.6
#[test]
fn a_frontend_that_is_not_built_in_ends_the_build() {
    Case::new("# syntax=docker/dockerfile:1.99-labs\nFROM scratch\n").build(&[]);
    let case = Case::new("# escape=`\n# syntax=registry.example/other:1 x\nFROM scratch\nRUNN\n");
    let output = case.fails(&["kiln cannot run the frontend `registry.example/other:1`", "Dockerfile:2:10", "help: "]);
    assert!(!output.both().contains("unknown instruction"), "{}", output.both());
    case.dockerfile("# syntax=registry.example/other:1\nFROM scratch\n");
    case.build(&["--build-arg=BUILDKIT_SYNTAX=docker/dockerfile:1", "--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all"]);
}

// language 2.7
#[test]
fn check_has_three_options() {
    let options = CheckOptions::parse("skip=A, B;error=True;experimental=all").expect("options");
    assert_eq!(options, CheckOptions { skip: named(&["A", "B"]), error: true, experimental: Chosen::All });
    for (text, part) in [("foo", "foo"), ("foo=bar", "foo"), ("skip=all;", ""), ("skip=a;;error=true", "")] {
        let want = format!("1: failed to parse check options: invalid check option \"{part}\"");
        assert_eq!(mistakes(&format!("# check={text}\nFROM a")), [want]);
    }
    // What follows a second `;` is one part, and a blank ends it all.
    assert_eq!(read("# check=skip=a;skip=b;skip=c;d\nFROM a").directives.check.skip, named(&["c;d"]));
    assert_eq!(read("# check=skip=A, B;error=true\nFROM a").directives.check.skip, named(&["A", ""]));
    assert_eq!(mistakes("# check=error=maybe\nFROM a").len(), 1);
    let case = Case::new("FROM scratch\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d\n");
    let output = case.build(&[]).output.stderr;
    assert_eq!(output.matches("warning[LegacyKeyValueFormat]").count(), 1, "{output}");
}
