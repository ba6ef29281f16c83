//! Section 6: expansion. The lexer itself is tried in `src/dockerfile/expand/tests.rs`.

use serde_json::json;

use super::build::{Built, Case};
use super::reading::{mistakes, pairs, paths};

/// The variables that a build sets, as `name=value`.
fn environment(built: &Built) -> Vec<String> {
    let all = built.config["config"]["Env"].as_array().into_iter().flatten();
    all.filter_map(|entry| entry.as_str()).filter(|entry| !entry.starts_with("PATH=")).map(str::to_owned).collect()
}

/// What the ENV lines behind `before` set.
#[track_caller]
fn set(before: &str, lines: &[&str]) -> Vec<String> {
    let lines: String = lines.iter().map(|line| format!("ENV {line}\n")).collect();
    environment(&Case::new(&format!("FROM scratch\n{before}\n{lines}")).build(&[]))
}

/// Each of `values` as the value of an ENV must fail with the text beside it.
#[track_caller]
fn fails(values: &[(&str, &str)]) {
    for (value, want) in values {
        let line = format!("FROM scratch\nARG SET=s EMPTY=\nENV A={value}\n");
        Case::new(&line).fails(&[&format!("failed to process {value:?}: {want}"), "Dockerfile:3:7"]);
    }
}

// language 6.1
#[test]
fn names_of_variables() {
    let before = "ARG a_1=x ä=y 12=z 1=one";
    let got = set(
        before,
        &[r#"A="$a_1|$a_1-b|${a_1}b|$ä|$12x|$1a|$a_1ä""#, r#"B="$@$*$#$?$-$$$!$0b|${@}""#, r#"C="$|$.$/$"$'%' D=$"#],
    );
    assert_eq!(got, ["A=x|x-b|xb|y|zx|onea|", "B=b|", "C=$|$.$/$$%", "D=$"]);
}

// language 6.2
#[test]
fn what_is_not_set_is_empty() {
    let case = Case::new(
        "FROM scratch\nARG DECLARED\nENV A=<$NOPE>${NOPE}\nENV B=${OTHER:-x}${DECLARED}${DECLARED:-y}\nLABEL $A=$B\n",
    );
    let built = case.build(&[]);
    assert_eq!(environment(&built), ["A=<>", "B=xy"]);
    let warned = |name: &str| built.output.stderr.contains(&format!("undefined variable '${name}'"));
    assert_eq!(["NOPE", "OTHER", "DECLARED", "A", "B"].map(warned), [true, true, false, false, false]);
}

// language 6.3
#[test]
fn quotes_and_escapes() {
    let got = set("ARG V=v", &[r#"A='$V\"'"#, r#"B="$V \$V \" \\ \n '""#, r"C=a\tb\\\ c\'", r#"D=a"b"'c'"#]);
    assert_eq!(got, [r#"A=$V\""#, r#"B=v $V " \ \n '"#, r"C=atb\ c'", "D=abc"]);
    // At the end of a word it escapes nothing.
    let built = Case::new("FROM scratch\nVOLUME v\\ w\n").build(&[]);
    assert_eq!(built.config["config"]["Volumes"], json!({"v": {}, "w": {}}));
    let end = "unexpected end of statement while looking for matching";
    fails(&[("\"a", &format!("{end} double-quote")), ("b'a", &format!("{end} single-quote"))]);
}

// language 6.4
#[test]
fn defaults_and_alternates() {
    let got = set(
        "ARG S=s E=",
        &[
            "A=${S:-w}|${S-w}|${S:+w}|${S+w}|${S:?w}|${S?w}",
            "B=${E:-w}|${E-w}|${E:+w}|${E+w}|${E?w}",
            "C=${U:-w}|${U-w}|${U:+w}|${U+w}",
            "D=${U:-${E:-\"a${S}\"'$S'}}|${S:+${S}${S}}",
        ],
    );
    assert_eq!(got, ["A=s|s|w|w|s|s", "B=w|||w|", "C=w|w||", "D=as$S|ss"]);
}

// language 6.5
#[test]
fn required_variables() {
    fails(&[
        ("${NOPE:?give$SET}", "NOPE: gives"),
        ("${NOPE?}", "NOPE: is not allowed to be unset"),
        ("${NOPE:?}", "NOPE: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("x${EMPTY:?w}", "EMPTY: w"),
    ]);
}

// language 6.6
#[test]
fn trimming_and_replacing() {
    let got = set(
        "ARG V=a.b.c P=/x/y N=*",
        &[
            "A=${V#*.}|${V##*.}|${V%.*}|${V%%.*}|${V#?}|${V%c}|${V#b}",
            r"B=${V/./-}|${V//./-}|${V/.*/-}|${V//?/z}|${P//\//_}|${V/$V/$P}|${V//b/}",
            r"C=${N#\*}|${V/\?/x}|${V/\\/x}|${N/\*/\}}|${NO#a}${NO/a/b}",
        ],
    );
    assert_eq!(got, ["A=b.c|c|a.b|a|.b.c|a.b.|a.b.c", "B=a-b.c|a-b-c|a-|zzzzz|_x_y|/x/y|a..c", "C=|a.b.c|a.b.c|\\}|"]);
    fails(&[
        (r"${SET#\a}", r"invalid pattern (\a) in substitution: invalid escape '\a'"),
        ("${SET/a}", "syntax error: missing '/' in ${}"),
    ]);
}

// language 6.7
#[test]
fn broken_substitutions() {
    fails(&[
        ("${SET:=w}", "unsupported modifier (:=) in substitution"),
        ("${SET:#w}", "unsupported modifier (:#) in substitution"),
        ("${SET^}", "unsupported modifier (^) in substitution"),
        ("${}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${{SET}}", "syntax error: bad substitution"),
        ("${SET:-w", "syntax error: missing '}'"),
        ("${SET", "unsupported modifier (end of word) in substitution: missing '}'"),
    ]);
}

// language 6.8
#[test]
fn an_escaped_dollar_is_text() {
    assert_eq!(set("ARG v=x", &[r#"A=\$v\${v}"\$v\${v}""#]), ["A=$v${v}$v${v}"]);
}

// language 6.9
#[test]
fn values_never_split_but_for_ports() {
    let text = "FROM scratch\nARG T=\"a b\" P=\"80 81/udp\" W='/w'\nENV A=$T B=\"$T\"\nLABEL 'l'=$T\nVOLUME $T/v \"$W\"\n\
                COPY $T \"/o\"/\nUSER '$T'\nWORKDIR \"/w d\"\nSTOPSIGNAL \"TERM\"\nEXPOSE $P 82\n";
    let built = Case::new(text).file("a b", "1").build(&[]);
    assert_eq!(environment(&built), ["A=a b", "B=a b"]);
    let config = &built.config["config"];
    assert_eq!(config["Labels"], json!({"l": "a b"}));
    assert_eq!(config["Volumes"], json!({"a b/v": {}, "/w": {}}));
    assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}, "81/udp": {}, "82/tcp": {}}));
    assert_eq!([&config["User"], &config["WorkingDir"], &config["StopSignal"]], ["$T", "/w d", "TERM"]);
    assert_eq!(built.text("/o/a b"), "1");
}

// language 6.10
#[test]
fn assignments_split_with_regard_to_quotes() {
    let words = r#"A="b c" B='d  e' C=f\ g "D e"=h I="j\" k"'l m'"#;
    let want = [r#"A="b c""#, "B='d  e'", r"C=f\ g", r#""D e"=h"#, r#"I="j\" k"'l m'"#];
    for name in ["ENV", "LABEL", "ARG"] {
        assert_eq!(pairs(&format!("FROM a\n{name} {words}\n")), want);
    }
    let cut = "2: Syntax error - can't find = in \"words}\". Must be of the form: name=value";
    assert_eq!(mistakes("FROM a\nENV A=${X:?two words}\n"), [cut]);
    assert_eq!(pairs("FROM a\nARG A=${X:?two words}\n"), ["A=${X:?two", "words}"]);
}

// language 6.11
#[test]
fn paths_split_at_blanks_only() {
    assert_eq!(paths("FROM a\nCOPY a\\ b 'c d' \"e\" /f\n"), ["a\\", "b", "'c", "d'", "\"e\"", "/f"]);
    assert_eq!(mistakes("FROM \"a b\"\n"), ["1: FROM requires either one or three arguments"]);
    Case::new("FROM scratch\nVOLUME \"a b\"\n").fails(&["looking for matching double-quote"]);
    Case::new("FROM scratch\nEXPOSE '80 81'\n").fails(&["looking for matching single-quote"]);
    let built = Case::new("FROM \"scratch\"\nCOPY 'a' \"/x\"/\n").file("a", "1").build(&[]);
    assert_eq!(built.text("/x/a"), "1");
}

// language 6.12
#[test]
fn which_instructions_are_expanded() {
    let text = "ARG B=scratch\nFROM $B AS base\nARG X=x\nARG Y=$X$X\nENV $X=$X\nLABEL $X=$X\nADD $X /$X\nCOPY $X /$X$X\nUSER $X\nVOLUME $X\n\
                WORKDIR /w$X\nARG P=80 S=TERM\nEXPOSE $P\nSTOPSIGNAL $S\nLABEL y=$Y\n\
                MAINTAINER $X\nCMD $X\nENTRYPOINT $X\nHEALTHCHECK CMD $X\nONBUILD LABEL a=$X\n";
    let built = Case::new(text).file("x", "1").build(&[]);
    let config = &built.config["config"];
    assert_eq!(environment(&built), ["x=x"]);
    assert_eq!(config["Labels"], json!({"x": "x", "y": "xx"}));
    assert_eq!([built.text("/x"), built.text("/xx")], ["1", "1"]);
    assert_eq!([&config["User"], &config["WorkingDir"], &config["StopSignal"]], ["x", "/wx", "TERM"]);
    assert_eq!([&config["Volumes"], &config["ExposedPorts"]], [&json!({"x": {}}), &json!({"80/tcp": {}})]);
    assert_eq!(built.config["author"], "$X");
    for (got, want) in [
        (&config["Cmd"], json!(["/bin/sh", "-c", "$X"])),
        (&config["Entrypoint"], json!(["/bin/sh", "-c", "$X"])),
        (&config["Healthcheck"]["Test"], json!(["CMD-SHELL", "$X"])),
        (&config["OnBuild"], json!(["LABEL a=$X"])),
    ] {
        assert_eq!(*got, want);
    }
    // The shell of RUN expands what RUN says, and SHELL is as it is written.
    let built =
        Case::new("FROM BUSYBOX\nARG X=x\nRUN X=y; echo $X > /o\nSHELL [\"$X\"]\nONBUILD LABEL a=$X\n").build(&[]);
    assert_eq!(built.text("/o"), "y\n");
    assert_eq!(built.config["config"]["Shell"], json!(["$X"]));
    assert_eq!(mistakes("ARG N=n\nFROM a AS $N\n").len(), 1);
    assert!(mistakes("FROM a\nCOPY --from=$N b c\n")[0].contains("variable expansion is not supported for --from"));
}

// language 6.13
#[test]
fn which_variables_there_are() {
    let text = "FROM BUSYBOX AS base\nENV E=of-base\nFROM base\nENV A=$E B=$HOME$PWD$HOSTNAME$http_proxy$HTTP_PROXY C=${PATH:+path}\n\
                ARG V=1\nENV D=$V V=2\nENV F=$V\nARG V=3\nENV G=$V E=$E-child\nENV H=$E\n";
    let built = Case::new(text).build(&["--build-arg=http_proxy=http://127.0.0.1:1"]);
    assert_eq!(
        environment(&built),
        ["E=of-base-child", "A=of-base", "B=", "C=path", "D=1", "V=2", "F=2", "G=3", "H=of-base-child"]
    );
}

// language 6.14
#[test]
fn what_a_line_sees_of_itself() {
    let text = "FROM scratch\nENV A=old\nENV A=new B=$A\nARG C=1 D=${C}2 E=${D}3\nLABEL c=$E\nARG c=x\nLABEL $c=1 d=${x-none}\n";
    let built = Case::new(text).build(&[]);
    assert_eq!(environment(&built), ["A=new", "B=old"]);
    assert_eq!(built.config["config"]["Labels"], json!({"c": "123", "x": "1", "d": "none"}));
}
