//! `kiln tag` and `kiln rmi`: names come and go.

use super::environment::Environment;
use super::image_args::{RemoveArguments, TagArguments};
use super::report::{self, Exit};
use super::{names, terminal};
use crate::content::Store;
use crate::images::{self, ImagesError};

/// `kiln tag`.
pub(super) fn tag(typed: &TagArguments) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        let root = environment.store(typed.store.store.as_deref())?;
        Ok((root, names::tags("NAME", std::iter::once(typed.name.as_str()))?))
    });
    let (root, names) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let tagged = Store::open(&root).map_err(ImagesError::from).and_then(|store| {
        let image = images::find(&store, &typed.image, None)?;
        for name in &names {
            store.set_tag(&name.to_string(), image.target.clone())?;
        }
        Ok(())
    });
    match tagged {
        Ok(()) => Exit::Success,
        Err(error) => report::of_images(&error),
    }
}

/// `kiln rmi`. The process must have entered its namespaces.
pub(super) fn remove(typed: &RemoveArguments) -> Exit {
    let root = Environment::read().and_then(|environment| environment.store(typed.store.store.as_deref()));
    let root = match root {
        Ok(root) => root,
        Err(error) => return report::refused(&error),
    };
    let (mut exit, mut is_in_use) = (Exit::Success, false);
    for text in &typed.images {
        match images::remove(&root, text, typed.force) {
            Ok(removed) => {
                let untagged = removed.untagged.iter().map(|name| format!("Untagged: {name}\n"));
                let deleted = removed.deleted.iter().map(|digest| format!("Deleted: {digest}\n"));
                let printed = report::printed(terminal::print(&untagged.chain(deleted).collect::<String>()));
                exit = if printed == Exit::Success { exit } else { printed };
                is_in_use |= removed.is_in_use;
            }
            Err(error) => {
                let failed = report::of_images(&error);
                let is_missing = matches!(error, ImagesError::NoSuchImage { .. });
                exit = if typed.force && is_missing { exit } else { failed };
            }
        }
    }
    if is_in_use {
        terminal::print_error("NOTE: builds use some of what the names led to: it stays until `kiln prune`\n");
    }
    exit
}
