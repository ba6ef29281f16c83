//! Which engine `--load` means, and where docker's daemon is: `DOCKER_HOST`, or the context that docker's own program would use.
//!
//! A context is `$DOCKER_CONFIG/contexts/meta/<sha256 of its name>/meta.json` (`~/.docker`); `DOCKER_CONTEXT` or `currentContext`
//! of `config.json` names it.

use std::path::PathBuf;

use serde::Deserialize;

use super::environment::{Environment, machine_text};
use super::usage::UsageError;
use crate::builder::EngineChoice;
use crate::digest::Digest;

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
const DEFAULT: &str = "default";

/// Reads the value of `--load`; `None` is not to load.
pub(super) fn choice(typed: Option<&str>) -> Result<Option<EngineChoice>, UsageError> {
    Ok(Some(match typed {
        None | Some("false" | "0") => return Ok(None),
        Some("true" | "1") => EngineChoice::Any,
        Some("docker") => EngineChoice::Docker,
        Some("podman") => EngineChoice::Podman,
        Some("containerd") => EngineChoice::Containerd,
        Some("kiln") => EngineChoice::Store,
        Some(other) => {
            let known = ["true", "false", "docker", "podman", "containerd", "kiln"];
            return Err(UsageError::unknown("--load", other, other, &known));
        }
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Endpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    #[serde(default)]
    host: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    current_context: String,
}

/// Returns the address of the daemon. `context` is one that an output names.
pub(super) fn docker_host(context: Option<&str>, environment: &Environment) -> Result<String, UsageError> {
    let set = |name: &str| environment.variable(name).filter(|value| !value.is_empty());
    let from_variable = || set("DOCKER_HOST").unwrap_or(DEFAULT_HOST).to_owned();
    if let Some(name) = context {
        return if name == DEFAULT { Ok(from_variable()) } else { of_context(name, environment) };
    }
    if set("DOCKER_HOST").is_some() {
        return Ok(from_variable());
    }
    let name = set("DOCKER_CONTEXT").map(str::to_owned).or_else(|| current(environment));
    match name.filter(|name| !name.is_empty() && name != DEFAULT) {
        Some(name) => of_context(&name, environment),
        None => Ok(DEFAULT_HOST.to_owned()),
    }
}

/// Where docker's program keeps what it knows.
fn directory(environment: &Environment) -> Option<PathBuf> {
    let home = || environment.variable("HOME").map(|home| environment.absolute(home).join(".docker"));
    environment.variable("DOCKER_CONFIG").map(|path| environment.absolute(path)).or_else(home)
}

fn text(environment: &Environment, below: &str) -> Option<String> {
    machine_text(directory(environment)?.join(below).to_str()?)
}

fn current(environment: &Environment) -> Option<String> {
    let configuration: Configuration = serde_json::from_str(&text(environment, "config.json")?).ok()?;
    Some(configuration.current_context)
}

fn of_context(name: &str, environment: &Environment) -> Result<String, UsageError> {
    let file = format!("contexts/meta/{}/meta.json", Digest::of(name.as_bytes()).hex());
    let meta = text(environment, &file).and_then(|text| serde_json::from_str::<Meta>(&text).ok());
    match meta.map(|meta| meta.endpoints.docker.host).filter(|host| !host.is_empty()) {
        Some(host) => Ok(host),
        None => {
            let expected =
                format!("docker has no context of this name with an address (`{file}` in its configuration)");
            Err(UsageError::malformed("the docker context", name, expected))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_where_docker_looks_for_it() {
        let scratch = tempfile::tempdir().unwrap();
        let meta = scratch.path().join("contexts/meta").join(Digest::of(b"far").hex());
        std::fs::create_dir_all(&meta).unwrap();
        let text =
            r#"{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://far:1","SkipTLSVerify":false}}}"#;
        std::fs::write(meta.join("meta.json"), text).unwrap();
        let at = |variables: &[(&str, &str)], context| {
            let mut environment = Environment { directory: PathBuf::from("/w"), ..Environment::default() };
            let configuration = scratch.path().display().to_string();
            environment.variables.insert("DOCKER_CONFIG".to_owned(), configuration);
            environment
                .variables
                .extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            docker_host(context, &environment).unwrap_or_else(|error| error.to_string())
        };
        assert_eq!(at(&[], None), DEFAULT_HOST);
        assert_eq!(at(&[("DOCKER_HOST", "tcp://near:2")], None), "tcp://near:2");
        assert_eq!(at(&[("DOCKER_CONTEXT", "far")], None), "tcp://far:1");
        assert_eq!(at(&[("DOCKER_HOST", "tcp://near:2"), ("DOCKER_CONTEXT", "far")], None), "tcp://near:2");
        assert_eq!(at(&[("DOCKER_HOST", "tcp://near:2")], Some("far")), "tcp://far:1");
        assert_eq!(at(&[], Some(DEFAULT)), DEFAULT_HOST);
        assert!(at(&[], Some("nowhere")).contains("no context of this name"));
        std::fs::write(scratch.path().join("config.json"), r#"{"currentContext":"far"}"#).unwrap();
        assert_eq!(at(&[], None), "tcp://far:1");
    }

    #[test]
    fn the_engine_is_read() {
        assert_eq!(choice(None).unwrap(), None);
        assert_eq!(choice(Some("false")).unwrap(), None);
        assert_eq!(choice(Some("true")).unwrap(), Some(EngineChoice::Any));
        assert_eq!(choice(Some("kiln")).unwrap(), Some(EngineChoice::Store));
        assert!(choice(Some("podmn")).unwrap_err().to_string().contains("did you mean `podman`"));
    }
}
