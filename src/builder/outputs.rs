//! What becomes of a build: every `--output` of the request.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use super::annotations::Annotations;
use super::assemble::Built;
use super::early::Early;
use super::failure::{environment, failure, kind_of_registry};
use super::platforms;
use super::publish::Publisher;
use super::remote::blocking;
use super::store::Open;
use super::vertices::Vertices;
use super::{BuildFailure, BuildRequest, Destination, FailureKind, ImageAttributes, LayerCompression, Output};
use crate::attest::Predicate;
use crate::export::{self, Codec, Form, Format, How, ImageSet, MediaTypes, PushError, Report};
use crate::fsutil::Dir;
use crate::oci::{ImageConfig, Layer, Reference, Stack};
use crate::ops::Worker;
use crate::progress::{Event, VertexId};
use crate::remotecache::write_inline;

/// An image on its way to every output.
pub(super) struct Delivery<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) open: &'a Open,
    pub(super) worker: &'a Arc<Worker>,
    pub(super) vertices: &'a Vertices,
    pub(super) set: ImageSet,
    pub(super) built: &'a [Built],
    /// What is said of each image.
    pub(super) said: &'a [Vec<Predicate>],
    /// Some step ran.
    pub(super) is_new: bool,
    /// Knows the records of the steps.
    pub(super) publisher: Option<Arc<Publisher>>,
}

impl Delivery<'_> {
    /// Delivers everywhere; returns what reports should describe: what went out last, or what was kept. `None` when
    /// no output is an image. `early` is what is on its way to the first push.
    pub(super) async fn all(&self, mut early: Option<Early>) -> Result<Option<ImageSet>, BuildFailure> {
        let default = [Output::Image { push: false, attributes: ImageAttributes::default() }];
        let outputs = if self.request.outputs.is_empty() { &default[..] } else { &self.request.outputs[..] };
        let mut described = None;
        for output in outputs {
            let image = self.one(output, &mut early).await?;
            described = image.or(described);
        }
        Ok(described)
    }

    async fn one(&self, output: &Output, early: &mut Option<Early>) -> Result<Option<ImageSet>, BuildFailure> {
        match output {
            Output::Image { push: false, attributes } => self.image(attributes).await.map(Some),
            Output::Image { push: true, attributes } => self.pushed_image(attributes, early.take()).await.map(Some),
            Output::Load { into, attributes } => {
                let set = self.image(attributes).await?;
                self.load(into, attributes, &set, &all_names(self.request, attributes, &set)).await?;
                Ok(Some(set))
            }
            Output::Oci { destination, tar, attributes } => {
                self.archive(destination, attributes, "oci", *tar).await.map(Some)
            }
            Output::Docker { destination, attributes } => {
                // It has no place for what is said of an image.
                self.silent().archive(destination, attributes, "docker", true).await.map(Some)
            }
            Output::Local(local) => self.files(local).await.map(|()| None),
            Output::Tar { destination, split } => self.files_tar(destination, *split).await.map(|()| None),
            Output::CacheOnly => Ok(None),
        }
    }

    /// The same, and nothing is said of the images.
    pub(super) fn silent(&self) -> Self {
        Self { said: &[], set: self.set.clone(), publisher: self.publisher.clone(), ..*self }
    }

    /// Kept in the store under its names. The store's copy is the image as it was built, unless the output says how it should be.
    async fn image(&self, attributes: &ImageAttributes) -> Result<ImageSet, BuildFailure> {
        let kept = match attributes.change_the_image() {
            true => self.outgoing(attributes, Format::Plain, false).await?,
            false => self.as_built(attributes),
        };
        self.keep(&kept, attributes, true).await?;
        Ok(kept)
    }

    /// Pushed, and kept as it is pushed: it has one digest here and there, and what is synced to the disk is what is compressed.
    async fn pushed_image(&self, attributes: &ImageAttributes, early: Option<Early>) -> Result<ImageSet, BuildFailure> {
        if let Some(early) = early {
            early.end(self.worker).await;
        }
        let outgoing = self.outgoing(attributes, Format::Gzip, true).await?;
        let keep = self.keep(&outgoing, attributes, self.absent().is_empty());
        tokio::try_join!(keep, self.push_all(&outgoing, attributes))?;
        Ok(outgoing)
    }

    async fn push_all(&self, set: &ImageSet, attributes: &ImageAttributes) -> Result<(), BuildFailure> {
        for name in &all_names(self.request, attributes, set) {
            let pushed = async |id| self.push(set, name, attributes.push_by_digest, id).await;
            self.vertices.show(format!("pushing {name}"), pushed).await?;
        }
        Ok(())
    }

    /// The image with what is said of it, its layers as they are.
    pub(super) fn as_built(&self, attributes: &ImageAttributes) -> ImageSet {
        let several = self.several(attributes);
        let set = Annotations(&self.request.annotations).set(self.set.images.clone(), several, MediaTypes::Oci);
        export::attach(set, self.said, &names_of(self.request, attributes), attributes.attestations)
    }

    /// `whole`: with all layers, also those that nobody needed yet.
    async fn keep(&self, set: &ImageSet, attributes: &ImageAttributes, whole: bool) -> Result<(), BuildFailure> {
        if !attributes.discard {
            self.tag(set, attributes, whole).await?;
        }
        if attributes.unpack { self.unpack().await } else { Ok(()) }
    }

    async fn tag(&self, set: &ImageSet, attributes: &ImageAttributes, whole: bool) -> Result<(), BuildFailure> {
        let mut names = all_names(self.request, attributes, set);
        if attributes.name_canonical {
            names.extend(canonical(&names, set));
        }
        let (set, store) = (set.clone(), self.open.content.clone());
        let keep = async |id| {
            if whole {
                self.fetch_all(id).await?;
            }
            blocking(move || {
                export::keep(&set, &names, &store).map_err(|error| failure(FailureKind::Environment, &error))
            })
            .await
        };
        self.vertices.show("exporting to image".to_owned(), keep).await
    }

    /// Lays the files of the image out, so that whoever runs it or builds on it need not.
    async fn unpack(&self) -> Result<(), BuildFailure> {
        let unpack = async |id| {
            for built in self.built {
                let layers = built.layers.iter().cloned().collect();
                self.worker.materialize(&layers, id).await.map_err(|error| super::failure::op(&error))?;
            }
            Ok(())
        };
        self.vertices.show("unpacking to the store".to_owned(), unpack).await
    }

    async fn push(&self, set: &ImageSet, name: &Reference, by_digest: bool, id: VertexId) -> Result<(), BuildFailure> {
        let (names, report) = (std::slice::from_ref(name), self.report(id));
        let how = How { by_digest, new: self.is_new };
        let set = &self.with_origins(set, name);
        let push = async || export::push(set, names, how, &self.worker.registry, &self.open.content, &report).await;
        let push = async {
            match push().await {
                // What was not taken over from the cache goes by way of here, or is made again.
                Err(_) if !self.absent().is_empty() => {
                    self.worker.fetch(&self.absent(), id).await.map_err(|error| super::failure::op(&error))?;
                    push().await.map_err(|error| push_failure(&error))
                }
                pushed => pushed.map_err(|error| push_failure(&error)),
            }
        };
        tokio::select! {
            pushed = push => pushed,
            () = self.worker.canceled() => Err(BuildFailure::new(FailureKind::Canceled, "the build was canceled")),
        }
    }

    /// New layers may be taken over from the shared cache that they are published to.
    fn with_origins(&self, set: &ImageSet, name: &Reference) -> ImageSet {
        let mut set = set.clone();
        let Some(beside) = self.publisher.as_ref().and_then(|publisher| publisher.beside(name)) else { return set };
        for layer in set.images.iter_mut().flat_map(|image| &mut image.layers) {
            layer.origin.get_or_insert_with(|| beside.clone());
        }
        set
    }

    /// Layers of shared caches whose bytes nobody needed yet.
    fn absent(&self) -> Vec<Layer> {
        let is_absent = |layer: &&Layer| {
            let Ok(digest) = layer.digest() else { return false };
            let is_here = || matches!(self.open.content.length_of(&digest), Ok(Some(_)));
            self.worker.caches.layer(&digest).is_some() && !is_here()
        };
        self.built.iter().flat_map(|built| &built.layers).filter(is_absent).cloned().collect()
    }

    async fn archive(
        &self,
        destination: &Destination,
        attributes: &ImageAttributes,
        kind: &'static str,
        tar: bool,
    ) -> Result<ImageSet, BuildFailure> {
        let set = self.outgoing(attributes, Format::Gzip, false).await?;
        let names = all_names(self.request, attributes, &set);
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

    /// The image as it leaves: layers made here compressed, once. If it is `pushed`, they go to the registry meanwhile.
    async fn outgoing(
        &self,
        attributes: &ImageAttributes,
        default: Format,
        pushed: bool,
    ) -> Result<ImageSet, BuildFailure> {
        let codec = codec(attributes, default);
        let media = match attributes.oci_media_types {
            Some(false) => MediaTypes::Docker,
            _ => MediaTypes::Oci,
        };
        let (set, store) = (self.set.clone(), self.open.content.clone());
        let records = self.request.store.join("cache/compressed");
        let epoch = attributes.rewrite_timestamp.then_some(self.worker.settings.epoch).flatten();
        let mut annotations = self.request.annotations.clone();
        annotations.extend(attributes.annotations.iter().cloned());
        if attributes.rewrite_timestamp && epoch.is_none() {
            let text = "rewrite-timestamp changes nothing: there is no SOURCE_DATE_EPOCH".to_owned();
            self.worker.sink.event(Event::Notice(text));
        }
        let several = self.several(attributes);
        let (said, names) = (self.said.to_vec(), names_of(self.request, attributes));
        let form = attributes.attestations;
        let (tell, begun) = tokio::sync::mpsc::unbounded_channel();
        let first = names_of(self.request, attributes).into_iter().next().filter(|_| pushed);
        let early = first.map(|name| tokio::spawn(export::push_early(name, self.worker.registry.clone(), begun)));
        let inline = self.request.shared_caches.inline.as_ref().and_then(|_| self.publisher.clone());
        let compress = async |id| {
            match pushed && !self.absent().is_empty() {
                // The registry may have them, or take them over from another repository.
                true => self.fetch_some(|layer| layer.origin.is_none() || codec.applies_to(layer), id).await?,
                false => self.fetch_all(id).await?,
            }
            let report = self.report(id);
            blocking(move || {
                let begun = |growing| _ = tell.send(growing);
                let threads = std::thread::available_parallelism().map_or(1, usize::from);
                let wrong = |error: &(dyn std::error::Error + 'static)| failure(FailureKind::Environment, error);
                let mut images = Vec::with_capacity(set.images.len());
                for image in &set.images {
                    let mut layers = image.layers.clone();
                    if let Some(latest) = epoch {
                        layers = export::clamped(&layers, &store, latest, &records, &report).map_err(|e| wrong(&e))?;
                    }
                    let layers = export::compressed_telling(&layers, &store, codec, &records, threads, &report, &begun)
                        .map_err(|error| wrong(&error))?;
                    let mut config: ImageConfig = serde_json::from_slice(&image.config.bytes)
                        .map_err(|error| environment("cannot read the config just written", &error))?;
                    if let Some(publisher) = &inline {
                        write_inline(&mut config, &publisher.records(&image.layers, &layers, codec));
                    }
                    images.push(Annotations(&annotations).assemble(config, &layers, media));
                }
                Ok(export::attach(Annotations(&annotations).set(images, several, media), &said, &names, form))
            })
            .await
        };
        let name = "exporting layers".to_owned();
        let set = self.vertices.show(name, compress).await;
        if let Some(early) = early {
            match &set {
                Ok(_) => self.ended(early).await,
                Err(_) => early.abort(),
            }
        }
        self.write_documents(set?)
    }

    /// Waits for what goes out early, but not beyond the end of the build.
    async fn ended(&self, mut early: tokio::task::JoinHandle<()>) {
        tokio::select! {
            _ = &mut early => {}
            () = self.worker.canceled() => early.abort(),
        }
    }

    /// Configs and manifests that go out are blobs of the store too, so that an archive finds them.
    fn write_documents(&self, set: ImageSet) -> Result<ImageSet, BuildFailure> {
        for document in set.documents() {
            self.open.content.put(&document.bytes).map_err(|error| failure(FailureKind::Environment, &error))?;
        }
        Ok(set)
    }

    /// Whether there is an index: over several platforms, or because it lists what is said of the image.
    fn several(&self, attributes: &ImageAttributes) -> bool {
        let is_listed = attributes.attestations != Form::Referrers && self.said.iter().any(|said| !said.is_empty());
        self.set.index.is_some() || is_listed
    }

    /// Layers of base images that are not here yet.
    async fn fetch_all(&self, id: VertexId) -> Result<(), BuildFailure> {
        self.fetch_some(|_| true, id).await
    }

    async fn fetch_some(&self, which: impl Fn(&Layer) -> bool, id: VertexId) -> Result<(), BuildFailure> {
        for built in self.built {
            let layers: Vec<Layer> = built.layers.iter().filter(|layer| which(layer)).cloned().collect();
            self.worker.fetch(&layers, id).await.map_err(|error| super::failure::op(&error))?;
        }
        Ok(())
    }

    pub(super) fn report(&self, id: VertexId) -> Report {
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
    let layers: Stack = layers.iter().cloned().collect();
    worker.materialize(&layers, id).await.map_err(|error| super::failure::op(&error))?;
    open.snapshots.view(&layers.chain()).map_err(|error| failure(FailureKind::Environment, &error))
}

/// What the layers of an output are compressed with.
fn codec(attributes: &ImageAttributes, default: Format) -> Codec {
    let format = match attributes.compression {
        None => default,
        Some(LayerCompression::Uncompressed) => Format::Plain,
        Some(LayerCompression::Gzip) => Format::Gzip,
        Some(LayerCompression::Zstd) => Format::Zstd,
        Some(LayerCompression::Estargz) => Format::Estargz,
    };
    Codec { format, level: attributes.compression_level, force: attributes.force_compression }
}

/// Whether every output writes new layers with `codec`, or needs their files only.
pub(super) fn take_layers_of(request: &BuildRequest, codec: &str) -> bool {
    let writes = |attributes: &ImageAttributes, default| {
        !attributes.rewrite_timestamp && self::codec(attributes, default).to_string() == codec
    };
    let takes = |output: &Output| match output {
        Output::Image { push: true, attributes }
        | Output::Oci { attributes, .. }
        | Output::Docker { attributes, .. } => writes(attributes, Format::Gzip),
        Output::Image { push: false, attributes } | Output::Load { attributes, .. } => {
            attributes.change_the_image() && writes(attributes, Format::Plain)
        }
        Output::Local(_) | Output::Tar { .. } | Output::CacheOnly => true,
    };
    !request.outputs.is_empty() && request.outputs.iter().all(takes)
}

/// Where layers can go as soon as they are made, and compressed with what: to the first push, if it takes them as they are.
pub(super) fn first_push(request: &BuildRequest) -> Option<(Reference, Codec)> {
    let pushed = request.outputs.iter().find_map(|output| match output {
        Output::Image { push: true, attributes } => Some(attributes),
        _ => None,
    })?;
    let as_they_are = !(pushed.rewrite_timestamp || request.reproducible || request.verify_reproducible);
    let name = names_of(request, pushed).into_iter().next().filter(|_| as_they_are)?;
    Some((name, codec(pushed, Format::Gzip)))
}

/// Returns the tags of `request` and the names of an output's own, each once.
fn names_of(request: &BuildRequest, attributes: &ImageAttributes) -> Vec<Reference> {
    let own = attributes.names.iter().filter(|name| !request.tags.contains(name));
    request.tags.iter().chain(own).cloned().collect()
}

/// The same, and the name that is made of the digest of `set`.
fn all_names(request: &BuildRequest, attributes: &ImageAttributes, set: &ImageSet) -> Vec<Reference> {
    names_of(request, attributes).into_iter().chain(dangling(attributes, set)).collect()
}

fn dangling(attributes: &ImageAttributes, set: &ImageSet) -> impl Iterator<Item = Reference> {
    let digest = set.index.as_ref().map_or(set.images[0].manifest.digest, |index| index.digest);
    attributes.dangling_prefix.iter().map(move |prefix| prefix.with_digest(digest))
}

/// `name@digest` for each name that has no digest.
fn canonical(names: &[Reference], set: &ImageSet) -> Vec<Reference> {
    let digest = set.index.as_ref().map_or(set.images[0].manifest.digest, |index| index.digest);
    let mut all: Vec<Reference> = Vec::new();
    for name in names.iter().filter(|name| name.digest.is_none()) {
        let name = name.with_digest(digest);
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// Returns every name the outputs of `request` give, in the order asked for, but for those that are made of a digest.
pub(super) fn names(request: &BuildRequest) -> Vec<Reference> {
    let mut names = request.tags.clone();
    for attributes in request.outputs.iter().filter_map(Output::attributes) {
        names.extend(attributes.names.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
    }
    names
}

/// Returns every name that `set` got, in the order asked for.
pub(super) fn given_names(request: &BuildRequest, set: &ImageSet) -> Vec<Reference> {
    let mut given = names(request);
    for attributes in request.outputs.iter().filter_map(Output::attributes) {
        given.extend(dangling(attributes, set).filter(|name| !given.contains(name)).collect::<Vec<_>>());
    }
    given
}

/// Refuses outputs that cannot succeed, before anything is built.
pub(super) fn check(request: &BuildRequest) -> Result<(), BuildFailure> {
    for output in &request.outputs {
        if let Output::Image { push: true, attributes } = output
            && names_of(request, attributes).is_empty()
            && attributes.dangling_prefix.is_none()
        {
            let mut failure = BuildFailure::new(FailureKind::User, "a push needs a name");
            failure.help.push("add `-t registry/name:tag`".to_owned());
            return Err(failure);
        }
        if let Output::Local(local) = output {
            super::files::check_deletion(request, local)?;
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
