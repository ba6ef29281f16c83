//! Ordinary users, for builds without root. Made by `test-user.sh`, which needs root once.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Gid, Uid, chown};

use super::tool;

/// An ordinary user of this machine.
#[derive(Clone, Debug)]
pub struct User {
    name: &'static str,
    uid: Uid,
    gid: Gid,
    home: PathBuf,
}

impl User {
    /// The user `kiln-test`, who has subordinate ids.
    pub fn with_ranges() -> Self {
        Self::made("kiln-test", "ranges")
    }

    /// The user `kiln-bare`, who has none.
    pub fn without_ranges() -> Self {
        Self::made("kiln-bare", "none")
    }

    fn made(name: &'static str, ranges: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/test-user.sh");
        tool::run(tool::tool("bash").arg(script).args([name, ranges]));
        let user = nix::unistd::User::from_name(name).expect("the user database").expect("the user just made");
        Self { name, uid: user.uid, gid: user.gid, home: user.dir }
    }

    /// Returns a command that runs `program` as this user, with the environment of a fresh log-in.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = tool::tool("setpriv");
        command
            .args(["--reuid", self.name, "--regid", &self.gid.to_string(), "--init-groups", "--inh-caps=-all", "--"])
            .arg(program)
            .env_clear()
            .env("HOME", &self.home)
            .env("USER", self.name)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
            .current_dir(&self.home);
        command
    }

    /// Gives a directory and everything in it to this user.
    pub fn give_tree(&self, directory: &Path) {
        let owner = format!("{}:{}", self.uid, self.gid);
        tool::run(tool::tool("chown").args(["-hR", &owner]).arg(directory));
    }

    /// Gives a file or directory (not what is in it) to this user.
    pub fn give(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid)).unwrap_or_else(|error| panic!("chown {}: {error}", path.display()));
    }
}
