//! What refers to images: attestations, as entries of `index.json` that are no images (image-spec, image-layout.md).
//!
//! An entry has an `artifactType`, no name, and the digest of its subject in an annotation, so that no manifest has to be read to find what
//! refers to an image. It stays as long as its subject is here.

use super::{ContentError, Store};
use crate::digest::Digest;
use crate::oci::{Descriptor, digest_of};

/// Annotation: the digest of the manifest that an entry is about.
const SUBJECT: &str = "io.kiln.subject";

impl Store {
    /// Lists a manifest, which is here, as one that refers to `subject`. It takes the place of one of the same artifact type and with the same
    /// annotations: a new build says the same kind of thing anew.
    pub fn set_referrer(&self, mut descriptor: Descriptor, subject: &Digest) -> Result<(), ContentError> {
        let mut annotations = descriptor.annotations().clone().unwrap_or_default();
        annotations.insert(SUBJECT.to_owned(), subject.to_string());
        descriptor.set_annotations(Some(annotations));
        if self.read_index()?.manifests().contains(&descriptor) {
            return Ok(());
        }
        let says_the_same = |entry: &Descriptor| {
            entry.artifact_type() == descriptor.artifact_type() && entry.annotations() == descriptor.annotations()
        };
        self.change_index(|manifests| {
            manifests.retain(|entry| !says_the_same(entry));
            manifests.push(descriptor.clone());
        })
    }

    /// Returns what refers to `subject`, as it was listed.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, ContentError> {
        let mut found = self.all_referrers()?;
        found.retain(|(of, _)| of == subject);
        Ok(found.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Returns all that refers to something, and to what.
    pub(super) fn all_referrers(&self) -> Result<Vec<(Digest, Descriptor)>, ContentError> {
        let entry = |entry: &Descriptor| {
            let subject = subject_of(entry)?;
            let mut entry = entry.clone();
            let mut annotations = entry.annotations().clone().unwrap_or_default();
            annotations.remove(SUBJECT);
            entry.set_annotations((!annotations.is_empty()).then_some(annotations));
            Some((subject, entry))
        };
        Ok(self.read_index()?.manifests().iter().filter_map(entry).collect())
    }

    /// Takes off the list what refers to something that is gone. Its blobs stay.
    pub fn forget_lone_referrers(&self) -> Result<(), ContentError> {
        let mut lone = Vec::new();
        for (subject, entry) in self.all_referrers()? {
            if self.length_of(&subject)?.is_none() {
                lone.extend(digest_of(&entry));
            }
        }
        if lone.is_empty() {
            return Ok(());
        }
        let is_lone = |entry: &Descriptor| {
            subject_of(entry).is_some() && digest_of(entry).is_ok_and(|digest| lone.contains(&digest))
        };
        self.change_index(|manifests| manifests.retain(|entry| !is_lone(entry)))
    }
}

/// What an entry refers to; `None` for an image.
fn subject_of(entry: &Descriptor) -> Option<Digest> {
    entry.artifact_type().as_ref()?;
    entry.annotations().as_ref()?.get(SUBJECT)?.parse().ok()
}

/// Whether an entry of a list is an image: what has an artifact type is none.
pub(super) fn is_image(entry: &Descriptor) -> bool {
    entry.artifact_type().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::oci::{descriptor, media_type};

    fn put(store: &Store, text: &str) -> Descriptor {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{}","size":2}},"layers":[],"annotations":{{"x":"{text}"}}}}"#,
            store.put(b"{}").unwrap()
        );
        descriptor(media_type::OCI_MANIFEST, &store.put(text.as_bytes()).unwrap(), text.len() as u64)
    }

    fn artifact(store: &Store, text: &str, kind: &str) -> Descriptor {
        let mut made = put(store, text);
        made.set_artifact_type(Some("a/statement".into()));
        made.set_annotations(Some(HashMap::from([("kind".to_owned(), kind.to_owned())])));
        made
    }

    #[test]
    fn what_refers_to_an_image_is_no_image_and_goes_with_it() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let image = put(&store, "image");
        let digest = digest_of(&image).unwrap();
        store.set_nameless(image.clone()).unwrap();
        let (old, new, other) =
            (artifact(&store, "1", "sbom"), artifact(&store, "2", "sbom"), artifact(&store, "3", "provenance"));
        for entry in [&old, &other, &new, &new] {
            store.set_referrer(entry.clone(), &digest).unwrap();
        }
        assert_eq!(store.referrers(&digest).unwrap(), [other.clone(), new.clone()]);
        assert_eq!(store.images().unwrap(), [(None, image.clone())]);
        let reachable = store.reachable(&image).unwrap();
        assert!([&new, &other].iter().all(|entry| reachable.contains(&digest_of(entry).unwrap())));
        assert!(!reachable.contains(&digest_of(&old).unwrap()));
        store.forget_lone_referrers().unwrap();
        assert_eq!(store.referrers(&digest).unwrap().len(), 2);
        store.remove_blob(&digest).unwrap();
        store.forget_lone_referrers().unwrap();
        assert_eq!(store.referrers(&digest).unwrap(), []);
        assert_eq!(store.images().unwrap(), [(None, image)]);
    }
}
