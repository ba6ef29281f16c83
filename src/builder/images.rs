//! Base images: from a reference to a config and layers, without fetching a layer.
//!
//! The rules are `docker build`'s: what the store has under that name is used; only `--pull`, or a name the store does not
//! know, asks the registry. What a registry answered is remembered in a small record:
//!
//! ```text
//! cache/images/<blake3 of reference and platform>   JSON: the descriptor of the manifest
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::failure::{environment, failure, kind_of_registry};
use super::remote::blocking;
use super::store::Open;
use super::vertices::Vertices;
use super::{BuildFailure, BuildRequest, FailureKind, NamedContext};
use crate::content::Store;
use crate::diag::Diagnostic;
use crate::digest::Digest;
use crate::fsutil::{Dir, Entry, write_atomically};
use crate::oci::{
    Descriptor, ImageConfig, Index, MANIFEST_LIMIT, Manifest, Platform, Reference, choose_manifest, digest_of,
    media_type,
};
use crate::ops::Worker;
use crate::plan::{ImageNeed, ImageOp, ImageSource, KnownImage};

/// Largest config read, in bytes.
const CONFIG_LIMIT: u64 = 8 << 20;

/// Finds base images.
pub(super) struct Images<'a> {
    request: &'a BuildRequest,
    open: &'a Open,
    worker: &'a Arc<Worker>,
    vertices: &'a Vertices,
    records: PathBuf,
}

/// What `cache/images` holds.
#[derive(Serialize, Deserialize)]
struct Record {
    reference: String,
    manifest: Descriptor,
}

impl<'a> Images<'a> {
    pub(super) fn new(
        request: &'a BuildRequest,
        open: &'a Open,
        worker: &'a Arc<Worker>,
        vertices: &'a Vertices,
    ) -> Self {
        Self { request, open, worker, vertices, records: request.store.join("cache/images") }
    }

    /// Resolves one image, or says why not, at the place that names it.
    pub(super) async fn resolve(&self, need: &ImageNeed) -> Result<KnownImage, BuildFailure> {
        let platform = &need.key.platform;
        match &need.key.source {
            ImageSource::Layout(name) => self.layout(name, platform).await,
            ImageSource::Reference(reference) => {
                if !self.request.pull
                    && let Some(manifest) = self.in_store(reference, platform)
                    && let Some(known) = self.known(reference, &manifest)
                    && (platform.matches(&known.platform) || !self.is_tagged(reference))
                {
                    return Ok(known);
                }
                let help = self.platforms_in_store(reference).filter(|_| !self.request.pull);
                let name = format!("[internal] load metadata for {}", reference.complete());
                self.vertices
                    .show(name, async |_| self.ask_registry(reference, platform).await)
                    .await
                    .map_err(|error| unresolved(need, reference, &error, help))
            }
        }
    }

    /// A tag of the store (built here), a manifest named by digest, or what a registry answered before.
    fn in_store(&self, reference: &Reference, platform: &Platform) -> Option<Descriptor> {
        if let Some(found) = self.tagged(reference) {
            return self.of_platform(found, platform);
        }
        let bytes = std::fs::read(self.record_path(reference, platform)).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        (record.reference == reference.to_string()).then_some(record.manifest)
    }

    fn tagged(&self, reference: &Reference) -> Option<Descriptor> {
        match reference.digest {
            None => self.open.content.resolve_tag(&reference.to_string()).ok().flatten(),
            Some(_) => None,
        }
    }

    fn is_tagged(&self, reference: &Reference) -> bool {
        self.tagged(reference).is_some()
    }

    fn of_platform(&self, found: Descriptor, platform: &Platform) -> Option<Descriptor> {
        if !media_type::is_index(found.media_type().as_ref()) {
            return Some(found);
        }
        let bytes = self.open.content.read_blob(&digest_of(&found).ok()?, MANIFEST_LIMIT).ok()?;
        let index: Index = serde_json::from_slice(&bytes).ok()?;
        choose_manifest(&index, platform).cloned()
    }

    /// Says what a tag of the store is for, when it is for something else than was asked.
    fn platforms_in_store(&self, reference: &Reference) -> Option<String> {
        let found = self.tagged(reference)?;
        let platforms: Vec<String> = if media_type::is_index(found.media_type().as_ref()) {
            let bytes = self.open.content.read_blob(&digest_of(&found).ok()?, MANIFEST_LIMIT).ok()?;
            let index: Index = serde_json::from_slice(&bytes).ok()?;
            let platforms = index.manifests().iter().filter_map(|manifest| manifest.platform().as_ref());
            platforms.map(|platform| Platform::of(platform).to_string()).collect()
        } else {
            vec![self.known(reference, &found)?.platform.to_string()]
        };
        Some(format!("the store has {} for {} only", reference.familiar(), platforms.join(", ")))
    }

    /// Reads manifest and config from the store; `None` when one of them is not there or damaged, which means to ask again.
    fn known(&self, reference: &Reference, manifest: &Descriptor) -> Option<KnownImage> {
        let digest = digest_of(manifest).ok()?;
        let manifest = self.open.content.read_blob(&digest, MANIFEST_LIMIT).ok()?;
        let manifest: Manifest = serde_json::from_slice(&manifest).ok()?;
        let config = self.open.content.read_blob(&digest_of(manifest.config()).ok()?, CONFIG_LIMIT).ok()?;
        let config: ImageConfig = serde_json::from_slice(&config).ok()?;
        known_image(reference, digest, &manifest, config).ok()
    }

    async fn ask_registry(&self, reference: &Reference, platform: &Platform) -> Result<KnownImage, ResolveError> {
        let resolved = tokio::select! {
            resolved = self.worker.registry.resolve(reference, platform) => resolved?,
            () = self.worker.canceled() => return Err(ResolveError::Canceled),
        };
        let manifest = digest_of(&resolved.descriptor).map_err(|_| ResolveError::Layers)?;
        let config: ImageConfig = serde_json::from_slice(&resolved.config_bytes)
            .map_err(|error| ResolveError::Config { problem: error.to_string() })?;
        let known = known_image(reference, manifest, &resolved.manifest, config)?;
        for bytes in [&resolved.manifest_bytes, &resolved.config_bytes] {
            self.open.content.put(bytes)?;
        }
        self.record(reference, platform, resolved.descriptor);
        Ok(known)
    }

    /// A record that cannot be written only means that the registry is asked again.
    fn record(&self, reference: &Reference, platform: &Platform, manifest: Descriptor) {
        let record = Record { reference: reference.to_string(), manifest };
        if let Ok(bytes) = serde_json::to_vec(&record) {
            let _ = std::fs::create_dir_all(&self.records);
            let _ = write_atomically(&self.record_path(reference, platform), &bytes);
        }
    }

    fn record_path(&self, reference: &Reference, platform: &Platform) -> PathBuf {
        let name = blake3::hash(format!("{reference} {platform}").as_bytes());
        self.records.join(name.to_hex().as_str())
    }

    /// An OCI layout given as a named context: its blobs are taken into the store.
    async fn layout(&self, name: &str, platform: &Platform) -> Result<KnownImage, BuildFailure> {
        let Some(NamedContext::OciLayout { path, reference }) = self.request.build_contexts.get(name) else {
            return Err(super::failure::internal(format!("no OCI layout was given as context {name}")));
        };
        let bad = |problem: String| {
            BuildFailure::new(
                FailureKind::User,
                format!("cannot use the OCI layout `{}` given as context {name}: {problem}", path.display()),
            )
        };
        let blob = |digest: &Digest| path.join("blobs/sha256").join(digest.hex());
        let read = |path: PathBuf| {
            std::fs::read(&path).map_err(|error| bad(format!("cannot read `{}`: {error}", path.display())))
        };
        let index: Index =
            serde_json::from_slice(&read(path.join("index.json"))?).map_err(|error| bad(error.to_string()))?;
        let mut found = choose_named(&index, reference.as_deref(), platform)
            .ok_or_else(|| bad(format!("it has no image {} for {platform}", reference.as_deref().unwrap_or(""))))?;
        if media_type::is_index(found.media_type().as_ref()) {
            let digest = digest_of(&found).map_err(|error| bad(error.to_string()))?;
            let nested: Index =
                serde_json::from_slice(&read(blob(&digest))?).map_err(|error| bad(error.to_string()))?;
            found =
                choose_manifest(&nested, platform).cloned().ok_or_else(|| bad(format!("nothing for {platform}")))?;
        }
        let digest = digest_of(&found).map_err(|error| bad(error.to_string()))?;
        let manifest: Manifest =
            serde_json::from_slice(&read(blob(&digest))?).map_err(|error| bad(error.to_string()))?;
        for descriptor in [&found, manifest.config()].into_iter().chain(manifest.layers()) {
            let digest = digest_of(descriptor).map_err(|error| bad(error.to_string()))?;
            let (store, path) = (self.open.content.clone(), blob(&digest));
            blocking(move || import(&store, &path, &digest)).await?;
        }
        let reference = Reference::parse("layout.invalid/context").map_err(|error| bad(error.to_string()))?;
        let known =
            self.known(&reference, &found).ok_or_else(|| bad("its config does not fit its layers".to_owned()))?;
        Ok(known)
    }
}

/// Returns the manifests that registries answered with, which builds on the store at `root` start from again. What cannot
/// be read is asked for anew, so it is not remembered.
pub fn remembered(root: &Path) -> Vec<Descriptor> {
    let records = root.join("cache/images");
    let names = Dir::open(&records).and_then(|dir| dir.entries()).unwrap_or_default();
    let read = |entry: &Entry| serde_json::from_slice::<Record>(&std::fs::read(records.join(&entry.name)).ok()?).ok();
    names.iter().filter_map(read).map(|record| record.manifest).collect()
}

/// Copies a blob into the store, unless it is there.
fn import(store: &Store, path: &Path, digest: &Digest) -> Result<(), BuildFailure> {
    let wrong = |error: &(dyn std::error::Error + 'static)| failure(FailureKind::Environment, error);
    let cannot = |error: &std::io::Error| environment(format!("cannot read `{}`", path.display()), error);
    let mut file = File::open(path).map_err(|error| cannot(&error))?;
    let length = file.metadata().map_err(|error| cannot(&error))?.len();
    if store.length_of(digest).map_err(|error| wrong(&error))? == Some(length) {
        return Ok(());
    }
    let mut blob = store.ingest().map_err(|error| wrong(&error))?;
    std::io::copy(&mut file, &mut blob).map_err(|error| cannot(&error))?;
    blob.commit(Some(digest)).map_err(|error| failure(FailureKind::User, &error))?;
    Ok(())
}

fn choose_named(index: &Index, name: Option<&str>, platform: &Platform) -> Option<Descriptor> {
    const NAME: &str = "org.opencontainers.image.ref.name";
    let Some(name) = name else { return choose_manifest(index, platform).cloned() };
    // What stands before a digest is for people.
    let name = name.rsplit_once('@').map_or(name, |(_, digest)| digest);
    let named = |entry: &&Descriptor| {
        let annotation = entry.annotations().as_ref().and_then(|annotations| annotations.get(NAME));
        annotation.is_some_and(|found| found == name) || entry.digest().to_string() == name
    };
    index.manifests().iter().find(named).cloned()
}

fn known_image(
    reference: &Reference,
    manifest: Digest,
    parsed: &Manifest,
    config: ImageConfig,
) -> Result<KnownImage, ResolveError> {
    // What made the layers below is not what makes those of this build.
    let config = ImageConfig { cache: None, ..config };
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != parsed.layers().len() {
        return Err(ResolveError::Layers);
    }
    let layers = diff_ids.iter().copied().zip(parsed.layers().iter().cloned()).collect();
    let image = ImageOp { reference: reference.with_digest(manifest), manifest, layers };
    let platform = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
    Ok(KnownImage { image, config, platform })
}

/// Why a registry's image cannot be used.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    #[error("its config is not an image config: {problem}")]
    Config { problem: String },
    #[error("its config does not fit the layers of its manifest")]
    Layers,
    #[error("{0}")]
    Store(#[from] crate::content::ContentError),
    #[error("canceled")]
    Canceled,
}

/// Rule 7.15.
fn unresolved(need: &ImageNeed, reference: &Reference, error: &ResolveError, help: Option<String>) -> BuildFailure {
    let kind = match error {
        ResolveError::Canceled => return BuildFailure::new(FailureKind::Canceled, "the build was canceled"),
        ResolveError::Store(_) => FailureKind::Environment,
        ResolveError::Registry(error) => kind_of_registry(error),
        _ => FailureKind::Network,
    };
    let mut diagnostic = Diagnostic::error("base-image", need.span, String::new());
    diagnostic.help.extend(help);
    let why = match error {
        // The image and its registry are named already.
        ResolveError::Registry(error) => {
            diagnostic.help.extend(error.help());
            error.cause.to_string()
        }
        other => other.to_string(),
    };
    let complete = reference.complete();
    let message = format!("{}: failed to resolve source metadata for {complete}: {why}", need.written);
    let mut failure = BuildFailure::new(kind, message.clone());
    diagnostic.message = message;
    failure.diagnostics.push(diagnostic);
    failure
}
