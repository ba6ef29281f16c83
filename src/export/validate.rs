//! Reads an image back and checks everything that can be wrong with it.
//!
//! Works on any OCI image layout, whoever wrote it: every digest, size and media type that one document says of another,
//! and every diff id, by unpacking the layer. Nothing is trusted, and all flaws are found, not only the first.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::parts::blob_path;
use crate::digest::{Digest, HashingReader};
use crate::layer;
use crate::oci::{self, Compression, Descriptor, ImageConfig, Index, Manifest, media_type};

/// Something wrong, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// `index.json`, or a digest.
    pub at: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Checks the image layout in the directory `root`: all images that its `index.json` lists. Returns what is wrong; nothing
/// is a good layout.
pub fn validate_layout(root: &Path) -> Vec<Flaw> {
    let mut check = Check { root: root.to_owned(), flaws: Vec::new(), seen: BTreeSet::new() };
    check.layout();
    check.flaws
}

struct Check {
    root: PathBuf,
    flaws: Vec<Flaw>,
    seen: BTreeSet<String>,
}

/// Documents are small; a larger one is a mistake or an attack.
const DOCUMENT_LIMIT: u64 = 4 << 20;

impl Check {
    fn flaw(&mut self, at: impl fmt::Display, what: impl fmt::Display) {
        self.flaws.push(Flaw { at: at.to_string(), what: what.to_string() });
    }

    fn layout(&mut self) {
        match std::fs::read_to_string(self.root.join("oci-layout")) {
            Ok(text) if text.contains("\"1.0.0\"") => {}
            Ok(text) => self.flaw("oci-layout", format_args!("not version 1.0.0: {text}")),
            Err(error) => self.flaw("oci-layout", error),
        }
        match read_limited(&self.root.join("index.json")) {
            Ok(bytes) => {
                if let Some(index) = self.parse::<Index>("index.json", &bytes) {
                    self.entries("index.json", &index);
                }
            }
            Err(error) => self.flaw("index.json", error),
        }
    }

    fn entries(&mut self, at: &str, index: &Index) {
        if index.schema_version() != 2 {
            self.flaw(at, "schemaVersion is not 2");
        }
        for entry in index.manifests() {
            self.node(at, entry);
        }
    }

    fn node(&mut self, at: &str, descriptor: &Descriptor) {
        if !self.seen.insert(descriptor.digest().to_string()) {
            return;
        }
        let Some((name, bytes)) = self.document(at, descriptor) else { return };
        match descriptor.media_type().as_ref() {
            kind if media_type::is_index(kind) => {
                if let Some(index) = self.parse::<Index>(&name, &bytes) {
                    self.says(&name, index.media_type().as_ref().map(AsRef::as_ref), kind);
                    self.entries(&name, &index);
                }
            }
            kind if media_type::is_manifest(kind) => {
                if let Some(manifest) = self.parse::<Manifest>(&name, &bytes) {
                    self.says(&name, manifest.media_type().as_ref().map(AsRef::as_ref), kind);
                    self.manifest(&name, descriptor, &manifest);
                }
            }
            other => self.flaw(at, format_args!("{name} has the media type {other}, neither manifest nor index")),
        }
    }

    fn says(&mut self, at: &str, own: Option<&str>, expected: &str) {
        if own.is_some_and(|own| own != expected) {
            self.flaw(at, format_args!("calls itself {own:?}, its descriptor says {expected}"));
        }
    }

    fn manifest(&mut self, at: &str, descriptor: &Descriptor, manifest: &Manifest) {
        if !media_type::is_config(manifest.config().media_type().as_ref()) {
            self.flaw(at, format_args!("config has the media type {}", manifest.config().media_type()));
            return;
        }
        let Some((name, bytes)) = self.document(at, manifest.config()) else { return };
        let Some(config) = self.parse::<ImageConfig>(&name, &bytes) else { return };
        self.config(&name, descriptor, &config, manifest.layers().len());
        for (layer, diff_id) in manifest.layers().iter().zip(config.rootfs.diff_ids) {
            if let Err(what) = self.layer(layer, &diff_id.0) {
                self.flaw(layer.digest(), what);
            }
        }
    }

    fn config(&mut self, name: &str, descriptor: &Descriptor, config: &ImageConfig, layers: usize) {
        let diff_ids = config.rootfs.diff_ids.len();
        if diff_ids != layers {
            self.flaw(name, format_args!("{diff_ids} diff ids for {layers} layers"));
        }
        let in_history = config.history.iter().filter(|entry| !entry.empty_layer).count();
        if !config.history.is_empty() && in_history != layers {
            self.flaw(name, format_args!("{in_history} layers in the history, {layers} in the manifest"));
        }
        if config.os.is_empty() || config.architecture.is_empty() {
            self.flaw(name, "os or architecture is missing");
        }
        let own = oci::Platform::new(&config.os, &config.architecture, config.variant.as_deref());
        if let Some(listed) = descriptor.platform().as_ref().map(oci::Platform::of)
            && listed != own
        {
            self.flaw(name, format_args!("made for {own}, listed for {listed}"));
        }
    }

    /// Reads the layer twice over in one pass: as stored, for its digest, and unpacked, for its diff id.
    fn layer(&self, layer: &Descriptor, diff_id: &Digest) -> Result<(), String> {
        let said = layer.media_type().as_ref();
        let compression = Compression::of(said).ok_or_else(|| format!("{said} is no layer"))?;
        let expected = oci::digest_of(layer).map_err(|error| error.to_string())?;
        let file = File::open(self.root.join(blob_path(&expected))).map_err(|error| error.to_string())?;
        let mut stored = HashingReader::new(BufReader::new(file));
        let unpacked = digest_unpacked(compression, &mut stored).map_err(|error| error.to_string())?;
        io::copy(&mut stored, &mut io::sink()).map_err(|error| error.to_string())?;
        let (_, digest, length) = stored.finish();
        if (digest, length) != (expected, layer.size()) {
            return Err(format!("holds {length} bytes with digest {digest}, {} were said", layer.size()));
        }
        if unpacked != *diff_id {
            return Err(format!("unpacks to {unpacked}, its diff id is {diff_id}"));
        }
        Ok(())
    }

    /// Reads a document and checks it against its descriptor.
    fn document(&mut self, at: &str, descriptor: &Descriptor) -> Option<(String, Vec<u8>)> {
        let name = descriptor.digest().to_string();
        let read = || -> Result<Vec<u8>, String> {
            let digest = oci::digest_of(descriptor).map_err(|error| error.to_string())?;
            let bytes = read_limited(&self.root.join(blob_path(&digest))).map_err(|error| error.to_string())?;
            match Digest::of(&bytes) == digest && bytes.len() as u64 == descriptor.size() {
                true => Ok(bytes),
                false => Err(format!("holds {} bytes with digest {}", bytes.len(), Digest::of(&bytes))),
            }
        };
        match read() {
            Ok(bytes) => Some((name, bytes)),
            Err(what) => {
                self.flaw(at, format_args!("{name}: {what}"));
                None
            }
        }
    }

    fn parse<T: DeserializeOwned>(&mut self, at: &str, bytes: &[u8]) -> Option<T> {
        serde_json::from_slice(bytes).map_err(|error| self.flaw(at, error)).ok()
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(DOCUMENT_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn digest_unpacked(compression: Compression, stored: impl Read) -> io::Result<Digest> {
    let mut tar = HashingReader::new(layer::decoder(compression, stored)?);
    io::copy(&mut tar, &mut io::sink())?;
    Ok(tar.finish().1)
}
