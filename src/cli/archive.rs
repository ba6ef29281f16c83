//! `kiln save`, `kiln load` and `kiln import`: images out to archives and in from them.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Read, Write as _};
use std::path::Path;
use std::sync::Arc;

use super::environment::Environment;
use super::image_args::{ImportArguments, LoadArguments, RegistryArguments, SaveArguments};
use super::look::platform;
use super::report::{self, Exit};
use super::usage::UsageError;
use super::{names, terminal, transfer};
use crate::builder::RegistrySettings;
use crate::content::Store;
use crate::context::without_credentials;
use crate::export::{self, ArchiveError};
use crate::images::{self, ImagesError, Import};
use crate::oci::Platform;
use crate::progress::Silent;

/// `kiln save`.
pub(super) fn save(typed: &SaveArguments) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        if typed.output.is_none() && environment.stdout_is_terminal {
            return Err(UsageError::Terminal { flag: "kiln save", instead: "-o FILE" });
        }
        let output = typed.output.as_ref().map(|path| environment.absolute(path));
        Ok((environment.store(typed.store.store.as_deref())?, platform(typed.platform.as_deref())?, output))
    });
    let (root, platform, output) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let found = images::open(&root).and_then(|(store, lock)| {
        let found = images::to_save(&store, &typed.images, platform.as_ref())?;
        Ok((store, lock, found))
    });
    let (store, _lock, found) = match found {
        Ok(found) => found,
        Err(error) => return report::of_images(&error),
    };
    let written = match output {
        Some(path) => export::to_file(&path, |out| images::save(&found, &store, out)),
        None => images::save(&found, &store, BufWriter::new(io::stdout().lock())).and_then(|mut out| {
            out.flush().map_err(|source| ArchiveError::File { path: "standard output".into(), source })
        }),
    };
    match written {
        Ok(()) => Exit::Success,
        Err(error) => report::failed("cannot save", &error),
    }
}

/// `kiln load`.
pub(super) fn load(typed: &LoadArguments) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        if typed.input.is_none() && io::stdin().is_terminal() {
            return Err(UsageError::malformed(
                "--input",
                "",
                "name an archive with `-i FILE`, or give it on standard input",
            ));
        }
        let input = typed.input.as_ref().map(|path| environment.absolute(path));
        Ok((environment.store(typed.store.store.as_deref())?, input))
    });
    let (root, input) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let loaded = images::open(&root).and_then(|(store, _lock)| load_into(&store, input.as_deref()));
    match loaded {
        Ok(loaded) => {
            let line = |loaded: &images::Loaded| match loaded.names.as_slice() {
                _ if typed.quiet => format!("{}\n", loaded.id),
                [] => format!("Loaded image ID: {}\n", loaded.id),
                names => names.iter().map(|name| format!("Loaded image: {name}\n")).collect(),
            };
            report::printed(terminal::print(&loaded.iter().map(line).collect::<String>()))
        }
        Err(error) => report::of_images(&error),
    }
}

fn load_into(store: &Store, input: Option<&Path>) -> Result<Vec<images::Loaded>, ImagesError> {
    let Some(path) = input else { return images::load(store, io::stdin().lock()) };
    let opened = images::open_archive(path)
        .map_err(|error| ImagesError::Archive { problem: format!("cannot open `{}`: {error}", path.display()) });
    match opened? {
        Some(file) => images::load(store, file),
        None => images::load_directory(store, path),
    }
}

/// `kiln import`.
pub(super) fn import(typed: &ImportArguments) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        let name = names::tags("NAME", typed.name.iter().map(String::as_str))?.pop();
        let from = typed.file.as_str();
        let is_url = from.starts_with("http://") || from.starts_with("https://");
        let asked = Import {
            name,
            changes: typed.change.clone(),
            message: typed.message.clone().unwrap_or_else(|| format!("Imported from {}", without_credentials(from))),
            platform: platform(typed.platform.as_deref())?.unwrap_or_else(Platform::host),
            now: environment.now,
        };
        let input = match from {
            "-" => Input::Read(Box::new(io::stdin().lock())),
            url if is_url => {
                Input::Url(url.to_owned(), Box::new(transfer::settings(&RegistryArguments::default(), &environment)))
            }
            path => Input::Read(Box::new(
                File::open(environment.absolute(path)).map_err(|source| UsageError::Unreadable {
                    flag: "kiln import",
                    path: path.into(),
                    source,
                })?,
            )),
        };
        Ok((environment.store(typed.store.store.as_deref())?, asked, input))
    });
    let (root, asked, input) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let imported = images::open(&root).and_then(|(store, _lock)| match input {
        Input::Read(file) => images::import(&store, file, &asked),
        Input::Url(url, settings) => {
            let client = settings.client(Arc::new(Silent));
            transfer::block_on(images::import_url(&store, &client, &url, &asked))
        }
    });
    match imported {
        Ok(id) => report::printed(terminal::print(&format!("{id}\n"))),
        Err(error) => report::of_images(&error),
    }
}

/// What is imported.
enum Input {
    Read(Box<dyn Read>),
    Url(String, Box<RegistrySettings>),
}
