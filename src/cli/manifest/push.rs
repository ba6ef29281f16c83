//! `kiln manifest push` and `kiln manifest rm`.

use super::Prepared;
use super::args::{PushArguments, RemoveArguments};
use crate::cli::environment::Environment;
use crate::cli::report::{self, Exit};
use crate::cli::transfer::block_on;
use crate::cli::usage::UsageError;
use crate::cli::{names, terminal};
use crate::content::Store;
use crate::images::manifest::{self, CreateRequest, Lock, Place, Source, Sources};
use crate::images::{self, ImagesError};

/// Sends an index and all it lists, and says how to exit.
pub(super) fn push(typed: &PushArguments) -> Exit {
    let prepared = Prepared::of(&typed.registries, typed.store.store.as_deref(), typed.quiet).and_then(|prepared| {
        let name = typed.destination.as_deref().unwrap_or(&typed.index);
        let name = names::reference("NAME", name.strip_prefix("docker://").unwrap_or(name))?;
        match name.digest {
            Some(_) => {
                Err(UsageError::malformed("NAME", &name.familiar(), "cannot push a digest reference: give a name"))
            }
            None => Ok((name, prepared)),
        }
    });
    let (name, prepared) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let progress = prepared.progress();
    let client = prepared.settings.client(progress.sink());
    let pushed = images::open(&prepared.root).and_then(|(store, _lock)| {
        manifest::expect_index(&store, &typed.index)?;
        let sources = Sources { root: &prepared.root, store: &store, client: &client, place: Place::Store, home: None };
        let request = CreateRequest { sources: vec![Source::Named(typed.index.clone())], ..CreateRequest::default() };
        let set = block_on(manifest::create(&sources, &request))?;
        block_on(images::push_set(&store, &client, &set, std::slice::from_ref(&name), &progress.sink()))?;
        if typed.purge {
            let _alone = Lock::take(&prepared.root)?;
            let now = store.resolve_tag(&typed.index)?;
            // What was said of it meanwhile was not pushed.
            if now.is_some_and(|now| now.digest() == set.root().digest()) {
                store.remove_tag(&typed.index)?;
            }
        }
        Ok(set)
    });
    progress.finish();
    match pushed {
        Ok(set) => report::printed(terminal::print(&format!("{}\n", set.root().digest()))),
        Err(error) => report::of_images(&error),
    }
}

/// Removes indexes. The process must have entered its namespaces.
pub(in crate::cli) fn remove(typed: &RemoveArguments) -> Exit {
    let root = Environment::read().and_then(|environment| environment.store(typed.store.store.as_deref()));
    let root = match root {
        Ok(root) => root,
        Err(error) => return report::refused(&error),
    };
    let mut exit = Exit::Success;
    for text in &typed.indexes {
        let removed = Store::open(&root).map_err(ImagesError::from).and_then(|store| {
            manifest::expect_index(&store, text)?;
            images::remove(&root, text, false)
        });
        exit = match removed {
            Ok(removed) => {
                let lines = removed.untagged.iter().map(|name| format!("Untagged: {name}\n"));
                match report::printed(terminal::print(&lines.collect::<String>())) {
                    Exit::Success => exit,
                    other => other,
                }
            }
            Err(error) => report::of_images(&error),
        };
    }
    exit
}
