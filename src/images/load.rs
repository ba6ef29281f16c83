//! `load`: images out of an archive or a layout, as they are.
//!
//! What is read: an OCI layout, as a tar (plain or compressed) or a directory, and a docker archive, which has only `manifest.json`. An
//! archive that is both is read as a layout, which has the manifests and so the digests. The stream is read once and every
//! file in it becomes a blob; what nobody names goes with the next prune.
//!
//! Nothing in it is trusted: a blob has the digest that its name says, a document is bounded, a layer of a docker archive unpacks to
//! the diff id that the config says. (That of a layout is looked at when it is unpacked, as for layers of a registry.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::Deserialize;

use super::image::{DOCUMENT_LIMIT, document};
use super::{Image, ImagesError};
use crate::content::Store;
use crate::context::decompressed;
use crate::digest::{DiffId, Digest, HashingReader};
use crate::expansion;
use crate::export::{IMAGE_NAME, REF_NAME};
use crate::fsutil::Dir;
use crate::layer;
use crate::oci::{
    self, Compression, Descriptor, ImageConfig, Index, Manifest, Reference, descriptor, digest_of, media_type, to_json,
};

/// Files of an archive that are looked at; more is no image.
const FILES_LIMIT: usize = 100_000;

/// An image that was loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// Its names, in the familiar form.
    pub names: Vec<String>,
    /// Its id.
    pub id: Digest,
}

/// Loads what `input` holds.
pub fn load(store: &Store, input: impl Read) -> Result<Vec<Loaded>, ImagesError> {
    let archive = Archive::read(store, input)?;
    if let Some(index) = &archive.index {
        return layout(store, parsed(index, "index.json")?, &archive.blobs());
    }
    match &archive.manifest {
        Some(manifest) => archive.docker(store, parsed(manifest, "manifest.json")?),
        None => Err(ImagesError::archive("it has neither index.json nor manifest.json: it is no archive of images")),
    }
}

/// Loads the images of the OCI layout at `path`.
pub fn load_directory(store: &Store, path: &Path) -> Result<Vec<Loaded>, ImagesError> {
    let cannot = |what: &str, error: &io::Error| ImagesError::archive(format!("cannot read `{what}`: {error}"));
    let dir = Dir::open(path).map_err(|error| cannot(&path.display().to_string(), &error))?;
    let read = |name: &str| {
        let file = dir.open_file_in_root(Path::new(name)).map_err(|error| cannot(name, &error))?;
        bounded(file).map_err(|error| cannot(name, &error))
    };
    let index: Index = parsed(&read("index.json")?, "index.json")?;
    let mut waiting: Vec<Descriptor> = index.manifests().clone();
    let (mut taken, mut seen) = (BTreeSet::new(), BTreeSet::new());
    while let Some(next) = waiting.pop() {
        let Ok(digest) = digest_of(&next) else { continue };
        if !seen.insert(digest) {
            continue;
        }
        let name = format!("blobs/sha256/{}", digest.hex());
        match dir.open_file_in_root(Path::new(&name)) {
            // An index may list platforms that are not here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(cannot(&name, &error)),
            Ok(file) if store.length_of(&digest)?.is_none() => {
                ingest(store, file, Some(&digest))?;
            }
            Ok(_) => {}
        }
        taken.insert(digest);
        waiting.extend(children(store, &next, &digest)?);
        if taken.len() > FILES_LIMIT {
            return Err(ImagesError::archive(format!("it has more than {FILES_LIMIT} blobs")));
        }
    }
    layout(store, index, &|digest| taken.contains(digest))
}

/// What a document leads to.
fn children(store: &Store, of: &Descriptor, digest: &Digest) -> Result<Vec<Descriptor>, ImagesError> {
    let kind = of.media_type().as_ref();
    if media_type::is_index(kind) {
        return Ok(document::<Index>(store, *digest)?.manifests().clone());
    }
    if media_type::is_manifest(kind) {
        let manifest: oci::Manifest = document(store, *digest)?;
        return Ok(std::iter::once(manifest.config().clone()).chain(manifest.layers().iter().cloned()).collect());
    }
    Ok(Vec::new())
}

/// An archive whose files are blobs of the store.
#[derive(Default)]
struct Archive {
    index: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
    /// Digest and length of every other file, by its name.
    files: BTreeMap<String, (Digest, u64)>,
    /// Names that are links, and where to.
    links: BTreeMap<String, String>,
}

impl Archive {
    fn read(store: &Store, input: impl Read) -> Result<Self, ImagesError> {
        let failed = |error: io::Error| ImagesError::archive(format!("cannot read it: {error}"));
        let plain = decompressed(input).map_err(failed)?;
        let (reader, allowance) = expansion::sparing(plain.reader);
        let mut tar = tar::Archive::new(reader);
        let mut archive = Self::default();
        for (number, entry) in allowance.over(tar.entries().map_err(failed)?).enumerate() {
            let mut entry = entry.map_err(failed)?;
            if number >= FILES_LIMIT {
                return Err(ImagesError::archive(format!("it has more than {FILES_LIMIT} files")));
            }
            let name = clean(&String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                let target = target.unwrap_or_default();
                let target = if kind.is_symlink() { format!("{directory}/{target}") } else { target };
                archive.links.insert(name, clean(&target));
            } else if kind.is_file() {
                archive.take(store, name, &mut entry)?;
            }
            io::copy(&mut entry, &mut io::sink()).map_err(failed)?;
        }
        Ok(archive)
    }

    fn take(&mut self, store: &Store, name: String, file: &mut impl Read) -> Result<(), ImagesError> {
        let failed = |error: io::Error| ImagesError::archive(format!("cannot read it: {error}"));
        match name.as_str() {
            "index.json" => self.index = Some(bounded(file).map_err(failed)?),
            "manifest.json" => self.manifest = Some(bounded(file).map_err(failed)?),
            "oci-layout" | "repositories" => {}
            _ => {
                let expected = match name.strip_prefix("blobs/sha256/") {
                    Some(hex) => Some(
                        Digest::from_hex(hex)
                            .map_err(|_| ImagesError::archive(format!("`{name}` is not named by a digest")))?,
                    ),
                    None => None,
                };
                let taken = ingest(store, file, expected.as_ref())?;
                self.files.insert(name, taken);
            }
        }
        Ok(())
    }

    /// Says which digests came with it.
    fn blobs(&self) -> impl Fn(&Digest) -> bool + '_ {
        |digest| self.files.contains_key(&format!("blobs/sha256/{}", digest.hex()))
    }

    fn file(&self, name: &str) -> Result<(Digest, u64), ImagesError> {
        let mut name = clean(name);
        // A link to a link is as far as anyone goes.
        for _ in 0..4 {
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => break,
            }
        }
        let missing = || ImagesError::archive(format!("`{name}` is named, but not in it"));
        self.files.get(&name).copied().ok_or_else(missing)
    }

    /// Makes manifests for the images of a docker archive, which has none. Their configs, and so their ids, stay as they are.
    fn docker(&self, store: &Store, entries: Vec<DockerEntry>) -> Result<Vec<Loaded>, ImagesError> {
        let mut all = Vec::new();
        for entry in entries {
            let (id, length) = self.file(&entry.config)?;
            let config: ImageConfig = document(store, id)?;
            let diff_ids = &config.rootfs.diff_ids;
            if diff_ids.len() != entry.layers.len() {
                let (listed, said) = (entry.layers.len(), diff_ids.len());
                return Err(ImagesError::archive(format!("it lists {listed} layers, the config of the image {said}")));
            }
            let layers = entry.layers.iter().zip(diff_ids).map(|(name, diff_id)| self.layer(store, name, *diff_id));
            let layers = layers.collect::<Result<Vec<_>, _>>()?;
            let config = descriptor(media_type::OCI_CONFIG, &id, length);
            let manifest = to_json(&oci::manifest(media_type::OCI_MANIFEST, config, layers));
            let digest = store.put(&manifest)?;
            let target = descriptor(media_type::OCI_MANIFEST, &digest, manifest.len() as u64);
            let names = entry.repo_tags.unwrap_or_default();
            all.push(Loaded { names: name(store, target, &names)?, id });
        }
        Ok(all)
    }

    /// Finds a layer, and out how it is compressed; it must be what the config says.
    fn layer(&self, store: &Store, name: &str, diff_id: DiffId) -> Result<Descriptor, ImagesError> {
        let (digest, length) = self.file(name)?;
        let mut first = Vec::new();
        let failed = |error: io::Error| ImagesError::archive(format!("cannot read its layer `{name}`: {error}"));
        store.open_blob(&digest)?.take(6).read_to_end(&mut first).map_err(failed)?;
        let compression = layer::compression_of(&first);
        let unpacked = match compression {
            Compression::None => digest,
            _ => {
                let plain = layer::decoder(compression, store.open_blob(&digest)?).map_err(failed)?;
                let mut plain = HashingReader::new(plain);
                io::copy(&mut plain, &mut io::sink()).map_err(failed)?;
                plain.finish().1
            }
        };
        match unpacked == diff_id.0 {
            true => Ok(descriptor(compression.oci_layer(), &digest, length)),
            false => Err(ImagesError::archive(format!(
                "its layer `{name}` is {unpacked}, and not {diff_id}, as the config says"
            ))),
        }
    }
}

/// An image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Names the images of a layout; what was not `taken` may be here, but nobody has shown it.
fn layout(store: &Store, index: Index, taken: &dyn Fn(&Digest) -> bool) -> Result<Vec<Loaded>, ImagesError> {
    let mut all: Vec<(Digest, Loaded)> = Vec::new();
    let mut attached = Vec::new();
    for entry in index.manifests() {
        let kind = entry.media_type().as_ref();
        let Ok(digest) = digest_of(entry) else { continue };
        if !media_type::is_index(kind) && !media_type::is_manifest(kind) {
            continue;
        }
        if !taken(&digest) {
            return Err(ImagesError::archive(format!("its index names {digest}, which is not in it")));
        }
        if entry.artifact_type().is_some() {
            attached.push((digest, entry));
            continue;
        }
        let image = Image::read(store, None, entry, None)?;
        let blobs = std::iter::once(image.manifest.config()).chain(image.manifest.layers());
        blobs.into_iter().try_for_each(|blob| came_along(blob, &digest, taken))?;
        complete(store, entry, taken)?;
        let names: Vec<String> = full_name(entry).into_iter().collect();
        let target = descriptor(kind, &digest, entry.size());
        let names = name(store, target, &names)?;
        match all.iter_mut().find(|(known, _)| *known == digest) {
            Some((_, known)) => known.names.extend(names),
            None => all.push((digest, Loaded { names, id: image.id })),
        }
    }
    attached.into_iter().try_for_each(|(digest, entry)| refer(store, digest, entry, taken))?;
    Ok(all.into_iter().map(|(_, loaded)| loaded).collect())
}

/// Fails unless every manifest below `entry` that came along brought its blobs: one that names a blob of another image of the store would give
/// that to whoever is given this one. Manifests that did not come are those of other platforms.
fn complete(store: &Store, entry: &Descriptor, taken: &dyn Fn(&Digest) -> bool) -> Result<(), ImagesError> {
    let (mut waiting, mut seen) = (vec![entry.clone()], BTreeSet::new());
    while let Some(next) = waiting.pop() {
        let Ok(digest) = digest_of(&next) else { continue };
        if !taken(&digest) || !seen.insert(digest) {
            continue;
        }
        let below = children(store, &next, &digest)?;
        match media_type::is_index(next.media_type().as_ref()) {
            true => waiting.extend(below),
            false => below.iter().try_for_each(|blob| came_along(blob, &digest, taken))?,
        }
    }
    Ok(())
}

fn came_along(blob: &Descriptor, image: &Digest, taken: &dyn Fn(&Digest) -> bool) -> Result<(), ImagesError> {
    let is_here = digest_of(blob).is_ok_and(|digest| taken(&digest));
    match is_here || media_type::is_undistributed_layer(blob.media_type().as_ref()) {
        true => Ok(()),
        false => Err(ImagesError::archive(format!("{} of its image {image} is not in it", blob.digest()))),
    }
}

/// Lists what refers to an image that came along. What the store has of the same kind about that image stays: that was said here, or came
/// from where the image did.
fn refer(
    store: &Store,
    digest: Digest,
    entry: &Descriptor,
    taken: &dyn Fn(&Digest) -> bool,
) -> Result<(), ImagesError> {
    let manifest: Manifest = document(store, digest)?;
    let subject = manifest.subject().as_ref().and_then(|subject| digest_of(subject).ok());
    let Some(subject) = subject.filter(|subject| taken(subject)) else { return Ok(()) };
    complete(store, entry, taken)?;
    let of_this_kind =
        |one: &Descriptor| one.artifact_type() == entry.artifact_type() && one.annotations() == entry.annotations();
    if !store.referrers(&subject)?.iter().any(of_this_kind) {
        store.set_referrer(entry.clone(), &subject)?;
    }
    Ok(())
}

/// The name of an entry: the one for containerd, or else that of the specification if it is more than a tag.
fn full_name(entry: &Descriptor) -> Option<String> {
    let annotations = entry.annotations().as_ref()?;
    let whole = annotations.get(IMAGE_NAME).filter(|name| Reference::parse(name).is_ok());
    let named = || annotations.get(REF_NAME).filter(|name| name.contains([':', '/']) && Reference::parse(name).is_ok());
    whole.or_else(named).cloned()
}

/// Gives `target` its names, or lists it without any. It is sent on as it is, whatever its layers are.
fn name(store: &Store, target: Descriptor, names: &[String]) -> Result<Vec<String>, ImagesError> {
    let target = super::received(target);
    let mut given = Vec::new();
    for name in names {
        let reference = Reference::parse(name)?;
        let reference = reference.with_tag(reference.tag_or_latest())?;
        store.set_tag(&reference.to_string(), target.clone())?;
        given.push(reference.familiar());
    }
    if given.is_empty() {
        store.set_nameless(target)?;
    }
    Ok(given)
}

/// Makes a blob of a file.
fn ingest(store: &Store, mut file: impl Read, expected: Option<&Digest>) -> Result<(Digest, u64), ImagesError> {
    let mut blob = store.ingest()?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ImagesError::archive(format!("cannot read it: {error}"))),
        };
        let path = blob.path().to_owned();
        blob.write_all(&buffer[..read]).map_err(crate::content::ContentError::of_io("write", &path))?;
    }
    Ok(blob.commit(expected)?)
}

fn bounded(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > DOCUMENT_LIMIT {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 16 MiB")),
        false => Ok(bytes),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T, ImagesError> {
    serde_json::from_slice(bytes).map_err(|error| ImagesError::archive(format!("its {name} makes no sense: {error}")))
}

/// A path without dots: `./a/../b` is `b`. What leads out leads to the top; it is a key here and never opened.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Opens an archive, or `None` for a directory.
pub fn open_archive(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    Ok((!file.metadata()?.is_dir()).then_some(file))
}
