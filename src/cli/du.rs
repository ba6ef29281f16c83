//! `kiln du`: what takes how much room in the store.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::age::age;
use super::environment::Environment;
use super::image_args::DuArguments;
use super::report::{self, Exit};
use super::template::{self, Row, TemplateError};
use super::usage::UsageError;
use super::{size, terminal};
use crate::fsutil::Timestamp;
use crate::images::{self, Thing, ThingKind};

/// Lists, and says how to exit. The process must have entered its namespaces.
pub(super) fn run(typed: &DuArguments) -> Exit {
    let prepared = Environment::read()
        .and_then(|environment| Ok((environment.store(typed.store.store.as_deref())?, environment.now)));
    let (root, now) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let things = match images::usage(&root) {
        Ok(things) => things,
        Err(error) => return report::of_images(&error),
    };
    match text(&things, typed, now) {
        Ok(text) => report::printed(terminal::print(&text)),
        Err(error) => report::refused(&UsageError::template(&typed.format, &error)),
    }
}

const HEADINGS: [(&str, &str); 1] = [("LastUsed", "LAST USED")];

fn text(things: &[Thing], typed: &DuArguments, now: Timestamp) -> Result<String, TemplateError> {
    let mut rows: Vec<(u64, Row)> = Vec::new();
    let mut summed: BTreeMap<(ThingKind, bool), (u64, usize, i64)> = BTreeMap::new();
    for thing in things {
        match thing.kind {
            ThingKind::Blob | ThingKind::Snapshot | ThingKind::CacheMount => {
                let name = thing.path.file_name().unwrap_or_default().to_string_lossy();
                let id: String = name.chars().take(if typed.verbose { usize::MAX } else { 12 }).collect();
                rows.push((thing.bytes, row(thing, &id, &thing.path.display().to_string(), now)));
            }
            kind => {
                let sum = summed.entry((kind, thing.reclaimable)).or_insert((0, 0, i64::MIN));
                let used = if thing.used == i64::MAX { i64::MIN } else { thing.used };
                *sum = (sum.0 + thing.bytes, sum.1 + 1, sum.2.max(used));
            }
        }
    }
    for ((kind, reclaimable), (bytes, count, used)) in summed {
        let thing = Thing { kind, path: "".into(), bytes, used, reclaimable, digest: None };
        let of = if kind == ThingKind::Store { "-".to_owned() } else { format!("({count})") };
        rows.push((bytes, row(&thing, &of, "", now)));
    }
    rows.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    if typed.format != "table" {
        return template::list(&rows, &typed.format, &[], &HEADINGS);
    }
    let mut text = match typed.verbose {
        true => rows.iter().map(block).collect(),
        false => template::list(&rows, "table", &["ID", "Type", "Reclaimable", "Size", "LastUsed"], &HEADINGS)?,
    };
    let sum = |wanted: bool| things.iter().filter(|thing| thing.reclaimable || !wanted).map(|thing| thing.bytes).sum();
    text += &format!("Reclaimable:\t{}\nTotal:\t\t{}\n", size::bytes(sum(true)), size::bytes(sum(false)));
    Ok(text)
}

fn row(thing: &Thing, id: &str, path: &str, now: Timestamp) -> Row {
    let used = (thing.used > i64::MIN).then_some(thing.used);
    let value = json!({
        "ID": id,
        "Type": name_of(thing.kind),
        "Reclaimable": thing.reclaimable.to_string(),
        "Size": size::bytes(thing.bytes),
        "Bytes": thing.bytes,
        "LastUsed": used.map_or_else(|| "-".to_owned(), |used| age(Some(used), now)),
        "Path": path,
    });
    match value {
        Value::Object(row) => row,
        _ => Row::new(),
    }
}

/// As `buildx du --verbose` shows a record.
fn block(row: &Row) -> String {
    let lines = row.iter().filter(|(name, value)| *name != "Bytes" && value.as_str() != Some(""));
    let lines =
        lines.map(|(name, value)| format!("{:<13} {}\n", format!("{name}:"), value.as_str().unwrap_or_default()));
    lines.collect::<String>() + "\n"
}

fn name_of(kind: ThingKind) -> &'static str {
    match kind {
        ThingKind::StepRecord => "step records",
        ThingKind::Note => "notes",
        ThingKind::Snapshot => "unpacked layer",
        ThingKind::Blob => "blob",
        ThingKind::CacheMount => "cache mount",
        ThingKind::Unfinished => "unfinished",
        ThingKind::Store => "store",
    }
}
