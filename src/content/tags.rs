//! Tags: the entries of `index.json`. One without a name is an image that was made without `-t`, and is found by its id.

use std::fs::File;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::referrers::is_image;
use super::{ContentError, Store};
use crate::digest::Digest;
use crate::oci::{self, Descriptor, Index, MANIFEST_LIMIT, Manifest, Reference, digest_of, media_type, to_json};

/// Blobs that are synced at once.
const SYNCED_AT_ONCE: usize = 8;
/// By this annotation tools find an image of a layout (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The full name, by which containerd imports a layout.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

impl Store {
    /// Lets the image reference `name` mean `descriptor`; without a tag it means `latest`. A name with a digest (and no tag) can only
    /// be given to what has that digest. What the manifest refers to and is
    /// here is synced to the disk first, so that a tag never outlives its blobs in a power loss.
    pub fn set_tag(&self, name: &str, mut descriptor: Descriptor) -> Result<(), ContentError> {
        let tagged = tagged(name)?;
        if tagged.digest.is_some_and(|digest| digest_of(&descriptor).ok() != Some(digest)) {
            return Err(ContentError::NameHasDigest { name: name.to_owned() });
        }
        let mut annotations = descriptor.annotations().clone().unwrap_or_default();
        annotations.insert(REF_NAME.to_owned(), tagged.familiar());
        annotations.insert(CONTAINERD_NAME.to_owned(), tagged.to_string());
        descriptor.set_annotations(Some(annotations));
        // A build that changed nothing has nothing to sync either.
        if self.read_index()?.manifests().contains(&descriptor) {
            return Ok(());
        }
        self.sync_reachable(&descriptor)?;
        self.change_index(|manifests| {
            let gets_a_name = |manifest: &Descriptor| manifest.digest() == descriptor.digest();
            manifests.retain(|manifest| match ref_name(manifest) {
                Some(name) => name != tagged.familiar(),
                None => !gets_a_name(manifest),
            });
            manifests.push(descriptor);
            manifests.sort_by(|a, b| ref_name(a).cmp(&ref_name(b)));
        })
    }

    /// Returns all tags by name, in the familiar form (or as another tool wrote it), sorted.
    pub fn tags(&self) -> Result<Vec<(String, Descriptor)>, ContentError> {
        let named = |manifest: &Descriptor| Some((ref_name(manifest)?.to_owned(), manifest.clone()));
        let mut tags: Vec<_> = self.read_index()?.manifests().iter().filter_map(named).collect();
        tags.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(tags)
    }

    /// Returns all images: those with a name as [`Store::tags`] returns them, then those without, by digest.
    pub fn images(&self) -> Result<Vec<(Option<String>, Descriptor)>, ContentError> {
        let named = self.tags()?.into_iter().map(|(name, descriptor)| (Some(name), descriptor));
        let mut nameless = self.read_index()?.manifests().clone();
        nameless.retain(|manifest| ref_name(manifest).is_none() && is_image(manifest));
        nameless.sort_by_key(|manifest| manifest.digest().to_string());
        Ok(named.chain(nameless.into_iter().map(|manifest| (None, manifest))).collect())
    }

    /// Lists an image that has no name yet, so that it can be found by its id. One that is listed already stays as it is.
    pub fn set_nameless(&self, descriptor: Descriptor) -> Result<(), ContentError> {
        let is_listed = |all: &[Descriptor]| all.iter().any(|manifest| manifest.digest() == descriptor.digest());
        if is_listed(self.read_index()?.manifests()) {
            return Ok(());
        }
        self.change_index(|manifests| {
            if !is_listed(manifests) {
                manifests.push(descriptor.clone());
            }
        })
    }

    /// Takes an image without a name off the list; its blobs stay. Returns whether it was there.
    pub fn remove_nameless(&self, digest: &Digest) -> Result<bool, ContentError> {
        let mut was_there = false;
        self.change_index(|manifests| {
            let before = manifests.len();
            manifests.retain(|manifest| ref_name(manifest).is_some() || digest_of(manifest).ok() != Some(*digest));
            was_there = manifests.len() < before;
        })?;
        Ok(was_there)
    }

    /// Returns what the image reference `name` means; `None` when there is no such tag. A name that another tool wrote into
    /// the layout is found as it stands. For a store with a lease, all that the tag leads to is in use from now on.
    pub fn resolve_tag(&self, name: &str) -> Result<Option<Descriptor>, ContentError> {
        let mut found = self.find_tag(name)?;
        while let (Some(_), Some(descriptor)) = (&self.lease, &found) {
            let _ = self.reachable(descriptor);
            // A tag that is gone may have gone before its blobs were in use.
            let again = self.find_tag(name)?;
            if again == found {
                break;
            }
            found = again;
        }
        Ok(found)
    }

    fn find_tag(&self, name: &str) -> Result<Option<Descriptor>, ContentError> {
        let familiar = tagged(name).map(|tagged| tagged.familiar());
        let index = self.read_index()?;
        let find = |wanted: &str| index.manifests().iter().find(|manifest| ref_name(manifest) == Some(wanted)).cloned();
        Ok(familiar.ok().and_then(|familiar| find(&familiar)).or_else(|| find(name)))
    }

    /// Removes a tag; the blobs stay. Returns whether it was there.
    pub fn remove_tag(&self, name: &str) -> Result<bool, ContentError> {
        let familiar = tagged(name)?.familiar();
        let mut was_there = false;
        self.change_index(|manifests| {
            let before = manifests.len();
            manifests.retain(|manifest| ![Some(familiar.as_str()), Some(name)].contains(&ref_name(manifest)));
            was_there = manifests.len() < before;
        })?;
        Ok(was_there)
    }

    pub(super) fn create_index_if_missing(&self) -> Result<(), ContentError> {
        match self.index_path().exists() {
            true => Ok(()),
            false => self.change_index(|_| {}),
        }
    }

    fn index_path(&self) -> PathBuf {
        self.layout.join("index.json")
    }

    pub(super) fn read_index(&self) -> Result<Index, ContentError> {
        let path = self.index_path();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty_index()),
            Err(source) => return Err(ContentError::io("read", &path)(source)),
        };
        serde_json::from_slice(&text).map_err(|source| ContentError::Index { path, source })
    }

    /// Changes the entries while no other process can.
    pub(super) fn change_index(&self, change: impl FnOnce(&mut Vec<Descriptor>)) -> Result<(), ContentError> {
        let lock = File::options().create(true).append(true).open(&self.lock);
        let lock = lock.map_err(ContentError::io("open", &self.lock))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|errno| ContentError::io("lock", &self.lock)(errno.into()))?;
        let mut index = self.read_index()?;
        let mut manifests = index.manifests().clone();
        change(&mut manifests);
        index.set_manifests(manifests);
        // The lock lets only one writer in, so the name need not be random, and one left by a crash is written over.
        let (new, path) = (self.temporary.join("index.json"), self.index_path());
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&to_json(&index))?;
            file.sync_all()
        });
        written.map_err(ContentError::io("write", &new))?;
        std::fs::rename(&new, &path).map_err(ContentError::io("create", &path))
    }

    /// Syncs a manifest or index, and everything it refers to, as far as it is here.
    fn sync_reachable(&self, descriptor: &Descriptor) -> Result<(), ContentError> {
        let all = self.reachable(descriptor)?;
        // Side by side they share commits of the file system's journal.
        let share = all.len().div_ceil(SYNCED_AT_ONCE).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = all.chunks(share).map(|some| scope.spawn(|| self.sync(some))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })?;
        let synced = File::open(&self.blobs).and_then(|directory| directory.sync_all());
        synced.map_err(ContentError::io("sync", &self.blobs))
    }

    fn sync(&self, blobs: &[Digest]) -> Result<(), ContentError> {
        for digest in blobs {
            let path = self.path_of(digest);
            match File::open(&path).and_then(|file| file.sync_data()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ContentError::io("sync", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the digests of a manifest or index, everything below it, and what refers to any of it, as far as it is here.
    pub fn reachable(&self, descriptor: &Descriptor) -> Result<Vec<Digest>, ContentError> {
        let referrers = self.all_referrers()?;
        let mut found = Vec::new();
        let mut waiting = vec![descriptor.clone()];
        while let Some(descriptor) = waiting.pop() {
            let Ok(digest) = digest_of(&descriptor) else { continue };
            if found.contains(&digest) || self.length_of(&digest)?.is_none() {
                continue;
            }
            found.push(digest);
            waiting.extend(referrers.iter().filter(|(subject, _)| *subject == digest).map(|(_, entry)| entry.clone()));
            let kind = descriptor.media_type().as_ref();
            if media_type::is_index(kind) {
                waiting.extend(self.parse::<Index>(&digest)?.manifests().iter().cloned());
            } else if media_type::is_manifest(kind) {
                let manifest = self.parse::<Manifest>(&digest)?;
                waiting.push(manifest.config().clone());
                waiting.extend(manifest.layers().iter().cloned());
            }
        }
        Ok(found)
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> Result<T, ContentError> {
        let text = self.read_blob(digest, MANIFEST_LIMIT)?;
        serde_json::from_slice(&text).map_err(|source| ContentError::Index { path: self.path_of(digest), source })
    }
}

/// The reference a tag is kept under: always with a tag, never with a digest.
fn tagged(name: &str) -> Result<Reference, ContentError> {
    let reference = Reference::parse(name)?;
    match reference.digest {
        Some(_) if reference.tag.is_some() => Err(ContentError::NameHasDigest { name: name.to_owned() }),
        Some(_) => Ok(reference),
        None => Ok(reference.with_tag(reference.tag_or_latest())?),
    }
}

fn ref_name(manifest: &Descriptor) -> Option<&str> {
    manifest.annotations().as_ref()?.get(REF_NAME).map(String::as_str)
}

fn empty_index() -> Index {
    oci::index(media_type::OCI_INDEX, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::descriptor;

    fn image(store: &Store, content: &str) -> Descriptor {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{}","size":2}},"layers":[],"annotations":{{"x":"{content}"}}}}"#,
            media_type::OCI_CONFIG,
            store.put(b"{}").unwrap(),
        );
        descriptor(media_type::OCI_MANIFEST, &store.put(text.as_bytes()).unwrap(), text.len() as u64)
    }

    fn names(store: &Store) -> Vec<String> {
        store.tags().unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn tags_are_set_moved_and_removed() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let (first, second) = (image(&store, "first"), image(&store, "second"));
        store.set_tag("docker.io/library/app", first.clone()).unwrap();
        store.set_tag("host.example:5000/b/c:d", first.clone()).unwrap();
        store.set_tag("app:latest", second.clone()).unwrap();
        assert_eq!(names(&store), ["app:latest", "host.example:5000/b/c:d"]);
        assert_eq!(store.resolve_tag("app").unwrap().unwrap().digest(), second.digest());
        assert_eq!(store.resolve_tag("app:other").unwrap(), None);
        let annotations = store.resolve_tag("app").unwrap().unwrap().annotations().clone().unwrap();
        assert_eq!(annotations[CONTAINERD_NAME], "docker.io/library/app:latest");
        assert!(store.remove_tag("app").unwrap());
        assert!(!store.remove_tag("app").unwrap());
        assert_eq!(names(&store), ["host.example:5000/b/c:d"]);
    }

    #[test]
    fn an_image_without_a_name_is_listed_until_it_gets_one() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let (first, second) = (image(&store, "first"), image(&store, "second"));
        for image in [&first, &second, &first] {
            store.set_nameless(image.clone()).unwrap();
        }
        assert_eq!(store.images().unwrap().len(), 2);
        store.set_tag("app", first.clone()).unwrap();
        store.set_nameless(first).unwrap();
        let names: Vec<_> = store.images().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [Some("app:latest".to_owned()), None]);
        let digest = digest_of(&second).unwrap();
        assert!(store.remove_nameless(&digest).unwrap() && !store.remove_nameless(&digest).unwrap());
        assert_eq!(store.images().unwrap().len(), 1);
    }

    #[test]
    fn bad_names_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let image = image(&store, "");
        assert!(matches!(store.set_tag("App", image.clone()), Err(ContentError::Name(_))));
        let name = format!("app@{}", Digest::of(b""));
        assert!(matches!(store.set_tag(&name, image.clone()), Err(ContentError::NameHasDigest { .. })));
        let name = format!("app:1@{}", image.digest());
        assert!(matches!(store.set_tag(&name, image), Err(ContentError::NameHasDigest { .. })));
    }

    #[test]
    fn a_name_with_the_digest_of_the_image_stays_when_the_tag_moves_on() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let (first, second) = (image(&store, "1"), image(&store, "2"));
        let canonical = format!("app@{}", first.digest());
        store.set_tag("app", first.clone()).unwrap();
        store.set_tag(&canonical, first.clone()).unwrap();
        store.set_tag("app", second).unwrap();
        assert_eq!(store.resolve_tag(&canonical).unwrap().unwrap().digest(), first.digest());
        assert!(store.remove_tag(&canonical).unwrap());
    }

    #[test]
    fn tags_set_at_once_are_all_kept() {
        let temp = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let root = temp.path();
                scope.spawn(move || {
                    let store = Store::open(root).unwrap();
                    let image = image(&store, "same");
                    for n in 0..10 {
                        store.set_tag(&format!("app:{writer}-{n}"), image.clone()).unwrap();
                        store.tags().unwrap();
                    }
                });
            }
        });
        assert_eq!(names(&Store::open(temp.path()).unwrap()).len(), 80);
    }

    #[test]
    fn a_broken_index_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        std::fs::write(store.index_path(), "{").unwrap();
        assert!(matches!(store.tags(), Err(ContentError::Index { .. })));
    }

    #[test]
    fn all_of_an_image_is_reachable() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let index = oci::index(media_type::OCI_INDEX, vec![image(&store, "a"), image(&store, "b")]);
        let text = to_json(&index);
        let digest = store.put(&text).unwrap();
        store.put(b"not reachable").unwrap();
        let reachable = store.reachable(&descriptor(media_type::OCI_INDEX, &digest, text.len() as u64)).unwrap();
        assert_eq!(reachable.len(), 4);
    }
}
