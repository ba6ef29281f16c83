use super::*;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "A" => "a",
        "EMPTY" => "",
        "V" => "v1.22.3-rc1",
        "PATHS" => "/usr/local/bin",
        "STARS" => "a*b*c",
        "TWO" => "x y",
        "é" => "accent",
        _ => return None,
    };
    Some(value.to_owned())
}

#[track_caller]
fn check(word: &str, want: &str) {
    assert_eq!(expand(word, '\\', &lookup).expect("expands").text, want, "{word}");
}

#[track_caller]
fn fails(word: &str, want: &str) {
    let error = expand(word, '\\', &lookup).expect_err("does not expand").to_string();
    assert!(error.starts_with("failed to process ") && error.ends_with(want), "{error}");
}

#[test]
fn names() {
    check("$A-${A}_$A_x", "a-a_");
    check("$é ${é} $٣x $² $½ $Ⅷ", "accent accent x $² $½ $Ⅷ");
    check("$12x", "x");
    check("$0x $@y $$A $- $? $! $# $*", "x y A     ");
    check("$ $. a$", "$ $. a$");
    check("$NOPE|${NOPE}", "|");
}

#[test]
fn quotes_and_escapes() {
    check(r"'$A\'", r"$A\");
    check(r#""$A \$A \\ \" \n '""#, r#"a $A \ " \n '"#);
    check(r"a\tb\ c\", "atb c");
    check(r"\$A \${A}", "$A ${A}");
    check(r#""a"'b'c"#, "abc");
    fails("'a", "matching single-quote");
    fails("\"a", "matching double-quote");
    assert_eq!(expand("`$A \\d", '`', &lookup).expect("expands").text, "$A \\d");
}

#[test]
fn defaults_and_alternates() {
    check("${A:-x}${A-x}${NOPE:-x}${NOPE-y}${EMPTY:-z}${EMPTY-q}", "aaxyz");
    check("${A:+x}${A+x}${NOPE:+x}${NOPE+y}${EMPTY:+z}${EMPTY+q}", "xxq");
    check("${NOPE:-${A:-b}c}", "ac");
    check("${NOPE:-'a b' \"$A\"}", "a b a");
    check("${NOPE:-a\\}b}", "a}b");
    check("${A:?no}${EMPTY?no}", "a");
    fails("${NOPE:?must be given}", ": NOPE: must be given");
    fails("${NOPE?}", "NOPE: is not allowed to be unset");
    fails("${EMPTY:?}", "EMPTY: is not allowed to be empty");
}

#[test]
fn trimming() {
    check("${V#v}|${V%-*}|${V%%.*}|${V##*.}|${V#*.}", "1.22.3-rc1|v1.22.3|v1|3-rc1|22.3-rc1");
    check("${PATHS##*/}|${PATHS%/*}|${PATHS#?}|${PATHS#x}", "bin|/usr/local|usr/local/bin|/usr/local/bin");
    check(r"${STARS#a\*}|${STARS%\**}|${STARS%%\**}", "b*c|a*b|a");
    check("${NOPE#a}${EMPTY%b}", "");
    check("${V#$A}${V#\"v\"}", "v1.22.3-rc11.22.3-rc1");
    fails(r"${V#\a}", r"invalid escape '\a'");
}

#[test]
fn replacing() {
    check("${V/./_}|${V//./_}|${V/.*/}", "v1_22.3-rc1|v1_22_3-rc1|v1");
    check(r"${PATHS//\//-}|${PATHS/\/usr/$A}", "-usr-local-bin|a/local/bin");
    check("${A//x/y}|${A//*/b}|${A//?/$V}", "a|b|v1.22.3-rc1");
    check("${A///-}|${A/a/}|${NOPE/a/b}", "-a-||");
    fails("${A/x}", "missing '/' in ${}");
    fails("${A/x/y", "missing '}'");
}

#[test]
fn broken_substitutions() {
    fails("${X", "missing '}'");
    fails("${", "missing '}'");
    fails("${A:-b", "missing '}'");
    for word in ["${}", "${:x}", "${{A}}"] {
        fails(word, "bad substitution");
    }
    fails("${A:=b}", "unsupported modifier (:=) in substitution");
    fails("${A:#b}", "unsupported modifier (:#) in substitution");
    fails("${A^^}", "unsupported modifier (^) in substitution");
    fails("${ }", "unsupported modifier ( ) in substitution");
    let deep = "${NOPE:-".repeat(100_000);
    fails(&deep, "nested more than 100 deep");
}

#[test]
fn undefined_names_are_reported_once() {
    let expanded = expand("$NOPE ${NOPE} ${OTHER:-x} $A", '\\', &lookup).expect("expands");
    assert_eq!(expanded.undefined, ["NOPE", "OTHER"]);
}

#[test]
fn words_are_split_after_expansion() {
    let words = |word: &str| expand_words(word, '\\', &lookup).expect("expands");
    assert_eq!(words("$TWO"), ["x", "y"]);
    assert_eq!(words("\"$TWO\"/tcp"), ["x y/tcp"]);
    assert_eq!(words("$NOPE"), Vec::<String>::new());
    assert_eq!(words("a\\ b c"), ["a b", "c"]);
}

#[test]
fn heredoc_bodies_have_no_quotes() {
    let expanded = expand_heredoc("it's \"$A\" \\$A \\\\ \\x ${NOPE}\n", &lookup).expect("expands");
    assert_eq!(expanded.text, "it's \"a\" $A \\ x \n");
}

#[test]
fn matching_takes_bounded_time() {
    let value = "a".repeat(3_000);
    let found = |_: &str| Some(value.clone());
    let pattern = format!("${{V%{}b}}", "a*".repeat(40));
    assert_eq!(expand(&pattern, '\\', &found).expect("expands").text, value);
}
