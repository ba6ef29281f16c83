//! Other people's programs that tests call, each with the Debian package it comes from.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns a command for a program that must be installed; fails with the name of its Debian package otherwise.
#[track_caller]
pub fn tool(name: &str) -> Command {
    assert!(find(name).is_some(), "`{name}` is not installed: apt-get install {}", package_of(name));
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    command
}

/// Runs a command that must succeed; returns what it printed to standard output.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Copies a program that is to be run. Were it written by this process, a child that another thread has just forked could have it open
/// for writing, and the kernel runs no such file (ETXTBSY).
#[track_caller]
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    run(tool("cp").arg("--preserve=mode").args([from.as_ref(), to.as_ref()]));
}

/// Returns where a program is, looking in the system's own directories too: an ordinary user's PATH may lack them.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|directory| directory.join(name)).find(|file| file.is_file())
}

fn package_of(name: &str) -> &str {
    match name {
        "find" => "findutils",
        "dockerd" => "docker.io",
        "ctr" => "containerd",
        "go" => "golang-go",
        "mkfs.ext4" => "e2fsprogs",
        "newuidmap" => "uidmap",
        "pasta" => "passt",
        "prlimit" | "setpriv" | "unshare" | "mount" | "umount" => "util-linux",
        "rpmbuild" => "rpm",
        "script" => "bsdutils",
        "ssh-add" | "ssh-agent" | "ssh-keygen" => "openssh-client",
        "sshd" => "openssh-server",
        "useradd" => "passwd",
        same => same,
    }
}
