//! What becomes of a build: every `--output` of the request.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use super::annotations::Annotations;
use super::assemble::Built;
use super::failure::{environment, failure, kind_of_registry};
use super::platforms;
use super::remote::blocking;
use super::store::Open;
use super::vertices::Vertices;
use super::{BuildFailure, BuildRequest, Destination, FailureKind, ImageAttributes, LayerCompression, Output};
use crate::attest::Predicate;
use crate::digest::DiffId;
use crate::export::{self, Codec, Files, Form, ImageSet, MediaTypes, PushError, Report};
use crate::fsutil::Dir;
use crate::oci::{Compression, ImageConfig, Layer, Reference};
use crate::ops::Worker;
use crate::progress::VertexId;

/// Delivers `set` everywhere; returns what reports should describe: what went out last, or what was kept. `None` when
/// no output is an image.
pub(super) async fn deliver(
    request: &BuildRequest,
    open: &Open,
    worker: &Arc<Worker>,
    vertices: &Vertices,
    set: ImageSet,
    (built, said): (&[Built], &[Vec<Predicate>]),
) -> Result<Option<ImageSet>, BuildFailure> {
    let delivery = Delivery { request, open, worker, vertices, set, built, said };
    let default = [Output::Image { push: false, attributes: ImageAttributes::default() }];
    let outputs = if request.outputs.is_empty() { &default[..] } else { &request.outputs[..] };
    let mut described = None;
    for output in outputs {
        let image = delivery.one(output).await?;
        described = image.or(described);
    }
    Ok(described)
}

struct Delivery<'a> {
    request: &'a BuildRequest,
    open: &'a Open,
    worker: &'a Arc<Worker>,
    vertices: &'a Vertices,
    set: ImageSet,
    built: &'a [Built],
    /// What is said of each image.
    said: &'a [Vec<Predicate>],
}

impl Delivery<'_> {
    async fn one(&self, output: &Output) -> Result<Option<ImageSet>, BuildFailure> {
        match output {
            Output::Image { push, attributes } => self.image(*push, attributes).await.map(Some),
            Output::Oci { destination, tar, attributes } => {
                self.archive(destination, attributes, "oci", *tar).await.map(Some)
            }
            Output::Docker { destination, attributes } => {
                // It has no place for what is said of an image.
                self.silent().archive(destination, attributes, "docker", true).await.map(Some)
            }
            Output::Local(path) => self.files(path).await.map(|()| None),
            Output::Tar(destination) => self.files_tar(destination).await.map(|()| None),
            Output::CacheOnly => Ok(None),
        }
    }

    /// The same, and nothing is said of the images.
    fn silent(&self) -> Self {
        Self { said: &[], set: self.set.clone(), ..*self }
    }

    /// Kept in the store under its names, and pushed if asked.
    async fn image(&self, push: bool, attributes: &ImageAttributes) -> Result<ImageSet, BuildFailure> {
        let names = self.names(attributes);
        let several = self.several(attributes);
        let stored = Annotations(&self.request.annotations).set(self.set.images.clone(), several, MediaTypes::Oci);
        let stored = export::attach(stored, self.said, &names, attributes.attestations);
        let (set, store) = (stored.clone(), self.open.content.clone());
        let kept = names.clone();
        self.vertices
            .show("exporting to image".to_owned(), async |id| {
                self.fetch_all(id).await?;
                blocking(move || {
                    export::keep(&set, &kept, &store).map_err(|error| failure(FailureKind::Environment, &error))
                })
                .await
            })
            .await?;
        if !push {
            return Ok(stored);
        }
        let set = self.outgoing(attributes, Compression::Gzip).await?;
        for name in &names {
            let pushed = async |id| self.push(&set, name, attributes.push_by_digest, id).await;
            self.vertices.show(format!("pushing {name}"), pushed).await?;
        }
        Ok(set)
    }

    async fn push(&self, set: &ImageSet, name: &Reference, by_digest: bool, id: VertexId) -> Result<(), BuildFailure> {
        let (names, report) = (std::slice::from_ref(name), self.report(id));
        tokio::select! {
            pushed = export::push(set, names, by_digest, &self.worker.registry, &self.open.content, &report) => {
                pushed.map_err(|error| push_failure(&error))
            }
            () = self.worker.canceled() => Err(BuildFailure::new(FailureKind::Canceled, "the build was canceled")),
        }
    }

    async fn archive(
        &self,
        destination: &Destination,
        attributes: &ImageAttributes,
        kind: &'static str,
        tar: bool,
    ) -> Result<ImageSet, BuildFailure> {
        let set = self.outgoing(attributes, Compression::Gzip).await?;
        let names = self.names(attributes);
        let (written, store, destination) = (set.clone(), self.open.content.clone(), destination.clone());
        let write = async |id| {
            let report = self.report(id);
            blocking(move || {
                let failed = |error: &(dyn std::error::Error + 'static)| failure(FailureKind::Environment, error);
                match (&destination, tar) {
                    (Destination::File(path), false) => {
                        export::write_oci_directory(&written, &names, &store, path, &report).map_err(|e| failed(&e))
                    }
                    (Destination::Stdout, false) => {
                        let message = "a directory cannot be written to standard output: name it, `dest=DIR`";
                        Err(BuildFailure::new(FailureKind::User, message))
                    }
                    (Destination::File(path), true) => export::to_file(path, |out| match kind {
                        "docker" => export::write_docker_archive(&written, &names, &store, out, &report),
                        _ => export::write_oci_tar(&written, &names, &store, out, &report),
                    })
                    .map_err(|error| failed(&error)),
                    (Destination::Stdout, true) => {
                        let out = BufWriter::new(std::io::stdout().lock());
                        let mut out = match kind {
                            "docker" => export::write_docker_archive(&written, &names, &store, out, &report),
                            _ => export::write_oci_tar(&written, &names, &store, out, &report),
                        }
                        .map_err(|error| failed(&error))?;
                        out.flush().map_err(|error| environment("cannot write to standard output", &error))
                    }
                }
            })
            .await
        };
        self.vertices.show(format!("exporting to {kind} image format"), write).await?;
        Ok(set)
    }

    /// The image as it leaves: layers made here compressed, once.
    async fn outgoing(&self, attributes: &ImageAttributes, default: Compression) -> Result<ImageSet, BuildFailure> {
        let codec = Codec {
            compression: match attributes.compression {
                None => default,
                Some(LayerCompression::Uncompressed) => Compression::None,
                Some(LayerCompression::Gzip) => Compression::Gzip,
                Some(LayerCompression::Zstd) => Compression::Zstd,
            },
            level: attributes.compression_level,
            force: attributes.force_compression,
        };
        let media = match attributes.oci_media_types {
            Some(false) => MediaTypes::Docker,
            _ => MediaTypes::Oci,
        };
        let (set, store) = (self.set.clone(), self.open.content.clone());
        let records = self.request.store.join("cache/compressed");
        let epoch = attributes.rewrite_timestamp.then_some(self.worker.settings.epoch).flatten();
        let annotations = self.request.annotations.clone();
        let several = self.several(attributes);
        let (said, names) = (self.said.to_vec(), self.names(attributes));
        let form = attributes.attestations;
        let compress = async |id| {
            self.fetch_all(id).await?;
            let report = self.report(id);
            blocking(move || {
                let threads = std::thread::available_parallelism().map_or(1, usize::from);
                let wrong = |error: &(dyn std::error::Error + 'static)| failure(FailureKind::Environment, error);
                let mut images = Vec::with_capacity(set.images.len());
                for image in &set.images {
                    let mut layers = image.layers.clone();
                    if let Some(latest) = epoch {
                        layers = export::clamped(&layers, &store, latest, &records, &report).map_err(|e| wrong(&e))?;
                    }
                    let layers = export::compressed(&layers, &store, codec, &records, threads, &report)
                        .map_err(|error| wrong(&error))?;
                    let config: ImageConfig = serde_json::from_slice(&image.config.bytes)
                        .map_err(|error| environment("cannot read the config just written", &error))?;
                    images.push(Annotations(&annotations).assemble(config, &layers, media));
                }
                Ok(export::attach(Annotations(&annotations).set(images, several, media), &said, &names, form))
            })
            .await
        };
        let name = "exporting layers".to_owned();
        let set = self.vertices.show(name, compress).await?;
        self.write_documents(set)
    }

    /// Configs and manifests that go out are blobs of the store too, so that an archive finds them.
    fn write_documents(&self, set: ImageSet) -> Result<ImageSet, BuildFailure> {
        for document in set.documents() {
            self.open.content.put(&document.bytes).map_err(|error| failure(FailureKind::Environment, &error))?;
        }
        Ok(set)
    }

    async fn files(&self, path: &Path) -> Result<(), BuildFailure> {
        for (built, image) in self.built.iter().zip(&self.set.images) {
            let dest = match self.set.index {
                None => path.to_owned(),
                Some(_) => path.join(export::platform_directory(&image.platform)),
            };
            let write = async |id| {
                let (view, report) = (self.view(&built.layers, id).await?, self.report(id));
                blocking(move || {
                    let written = export::write_local(&view, &dest, &report);
                    written.map(|_| ()).map_err(|error| failure(FailureKind::Environment, &error))
                })
                .await
            };
            self.vertices.show("exporting to client directory".to_owned(), write).await?;
        }
        Ok(())
    }

    async fn files_tar(&self, destination: &Destination) -> Result<(), BuildFailure> {
        let destination = destination.clone();
        let write = async |id| {
            let (files, report) = (self.all_files(id).await?, self.report(id));
            blocking(move || {
                let wrong = |error: &(dyn std::error::Error + 'static)| failure(FailureKind::Environment, error);
                match destination {
                    Destination::File(path) => {
                        export::to_file(&path, |out| export::write_files_tar(&files, out, &report))
                            .map_err(|e| wrong(&e))
                    }
                    Destination::Stdout => {
                        let out = BufWriter::new(std::io::stdout().lock());
                        let mut out = export::write_files_tar(&files, out, &report).map_err(|error| wrong(&error))?;
                        out.flush().map_err(|error| environment("cannot write to standard output", &error))
                    }
                }
            })
            .await
        };
        self.vertices.show("exporting to client tarball".to_owned(), write).await
    }

    async fn all_files(&self, id: VertexId) -> Result<Files, BuildFailure> {
        let mut views = Vec::new();
        for (built, image) in self.built.iter().zip(&self.set.images) {
            views.push((export::platform_directory(&image.platform), self.view(&built.layers, id).await?));
        }
        match (&self.set.index, views.pop()) {
            (None, Some((_, view))) => Ok(Files::One(view)),
            (_, last) => Ok(Files::ByPlatform(views.into_iter().chain(last).collect())),
        }
    }

    async fn view(&self, layers: &[Layer], id: VertexId) -> Result<Dir, BuildFailure> {
        view(self.open, self.worker, layers, id).await
    }

    /// Whether there is an index: over several platforms, or because it lists what is said of the image.
    fn several(&self, attributes: &ImageAttributes) -> bool {
        let is_listed = attributes.attestations != Form::Referrers && self.said.iter().any(|said| !said.is_empty());
        self.set.index.is_some() || is_listed
    }

    /// Layers of base images that are not here yet.
    async fn fetch_all(&self, id: VertexId) -> Result<(), BuildFailure> {
        for built in self.built {
            self.worker.fetch(&built.layers, id).await.map_err(|error| super::failure::op(&error))?;
        }
        Ok(())
    }

    fn names(&self, attributes: &ImageAttributes) -> Vec<Reference> {
        names_of(self.request, attributes)
    }

    fn report(&self, id: VertexId) -> Report {
        Report::new(self.worker.sink.clone(), id, self.worker.cancel.clone())
    }
}

/// Returns the files of a stack of layers, which are fetched and unpacked if they are not yet.
pub(super) async fn view(
    open: &Open,
    worker: &Arc<Worker>,
    layers: &[Layer],
    id: VertexId,
) -> Result<Dir, BuildFailure> {
    let chain: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id).collect();
    worker.materialize(layers, id).await.map_err(|error| super::failure::op(&error))?;
    open.snapshots.view(&chain).map_err(|error| failure(FailureKind::Environment, &error))
}

/// Returns the tags of `request` and the names of an output's own, each once.
fn names_of(request: &BuildRequest, attributes: &ImageAttributes) -> Vec<Reference> {
    let own = attributes.names.iter().filter(|name| !request.tags.contains(name));
    request.tags.iter().chain(own).cloned().collect()
}

/// Returns every name the outputs of `request` give, in the order asked for.
pub(super) fn names(request: &BuildRequest) -> Vec<Reference> {
    let mut names = request.tags.clone();
    for output in &request.outputs {
        let (Output::Image { attributes, .. } | Output::Oci { attributes, .. } | Output::Docker { attributes, .. }) =
            output
        else {
            continue;
        };
        for name in &attributes.names {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// Refuses outputs that cannot succeed, before anything is built.
pub(super) fn check(request: &BuildRequest) -> Result<(), BuildFailure> {
    for output in &request.outputs {
        if let Output::Image { push: true, attributes } = output
            && names_of(request, attributes).is_empty()
        {
            let mut failure = BuildFailure::new(FailureKind::User, "a push needs a name");
            failure.help.push("add `-t registry/name:tag`".to_owned());
            return Err(failure);
        }
        if matches!(output, Output::Docker { .. }) && platforms::several(request)? {
            let message = "docker exporter does not currently support exporting manifest lists";
            let mut failure = BuildFailure::new(FailureKind::User, message);
            failure.help.push(
                "build one platform, or write an OCI archive, which holds them all: `-o type=oci,dest=FILE`".to_owned(),
            );
            return Err(failure);
        }
    }
    Ok(())
}

fn push_failure(error: &PushError) -> BuildFailure {
    match error {
        PushError::Registry(cause) => {
            let mut failure = failure(kind_of_registry(cause), error);
            failure.help.extend(cause.help());
            failure
        }
        PushError::Digest(_) => failure(FailureKind::Environment, error),
    }
}
