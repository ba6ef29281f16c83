//! `kiln inspect` and `kiln history`: what an image says of itself.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::age::{age, created_at};
use super::environment::Environment;
use super::image_args::{HistoryArguments, InspectArguments};
use super::images::short;
use super::report::{self, Exit};
use super::template::{self, Row, Template, TemplateError};
use super::usage::UsageError;
use super::{names, size, terminal};
use crate::content::Store;
use crate::diag::is_unsafe;
use crate::fsutil::Timestamp;
use crate::images::{self, HistoryEntry, ImagesError};
use crate::oci::{Platform, parse_rfc3339};

/// `kiln inspect`. As with docker, what was found is shown even if something else was not.
pub(super) fn inspect(typed: &InspectArguments) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        let template = match typed.format.as_str() {
            "" | "json" => None,
            format => Some(Template::parse_escaped(format).map_err(|error| UsageError::template(format, &error))?),
        };
        Ok((environment.store(typed.store.store.as_deref())?, template, platform(typed.platform.as_deref())?))
    });
    let (root, template, platform) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let store = match Store::open(&root) {
        Ok(store) => store,
        Err(error) => return report::of_images(&error.into()),
    };
    let mut exit = Exit::Success;
    let mut found = Vec::new();
    for text in &typed.images {
        match one(&store, text, platform.as_ref(), &typed.format) {
            Ok(value) => found.push(value),
            Err(error) => exit = report::of_images(&error),
        }
    }
    let text = match (&template, typed.format.as_str()) {
        (Some(template), _) => found.iter().map(|value| Ok(template.write(value)? + "\n")).collect(),
        (None, "json") => Ok(printable_json(&Value::Array(found).to_string()) + "\n"),
        (None, _) => Ok(pretty(&Value::Array(found)) + "\n"),
    };
    match text.map_err(|error: TemplateError| UsageError::template(&typed.format, &error)) {
        Ok(text) => match report::printed(terminal::print(&text)) {
            Exit::Success => exit,
            other => other,
        },
        Err(error) => report::refused(&error),
    }
}

/// What is said beside an image is long, so it is shown to those who ask for it.
fn one(store: &Store, text: &str, platform: Option<&Platform>, format: &str) -> Result<Value, ImagesError> {
    let image = images::find(store, text, platform)?;
    let mut shown = images::inspect(&image, &images::names_of(store, &image)?);
    if format.contains(".SBOM") || format.contains(".Provenance") {
        let (sbom, provenance) = images::statements(store, &image)?;
        shown["SBOM"] = sbom;
        shown["Provenance"] = provenance;
    }
    Ok(shown)
}

pub(super) fn platform(typed: Option<&str>) -> Result<Option<Platform>, UsageError> {
    typed.map(|text| names::platform("--platform", text)).transpose()
}

/// JSON with four blanks a level, as docker writes it.
pub(super) fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let lines = text.lines().map(|line| {
        let inside = line.trim_start();
        format!("{}{inside}", " ".repeat(2 * (line.len() - inside.len())))
    });
    printable_json(&lines.collect::<Vec<_>>().join("\n"))
}

/// Escapes in JSON what would move or hide text on a terminal: of control characters the format itself escapes only some.
pub(super) fn printable_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push('\n'),
            _ if is_unsafe(character) => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out
}

/// `kiln history`.
pub(super) fn history(typed: &HistoryArguments) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        let root = environment.store(typed.store.store.as_deref())?;
        Ok((root, platform(typed.platform.as_deref())?, environment.now))
    });
    let (root, platform, now) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let found = Store::open(&root).map_err(ImagesError::from);
    let entries = match found.and_then(|store| images::find(&store, &typed.image, platform.as_ref())) {
        Ok(image) => images::history(&image),
        Err(error) => return report::of_images(&error),
    };
    match text(&entries, typed, now) {
        Ok(text) => report::printed(terminal::print(&text)),
        Err(error) => report::refused(&UsageError::template(&typed.format, &error)),
    }
}

const HEADINGS: [(&str, &str); 4] =
    [("ID", "IMAGE"), ("CreatedSince", "CREATED"), ("CreatedAt", "CREATED AT"), ("CreatedBy", "CREATED BY")];
/// How much of an instruction a line shows.
const INSTRUCTION_WIDTH: usize = 45;

fn text(entries: &[HistoryEntry], typed: &HistoryArguments, now: Timestamp) -> Result<String, TemplateError> {
    let rows: Vec<Row> = entries.iter().map(|entry| row(entry, typed, now)).collect();
    if typed.quiet {
        return Ok(rows.iter().filter_map(|row| Some(format!("{}\n", row.get("ID")?.as_str()?))).collect());
    }
    let created = if typed.human { "CreatedSince" } else { "CreatedAt" };
    template::list(&rows, &typed.format, &["ID", created, "CreatedBy", "Size", "Comment"], &HEADINGS)
}

fn row(entry: &HistoryEntry, typed: &HistoryArguments, now: Timestamp) -> Row {
    let id = entry.id.map(|id| if typed.no_trunc { id.to_string() } else { short(&id) });
    let created = entry.created.as_deref().and_then(parse_rfc3339).map(|time| time.seconds);
    let mut instruction = entry.created_by.replace(['\t', '\n', '\r'], " ");
    if !typed.no_trunc && instruction.chars().count() > INSTRUCTION_WIDTH {
        instruction = instruction.chars().take(INSTRUCTION_WIDTH - 1).collect::<String>() + "…";
    }
    let value = json!({
        "ID": id.unwrap_or_else(|| "<missing>".to_owned()),
        "CreatedAt": match &entry.created {
            Some(_) if typed.human => created_at(created),
            Some(text) => text.clone(),
            None => "N/A".to_owned(),
        },
        "CreatedSince": age(created, now),
        "CreatedBy": crate::diag::printable(&instruction),
        "Size": if typed.human { size::bytes(entry.size) } else { entry.size.to_string() },
        "Comment": entry.comment,
    });
    match value {
        Value::Object(row) => row,
        _ => Row::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_docker_does() {
        assert_eq!(
            pretty(&json!([{ "a": ["  b"] }])),
            "[\n    {\n        \"a\": [\n            \"  b\"\n        ]\n    }\n]"
        );
    }
}
