//! RUN: a command in a sandbox on top of a filesystem; what it changed becomes a layer.
//!
//! | fact of the key      | so that                                                                  |
//! |----------------------|--------------------------------------------------------------------------|
//! | `op`, `platform`     | a change of meaning, or another machine type, runs again                  |
//! | `argv`, `script`     | shell form and the equal exec form share a key                            |
//! | `env` in order       | ARG and ENV count alike, names, values and order                          |
//! | `cwd`, `user`        | as written: `root`, `0` and none are three keys                           |
//! | `network`, `security`| what the command may reach                                               |
//! | `hostname`, `host`   | names it may look up; not their addresses                                 |
//! | `device`             | what it may use, by full name; not what the file about it says            |
//! | `mount`              | type, target, options; of cache and secret not the content                |
//! | `mount-layers`, `mount-content` | what a bind shows: the layers, or the content of what is mounted |
//! | `layers`             | the content it sees: the chain id, so a rebuilt equal parent hits         |
//!
//! What a bind shows is first looked for by the layers it comes from, so that a step that is cached needs no file of
//! them; when that misses, the content decides. So a stage that ran again and made the same files keeps what mounts
//! them in the cache. The layers of an image stand for their content; nothing of them is read.
//!
//! Never: proxies, secret values, cache contents, metadata instructions, the text of the Dockerfile, limits (memory,
//! processors, processes, time, `/dev/shm`): they decide whether a command comes to its end, not what it makes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache_mount::CacheMounts;
use super::devices::{self, Brought};
use super::follow::{Follower, NewLayer};
use super::layers::blocking;
use super::users::{ResolvedUser, resolve_user};
use super::worker::{Made, Next, layers_fact, on_top};
use super::{Inputs, OpError, StepResult, Worker, copy, copy_step};
use crate::cache::{KeySink, Keyed};
use crate::context::Source;
use crate::digest::{ChainId, DiffId, to_hex};
use crate::dockerfile::duration;
use crate::executor::{self, ExecOutcome, NetworkUsed};
use crate::fsutil::{Dir, Owners};
use crate::plan::{MountKind, RunMount, RunNetwork, RunOp, Step};
use crate::progress::{Event, Stream, VertexId};
use crate::sandbox::{
    Isolation, Mount, Network, ProcessUser, ResourceLimits, Rootfs, SandboxSpec, SecretBytes, Security, hosts_of,
};
use crate::snapshot::{Scratch, Snapshotter, Writable};

/// The facts of one RUN, over the inputs it has in this build.
struct Facts<'a> {
    op: &'a RunOp,
    inputs: &'a Inputs,
    bound: &'a Bound,
    devices: &'a Brought,
}

/// The content of what is bound, as far as it was read, by the place of the mount.
type Bound = BTreeMap<usize, [u8; 32]>;

impl Keyed for Facts<'_> {
    fn write_key(&self, sink: &mut dyn KeySink) {
        let op = self.op;
        sink.field("op", "run/1");
        sink.field("platform", &op.platform.to_string());
        for argument in &op.argv {
            sink.field("argv", argument);
        }
        if let Some((path, body)) = &op.script {
            sink.field("script", path);
            sink.field("script", body);
        }
        for (name, value) in &op.env {
            sink.field("env", &format!("{name}={value}"));
        }
        sink.field("cwd", &op.cwd);
        sink.field("user", &op.user);
        sink.field("network", &format!("{:?}", op.network));
        sink.field("security", if op.insecure { "insecure" } else { "sandbox" });
        sink.field("hostname", &op.hostname);
        for (name, _) in &op.add_hosts {
            sink.field("host", name);
        }
        for name in &self.devices.names {
            sink.field("device", name);
        }
        for (place, mount) in op.mounts.iter().enumerate() {
            self.mount(place, mount, sink);
        }
        layers_fact(sink, "layers", self.inputs.layers(op.parent).id());
    }
}

impl Facts<'_> {
    fn mount(&self, place: usize, mount: &RunMount, sink: &mut dyn KeySink) {
        let kind = match &mount.kind {
            MountKind::Bind { from, source } => {
                match self.bound.get(&place) {
                    Some(content) => sink.field("mount-content", &to_hex(content)),
                    None => layers_fact(sink, "mount-layers", self.inputs.layers(*from).id()),
                }
                format!("bind {source}")
            }
            MountKind::Cache { explicit_id, from, mode, uid, gid, .. } => {
                if let Some((root, path)) = from {
                    layers_fact(sink, "mount-layers", self.inputs.layers(*root).id());
                    sink.field("mount-source", path);
                }
                let id = if *explicit_id { "with id" } else { "without id" };
                format!("cache {id} {mode:o} {uid} {gid}")
            }
            MountKind::Tmpfs { size } => format!("tmpfs {size:?}"),
            MountKind::Secret { id, env, mode, uid, gid, .. } => format!("secret {id} {env:?} {mode:o} {uid} {gid}"),
            MountKind::Ssh { id, mode, uid, gid, .. } => format!("ssh {id} {mode:o} {uid} {gid}"),
        };
        sink.field("mount", &kind);
        sink.field("target", &mount.target);
        sink.field("access", if mount.readonly { "ro" } else { "rw" });
    }
}

/// Runs the command, or finds that it was run before.
pub(super) async fn perform(
    worker: &Arc<Worker>,
    op: &RunOp,
    step: &Step,
    vertex: VertexId,
    inputs: &Inputs,
    leads_to_network: bool,
) -> Result<StepResult, OpError> {
    let below = &inputs.layers(op.parent);
    let nothing_read = Bound::new();
    let settings = &worker.settings;
    let devices = devices::find(&op.devices, &settings.devices, &settings.device_directories)?;
    let by_layers = Facts { op, inputs, bound: &nothing_read, devices: &devices };
    if let Some(record) = worker.recall(step, &by_layers).await {
        return Ok(on_top(below, &record, true));
    }
    let bound = read_bound(worker, op, vertex, inputs).await?;
    let by_content = Facts { op, inputs, bound: &bound, devices: &devices };
    if !bound.is_empty()
        && let Some(record) = worker.recall(step, &by_content).await
    {
        worker.remember_again(step, &by_layers, &record)?;
        return Ok(on_top(below, &record, true));
    }
    let both: &[&(dyn Keyed + Sync)] = &[&by_layers, &by_content];
    let facts = if bound.is_empty() { &both[..1] } else { both };
    let turn = match worker.missed((step, vertex), inputs, facts, None).await? {
        Next::Do(turn) => turn,
        Next::Take(record) => return Ok(on_top(below, &record, true)),
    };
    // The network first: it takes longer.
    worker.connect_ahead(leads_to_network);
    worker.executor.prepare(worker.settings.isolation);
    worker.materialize(below, vertex).await?;
    for mount in &op.mounts {
        match &mount.kind {
            MountKind::Bind { from: root, .. } | MountKind::Cache { from: Some((root, _)), .. } => {
                worker.materialize(&inputs.layers(*root), vertex).await?;
            }
            _ => {}
        }
    }
    worker.bring_cache_mounts(op, vertex, inputs).await?;
    let (task_worker, task_op, task_inputs, brought) = (worker.clone(), op.clone(), inputs.clone(), devices.clone());
    let follower = worker.followed.get().filter(|followed| followed.steps.contains(&step.span));
    let follower = follower.map(|followed| followed.follower.clone());
    let began = Instant::now();
    let made = blocking(move || execute(&task_worker, &task_op, vertex, &task_inputs, brought, follower)).await?;
    let record = worker.remember(step, &by_layers, &made, began)?;
    if !bound.is_empty() {
        worker.remember_again(step, &by_content, &record)?;
    }
    drop(turn);
    Ok(on_top(below, &record, false))
}

/// Reads what the step's binds show of filesystems that steps made.
async fn read_bound(worker: &Arc<Worker>, op: &RunOp, vertex: VertexId, inputs: &Inputs) -> Result<Bound, OpError> {
    let mut bound = Bound::new();
    for (place, mount) in op.mounts.iter().enumerate() {
        let MountKind::Bind { from, source } = &mount.kind else { continue };
        if inputs.is_made(*from) {
            let (view, path) = (worker.view(&inputs.layers(*from), vertex).await?, source.clone());
            let selected = blocking(move || {
                copy::select_literal(&Source::filesystem(view), &path).map_err(|error| copy_step::explain(error, None))
            });
            if let Some(selected) = selected.await? {
                bound.insert(place, copy::content_key(&[selected]));
            }
        }
    }
    Ok(bound)
}

fn execute(
    worker: &Worker,
    op: &RunOp,
    vertex: VertexId,
    inputs: &Inputs,
    devices: Brought,
    follower: Option<Arc<dyn Follower>>,
) -> Result<Made, OpError> {
    let chain = inputs.layers(op.parent).chain();
    if worker.settings.isolation == Isolation::Chroot {
        without_namespaces(op, &worker.settings.limits)?;
    }
    let view = worker.snapshots.view(&chain)?;
    let user = resolve_user(Some(&view), &op.user).map_err(|error| OpError::user("unknown-user", error.to_string()))?;
    let writable = worker.snapshots.writable(&chain)?;
    let scratch = writable.scratch();
    let mut mounted = Mounted::prepare(worker, op, inputs, scratch)?;
    mounted.given.extend(devices.env);
    // Before those of the line, of which one may stand in a directory of a device's.
    mounted.mounts.splice(0..0, devices.mounts);
    let additional_gids = user.additional_gids.iter().copied().chain(devices.gids).collect();
    let spec = SandboxSpec {
        rootfs: Rootfs {
            lowers: writable.lowers().to_vec(),
            upper: scratch.fs().to_owned(),
            work: scratch.work().to_owned(),
            userxattr: worker.settings.user_namespace,
        },
        single_id: worker.snapshots.owners() == Owners::Noted,
        argv: op.argv.clone(),
        env: environment(op, &user, &mounted),
        mounts: mounted.mounts,
        cwd: PathBuf::from(&op.cwd),
        user: ProcessUser { uid: user.uid, gid: user.gid, additional_gids },
        hostname: op.hostname.clone(),
        network: match op.network {
            RunNetwork::Default => Network::Default,
            RunNetwork::None => Network::None,
            RunNetwork::Host => Network::Host,
        },
        security: if op.insecure { Security::Insecure } else { Security::Sandbox },
        isolation: worker.settings.isolation,
        hosts: Some(hosts(op)),
        resolv_conf: Some(worker.settings.resolv_conf.clone()),
        limits: worker.settings.limits.clone(),
        input: crate::sandbox::Input::default(),
    };
    let outcome = run(worker, &spec, vertex)?;
    if !outcome.status.success() {
        let (command, code) = (op.argv.join(" "), outcome.status.shell_code());
        return Err(OpError::Exit { command, code, exceeded: outcome.exceeded });
    }
    mounted.caches.keep(worker)?;
    let blob = NewLayer::new(worker.store.ingest()?, follower);
    let made = keep(worker, (&chain, &view), writable, &outcome.stubs, blob, vertex)?;
    Ok(Made { peak_memory: outcome.peak_memory, ..made })
}

/// Refuses by name what takes namespaces or mounts.
fn without_namespaces(op: &RunOp, limits: &ResourceLimits) -> Result<(), OpError> {
    let refused = |what: &str, span| OpError::User {
        code: "isolation",
        message: format!("{what} takes namespaces, which a build with --isolation=chroot does without"),
        help: vec!["build where namespaces can be had: `kiln doctor` says what is missing".to_owned()],
        span,
    };
    if op.network == RunNetwork::None {
        return Err(refused("--network=none", None));
    }
    if let Some(device) = op.devices.first() {
        return Err(refused("a device", Some(device.span)));
    }
    if limits.shm_size.is_some() {
        return Err(refused("--shm-size", None));
    }
    for mount in &op.mounts {
        match &mount.kind {
            MountKind::Ssh { .. } => return Err(refused("--mount=type=ssh", Some(mount.span))),
            MountKind::Tmpfs { size: Some(_) } => {
                return Err(refused("a size of --mount=type=tmpfs", Some(mount.span)));
            }
            _ => {}
        }
    }
    Ok(())
}

fn run(worker: &Worker, spec: &SandboxSpec, vertex: VertexId) -> Result<ExecOutcome, OpError> {
    let mut log = |stream: executor::Stream, data: &[u8]| {
        let stream = match stream {
            executor::Stream::Stdout => Stream::Stdout,
            executor::Stream::Stderr => Stream::Stderr,
        };
        worker.sink.event(Event::Log { id: vertex, stream, data: data.to_vec() });
    };
    match worker.executor.run(spec, &mut log, &worker.cancel) {
        Err(executor::ExecError::Cancelled) => Err(OpError::Canceled),
        Err(executor::ExecError::TimedOut { limit }) => {
            Err(OpError::TimedOut { command: spec.argv.join(" "), limit: as_typed(limit) })
        }
        Err(error @ executor::ExecError::Command { .. }) => {
            let (message, help) = (error.to_string(), error.help());
            Err(OpError::User { code: "cannot-execute", message, help, span: None })
        }
        Err(error) => Err(error.into()),
        Ok(outcome) => {
            if let NetworkUsed::HostInstead(reason) = outcome.network {
                worker.notice_once(&format!("RUN steps use the host's network: {reason}"));
            }
            // Also of a command that copes, and does something else because of it.
            for met in &outcome.exceeded {
                say(worker, vertex, met);
            }
            Ok(outcome)
        }
    }
}

/// Turns the upper directory into a layer blob and a snapshot.
fn keep(
    worker: &Worker,
    (below, view): (&[ChainId], &Dir),
    written: Writable,
    stubs: &[PathBuf],
    mut blob: NewLayer,
    vertex: VertexId,
) -> Result<Made, OpError> {
    let summary = worker.snapshots.difference(&written, view, stubs, &mut blob)?;
    for warning in summary.warnings {
        say(worker, vertex, &warning);
    }
    let (digest, length) = blob.commit()?;
    let chain = ChainId::on(below.last().copied(), DiffId(digest));
    worker.snapshots.keep(written, chain)?;
    Ok(Made { digest, length, peak_memory: None })
}

/// A duration as people write it: `10m`, where Go prints `10m0s`.
fn as_typed(limit: Duration) -> String {
    let text = duration::format(limit);
    let text = if text.ends_with("m0s") { text.trim_end_matches("0s") } else { &text };
    if text.ends_with("h0m") { text.trim_end_matches("0m") } else { text }.to_owned()
}

/// A line of kiln's own in the output of a step.
fn say(worker: &Worker, vertex: VertexId, what: &impl std::fmt::Display) {
    let data = format!("kiln: {what}\n").into_bytes();
    worker.sink.event(Event::Log { id: vertex, stream: Stream::Stderr, data });
}

/// Help for what the build was not given: the nearest of what it was given, and the flag.
fn given<'a>(id: &str, known: impl Iterator<Item = &'a String>, flag: &str) -> Vec<String> {
    let near = crate::diag::nearest(id, known.map(String::as_str));
    let near = near.map(|near| format!("the build was given `{near}`: did you mean that?"));
    near.into_iter().chain([format!("give it to the build: `{flag}`")]).collect()
}

/// Rule 10.6.
fn hosts(op: &RunOp) -> String {
    let mut text = hosts_of(&op.hostname);
    for (name, address) in &op.add_hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// Rule 10.3: the stage's variables; proxies, secrets and what devices bring, which hide those of their names; the socket of
/// an agent and HOME if nobody set them.
fn environment(op: &RunOp, user: &ResolvedUser, mounted: &Mounted) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = op.env.iter().cloned().collect();
    let given = op.proxies.iter().chain(&mounted.given).map(|variable| (variable, true));
    let home = ("HOME".to_owned(), user.home.clone());
    let defaults = mounted.agent.iter().chain([&home]).map(|variable| (variable, false));
    for ((name, value), hides) in given.chain(defaults) {
        match env.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) if hides => known.clone_from(value),
            Some(_) => {}
            None => env.push((name.clone(), value.clone())),
        }
    }
    env
}

/// The mounts of a step, and what must be kept while they are used.
struct Mounted {
    mounts: Vec<Mount>,
    /// The variables that secrets and devices are.
    given: Vec<(String, String)>,
    /// SSH_AUTH_SOCK, for the first agent.
    agent: Option<(String, String)>,
    caches: CacheMounts,
}

impl Mounted {
    fn prepare(worker: &Worker, op: &RunOp, inputs: &Inputs, scratch: &Scratch) -> Result<Self, OpError> {
        let caches = CacheMounts::take(worker, op, inputs)?;
        let mut mounted = Self { mounts: Vec::new(), given: Vec::new(), agent: None, caches };
        for (place, mount) in op.mounts.iter().enumerate() {
            let target = PathBuf::from(&mount.target);
            match &mount.kind {
                MountKind::Bind { from, source } => {
                    let chain = inputs.layers(*from).chain();
                    let subpath = PathBuf::from(source);
                    let found = worker.snapshots.view(&chain)?.stat_in_root(&subpath);
                    // Rule m.4. Any other trouble with the path shows when it is mounted.
                    if matches!(found, Ok(None)) {
                        return Err(OpError::NotFound {
                            path: source.clone(),
                            ignored_at: None,
                            help: Vec::new(),
                            span: Some(mount.span),
                        });
                    }
                    // What a step writes there is forgotten with it.
                    let takes_writes = !mount.readonly && worker.snapshots.snapshotter() == Snapshotter::Copy;
                    mounted.mounts.push(if takes_writes || worker.settings.isolation == Isolation::Chroot {
                        let name = format!("mount{place}");
                        let source = worker.snapshots.copy_beside(&chain, &subpath, scratch, &name)?;
                        Mount::Bind { source, subpath: PathBuf::new(), target, readonly: mount.readonly }
                    } else {
                        let lowers = worker.snapshots.lowers(&chain)?;
                        Mount::Layers { lowers, subpath, target, readonly: mount.readonly }
                    });
                }
                MountKind::Cache { .. } => {
                    mounted.mounts.push(mounted.caches.mount(place, target, mount.readonly));
                }
                MountKind::Tmpfs { size } => {
                    let readonly = mount.readonly;
                    mounted.mounts.push(Mount::Tmpfs { target, size: *size, mode: 0o1777, readonly });
                }
                MountKind::Secret { .. } => mounted.secret(worker, mount)?,
                MountKind::Ssh { .. } => mounted.agent(worker, mount)?,
            }
        }
        if let Some((path, body)) = &op.script {
            mounted.script(path, body, scratch)?;
        }
        Ok(mounted)
    }

    fn secret(&mut self, worker: &Worker, mount: &RunMount) -> Result<(), OpError> {
        let MountKind::Secret { id, env, required, mode, uid, gid } = &mount.kind else { return Ok(()) };
        let value = worker.fetcher.secrets.get(id);
        if value.is_none() && *required {
            return Err(OpError::User {
                code: "secret",
                message: format!("secret {id}: not found"),
                help: given(id, worker.fetcher.secrets.keys(), &format!("--secret id={id},src=FILE")),
                span: Some(mount.span),
            });
        }
        if let Some(name) = env {
            let text = value.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
            self.given.push((name.clone(), text));
        }
        if let (Some(data), false) = (value, mount.target.is_empty()) {
            let (data, target) = (SecretBytes(data.clone()), PathBuf::from(&mount.target));
            self.mounts.push(Mount::Secret { data, target, mode: *mode, uid: *uid, gid: *gid });
        }
        Ok(())
    }

    fn agent(&mut self, worker: &Worker, mount: &RunMount) -> Result<(), OpError> {
        let MountKind::Ssh { id, required, mode, uid, gid } = &mount.kind else { return Ok(()) };
        match worker.fetcher.agents.get(id) {
            Some(source) => self.mounts.push(Mount::Socket {
                source: source.clone(),
                target: PathBuf::from(&mount.target),
                mode: *mode,
                uid: *uid,
                gid: *gid,
            }),
            None if *required => {
                return Err(OpError::User {
                    code: "ssh",
                    message: format!("no SSH key \"{id}\" forwarded from the client"),
                    help: given(id, worker.fetcher.agents.keys(), &format!("--ssh {id}")),
                    span: Some(mount.span),
                });
            }
            None => {}
        }
        self.agent.get_or_insert_with(|| ("SSH_AUTH_SOCK".to_owned(), mount.target.clone()));
        Ok(())
    }

    /// Rule 3.8: a heredoc that begins with `#!` is a file, read-only, not in the layer.
    fn script(&mut self, path: &str, body: &str, scratch: &Scratch) -> Result<(), OpError> {
        let source = scratch.beside("script");
        std::fs::write(&source, body)
            .and_then(|()| std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o755)))
            .map_err(OpError::io("write the script of a heredoc"))?;
        self.mounts.push(Mount::Bind { source, subpath: PathBuf::new(), target: PathBuf::from(path), readonly: true });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
