//! `kiln manifest inspect` and `kiln imagetools inspect`.

use std::fmt::Write as _;

use serde_json::Value;

use super::Prepared;
use super::args::InspectArguments;
use crate::cli::look::{pretty, printable_json};
use crate::cli::report::{self, Exit};
use crate::cli::template::Template;
use crate::cli::terminal;
use crate::cli::transfer::block_on;
use crate::cli::usage::UsageError;
use crate::diag::printable;
use crate::images::manifest::{self, Looked, Place, Sources};
use crate::images::{self, ImagesError};
use crate::oci::{Descriptor, Platform};

/// Shows it, and says how to exit.
pub(super) fn run(typed: &InspectArguments, place: Place) -> Exit {
    let prepared = Prepared::of(&typed.registries, typed.store.store.as_deref(), false).and_then(|prepared| {
        let template = match typed.format.as_deref() {
            None | Some("json") => None,
            Some(format) => {
                Some(Template::parse_escaped(format).map_err(|error| UsageError::template(format, &error))?)
            }
        };
        Ok((template, prepared))
    });
    let (template, prepared) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let progress = prepared.progress();
    let client = prepared.settings.client(progress.sink());
    let looked = images::open(&prepared.root).and_then(|(store, _lock)| {
        let sources = Sources { root: &prepared.root, store: &store, client: &client, place, home: None };
        block_on(async {
            let looked = manifest::inspect(&sources, &typed.image).await?;
            let shown = match typed.format {
                Some(_) => looked.shown(&sources).await?,
                None => Value::Null,
            };
            Ok::<_, ImagesError>((looked, shown))
        })
    });
    progress.finish();
    let (looked, shown) = match looked {
        Ok(looked) => looked,
        Err(error) => return report::of_images(&error),
    };
    if typed.raw {
        return report::printed(terminal::print(&looked.bytes));
    }
    let text = match (&template, &typed.format) {
        (Some(template), _) => match template.write(&shown) {
            Ok(text) => text + "\n",
            Err(error) => return report::refused(&UsageError::template(typed.format.as_deref().unwrap_or(""), &error)),
        },
        (None, Some(_)) => printable_json(&shown.to_string()) + "\n",
        (None, None) if place == Place::Store => json(&looked.bytes) + "\n",
        (None, None) => page(&looked),
    };
    report::printed(terminal::print(&text))
}

/// A document with its lines indented, as docker shows it.
pub(super) fn json(bytes: &[u8]) -> String {
    serde_json::from_slice::<Value>(bytes)
        .map_or_else(|_| printable_json(&String::from_utf8_lossy(bytes)), |value| pretty(&value))
}

/// The page that buildx prints.
fn page(looked: &Looked) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Name:      {}", looked.name);
    let _ = writeln!(out, "MediaType: {}", printable(looked.descriptor.media_type().as_ref()));
    let _ = writeln!(out, "Digest:    {}", looked.descriptor.digest());
    let Ok(value) = looked.value() else { return out };
    let mut lead = "\nManifests: \n";
    for entry in value["manifests"].as_array().into_iter().flatten() {
        let Ok(entry) = serde_json::from_value::<Descriptor>(entry.clone()) else { continue };
        let _ = writeln!(out, "{lead}  Name:        {}@{}", looked.name, entry.digest());
        let _ = writeln!(out, "  MediaType:   {}", printable(entry.media_type().as_ref()));
        if let Some(platform) = entry.platform() {
            let _ = writeln!(out, "  Platform:    {}", printable(&Platform::of(platform).to_string()));
        }
        let mut annotations: Vec<_> = entry.annotations().iter().flatten().collect();
        annotations.sort();
        let mut heading = "  Annotations: \n";
        for (key, value) in annotations {
            let _ = writeln!(out, "{heading}    {}: {}", printable(key), printable(value));
            heading = "";
        }
        lead = "\n";
    }
    out
}
