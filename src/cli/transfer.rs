//! `kiln pull` and `kiln push`: images from and to registries.

use std::path::Path;

use super::environment::Environment;
use super::image_args::{PullArguments, PushArguments, RegistryArguments};
use super::look::platform;
use super::progress::{Mode, Progress};
use super::report::{self, Exit};
use super::usage::UsageError;
use super::{names, registries, terminal};
use crate::builder::RegistrySettings;
use crate::content::Store;
use crate::images::{self, ImagesError, Wanted};
use crate::oci::{Platform, Reference};

/// How registries are talked to, as `build` does.
pub(super) fn settings(typed: &RegistryArguments, environment: &Environment) -> RegistrySettings {
    RegistrySettings {
        insecure_hosts: typed.insecure.clone(),
        files: registries::files(environment),
        proxies: registries::proxies(environment),
    }
}

/// `kiln pull`.
pub(super) fn pull(typed: &PullArguments) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        let wanted = match (typed.all_platforms, platform(typed.platform.as_deref())?) {
            (true, _) => Wanted::Everything,
            (false, named) => Wanted::Platform(named.unwrap_or_else(Platform::host)),
        };
        let mode = Mode::choose(typed.registries.progress.as_deref(), typed.quiet, &environment)?;
        let reference = names::reference("NAME", &typed.name)?;
        let settings = settings(&typed.registries, &environment);
        Ok((environment.store(typed.store.store.as_deref())?, reference, wanted, mode, settings, environment.now))
    });
    let (root, reference, wanted, mode, settings, now) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let progress = Progress::start(mode, now);
    let client = settings.client(progress.sink());
    let pulled = images::open(&root)
        .and_then(|(store, _lock)| block_on(images::pull(&store, &client, &reference, &wanted, &progress.sink())));
    progress.finish();
    let complete = reference.complete();
    match pulled {
        Ok(_) if typed.quiet => report::printed(terminal::print(&format!("{complete}\n"))),
        Ok(pulled) => {
            let status = if pulled.is_new { "Downloaded newer image for" } else { "Image is up to date for" };
            let familiar = Reference::parse(&complete).map_or_else(|_| complete.clone(), |name| name.familiar());
            let digest = pulled.target.digest();
            report::printed(terminal::print(&format!("Digest: {digest}\nStatus: {status} {familiar}\n{complete}\n")))
        }
        Err(error) => report::of_images(&error),
    }
}

/// `kiln push`.
pub(super) fn push(typed: &PushArguments) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        let mode = Mode::choose(typed.registries.progress.as_deref(), typed.quiet, &environment)?;
        let reference = names::reference("NAME", &typed.name)?;
        if reference.digest.is_some() {
            return Err(UsageError::malformed("NAME", &typed.name, "cannot push a digest reference: give a name"));
        }
        if typed.all_tags && reference.tag.is_some() {
            return Err(UsageError::malformed("--all-tags", &typed.name, "a tag cannot be given with it"));
        }
        let settings = settings(&typed.registries, &environment);
        let platform = platform(typed.platform.as_deref())?;
        Ok((environment.store(typed.store.store.as_deref())?, reference, platform, mode, settings, environment.now))
    });
    let (root, reference, platform, mode, settings, now) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let progress = Progress::start(mode, now);
    let client = settings.client(progress.sink());
    let pushed = images::open(&root).and_then(|(store, _lock)| {
        let mut lines = Vec::new();
        for name in tags(&store, &reference, typed.all_tags)? {
            let image = images::find(&store, &name.to_string(), platform.as_ref())?;
            let sink = progress.sink();
            let push = images::push(Path::new(&root), &store, &client, &image, &name, platform.as_ref(), &sink);
            let sent = block_on(push)?;
            lines.push((name, sent));
        }
        Ok(lines)
    });
    progress.finish();
    let pushed = match pushed {
        Ok(pushed) => pushed,
        Err(error) => return report::of_images(&error),
    };
    let mut text = String::new();
    for (name, sent) in pushed {
        if let Some(only) = sent.only {
            terminal::print_error(&format!(
                "NOTE: not all platforms of {} are here: the image for {only} was pushed alone\n",
                name.familiar()
            ));
        }
        let (digest, size) = (sent.target.digest(), sent.target.size());
        text += &match typed.quiet {
            true => format!("{name}\n"),
            false => format!("{}: digest: {digest} size: {size}\n", name.tag_or_latest()),
        };
    }
    report::printed(terminal::print(&text))
}

/// The names to push: the one given, or all of its repository.
fn tags(store: &Store, reference: &Reference, all: bool) -> Result<Vec<Reference>, ImagesError> {
    if !all {
        return Ok(vec![reference.with_tag(reference.tag_or_latest())?]);
    }
    let names = store.tags()?.into_iter().filter_map(|(name, _)| Reference::parse(&name).ok());
    let names: Vec<Reference> = names.filter(|name| name.name() == reference.name()).collect();
    match names.is_empty() {
        true => Err(ImagesError::NoSuchImage { name: reference.familiar(), near: None }),
        false => Ok(names),
    }
}

/// Runs a transfer. What it leaves when the process is killed is an unfinished blob, which the next open of the store sweeps.
pub(super) fn block_on<T>(transfer: impl Future<Output = Result<T, ImagesError>>) -> Result<T, ImagesError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| ImagesError::Runtime { source: error })?.block_on(transfer)
}
