//! `kiln manifest create` and `kiln imagetools create`.

use super::Prepared;
use super::args::CreateArguments;
use super::inspect::json;
use crate::builder::AnnotationLevel;
use crate::cli::report::{self, Exit};
use crate::cli::transfer::block_on;
use crate::cli::usage::UsageError;
use crate::cli::{annotations, names, terminal};
use crate::diag::printable;
use crate::export::ImageSet;
use crate::images;
use crate::images::manifest::{self, CreateRequest, Listed, Lock, Place, Source, Sources};
use crate::oci::{Platform, Reference};

/// Makes an index, and says how to exit.
pub(super) fn run(typed: &CreateArguments, place: Place) -> Exit {
    let prepared = Prepared::of(&typed.registries, typed.store.store.as_deref(), false)
        .and_then(|prepared| Ok((names_and_request(typed)?, prepared)));
    let ((names, request), prepared) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let progress = prepared.progress();
    let client = prepared.settings.client(progress.sink());
    let made = images::open(&prepared.root).and_then(|(store, _lock)| {
        let _alone = (place == Place::Store && !typed.dry_run).then(|| Lock::take(&prepared.root)).transpose()?;
        let home = names.first().cloned();
        let sources = Sources { root: &prepared.root, store: &store, client: &client, place, home };
        let is_new = place == Place::Store && !typed.amend && !typed.dry_run;
        if is_new {
            manifest::is_taken(&store, &names)?;
        }
        let made = block_on(manifest::create(&sources, &request))?;
        if typed.dry_run {
            return Ok(made);
        }
        if place == Place::Registries || typed.push {
            block_on(images::push_set(&store, &client, &made, &names, &progress.sink()))?;
        }
        if place == Place::Store {
            manifest::keep(&store, made.clone(), &names)?;
        }
        Ok(made)
    });
    progress.finish();
    match made {
        Ok(made) if typed.dry_run => report::printed(terminal::print(&(json(&document(&made)) + "\n"))),
        Ok(made) => {
            doubt(&made);
            let line = |name: &Reference| match place {
                Place::Store => format!("Created manifest list {}\n", name.complete()),
                Place::Registries => String::new(),
            };
            report::printed(terminal::print(&names.iter().map(line).collect::<String>()))
        }
        Err(error) => report::of_images(&error),
    }
}

fn document(made: &ImageSet) -> Vec<u8> {
    made.index.as_ref().unwrap_or(&made.images[0].manifest).bytes.clone()
}

/// Of two images for one platform only the first is ever used.
fn doubt(made: &ImageSet) {
    let mut seen: Vec<Platform> = Vec::new();
    for platform in manifest::platforms(&document(made)) {
        if platform.os != "unknown" && seen.contains(&platform) {
            let platform = printable(&platform.to_string());
            let text = format!("WARNING: several images are listed for {platform}: the first is used\n");
            terminal::print_error(&text);
        } else {
            seen.push(platform);
        }
    }
}

fn names_and_request(typed: &CreateArguments) -> Result<(Vec<Reference>, CreateRequest), UsageError> {
    let (names, images) = match (typed.tag.is_empty(), typed.images.split_first()) {
        (false, _) => (names::tags("--tag", typed.tag.iter().map(String::as_str))?, &typed.images[..]),
        (true, Some((first, rest))) if !typed.dry_run || !rest.is_empty() || !typed.file.is_empty() => {
            (names::tags("IMAGE", std::iter::once(first.as_str()))?, rest)
        }
        // What is only shown needs no name.
        (true, _) if typed.dry_run => (Vec::new(), &typed.images[..]),
        (true, _) => return Err(UsageError::malformed("--tag", "", "the index needs a name")),
    };
    let mut sources: Vec<Source> = images.iter().cloned().map(Source::Named).collect();
    for path in &typed.file {
        sources.push(source_in(path)?);
    }
    if sources.is_empty() && !typed.amend {
        return Err(UsageError::malformed("IMAGE", "", "name the images that the index shall list"));
    }
    // Only manifests that are made here could be annotated; what is not said to be for entries is for the index.
    let typed_annotations = typed.annotation.iter().map(|text| match text.split_once('=') {
        Some((head, _)) if !head.contains(':') => format!("index:{text}"),
        _ => text.clone(),
    });
    let annotations = annotations::annotations(&typed_annotations.collect::<Vec<_>>())?;
    let known = [AnnotationLevel::Index, AnnotationLevel::ManifestDescriptor];
    if let Some(other) = annotations.iter().find(|annotation| !known.contains(&annotation.level)) {
        let expected = "manifests stay as they are: use `index:` or `manifest-descriptor:`";
        return Err(UsageError::malformed("--annotation", &other.key, expected));
    }
    let amend = typed.amend.then(|| names.first().map(ToString::to_string)).flatten();
    let platforms = names::platforms(&typed.platform)?;
    Ok((names, CreateRequest { sources, amend, annotations, platforms, keep_single: !typed.prefer_index }))
}

/// A file holds a name, a digest, or a descriptor.
fn source_in(path: &std::path::Path) -> Result<Source, UsageError> {
    let unreadable = |source| UsageError::Unreadable { flag: "--file", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let text = text.trim();
    if !text.starts_with('{') {
        return Ok(Source::Named(text.to_owned()));
    }
    let descriptor = Listed::parse(text).map_err(|error| {
        UsageError::malformed("--file", &path.to_string_lossy(), format!("it holds no descriptor: {error}"))
    })?;
    Ok(Source::Described(descriptor))
}
