use super::*;
use crate::cache::{explain, key_of};
use crate::digest::{DiffId, Digest};
use crate::plan::StepId;

struct Case {
    op: WorkdirOp,
    inputs: Inputs,
}

fn case() -> Case {
    let op =
        WorkdirOp { parent: Some(StepId(0)), path: "/w".to_owned(), user: "me".to_owned(), mtime_seconds: Some(7) };
    Case { op, inputs: Inputs::made_up(&[&["base", "top"]]) }
}

fn facts(case: &Case) -> Facts<'_> {
    Facts { op: &case.op, below: case.inputs.layers(case.op.parent).id() }
}

#[track_caller]
fn counts(change: impl FnOnce(&mut Case)) {
    let mut other = case();
    change(&mut other);
    assert_ne!(key_of(&facts(&case())), key_of(&facts(&other)));
}

#[test]
fn path_counts() {
    counts(|case| case.op.path = "/w2".to_owned());
}

#[test]
fn user_counts() {
    counts(|case| case.op.user = String::new());
}

#[test]
fn time_counts_where_one_is_set() {
    counts(|case| case.op.mtime_seconds = Some(8));
    counts(|case| case.op.mtime_seconds = None);
}

#[test]
fn layers_below_count() {
    counts(|case| case.inputs = Inputs::made_up(&[&["base", "other"]]));
    counts(|case| case.inputs = Inputs::made_up(&[&["top", "base"]]));
    counts(|case| case.op.parent = None);
}

#[test]
fn which_step_made_the_layers_does_not_count() {
    let mut other = case();
    other.op.parent = Some(StepId(1));
    other.inputs = Inputs::made_up(&[&[], &["base", "top"]]);
    assert_eq!(key_of(&facts(&case())), key_of(&facts(&other)));
}

#[test]
fn a_key_is_explained() {
    let layer = |name: &str| DiffId(Digest::of(name.as_bytes()));
    let below = ChainId::of(&[layer("base"), layer("top")]).unwrap();
    let want = format!("op = workdir/1\npath = /w\nuser = me\ntime = 7\nlayers = {}\n", below.0);
    assert_eq!(explain(&facts(&case())), want);
}
