//! `kiln images`: the images of the store, newest first.

use serde_json::{Value, json};

use super::age::{age, created_at};
use super::environment::Environment;
use super::image_args::ImagesArguments;
use super::report::{self, Exit};
use super::template::{self, Row};
use super::usage::UsageError;
use super::{names, size, terminal};
use crate::content::Store;
use crate::context::glob::Glob;
use crate::digest::Digest;
use crate::fsutil::Timestamp;
use crate::images::{self, Image, ImagesError, Listed};
use crate::oci::Reference;

/// Lists, and says how to exit.
pub(super) fn run(typed: &ImagesArguments) -> Exit {
    let prepared = Environment::read().and_then(|environment| {
        let root = environment.store(typed.store.store.as_deref())?;
        Ok((filters(typed)?, root, environment.now))
    });
    let (filters, root, now) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return report::refused(&error),
    };
    let listed = images::list(&root).and_then(|mut listed| {
        // Looking at a store that is not there does not make one.
        if root.exists() {
            let store = Store::open(&root)?;
            let filters = filters.into_iter().map(|filter| filter.known(&store)).collect::<Result<Vec<_>, _>>()?;
            listed.images.retain(|image| filters.iter().all(|filter| filter.takes(image)));
        }
        Ok(listed)
    });
    let Listed { images, unreadable } = match listed {
        Ok(listed) => listed,
        Err(error) => return report::of_images(&error),
    };
    for (name, error) in &unreadable {
        let error = crate::diag::chain(error);
        terminal::print_error(&format!("WARNING: image `{name}` cannot be read: {error}\n"));
    }
    match text(&images, typed, now) {
        Ok(text) => report::printed(terminal::print(&text)),
        Err(error) => report::refused(&UsageError::template(&typed.format, &error)),
    }
}

/// One `--filter`, and the name that is given without a flag.
enum Filter {
    Reference(Glob),
    Dangling(bool),
    Label(String, Option<String>),
    /// Made before this image.
    Before(String),
    /// Made after this image.
    Since(String),
    /// What the two above come to.
    Time {
        before: bool,
        seconds: i64,
    },
}

const KEYS: [&str; 5] = ["reference", "dangling", "label", "before", "since"];

fn filters(typed: &ImagesArguments) -> Result<Vec<Filter>, UsageError> {
    let glob = |pattern: &str| {
        Glob::of_name(pattern.as_bytes())
            .map(Filter::Reference)
            .map_err(|_| UsageError::malformed("--filter", pattern, "it is no pattern"))
    };
    let mut all = Vec::new();
    for filter in &typed.filter {
        let (key, value) = filter
            .split_once('=')
            .ok_or_else(|| UsageError::malformed("--filter", filter, "must be a key=value pair"))?;
        all.push(match key {
            "reference" => glob(value)?,
            "dangling" => match value.to_ascii_lowercase().as_str() {
                "true" | "1" | "t" => Filter::Dangling(true),
                "false" | "0" | "f" => Filter::Dangling(false),
                _ => return Err(UsageError::malformed("--filter", filter, "`dangling` must be true or false")),
            },
            "label" => match value.split_once('=') {
                Some((name, value)) => Filter::Label(name.to_owned(), Some(value.to_owned())),
                None => Filter::Label(value.to_owned(), None),
            },
            "before" => Filter::Before(value.to_owned()),
            "since" => Filter::Since(value.to_owned()),
            other => return Err(UsageError::unknown("--filter", filter, other, &KEYS)),
        });
    }
    if let Some(name) = &typed.name {
        // `docker.io/library/alpine` is listed as `alpine`.
        let familiar = names::reference("NAME", name).map(|name| name.familiar());
        all.push(glob(&familiar.unwrap_or_else(|_| name.clone()))?);
    }
    Ok(all)
}

impl Filter {
    /// Looks up the image that a filter names.
    fn known(self, store: &Store) -> Result<Self, ImagesError> {
        let time = |text: &str| Ok::<_, ImagesError>(images::find(store, text, None)?.created().unwrap_or(i64::MIN));
        Ok(match self {
            Self::Before(text) => Self::Time { before: true, seconds: time(&text)? },
            Self::Since(text) => Self::Time { before: false, seconds: time(&text)? },
            other => other,
        })
    }

    fn takes(&self, image: &Image) -> bool {
        match self {
            Self::Reference(glob) => {
                let reference = image.name.as_deref().and_then(|name| Reference::parse(name).ok());
                reference.is_some_and(|name| {
                    [name.familiar(), name.familiar_name()].iter().any(|form| glob.matches(form.as_bytes()))
                })
            }
            Self::Dangling(wanted) => image.name.is_none() == *wanted,
            Self::Label(name, wanted) => {
                let found = image.config.config.labels.get(name);
                found.is_some_and(|found| wanted.as_ref().is_none_or(|wanted| wanted == found))
            }
            Self::Time { before: true, seconds } => image.created().is_some_and(|created| created < *seconds),
            Self::Time { before: false, seconds } => image.created().is_some_and(|created| created > *seconds),
            Self::Before(_) | Self::Since(_) => true,
        }
    }
}

const HEADINGS: [(&str, &str); 3] = [("ID", "IMAGE ID"), ("CreatedSince", "CREATED"), ("CreatedAt", "CREATED AT")];

fn text(images: &[Image], typed: &ImagesArguments, now: Timestamp) -> Result<String, template::TemplateError> {
    let id = |image: &Image| if typed.no_trunc { image.id.to_string() } else { short(&image.id) };
    if typed.quiet {
        let mut ids: Vec<String> = Vec::new();
        for id in images.iter().map(id) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        return Ok(ids.iter().map(|id| format!("{id}\n")).collect());
    }
    let rows: Vec<Row> = images.iter().map(|image| row(image, &id(image), now)).collect();
    let columns: &[&str] = match typed.digests {
        true => &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
        false => &["Repository", "Tag", "ID", "CreatedSince", "Size"],
    };
    template::list(&rows, &typed.format, columns, &HEADINGS)
}

/// The fields of `docker images --format json`, as far as they have a meaning here, and the size in bytes.
fn row(image: &Image, id: &str, now: Timestamp) -> Row {
    let none = || "<none>".to_owned();
    let (repository, tag) = image.name_and_tag().unwrap_or_else(|| (none(), none()));
    let value = json!({
        "Repository": repository,
        "Tag": tag,
        "ID": id,
        "Digest": image.digest,
        "CreatedAt": created_at(image.created()),
        "CreatedSince": age(image.created(), now),
        "Size": size::bytes(image.size()),
        "Bytes": image.size(),
        "Platform": image.platform().to_string(),
    });
    match value {
        Value::Object(row) => row,
        _ => Row::new(),
    }
}

/// The twelve digits that docker shows.
pub(super) fn short(digest: &Digest) -> String {
    digest.hex()[..12].to_owned()
}
