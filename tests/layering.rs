//! Compares what the rooms of `src` import with the layer list that `src/lib.rs` draws.
//!
//! The list is the `text` block under the heading `Layers` in the documentation of `src/lib.rs`. A line is
//! `N name name: description (name uses name, name uses name)`: the level, the rooms on it, what they are for, and the
//! neighbours that a room of this level may import. Any room may import rooms of smaller levels.

// Tests are the edge: they list directories.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The layer list: the level of each room, and the neighbours it may import.
#[derive(Debug, Default, PartialEq)]
struct Layers {
    level: BTreeMap<String, u32>,
    neighbours: BTreeSet<(String, String)>,
}

impl Layers {
    /// Reads the list out of the text of `src/lib.rs`.
    fn of(page: &str) -> Self {
        let lines = page.lines().filter_map(|line| line.strip_prefix("//!")).map(|line| line.trim());
        let mut lines = lines.skip_while(|line| !line.trim_start_matches('#').trim().eq("Layers"));
        lines.find(|line| *line == "```text").expect("src/lib.rs has a text block under the heading `Layers`");
        let mut layers = Self::default();
        for line in lines.take_while(|line| *line != "```") {
            layers.add(line);
        }
        layers
    }

    fn add(&mut self, line: &str) {
        let (names, description) = line.split_once(": ").unwrap_or_else(|| panic!("no colon in layer line: {line}"));
        let mut names = names.split_whitespace();
        let level = names.next().and_then(|level| level.parse().ok());
        let level = level.unwrap_or_else(|| panic!("no level in layer line: {line}"));
        for name in names {
            assert!(self.level.insert(name.to_owned(), level).is_none(), "`{name}` is on the layer list twice");
        }
        let inside = description.rsplit_once('(').map_or("", |(_, inside)| inside.trim_end_matches(')'));
        for clause in inside.split(", ") {
            if let Some((from, to)) = clause.split_once(" uses ") {
                self.neighbours.insert((from.to_owned(), to.to_owned()));
            }
        }
    }

    fn allows(&self, from: &str, to: &str) -> bool {
        let (Some(above), Some(below)) = (self.level.get(from), self.level.get(to)) else { return false };
        below < above || from == to || self.neighbours.contains(&(from.to_owned(), to.to_owned()))
    }
}

#[test]
fn rooms_import_only_what_the_layer_list_allows() {
    let layers = Layers::of(&std::fs::read_to_string(source_root().join("lib.rs")).expect("src/lib.rs"));
    let mut wrong = Vec::new();
    for file in source_files(&source_root()) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let below = file.strip_prefix(source_root()).expect("a file of src").to_owned();
        let room = room_of(&below);
        for import in imports(&text, depth_of(&below), &layers) {
            if !layers.allows(&room, &import) {
                wrong.push(format!("src/{}: `{room}` may not import `{import}`", below.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the layer list in src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn the_layer_list_names_the_rooms_that_stand_and_no_other() {
    let layers = Layers::of(&std::fs::read_to_string(source_root().join("lib.rs")).expect("src/lib.rs"));
    let drawn: BTreeSet<String> = layers.level.keys().cloned().collect();
    let files = source_files(&source_root());
    let stand = files.iter().map(|file| room_of(file.strip_prefix(source_root()).expect("a file of src")));
    let stand: BTreeSet<String> = stand.filter(|room| room != "lib").collect();
    let missing: Vec<_> = stand.difference(&drawn).collect();
    assert!(missing.is_empty(), "rooms of src that the layer list does not draw: {missing:?}");
    let gone: Vec<_> = drawn.difference(&stand).collect();
    assert!(gone.is_empty(), "rooms of the layer list that src does not have: {gone:?}");
}

#[test]
fn neighbours_on_one_level_make_no_cycle() {
    let layers = Layers::of(&std::fs::read_to_string(source_root().join("lib.rs")).expect("src/lib.rs"));
    for (from, to) in &layers.neighbours {
        assert_eq!(layers.level.get(from), layers.level.get(to), "`{from} uses {to}` are not on one level");
        let mut reached = BTreeSet::new();
        let mut open = vec![to];
        while let Some(room) = open.pop() {
            assert_ne!(room, from, "the layer list allows a cycle through `{from}`");
            if reached.insert(room) {
                open.extend(layers.neighbours.iter().filter(|(next, _)| next == room).map(|(_, next)| next));
            }
        }
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let text = r#"
        use crate::digest::Digest; // crate::comment
        use crate::{diag, oci::{self, Reference}, layer};
        /* crate::block */ const NAME: &str = "crate::string";
        use super::super::content::Store;
        fn f() -> crate::cache::Key { super::inside() }
        #[cfg(test)] mod tests { use super::super::not_the_root; }
    "#;
    let layers = Layers::of("//! # Layers\n//! ```text\n//! 0 content: blobs\n//! ```\n");
    let found: Vec<String> = imports(text, 2, &layers).into_iter().collect();
    assert_eq!(found, ["cache", "content", "diag", "digest", "layer", "oci"]);
}

#[test]
fn a_layer_line_is_read() {
    let page =
        "//! # Layers\n//!\n//! ```text\n//! 0 a b: two rooms (b uses a)\n//! 1 c: one room (plain words)\n//! ```\n";
    let layers = Layers::of(page);
    assert!(layers.allows("b", "a") && layers.allows("c", "b") && layers.allows("c", "c"));
    assert!(!layers.allows("a", "b") && !layers.allows("a", "c") && !layers.allows("c", "unknown"));
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn source_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory of src") {
        let path = entry.expect("an entry of src").path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The room a file is in: `layer/diff.rs` -> `layer`, `diag.rs` -> `diag`.
fn room_of(file: &Path) -> String {
    let first = file.components().next().expect("a file name").as_os_str().to_string_lossy().into_owned();
    first.strip_suffix(".rs").map_or(first.clone(), str::to_owned)
}

/// How many `super` lead from the top of a file to the root of the crate.
fn depth_of(file: &Path) -> usize {
    let is_module_root = file.ends_with("mod.rs") || file == Path::new("lib.rs") || file == Path::new("main.rs");
    file.components().count() - usize::from(is_module_root)
}

/// The rooms that a source text names: by `crate::` or `kiln::`, or by `super::` up to the root of the crate.
fn imports(text: &str, depth: usize, layers: &Layers) -> BTreeSet<String> {
    let code = without_comments_and_strings(text);
    let mut found: BTreeSet<String> = ["crate::", "kiln::"].iter().flat_map(|root| names_after(&code, root)).collect();
    // In a module of tests at the end of a file, the same chain leads one step less far.
    let own = code.split("#[cfg(test)]").next().unwrap_or_default();
    if depth > 0 {
        let named = names_after(own, &"super::".repeat(depth)).into_iter();
        // A file that is a module by `#[path]` is deeper than it looks; then the name is not that of a room.
        found.extend(named.filter(|name| layers.level.contains_key(name)));
    }
    found
}

/// The first names of all paths that start with `root`.
fn names_after(code: &str, root: &str) -> Vec<String> {
    let is_inside_path = |before: char| before.is_alphanumeric() || before == '_' || before == ':';
    let starts = code.match_indices(root).map(|(at, _)| at);
    let starts = starts.filter(|at| !code[..*at].ends_with(is_inside_path));
    starts.flat_map(|at| first_names(&code[at + root.len()..])).collect()
}

/// The first names of a path or of a braced list: `a::b` -> a; `{a, b::{c, d}, e}` -> a, b, e.
fn first_names(path: &str) -> Vec<String> {
    let name_at = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let Some(list) = path.strip_prefix('{') else { return vec![name_at(path)] };
    let mut names = vec![name_at(list)];
    let mut depth = 1;
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(name_at(&list[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name: &String| !name.is_empty());
    names
}

/// Blanks comments and string literals. Enough of a lexer for code that rustfmt has laid out.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let skipped = match rest {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ if rest.starts_with("r#\"") => rest[3..].find("\"#").map_or(rest.len(), |end| end + 5),
            _ if rest.starts_with("'\"'") => 3,
            _ if character == '"' => string_length(rest),
            _ => 0,
        };
        if skipped == 0 {
            code.push(character);
            rest = &rest[character.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of the string literal that `text` starts with, quotes included.
fn string_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}
