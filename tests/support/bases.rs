//! The real base images: busybox, and Debian bookworm for two machines, made by `base-images.sh` once per machine.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::tool;

/// A base image of the tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    /// Debian's static busybox: one layer, PATH in Env, root only in /etc/passwd.
    Busybox,
    /// Debian bookworm, minbase and ca-certificates: one layer, no Env.
    Debian,
    /// Debian bookworm for arm64, only unpacked: dash as `sh`, busybox; one layer, no Env.
    Arm64,
}

impl Base {
    /// The tag in the layout that `base-images.sh` makes.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Busybox => "busybox",
            Self::Debian => "debian",
            Self::Arm64 => "arm64",
        }
    }

    /// The name a registry serves it under.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busybox => "busybox:latest",
            Self::Debian => "debian:bookworm",
            Self::Arm64 => "debian:arm64",
        }
    }
}

/// Returns the OCI image layout that holds `base` under its tag, making it when it is not there yet.
pub fn layout(base: Base) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let directory = cache_directory();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/base-images.sh");
    tool::run(tool::tool("bash").arg(script).arg(&directory).arg(base.tag()));
    directory.join("layout")
}

/// `$KILN_TEST_CACHE`, else a directory in Cargo's target directory.
pub fn cache_directory() -> PathBuf {
    match std::env::var_os("KILN_TEST_CACHE") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join("kiln-test-bases"),
    }
}
