//! A plan as text, one fact per line: what tests compare, and what whoever works on plans looks at.
//!
//! What is as it is by default (the network, the sandbox, the host name) is left out.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

use super::graph::{CopyOp, CopySource, MountKind, Op, Root, RunMount, RunNetwork, RunOp, Tree, WorkdirOp};
use super::{DEFAULT_HOSTNAME, HistoryItem, Plan, StepId};
use crate::context::GitAddress;
use crate::oci::ImageConfig;

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "steps")?;
        for (number, step) in self.graph.steps.iter().enumerate() {
            let note = match (step.ignore_cache, step.require_cached) {
                (true, _) => " (not from the cache)",
                (false, true) => " (from the cache alone)",
                (false, false) => "",
            };
            writeln!(f, "  {number}: {}{note}", step.name)?;
            match &step.op {
                Op::Image(image) => writeln!(f, "    image {} of {} layers", image.reference, image.layers.len())?,
                Op::Run(run) => write_run(f, run)?,
                Op::Copy(copy) => write_copy(f, copy)?,
                Op::Workdir(workdir) => write_workdir(f, workdir)?,
            }
        }
        writeln!(f, "image is {}", Filesystem(self.root))?;
        writeln!(f, "\nconfig")?;
        write_config(f, &self.config)?;
        writeln!(f, "\nhistory")?;
        self.history.iter().try_for_each(|item| match item {
            HistoryItem::Inherited(entry) => {
                writeln!(f, "  inherited: {}", entry.created_by)
            }
            HistoryItem::New { created_by, layer: Some(StepId(step)) } => writeln!(f, "  step {step}: {created_by:?}"),
            HistoryItem::New { created_by, layer: None } => writeln!(f, "  no layer: {created_by:?}"),
        })
    }
}

/// A filesystem by its step.
struct Filesystem(Root);

impl Display for Filesystem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(StepId(step)) => write!(f, "step {step}"),
            None => f.write_str("scratch"),
        }
    }
}

fn write_run(f: &mut Formatter<'_>, run: &RunOp) -> fmt::Result {
    writeln!(f, "    run on {}", Filesystem(run.parent))?;
    writeln!(f, "    argv {:?}", run.argv)?;
    if let Some((path, body)) = &run.script {
        writeln!(f, "    script {path} {body:?}")?;
    }
    for (name, value) in &run.env {
        writeln!(f, "    env {name}={value:?}")?;
    }
    for (name, value) in &run.proxies {
        writeln!(f, "    proxy {name}={value:?}")?;
    }
    writeln!(f, "    cwd {}", run.cwd)?;
    if !run.user.is_empty() {
        writeln!(f, "    user {}", run.user)?;
    }
    match run.network {
        RunNetwork::Default => {}
        RunNetwork::None => writeln!(f, "    network none")?,
        RunNetwork::Host => writeln!(f, "    network host")?,
    }
    if run.insecure {
        writeln!(f, "    security insecure")?;
    }
    for device in &run.devices {
        writeln!(f, "    device {}{}", device.name, if device.required { " required" } else { "" })?;
    }
    if run.hostname != DEFAULT_HOSTNAME {
        writeln!(f, "    hostname {}", run.hostname)?;
    }
    for (name, address) in &run.add_hosts {
        writeln!(f, "    host {name} is {address}")?;
    }
    run.mounts.iter().try_for_each(|mount| write_mount(f, mount))
}

fn write_mount(f: &mut Formatter<'_>, mount: &RunMount) -> fmt::Result {
    let access = if mount.readonly { "ro" } else { "rw" };
    let target = if mount.target.is_empty() { "nowhere" } else { &mount.target };
    write!(f, "    mount at {target} {access}: ")?;
    let required = |required: bool| if required { " required" } else { "" };
    match &mount.kind {
        MountKind::Bind { from, source } => writeln!(f, "bind {source} of {}", Filesystem(*from)),
        MountKind::Cache { id, explicit_id, sharing, from, mode, uid, gid } => {
            let named = if *explicit_id { "named" } else { "unnamed" };
            write!(f, "cache {id} {named} {sharing:?} {mode:04o} {uid}:{gid}")?;
            if let Some((root, path)) = from {
                write!(f, " from {path} of {}", Filesystem(*root))?;
            }
            writeln!(f)
        }
        MountKind::Tmpfs { size: Some(bytes) } => writeln!(f, "tmpfs of {bytes} bytes"),
        MountKind::Tmpfs { size: None } => writeln!(f, "tmpfs"),
        MountKind::Secret { id, env, required: is_required, mode, uid, gid } => {
            let variable = env.as_ref().map(|name| format!(" in ${name}")).unwrap_or_default();
            writeln!(f, "secret {id}{variable} {mode:04o} {uid}:{gid}{}", required(*is_required))
        }
        MountKind::Ssh { id, required: is_required, mode, uid, gid } => {
            writeln!(f, "ssh {id} {mode:04o} {uid}:{gid}{}", required(*is_required))
        }
    }
}

fn write_copy(f: &mut Formatter<'_>, copy: &CopyOp) -> fmt::Result {
    let verb = if copy.add.is_some() { "add" } else { "copy" };
    write!(f, "    {verb} on {} from ", Filesystem(copy.parent))?;
    match &copy.from {
        Tree::Context(None) => writeln!(f, "context")?,
        Tree::Context(Some(name)) => writeln!(f, "context {name}")?,
        Tree::Root(root) => writeln!(f, "{}", Filesystem(*root))?,
    }
    for source in &copy.sources {
        match source {
            CopySource::Path { path, .. } => writeln!(f, "    path {path:?}")?,
            CopySource::InPlace { path, .. } => writeln!(f, "    path {path:?} in its place")?,
            CopySource::Inline { name, text } => writeln!(f, "    heredoc {name} {text:?}")?,
            CopySource::Url { url, .. } => writeln!(f, "    url {url}")?,
            CopySource::Git { address, shown, .. } => write_git(f, address, shown)?,
        }
    }
    writeln!(f, "    to {:?}", copy.destination)?;
    if let Some(owner) = &copy.chown {
        writeln!(f, "    chown {owner}")?;
    }
    if let Some(chmod) = &copy.chmod {
        writeln!(f, "    chmod {chmod:?}")?;
    }
    for (is_set, name) in [(copy.link, "link"), (copy.parents, "parents")] {
        if is_set {
            writeln!(f, "    {name}")?;
        }
    }
    for pattern in &copy.exclude {
        writeln!(f, "    exclude {pattern:?}")?;
    }
    let Some(add) = &copy.add else { return Ok(()) };
    if let Some(unpack) = add.unpack {
        writeln!(f, "    unpack {unpack}")?;
    }
    add.checksum.iter().try_for_each(|checksum| writeln!(f, "    checksum {checksum}"))
}

fn write_git(f: &mut Formatter<'_>, address: &GitAddress, shown: &str) -> fmt::Result {
    writeln!(f, "    git {shown}")?;
    if address.keep_git_dir == Some(true) {
        writeln!(f, "    keep the git directory")?;
    }
    address.checksum.iter().try_for_each(|checksum| writeln!(f, "    commit {checksum}"))
}

fn write_workdir(f: &mut Formatter<'_>, workdir: &WorkdirOp) -> fmt::Result {
    writeln!(f, "    directory {} on {}", workdir.path, Filesystem(workdir.parent))?;
    if !workdir.user.is_empty() {
        writeln!(f, "    user {}", workdir.user)?;
    }
    workdir.mtime_seconds.iter().try_for_each(|seconds| writeln!(f, "    time {seconds}"))
}

/// The fields that a plan decides, a line each; those of `config` come after the others.
fn write_config(f: &mut Formatter<'_>, config: &ImageConfig) -> fmt::Result {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(config) else { return Err(fmt::Error) };
    let inner = fields.remove("config");
    for decided_later in ["created", "rootfs", "history"] {
        fields.remove(decided_later);
    }
    let inner = inner.as_ref().and_then(Value::as_object);
    fields.iter().chain(inner.into_iter().flatten()).try_for_each(|(name, value)| writeln!(f, "  {name} {value}"))
}
