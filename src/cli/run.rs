//! `kiln run`: a command in an image, with the user's terminal if asked for.
//!
//! The user's terminal is never handed to the command: it gets one of its own, and what is typed and printed is carried between
//! the two. Meanwhile the user's does nothing by itself (raw mode), and is put back whatever happens.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use tokio::signal::unix::{SignalKind, signal};

use super::environment::Environment;
use super::image_args::RunArguments;
use super::interrupt::Interrupt;
use super::look;
use super::proxy::Proxy;
use super::report;
use super::terminal;
use super::usage::UsageError;
use crate::executor::{Attached, CancelFlag, ExecError, ExecOutcome, NetworkUsed, Ports, Stream};
use crate::images::{self, Image, ImagesError, RunRequest, Unpacked, Volume};
use crate::sandbox::idmap;
use crate::sandbox::{Input, Network};

/// What `docker run` exits with when it is not the command that failed.
const FAILED: u8 = 125;
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// By SIGKILL.
const KILLED: u8 = 137;
/// A line of a terminal has no more.
const MOST_TYPED: usize = 4095;

/// Runs, and exits as the command does.
pub(super) fn run(typed: &RunArguments) -> ExitCode {
    let prepared = Environment::read().and_then(|environment| {
        let root = environment.store(typed.store.store.as_deref())?;
        let platform = look::platform(typed.platform.as_deref())?;
        Ok((root, request(typed, &environment)?, ports(typed)?, platform))
    });
    let (root, request, ports, platform) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            report::refused(&error);
            return FAILED.into();
        }
    };
    let entered = match idmap::enter() {
        Ok(entered) => entered,
        Err(error) => {
            terminal::print_error(&format!("ERROR: {}\n", crate::diag::chain(&error)));
            return FAILED.into();
        }
    };
    let (signals, cancel) = match watched(typed.sig_proxy) {
        Ok(watched) => watched,
        Err(error) => {
            report::failed("cannot watch for signals", &error);
            return FAILED.into();
        }
    };
    let given = Given { ports: ports.as_ref(), signals, typed: typed.interactive };
    let image = |unpacked: &Unpacked| images::find(&unpacked.store, &typed.image, platform.as_ref());
    let ended = Unpacked::open(&root, entered)
        .and_then(|unpacked| follow(&unpacked, &image(&unpacked)?, &request, given, &cancel));
    match ended {
        Ok(outcome) => {
            if let (NetworkUsed::HostInstead(reason), false) = (outcome.network, typed.quiet) {
                terminal::print_error(&format!("NOTE: the command used the host's network: {reason}\n"));
            }
            u8::try_from(outcome.status.shell_code()).unwrap_or(FAILED).into()
        }
        Err(ImagesError::Exec(ExecError::Cancelled)) => KILLED.into(),
        Err(error) => {
            report::of_images(&error);
            code_of(&error).into()
        }
    }
}

fn code_of(error: &ImagesError) -> u8 {
    match error {
        ImagesError::Exec(ExecError::Command { source, .. }) if source.kind() == io::ErrorKind::NotFound => NOT_FOUND,
        ImagesError::Exec(ExecError::Command { .. } | ExecError::Foreign { .. }) => CANNOT_EXECUTE,
        _ => FAILED,
    }
}

/// What is passed on to the command, and what kills it.
fn watched(sig_proxy: bool) -> io::Result<(Option<OwnedFd>, CancelFlag)> {
    if sig_proxy {
        let proxy = Proxy::watch()?;
        Ok((Some(proxy.numbers), proxy.cancel))
    } else {
        Ok((None, Interrupt::watch()?.cancel().clone()))
    }
}

/// What the command is given besides what the request says.
struct Given<'a> {
    ports: Option<&'a Ports>,
    signals: Option<OwnedFd>,
    /// Whether what is typed is for it.
    typed: bool,
}

fn follow(
    unpacked: &Unpacked,
    image: &Image,
    request: &RunRequest,
    given: Given<'_>,
    cancel: &CancelFlag,
) -> Result<ExecOutcome, ImagesError> {
    let (mut raw, mut carrier) = (None, None);
    // A command that turns out to need an emulator is started again, with another terminal.
    let mut opened = |side: OwnedFd| match &mut carrier {
        Some(carrier) => Carrier::change(carrier, side),
        none => {
            raw = given.typed.then(Raw::begin).flatten();
            *none = Some(Carrier::start(side, given.typed));
        }
    };
    let mut attached = Attached { ports: given.ports, signals: given.signals, ..Attached::default() };
    match request.input {
        Input::Nothing => {}
        Input::Given => {
            attached.input = Some(input().map_err(|source| ExecError::Io { doing: "read standard input", source })?);
        }
        Input::Terminal { .. } => attached.terminal = Some(&mut opened),
    }
    let mut log = |stream: Stream, bytes: &[u8]| {
        // A reader that went away is the command's business no more than it is kiln's.
        let _ = match stream {
            Stream::Stdout => write_all(io::stdout().lock(), bytes),
            Stream::Stderr => write_all(io::stderr().lock(), bytes),
        };
    };
    let ended = images::run(unpacked, image, request, &mut attached, &mut log, cancel);
    drop(attached);
    drop(raw);
    ended
}

fn write_all(mut out: impl io::Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

/// What the command reads: what kiln would read. The thing itself is never handed over: who has a file can open it anew, to write,
/// and who has a directory has those above it.
fn input() -> io::Result<OwnedFd> {
    let (theirs, mut ours) = io::pipe()?;
    std::thread::Builder::new().name("input".to_owned()).spawn(move || io::copy(&mut io::stdin().lock(), &mut ours))?;
    Ok(theirs.into())
}

/// Carries what is typed, and changes of the window's size, to the command's terminal, for as long as the process lives. What
/// cannot be started is missed.
#[derive(Clone)]
struct Carrier(Arc<Mutex<Target>>);

struct Target {
    side: Arc<File>,
    /// What was typed first, as much as a terminal holds that nobody reads.
    typed: Vec<u8>,
}

impl Carrier {
    fn start(side: OwnedFd, with_keys: bool) -> Self {
        let target = Target { side: Arc::new(side.into()), typed: Vec::new() };
        let carrier = Self(Arc::new(Mutex::new(target)));
        carrier.resize();
        let (window, keys) = (carrier.clone(), carrier.clone());
        let _ = std::thread::Builder::new().name("window".to_owned()).spawn(move || window.follow_size());
        if with_keys {
            let _ = std::thread::Builder::new().name("input".to_owned()).spawn(move || keys.carry());
        }
        carrier
    }

    /// Carries to another terminal from now on, and what was typed up to now again: nobody has read it.
    fn change(&self, side: OwnedFd) {
        let mut target = self.target();
        target.side = Arc::new(side.into());
        let _ = (&*target.side).write_all(&target.typed);
        drop(target);
        self.resize();
    }

    fn target(&self) -> MutexGuard<'_, Target> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(io::stdin()) {
            let _ = tcsetwinsize(&*self.target().side, size);
        }
    }

    fn follow_size(&self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
            while changes.recv().await.is_some() {
                self.resize();
            }
        });
    }

    fn carry(&self) {
        let mut typed = [0; 4096];
        while let Ok(length @ 1..) = io::stdin().lock().read(&mut typed) {
            self.write(&typed[..length]);
        }
        // The end of the input is a character to a terminal (^D).
        self.write(&[4]);
    }

    fn write(&self, bytes: &[u8]) {
        let mut target = self.target();
        if target.typed.len() + bytes.len() <= MOST_TYPED {
            target.typed.extend(bytes);
        }
        let side = target.side.clone();
        drop(target);
        // The command may not read, and may have gone.
        let _ = (&*side).write_all(bytes);
    }
}

/// The user's terminal, which passes everything on while this lives.
struct Raw {
    before: Termios,
}

impl Raw {
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn request(typed: &RunArguments, environment: &Environment) -> Result<RunRequest, UsageError> {
    let size = tcgetwinsize(io::stdin()).unwrap_or(Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 });
    if typed.tty && typed.interactive && !io::stdin().is_terminal() {
        return Err(UsageError::malformed("--tty", "", "the input device is not a TTY: leave out `-t` or `-i`"));
    }
    let input = match (typed.tty, typed.interactive) {
        (true, _) => Input::Terminal { rows: size.ws_row, columns: size.ws_col },
        (false, true) => Input::Given,
        (false, false) => Input::Nothing,
    };
    let network = match typed.network.as_deref().unwrap_or("default") {
        "default" | "bridge" => Network::Default,
        "none" => Network::None,
        "host" => Network::Host,
        other => return Err(UsageError::unknown("--network", other, other, &["default", "none", "host"])),
    };
    if network != Network::Default && !typed.publish.is_empty() {
        return Err(UsageError::Conflict { one: "--publish", other: "--network" });
    }
    let volumes = typed.volume.iter().map(|text| volume(text, environment)).collect::<Result<_, _>>()?;
    Ok(RunRequest {
        command: typed.command.clone(),
        entrypoint: typed.entrypoint.clone(),
        env: variables(typed, environment)?,
        volumes,
        workdir: typed.workdir.clone(),
        user: typed.user.clone(),
        network,
        hostname: typed.hostname.clone().unwrap_or_else(|| "kiln".to_owned()),
        resolv_conf: environment.resolv_conf.clone(),
        input,
    })
}

/// `--env-file` first, then `-e`; one without a value has that of kiln's own environment, or is left out.
fn variables(typed: &RunArguments, environment: &Environment) -> Result<Vec<(String, String)>, UsageError> {
    let mut lines = Vec::new();
    for path in &typed.env_file {
        let text = std::fs::read_to_string(environment.absolute(path)).map_err(|source| UsageError::Unreadable {
            flag: "--env-file",
            path: path.clone(),
            source,
        })?;
        let useful = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.extend(useful.map(str::to_owned));
    }
    lines.extend(typed.env.iter().cloned());
    let mut all = BTreeMap::new();
    for line in lines {
        match line.split_once('=') {
            Some(("", _)) => return Err(UsageError::malformed("--env", &line, "a variable needs a name")),
            Some((name, value)) => {
                all.insert(name.to_owned(), value.to_owned());
            }
            None => {
                if let Some(value) = environment.variables.get(&line) {
                    all.insert(line, value.clone());
                }
            }
        }
    }
    Ok(all.into_iter().collect())
}

/// `HOST:CONTAINER[:ro|rw]`; both absolute, but `HOST` may begin with a dot.
fn volume(text: &str, environment: &Environment) -> Result<Volume, UsageError> {
    let malformed = |why: &str| UsageError::malformed("--volume", text, why);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [source, target] => (*source, *target, "rw"),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(malformed("expected HOST:CONTAINER[:ro]")),
    };
    if !source.starts_with(['/', '.']) {
        return Err(malformed(
            "volumes by name are not there: give a path of this machine, which begins with `/` or `.`",
        ));
    }
    if !target.starts_with('/') {
        return Err(malformed("the path in the container must be absolute"));
    }
    if Path::new(target).components().all(|part| !matches!(part, Component::Normal(_))) {
        return Err(malformed("the root directory is the image's: give a path below it"));
    }
    let readonly = match mode {
        "ro" => true,
        "rw" => false,
        _ => return Err(malformed("expected `ro` or `rw` at its end")),
    };
    let source = environment.absolute(source);
    if !source.exists() {
        return Err(malformed("there is nothing at this path of the machine"));
    }
    Ok(Volume { source, target: target.into(), readonly })
}

/// `[IP:]HOST:CONTAINER[/tcp|/udp]`, as pasta takes it: `IP/HOST:CONTAINER`.
fn ports(typed: &RunArguments) -> Result<Option<Ports>, UsageError> {
    let mut ports = Ports::default();
    for text in &typed.publish {
        let malformed = || UsageError::malformed("--publish", text, "expected [IP:]HOST:CONTAINER[/tcp|/udp]");
        let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (rest, inner) = rest.rsplit_once(':').ok_or_else(malformed)?;
        let (address, outer) = rest.rsplit_once(':').map_or((None, rest), |(address, outer)| (Some(address), outer));
        for port in [inner, outer] {
            let bounds = port.split('-').map(str::parse::<u16>).collect::<Result<Vec<_>, _>>();
            if !bounds.is_ok_and(|bounds| bounds.len() < 3) {
                return Err(malformed());
            }
        }
        let address = match address.map(|address| address.trim_matches(['[', ']']).parse::<IpAddr>()) {
            Some(Ok(address)) => format!("{address}/"),
            Some(Err(_)) => return Err(malformed()),
            None => String::new(),
        };
        let port = format!("{address}{outer}:{inner}");
        match protocol {
            "tcp" => ports.tcp.push(port),
            "udp" => ports.udp.push(port),
            _ => return Err(malformed()),
        }
    }
    Ok((!typed.publish.is_empty()).then_some(ports))
}
