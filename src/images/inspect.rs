//! What an image says of itself, in the shapes that `docker inspect` and `docker history` have.

use serde_json::{Value, json};

use super::Image;
use crate::digest::Digest;
use crate::oci::{ContainerConfig, Reference};

/// Returns the object that `docker inspect` shows of an image with all its `names`. Sizes are those of the layers as they are stored.
pub fn inspect(image: &Image, names: &[String]) -> Value {
    let config = &image.config;
    let digests = names.iter().filter_map(|name| Reference::parse(name).ok());
    let mut digests: Vec<String> = digests.map(|name| format!("{}@{}", name.familiar_name(), image.digest)).collect();
    digests.dedup();
    let mut shown = json!({
        "Id": image.id,
        "RepoTags": names,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": config.history.last().map_or("", |entry| &entry.comment),
        "Created": config.created,
        "DockerVersion": "",
        "Author": config.author,
        "Config": container_config(&config.config),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size(),
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        "Descriptor": {
            "mediaType": image.target.media_type(),
            "digest": image.digest,
            "size": image.target.size(),
        },
    });
    for (name, value) in [("Variant", &config.variant), ("OsVersion", &config.os_version)] {
        if let Some(value) = value {
            shown[name] = json!(value);
        }
    }
    shown
}

/// Docker shows these fields whether they are set or not, and the rest only if they are.
fn container_config(config: &ContainerConfig) -> Value {
    let mut shown = json!({
        "User": "", "Env": null, "Cmd": null, "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null,
        "Labels": null,
    });
    let written = serde_json::to_value(config).expect("a config is strings, numbers, lists and maps");
    if let (Some(shown), Value::Object(written)) = (shown.as_object_mut(), written) {
        shown.extend(written);
    }
    shown
}

/// One line of the history of an image, newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    /// The image id, for the newest.
    pub id: Option<Digest>,
    /// When, RFC 3339.
    pub created: Option<String>,
    /// The instruction.
    pub created_by: String,
    /// Bytes of its layer as it is stored; 0 without one.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

/// Returns the history of an image, newest first.
pub fn history(image: &Image) -> Vec<HistoryEntry> {
    let mut layers = image.manifest.layers().iter();
    let entries = image.config.history.iter().map(|entry| HistoryEntry {
        id: None,
        created: entry.created.clone(),
        created_by: entry.created_by.clone(),
        size: if entry.empty_layer { 0 } else { layers.next().map_or(0, |layer| layer.size()) },
        comment: entry.comment.clone(),
    });
    let mut entries: Vec<HistoryEntry> = entries.collect();
    entries.reverse();
    if let Some(newest) = entries.first_mut() {
        newest.id = Some(image.id);
    }
    entries
}
