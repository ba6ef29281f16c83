//! One image of the store, read: what its name leads to, its manifest and its config.

use std::path::Path;

use super::ImagesError;
use crate::content::Store;
use crate::digest::Digest;
use crate::oci::{Descriptor, ImageConfig, Index, Layer, Manifest, Platform, Reference};
use crate::oci::{choose_manifest, digest_of, media_type, parse_rfc3339};

/// The longest manifest, index or config read, in bytes.
pub(super) const DOCUMENT_LIMIT: u64 = 16 << 20;
/// An index may hold indexes, but not without end.
const DEPTH_LIMIT: usize = 4;

/// An image of one platform.
#[derive(Clone, Debug)]
pub struct Image {
    /// The name as stored, in the familiar form with its tag; none for an image without a name.
    pub name: Option<String>,
    /// What the name points to: manifest or index.
    pub target: Descriptor,
    /// The digest of `target`.
    pub digest: Digest,
    /// The digest of the manifest.
    pub manifest_digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The image id: digest of the config.
    pub id: Digest,
    /// The config.
    pub config: ImageConfig,
}

impl Image {
    /// Reads what `descriptor` leads to, for `platform`, or else for this machine, or else the first that is here.
    pub(super) fn read(
        store: &Store,
        name: Option<String>,
        descriptor: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<Self, ImagesError> {
        let nothing = || {
            let name = name.clone().unwrap_or_else(|| descriptor.digest().to_string());
            let platform = platform.cloned().unwrap_or_else(Platform::host).to_string();
            ImagesError::Nothing { name, platform }
        };
        let digest = digest_of(descriptor).map_err(|_| nothing())?;
        let mut found = descriptor.clone();
        for _ in 0..DEPTH_LIMIT {
            if !media_type::is_index(found.media_type().as_ref()) {
                break;
            }
            let index: Index = document(store, digest_of(&found).map_err(|_| nothing())?)?;
            let chosen = match platform {
                Some(platform) => choose_manifest(&index, platform),
                // Of an index that was pulled for another machine, that of this one is not here.
                None => {
                    let is_here = |child: &&Descriptor| {
                        let digest = digest_of(child).ok();
                        digest.is_some_and(|digest| matches!(store.length_of(&digest), Ok(Some(_))))
                    };
                    let suits = choose_manifest(&index, &Platform::host());
                    let first = || index.manifests().iter().find(is_here).or(suits);
                    suits.filter(is_here).or_else(first).or_else(|| index.manifests().first())
                }
            };
            found = chosen.cloned().ok_or_else(nothing)?;
        }
        let manifest_digest = digest_of(&found).map_err(|_| nothing())?;
        let manifest: Manifest = document(store, manifest_digest)?;
        let id = digest_of(manifest.config()).map_err(|_| nothing())?;
        let config: ImageConfig = document(store, id)?;
        let (name, target) = (name.clone(), descriptor.clone());
        let image = Self { name, target, digest, manifest_digest, manifest, id, config };
        match platform {
            Some(platform) if !platform.matches(&image.platform()) => Err(nothing()),
            _ => Ok(image),
        }
    }

    /// When it was made, in seconds since 1970, if it says so.
    pub fn created(&self) -> Option<i64> {
        self.config.created.as_deref().and_then(parse_rfc3339).map(|time| time.seconds)
    }

    /// Bytes of its layers as they are stored.
    pub fn size(&self) -> u64 {
        self.manifest.layers().iter().map(Descriptor::size).sum()
    }

    /// What it says it runs on.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.config.os, &self.config.architecture, self.config.variant.as_deref())
    }

    /// Its name without a tag, as users write it, and its tag.
    pub fn name_and_tag(&self) -> Option<(String, String)> {
        let name = self.name.as_deref()?;
        match Reference::parse(name) {
            Ok(reference) if reference.digest.is_some() => Some((reference.familiar_name(), "<none>".to_owned())),
            Ok(reference) => Some((reference.familiar_name(), reference.tag_or_latest().to_owned())),
            Err(_) => Some((name.to_owned(), "<none>".to_owned())),
        }
    }

    /// Its layers, bottom first.
    pub fn layers(&self) -> Vec<Layer> {
        let pairs = self.config.rootfs.diff_ids.iter().zip(self.manifest.layers());
        pairs
            .map(|(diff_id, descriptor)| Layer { diff_id: *diff_id, descriptor: descriptor.clone(), origin: None })
            .collect()
    }
}

/// The images of a store.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those that could be read, newest first.
    pub images: Vec<Image>,
    /// Names whose images are damaged, and why.
    pub unreadable: Vec<(String, ImagesError)>,
}

/// Lists the images of the store at `root`, which is not made when it is missing.
pub fn list(root: &Path) -> Result<Listed, ImagesError> {
    let mut listed = Listed::default();
    if !root.exists() {
        return Ok(listed);
    }
    let store = Store::open(root)?;
    for (name, descriptor) in store.images()? {
        match Image::read(&store, name.clone(), &descriptor, None) {
            Ok(image) => listed.images.push(image),
            Err(error) => listed.unreadable.push((name.unwrap_or_else(|| descriptor.digest().to_string()), error)),
        }
    }
    listed.images.sort_by(|a, b| b.created().cmp(&a.created()).then_with(|| a.name.cmp(&b.name)));
    Ok(listed)
}

pub(super) fn document<T: serde::de::DeserializeOwned>(store: &Store, digest: Digest) -> Result<T, ImagesError> {
    let bytes = store.read_blob(&digest, DOCUMENT_LIMIT)?;
    serde_json::from_slice(&bytes).map_err(|source| ImagesError::Parse { digest, source })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::oci::descriptor;
    use serde_json::json;

    /// Puts an image into the store at `root` whose layers have these bytes; returns its id.
    pub(crate) fn with_image(root: &Path, name: Option<&str>, created: &str, layers: &[&[u8]]) -> Digest {
        let store = Store::open(root).unwrap();
        let layers: Vec<(Digest, u64)> =
            layers.iter().map(|bytes| (store.put(bytes).unwrap(), bytes.len() as u64)).collect();
        let config = json!({
            "created": created, "architecture": "amd64", "os": "linux", "config": { "Env": ["A=b"] },
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|(digest, _)| digest).collect::<Vec<_>>() },
            "history": [],
        });
        let config = config.to_string();
        let id = store.put(config.as_bytes()).unwrap();
        let layer = |(digest, size): &(Digest, u64)| descriptor(media_type::OCI_LAYER, digest, *size);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, &id, config.len() as u64),
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string();
        let digest = store.put(manifest.as_bytes()).unwrap();
        let target = descriptor(media_type::OCI_MANIFEST, &digest, manifest.len() as u64);
        match name {
            Some(name) => store.set_tag(name, target).unwrap(),
            None => store.set_nameless(target).unwrap(),
        }
        id
    }

    #[test]
    fn images_are_listed_newest_first() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        assert_eq!(list(&root).unwrap().images.len(), 0);
        assert!(!root.exists());
        with_image(&root, Some("old:1"), "2020-01-01T00:00:00Z", &[b"12345"]);
        with_image(&root, Some("localhost:5000/team/new"), "2024-01-01T00:00:00Z", &[b"12", b"3"]);
        with_image(&root, None, "2022-01-01T00:00:00Z", &[]);
        let listed = list(&root).unwrap();
        assert!(listed.unreadable.is_empty(), "{:?}", listed.unreadable);
        let told: Vec<_> = listed.images.iter().map(|image| (image.name_and_tag(), image.size())).collect();
        let named = |name: &str, tag: &str| Some((name.to_owned(), tag.to_owned()));
        assert_eq!(told, [(named("localhost:5000/team/new", "latest"), 3), (None, 0), (named("old", "1"), 5)]);
    }

    #[test]
    fn a_damaged_image_does_not_hide_the_others() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let id = with_image(&root, Some("bad"), "2020-01-01T00:00:00Z", &[]);
        with_image(&root, Some("good"), "2021-01-01T00:00:00Z", &[]);
        std::fs::remove_file(Store::open(&root).unwrap().path_of(&id)).unwrap();
        let listed = list(&root).unwrap();
        assert_eq!((listed.images.len(), listed.unreadable.len()), (1, 1));
    }
}
