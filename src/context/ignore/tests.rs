use std::path::Path;

use proptest::prelude::*;
use regex::Regex;

use super::*;

// language 15.3, 15.4, 15.5
#[test]
fn the_cases_hold() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ignore");
    let entries = crate::fsutil::Dir::open(&directory).unwrap().entries().unwrap();
    let cases = entries.iter().filter(|entry| entry.name.to_string_lossy().ends_with(".txt"));
    assert!(cases.clone().count() > 5);
    for case in cases {
        let text = std::fs::read_to_string(directory.join(&case.name)).unwrap();
        let (rules, paths) = text.split_once("---\n").unwrap();
        let ignore = Ignore::parse(rules).unwrap();
        let rules: Vec<String> = ignore.rules.iter().map(|rule| rule.text.clone()).collect();
        for line in paths.lines() {
            let (sign, path) = line.split_once(' ').unwrap();
            assert_eq!(ignore.excludes(path.as_bytes()), sign == "-", "{:?}: {path}", case.name);
            assert_eq!(naive_excludes(&rules, path), sign == "-", "the definition, {:?}: {path}", case.name);
        }
    }
}

#[test]
fn bom_and_carriage_returns_do_not_matter() {
    let ignore = Ignore::parse("\u{feff}a\r\n# c\r\nb\r\n").unwrap();
    assert!(ignore.excludes(b"a") && ignore.excludes(b"b"));
    assert_eq!(ignore.rules.len(), 2);
}

// language 15.2
#[test]
fn lines_are_read_as_written_down() {
    let ignore = |text: &str| Ignore::parse(text).unwrap();
    let excludes = |text: &str, path: &str| ignore(text).excludes(path.as_bytes());
    // The mark of UTF-8, comments, blanks, line ends.
    assert!(excludes("\u{feff}a", "a") && excludes("x\r\na\r\n", "a") && excludes(" \t a \t\n", "a"));
    assert!(ignore("# a\n\n   \n#b\r\n").is_empty());
    // Only in the first column.
    assert!(excludes(" # a", "# a") && excludes("\\#a", "#a") && excludes("a#b", "a#b"));
    // Negation.
    for negation in ["!a", "! a", "!\ta", "!./a", "!/a", "!a/", "  !a"] {
        assert!(!excludes(&format!("*\n{negation}"), "a"), "{negation}");
    }
    assert!(excludes("\\!a", "!a") && !excludes("*\n!!a", "!a"));
    // Paths.
    for same in ["/a/b", "./a/b", "a//b", "a/./b", "a/b/", "a/x/../b", "/../a/b", "a/b/."] {
        assert!(excludes(same, "a/b"), "{same}");
        assert!(!excludes(same, "a"), "{same}");
    }
}

// language 15.7
#[test]
fn rules_for_the_top_and_above_say_nothing() {
    for rule in [".", "/", "..", "./", "../", "a/..", "../a", "!.", "!/", "!.."] {
        let ignore = Ignore::parse(&format!("kept\n{rule}\n")).unwrap();
        assert!(!ignore.excludes(b"a") && !ignore.excludes(b"a/b") && ignore.excludes(b"kept"), "{rule}");
    }
}

#[test]
fn all_mistakes_are_reported_with_their_lines() {
    let errors = Ignore::parse("ok\n!\n[a-\n! \n").unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| (error.line(), error.to_string())).collect();
    let lone = "illegal exclusion pattern: \"!\"".to_owned();
    assert_eq!(found, [(2, lone.clone()), (3, "`[a-`: syntax error in pattern".to_owned()), (4, lone)]);
}

#[test]
fn the_deciding_rule_is_named() {
    let ignore = Ignore::parse("# c\n*.txt\n!b.txt\n").unwrap();
    assert_eq!(ignore.rule_for(b"a.txt").map(|rule| (rule.line, rule.text.as_str())), Some((2, "*.txt")));
    assert!(ignore.rule_for(b"b.txt").is_none());
}

#[test]
fn only_directories_that_nothing_can_come_back_from_are_pruned() {
    let ignore = Ignore::parse("target\nvendor\n!vendor/*/keep\nold\n!*.md\n").unwrap();
    let prunes = |path: &str| ignore.can_prune(&ignore.verdict(path.as_bytes()), path.as_bytes());
    assert!(prunes("target") && prunes("target/debug") && prunes("old"));
    assert!(!prunes("vendor") && !prunes("vendor/a") && !prunes("src"));
    assert!(prunes("vendor/a/b"));
}

/// A path without `.`, `..`, doubled slashes and slashes around it: one rewriting after the other until none applies.
fn naive_clean(pattern: &str) -> String {
    let rewritings = [
        ("//+", "/"),
        (r"/\./", "/"),
        (r"/\.$", "/"),
        (r"(^|/)(?:[^/.]|[^/][^/.]|[^/.][^/]|[^/]{3,})/\.\.(/|$)", "$1"),
        (r"^/\.\.(/|$)", "/"),
    ];
    let mut text = pattern.to_owned();
    loop {
        let mut next = text.strip_prefix("./").unwrap_or(&text).to_owned();
        for (from, to) in rewritings {
            next = Regex::new(from).unwrap().replace(&next, to).into_owned();
        }
        if next == text {
            break;
        }
        text = next;
    }
    let text = text.trim_matches('/');
    if text.is_empty() { ".".to_owned() } else { text.to_owned() }
}

/// The documented meaning of a pattern, said as a regular expression.
fn naive_regex(pattern: &str) -> Regex {
    let pattern = naive_clean(pattern);
    let mut text = "(?s)^".to_owned();
    let mut rest = pattern.as_str();
    while let Some(first) = rest.chars().next() {
        let tail = &rest[first.len_utf8()..];
        rest = match first {
            '*' if tail == "*" => {
                text.push_str(".*");
                ""
            }
            '*' if tail.starts_with('*') => {
                let after = tail[1..].strip_prefix('/').unwrap_or(&tail[1..]);
                let ends_in =
                    rest.len() == pattern.len() && after == &tail[1..] && !after.contains(['*', '?', '[', '\\']);
                text.push_str(if after.is_empty() || ends_in { ".*" } else { "(?:.*/)?" });
                after
            }
            '*' => {
                text.push_str("[^/]*");
                tail
            }
            '?' => {
                text.push_str("[^/]");
                tail
            }
            '[' => {
                let end = 1 + rest[1..].find(']').expect("classes of the tests are closed");
                text.push_str(&format!("[{}]", rest[1..end].replace('[', r"\[")));
                &rest[end + 1..]
            }
            '\\' => {
                let escaped = tail.chars().next().expect("escapes of the tests escape something");
                text.push_str(&regex::escape(&escaped.to_string()));
                &tail[escaped.len_utf8()..]
            }
            plain => {
                text.push_str(&regex::escape(&plain.to_string()));
                tail
            }
        };
    }
    text.push('$');
    Regex::new(&text).unwrap()
}

/// Which rules apply to a path: those that match it, and those that applied to the directory it is in. A rule that could
/// change nothing is not asked.
fn naive_applied(rules: &[(bool, Regex)], path: &str) -> (bool, Vec<bool>) {
    let above = match path.rsplit_once('/') {
        Some((above, _)) => naive_applied(rules, above).1,
        None => vec![false; rules.len()],
    };
    let mut excluded = false;
    let mut applied = Vec::new();
    for ((negated, regex), above) in rules.iter().zip(above) {
        let applies = above || (*negated == excluded && regex.is_match(path));
        applied.push(applies);
        if applies {
            excluded = !negated;
        }
    }
    (excluded, applied)
}

fn naive_excludes(rules: &[String], path: &str) -> bool {
    let compile = |rule: &String| match rule.strip_prefix('!') {
        Some(rest) => (true, naive_regex(rest.trim())),
        None => (false, naive_regex(rule)),
    };
    let rules: Vec<_> = rules.iter().map(compile).collect();
    naive_applied(&rules, path).0
}

fn rule() -> impl Strategy<Value = String> {
    let pieces = [
        "a", "b", "ab", ".", "..", "/", "/", "/", "*", "*", "**", "**/", "/**", "?", "[ab]", "[^a]", "[a-b.]", "\\*",
        "\\a", "(", "+", "$", "é",
    ];
    let piece = prop::sample::select(pieces.to_vec());
    (prop::bool::weighted(0.35), prop::collection::vec(piece, 1..7))
        .prop_map(|(not, pieces)| format!("{}{}", if not { "!" } else { "" }, pieces.concat()))
}

fn rules() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(rule(), 1..6)
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "ab", "ba", "aab", "*", "a.b", ".a", "b(", "é", "aé", "+", "$b"]);
    prop::collection::vec(name, 1..5).prop_map(|names| names.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_matcher_agrees_with_the_definition(rules in rules(), path in path()) {
        let ignore = Ignore::parse(&rules.join("\n")).unwrap();
        prop_assert_eq!(ignore.excludes(path.as_bytes()), naive_excludes(&rules, &path), "{:?} {}", rules, path);
    }

    #[test]
    fn nothing_comes_back_below_what_is_pruned(rules in rules(), path in path()) {
        let ignore = Ignore::parse(&rules.join("\n")).unwrap();
        if parents(path.as_bytes()).any(|above| ignore.can_prune(&ignore.verdict(above), above)) {
            prop_assert!(ignore.excludes(path.as_bytes()), "{:?} {}", rules, path);
        }
    }

    #[test]
    fn nothing_changes_below_a_directory_where_no_rule_may_apply(rules in rules(), path in path()) {
        let ignore = Ignore::parse(&rules.join("\n")).unwrap();
        for above in parents(path.as_bytes()).filter(|above| !ignore.may_apply_below(above)) {
            prop_assert_eq!(ignore.excludes(path.as_bytes()), ignore.excludes(above), "{:?} {}", rules, path);
        }
    }
}
