//! `rmi`: a name goes; with the last one, the image.
//!
//! As with docker's builder, what an image shares with the step cache stays: a layer that a step made, and the base images that
//! a registry answered with, are what the next build begins from. `prune` takes those. So does a blob stay that another
//! image leads to.

use std::collections::BTreeSet;
use std::path::Path;

use super::needed::Needed;
use super::{Image, ImagesError, find, names_of};
use crate::builder::{LockError, remembered};
use crate::cache::LocalCache;
use crate::content::Store;
use crate::digest::{ChainId, DiffId, Digest};
use crate::fsutil::Removal;
use crate::oci::Reference;
use crate::snapshot::Snapshots;

/// What went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    /// Names, in the familiar form.
    pub untagged: Vec<String>,
    /// The image id, then the layers, top first.
    pub deleted: Vec<Digest>,
    /// Builds use some of the content: that stays until a prune.
    pub is_in_use: bool,
}

/// Removes the image that `text` means from the store at `root`: its name, and with the last name its content. By an id all names go, if
/// they are of one repository or with `force`. The process must have entered its namespaces.
pub fn remove(root: &Path, text: &str, force: bool) -> Result<Removed, ImagesError> {
    let store = Store::open(root)?;
    let image = find(&store, text, None)?;
    let names = names_of(&store, &image)?;
    let mut removed = Removed::default();
    // The start of an id is a word that could be a name, too.
    let is_by_name =
        Reference::parse(text).is_ok_and(|name| name.digest.is_none()) && store.resolve_tag(text)?.is_some();
    let going = match &image.name {
        Some(name) if is_by_name => vec![name.clone()],
        _ => names.clone(),
    };
    if !is_by_name && !force && repositories(&names) > 1 {
        return Err(ImagesError::SeveralNames { id: text.to_owned(), names });
    }
    let removal = Removal::begin(root).map_err(|source| LockError::Io { root: root.to_owned(), source })?;
    for name in going {
        if store.remove_tag(&name)? {
            removed.untagged.push(name);
        }
    }
    store.remove_nameless(&image.digest)?;
    if names_of(&store, &image)?.is_empty() {
        (removed.deleted, removed.is_in_use) = delete(root, &store, &image, removal.names())?;
    }
    Ok(removed)
}

fn repositories(names: &[String]) -> usize {
    let mut all: Vec<String> =
        names.iter().map(|name| Reference::parse(name).map_or_else(|_| name.clone(), |name| name.name())).collect();
    all.sort();
    all.dedup();
    all.len()
}

/// Takes away what only this image led to: unpacked layers first, and blobs before the documents that name them. Says whether
/// some of it is in use and stays.
fn delete(
    root: &Path,
    store: &Store,
    image: &Image,
    used: &BTreeSet<String>,
) -> Result<(Vec<Digest>, bool), ImagesError> {
    let mut others: Vec<_> = store.images()?.into_iter().map(|(_, descriptor)| descriptor).collect();
    others.extend(remembered(root));
    let mut kept = Needed::of(store, &others)?;
    kept.blobs.extend(LocalCache::open(root)?.all()?.iter().map(|record| record.diff_id.0));
    let mut own = store.reachable(&image.target)?;
    own.extend(image.config.rootfs.diff_ids.iter().map(|layer| layer.0));
    own.retain(|digest| !kept.blobs.contains(digest));
    let kept = kept.and_used(used);
    let (staying, going): (Vec<Digest>, Vec<Digest>) = own.into_iter().partition(|digest| kept.blobs.contains(digest));
    let layers = image.layers();
    let goes = |layer: &&crate::oci::Layer| {
        going.contains(&layer.diff_id.0) || layer.digest().is_ok_and(|digest| going.contains(&digest))
    };
    let stack: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id).collect();
    if let Some(first) = layers.iter().position(|layer| goes(&layer)) {
        let going: BTreeSet<ChainId> = ChainId::each_of(&stack).into_iter().skip(first).collect();
        for snapshots in Snapshots::of_all_kinds(root)? {
            for chain in snapshots.all()? {
                if going.contains(&chain) && !kept.chains.contains(&chain) {
                    snapshots.remove(chain)?;
                }
            }
        }
    }
    // Of an index, the other platforms go too; the one that is shown stands for all.
    for digest in going.iter().rev() {
        store.remove_blob(digest)?;
    }
    store.forget_lone_referrers()?;
    let mut deleted: Vec<Digest> = going.iter().filter(|digest| **digest == image.id).copied().collect();
    deleted.extend(layers.iter().rev().filter(goes).map(|layer| layer.diff_id.0));
    Ok((deleted, !staying.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::StoreLock;
    use crate::images::image::tests::with_image;

    #[test]
    fn the_last_name_takes_the_content_that_nobody_else_needs() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let id = with_image(&root, Some("a"), "2020-01-01T00:00:00Z", &[b"shared", b"own"]);
        let other = with_image(&root, Some("b"), "2020-01-01T00:00:00Z", &[b"shared"]);
        let store = Store::open(&root).unwrap();
        store.set_tag("a:2", find(&store, "a", None).unwrap().target).unwrap();
        let removed = remove(&root, "a", false).unwrap();
        assert_eq!((removed.untagged, removed.deleted), (vec!["a:latest".to_owned()], vec![]));
        let build = StoreLock::shared(&root).unwrap();
        assert!(build.content(&root).unwrap().length_of(&other).unwrap().is_some());
        let removed = remove(&root, &other.hex()[..12], false).unwrap();
        assert!(removed.is_in_use && removed.deleted.is_empty());
        assert!(store.length_of(&other).unwrap().is_some());
        drop(build);
        with_image(&root, Some("b"), "2020-01-01T00:00:00Z", &[b"shared"]);
        let removed = remove(&root, "a:2", false).unwrap();
        assert_eq!(removed.untagged, ["a:2"]);
        assert_eq!(removed.deleted, [id, Digest::of(b"own")]);
        assert!(store.length_of(&Digest::of(b"shared")).unwrap().is_some());
        assert!(find(&store, "b", None).is_ok());
    }

    #[test]
    fn an_id_with_names_in_several_repositories_is_not_removed_unless_forced() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        let id = with_image(&root, Some("a"), "2020-01-01T00:00:00Z", &[b"1"]);
        let store = Store::open(&root).unwrap();
        store.set_tag("b", find(&store, "a", None).unwrap().target).unwrap();
        let short = &id.hex()[..12];
        assert!(matches!(remove(&root, short, false), Err(ImagesError::SeveralNames { .. })));
        assert_eq!(remove(&root, short, true).unwrap().untagged, ["a:latest", "b:latest"]);
        assert!(matches!(remove(&root, short, true), Err(ImagesError::NoSuchImage { .. })));
        assert_eq!(store.blobs().unwrap(), []);
    }

    #[test]
    fn what_the_step_cache_has_stays() {
        use crate::cache::{KeyHasher, KeySink as _, Record};
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        with_image(&root, Some("a"), "2020-01-01T00:00:00Z", &[b"cached", b"not"]);
        let mut key = KeyHasher::default();
        key.field("step", "1");
        let diff_id = DiffId(Digest::of(b"cached"));
        let (created, facts) = (String::new(), String::new());
        let record = Record {
            diff_id,
            length: 6,
            created,
            facts,
            milliseconds: None,
            peak_memory: None,
            elsewhere: None,
            imported: None,
        };
        LocalCache::open(&root).unwrap().put(&key.finish(), &record).unwrap();
        remove(&root, "a", false).unwrap();
        let left: Vec<Digest> =
            Store::open(&root).unwrap().blobs().unwrap().into_iter().map(|(digest, _)| digest).collect();
        assert_eq!(left, [Digest::of(b"cached")]);
    }
}
