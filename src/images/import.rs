//! `import`: the files of a tar become an image of one layer.

use std::io::{self, Read, Write};

use super::ImagesError;
use crate::content::{ContentError, Store};
use crate::context::{decompressed, without_credentials};
use crate::digest::{DiffId, Digest};
use crate::dockerfile::{InstructionKind, parse};
use crate::expansion;
use crate::fsutil::Timestamp;
use crate::oci::{self, History, ImageConfig, Platform, Reference, RootFs, descriptor, media_type, rfc3339, to_json};
use crate::plan::{Options, Planned, plan};
use crate::registry::{Client, DownloadRequest};
use crate::source::{SourceFile, Sources};

/// What an imported image shall say.
#[derive(Clone, Debug)]
pub struct Import {
    /// Its name; none for an image that is found by its id.
    pub name: Option<Reference>,
    /// Instructions of a Dockerfile that change the config.
    pub changes: Vec<String>,
    /// A remark for its history.
    pub message: String,
    /// What it runs on.
    pub platform: Platform,
    /// When it is made.
    pub now: Timestamp,
}

/// Makes an image of the tar that `input` holds, compressed or not; returns its id.
pub fn import(store: &Store, input: impl Read, asked: &Import) -> Result<Digest, ImagesError> {
    let mut config = changed(&asked.changes, &asked.platform)?;
    let (digest, length) = layer(store, input)?;
    let created = rfc3339(asked.now);
    let Platform { os, architecture, variant } = asked.platform.clone();
    (config.os, config.architecture, config.variant) = (os, architecture, variant);
    config.created = Some(created.clone());
    config.rootfs = RootFs::of(vec![DiffId(digest)]);
    config.history = vec![History { created: Some(created), comment: asked.message.clone(), ..History::default() }];
    let config = to_json(&config);
    let id = store.put(&config)?;
    let config = descriptor(media_type::OCI_CONFIG, &id, config.len() as u64);
    let layers = vec![descriptor(media_type::OCI_LAYER, &digest, length)];
    let manifest = to_json(&oci::manifest(media_type::OCI_MANIFEST, config, layers));
    let target = descriptor(media_type::OCI_MANIFEST, &store.put(&manifest)?, manifest.len() as u64);
    match &asked.name {
        Some(name) => store.set_tag(&name.to_string(), target)?,
        None => store.set_nameless(target)?,
    }
    Ok(id)
}

/// Fetches the file at `url`, and makes an image of it.
pub async fn import_url(store: &Store, client: &Client, url: &str, asked: &Import) -> Result<Digest, ImagesError> {
    // It is gone when this is dropped: what stays is the layer.
    let mut fetched = store.ingest()?;
    let failed = |source| ImagesError::Download { url: without_credentials(url), source };
    let request = DownloadRequest { url, ..DownloadRequest::default() };
    client.download(request, &mut |bytes, _| fetched.write_all(bytes)).await.map_err(failed)?;
    fetched.flush()?;
    import(store, std::fs::File::open(fetched.path())?, asked)
}

/// Keeps the tar as a layer, and reads it to its end: what is no tar is no layer.
fn layer(store: &Store, input: impl Read) -> Result<(Digest, u64), ImagesError> {
    let failed = |error: io::Error| ImagesError::archive(format!("cannot read it as a tar: {error}"));
    let plain = decompressed(input).map_err(failed)?;
    let mut keeping = Keeping { inner: plain.reader, blob: store.ingest()? };
    let (reader, allowance) = expansion::sparing(&mut keeping);
    let mut tar = tar::Archive::new(reader);
    for entry in allowance.over(tar.entries().map_err(failed)?) {
        io::copy(&mut entry.map_err(failed)?, &mut io::sink()).map_err(failed)?;
    }
    drop(tar);
    // What follows the end of an archive belongs to the blob as well.
    io::copy(&mut keeping, &mut io::sink()).map_err(failed)?;
    Ok(keeping.blob.commit(None)?)
}

/// What is read is written to a blob.
struct Keeping<'r> {
    inner: Box<dyn Read + 'r>,
    blob: crate::content::Ingest,
}

impl Read for Keeping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.blob.write_all(&buffer[..read])?;
        Ok(read)
    }
}

/// The config that the changes make.
fn changed(changes: &[String], platform: &Platform) -> Result<ImageConfig, ImagesError> {
    if changes.is_empty() {
        return Ok(ImageConfig::default());
    }
    let mut sources = Sources::default();
    let text = format!("FROM scratch\n{}\n", changes.join("\n"));
    let id = sources.add(SourceFile::new("--change", text.as_str()));
    let wrong = |problem: String| ImagesError::Change { problem };
    let parsed = parse(&sources, id);
    if let Some(first) = parsed.diagnostics.first() {
        return Err(wrong(first.message.clone()));
    }
    for instruction in &parsed.file.instructions[1..] {
        if matches!(
            instruction.kind,
            InstructionKind::Run(_)
                | InstructionKind::Copy(_)
                | InstructionKind::Add(_)
                | InstructionKind::From(_)
                | InstructionKind::Arg(_)
        ) {
            return Err(wrong(
                "only instructions that change the config can be given: CMD, ENTRYPOINT, ENV, EXPOSE, \
                HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR"
                    .to_owned(),
            ));
        }
    }
    let planned = plan(&parsed.file, &mut sources, &Options::new(platform.clone()), &Default::default());
    let planned = planned.map_err(|all| wrong(all.first().map(|first| first.message.clone()).unwrap_or_default()))?;
    let Planned::Ready(plan) = planned else { return Err(wrong("an image is named".to_owned())) };
    let mut config = plan.config;
    let sets_path = |instruction: &crate::dockerfile::Instruction| match &instruction.kind {
        InstructionKind::Env(all) => all.pairs.iter().any(|pair| pair.key.text == "PATH"),
        _ => false,
    };
    // A build adds one to `scratch`; docker's import does not.
    if !parsed.file.instructions.iter().any(sets_path) {
        config.config.env.retain(|variable| !variable.starts_with("PATH="));
    }
    Ok(config)
}

impl From<std::io::Error> for ImagesError {
    fn from(error: std::io::Error) -> Self {
        match error.downcast::<ContentError>() {
            Ok(error) => error.into(),
            Err(error) => Self::archive(format!("cannot read it: {error}")),
        }
    }
}
