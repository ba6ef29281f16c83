//! `kiln images`: the tags of the store, newest first.

use std::path::Path;

use serde_json::json;

use super::args::{ImagesArguments, ListFormat};
use super::environment::Environment;
use super::report::{self, Exit};
use super::table::Table;
use super::{size, terminal};
use crate::content::{ContentError, Store};
use crate::digest::Digest;
use crate::fsutil::Timestamp;
use crate::oci::{Descriptor, ImageConfig, Index, Manifest, Platform, Reference};
use crate::oci::{choose_manifest, digest_of, media_type, parse_rfc3339};

/// Lists, and says how to exit.
pub(super) fn run(typed: &ImagesArguments) -> Exit {
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(error) => return report::refused(&error),
    };
    let root = match environment.store(typed.store.store.as_deref()) {
        Ok(root) => root,
        Err(error) => return report::refused(&error),
    };
    match list(&root) {
        Ok(listed) => {
            for (name, error) in &listed.unreadable {
                let error = crate::diag::chain(error);
                terminal::print_error(&format!("WARNING: image `{name}` cannot be read: {error}\n"));
            }
            report::printed(terminal::print(&text(&listed.images, typed, environment.now)))
        }
        Err(error) => report::failed("cannot list the images", &error),
    }
}

/// The longest manifest, index or config read, in bytes.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// One tag.
#[derive(Debug)]
struct Image {
    /// The whole name as stored.
    name: String,
    /// Digest of manifest or index.
    digest: Digest,
    /// The image id: digest of the config.
    id: Digest,
    /// When it was made, in seconds since 1970, if it says so.
    created: Option<i64>,
    /// Bytes of its layers as they are stored.
    size: u64,
}

#[derive(Debug, Default)]
struct Listed {
    images: Vec<Image>,
    unreadable: Vec<(String, ImageError)>,
}

/// Why an image cannot be shown.
#[derive(Debug, thiserror::Error)]
enum ImageError {
    /// A document of it is missing or damaged.
    #[error("cannot read a document")]
    Content(#[from] ContentError),
    /// A document is not what it should be.
    #[error("{digest} is not a document of an image")]
    Parse {
        /// The document.
        digest: Digest,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It has no sha256, or nothing for any platform.
    #[error("there is no image in it")]
    Nothing,
}

fn list(root: &Path) -> Result<Listed, ContentError> {
    let mut listed = Listed::default();
    // Looking at a store that is not there does not make one.
    if !root.exists() {
        return Ok(listed);
    }
    let store = Store::open(root)?;
    for (name, descriptor) in store.tags()? {
        match image(&store, &name, &descriptor) {
            Ok(image) => listed.images.push(image),
            Err(error) => listed.unreadable.push((name, error)),
        }
    }
    listed.images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    Ok(listed)
}

fn image(store: &Store, name: &str, descriptor: &Descriptor) -> Result<Image, ImageError> {
    let digest = digest_of(descriptor).map_err(|_| ImageError::Nothing)?;
    let mut manifest_digest = digest;
    if media_type::is_index(descriptor.media_type().as_ref()) {
        let index: Index = document(store, digest)?;
        let chosen = choose_manifest(&index, &Platform::host()).or_else(|| index.manifests().first());
        manifest_digest = chosen.and_then(|chosen| digest_of(chosen).ok()).ok_or(ImageError::Nothing)?;
    }
    let manifest: Manifest = document(store, manifest_digest)?;
    let id = digest_of(manifest.config()).map_err(|_| ImageError::Nothing)?;
    let config: ImageConfig = document(store, id)?;
    Ok(Image {
        name: name.to_owned(),
        digest,
        id,
        created: config.created.as_deref().and_then(parse_rfc3339).map(|time| time.seconds),
        size: manifest.layers().iter().map(Descriptor::size).sum(),
    })
}

fn document<T: serde::de::DeserializeOwned>(store: &Store, digest: Digest) -> Result<T, ImageError> {
    let bytes = store.read_blob(&digest, DOCUMENT_LIMIT)?;
    serde_json::from_slice(&bytes).map_err(|source| ImageError::Parse { digest, source })
}

fn text(images: &[Image], typed: &ImagesArguments, now: Timestamp) -> String {
    if typed.quiet {
        let mut ids: Vec<Digest> = Vec::new();
        for image in images {
            if !ids.contains(&image.id) {
                ids.push(image.id);
            }
        }
        return ids.iter().map(|id| format!("{}\n", short(id))).collect();
    }
    match typed.format {
        ListFormat::Table => table(images, now),
        ListFormat::Json => images.iter().map(|image| json_line(image, now)).collect(),
    }
}

fn table(images: &[Image], now: Timestamp) -> String {
    let mut table = Table::new(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    for image in images {
        let (repository, tag) = name_and_tag(&image.name);
        table.row([repository, tag, short(&image.id), age(image.created, now), size::bytes(image.size)]);
    }
    table.to_string()
}

/// One object with the keys of `docker images --format json` that have a meaning here.
fn json_line(image: &Image, now: Timestamp) -> String {
    let (repository, tag) = name_and_tag(&image.name);
    let created = image.created.map(|seconds| crate::oci::rfc3339(Timestamp::from_seconds(seconds)));
    let value = json!({
        "Repository": repository,
        "Tag": tag,
        "ID": image.id,
        "Digest": image.digest,
        "CreatedAt": created,
        "CreatedSince": age(image.created, now),
        "Size": size::bytes(image.size),
        "Bytes": image.size,
    });
    format!("{value}\n")
}

fn name_and_tag(name: &str) -> (String, String) {
    match Reference::parse(name) {
        Ok(reference) => (reference.familiar_name(), reference.tag_or_latest().to_owned()),
        Err(_) => (name.to_owned(), "<none>".to_owned()),
    }
}

/// The twelve digits that docker shows.
fn short(digest: &Digest) -> String {
    digest.hex()[..12].to_owned()
}

/// How long ago, in the largest unit that fits: `3 hours ago`.
fn age(created: Option<i64>, now: Timestamp) -> String {
    const UNITS: [(i64, &str); 6] = [
        (365 * 86_400, "year"),
        (30 * 86_400, "month"),
        (7 * 86_400, "week"),
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
    ];
    let Some(created) = created else { return "unknown".to_owned() };
    let seconds = now.seconds.saturating_sub(created);
    match UNITS.iter().find(|(length, _)| seconds >= *length) {
        None => "less than a minute ago".to_owned(),
        Some((length, unit)) => {
            let count = seconds / length;
            format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::StoreArguments;
    use crate::oci::descriptor;

    const NOW: Timestamp = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };

    /// A store of one image that was made `age` seconds ago and has one layer of `size` bytes.
    fn with_image(root: &Path, name: &str, age: i64, size: u64) -> Digest {
        let store = Store::open(root).unwrap();
        let created = crate::oci::rfc3339(Timestamp::from_seconds(NOW.seconds - age));
        let config = json!({
            "created": created, "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [] }, "history": [],
        });
        let config = config.to_string();
        let id = store.put(config.as_bytes()).unwrap();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, &id, config.len() as u64),
            "layers": [descriptor(media_type::OCI_LAYER, &Digest::of(b"layer"), size)],
        });
        let manifest = manifest.to_string();
        let digest = store.put(manifest.as_bytes()).unwrap();
        store.set_tag(name, descriptor(media_type::OCI_MANIFEST, &digest, manifest.len() as u64)).unwrap();
        id
    }

    #[test]
    fn tags_are_listed_newest_first() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        assert_eq!(list(&root).unwrap().images.len(), 0);
        assert!(!root.exists());
        let old = with_image(&root, "docker.io/library/old:1", 3 * 3600, 4_210_000);
        let new = with_image(&root, "localhost:5000/team/new:latest", 10, 12);
        let (old, new) = (short(&old), short(&new));
        let listed = list(&root).unwrap();
        assert!(listed.unreadable.is_empty(), "{:?}", listed.unreadable);
        let want = format!(
            "REPOSITORY                TAG      IMAGE ID       CREATED                  SIZE\n\
             localhost:5000/team/new   latest   {new}   less than a minute ago   12B\n\
             old                       1        {old}   3 hours ago              4.21MB\n"
        );
        assert_eq!(table(&listed.images, NOW), want);
        let typed = ImagesArguments { quiet: true, format: ListFormat::Table, store: StoreArguments::default() };
        assert_eq!(text(&listed.images, &typed, NOW), format!("{new}\n{old}\n"));
        let line: serde_json::Value = serde_json::from_str(&json_line(&listed.images[1], NOW)).unwrap();
        assert_eq!((line["Repository"].as_str(), line["Bytes"].as_u64()), (Some("old"), Some(4_210_000)));
    }

    #[test]
    fn a_damaged_image_does_not_hide_the_others() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let id = with_image(&root, "docker.io/library/bad:1", 0, 0);
        with_image(&root, "docker.io/library/good:1", 60, 0);
        std::fs::remove_file(Store::open(&root).unwrap().path_of(&id)).unwrap();
        let listed = list(&root).unwrap();
        assert_eq!((listed.images.len(), listed.unreadable.len()), (1, 1));
    }

    #[test]
    fn ages_are_rounded_down() {
        let ago = |seconds: i64| age(Some(NOW.seconds - seconds), NOW);
        assert_eq!(ago(59), "less than a minute ago");
        assert_eq!(ago(60), "1 minute ago");
        assert_eq!(ago(86_400 * 13), "1 week ago");
        assert_eq!(ago(-100), "less than a minute ago");
        assert_eq!(age(None, NOW), "unknown");
    }
}
