//! RUN: a command with its environment and mounts.

use std::collections::BTreeMap;

use super::super::graph::{CacheSharing, MountKind, Op, Root, RunMount, RunNetwork, RunOp, Tree};
use super::super::{DEFAULT_HOSTNAME, arguments, path};
use super::{Lowering, Place, StageState, metadata};
use crate::diag::Diagnostic;
use crate::dockerfile::device::Device;
use crate::dockerfile::instruction::{NetworkMode, Run, SecurityMode};
use crate::dockerfile::mount::Sharing;
use crate::dockerfile::{Instruction, Mount, ResolvedMount, Text};
use crate::source::Span;

/// Where agent sockets are unless the mount says; a dot and their number among the agents of the RUN follow. (All
/// other defaults of mounts come resolved.)
const AGENT_SOCKET: &str = "/run/buildkit/ssh_agent";

impl Lowering<'_> {
    pub(super) fn run(
        &mut self,
        state: StageState,
        run: &Run,
        instruction: &Instruction,
        place: &mut Place<'_>,
        finished: &BTreeMap<usize, StageState>,
    ) -> Result<StageState, Diagnostic> {
        let argv = metadata::arguments(&state, &run.command);
        let network = self.network(run, instruction)?;
        let insecure = run.security == Some(SecurityMode::Insecure);
        if insecure && !self.options.allow_insecure {
            return Err(not_allowed("security.insecure", instruction.span));
        }
        let mut mounts = Vec::new();
        let mut agents = 0;
        for mount in &run.mounts {
            mounts.push(self.mount(&state, mount, place, finished, &mut agents)?);
        }
        let build_args = &self.options.build_args;
        let hostname = build_args.get("BUILDKIT_SANDBOX_HOSTNAME").cloned();
        let op = RunOp {
            parent: state.root,
            platform: place.stage.platform.clone(),
            env: state.scope.variables().clone(),
            proxies: arguments::proxies(self.options),
            cwd: path::clean(state.workdir()),
            user: state.image().user.clone(),
            network,
            insecure,
            hostname: hostname.unwrap_or_else(|| DEFAULT_HOSTNAME.to_owned()),
            add_hosts: self.options.add_hosts.clone(),
            devices: self.devices(run, instruction),
            mounts,
            script: run.script.as_ref().map(|script| (script.path.clone(), script.body.clone())),
            argv,
        };
        let created_by = format!("RUN {}{} # buildkit", state.scope.history_prefix(), op.argv.join(" "));
        let step = self.step(place, instruction, Op::Run(op));
        Ok(state.with_layer(created_by, step))
    }

    fn devices(&self, run: &Run, instruction: &Instruction) -> Vec<Device> {
        let of_all = |name: &String| Device { name: name.clone(), required: true, span: instruction.span };
        self.options.devices.iter().map(of_all).chain(run.devices.iter().cloned()).collect()
    }

    fn network(&self, run: &Run, instruction: &Instruction) -> Result<RunNetwork, Diagnostic> {
        match run.network {
            None | Some(NetworkMode::Default) => Ok(self.options.network),
            Some(NetworkMode::None) => Ok(RunNetwork::None),
            Some(NetworkMode::Host) if self.options.allow_network_host => Ok(RunNetwork::Host),
            Some(NetworkMode::Host) => Err(not_allowed("network.host", instruction.span)),
        }
    }

    fn mount(
        &mut self,
        state: &StageState,
        mount: &Mount,
        place: &Place<'_>,
        finished: &BTreeMap<usize, StageState>,
        agents: &mut usize,
    ) -> Result<RunMount, Diagnostic> {
        let resolved = mount.resolve(state.workdir(), &mut |text| self.expand(&state.scope, text))?;
        let span = mount.span;
        Ok(match resolved {
            ResolvedMount::Bind(bind) => {
                let (from, source) = self.mounted(bind.from.as_ref(), &bind.source, place, finished, span)?;
                let kind = MountKind::Bind { from, source };
                RunMount { target: bind.target, readonly: bind.readonly, kind, span }
            }
            ResolvedMount::Cache(cache) => {
                let from = match &cache.from {
                    None => None,
                    Some(from) => Some(self.mounted(Some(from), &cache.source, place, finished, span)?),
                };
                let namespace = self.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS");
                let kind = MountKind::Cache {
                    id: namespace.map(|name| format!("{name}/")).unwrap_or_default() + &cache.id,
                    explicit_id: cache.explicit_id,
                    sharing: match cache.sharing {
                        Sharing::Shared => CacheSharing::Shared,
                        Sharing::Private => CacheSharing::Private,
                        Sharing::Locked => CacheSharing::Locked,
                    },
                    from,
                    mode: cache.mode,
                    uid: cache.uid,
                    gid: cache.gid,
                };
                RunMount { target: cache.target, readonly: cache.readonly, kind, span }
            }
            ResolvedMount::Tmpfs(tmpfs) => {
                let kind = MountKind::Tmpfs { size: tmpfs.size_bytes };
                RunMount { target: tmpfs.target, readonly: tmpfs.readonly, kind, span }
            }
            ResolvedMount::Secret(secret) => {
                let given = self.given.entry(place.stage_index).or_default();
                given.secret(&secret.id, secret.required, place.lines);
                let kind = MountKind::Secret {
                    id: secret.id,
                    env: secret.env,
                    required: secret.required,
                    mode: secret.mode,
                    uid: secret.uid,
                    gid: secret.gid,
                };
                RunMount { target: secret.target.unwrap_or_default(), readonly: true, kind, span }
            }
            ResolvedMount::Ssh(ssh) => {
                self.given.entry(place.stage_index).or_default().ssh(&ssh.id, ssh.required, place.lines);
                let number = *agents;
                *agents += 1;
                let kind =
                    MountKind::Ssh { id: ssh.id, required: ssh.required, mode: ssh.mode, uid: ssh.uid, gid: ssh.gid };
                let target = ssh.target.unwrap_or_else(|| format!("{AGENT_SOCKET}.{number}"));
                RunMount { target, readonly: true, kind, span }
            }
        })
    }

    /// The filesystem and the path in it that a mount shows.
    fn mounted(
        &mut self,
        from: Option<&Text>,
        source: &str,
        place: &Place<'_>,
        finished: &BTreeMap<usize, StageState>,
        span: Span,
    ) -> Result<(Root, String), Diagnostic> {
        let source = path::absolute("/", source);
        Ok(match self.tree(from, false, place, finished)? {
            Tree::Root(root) => (root, source),
            Tree::Context(name) => (Some(self.context_step(name, &source, span)), source),
        })
    }
}

fn not_allowed(entitlement: &str, span: Span) -> Diagnostic {
    Diagnostic::error("entitlement", span, format!("{entitlement} is not allowed"))
        .with_help(format!("to allow it for this build: `--allow {entitlement}`"))
}
