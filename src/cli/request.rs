//! From the command line as typed to a [`BuildRequest`] that says all of it.
//!
//! Arguments and an [`Environment`] go in; the few looks at files and standard input on the way are calls
//! of [`super::environment`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::args::{BuildArguments, ForeignArguments};
use super::environment::Environment;
use super::usage::UsageError;
use super::{annotations, attestations, caches, call, limits, names, outputs, registries, secrets, sources};
use crate::builder::{BuildRequest, Call, Entitlement, Network, RegistrySettings, Which};
use crate::sandbox::idmap::Entered;
use crate::snapshot::Snapshotter;

/// Resolves `typed` against the machine.
pub(super) fn build_request(typed: &BuildArguments, environment: &Environment) -> Result<BuildRequest, UsageError> {
    refuse(&typed.foreign)?;
    let call = call::call(typed)?.call;
    let build_args = build_args(&typed.build_arg, environment);
    let outputs = outputs::outputs(&typed.output, typed.push, typed.load.as_deref(), environment)?;
    let annotations = annotations::annotations(&typed.annotation)?;
    let tags = names::tags("--tag", typed.tag.iter().map(String::as_str))?;
    let mut insecure_hosts = typed.insecure.clone();
    if outputs.is_insecure {
        insecure_hosts.extend(outputs::registries(&tags, &outputs.outputs));
    }
    let network = network(typed.network.as_deref())?;
    let (context, dockerfile) = sources::context_and_dockerfile(&typed.context, typed.file.as_deref(), environment)?;
    let ssh = match typed.ssh.as_slice() {
        // Without an agent the fetch says what is missing: `--ssh` is nothing that the user typed.
        [] if sources::is_by_ssh(&context) => secrets::ssh(&["default".to_owned()], environment).unwrap_or_default(),
        typed => secrets::ssh(typed, environment)?,
    };
    Ok(BuildRequest {
        store: environment.store(typed.store.store.as_deref())?,
        context,
        dockerfile,
        tags,
        target: typed.target.clone().filter(|target| !target.is_empty()),
        build_args,
        build_contexts: sources::named_contexts(&typed.build_context, environment)?,
        labels: labels(&typed.label)?,
        annotations,
        secrets: secrets::secrets(&typed.secret, environment)?,
        ssh,
        network,
        allow: entitlements(&typed.allow, network)?,
        devices: typed.device.clone(),
        add_hosts: typed.add_host.iter().map(|text| add_host(text)).collect::<Result<_, _>>()?,
        limits: limits::limits(&typed.limits)?,
        platforms: names::platforms(&typed.platform)?,
        no_cache: no_cache(typed)?,
        require_cached: require_cached(typed)?,
        explain: typed.explain,
        shared_caches: caches::shared_caches(&typed.cache_from, &typed.cache_to, environment)?,
        pull: typed.pull,
        attestations: attestations::attestations(&typed.attestations)?,
        outputs: if call == Call::Build { outputs.outputs } else { Vec::new() },
        now: environment.now,
        registry: RegistrySettings {
            insecure_hosts,
            files: registries::files(environment),
            proxies: registries::proxies(environment),
        },
        jobs: typed.jobs.filter(|jobs| *jobs > 0),
        reproducible: typed.reproducible,
        verify_reproducible: typed.verify_reproducible,
        call,
        snapshotter: snapshotter(typed.snapshotter.as_deref())?,
        entered: Entered::default(),
        known_hosts: environment.known_hosts(),
        host_resolv_conf: environment.resolv_conf.clone(),
    })
}

/// Refuses the flags that kiln knows by name only, unless they ask for what happens anyway.
fn refuse(foreign: &ForeignArguments) -> Result<(), UsageError> {
    let asked = |value: &Option<String>| value.as_deref().is_some_and(|value| value != "false" && value != "0");
    let known = [
        ("--security-opt", !foreign.security_opt.is_empty(), ""),
        ("--squash", asked(&foreign.squash), ": build in one stage and copy the result into another"),
    ];
    match known.into_iter().find(|(_, given, _)| *given) {
        Some((flag, _, detail)) => Err(UsageError::NotYet { flag: flag.to_owned(), detail }),
        None => Ok(()),
    }
}

/// A name alone takes the environment's value, and is left out when there is none. The environment's
/// `SOURCE_DATE_EPOCH` is such a name without being typed.
fn build_args(typed: &[String], environment: &Environment) -> Vec<(String, String)> {
    let one = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.clone(), environment.variables.get(text)?.clone())),
    };
    let mut all: Vec<(String, String)> = typed.iter().filter_map(one).collect();
    let epoch = environment.variable(SOURCE_DATE_EPOCH);
    if let Some(epoch) = epoch.filter(|_| all.iter().all(|(name, _)| name != SOURCE_DATE_EPOCH)) {
        all.push((SOURCE_DATE_EPOCH.to_owned(), epoch.to_owned()));
    }
    all
}

const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

fn labels(typed: &[String]) -> Result<BTreeMap<String, String>, UsageError> {
    let one = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let complain = || UsageError::malformed("--label", text, "expected NAME=VALUE");
        if name.is_empty() { Err(complain()) } else { Ok((name.to_owned(), value.to_owned())) }
    };
    typed.iter().map(one).collect()
}

fn network(typed: Option<&str>) -> Result<Network, UsageError> {
    match typed {
        None | Some("" | "default") => Ok(Network::Default),
        Some("none") => Ok(Network::None),
        Some("host") => Ok(Network::Host),
        Some(other) => Err(UsageError::unknown("--network", other, other, &["default", "none", "host"])),
    }
}

/// Whether steps run without namespaces.
pub(super) fn is_unisolated(typed: Option<&str>) -> Result<bool, UsageError> {
    match typed {
        None | Some("" | "default") => Ok(false),
        Some("chroot") => Ok(true),
        Some(other) => Err(UsageError::malformed("--isolation", other, "expected default or chroot")),
    }
}

fn snapshotter(typed: Option<&str>) -> Result<Option<Snapshotter>, UsageError> {
    match typed {
        None | Some("") => Ok(None),
        Some("overlay") => Ok(Some(Snapshotter::Overlay)),
        Some("copy") => Ok(Some(Snapshotter::Copy)),
        Some(other) => Err(UsageError::malformed("--snapshotter", other, "expected overlay or copy")),
    }
}

/// Who asks for the host's network on the command line also allows it to the Dockerfile.
fn entitlements(typed: &[String], network: Network) -> Result<BTreeSet<Entitlement>, UsageError> {
    let one = |text: &String| match text.as_str() {
        "network.host" => Ok(Entitlement::NetworkHost),
        "security.insecure" => Ok(Entitlement::SecurityInsecure),
        "device" => Ok(Entitlement::Devices),
        other => match other.strip_prefix("device=").filter(|name| !name.is_empty()) {
            Some(name) => Ok(Entitlement::Device(name.strip_prefix("name=").unwrap_or(name).to_owned())),
            None => {
                let known = ["network.host", "security.insecure", "device", "device=NAME"];
                Err(UsageError::unknown("--allow", other, other, &known))
            }
        },
    };
    let mut all: BTreeSet<Entitlement> = typed.iter().map(one).collect::<Result<_, _>>()?;
    if network == Network::Host {
        all.insert(Entitlement::NetworkHost);
    }
    Ok(all)
}

/// `HOST=IP` or `HOST:IP`; an IPv6 address may stand in brackets. There is no `host-gateway`: a step
/// has no way to the services of its host.
fn add_host(text: &str) -> Result<(String, String), UsageError> {
    let malformed = |expected: String| UsageError::malformed("--add-host", text, expected);
    let (host, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| malformed("bad format for add-host: expected HOST:IP".to_owned()))?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare == "host-gateway" {
        let why =
            "unable to derive the IP value for host-gateway: a step has no address of the services of this machine";
        return Err(malformed(format!("{why}; give one that it can reach, or `--network host`")));
    }
    if bare.parse::<IpAddr>().is_err() {
        return Err(malformed(format!("invalid IP address in add-host: `{address}`")));
    }
    Ok((host.to_owned(), bare.to_owned()))
}

fn no_cache(typed: &BuildArguments) -> Result<Which, UsageError> {
    match (typed.no_cache, typed.no_cache_filter.is_empty()) {
        (true, false) => Err(UsageError::Conflict { one: "--no-cache", other: "--no-cache-filter" }),
        (true, true) => Ok(Which::All),
        (false, true) => Ok(Which::None),
        (false, false) => Ok(Which::Stages(typed.no_cache_filter.clone())),
    }
}

/// An empty name is every stage.
fn require_cached(typed: &BuildArguments) -> Result<Which, UsageError> {
    let names = &typed.require_cached;
    if !names.is_empty() && typed.no_cache {
        return Err(UsageError::Conflict { one: "--no-cache", other: "--require-cached" });
    }
    Ok(match names.iter().any(String::is_empty) {
        true => Which::All,
        false if names.is_empty() => Which::None,
        false => Which::Stages(names.clone()),
    })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
