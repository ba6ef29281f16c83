//! Git repositories made for a test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository with a work tree, whose commits are the same on every machine.
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    /// Makes `parent/name`.
    pub fn new(parent: &Path, name: &str) -> Self {
        Self::with_format(parent, name, "sha1")
    }

    /// Makes `parent/name`, whose objects are named by that hash.
    pub fn with_format(parent: &Path, name: &str, format: &str) -> Self {
        let path = parent.join(name);
        std::fs::create_dir(&path).expect("a new directory");
        let repository = Self { path };
        repository.git(&["init", "--quiet", "--initial-branch=main", "--object-format", format]);
        repository
    }

    /// Its directory, which is served as `name/.git` or, by [`Repository::publish`], as a bare one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs git in it; returns what it says.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "protocol.file.allow=always"]).args(arguments).current_dir(&self.path);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "kiln").env(format!("GIT_{who}_EMAIL"), "kiln@example.com");
            command.env(format!("GIT_{who}_DATE"), "1500000000 +0000");
        }
        let output = command.output().expect("git is installed");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes files and commits everything; returns the commit.
    #[track_caller]
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            super::write(&self.path, name, text);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=commit"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Makes or renews the bare copy `parent/name.git`.
    pub fn publish(&self) {
        let bare = self.path.with_extension("git");
        let _ = std::fs::remove_dir_all(&bare);
        let bare = bare.to_str().expect("UTF-8");
        self.git(&["clone", "--quiet", "--mirror", ".", bare]);
        self.git(&["--git-dir", bare, "update-server-info"]);
    }
}
