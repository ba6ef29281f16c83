//! Compares what a build gave with what the case's `expect.json` says. Every difference is one line of text.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::support::image::{Files, Image, Node, normal};
use super::support::kiln::Output;

type Object = Map<String, Value>;

/// Checks the log: the words of an error and its line when the build failed, and what must or must not be said.
pub(crate) fn check_output(expected: &Object, output: &Output) -> Vec<String> {
    let mut wrong = Vec::new();
    let log = output.both();
    if output.code != 0 {
        let lower = log.to_lowercase();
        let has = |word: &&str| lower.contains(&word.to_lowercase());
        let (exact, any) = (strings(expected.get("error_contains")), strings(expected.get("error_any")));
        let asks_nothing = exact.is_empty() && any.is_empty();
        let said = !exact.is_empty() && exact.iter().all(has) || any.iter().any(has);
        if !said && !asks_nothing {
            wrong.push(format!("the error has neither {exact:?} nor any of {any:?}"));
        }
        if let Some(line) = expected.get("error_line").and_then(Value::as_u64)
            && !names_line(&log, line)
        {
            wrong.push(format!("the error does not name line {line}"));
        }
    }
    for word in strings(expected.get("output_contains")) {
        if !log.contains(word) {
            wrong.push(format!("the output lacks {word:?}"));
        }
    }
    for word in strings(expected.get("output_lacks")) {
        if log.contains(word) {
            wrong.push(format!("the output has {word:?}"));
        }
    }
    wrong
}

/// Whether the log has `Dockerfile:N` or `line N`.
fn names_line(log: &str, line: u64) -> bool {
    let number = line.to_string();
    ["Dockerfile:", "line "].iter().any(|before| {
        let mut rest = log.split(before).skip(1);
        rest.any(|after| after.strip_prefix(&number).is_some_and(|end| !end.starts_with(char::is_alphanumeric)))
    })
}

/// Checks files, config, history and layers of an image.
pub(crate) fn check_image(expected: &Object, image: &Image, files: &Files) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, want) in object(expected.get("files")) {
        check_file(files, path, want, &mut wrong);
    }
    for pattern in strings(expected.get("absent")) {
        let pattern = normal(pattern);
        let hits: Vec<&String> =
            files.keys().filter(|path| glob(pattern.as_bytes(), path.as_bytes())).take(5).collect();
        if !hits.is_empty() {
            wrong.push(format!("present but must be absent: {hits:?}"));
        }
    }
    for (directory, names) in object(expected.get("listing")) {
        check_listing(files, directory, names, &mut wrong);
    }
    let empty = Value::Object(Map::new());
    let config = image.config.get("config").unwrap_or(&empty);
    for (got, key) in
        [(config, "config"), (&image.config, "image"), (image.manifest.as_ref().unwrap_or(&empty), "manifest")]
    {
        check_object(got, object(expected.get(key)), key, &mut wrong);
    }
    check_history(expected, image, &mut wrong);
    wrong
}

/// Checks which files equal those of the build before (`same`: the step came from the cache) or not (`differ`).
pub(crate) fn check_reuse(step: &Object, before: &Files, files: &Files) -> Vec<String> {
    let data = |files: &Files, path: &str| files.get(&normal(path)).map(|node| node.data.clone());
    let mut wrong = Vec::new();
    for path in strings(step.get("same")) {
        let (old, new) = (data(before, path), data(files, path));
        if old.is_none() || old != new {
            wrong.push(format!("{path} changed: the step was not taken from the cache"));
        }
    }
    for path in strings(step.get("differ")) {
        let (old, new) = (data(before, path), data(files, path));
        if old.is_none() || new.is_none() || old == new {
            wrong.push(format!("{path} unchanged: a stale result was taken from the cache"));
        }
    }
    wrong
}

fn check_file(files: &Files, path: &str, want: &Value, wrong: &mut Vec<String>) {
    let Some(node) = files.get(&normal(path)) else {
        wrong.push(format!("missing {path}"));
        return;
    };
    let kind = want["type"].as_str().or(want.get("target").map(|_| "symlink"));
    let kind = kind.or((want.get("content").is_some() || want.get("sha256").is_some()).then_some("file"));
    if kind.is_some_and(|kind| kind != node.kind) {
        wrong.push(format!("{path}: is a {}, want a {}", node.kind, kind.unwrap_or_default()));
        return;
    }
    if let Some(content) = want.get("content") {
        let got = String::from_utf8_lossy(&node.data);
        if !matches(&got, content) {
            wrong.push(format!("{path}: content {}, want {}", shown(&got), shown(content)));
        }
    }
    if let Some(digest) = want["sha256"].as_str()
        && kiln::digest::Digest::of(&node.data).to_string() != format!("sha256:{digest}")
    {
        wrong.push(format!("{path}: sha256 differs"));
    }
    check_metadata(node, path, want, wrong);
    if let Some(other) = want["same_inode"].as_str() {
        let linked = files.get(&normal(other)).is_some_and(|other| Rc::ptr_eq(other, node));
        if !linked {
            wrong.push(format!("{path}: not a hard link of {other}"));
        }
    }
}

fn check_metadata(node: &Node, path: &str, want: &Value, wrong: &mut Vec<String>) {
    if let Some(mode) = want["mode"].as_str()
        && u32::from_str_radix(mode, 8) != Ok(node.mode)
    {
        wrong.push(format!("{path}: mode {:04o}, want {mode}", node.mode));
    }
    for (key, got) in [("uid", node.uid), ("gid", node.gid)] {
        if want[key].as_u64().is_some_and(|id| id != got) {
            wrong.push(format!("{path}: {key} {got}, want {}", want[key]));
        }
    }
    if want["target"].as_str().is_some_and(|target| target != node.target) {
        wrong.push(format!("{path}: link target {}, want {}", node.target, want["target"]));
    }
    if want["mtime"].as_i64().is_some_and(|mtime| mtime != node.mtime) {
        wrong.push(format!("{path}: mtime {}, want {}", node.mtime, want["mtime"]));
    }
    for (name, value) in object(want.get("xattrs")) {
        if node.xattrs.get(name).map(String::as_str) != value.as_str() {
            wrong.push(format!("{path}: xattr {name} is {:?}, want {value}", node.xattrs.get(name)));
        }
    }
}

/// `names` are all paths below `directory`.
fn check_listing(files: &Files, directory: &str, names: &Value, wrong: &mut Vec<String>) {
    let prefix = format!("{}/", normal(directory).trim_end_matches('/'));
    let got: Vec<&str> = files.keys().filter_map(|path| path.strip_prefix(&prefix)).collect();
    let mut want = strings(Some(names));
    want.sort_unstable();
    if got != want {
        wrong.push(format!("listing of {directory}: {got:?}, want {want:?}"));
    }
}

/// Compares the keys that `want` names. A key that ends in `+` asks for parts of a list (in this order) or of a map;
/// one that ends in `-` for entries that a list must not have (`NAME=` stands for all that start so).
fn check_object(got: &Value, want: &Object, name: &str, wrong: &mut Vec<String>) {
    for (key, want) in want {
        if let Some(key) = key.strip_suffix('+') {
            let value = &got[key];
            let enough = match want {
                Value::Object(parts) => parts.iter().all(|(part, want)| value.get(part) == Some(want)),
                _ => in_order(array(Some(value)), array(Some(want))),
            };
            if !enough {
                wrong.push(format!("{name}.{key}: {} lacks {}", shown(value), shown(want)));
            }
        } else if let Some(key) = key.strip_suffix('-') {
            let value = &got[key];
            let bad = array(Some(value)).iter().filter_map(Value::as_str).find(|entry| {
                strings(Some(want))
                    .iter()
                    .any(|banned| entry == banned || banned.ends_with('=') && entry.starts_with(banned))
            });
            if let Some(bad) = bad {
                wrong.push(format!("{name}.{key}: has {bad:?}"));
            }
        } else {
            let value = got.get(key).unwrap_or(&Value::Null);
            let equal = if is_empty(want) { is_empty(value) } else { value == want };
            if !equal {
                wrong.push(format!("{name}.{key}: {}, want {}", shown(value), shown(want)));
            }
        }
    }
}

fn in_order(got: &[Value], want: &[Value]) -> bool {
    let mut rest = got.iter();
    want.iter().all(|want| rest.any(|got| got == want))
}

fn check_history(expected: &Object, image: &Image, wrong: &mut Vec<String>) {
    let history = array(image.config.get("history"));
    let want = array(expected.get("history"));
    let tail = &history[history.len().saturating_sub(want.len())..];
    if tail.len() < want.len() {
        wrong.push(format!("the history has {} entries, want {} at least", history.len(), want.len()));
    }
    for (number, (got, want)) in tail.iter().zip(want).enumerate() {
        let created_by = got["created_by"].as_str().unwrap_or_default();
        if !matches(created_by, &want["created_by"]) {
            wrong.push(format!("history[{number}]: {}, want {}", shown(&created_by), shown(&want["created_by"])));
        }
        let is_empty_layer = got["empty_layer"].as_bool().unwrap_or(false);
        if want["empty_layer"].as_bool().is_some_and(|want| want != is_empty_layer) {
            wrong.push(format!("history[{number}] {}: empty_layer {is_empty_layer}", shown(&created_by)));
        }
        for key in ["created", "comment", "author"] {
            if want.get(key).is_some() && got[key] != want[key] {
                wrong.push(format!("history[{number}].{key}: {}, want {}", got[key], want[key]));
            }
        }
    }
    let layers = image.layers.len();
    if let Some(want) = expected.get("new_layers").and_then(Value::as_u64) {
        let base = expected.get("base_layers").and_then(Value::as_u64).unwrap_or(1);
        if layers as u64 != want + base {
            wrong.push(format!("{layers} layers, {base} of them the base's, want {want} new ones"));
        }
    }
    let with_layer = history.iter().filter(|entry| entry["empty_layer"] != Value::Bool(true)).count();
    if !history.is_empty() && with_layer != layers {
        wrong.push(format!("{with_layer} history entries have a layer, but there are {layers} layers"));
    }
}

/// `want` is the whole text, or `{"contains": ..}`, or `{"not_contains": ..}`.
fn matches(got: &str, want: &Value) -> bool {
    match want {
        Value::String(want) => got == want,
        Value::Object(want) => {
            let contains = strings(want.get("contains"));
            let lacks = strings(want.get("not_contains"));
            assert!(!contains.is_empty() || !lacks.is_empty(), "this test knows no such matcher: {want:?}");
            contains.iter().all(|part| got.contains(part)) && !lacks.iter().any(|part| got.contains(part))
        }
        _ => false,
    }
}

/// `*` (any text, slashes too), `?` and `[abc]`.
fn glob(pattern: &[u8], path: &[u8]) -> bool {
    match (pattern, path) {
        ([], _) => path.is_empty(),
        ([b'*', rest @ ..], _) => (0..=path.len()).any(|skip| glob(rest, &path[skip..])),
        ([b'?', rest @ ..], [_, path @ ..]) => glob(rest, path),
        ([b'[', rest @ ..], [first, path @ ..]) => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => rest[..end].contains(first) && glob(&rest[end + 1..], path),
            None => *first == b'[' && glob(rest, path),
        },
        ([same, rest @ ..], [first, path @ ..]) => same == first && glob(rest, path),
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

/// A string, or a list of strings.
fn strings(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn object(value: Option<&Value>) -> &Object {
    static EMPTY: std::sync::OnceLock<Object> = std::sync::OnceLock::new();
    value.and_then(Value::as_object).unwrap_or_else(|| EMPTY.get_or_init(Object::new))
}

fn shown(value: &dyn std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    if text.chars().count() < 300 { text } else { text.chars().take(300).chain("...".chars()).collect() }
}
