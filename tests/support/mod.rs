//! What the tests that run the real binary share: a store of their own, a runner, a registry with real base images,
//! an ordinary user, and a reader of the images that come out.
//!
//! Nothing here is skipped in silence. A missing tool fails the test with the name of its Debian package, and a
//! test that cannot run at all on this machine says why with [`skip`], which is a failure in CI.

// Each test binary uses a part of this.
#![allow(dead_code, unreachable_pub, unused_imports)]
// Tests are the edge: they read the environment, list directories, look at the clock and print.
#![allow(clippy::disallowed_methods, clippy::print_stderr)]

pub mod apt;
pub mod bases;
pub mod bucket;
pub mod bundle;
pub mod casd;
pub mod gate;
pub mod http;
pub mod image;
pub mod kiln;
pub mod leftovers;
pub mod machine;
pub mod python;
pub mod registry;
pub mod relay;
pub mod repository;
pub mod ssh;
pub mod tool;
pub mod user;

use std::path::Path;

pub use kiln::{Kiln, Output};

/// Says why a test does not run. In CI, where every test runs, this fails.
pub fn skip(reason: &str) {
    assert!(!in_ci(), "skipped, which CI does not allow: {reason}");
    eprintln!("SKIPPED: {reason}");
}

/// Whether this is a CI run.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// Whether a test that needs root (to make users, mounts, containers) can run; says so when it cannot.
pub fn has_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skip("needs root");
    }
    is_root
}

/// Writes `contents` to `directory/name`, making the directories in between.
pub fn write(directory: &Path, name: &str, contents: impl AsRef<[u8]>) {
    let path = directory.join(name);
    let parent = path.parent().expect("a file below a directory has a parent");
    std::fs::create_dir_all(parent).unwrap_or_else(|error| panic!("cannot make {}: {error}", parent.display()));
    std::fs::write(&path, contents).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// A new scratch directory that any user can enter; removed when dropped.
pub fn scratch() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new().prefix("kiln-test-").tempdir().expect("a scratch directory");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("mode of the scratch");
    directory
}

/// A copy of a directory that any user can read; removed when dropped.
pub fn copy_of(directory: &Path) -> tempfile::TempDir {
    let copy = scratch();
    let mut from = directory.as_os_str().to_owned();
    from.push("/.");
    tool::run(tool::tool("cp").args(["-rT", "--preserve=mode,timestamps"]).arg(from).arg(copy.path()));
    tool::run(tool::tool("chmod").args(["-R", "a+rX"]).arg(copy.path()));
    copy
}
