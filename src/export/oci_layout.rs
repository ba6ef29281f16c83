//! `type=oci`: an OCI image layout (image-spec, image-layout.md), as a tar or a directory.
//!
//! `index.json` names the image once per tag, with the annotations other tools look for:
//! `org.opencontainers.image.ref.name` (the tag alone) and `io.containerd.image.name` (the whole name).

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::document::annotate;
use super::image::{ImageSet, platform_descriptor};
use super::parts::{self, ArchiveError, Content, Part};
use super::report::Report;
use crate::content::Store;
use crate::oci::{self, Descriptor, Index, Reference, media_type, to_json};

/// Annotation: the tag alone (image-spec, annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation: the whole name, as containerd reads and writes it.
pub const IMAGE_NAME: &str = "io.containerd.image.name";
const CREATED: &str = "org.opencontainers.image.created";

/// Writes `set` as the tar of an image layout; returns `out` flushed. The same images give the same bytes.
pub fn write_oci_tar<W: Write>(
    set: &ImageSet,
    names: &[Reference],
    store: &Store,
    out: W,
    report: &Report,
) -> Result<W, ArchiveError> {
    parts::write_tar(&layout(set, index_json(entries(set, names)))?, store, out, report)
}

/// Writes `set` into the directory `dest`, which is made when it is not there. A layout that is there already is added
/// to: other images stay, an image of the same name is replaced in `index.json`.
pub fn write_oci_directory(
    set: &ImageSet,
    names: &[Reference],
    store: &Store,
    dest: &Path,
    report: &Report,
) -> Result<(), ArchiveError> {
    let made = std::fs::create_dir_all(dest).and_then(|()| File::open(dest));
    let directory = made.map_err(|source| ArchiveError::File { path: dest.to_owned(), source })?;
    // Of two that add to it at once, one would lose what the other said. Some file systems have no locks, and then it may.
    let _ = directory.lock();
    let new = serde_json::to_value(oci::index(media_type::OCI_INDEX, entries(set, names)));
    let index = to_json(&beside_others(dest, set, names, new.unwrap_or_default())?);
    // The index names the blobs, so it is written after them.
    let (blobs, rest): (Vec<Part>, Vec<Part>) =
        layout(set, index)?.into_iter().partition(|part| part.path.starts_with("blobs/"));
    parts::write_directory(&blobs, store, dest, report)?;
    parts::write_directory(&rest, store, dest, report)
}

/// All files of the layout, sorted.
pub(super) fn layout(set: &ImageSet, index_json: Vec<u8>) -> Result<Vec<Part>, ArchiveError> {
    let mut all = parts::blobs(set)?;
    all.extend(documents(index_json));
    parts::sort(&mut all);
    Ok(all)
}

/// What a layout has beside its blobs.
pub(super) fn documents(index_json: Vec<u8>) -> [Part; 2] {
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
    [("oci-layout", version), ("index.json", index_json)]
        .map(|(path, bytes)| Part { path: path.to_owned(), content: Content::Bytes(bytes) })
}

/// The descriptors of `index.json`: one per name, or a single one without a name; then what refers to the image.
pub(super) fn entries(set: &ImageSet, names: &[Reference]) -> Vec<Descriptor> {
    let mut base = match &set.index {
        Some(index) => index.descriptor.clone(),
        None => platform_descriptor(&set.images[0]),
    };
    annotate(&mut base, set.images[0].created.iter().map(|time| (CREATED, time.clone())));
    let referrers = set.attestations.iter().filter(|one| !one.in_index).map(|one| one.manifest.descriptor.clone());
    named(base, names).into_iter().chain(referrers).collect()
}

/// The descriptor under each of the names, or as it is without any.
pub(super) fn named(base: Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    if names.is_empty() {
        return vec![base];
    }
    let named = |name: &Reference| {
        let mut entry = base.clone();
        annotate(&mut entry, [(REF_NAME, name.tag_or_latest().to_owned()), (IMAGE_NAME, name.to_string())]);
        entry
    };
    names.iter().map(named).collect()
}

pub(super) fn index_json(entries: Vec<Descriptor>) -> Vec<u8> {
    to_json(&oci::index(media_type::OCI_INDEX, entries))
}

/// `new` beside what the `index.json` at `dest` lists and that stays when `set` comes in under `names`. That is kept as it is, with what
/// kiln does not know of it.
fn beside_others(dest: &Path, set: &ImageSet, names: &[Reference], new: Value) -> Result<Value, ArchiveError> {
    let path = dest.join("index.json");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(new),
        Err(source) => return Err(ArchiveError::File { path, source }),
    };
    let wrong = |source| ArchiveError::Index { path: path.clone(), source };
    let index: Index = serde_json::from_slice(&bytes).map_err(wrong)?;
    let mut all: Value = serde_json::from_slice(&bytes).map_err(wrong)?;
    let replaced: Vec<String> = names.iter().map(Reference::to_string).collect();
    let incoming: Vec<_> = entries(set, names).iter().map(|entry| entry.digest().clone()).collect();
    let stays = |entry: &Descriptor| {
        let name = entry.annotations().as_ref().and_then(|all| all.get(IMAGE_NAME));
        match name {
            Some(name) => !replaced.contains(name),
            // Without a name it is told apart by its digest alone.
            None => !incoming.contains(entry.digest()),
        }
    };
    let mut known = index.manifests().iter();
    if let (Some(listed), Some(new)) = (all["manifests"].as_array_mut(), new["manifests"].as_array()) {
        listed.retain(|_| known.next().is_some_and(stays));
        listed.extend(new.iter().cloned());
    }
    Ok(all)
}
