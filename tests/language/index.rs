//! The statements and the tests that pin them: every statement is pinned, every mark names a statement.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A numbered statement of `testdata/language`.
struct Statement {
    text: String,
    /// kiln deliberately does something else; the README says why.
    not_followed: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory` whose path `wanted` accepts.
fn files(directory: &str, wanted: impl Fn(&Path) -> bool + Copy) -> Vec<PathBuf> {
    let mut open = vec![root().join(directory)];
    let mut found = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the project") {
            let path = entry.expect("readable").path();
            match path.is_dir() {
                true => open.push(path),
                false if wanted(&path) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|own| own == extension)
}

/// Reads the lines `- 11.8 text` of `testdata/language/*.md`; lines that are indented go on with the text.
fn statements() -> BTreeMap<String, Statement> {
    let mut all: BTreeMap<String, Statement> = BTreeMap::new();
    for path in files("testdata/language", |path| has_extension(path, "md") && !path.ends_with("README.md")) {
        let mut last = None;
        for line in fs::read_to_string(&path).expect("text").lines() {
            if let Some(statement) = line.strip_prefix("- ") {
                let (number, text) = statement.split_once(' ').unwrap_or((statement, ""));
                assert!(is_number(number), "{}: `{line}` has no number", path.display());
                let not_followed = text.starts_with("(not followed)");
                let new = Statement { text: text.to_owned(), not_followed };
                assert!(all.insert(number.to_owned(), new).is_none(), "{number} is there twice");
                last = Some(number.to_owned());
            } else if let Some(statement) = last.as_ref().filter(|_| line.starts_with(' ')) {
                all.get_mut(statement).expect("it was just put there").text.push_str(line);
            }
        }
    }
    all
}

/// `11.8` and `m.3`.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(section, item)| (section == "m" || digits(section)) && digits(item))
}

/// The numbers that follow `language ` after a comment sign.
fn marks() -> BTreeMap<String, Vec<String>> {
    let mut marks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let of_rust = |path: &Path| has_extension(path, "rs") && !path.ends_with("tests/language/main.rs");
    let of_data = |path: &Path| !path.starts_with(root().join("testdata/language")) && !has_extension(path, "tar");
    let all = [files("tests", of_rust), files("src", of_rust), files("testdata", of_data)].concat();
    for path in all {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for line in text.lines() {
            for sign in ["// language ", "# language "] {
                let Some((_, numbers)) = line.split_once(sign) else { continue };
                for number in numbers.split([',', ' ']).filter(|word| is_number(word)) {
                    marks.entry(number.to_owned()).or_default().push(path.display().to_string());
                }
            }
        }
    }
    marks
}

/// The names of the torture cases, without their numbers.
fn torture_cases() -> BTreeSet<String> {
    let cases = files("testdata/torture", |path| path.ends_with("expect.json"));
    let name = |path: &PathBuf| {
        let directory = path.parent()?.file_name()?.to_str()?;
        directory.split_once('-').map(|(_, name)| name.to_owned())
    };
    cases.iter().filter_map(name).collect()
}

/// The cases a statement names as `T:name`.
fn named_cases(text: &str) -> impl Iterator<Item = &str> {
    let ends = |character: char| !(character.is_ascii_alphanumeric() || character == '-');
    text.split("T:").skip(1).map(move |rest| rest.split(ends).next().unwrap_or_default())
}

#[test]
fn every_statement_is_pinned_by_a_test() {
    let (marks, cases) = (marks(), torture_cases());
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let mut wrong = Vec::new();
    for (number, statement) in statements() {
        for name in named_cases(&statement.text).filter(|name| !cases.contains(*name)) {
            wrong.push(format!("{number} names the case {name}, which is not there"));
        }
        let pinned = marks.contains_key(&number) || named_cases(&statement.text).next().is_some();
        if statement.not_followed {
            if !readme.contains(&format!("({number})")) {
                wrong.push(format!("{number} is not followed, and the README does not say why"));
            }
        } else if !pinned {
            wrong.push(format!("{number} is pinned by no test: {}", statement.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mark_names_a_statement() {
    let statements = statements();
    assert!(!statements.is_empty());
    for (number, places) in marks() {
        assert!(statements.contains_key(&number), "{number} of {} is no statement", places.join(", "));
    }
}
