//! Reads image archives as a stranger would: an OCI or docker archive, its layers, and the files they make together.
//!
//! On purpose none of kiln's own code: what kiln writes must be understood without it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;
use tar::EntryType;

/// An image as its archive holds it.
pub struct Image {
    /// The config, as JSON.
    pub config: Value,
    /// The manifest, as JSON; docker archives have none.
    pub manifest: Option<Value>,
    /// The digest of the manifest; empty for docker archives.
    pub digest: String,
    /// The config as it is written.
    pub config_text: String,
    /// The layers, bottom first, uncompressed.
    pub layers: Vec<Vec<u8>>,
}

/// A file, directory or other thing of an image. Hard links share one.
#[derive(Debug, Default)]
pub struct Node {
    /// `file`, `dir`, `symlink`, `fifo`, `char` or `block`.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// The bytes of a file.
    pub data: Vec<u8>,
    /// Where a symbolic link points.
    pub target: String,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, String>,
}

/// The files of an image by absolute path.
pub type Files = BTreeMap<String, Rc<Node>>;

/// Reads an OCI or docker archive.
pub fn read(archive: &Path) -> Result<Image, String> {
    let file = std::fs::File::open(archive).map_err(|error| format!("no archive at {}: {error}", archive.display()))?;
    let members = members(file).map_err(|error| format!("{} is no tar: {error}", archive.display()))?;
    if members.contains_key("index.json") { read_oci(&members) } else { read_docker(&members) }
}

type Members = BTreeMap<String, Vec<u8>>;

fn members(file: std::fs::File) -> std::io::Result<Members> {
    let mut members = Members::new();
    for entry in tar::Archive::new(file).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        members.insert(name, bytes);
    }
    Ok(members)
}

fn read_oci(members: &Members) -> Result<Image, String> {
    let blob = |digest: &Value| {
        let digest = digest.as_str().ok_or("a descriptor has no digest")?;
        member(members, &format!("blobs/{}", digest.replace(':', "/")))
    };
    let mut descriptor = json(member(members, "index.json")?)?["manifests"][0].clone();
    let mut manifest = json(blob(&descriptor["digest"])?)?;
    // An index may hold an index; attestations beside the image are not the image.
    while let Some(children) = manifest["manifests"].as_array() {
        let attestation = |child: &&Value| child["annotations"]["vnd.docker.reference.type"] == "attestation-manifest";
        descriptor = children.iter().find(|child| !attestation(child)).ok_or("an index without an image")?.clone();
        manifest = json(blob(&descriptor["digest"])?)?;
    }
    let config_text = String::from_utf8_lossy(blob(&manifest["config"]["digest"])?).into_owned();
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let layers = layers.map(|layer| uncompressed(blob(&layer["digest"])?)).collect::<Result<_, String>>()?;
    if manifest["mediaType"].is_null() {
        manifest["mediaType"] = descriptor["mediaType"].clone();
    }
    let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
    let config = json(config_text.as_bytes())?;
    Ok(Image { config, config_text, manifest: Some(manifest), digest, layers })
}

fn read_docker(members: &Members) -> Result<Image, String> {
    let manifest = json(member(members, "manifest.json")?)?[0].clone();
    let named = |name: &Value| member(members, name.as_str().unwrap_or_default());
    let layers = manifest["Layers"].as_array().into_iter().flatten();
    let layers = layers.map(|layer| uncompressed(named(layer)?)).collect::<Result<_, String>>()?;
    let config_text = String::from_utf8_lossy(named(&manifest["Config"])?).into_owned();
    let config = json(config_text.as_bytes())?;
    Ok(Image { config, config_text, manifest: None, digest: String::new(), layers })
}

fn member<'a>(members: &'a Members, name: &str) -> Result<&'a [u8], String> {
    members.get(name).map(Vec::as_slice).ok_or_else(|| format!("the archive has no {name}"))
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("bad JSON: {error}"))
}

fn uncompressed(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let done = match bytes {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::stream::copy_decode(bytes, &mut plain).map(|()| 0),
        _ => return Ok(bytes.to_vec()),
    };
    done.map_err(|error| format!("a layer cannot be decompressed: {error}"))?;
    Ok(plain)
}

/// Lays the layers over each other.
pub fn flatten(layers: &[Vec<u8>]) -> Result<Files, String> {
    let mut files = Files::new();
    for layer in layers {
        let mut archive = tar::Archive::new(layer.as_slice());
        for entry in archive.entries().map_err(|error| format!("a layer is no tar: {error}"))? {
            let entry = entry.map_err(|error| format!("a layer is cut short: {error}"))?;
            apply(&mut files, entry)?;
        }
    }
    Ok(files)
}

fn apply(files: &mut Files, mut entry: tar::Entry<'_, &[u8]>) -> Result<(), String> {
    let path = normal(&String::from_utf8_lossy(&entry.path_bytes()));
    let (directory, name) = path.rsplit_once('/').expect("a normal path starts with a slash");
    if name == ".wh..wh..opq" {
        remove_below(files, directory);
        return Ok(());
    }
    if let Some(gone) = name.strip_prefix(".wh.") {
        let gone = format!("{directory}/{gone}");
        remove_below(files, &gone);
        files.remove(&gone);
        return Ok(());
    }
    let link = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
    if entry.header().entry_type() == EntryType::Link {
        let first = normal(&link.unwrap_or_default());
        let node = files.get(&first).ok_or_else(|| format!("dangling hard link {path} -> {first}"))?;
        files.insert(path, Rc::clone(node));
        return Ok(());
    }
    let node = node_of(&mut entry, link).map_err(|error| format!("bad entry {path}: {error}"))?;
    if files.get(&path).is_some_and(|old| (old.kind == "dir") != (node.kind == "dir")) {
        remove_below(files, &path);
    }
    files.insert(path, Rc::new(node));
    Ok(())
}

fn node_of(entry: &mut tar::Entry<'_, &[u8]>, link: Option<String>) -> std::io::Result<Node> {
    let header = entry.header();
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => "file",
        EntryType::Directory => "dir",
        EntryType::Symlink => "symlink",
        EntryType::Fifo => "fifo",
        EntryType::Char => "char",
        EntryType::Block => "block",
        _ => "?",
    };
    let target = if kind == "symlink" { link.unwrap_or_default() } else { String::new() };
    let (uid, gid, mtime) = (header.uid()?, header.gid()?, i64::try_from(header.mtime()?).unwrap_or(i64::MAX));
    let mode = header.mode()? & 0o7777;
    let mut node = Node { kind, mode, uid, gid, mtime, target, ..Node::default() };
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            set_extension(&mut node, &String::from_utf8_lossy(extension.key_bytes()), extension.value_bytes());
        }
    }
    if kind == "file" {
        entry.read_to_end(&mut node.data)?;
    }
    Ok(node)
}

fn set_extension(node: &mut Node, key: &str, value: &[u8]) {
    let value = String::from_utf8_lossy(value).into_owned();
    match key {
        "uid" => node.uid = value.parse().unwrap_or(u64::MAX),
        "gid" => node.gid = value.parse().unwrap_or(u64::MAX),
        "mtime" => node.mtime = value.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(i64::MAX),
        _ => {
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                node.xattrs.insert(name.to_owned(), value);
            }
        }
    }
}

fn remove_below(files: &mut Files, directory: &str) {
    let below = format!("{directory}/");
    files.retain(|path, _| !path.starts_with(&below));
}

/// `path` as an absolute path without `.`, `..` and doubled slashes.
pub fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}
