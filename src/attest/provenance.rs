//! How an image came to be: SLSA provenance v1 (<https://slsa.dev/spec/v1.1/provenance>), with the build type of BuildKit, whose page "SLSA
//! definitions" says what stands where.
//!
//! | field                                   | `min`                                | `max`                                   |
//! |-----------------------------------------|--------------------------------------|-----------------------------------------|
//! | `externalParameters.configSource`       | Dockerfile, remote context           | the same                                |
//! | `externalParameters.request`            | target, contexts                     | and build arguments, labels, ids of secrets and agents |
//! | `internalParameters`                    | platform of the builder              | and the steps                           |
//! | `resolvedDependencies`                  | images, files and repositories, by digest | the same                           |
//! | `runDetails.metadata`                   | what is known to be complete         | and when, an id of the build, the Dockerfile |
//!
//! So `min` says nothing that another build of the same sources would not say again: its bytes repeat. It names what was fetched by its
//! address, whatever went into that, without users, passwords and queries. The values of secrets are nowhere, nor are those of the predefined
//! arguments for proxies; those of other build arguments are in `max`, as they are in the history of the image.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::in_toto::Predicate;
use crate::fsutil::Timestamp;
use crate::oci::rfc3339;

/// The type of the predicate.
pub const PREDICATE: &str = "https://slsa.dev/provenance/v1";

const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// Something a build was made of that came from elsewhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Dependency {
    /// Where it came from: a package URL, or an address without credentials and query.
    pub uri: String,
    /// The algorithm of its digest: `sha256`, or `sha1` for many repositories.
    pub algorithm: String,
    /// Its digest in hex digits.
    pub digest: String,
}

impl Dependency {
    fn digests(&self) -> Value {
        let mut digests = serde_json::Map::new();
        digests.insert(self.algorithm.clone(), json!(self.digest));
        Value::Object(digests)
    }
}

/// All that is known of a build.
#[derive(Clone, Debug, Default)]
pub struct Build {
    /// The context, if it came from elsewhere.
    pub source: Option<Dependency>,
    /// The path of the Dockerfile.
    pub dockerfile: String,
    /// `target`, `context:NAME`, .. as BuildKit calls them.
    pub arguments: BTreeMap<String, String>,
    /// What of the user's directories was read: `context`, `dockerfile`.
    pub locals: Vec<String>,
    /// What came from elsewhere.
    pub dependencies: Vec<Dependency>,
    /// The platform of this machine.
    pub builder_platform: String,
    /// Who built it, if the user says: a URI.
    pub builder: Option<String>,
    /// Whether no step had a network. What was read of the user's directories is not fixed either, as BuildKit sees it.
    pub is_hermetic: bool,
    /// Whether the user says that the same build gives the same image.
    pub is_reproducible: bool,
    /// What only `max` tells.
    pub details: Option<Details>,
}

/// What only `max` tells.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// `build-arg:NAME`, `label:NAME`.
    pub arguments: BTreeMap<String, String>,
    /// Ids of secrets, never their values.
    pub secrets: Vec<String>,
    /// Ids of ssh agents.
    pub agents: Vec<String>,
    /// The steps, inputs first.
    pub steps: Vec<Step>,
    /// The text of the Dockerfile.
    pub text: String,
    /// When the build began and ended, and what tells it from others. `None` where all of a build repeats (SOURCE_DATE_EPOCH).
    pub run: Option<(Timestamp, Timestamp, String)>,
}

/// A step of a build.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it does, in the words of BuildKit's `pb.Op`.
    pub op: Value,
    /// Places of the steps whose results it needs.
    pub inputs: Vec<usize>,
    /// Its first and last line in the Dockerfile; `None` for a trigger of a base image.
    pub lines: Option<(u32, u32)>,
}

/// Writes what is known.
pub fn provenance(build: &Build) -> Predicate {
    let mut value = json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": { "configSource": source(build), "request": request(build) },
            "internalParameters": internal(build),
            "resolvedDependencies": dependencies(&build.dependencies),
        },
        "runDetails": { "builder": builder(build), "metadata": metadata(build) },
    });
    if build.dependencies.is_empty()
        && let Some(definition) = value["buildDefinition"].as_object_mut()
    {
        definition.remove("resolvedDependencies");
    }
    Predicate { kind: PREDICATE, value }
}

fn source(build: &Build) -> Value {
    match &build.source {
        Some(source) => json!({ "uri": source.uri, "digest": source.digests(), "path": build.dockerfile }),
        None => json!({ "path": build.dockerfile }),
    }
}

fn request(build: &Build) -> Value {
    let mut arguments = build.arguments.clone();
    let mut request = json!({ "frontend": "dockerfile.v0" });
    if let Some(details) = &build.details {
        arguments.extend(details.arguments.clone());
        let named = |ids: &[String]| ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>();
        for (name, ids) in [("secrets", &details.secrets), ("ssh", &details.agents)] {
            if !ids.is_empty() {
                request[name] = json!(named(ids));
            }
        }
    }
    if !arguments.is_empty() {
        request["args"] = json!(arguments);
    }
    if !build.locals.is_empty() {
        request["locals"] = build.locals.iter().map(|name| json!({ "name": name })).collect();
    }
    request
}

fn internal(build: &Build) -> Value {
    let mut internal = json!({ "builderPlatform": build.builder_platform });
    if let Some(details) = &build.details {
        let id = |at: usize| format!("step{at}");
        let steps = details.steps.iter().enumerate().map(|(at, step)| {
            let inputs: Vec<String> = step.inputs.iter().map(|input| format!("{}:0", id(*input))).collect();
            json!({ "id": id(at), "op": step.op, "inputs": inputs })
        });
        internal["buildConfig"] = json!({ "llbDefinition": steps.collect::<Vec<_>>() });
    }
    internal
}

fn dependencies(all: &[Dependency]) -> Vec<Value> {
    all.iter().map(|one| json!({ "uri": one.uri, "digest": one.digests() })).collect()
}

fn builder(build: &Build) -> Value {
    let kiln = concat!("pkg:generic/kiln@", env!("CARGO_PKG_VERSION"));
    json!({
        "id": build.builder.as_deref().unwrap_or(kiln),
        "version": { "kiln": env!("CARGO_PKG_VERSION") },
    })
}

fn metadata(build: &Build) -> Value {
    let mut metadata = json!({
        "buildkit_completeness": {
            "request": build.details.is_some(),
            // What a directory holds has no digest.
            "resolvedDependencies": build.locals.is_empty(),
        },
        "buildkit_hermetic": build.is_hermetic && build.locals.is_empty(),
        "buildkit_reproducible": build.is_reproducible,
    });
    let Some(details) = &build.details else { return metadata };
    if let Some((started, finished, id)) = &details.run {
        metadata["invocationId"] = json!(id);
        metadata["startedOn"] = json!(rfc3339(*started));
        metadata["finishedOn"] = json!(rfc3339(*finished));
    }
    let place =
        |(first, last): (u32, u32)| json!([{ "ranges": [{ "start": { "line": first }, "end": { "line": last } }] }]);
    let locations = details.steps.iter().enumerate();
    let locations =
        locations.filter_map(|(at, step)| Some((format!("step{at}"), json!({ "locations": place(step.lines?) }))));
    metadata["buildkit_metadata"] = json!({
        "source": {
            "locations": locations.collect::<serde_json::Map<_, _>>(),
            "infos": [{
                "filename": build.dockerfile,
                "language": "Dockerfile",
                "data": STANDARD.encode(&details.text),
            }],
        },
    });
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(details: Option<Details>) -> Build {
        Build {
            dockerfile: "Dockerfile".to_owned(),
            arguments: BTreeMap::from([("target".to_owned(), "app".to_owned())]),
            locals: vec!["context".to_owned()],
            dependencies: vec![Dependency {
                uri: "pkg:docker/a@1".to_owned(),
                algorithm: "sha256".to_owned(),
                digest: "ab".to_owned(),
            }],
            builder_platform: "linux/amd64".to_owned(),
            details,
            ..Build::default()
        }
    }

    #[test]
    fn the_least_says_nothing_that_was_given() {
        let value = provenance(&build(None)).value;
        let definition = &value["buildDefinition"];
        assert_eq!(definition["externalParameters"]["configSource"], json!({"path": "Dockerfile"}));
        let request = json!({"frontend": "dockerfile.v0", "args": {"target": "app"}, "locals": [{"name": "context"}]});
        assert_eq!(definition["externalParameters"]["request"], request);
        assert_eq!(definition["internalParameters"], json!({"builderPlatform": "linux/amd64"}));
        assert_eq!(definition["resolvedDependencies"], json!([{"uri": "pkg:docker/a@1", "digest": {"sha256": "ab"}}]));
        let metadata = &value["runDetails"]["metadata"];
        assert_eq!(metadata["buildkit_completeness"], json!({"request": false, "resolvedDependencies": false}));
        assert!(metadata.get("startedOn").is_none());
    }

    #[test]
    fn the_most_tells_arguments_steps_and_times() {
        let time = Timestamp::from_seconds;
        let details = Details {
            arguments: BTreeMap::from([("build-arg:A".to_owned(), "b".to_owned())]),
            secrets: vec!["token".to_owned()],
            steps: vec![
                Step { op: json!({"one": 1}), inputs: vec![], lines: None },
                Step { op: json!({"two": 2}), inputs: vec![0], lines: Some((2, 3)) },
            ],
            text: "FROM x\n".to_owned(),
            run: Some((time(0), time(1), "id".to_owned())),
            ..Details::default()
        };
        let value = provenance(&build(Some(details))).value;
        let request = &value["buildDefinition"]["externalParameters"]["request"];
        assert_eq!(request["args"], json!({"target": "app", "build-arg:A": "b"}));
        assert_eq!(request["secrets"], json!([{"id": "token"}]));
        let steps = &value["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"];
        assert_eq!(steps[1], json!({"id": "step1", "op": {"two": 2}, "inputs": ["step0:0"]}));
        let metadata = &value["runDetails"]["metadata"];
        assert_eq!(metadata["finishedOn"], "1970-01-01T00:00:01Z");
        let source = &metadata["buildkit_metadata"]["source"];
        assert_eq!(source["infos"][0]["data"], "RlJPTSB4Cg==");
        assert_eq!(source["locations"]["step1"]["locations"][0]["ranges"][0]["end"]["line"], 3);
    }
}
