//! `run`: a command in an image, in the sandbox that steps of a build run in.
//!
//! It is a trial: what it writes goes to a scratch directory that is gone with it, but for volumes. Docker's differences to a
//! step of a build apply: entrypoint and command of the config, HOSTNAME and TERM, an exit code that is the command's.

use std::path::PathBuf;

use super::{Image, ImagesError, Unpacked};
use crate::executor::{Attached, CancelFlag, ExecOutcome, Executor, Stream};
use crate::fsutil::Owners;
use crate::ops::users::resolve_user;
use crate::plan::DEFAULT_PATH;
use crate::sandbox::{
    Input, Isolation, Mount, Network, ProcessUser, ResourceLimits, Rootfs, SandboxSpec, Security, hosts_of,
};

/// A directory or file of this machine that the command sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// Here.
    pub source: PathBuf,
    /// There.
    pub target: PathBuf,
    /// Whether writes are refused.
    pub readonly: bool,
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Arguments that take the place of the image's command.
    pub command: Vec<String>,
    /// Takes the place of the image's entrypoint, and of its command; an empty one is none.
    pub entrypoint: Option<String>,
    /// Variables over those of the image.
    pub env: Vec<(String, String)>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Takes the place of the image's working directory.
    pub workdir: Option<String>,
    /// Takes the place of the image's user.
    pub user: Option<String>,
    /// What it may reach.
    pub network: Network,
    /// Its host name.
    pub hostname: String,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// What it reads.
    pub input: Input,
}

/// Runs a command in `image` and waits for its end.
pub fn run(
    unpacked: &Unpacked,
    image: &Image,
    request: &RunRequest,
    attached: &mut Attached<'_>,
    log: &mut dyn FnMut(Stream, &[u8]),
    cancel: &CancelFlag,
) -> Result<ExecOutcome, ImagesError> {
    let argv = command_of(image, request)?;
    let chain = unpacked.unpack(image)?;
    let user = request.user.as_deref().unwrap_or(&image.config.config.user);
    let user = resolve_user(Some(&unpacked.snapshots.view(&chain)?), user)?;
    let writable = unpacked.snapshots.writable(&chain)?;
    let workdir = request.workdir.clone().unwrap_or_else(|| image.config.config.working_dir.clone());
    let volume = |volume: &Volume| Mount::Bind {
        source: volume.source.clone(),
        subpath: PathBuf::new(),
        target: volume.target.clone(),
        readonly: volume.readonly,
    };
    let spec = SandboxSpec {
        rootfs: Rootfs {
            lowers: writable.lowers().to_vec(),
            upper: writable.scratch().fs().to_owned(),
            work: writable.scratch().work().to_owned(),
            userxattr: unpacked.entered.user_namespace,
        },
        single_id: unpacked.snapshots.owners() == Owners::Noted,
        mounts: request.volumes.iter().map(volume).collect(),
        env: environment(image, request, &user.home),
        argv,
        cwd: PathBuf::from(if workdir.is_empty() { "/".to_owned() } else { workdir }),
        user: ProcessUser { uid: user.uid, gid: user.gid, additional_gids: user.additional_gids },
        hostname: request.hostname.clone(),
        network: request.network,
        security: Security::Sandbox,
        isolation: Isolation::Namespaces,
        hosts: Some(hosts_of(&request.hostname)),
        resolv_conf: Some(request.resolv_conf.clone()),
        limits: ResourceLimits::default(),
        input: request.input,
    };
    let executor = Executor::of_this_process();
    Ok(executor.run_attached(&spec, attached, log, cancel)?)
}

/// As docker puts it together: an entrypoint given takes away the image's command.
fn command_of(image: &Image, request: &RunRequest) -> Result<Vec<String>, ImagesError> {
    let config = &image.config.config;
    let (mut argv, command) = match (&request.entrypoint, request.command.is_empty()) {
        (Some(entrypoint), _) => {
            let own: Vec<String> = Some(entrypoint.clone()).filter(|word| !word.is_empty()).into_iter().collect();
            (own, request.command.clone())
        }
        (None, true) => (config.entrypoint.clone(), config.cmd.clone()),
        (None, false) => (config.entrypoint.clone(), request.command.clone()),
    };
    argv.extend(command);
    if argv.is_empty() { Err(ImagesError::NoCommand) } else { Ok(argv) }
}

fn environment(image: &Image, request: &RunRequest, home: &str) -> Vec<(String, String)> {
    let split = |variable: &String| {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        (name.to_owned(), value.to_owned())
    };
    let mut env = vec![("PATH".to_owned(), DEFAULT_PATH.to_owned()), ("HOSTNAME".to_owned(), request.hostname.clone())];
    if matches!(request.input, Input::Terminal { .. }) {
        env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    let given = image.config.config.env.iter().map(split).chain(request.env.iter().cloned());
    for (name, value) in given {
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => env.push((name, value)),
        }
    }
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), home.to_owned()));
    }
    env
}
