//! `kiln manifest annotate`.

use std::collections::BTreeMap;

use super::Prepared;
use super::args::AnnotateArguments;
use crate::cli::report::{self, Exit};
use crate::cli::transfer::block_on;
use crate::cli::usage::UsageError;
use crate::images;
use crate::images::manifest::{self, Change, Place, Sources};
use crate::oci::Platform;

/// Changes an index, and says how to exit.
pub(super) fn run(typed: &AnnotateArguments) -> Exit {
    let prepared = Prepared::of(&typed.registries, typed.store.store.as_deref(), false)
        .and_then(|prepared| Ok((change(typed)?, prepared)));
    let (change, prepared) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let progress = prepared.progress();
    let client = prepared.settings.client(progress.sink());
    let done = images::open(&prepared.root).and_then(|(store, _lock)| {
        let sources = Sources { root: &prepared.root, store: &store, client: &client, place: Place::Store, home: None };
        block_on(manifest::annotate(&sources, &typed.index, typed.image.as_deref(), &change))
    });
    progress.finish();
    match done {
        Ok(()) => Exit::Success,
        Err(error) => report::of_images(&error),
    }
}

fn change(typed: &AnnotateArguments) -> Result<Change, UsageError> {
    let mut annotations = BTreeMap::new();
    for text in &typed.annotation {
        let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = pair.ok_or_else(|| UsageError::malformed("--annotation", text, "expected NAME=VALUE"))?;
        annotations.insert(key.to_owned(), value.to_owned());
    }
    // `x86_64` and `amd64` are one architecture; an unknown one is taken as it is.
    let normal = |arch: &String| Platform::new("linux", arch, None).architecture;
    let change = Change {
        os: typed.os.clone(),
        architecture: typed.arch.as_ref().map(normal),
        variant: typed.variant.clone(),
        os_version: typed.os_version.clone(),
        os_features: typed.os_features.clone(),
        annotations,
    };
    match change == Change::default() {
        true => Err(UsageError::malformed("--annotation", "", "nothing is to be said: give `--os`, `--arch`, ..")),
        false => Ok(change),
    }
}
