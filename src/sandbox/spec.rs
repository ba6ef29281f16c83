//! What a sandboxed process is and sees: plain data.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ResourceLimits;

/// One process to run. Paths named `target` and `cwd` are inside the rootfs and are resolved there by
/// the kernel, links included; all other paths are the builder's own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// What is mounted at `/`.
    pub rootfs: Rootfs,
    /// Whether this process has one id only: others, owners and device nodes are then emulated, and noted on the files
    /// ([`crate::fsutil::Owners::Noted`]).
    pub single_id: bool,
    /// Mounts besides the standard ones (`/proc`, `/sys`, `/dev`, `/etc/hosts`, `/etc/resolv.conf`), in any
    /// order: parents are mounted first, and of several with one target the last wins.
    pub mounts: Vec<Mount>,
    /// The command and its arguments. A command without a slash is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment, in order. Nothing is added.
    pub env: Vec<(String, String)>,
    /// The working directory, absolute; created (mode 0755) when missing.
    pub cwd: PathBuf,
    /// Who the process is.
    pub user: ProcessUser,
    /// The host name it sees.
    pub hostname: String,
    /// What it reaches.
    pub network: Network,
    /// Whether it is confined at all.
    pub security: Security,
    /// What keeps it apart.
    pub isolation: Isolation,
    /// The text of `/etc/hosts`, a read-only mount; `None` leaves the image's file.
    pub hosts: Option<String>,
    /// The text of `/etc/resolv.conf`, a read-only mount; `None` leaves the image's file.
    pub resolv_conf: Option<String>,
    /// How much it may use.
    pub limits: ResourceLimits,
    /// What it reads.
    pub input: Input,
}

/// The standard input of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Input {
    /// Nothing: reads see the end at once.
    #[default]
    Nothing,
    /// What the caller gives.
    Given,
    /// A terminal of its own, made in its own `/dev/pts`, which is its output as well.
    Terminal {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
}

/// The text of `/etc/hosts` of a machine by that name, as BuildKit writes it.
pub fn hosts_of(hostname: &str) -> String {
    format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
}

/// An overlay of finished layers with one that takes the writes, or a directory that is the whole root by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rootfs {
    /// Lower directories, bottom first; at most 500. None: `upper` is all there is.
    pub lowers: Vec<PathBuf>,
    /// Takes the writes; over lower directories it holds the difference in overlayfs form afterwards. The caller owns it
    /// alone.
    pub upper: PathBuf,
    /// Overlayfs' own directory, empty, fresh for each run (a `volatile` mount leaves a mark that refuses a second)
    /// and on the file system of `upper`.
    pub work: PathBuf,
    /// Whether this process is in a user namespace: overlay marks are then `user.overlay.*`, and device nodes are bound
    /// from the host because they cannot be made.
    pub userxattr: bool,
}

/// A mount of one step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mount {
    /// A file or directory of the builder's file system: a context, a cache.
    Bind {
        /// The directory that `subpath` is resolved in, or the file when `subpath` is empty.
        source: PathBuf,
        /// Below `source`, resolved there as if it were `/`; empty or `/` for all of it.
        subpath: PathBuf,
        /// Where it is mounted.
        target: PathBuf,
        /// Whether writes are refused.
        readonly: bool,
    },
    /// A device of this machine, with the mode and the owner it has here.
    Device {
        /// Its node.
        source: PathBuf,
        /// Where it appears.
        target: PathBuf,
    },
    /// The merged view of a stack of layers, of another stage or image.
    Layers {
        /// Lower directories, bottom first; at least one.
        lowers: Vec<PathBuf>,
        /// Below the merged view, resolved there as if it were `/`; empty or `/` for all of it.
        subpath: PathBuf,
        /// Where it is mounted.
        target: PathBuf,
        /// If not, writes go to memory and are forgotten with the step.
        readonly: bool,
    },
    /// A stack of layers and a directory that takes the writes and keeps them. Mounts of one step with the same `upper` are one
    /// file system.
    Overlay {
        /// Lower directories, bottom first; at least one.
        lowers: Vec<PathBuf>,
        /// Takes the writes, as that of the [`Rootfs`]. Its own mode and owner are those of the mounted directory.
        upper: PathBuf,
        /// Overlayfs' own directory, empty and fresh.
        work: PathBuf,
        /// Where it is mounted.
        target: PathBuf,
        /// Whether writes are refused here.
        readonly: bool,
    },
    /// A memory file system.
    Tmpfs {
        /// Where it is mounted.
        target: PathBuf,
        /// The most it may hold, in bytes; `None` for the kernel's default, half of the memory.
        size: Option<u64>,
        /// The mode of its root directory.
        mode: u32,
        /// Whether nothing can be put there.
        readonly: bool,
    },
    /// A file with these bytes, in memory only, read-only and not executable.
    Secret {
        /// The content.
        data: SecretBytes,
        /// Where it is mounted.
        target: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A socket inside the sandbox whose connections are carried to a socket of the builder's file system.
    Socket {
        /// The socket of the agent.
        source: PathBuf,
        /// Where it appears.
        target: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl Mount {
    /// Returns where it is mounted.
    pub fn target(&self) -> &PathBuf {
        match self {
            Self::Bind { target, .. }
            | Self::Device { target, .. }
            | Self::Layers { target, .. }
            | Self::Overlay { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::Secret { target, .. }
            | Self::Socket { target, .. } => target,
        }
    }
}

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretBytes(pub Vec<u8>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// Numeric ids, as the process sees them.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessUser {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
}

/// What a process reaches over the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Network {
    /// Its own network with a way out and none to the host's loopback; the host's network where that cannot be
    /// had, which the outcome tells.
    Default,
    /// A loopback device and nothing else.
    None,
    /// The host's network, abstract unix sockets and loopback included.
    Host,
}

/// What keeps a process apart from the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Isolation {
    /// Namespaces, and mounts of its own.
    #[default]
    Namespaces,
    /// Nothing but another root directory and fewer rights. The root file system has no lower directories then, and mounts
    /// are whole files and directories of its file system, which are moved there and back.
    Chroot,
}

/// How a process is confined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Security {
    /// The capabilities, system calls and paths containers usually have.
    Sandbox,
    /// All capabilities of the builder, no system call filter, nothing masked. Namespaces stay.
    Insecure,
}
