//! `--call=outline`: BuildKit's `frontend.outline`.

use serde::Serialize;

use super::{Location, columns, dockerfile, in_base64, pretty};
use crate::plan::{Outline, OutlineMount};
use crate::source::Sources;

#[derive(Serialize)]
struct Result<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Mount<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Mount<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Arg<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct Mount<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

pub(super) fn json(outline: &Outline, sources: &Sources) -> String {
    let mount = |mount| {
        let OutlineMount { id, required, lines }: &OutlineMount = mount;
        Mount { name: id, required: *required, location: Location::of(Some(*lines), sources) }
    };
    let args = outline.args.iter().map(|arg| Arg {
        name: &arg.name,
        description: &arg.description,
        value: &arg.value,
        location: Location::of(Some(arg.lines), sources),
    });
    pretty(&Result {
        name: &outline.name,
        description: &outline.description,
        args: args.collect(),
        secrets: outline.secrets.iter().map(mount).collect(),
        ssh: outline.ssh.iter().map(mount).collect(),
        sources: [in_base64(dockerfile(sources))],
    })
}

/// An empty line follows each table.
pub(super) fn text(outline: &Outline) -> String {
    let mut head = Vec::new();
    if !outline.name.is_empty() {
        head.push(vec!["TARGET:", &outline.name]);
    }
    if !outline.description.is_empty() {
        head.push(vec!["DESCRIPTION:", &outline.description]);
    }
    let args = outline.args.iter().map(|arg| vec![arg.name.as_str(), &arg.value, &arg.description]);
    let mount = |mount| {
        let OutlineMount { id, required, .. }: &OutlineMount = mount;
        vec![id.as_str(), if *required { "true" } else { "" }]
    };
    columns(&head, 1)
        + if head.is_empty() { "" } else { "\n" }
        + &table(&["BUILD ARG", "VALUE", "DESCRIPTION"], args)
        + &table(&["SECRET", "REQUIRED"], outline.secrets.iter().map(mount))
        + &table(&["SSH", "REQUIRED"], outline.ssh.iter().map(mount))
}

fn table<'a>(headings: &[&'a str], rows: impl Iterator<Item = Vec<&'a str>>) -> String {
    let rows: Vec<_> = std::iter::once(headings.to_vec()).chain(rows).collect();
    if rows.len() == 1 { String::new() } else { columns(&rows, 3) + "\n" }
}
