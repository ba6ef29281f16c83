//! Runs the kiln binary on a store of its own.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::user::User;

/// A build that takes longer than this hangs.
pub const LIMIT: Duration = Duration::from_secs(600);

/// The kiln binary with a store that is removed when this is dropped.
pub struct Kiln {
    binary: PathBuf,
    store: PathBuf,
    user: Option<User>,
    scratch: tempfile::TempDir,
}

/// How a run of kiln ended, and what it said.
#[derive(Debug)]
pub struct Output {
    /// The exit status as a shell shows it: 128 + signal number when a signal ended it.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Kiln {
    /// kiln as the user who runs the tests.
    pub fn new() -> Self {
        let scratch = super::scratch();
        let store = scratch.path().join("store");
        Self { binary: binary(), store, user: None, scratch }
    }

    /// kiln as an ordinary user: a copy of the binary that this user can read, and a store that is theirs.
    pub fn of(user: User) -> Self {
        let mut kiln = Self::new();
        let copy = kiln.scratch.path().join("kiln");
        // The program is large; a second name is quicker where scratch and target are one file system.
        std::fs::hard_link(&kiln.binary, &copy)
            .or_else(|_| std::fs::copy(&kiln.binary, &copy).map(drop))
            .expect("a copy of the kiln binary");
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("mode of the copy");
        std::fs::create_dir(&kiln.store).expect("a new directory for the store");
        user.give(&kiln.store);
        let out = kiln.out();
        user.give(&out);
        kiln.binary = copy;
        kiln.user = Some(user);
        kiln
    }

    /// The same binary and user with the store at `store`.
    #[must_use]
    pub fn with_store(mut self, store: &Path) -> Self {
        self.store = store.to_owned();
        self
    }

    /// Where the store is.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// A directory for results, which the user of this kiln can write.
    pub fn out(&self) -> PathBuf {
        let out = self.scratch.path().join("out");
        std::fs::create_dir_all(&out).expect("a directory for results");
        out
    }

    /// Returns a command without arguments. The caller's own settings (docker's configuration, SOURCE_DATE_EPOCH,
    /// colours) do not reach it.
    pub fn command(&self) -> Command {
        let mut command = match &self.user {
            Some(user) => user.command(&self.binary),
            None => Command::new(&self.binary),
        };
        for name in ["SOURCE_DATE_EPOCH", "NO_COLOR", "CLICOLOR_FORCE", "SSH_AUTH_SOCK", "BUILDKIT_PROGRESS"] {
            command.env_remove(name);
        }
        command.env("KILN_ROOT", &self.store).env("DOCKER_CONFIG", self.scratch.path().join("no-docker-configuration"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs kiln with these arguments.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        output_of(self.command().args(arguments), LIMIT)
    }

    /// Runs `kiln build ARGUMENTS CONTEXT`.
    pub fn build(&self, context: &Path, arguments: &[&str]) -> Output {
        output_of(self.command().arg("build").args(arguments).arg(context), LIMIT)
    }

    /// Runs `kiln build` with an OCI archive as its output, which must succeed; returns the archive's path.
    #[track_caller]
    pub fn build_archive(&self, context: &Path, name: &str, arguments: &[&str]) -> PathBuf {
        let archive = self.out().join(name);
        let destination = format!("type=oci,dest={}", archive.display());
        let mut all = vec!["-o", &destination];
        all.extend(arguments);
        self.build(context, &all).succeeded();
        archive
    }
}

impl Output {
    /// Standard output and standard error, one after the other.
    pub fn both(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Fails the test with the whole log unless kiln succeeded.
    #[track_caller]
    pub fn succeeded(&self) -> &Self {
        assert_eq!(self.code, 0, "kiln failed\n{}", self.both());
        self
    }

    /// Fails the test unless kiln ended with an error that was said in words: no panic, no signal, not a word of the
    /// program's insides, and each of `words` in the message.
    #[track_caller]
    pub fn failed_saying(&self, words: &[&str]) -> &Self {
        let log = self.both();
        assert_ne!(self.code, 0, "kiln succeeded, but an error was expected\n{log}");
        assert!(self.code < 101, "kiln ended with status {} and not with an exit code of its own\n{log}", self.code);
        for inside in ["panicked at", "RUST_BACKTRACE", "unwrap()", "Os {"] {
            assert!(!log.contains(inside), "the message shows `{inside}`\n{log}");
        }
        let lower = log.to_lowercase();
        for word in words {
            assert!(lower.contains(&word.to_lowercase()), "the message lacks `{word}`\n{log}");
        }
        self
    }
}

/// The kiln under test: `$KILN_TEST_BINARY` (a release build, for example), else the one Cargo built for the tests.
fn binary() -> PathBuf {
    std::env::var_os("KILN_TEST_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_kiln")), PathBuf::from)
}

/// Runs a command to its end, or kills it after `limit`.
#[track_caller]
pub fn output_of(command: &mut Command, limit: Duration) -> Output {
    let directory = super::scratch();
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| directory.path().join(name));
    let create = |path: &Path| File::create(path).expect("a file for the output");
    // Files, not pipes: a child left behind by a broken build must not keep the test waiting.
    command.stdout(create(&stdout)).stderr(create(&stderr));
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let status = wait(&mut child, limit);
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).expect("the output")).into_owned();
    let mut output = Output { code: 124, stdout: read(&stdout), stderr: read(&stderr) };
    match status {
        Some(status) => output.code = shell_code(status),
        None => output.stderr.push_str("\n[the test killed it: too slow]\n"),
    }
    output
}

/// Waits for the end of a child, or kills it after `limit` and returns `None`.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the state of a child") {
            return Some(status);
        }
        if start.elapsed() > limit {
            child.kill().expect("a signal to a child");
            child.wait().expect("the end of a child");
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn shell_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
