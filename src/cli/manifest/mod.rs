//! `kiln manifest` and `kiln imagetools`: indexes of images.
//!
//! The first is that of docker and podman, and works in the store; the second is that of `docker buildx`, and works in registries
//! only. They are one and the same but for where they look and where they put what they make.

mod annotate;
mod args;
mod create;
mod inspect;
mod push;

pub(super) use args::{ImagetoolsVerb, ManifestVerb};
pub(super) use push::remove;

use std::path::PathBuf;

use args::{ImagetoolsVerb as Tools, ManifestVerb as Manifest};

use super::environment::Environment;
use super::image_args::RegistryArguments;
use super::progress::{Mode, Progress};
use super::report::Exit;
use super::transfer;
use super::usage::UsageError;
use crate::builder::RegistrySettings;
use crate::images::manifest::Place;

/// `kiln manifest`, but for `rm`.
pub(super) fn run(typed: &ManifestVerb) -> Exit {
    match typed {
        Manifest::Create(typed) => create::run(typed, Place::Store),
        Manifest::Annotate(typed) => annotate::run(typed),
        Manifest::Inspect(typed) => inspect::run(typed, Place::Store),
        Manifest::Push(typed) => push::push(typed),
        Manifest::Rm(typed) => remove(typed),
    }
}

/// `kiln imagetools`.
pub(super) fn imagetools(typed: &ImagetoolsVerb) -> Exit {
    match typed {
        Tools::Create(typed) => create::run(typed, Place::Registries),
        Tools::Inspect(typed) => inspect::run(typed, Place::Registries),
    }
}

/// What all of these take.
struct Prepared {
    root: PathBuf,
    mode: Mode,
    settings: RegistrySettings,
    environment: Environment,
}

impl Prepared {
    fn of(registries: &RegistryArguments, store: Option<&std::path::Path>, quiet: bool) -> Result<Self, UsageError> {
        let environment = Environment::read()?;
        let mode = Mode::choose(registries.progress.as_deref(), quiet, &environment)?;
        let settings = transfer::settings(registries, &environment);
        Ok(Self { root: environment.store(store)?, mode, settings, environment })
    }

    fn progress(&self) -> Progress {
        Progress::start(self.mode, self.environment.now)
    }
}
