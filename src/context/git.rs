//! Git repositories as build contexts and ADD sources: their addresses, and fetching them with the `git` program.
//!
//! `git` runs without the user's and the system's configuration, without hooks, prompts, or `file:` and other local
//! transports, so that neither a repository nor its submodules can make it do more than fetch.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fsutil::{Dir, Kind};

/// Where a tree of a git repository is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GitAddress {
    /// The repository, as `git` understands it.
    pub remote: String,
    /// Branch, tag, full ref name or commit; `None` is the remote's HEAD.
    pub reference: Option<String>,
    /// The directory in the tree that is meant; `None` is the whole tree.
    pub subdirectory: Option<String>,
    /// The commit that must be found.
    pub checksum: Option<String>,
    /// Whether `.git` is kept; `None` if the address does not say.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched too.
    pub submodules: bool,
}

/// Why a text is no address of a repository, or a repository cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A key after `?` that means nothing.
    #[error("unexpected query \"{key}\"")]
    UnexpectedQuery {
        /// The key.
        key: String,
    },
    /// A value after `?` that its key does not take.
    #[error("invalid value \"{value}\" for query \"{key}\"")]
    QueryValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Two parts of the address that contradict each other.
    #[error("{what} is given twice in {address}")]
    Conflict {
        /// Which part.
        what: &'static str,
        /// The address.
        address: String,
    },
    /// A reference that `git` would take for an option, or that no repository can have.
    #[error("invalid git reference \"{reference}\"")]
    Reference {
        /// The reference.
        reference: String,
    },
    /// Address and flag disagree.
    #[error("inconsistent keep-git-dir configuration")]
    KeepGitDir,
    /// The commit is another one.
    #[error("expected checksum to match {wanted}, got {found}")]
    Checksum {
        /// What was asked for.
        wanted: String,
        /// What the reference stands for.
        found: String,
    },
    /// The directory is not in the tree, or is a link out of it.
    #[error("{subdirectory} is not a directory of the repository")]
    Subdirectory {
        /// The directory.
        subdirectory: String,
    },
    /// `git` is not installed.
    #[error("git is needed to fetch {remote}, but there is no `git` program")]
    NoGit {
        /// The repository.
        remote: String,
    },
    /// `git` failed.
    #[error("git {doing} failed: {message}")]
    Git {
        /// Its subcommand.
        doing: String,
        /// The end of what it said.
        message: String,
    },
    /// The fetched files could not be handled.
    #[error("cannot prepare the fetched repository")]
    Io(#[from] io::Error),
}

impl GitAddress {
    /// Reads `remote[?key=value&...][#reference[:subdirectory]]`.
    pub fn parse(text: &str) -> Result<Self, GitError> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        // An scp-like address (`git@host:path`) has no query.
        let is_url = rest.contains("://");
        let (remote, query) = rest.split_once('?').filter(|_| is_url).unwrap_or((rest, ""));
        let mut address = Self { remote: remote.to_owned(), submodules: true, ..Self::default() };
        let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        (address.reference, address.subdirectory) = (given(reference), given(subdirectory));
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            address.take(text, &percent_decoded(key), &percent_decoded(value))?;
        }
        match &address.reference {
            Some(reference) if !is_reference(reference) => Err(GitError::Reference { reference: reference.clone() }),
            _ => Ok(address),
        }
    }

    fn take(&mut self, text: &str, key: &str, value: &str) -> Result<(), GitError> {
        let flag = || match value {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(GitError::QueryValue { key: key.to_owned(), value: value.to_owned() }),
        };
        let set = |place: &mut Option<String>, what, value: String| match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(GitError::Conflict { what, address: text.to_owned() }),
        };
        match key {
            "ref" => set(&mut self.reference, "the reference", value.to_owned()),
            "tag" => set(&mut self.reference, "the reference", format!("refs/tags/{value}")),
            "branch" => set(&mut self.reference, "the reference", format!("refs/heads/{value}")),
            "subdir" => set(&mut self.subdirectory, "the directory", value.to_owned()),
            "checksum" | "commit" => set(&mut self.checksum, "the commit", value.to_owned()),
            "keep-git-dir" => flag().map(|keep| self.keep_git_dir = Some(keep)),
            "submodules" => flag().map(|wanted| self.submodules = wanted),
            // How, not what is fetched.
            "mtime" | "fetch-by-commit" => Ok(()),
            _ => Err(GitError::UnexpectedQuery { key: key.to_owned() }),
        }
    }

    /// Fetches the tree into the empty directory `into` and returns the directory that is meant, which is below it.
    /// `keep_git_dir` and `checksum` are the flags of ADD.
    pub fn fetch(&self, into: &Path, keep_git_dir: bool, checksum: Option<&str>) -> Result<PathBuf, GitError> {
        if keep_git_dir && self.keep_git_dir == Some(false) {
            return Err(GitError::KeepGitDir);
        }
        let git = Git { directory: into, remote: &self.remote };
        git.run(&["init", "--quiet", "--template="])?;
        let commit = self.fetch_commit(&git)?;
        for wanted in [checksum, self.checksum.as_deref()].into_iter().flatten() {
            // An abbreviated commit in the address is enough; the flag wants all of it (12.5).
            let matches = if checksum.is_some() { wanted == commit } else { commit.starts_with(wanted) };
            if !matches {
                return Err(GitError::Checksum { wanted: wanted.to_owned(), found: commit });
            }
        }
        git.run(&["checkout", "--quiet", "--force", "--detach", &commit])?;
        if self.submodules && into.join(".gitmodules").exists() {
            git.run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        if !keep_git_dir && self.keep_git_dir != Some(true) {
            remove_git_dirs(into)?;
        }
        self.meant(into)
    }

    /// Fetches into the empty directory `into` and returns when the commit was made, in seconds since 1970.
    pub fn commit_time(&self, into: &Path) -> Result<i64, GitError> {
        let git = Git { directory: into, remote: &self.remote };
        git.run(&["init", "--quiet", "--template="])?;
        let commit = self.fetch_commit(&git)?;
        let time = git.run(&["show", "--no-patch", "--format=%ct", &commit])?;
        time.trim().parse().map_err(|_| GitError::Io(io::Error::other(format!("commit {commit} has no time"))))
    }

    /// Fetches what the reference stands for; returns the commit.
    fn fetch_commit(&self, git: &Git) -> Result<String, GitError> {
        let reference = self.reference.as_deref().or(self.checksum.as_deref()).unwrap_or("HEAD");
        let fetch = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", git.remote, reference];
        let name = match git.run(&fetch) {
            Ok(_) => "FETCH_HEAD^{commit}".to_owned(),
            // Some servers do not give a single commit by its id.
            Err(GitError::Git { .. }) if is_commit(reference) => {
                git.run(&["fetch", "--quiet", "--tags", "--", git.remote, "+refs/heads/*:refs/remotes/origin/*"])?;
                format!("{reference}^{{commit}}")
            }
            Err(error) => return Err(error),
        };
        Ok(git.run(&["rev-parse", "--verify", &name])?.trim().to_owned())
    }

    fn meant(&self, root: &Path) -> Result<PathBuf, GitError> {
        let Some(subdirectory) = &self.subdirectory else { return Ok(root.to_owned()) };
        let outside = || GitError::Subdirectory { subdirectory: subdirectory.clone() };
        let root = root.canonicalize()?;
        let meant = root.join(subdirectory.trim_start_matches('/')).canonicalize().map_err(|_| outside())?;
        if meant.is_dir() && meant.starts_with(&root) { Ok(meant) } else { Err(outside()) }
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether `git` can only take the text for a name (git-check-ref-format(1), in short).
fn is_reference(text: &str) -> bool {
    let odd = |byte: u8| byte <= b' ' || byte == 0x7f || b"~^:?*[\\".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && !text.contains("..") && !text.bytes().any(odd)
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Removes `.git` of the repository and of its submodules.
fn remove_git_dirs(root: &Path) -> io::Result<()> {
    let mut pending = vec![PathBuf::new()];
    let root = Dir::open(root)?;
    while let Some(path) = pending.pop() {
        let dir =
            root.open_dir_in_root(&if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.clone() })?;
        dir.remove_tree(".git".as_ref())?;
        let below = dir.entries()?.into_iter().filter(|entry| entry.kind == Kind::Directory);
        pending.extend(below.map(|entry| path.join(entry.name)));
    }
    Ok(())
}

/// The `git` program at work in one directory.
struct Git<'a> {
    directory: &'a Path,
    remote: &'a str,
}

impl Git<'_> {
    fn run(&self, arguments: &[&str]) -> Result<String, GitError> {
        let doing = arguments[0].to_owned();
        let mut command = Command::new("git");
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never", "-c", "core.fsmonitor=false"]);
        for protocol in ["git", "http", "https", "ssh"] {
            command.args(["-c", &format!("protocol.{protocol}.allow=always")]);
        }
        command.args(["-c", "advice.detachedHead=false", "-c", "init.defaultBranch=main"]).args(arguments);
        command.current_dir(self.directory).stdin(Stdio::null()).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/nonexistent").env("LC_ALL", "C");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_LFS_SKIP_SMUDGE", "1");
        command.env("GIT_SSH_COMMAND", "ssh -F /dev/null -o BatchMode=yes");
        let output = command.output().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::NoGit { remote: self.remote.to_owned() },
            _ => GitError::Io(error),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
        Err(GitError::Git { doing, message: last.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let address = GitAddress::parse("https://h.example/a/b.git#v1:sub/dir").unwrap();
        assert_eq!(address.remote, "https://h.example/a/b.git");
        assert_eq!(address.reference.as_deref(), Some("v1"));
        assert_eq!(address.subdirectory.as_deref(), Some("sub/dir"));
        let address =
            GitAddress::parse("https://h.example/b.git?tag=v1&subdir=x%20y&keep-git-dir=1&submodules=0").unwrap();
        assert_eq!(address.reference.as_deref(), Some("refs/tags/v1"));
        assert_eq!(address.subdirectory.as_deref(), Some("x y"));
        assert_eq!((address.keep_git_dir, address.submodules), (Some(true), false));
        let address = GitAddress::parse("git@h.example:a/b.git#main").unwrap();
        assert_eq!((address.remote.as_str(), address.reference.as_deref()), ("git@h.example:a/b.git", Some("main")));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = |address: &str| GitAddress::parse(address).unwrap_err().to_string();
        assert_eq!(text("https://example.invalid/x.git?bogus=1"), "unexpected query \"bogus\"");
        assert!(text("https://h.example/x.git?ref=a#b").contains("given twice"));
        assert!(text("https://h.example/x.git#--upload-pack=x").contains("invalid git reference"));
        assert!(text("https://h.example/x.git#a b").contains("invalid git reference"));
        assert!(text("https://h.example/x.git?keep-git-dir=maybe").contains("maybe"));
    }

    #[test]
    fn local_transports_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let address = GitAddress::parse(&format!("file://{}", temp.path().display())).unwrap();
        let into = tempfile::tempdir().unwrap();
        match address.fetch(into.path(), false, None) {
            Err(GitError::NoGit { .. }) => {}
            Err(GitError::Git { message, .. }) => assert!(message.contains("not allowed"), "{message}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_subdirectory_cannot_be_a_link_out_of_the_tree() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("in")).unwrap();
        std::os::unix::fs::symlink("/etc", temp.path().join("out")).unwrap();
        let meant = |name: &str| {
            let subdirectory = Some(name.to_owned());
            GitAddress { subdirectory, ..GitAddress::default() }.meant(temp.path())
        };
        assert!(meant("in").is_ok());
        for name in ["out", "..", "none", "in/../.."] {
            assert!(meant(name).is_err(), "{name}");
        }
    }
}
