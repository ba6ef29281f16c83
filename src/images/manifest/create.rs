//! `create`: one index of many images.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::{ImagesError, received};
use super::source::Found;
use super::{Entry, Source, Sources, listed, origin, set_of};
use crate::builder::{Annotation, AnnotationLevel};
use crate::content::Store;
use crate::digest::Digest;
use crate::export::{self, Attestation, Document, ImageSet};
use crate::oci::{Platform, Reference};
use crate::registry::Cause;

/// What an index shall list.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CreateRequest {
    /// What is listed, in this order; an index stands for what it lists.
    pub sources: Vec<Source>,
    /// The name whose index is added to. If it means nothing yet, an index is begun.
    pub amend: Option<String>,
    /// Those of the index, and of its entries.
    pub annotations: Vec<Annotation>,
    /// Only images for these; all if there is none.
    pub platforms: Vec<Platform>,
    /// A single image stays what it is, without an index.
    pub keep_single: bool,
}

/// Makes the index, in memory: nothing is written, and no layer is moved. An index that is all that is asked for stays as it is, byte for
/// byte.
pub async fn create(sources: &Sources<'_>, request: &CreateRequest) -> Result<ImageSet, ImagesError> {
    let amended = match &request.amend {
        Some(name) => existing(sources, name).await?,
        None => None,
    };
    let is_amended = amended.is_some();
    let mut all: Vec<Found> = amended.into_iter().collect();
    for source in &request.sources {
        all.push(sources.find(source).await?);
    }
    let is_changed = !request.annotations.is_empty() || !request.platforms.is_empty();
    if !is_changed && all.len() == 1 {
        let only = all.remove(0);
        if !only.entries.iter().any(Entry::is_image) {
            return Err(ImagesError::NoEntries);
        }
        if only.index.is_some() || request.keep_single {
            return Ok(set_of(only.entries, only.index, only.beside));
        }
        all.push(only);
    }
    let like = match all.first().and_then(|found| found.index.as_ref()) {
        Some(index) if is_amended => listed::read(&index.bytes)?.0,
        _ => listed::new(),
    };
    let mut beside: Vec<Attestation> = all.iter_mut().flat_map(|found| std::mem::take(&mut found.beside)).collect();
    let entries = chosen(all, &request.platforms);
    if !entries.iter().any(Entry::is_image) {
        return Err(ImagesError::NoEntries);
    }
    beside.retain(|one| entries.iter().any(|entry| entry.digest() == one.subject));
    let index = index_of(&entries, like, &request.annotations);
    Ok(set_of(entries, Some(index), beside))
}

/// What `name` means already, in the place where the index goes.
async fn existing(sources: &Sources<'_>, name: &str) -> Result<Option<Found>, ImagesError> {
    match sources.named(name).await {
        Ok(found) => Ok(Some(found)),
        Err(ImagesError::NoSuchImage { .. }) => Ok(None),
        Err(ImagesError::Registry(error)) if matches!(*error.cause, Cause::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The entries that are wanted, each manifest once, with what is said of them; what is said of one last counts.
fn chosen(all: Vec<Found>, platforms: &[Platform]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for entry in all.into_iter().flat_map(|found| found.entries) {
        match entries.iter_mut().find(|known| known.digest() == entry.digest()) {
            Some(known) => *known = entry,
            None => entries.push(entry),
        }
    }
    if !platforms.is_empty() {
        let is_of = |entry: &Entry| entry.listed.platform().is_some_and(|of| platforms.contains(&of));
        let wanted: Vec<Digest> = entries.iter().filter(|entry| is_of(entry)).map(Entry::digest).collect();
        entries.retain(|entry| {
            wanted.contains(&entry.digest()) || entry.listed.subject().is_some_and(|of| wanted.contains(&of))
        });
    }
    entries
}

/// Writes the index, with its annotations and those of its entries.
fn index_of(entries: &[Entry], mut like: Map<String, Value>, annotations: &[Annotation]) -> Document {
    let of = |level: AnnotationLevel, platform: Option<&Platform>| {
        let applies = |annotation: &&Annotation| {
            annotation.level == level && (annotation.platform.is_none() || annotation.platform.as_ref() == platform)
        };
        let applying = annotations.iter().filter(applies);
        applying.map(|found| (found.key.clone(), found.value.clone())).collect::<BTreeMap<_, _>>()
    };
    let annotated = entries.iter().map(|entry| {
        let mut listed = entry.listed.clone();
        if listed.subject().is_none() {
            listed.annotate(of(AnnotationLevel::ManifestDescriptor, listed.platform().as_ref()));
        }
        listed
    });
    listed::annotate(&mut like, of(AnnotationLevel::Index, None));
    listed::write(like, &annotated.collect::<Vec<_>>())
}

/// Whether a name of the store means something already.
pub fn is_taken(store: &Store, names: &[Reference]) -> Result<(), ImagesError> {
    for name in names {
        if store.resolve_tag(&name.to_string())?.is_some() {
            return Err(ImagesError::NameTaken { name: name.familiar() });
        }
    }
    Ok(())
}

/// Keeps what [`create`] made in the store under `names`: its documents. It remembers where layers are that are not here.
pub fn keep(store: &Store, mut set: ImageSet, names: &[Reference]) -> Result<(), ImagesError> {
    let origins = origin::annotations(&set.images);
    let root = set.index.as_mut().unwrap_or(&mut set.images[0].manifest);
    root.descriptor = received(root.descriptor.clone());
    root.annotate(origins);
    Ok(export::keep(&set, names, store)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::find;
    use crate::images::image::tests::with_image;
    use crate::images::manifest::{self, Place};
    use crate::oci::Index;
    use crate::registry::{Client, Settings};

    /// Makes an index of images of a store.
    fn made(root: &std::path::Path, request: &CreateRequest) -> Result<ImageSet, ImagesError> {
        let (store, client) = (Store::open(root).unwrap(), Client::new(Settings::default()));
        let sources = Sources { root, store: &store, client: &client, place: Place::Store, home: None };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(create(&sources, request))
    }

    fn named(texts: &[&str]) -> CreateRequest {
        CreateRequest {
            sources: texts.iter().map(|text| Source::Named((*text).to_owned())).collect(),
            ..Default::default()
        }
    }

    fn listed(set: &ImageSet) -> Index {
        serde_json::from_slice(&set.index.as_ref().unwrap().bytes).unwrap()
    }

    #[test]
    fn an_index_lists_what_is_named_once_and_stays_as_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        with_image(&root, Some("a"), "2020-01-01T00:00:00Z", &[b"1"]);
        with_image(&root, Some("b"), "2021-01-01T00:00:00Z", &[b"2"]);
        let set = made(&root, &named(&["a", "b", "a"])).unwrap();
        assert_eq!(listed(&set).manifests().len(), 2);
        assert_eq!(
            listed(&set).manifests()[0].platform().as_ref().map(Platform::of),
            Some("linux/amd64".parse().unwrap())
        );
        let store = Store::open(&root).unwrap();
        let name = Reference::parse("both:1").unwrap();
        keep(&store, set.clone(), std::slice::from_ref(&name)).unwrap();
        assert!(matches!(is_taken(&store, &[name]), Err(ImagesError::NameTaken { .. })));
        // An index alone is handed on; with more, its entries are.
        assert_eq!(made(&root, &named(&["both:1"])).unwrap().index.unwrap().bytes, set.index.as_ref().unwrap().bytes);
        with_image(&root, Some("c"), "2022-01-01T00:00:00Z", &[b"3"]);
        assert_eq!(listed(&made(&root, &named(&["both:1", "c"])).unwrap()).manifests().len(), 3);
        let amend = CreateRequest { amend: Some("both:1".to_owned()), ..named(&["c"]) };
        assert_eq!(listed(&made(&root, &amend).unwrap()).manifests().len(), 3);
        let amend = CreateRequest { amend: Some("absent.invalid/new:1".to_owned()), ..named(&["c"]) };
        assert!(matches!(made(&root, &amend), Err(ImagesError::Registry(_))));
        let image = find(&store, "both:1", None).unwrap();
        assert_eq!(crate::images::set::set_of(&store, &image, false).unwrap().images.len(), 2);
        let none = CreateRequest { platforms: vec!["linux/s390x".parse().unwrap()], ..named(&["both:1"]) };
        assert!(matches!(made(&root, &none), Err(ImagesError::NoEntries)));
        assert!(matches!(manifest::expect_index(&store, "a"), Err(ImagesError::NotAnIndex { .. })));
    }

    #[test]
    fn annotations_stand_where_they_belong_and_make_it_an_index_of_oci() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        with_image(&root, Some("a"), "2020-01-01T00:00:00Z", &[b"1"]);
        let annotation = |level, platform: Option<&str>, key: &str| Annotation {
            level,
            platform: platform.map(|text| text.parse().unwrap()),
            key: key.to_owned(),
            value: "v".to_owned(),
        };
        let annotations = vec![
            annotation(AnnotationLevel::Index, None, "whole"),
            annotation(AnnotationLevel::ManifestDescriptor, Some("linux/amd64"), "here"),
            annotation(AnnotationLevel::ManifestDescriptor, Some("linux/arm64"), "elsewhere"),
        ];
        let index = listed(&made(&root, &CreateRequest { annotations, ..named(&["a"]) }).unwrap());
        assert_eq!(index.annotations().as_ref().unwrap().keys().collect::<Vec<_>>(), ["whole"]);
        assert_eq!(index.manifests()[0].annotations().as_ref().unwrap().keys().collect::<Vec<_>>(), ["here"]);
    }
}
