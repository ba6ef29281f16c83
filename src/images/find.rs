//! Which image a user means: a name, a name with a digest, or the start of an id.

use super::{Image, ImagesError};
use crate::content::Store;
use crate::diag::nearest;
use crate::digest::Digest;
use crate::oci::{Descriptor, Platform, Reference, digest_of};

/// Finds the image that `text` means, of this platform (or else the machine's). As with docker, a name counts before an id, and an
/// id may be cut short; so may the digest of a manifest.
pub fn find(store: &Store, text: &str, platform: Option<&Platform>) -> Result<Image, ImagesError> {
    let (name, descriptor) = target(store, text)?;
    // Whoever found an image in a store with a lease has all of it, as far as it is there and can be read.
    let _ = store.reachable(&descriptor);
    Image::read(store, name, &descriptor, platform)
}

/// Returns the names of everything that leads to the same manifest or index as `image`.
pub fn names_of(store: &Store, image: &Image) -> Result<Vec<String>, ImagesError> {
    let same = store.tags()?.into_iter().filter(|(_, other)| other.digest() == image.target.digest());
    Ok(same.map(|(name, _)| name).collect())
}

fn target(store: &Store, text: &str) -> Result<(Option<String>, Descriptor), ImagesError> {
    let images = store.images()?;
    let reference = Reference::parse(text);
    if let Ok(reference) = &reference {
        if let Some(found) = by_digest(&images, reference) {
            return Ok(found);
        }
        if reference.digest.is_none()
            && let Some(descriptor) = store.resolve_tag(text)?
        {
            let tagged = reference.with_tag(reference.tag_or_latest())?;
            return Ok((Some(tagged.familiar()), descriptor));
        }
    }
    match by_id(store, &images, text)? {
        Some(found) => Ok(found),
        None => Err(missing(&images, text, reference.ok().as_ref())),
    }
}

type Listed = (Option<String>, Descriptor);

/// `name@sha256:..`: the image with this digest and a name of this repository, or with no name.
fn by_digest(images: &[Listed], reference: &Reference) -> Option<Listed> {
    let digest = reference.digest?;
    let is_of = |name: &Option<String>| match name.as_deref().map(Reference::parse) {
        Some(Ok(name)) => name.name() == reference.name(),
        _ => true,
    };
    images.iter().find(|(name, target)| digest_of(target).ok() == Some(digest) && is_of(name)).cloned()
}

/// The image whose id, or whose digest, begins so.
fn by_id(store: &Store, images: &[Listed], text: &str) -> Result<Option<Listed>, ImagesError> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.is_empty() || digits.len() > 64 || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(None);
    }
    let mut found: Vec<(Digest, &Listed)> = Vec::new();
    for listed in images {
        // A damaged image has no id by which it could be found.
        let image = Image::read(store, listed.0.clone(), &listed.1, None).ok();
        let digests = [image.as_ref().map(|image| image.id), digest_of(&listed.1).ok()];
        if let Some(Some(_)) =
            digests.iter().find(|digest| digest.is_some_and(|digest| digest.hex().starts_with(digits)))
            && let Ok(target) = digest_of(&listed.1)
        {
            found.push((image.map_or(target, |image| image.id), listed));
        }
    }
    match found.as_slice() {
        [] => Ok(None),
        [(first, listed), others @ ..] if others.iter().all(|(id, _)| id == first) => Ok(Some((*listed).clone())),
        several => {
            let mut ids: Vec<String> = several.iter().map(|(id, _)| id.hex()[..12].to_owned()).collect();
            ids.sort();
            ids.dedup();
            Err(ImagesError::Ambiguous { prefix: text.to_owned(), ids })
        }
    }
}

fn missing(images: &[Listed], text: &str, reference: Option<&Reference>) -> ImagesError {
    let name = reference.map_or_else(
        || text.to_owned(),
        |reference| match &reference.digest {
            Some(_) => reference.familiar(),
            None => format!("{}:{}", reference.familiar_name(), reference.tag_or_latest()),
        },
    );
    let near = nearest(&name, images.iter().filter_map(|(name, _)| name.as_deref())).map(str::to_owned);
    ImagesError::NoSuchImage { name, near }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::image::tests::with_image;

    #[test]
    fn an_image_is_found_by_name_digest_and_id() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        let id = with_image(root, Some("docker.io/library/app"), "2020-01-01T00:00:00Z", &[b"1"]);
        let other = with_image(root, None, "2021-01-01T00:00:00Z", &[b"2"]);
        let store = Store::open(root).unwrap();
        let found = |text: &str| find(&store, text, None).map(|image| image.id);
        let digest = find(&store, "app", None).unwrap().digest;
        for text in ["app", "app:latest", "docker.io/library/app", &id.hex()[..12], &id.to_string(), &id.hex()] {
            assert_eq!(found(text).unwrap(), id, "{text}");
        }
        for text in [format!("app@{digest}"), digest.to_string(), digest.hex()[..9].to_owned()] {
            assert_eq!(found(&text).unwrap(), id, "{text}");
        }
        assert_eq!(found(&other.hex()[..12]).unwrap(), other);
        for text in ["apps", "app:2", "beef", "UPPER", "", &format!("other@{digest}")] {
            assert!(matches!(found(text), Err(ImagesError::NoSuchImage { .. })), "{text}");
        }
        assert_eq!(found("ap").unwrap_err().help(), ["did you mean `app:latest`?"]);
        assert_eq!(names_of(&store, &find(&store, "app", None).unwrap()).unwrap(), ["app:latest"]);
    }

    #[test]
    fn a_start_that_several_ids_have_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let ids: Vec<Digest> =
            (0..40u8).map(|number| with_image(scratch.path(), None, "2020-01-01T00:00:00Z", &[&[number]])).collect();
        let store = Store::open(scratch.path()).unwrap();
        // Of forty ids two begin with the same of sixteen digits.
        let digit = |id: &Digest| id.hex()[..1].to_owned();
        let shared = ids.iter().map(digit).find(|first| ids.iter().filter(|id| digit(id) == *first).count() > 1);
        assert!(matches!(find(&store, &shared.unwrap(), None), Err(ImagesError::Ambiguous { .. })));
    }
}
