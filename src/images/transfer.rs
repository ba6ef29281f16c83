//! `pull` and `push`: images between the store and registries, as they are.
//!
//! A pulled manifest is kept and sent on byte for byte. An image that was built here has layers that are plain tars; it is
//! pushed as `build --push` does: the layers compressed, and a manifest that names them so.
//!
//! Of an index only the images that were asked for are fetched, and the name leads to the index all the same, as with docker. An index
//! of which not everything is here is not pushed; the image of the machine's platform is, and that is said.

use std::path::Path;

use tokio::task::JoinSet;

use super::image::document;
use super::set::{is_whole, set_of};
use super::{Image, ImagesError, received};
use crate::content::Store;
use crate::export::{self, Codec, Format, ImageSet, Report};
use crate::oci::{Descriptor, Index, Platform, Reference, descriptor, digest_of, media_type};
use crate::progress::{Event, Outcome, SharedSink, VertexId};
use crate::registry::{Client, Resolved};

/// Which images of an index are fetched.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// That of a platform.
    Platform(Platform),
    /// All.
    Everything,
}

/// What a pull brought.
#[derive(Clone, PartialEq, Debug)]
pub struct Pulled {
    /// The manifest or index that the name means in the registry.
    pub target: Descriptor,
    /// Whether the name meant something else here before, or nothing.
    pub is_new: bool,
}

/// Fetches what `reference` names into the store.
pub async fn pull(
    store: &Store,
    client: &Client,
    reference: &Reference,
    wanted: &Wanted,
    sink: &SharedSink,
) -> Result<Pulled, ImagesError> {
    let name = format!("pulling {}", reference.complete());
    shown(sink, name, async |report| pull_all(store, client, reference, wanted, report).await).await
}

async fn pull_all(
    store: &Store,
    client: &Client,
    reference: &Reference,
    wanted: &Wanted,
    report: &Report,
) -> Result<Pulled, ImagesError> {
    let platform = match wanted {
        Wanted::Platform(platform) => platform.clone(),
        Wanted::Everything => Platform::host(),
    };
    let resolved = match (client.resolve(reference, &platform).await, wanted) {
        (Ok(resolved), _) => resolved,
        (Err(error), _) => return Err(error.into()),
    };
    let mut target = resolved.descriptor.clone();
    let index = resolved.index.clone().zip(resolved.index_bytes.clone());
    fetch(store, client, reference, resolved, report).await?;
    if let Some((listed, bytes)) = index {
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|source| ImagesError::Parse { digest: crate::digest::Digest::of(&bytes), source })?;
        if matches!(wanted, Wanted::Everything) {
            for child in index.manifests().iter().filter(|child| child.digest() != target.digest()) {
                let digest = digest_of(child).map_err(|error| ImagesError::archive(error.to_string()))?;
                let platform = child.platform().as_ref().map_or_else(Platform::host, Platform::of);
                let resolved = client.resolve(&reference.with_digest(digest), &platform).await?;
                fetch(store, client, reference, resolved, report).await?;
            }
        }
        // A name that leads to an index leads to its images, unless there is another index between.
        if index.manifests().iter().any(|child| child.digest() == target.digest()) {
            store.put(&bytes)?;
            target = listed;
        }
    }
    let target = descriptor(
        target.media_type().as_ref(),
        &digest_of(&target).map_err(|error| ImagesError::archive(error.to_string()))?,
        target.size(),
    );
    let kept = received(target.clone());
    if reference.digest.is_some() {
        store.set_nameless(kept)?;
        return Ok(Pulled { target, is_new: true });
    }
    let name = reference.with_tag(reference.tag_or_latest())?.to_string();
    let before = store.resolve_tag(&name)?;
    let is_new = before.is_none_or(|before| before.digest() != target.digest());
    store.set_tag(&name, kept)?;
    Ok(Pulled { target, is_new })
}

/// Fetches the layers of an image, and keeps its documents.
async fn fetch(
    store: &Store,
    client: &Client,
    reference: &Reference,
    resolved: Resolved,
    report: &Report,
) -> Result<(), ImagesError> {
    let mut tasks = JoinSet::new();
    for layer in resolved.manifest.layers() {
        if media_type::is_undistributed_layer(layer.media_type().as_ref()) {
            continue;
        }
        let (client, store, reference, layer) = (client.clone(), store.clone(), reference.clone(), layer.clone());
        let report = report.clone();
        tasks.spawn(async move {
            let (part, size) = (layer.digest().to_string(), layer.size());
            let progress = |here| report.status(&part, here, size, false);
            client.fetch_blob(&reference, &layer, &store, &progress).await?;
            report.status(&part, size, size, true);
            Ok::<_, ImagesError>(())
        });
    }
    // The first failure drops the set, which ends the other transfers.
    while let Some(done) = tasks.join_next().await {
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    }
    // Documents come after what they name.
    store.put(&resolved.config_bytes)?;
    store.put(&resolved.manifest_bytes)?;
    Ok(())
}

/// What went out.
#[derive(Clone, PartialEq, Debug)]
pub struct Sent {
    /// The manifest or index that the name means now.
    pub target: Descriptor,
    /// The platform whose image alone went, where the index could not.
    pub only: Option<Platform>,
}

/// Sends an image to the registry of `name`, and lets `name` mean it there. `root` is the store's; with a platform, only that of an
/// index is sent.
pub async fn push(
    root: &Path,
    store: &Store,
    client: &Client,
    image: &Image,
    name: &Reference,
    platform: Option<&Platform>,
    sink: &SharedSink,
) -> Result<Sent, ImagesError> {
    shown(sink, format!("pushing {}", name.complete()), async |report| {
        let is_index = media_type::is_index(image.target.media_type().as_ref());
        let is_partial = is_index && !is_whole(store, &image.target)?;
        let set = set_of(store, image, platform.is_some() || is_partial)?;
        let name = name.with_tag(name.tag_or_latest())?;
        let set = match super::is_received(&image.target) {
            true => set,
            false => compressed(root, store, set, Some((&name, client)), report).await?,
        };
        export::push(&set, &[name], export::How::default(), client, store, report).await?;
        let only = (is_partial && platform.is_none()).then(|| image.platform());
        Ok(Sent { target: set.root().clone(), only })
    })
    .await
}

/// Sends a set as it is to the registries of `names`, and lets them mean it there.
pub async fn push_set(
    store: &Store,
    client: &Client,
    set: &ImageSet,
    names: &[Reference],
    sink: &SharedSink,
) -> Result<(), ImagesError> {
    let names: Vec<Reference> =
        names.iter().map(|name| name.with_tag(name.tag_or_latest())).collect::<Result<_, _>>()?;
    let all = names.iter().map(Reference::complete).collect::<Vec<_>>().join(", ");
    shown(sink, format!("pushing {all}"), async |report| {
        Ok(export::push(set, &names, export::How::default(), client, store, report).await?)
    })
    .await
}

/// The set as `build --push` would send it. `to` is where its layers go meanwhile.
pub(super) async fn compressed(
    root: &Path,
    store: &Store,
    set: ImageSet,
    to: Option<(&Reference, &Client)>,
    report: &Report,
) -> Result<ImageSet, ImagesError> {
    let (tell, begun) = tokio::sync::mpsc::unbounded_channel();
    let early = to.map(|(name, client)| tokio::spawn(export::push_early(name.clone(), client.clone(), begun)));
    let (store, report, records) = (store.clone(), report.clone(), root.join("cache/compressed"));
    let compress = move || {
        let begun = |growing| _ = tell.send(growing);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let codec = Codec { format: Format::Gzip, level: None, force: false };
        export::with_layers(set, |layers| {
            export::compressed_telling(layers, &store, codec, &records, threads, &report, &begun)
                .map_err(ImagesError::from)
        })
    };
    let done = tokio::task::spawn_blocking(compress).await;
    let done = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    if let Some(early) = early {
        match &done {
            Ok(_) => _ = early.await,
            Err(_) => early.abort(),
        }
    }
    done
}

/// Does a transfer that users see under `name`.
async fn shown<T>(
    sink: &SharedSink,
    name: String,
    transfer: impl AsyncFnOnce(&Report) -> Result<T, ImagesError>,
) -> Result<T, ImagesError> {
    let id = VertexId(0);
    sink.event(Event::Added { id, name, inputs: Vec::new() });
    sink.event(Event::Started(id));
    let ended = transfer(&Report::of(sink.clone(), id)).await;
    let outcome = match &ended {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.to_string()),
    };
    sink.event(Event::Ended { id, outcome });
    ended
}

/// The index that `descriptor` names.
pub(super) fn index_of(store: &Store, descriptor: &Descriptor) -> Result<Index, ImagesError> {
    let digest = digest_of(descriptor).map_err(|error| ImagesError::archive(error.to_string()))?;
    document(store, digest)
}
