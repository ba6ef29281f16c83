//! The image config (image-spec, config.md) with the fields Docker adds.
//!
//! Reading is lenient: lists and maps may be missing or `null`, and what BuildKit's types do not have is left out. Writing
//! is as BuildKit does it, byte for byte: the outer keys by name (`created`, `history` and `rootfs` always, `null` when
//! there is nothing), the inner ones in the order of Go's structs, empty ones left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time;
use crate::digest::DiffId;

/// What an image is made for and made of, and how to run it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Processor architecture in Go's spelling, for example `amd64`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Who made it (`MAINTAINER`).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// How containers of this image run.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ContainerConfig,
    /// When the image was made, RFC 3339.
    #[serde(default, deserialize_with = "as_go_writes_it")]
    pub created: Option<String>,
    /// How each layer came to be, oldest first; entries without a layer are marked.
    #[serde(default, deserialize_with = "null_is_default", serialize_with = "list_or_null")]
    pub history: Vec<History>,
    /// kiln's own: records of the steps that made the layers (`--cache-to type=inline`). Of this image only, not of one built on it.
    #[serde(rename = "io.kiln.cache.v1", default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<serde_json::Value>,
    /// Operating system in Go's spelling, for example `linux`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// What the operating system must be able to do; Windows images only.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Version of the operating system; Windows images only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// Variant of the architecture, for example `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// The layers of an image by their uncompressed digests.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
    /// Diff ids, bottom first.
    #[serde(default, deserialize_with = "null_is_default", serialize_with = "list_or_null")]
    pub diff_ids: Vec<DiffId>,
}

impl RootFs {
    /// Makes a root file system of these layers, bottom first.
    pub fn of(diff_ids: Vec<DiffId>) -> Self {
        Self { kind: layers(), diff_ids }
    }
}

impl Default for RootFs {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

/// How containers of an image run. The keys are written as Docker writes them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// User, `name|uid[:group|gid]`; empty means root.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports as `80/tcp`.
    #[serde(default, with = "object_as_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// Environment as `NAME=value`, in order.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Leading words of the command line.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Command, or arguments of the entrypoint.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Paths of volumes.
    #[serde(default, with = "object_as_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Working directory; empty means `/`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels by name.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that stops a container, for example `SIGTERM`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Windows: the command is already escaped.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// How to see whether a container is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions to run in a build that starts from this image.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Words put before commands in shell form.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// How to see whether a container is healthy. Times are nanoseconds; zero means the runtime's default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", args..]` or `["CMD-SHELL", command]`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Nanoseconds between two checks.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Nanoseconds after which a check has failed.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Nanoseconds at the start in which failures do not count.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Nanoseconds between two checks during the start.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make a container unhealthy.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// How one layer, or one change of the config, came to be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, deserialize_with = "as_go_writes_it", skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A remark.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether this entry made no layer.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

fn layers() -> String {
    "layers".to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Go writes an empty list or map as `null` when it was never made.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A Go list that was never made is `null`.
fn list_or_null<S: Serializer, T: Serialize>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    if list.is_empty() { serializer.serialize_none() } else { list.serialize(serializer) }
}

/// Times of base images come out again as Go writes them.
fn as_go_writes_it<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| time::as_go_writes_it(&text)))
}

/// A Go `map[string]struct{}`: an object whose values say nothing.
mod object_as_set {
    use serde::de::IgnoredAny;

    use super::{BTreeMap, BTreeSet, Deserializer, Serializer, null_is_default};

    #[derive(serde::Serialize)]
    struct Nothing {}

    pub(super) fn serialize<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(set.iter().map(|name| (name, Nothing {})))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
        let map: BTreeMap<String, IgnoredAny> = null_is_default(deserializer)?;
        Ok(map.into_keys().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::to_json;

    #[track_caller]
    fn check(given: &str, written: &str) {
        let config: ImageConfig = serde_json::from_str(given).unwrap();
        assert_eq!(String::from_utf8(to_json(&config)).unwrap(), written);
    }

    #[test]
    fn every_field_comes_back_in_the_order_buildkit_writes() {
        let text = concat!(
            r#"{"architecture":"arm","author":"me","#,
            r#""config":{"User":"1:2","ExposedPorts":{"53/udp":{},"80/tcp":{}},"Env":["B=1","A=2"],"Entrypoint":["/e"],"Cmd":["c"],"#,
            r#""Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"a":"1","b":"2"},"StopSignal":"SIGINT","ArgsEscaped":true,"#,
            r#""Healthcheck":{"Test":["CMD","x"],"Interval":30000000000,"Timeout":1,"StartPeriod":2,"StartInterval":3,"Retries":4},"#,
            r#""OnBuild":["RUN x"],"Shell":["/bin/bash","-c"]},"created":"2024-01-01T00:00:00Z","#,
            r#""history":[{"created":"2024-01-01T00:00:00Z","created_by":"RUN x","author":"a","comment":"c"},{"created_by":"CMD","empty_layer":true}],"#,
            r#""os":"linux","os.features":["f"],"os.version":"1","#,
            r#""rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"#,
            r#""variant":"v7"}"#,
        );
        check(text, text);
    }

    #[test]
    fn missing_and_null_and_empty_are_the_same() {
        let empty = concat!(
            r#"{"architecture":"","config":{},"created":null,"history":null,"os":"","#,
            r#""rootfs":{"type":"layers","diff_ids":null}}"#,
        );
        check("{}", empty);
        check(
            r#"{"created":null,"config":{"Env":null,"Volumes":null,"Labels":null,"Cmd":null,"OnBuild":null,"User":null,"Healthcheck":null},
                "rootfs":{"type":"layers","diff_ids":null},"history":null}"#,
            empty,
        );
        check(r#"{"author":"","config":{"Cmd":[],"Entrypoint":[],"Shell":[],"StopSignal":"","Labels":{}}}"#, empty);
        check(r#"{"config":null,"rootfs":null}"#, empty);
    }

    #[test]
    fn what_buildkit_does_not_know_is_left_out() {
        let given = r#"{"docker_version":"1","moby.buildkit.cache.v0":"x","config":{"Hostname":"h","Cmd":["c"]},"history":[{"x":1}]}"#;
        let config: ImageConfig = serde_json::from_str(given).unwrap();
        let text = String::from_utf8(to_json(&config)).unwrap();
        assert!(text.contains(r#""config":{"Cmd":["c"]},"created":null,"history":[{}],"os""#), "{text}");
        assert!(!text.contains("docker_version") && !text.contains("moby"), "{text}");
    }
}
