//! One test per fact of the key, and one for each thing that is none. Facts of the files themselves are tested where
//! they are hashed (`copy::key`). Goldens show whole keys.

use super::*;
use crate::cache::{explain as explained, key_of};
use crate::dockerfile::chmod::Chmod;
use crate::plan::{AddOptions, StepId};
use crate::source::{SourceId, Span};

struct Case {
    op: CopyOp,
    below: Option<ChainId>,
    files: Files,
}

fn chain(names: &[&str]) -> Option<ChainId> {
    Inputs::made_up(&[names]).layers(Some(StepId(0))).id()
}

fn path(text: &str) -> CopySource {
    CopySource::Path { path: text.to_owned(), span: Span::new(SourceId(0), 0..1) }
}

fn content(local: u8, remote: &[&str]) -> Files {
    Files::Content { local: [local; 32], remote: remote.iter().map(|text| (*text).to_owned()).collect() }
}

/// A COPY whose files are known by their content.
fn by_content() -> Case {
    let op = CopyOp {
        parent: Some(StepId(0)),
        from: Tree::Context(None),
        sources: vec![path("a"), CopySource::Inline { name: "EOF".to_owned(), text: "text\n".to_owned() }],
        destination: "/x/".to_owned(),
        chown: Some("1:2".to_owned()),
        chmod: Some(Chmod::parse("644").unwrap()),
        link: false,
        parents: false,
        exclude: vec!["*.md".to_owned()],
        add: None,
    };
    Case { op, below: chain(&["base"]), files: content(7, &[]) }
}

/// The same, of a stage whose files nobody looked at yet.
fn by_layers() -> Case {
    Case { files: Files::Layers(chain(&["stage"])), ..by_content() }
}

fn with_facts<T>(case: Case, use_them: impl FnOnce(&Facts<'_>) -> T) -> T {
    let Case { op, below, files } = case;
    use_them(&Facts { op: &op, below, files })
}

fn key(case: Case) -> crate::cache::Key {
    with_facts(case, |facts| key_of(facts))
}

#[track_caller]
fn check(make: fn() -> Case, counts: bool, change: impl FnOnce(&mut Case)) {
    let mut other = make();
    change(&mut other);
    assert_eq!(key(make()) != key(other), counts);
}

/// The change gives another key, however the files are known.
#[track_caller]
fn counts(change: impl Fn(&mut Case)) {
    check(by_content, true, &change);
    check(by_layers, true, &change);
}

#[test]
fn the_destination_counts() {
    counts(|case| case.op.destination = "/x".to_owned());
}

#[test]
fn owner_and_mode_count() {
    counts(|case| case.op.chown = None);
    counts(|case| case.op.chown = Some("0:0".to_owned()));
    counts(|case| case.op.chmod = None);
    counts(|case| case.op.chmod = Some(Chmod::parse("600").unwrap()));
    counts(|case| case.op.chmod = Some(Chmod::parse("u+x").unwrap()));
}

#[test]
fn an_owner_given_as_root_is_not_none() {
    let owner = |owner: Option<&str>| {
        let mut case = by_content();
        case.op.chown = owner.map(str::to_owned);
        key(case)
    };
    assert_ne!(owner(None), owner(Some("0:0")));
}

#[test]
fn add_and_how_it_unpacks_count() {
    let add = |unpack| Some(AddOptions { unpack, ..AddOptions::default() });
    let kinds = [None, add(None), add(Some(true)), add(Some(false))];
    let keys = kinds.map(|add| {
        let mut case = by_content();
        case.op.add = add;
        key(case)
    });
    for (at, one) in keys.iter().enumerate() {
        assert!(!keys[at + 1..].contains(one), "kind {at}");
    }
}

#[test]
fn content_counts() {
    counts_by_content(|case| case.files = content(8, &[]));
}

fn counts_by_content(change: fn(&mut Case)) {
    check(by_content, true, change);
}

#[test]
fn remote_sources_count_with_what_is_taken_of_them() {
    counts_by_content(|case| case.files = content(7, &["0 git a"]));
    let with = |remote: &[&str], exclude: &str| {
        key(Case {
            op: CopyOp { exclude: vec![exclude.to_owned()], ..by_content().op },
            files: content(7, remote),
            ..by_content()
        })
    };
    assert_ne!(with(&["0 git a"], "*.md"), with(&["1 git a"], "*.md"));
    assert_ne!(with(&["0 git a"], "*.md"), with(&["0 git a"], "*.txt"));
    assert_eq!(with(&[], "*.md"), with(&[], "*.txt"));
}

#[test]
fn link_counts() {
    counts(|case| case.op.link = true);
}

#[test]
fn layers_below_count() {
    counts(|case| case.below = chain(&["other"]));
    counts(|case| case.below = chain(&[]));
}

/// What is left out by `--exclude`, chosen by `--parents` or named otherwise shows in the content.
#[test]
fn where_files_come_from_does_not_count_once_their_content_is_known() {
    let same = |change: fn(&mut Case)| check(by_content, false, change);
    same(|case| case.op.from = Tree::Context(Some("other".to_owned())));
    same(|case| case.op.from = Tree::Root(Some(StepId(3))));
    same(|case| case.op.sources[0] = path("./a"));
    same(|case| case.op.exclude.clear());
    same(|case| case.op.parents = true);
    same(|case| case.op.parent = Some(StepId(4)));
}

#[test]
fn places_in_the_dockerfile_do_not_count() {
    let moved = || CopySource::Path { path: "a".to_owned(), span: Span::new(SourceId(0), 5..6) };
    check(by_content, false, |case| case.op.sources[0] = moved());
    check(by_layers, false, |case| case.op.sources[0] = moved());
}

/// As long as nobody looked at the files, all that chooses them counts.
#[test]
fn layers_and_choice_count_where_the_content_is_not_known() {
    let other = |change: fn(&mut Case)| check(by_layers, true, change);
    other(|case| case.files = Files::Layers(chain(&["stage again"])));
    other(|case| case.files = Files::Layers(None));
    other(|case| case.op.sources[0] = path("b"));
    other(|case| case.op.sources.swap(0, 1));
    other(|case| case.op.sources[1] = CopySource::Inline { name: "EOF".to_owned(), text: "other\n".to_owned() });
    other(|case| case.op.sources[1] = CopySource::Inline { name: "END".to_owned(), text: "text\n".to_owned() });
    other(|case| case.op.exclude = vec!["*.txt".to_owned()]);
    other(|case| case.op.exclude.clear());
    other(|case| case.op.parents = true);
}

#[test]
fn keys_are_explained() {
    assert_eq!(with_facts(by_content(), |facts| explained(facts)), include_str!("../../../testdata/keys/copy.txt"));
    assert_eq!(
        with_facts(by_layers(), |facts| explained(facts)),
        include_str!("../../../testdata/keys/copy-of-a-stage.txt")
    );
}
