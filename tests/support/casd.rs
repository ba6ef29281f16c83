//! A service of the Remote Execution API: `buildbox-casd`, with a directory of its own.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;
use std::time::Duration;

use super::{python, registry};

/// A running service.
pub struct Casd {
    /// `127.0.0.1:PORT`.
    pub address: String,
    child: Child,
    scratch: tempfile::TempDir,
}

impl Casd {
    /// The one that tests of this process share, if it can be had here.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Casd>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// Starts one, if it can be had here.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        let program = python::service_programs()?.join("buildbox-casd");
        // Between the choice of a port and its use, somebody else may take it.
        Some((0..5).find_map(|_| Self::try_start(&program, arguments)).expect("casd to answer on a free port"))
    }

    fn try_start(program: &Path, more: &[&str]) -> Option<Self> {
        let (address, scratch) = (registry::free_address(), super::scratch());
        let bind = format!("--bind={address}");
        // What is reserved for others must be there on this disk.
        let mut arguments: Vec<&OsStr> = vec![program.as_os_str(), bind.as_ref(), "--reserved=64M".as_ref()];
        arguments.extend(more.iter().map(OsStr::new));
        arguments.push(scratch.path().as_os_str());
        let child = registry::spawn_with_this_process(&arguments);
        let mut started = Self { address, child, scratch };
        for _ in 0..600 {
            if started.child.try_wait().expect("the state of casd").is_some() {
                return None;
            }
            if TcpStream::connect(&started.address).is_ok() {
                return Some(started);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// The files of its blobs.
    pub fn blobs(&self) -> BTreeSet<PathBuf> {
        files(&self.scratch.path().join("cas/objects"))
    }

    /// The files of its results.
    pub fn results(&self) -> BTreeSet<PathBuf> {
        files(&self.scratch.path().join("actioncache/objects"))
    }
}

fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let entries =
        std::fs::read_dir(directory).expect("a directory of casd").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { BTreeSet::from([path]) }).collect()
}

impl Drop for Casd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
