//! An image on its way to registries: what they lack is sent, everything else is mounted or found there.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::document::Document;
use super::growing::Growing;
use super::image::ImageSet;
use super::report::Report;
use crate::content::{ContentError, Store};
use crate::digest::{Digest, DigestError};
use crate::oci::{Descriptor, Layer, Reference, digest_of, media_type};
use crate::registry::{BlobSource, Cause, Client, RegistryError};

/// Why an image could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A layer is named by something else than a sha256.
    #[error("cannot push a layer")]
    Digest(#[from] DigestError),
    /// A registry did not take or give what it should.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// How an image is pushed.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// The tags are left out: the image is named by its digest alone.
    pub by_digest: bool,
    /// Something of it was made just now, so it was not pushed before.
    pub new: bool,
}

/// How long the push of an image that may have been pushed before waits to hear that it was.
const HEAD_START: Duration = Duration::from_millis(10);

/// Pushes `set` under all `names`, each with a tag.
///
/// Blobs go first and in parallel (as many as the client allows), then manifests, then the tags: a registry never shows half
/// an image. A layer that is not in `store` is mounted from its origin, or found in the registry; only if neither works
/// it is fetched. Where all tags name this image already, nothing of it is sent. May be dropped at any point.
pub async fn push(
    set: &ImageSet,
    names: &[Reference],
    how: How,
    client: &Client,
    store: &Store,
    report: &Report,
) -> Result<(), PushError> {
    let mut repositories: BTreeMap<String, Vec<&Reference>> = BTreeMap::new();
    for name in names {
        repositories.entry(name.name()).or_default().push(name);
    }
    let root = set.index.as_ref().unwrap_or(&set.images[0].manifest);
    for names in repositories.into_values() {
        let names: Vec<Reference> = match how.by_digest {
            true => vec![names[0].with_digest(root.digest)],
            false => names.into_iter().cloned().collect(),
        };
        // A registry nearby answers before anything is begun; one far away is asked beside the first steps of a push, which so loses
        // no time by it.
        let mut are_there = pin!(are_there(client, &names, &root.digest));
        let known = match how.new {
            true => Ok(false),
            false => tokio::time::timeout(HEAD_START, &mut are_there).await,
        };
        let send = send(set, root, &names, client, store, report);
        match known {
            Ok(true) => {}
            Ok(false) => send.await?,
            Err(_) => tokio::select! {
                biased;
                true = are_there => {}
                sent = send => sent?,
            },
        }
        push_attestations(set, false, &names[0], client).await?;
    }
    Ok(())
}

/// Whether all `names` mean a manifest with this digest. A registry takes no manifest without everything it refers to.
async fn are_there(client: &Client, names: &[Reference], digest: &Digest) -> bool {
    for name in names {
        if !client.has_manifest(name, digest).await {
            return false;
        }
    }
    true
}

/// Sends what the repository of `names` lacks of an image, and names it.
async fn send(
    set: &ImageSet,
    root: &Document,
    names: &[Reference],
    client: &Client,
    store: &Store,
    report: &Report,
) -> Result<(), PushError> {
    push_blobs(set, &names[0], client, store, report).await?;
    push_manifests(set, &names[0], client).await?;
    push_attestations(set, true, &names[0], client).await?;
    for name in names {
        put(client, name, root).await?;
    }
    Ok(())
}

/// Sends layers to the repository of `name` while they are still being compressed; `begun` are those that have begun, and ends.
///
/// What fails here is no failure, and nothing is tried again: [`push`] finds out afterwards what the registry lacks, and
/// sends it from the store.
pub async fn push_early(name: Reference, client: Client, mut begun: mpsc::UnboundedReceiver<Growing>) {
    let mut tasks = JoinSet::new();
    while let Some(layer) = begun.recv().await {
        let (name, client) = (name.clone(), client.clone());
        tasks.spawn(async move {
            let _ = client.push_stream(&name, layer.pieces()).await;
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Sends configs and layers to the repository of `name`.
async fn push_blobs(
    set: &ImageSet,
    name: &Reference,
    client: &Client,
    store: &Store,
    report: &Report,
) -> Result<(), PushError> {
    let mut tasks = JoinSet::new();
    for layer in set.layers() {
        if media_type::is_undistributed_layer(layer.descriptor.media_type().as_ref()) {
            continue;
        }
        let blob = Blob::of_layer(layer, store)?;
        tasks.spawn(blob.push(name.clone(), client.clone(), store.clone(), report.clone()));
    }
    let configs = set.images.iter().map(|image| &image.config);
    for document in configs.chain(set.attestations.iter().flat_map(|one| &one.parts)) {
        let blob = Blob::of_document(document);
        tasks.spawn(blob.push(name.clone(), client.clone(), store.clone(), report.clone()));
    }
    // The first failure drops the set, which ends the other transfers.
    while let Some(done) = tasks.join_next().await {
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    }
    Ok(())
}

/// Puts the manifests an index will list. A single manifest is put under its names later.
async fn push_manifests(set: &ImageSet, name: &Reference, client: &Client) -> Result<(), PushError> {
    if set.index.is_some() {
        for image in &set.images {
            put(client, &name.with_digest(image.manifest.digest), &image.manifest).await?;
        }
    }
    Ok(())
}

/// Puts what is said of the images: what the index lists before it, what refers to an image after it.
async fn push_attestations(set: &ImageSet, listed: bool, name: &Reference, client: &Client) -> Result<(), PushError> {
    for one in set.attestations.iter().filter(|one| one.in_index == listed) {
        match one.refers() {
            true => {
                client.put_referrer(name, &one.manifest.bytes).await?;
            }
            false => put(client, &name.with_digest(one.manifest.digest), &one.manifest).await?,
        }
    }
    Ok(())
}

async fn put(client: &Client, name: &Reference, document: &Document) -> Result<(), PushError> {
    client.put_manifest(name, document.descriptor.media_type().as_ref(), &document.bytes).await?;
    Ok(())
}

struct Blob {
    descriptor: Descriptor,
    source: BlobSource,
    origin: Option<Reference>,
}

impl Blob {
    fn of_layer(layer: &Layer, store: &Store) -> Result<Self, PushError> {
        let source = BlobSource::File(store.path_of(&layer.digest()?));
        Ok(Self { descriptor: layer.descriptor.clone(), source, origin: layer.origin.clone() })
    }

    fn of_document(document: &Document) -> Self {
        let source = BlobSource::Bytes(document.bytes.clone());
        Self { descriptor: document.descriptor.clone(), source, origin: None }
    }

    async fn push(self, name: Reference, client: Client, store: Store, report: Report) -> Result<(), PushError> {
        let (part, size) = (self.descriptor.digest().to_string(), self.descriptor.size());
        let progress = |sent| report.status(&part, sent, size, false);
        let pushed = client.push_blob(&name, &self.descriptor, &self.source, self.origin.as_ref(), &progress).await;
        match (pushed, &self.origin) {
            // The registry wants the bytes, and they are not here: now they are worth fetching.
            (Err(error), Some(origin)) if matches!(*error.cause, Cause::Source { .. }) => {
                client.fetch_blob(origin, &self.descriptor, &store, &|_| {}).await?;
                client.push_blob(&name, &self.descriptor, &self.source, None, &progress).await?;
            }
            // Is it the registry that is picky, or our copy that is damaged?
            (Err(error), _) if matches!(*error.cause, Cause::Refused { .. }) => {
                return Err(match self.damage(store).await {
                    Some(damage) => RegistryError { cause: Box::new(Cause::Content(damage)), ..error },
                    None => error,
                }
                .into());
            }
            (pushed, _) => {
                pushed?;
            }
        }
        report.status(&part, size, size, true);
        Ok(())
    }

    /// Returns what is wrong with the blob in the store.
    async fn damage(&self, store: Store) -> Option<ContentError> {
        let (BlobSource::File(path), Ok(digest)) = (&self.source, digest_of(&self.descriptor)) else { return None };
        let path = path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut blob = store.open_blob(&digest)?;
            io::copy(&mut blob, &mut io::sink()).map_err(ContentError::of_io("read", &path))
        });
        read.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).err()
    }
}
