//! The only place that reads environment variables, the clock, standard input and the machine's files for
//! the command line. Everything else here is a function of an [`Environment`] and of what was typed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::usage::UsageError;
use crate::context::is_archive;
use crate::fsutil::{Timestamp, random_name};

/// What the process was started with, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    /// The environment variables that are UTF-8.
    pub(super) variables: BTreeMap<String, String>,
    /// The working directory, absolute.
    pub(super) directory: PathBuf,
    /// Whether the process is root of the machine (or of a container), and not of a user namespace of its own.
    pub(super) is_root: bool,
    /// The time.
    pub(super) now: Timestamp,
    /// The text of `/etc/resolv.conf`, or empty.
    pub(super) resolv_conf: String,
    /// Whether standard output is a terminal.
    pub(super) stdout_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub(super) stderr_is_terminal: bool,
}

impl Environment {
    /// Reads all of it.
    pub(super) fn read() -> Result<Self, UsageError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Ok(Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            directory: std::env::current_dir().map_err(UsageError::NoWorkingDirectory)?,
            is_root: rustix::process::geteuid().is_root() && root_is_root(),
            now: now(),
            resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
        })
    }

    /// Returns a variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns `path` joined to the working directory.
    pub(super) fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        // Without the dots: `/work/.` is `/work`.
        self.directory.join(path).components().collect()
    }

    /// Returns where the store is: as typed, `$KILN_ROOT`, `/var/lib/kiln` for root, else the XDG data directory.
    pub(super) fn store(&self, typed: Option<&Path>) -> Result<PathBuf, UsageError> {
        if let Some(path) = typed {
            return Ok(self.absolute(path));
        }
        if let Some(path) = self.variable("KILN_ROOT") {
            return Ok(self.absolute(path));
        }
        if self.is_root {
            return Ok(PathBuf::from("/var/lib/kiln"));
        }
        let data = self.variable("XDG_DATA_HOME").filter(|path| path.starts_with('/')).map(PathBuf::from);
        let home = || self.variable("HOME").map(|home| Path::new(home).join(".local/share"));
        data.or_else(home).map(|data| data.join("kiln")).ok_or(UsageError::NoStore)
    }

    /// Returns where ssh keeps the hosts that the user knows.
    pub(super) fn known_hosts(&self) -> Option<PathBuf> {
        self.variable("HOME").map(|home| self.absolute(home).join(".ssh/known_hosts"))
    }
}

/// Whether uid 0 here is uid 0 outside too: an ordinary user is uid 0 only of a user namespace.
fn root_is_root() -> bool {
    // A kernel without user namespaces has no such file.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().all(|line| {
        let mut numbers = line.split_ascii_whitespace();
        numbers.next() != Some("0") || numbers.next() == Some("0")
    })
}

#[expect(clippy::disallowed_methods, reason = "the one look at the clock of a build")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanoseconds: since.subsec_nanos() }
}

/// What a path is, links followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PathKind {
    /// A directory.
    Directory,
    /// A socket.
    Socket,
    /// Anything else that is there.
    File,
}

/// Says what `path` is.
pub(super) fn kind_of(path: &Path) -> io::Result<PathKind> {
    let metadata = std::fs::metadata(path)?;
    Ok(match metadata.file_type() {
        kind if kind.is_dir() => PathKind::Directory,
        kind if kind.is_socket() => PathKind::Socket,
        _ => PathKind::File,
    })
}

/// Returns how many bytes the file at `path` has.
pub(super) fn length_of(path: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

/// What standard input held when it was given as the build context.
#[derive(Debug)]
pub(super) enum StdinContext {
    /// A tar archive, at its start.
    Tar(Arc<File>),
    /// A Dockerfile.
    Dockerfile(Vec<u8>),
}

/// Returns a text that the machine says of itself, for example below `/proc`.
pub(super) fn machine_text(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Reads standard input as a build context.
pub(super) fn stdin_context() -> Result<StdinContext, UsageError> {
    spool(io::stdin().lock()).map_err(UsageError::Stdin)
}

/// Opens the file at `path` if it is an archive.
pub(super) fn archive(path: &Path) -> io::Result<Option<Arc<File>>> {
    let mut file = File::open(path)?;
    let is_archive = is_archive(&mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(is_archive.then(|| Arc::new(file)))
}

/// Reads standard input as text.
pub(super) fn stdin_text() -> Result<Vec<u8>, UsageError> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(DOCKERFILE_LIMIT).read_to_end(&mut bytes).map_err(UsageError::Stdin)?;
    Ok(bytes)
}

/// Asks a question on the terminal, and reads a line; unless `is_shown`, without showing what is typed.
pub(super) fn ask_for(question: &str, is_shown: bool, environment: &Environment) -> Result<String, UsageError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(UsageError::NoTerminal);
    }
    let quiet = if is_shown { None } else { Some(Quiet::begin().map_err(UsageError::Stdin)?) };
    super::terminal::print_error(question);
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    drop(quiet);
    if !is_shown && environment.stderr_is_terminal {
        super::terminal::print_error("\n");
    }
    read.map_err(UsageError::Stdin)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, for as long as this lives.
struct Quiet(nix::sys::termios::Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = nix::sys::termios::tcsetattr(io::stdin(), nix::sys::termios::SetArg::TCSADRAIN, &self.0);
    }
}

/// The longest Dockerfile taken from standard input, in bytes.
const DOCKERFILE_LIMIT: u64 = 64 << 20;

fn spool(mut input: impl Read) -> io::Result<StdinContext> {
    let mut head = Vec::new();
    input.by_ref().take(512).read_to_end(&mut head)?;
    if !is_archive(head.as_slice())? {
        input.take(DOCKERFILE_LIMIT).read_to_end(&mut head)?;
        return Ok(StdinContext::Dockerfile(head));
    }
    let mut file = nameless_file()?;
    file.write_all(&head)?;
    io::copy(&mut input, &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(StdinContext::Tar(Arc::new(file)))
}

/// Makes a file that is gone when its last handle is.
fn nameless_file() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!(".kiln-{}", random_name()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_on_standard_input_is_told_from_a_dockerfile() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        archive.append_data(&mut header, "a", &b"x"[..]).unwrap();
        let bytes = archive.into_inner().unwrap();
        let StdinContext::Tar(file) = spool(&bytes[..]).unwrap() else { panic!("not seen as a tar") };
        let mut back = Vec::new();
        (&*file).read_to_end(&mut back).unwrap();
        assert_eq!(back, bytes);

        let text = "FROM scratch\n".repeat(100);
        assert!(matches!(spool(text.as_bytes()).unwrap(), StdinContext::Dockerfile(t) if t == text.as_bytes()));
        assert!(matches!(spool(&b""[..]).unwrap(), StdinContext::Dockerfile(t) if t.is_empty()));
    }

    #[test]
    fn the_store_is_the_nearest_that_is_named() {
        let mut environment = Environment { directory: PathBuf::from("/w"), ..Environment::default() };
        assert!(environment.store(None).is_err());
        environment.variables.insert("HOME".into(), "/home/u".into());
        assert_eq!(environment.store(None).unwrap(), Path::new("/home/u/.local/share/kiln"));
        environment.variables.insert("XDG_DATA_HOME".into(), "/data".into());
        assert_eq!(environment.store(None).unwrap(), Path::new("/data/kiln"));
        environment.is_root = true;
        assert_eq!(environment.store(None).unwrap(), Path::new("/var/lib/kiln"));
        environment.variables.insert("KILN_ROOT".into(), "k".into());
        assert_eq!(environment.store(None).unwrap(), Path::new("/w/k"));
        assert_eq!(environment.store(Some(Path::new("s"))).unwrap(), Path::new("/w/s"));
    }
}
