//! What a build is asked to do: plain owned data, resolved by `cli` against the machine.
//!
//! Relative paths are already joined to the working directory, names are parsed, files that belong to the
//! command line itself (secrets from the environment, a Dockerfile on standard input) are already read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Place;
use crate::export::Form;
use crate::fsutil::Timestamp;
use crate::oci::{Platform, Reference};
use crate::progress::SharedSink;
use crate::registry::{Client, ConfigFiles, Insecure, Proxies, Retry, Settings};
use crate::remotecache::{self, Accounts, SigningKey, Trust};
use crate::sandbox::ResourceLimits;
use crate::sandbox::idmap::Entered;
use crate::snapshot::Snapshotter;

/// Everything a build may depend on besides the files and registries it names.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Root of the store; made (mode 0700) when it is not there.
    pub store: PathBuf,
    /// Where `COPY` and `ADD` without `--from` read.
    pub context: ContextSource,
    /// Where the Dockerfile is.
    pub dockerfile: DockerfileSource,
    /// Names the image gets in the store, and is pushed under; in the order given, each with a tag.
    pub tags: Vec<Reference>,
    /// The stage to build; `None` is the last one.
    pub target: Option<String>,
    /// Values for `ARG`, in the order given; of equal names the last one counts.
    pub build_args: Vec<(String, String)>,
    /// Contexts by name; a name hides the stage or image that `FROM` or `--from` would find. Names that are image
    /// references are in their familiar form without `:latest`.
    pub build_contexts: BTreeMap<String, NamedContext>,
    /// Labels added to the image's config after those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// Annotations of manifest and index, in the order given.
    pub annotations: Vec<Annotation>,
    /// What `RUN --mount=type=secret` may see; ids are unique.
    pub secrets: Vec<Secret>,
    /// What `RUN --mount=type=ssh` may see; ids are unique.
    pub ssh: Vec<SshAgent>,
    /// The network of each `RUN` that does not name its own.
    pub network: Network,
    /// Privileges a Dockerfile may ask for.
    pub allow: BTreeSet<Entitlement>,
    /// Devices of each `RUN`, by the names their vendors gave them; they are allowed as well.
    pub devices: Vec<String>,
    /// Lines for `/etc/hosts` of each `RUN`: name and address; in the order given.
    pub add_hosts: Vec<(String, String)>,
    /// How much each `RUN` may use.
    pub limits: ResourceLimits,
    /// Platforms to build for, in the order given; empty is the platform of this machine.
    pub platforms: Vec<Platform>,
    /// Which steps must run although the cache holds their result.
    pub no_cache: Which,
    /// Which steps the cache must have: if it lacks one of them, or one that they need, nothing is run.
    pub require_cached: Which,
    /// Whether every step that runs says why it was not in the cache.
    pub explain: bool,
    /// Caches that are shared with other machines.
    pub shared_caches: SharedCaches,
    /// Whether tags of base images are resolved anew although the store knows them.
    pub pull: bool,
    /// What is said of the images beside them.
    pub attestations: Attestations,
    /// What becomes of the result; never empty when `call` is [`Call::Build`].
    pub outputs: Vec<Output>,
    /// The time at which the build was asked for.
    pub now: Timestamp,
    /// How registries are talked to.
    pub registry: RegistrySettings,
    /// How many steps may run at once; `None` leaves it to the solver.
    pub jobs: Option<usize>,
    /// Whether nothing of the image depends on when it is made: without SOURCE_DATE_EPOCH the time is 1970, and no time of a new file
    /// is later.
    pub reproducible: bool,
    /// Whether every step is done twice, and must make the same layer.
    pub verify_reproducible: bool,
    /// Whether to build, or only to describe.
    pub call: Call,
    /// How stacks of layers become trees; `None` tries what can be had.
    pub snapshotter: Option<Snapshotter>,
    /// What isolates the steps. Without a meaning to calls that describe.
    pub entered: Entered,
    /// The user's list of known ssh hosts; it need not exist.
    pub known_hosts: Option<PathBuf>,
    /// The text of this machine's `/etc/resolv.conf`; empty when there is none.
    pub host_resolv_conf: String,
}

/// The main build context.
#[derive(Clone, Debug)]
pub enum ContextSource {
    /// A directory, by absolute path.
    Directory(PathBuf),
    /// A tar archive, plain or compressed: an open file positioned at its start, without a name of its own.
    Tar(Arc<File>),
    /// No files at all: the Dockerfile came alone on standard input.
    Empty,
    /// A git repository, as typed: `https://host/repo.git#ref:subdir`.
    Git(String),
    /// A file behind HTTP: a tar archive, or a Dockerfile alone.
    Http(String),
}

/// Where the Dockerfile is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DockerfileSource {
    /// A path in the build context.
    InContext(PathBuf),
    /// A file, by absolute path; `<path>.dockerignore` beside it takes precedence.
    File(PathBuf),
    /// The text itself.
    Text {
        /// Its name in diagnostics.
        name: String,
        /// The Dockerfile.
        text: Vec<u8>,
    },
    /// A file behind HTTP.
    Http(String),
}

/// A context given by `--build-context NAME=...`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NamedContext {
    /// A directory, by absolute path.
    Directory(PathBuf),
    /// An image of a registry or of the store.
    Image(Reference),
    /// An image in an OCI layout directory.
    OciLayout {
        /// The directory, absolute.
        path: PathBuf,
        /// `name:tag`, `tag` or `name@digest` in its index; `None` takes `latest`, or the only image.
        reference: Option<String>,
    },
    /// A stage of the Dockerfile, by its name in small letters.
    Target(String),
    /// A git repository, as typed.
    Git(String),
    /// A file behind HTTP, which is the only file of the context: `context`.
    Http(String),
}

/// One `--annotation`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Annotation {
    /// What it is written on.
    pub level: AnnotationLevel,
    /// The platform it is for; `None` is each.
    pub platform: Option<Platform>,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What an annotation is written on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AnnotationLevel {
    /// The image manifest.
    Manifest,
    /// The image index.
    Index,
    /// The descriptor of a manifest inside the image index.
    ManifestDescriptor,
    /// The descriptor of the image index inside an OCI layout.
    IndexDescriptor,
}

/// One `--secret`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// The id that mounts name it by.
    pub id: String,
    /// Its value.
    pub source: SecretSource,
}

/// Where the value of a secret is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// A file, by absolute path; it was there when the request was made.
    File(PathBuf),
    /// The value itself, taken from the environment.
    Value(SecretBytes),
}

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(pub Vec<u8>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} secret bytes)", self.0.len())
    }
}

/// One `--ssh`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SshAgent {
    /// The id that mounts name it by; `default` when none was given.
    pub id: String,
    /// What is forwarded.
    pub source: SshSource,
}

/// What an ssh mount reaches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SshSource {
    /// The socket of a running agent.
    Socket(PathBuf),
    /// Private key files.
    Keys(Vec<PathBuf>),
}

/// The network of a `RUN`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Network {
    /// The builder's choice.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The machine's own.
    Host,
}

/// A privilege a Dockerfile may ask for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Entitlement {
    /// `network.host`: `RUN --network=host`.
    NetworkHost,
    /// `security.insecure`: `RUN --security=insecure`.
    SecurityInsecure,
    /// `device`: every device that `RUN --device` asks for.
    Devices,
    /// `device=NAME`: that one.
    Device(String),
}

/// Steps, by their stages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// None.
    None,
    /// All.
    All,
    /// Those of the named stages.
    Stages(Vec<String>),
}

/// Caches that are shared with other machines (`--cache-from`, `--cache-to`); by default none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SharedCaches {
    /// Those that are read.
    pub from: Vec<CacheSource>,
    /// Those that are written. None of them is read unless it is among `from`.
    pub to: Vec<CacheTarget>,
    /// Images that are pushed or written to a file hold records of their own steps.
    pub inline: Option<InlineCache>,
    /// Whose records are used that came from other shared caches in earlier builds.
    pub trust: Trust,
    /// Who buckets know the build by.
    pub accounts: Accounts,
}

/// A shared cache that is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheSource {
    /// Where it is.
    pub place: Place,
    /// Whose records of it are used.
    pub trust: Trust,
}

/// The cache in an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InlineCache {
    /// What signs its records.
    pub sign: Option<SigningKey>,
}

/// A shared cache that is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheTarget {
    /// Where it is.
    pub place: Place,
    /// Which steps it gets.
    pub mode: CacheMode,
    /// Whether the build succeeds although something could not be written.
    pub ignore_error: bool,
    /// What signs its records.
    pub sign: Option<SigningKey>,
}

/// Which steps a shared cache gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheMode {
    /// Those whose layers the images have.
    Min,
    /// All.
    Max,
}

/// What becomes of the result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// An image in the store, under the tags of the request and the names of the attributes.
    Image {
        /// Whether it is also pushed under each of its names.
        push: bool,
        /// How its blobs are written.
        attributes: ImageAttributes,
    },
    /// An image in the store, and in the engine that runs images on this machine.
    Load {
        /// Which.
        into: LoadInto,
        /// How its blobs are written.
        attributes: ImageAttributes,
    },
    /// An OCI layout.
    Oci {
        /// Where.
        destination: Destination,
        /// One tar archive; otherwise `destination` is a directory.
        tar: bool,
        /// How its blobs are written.
        attributes: ImageAttributes,
    },
    /// An archive as `docker save` writes and `docker load` reads.
    Docker {
        /// Where.
        destination: Destination,
        /// How its blobs are written.
        attributes: ImageAttributes,
    },
    /// The files of the result, in a directory.
    Local(LocalDirectory),
    /// The files of the result, in one tar archive.
    Tar {
        /// Where.
        destination: Destination,
        /// As [`LocalDirectory::split`]; those of several platforms cannot be in one directory of a tar.
        split: Option<bool>,
    },
    /// Nothing: steps run and stay in the cache.
    CacheOnly,
}

impl Output {
    /// How the blobs of an image are written, if this makes one.
    pub fn attributes(&self) -> Option<&ImageAttributes> {
        match self {
            Self::Image { attributes, .. }
            | Self::Load { attributes, .. }
            | Self::Oci { attributes, .. }
            | Self::Docker { attributes, .. } => Some(attributes),
            Self::Local(_) | Self::Tar { .. } | Self::CacheOnly => None,
        }
    }
}

/// The engine that an image is given to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadInto {
    /// Which.
    pub engine: EngineChoice,
    /// The address of docker's daemon, in the form of `DOCKER_HOST`.
    pub docker_host: String,
}

/// Which engine is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineChoice {
    /// Docker, else podman, else containerd: the first that answers. Where none does the image is only in the store.
    Any,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// containerd.
    Containerd,
    /// None: the image stays in the store.
    Store,
}

/// A directory that files are written into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalDirectory {
    /// The directory, by absolute path.
    pub path: PathBuf,
    /// Whether each platform gets a subdirectory; `None` is when there are several.
    pub split: Option<bool>,
    /// Whether what the directory holds and the result does not is removed.
    pub delete: bool,
}

/// Where an output that is one stream of bytes goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// A file, by absolute path; it appears when it is complete. A directory for `tar=false`.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// How the blobs of an image are written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImageAttributes {
    /// Names besides the tags of the request, each with a tag.
    pub names: Vec<Reference>,
    /// The codec of new layers; `None` is the output's own: none for the store, gzip elsewhere. An image that stays in the
    /// store is written anew there only if some attribute asks for other bytes.
    pub compression: Option<LayerCompression>,
    /// The codec's level; `None` is its usual one.
    pub compression_level: Option<i32>,
    /// Whether layers of the base image are written anew with `compression` too.
    pub force_compression: bool,
    /// Whether media types are OCI's (true) or docker's (false); `None` is the output's own choice.
    pub oci_media_types: Option<bool>,
    /// Whether file times in layers later than SOURCE_DATE_EPOCH become it.
    pub rewrite_timestamp: bool,
    /// Whether a push names the manifest by its digest only.
    pub push_by_digest: bool,
    /// How attestations are attached.
    pub attestations: Form,
    /// A repository: the image is also named by it and its digest, `PREFIX@DIGEST`.
    pub dangling_prefix: Option<Reference>,
    /// Whether the store also knows the image as `NAME@DIGEST`, for each name.
    pub name_canonical: bool,
    /// Whether the store keeps the files of the image laid out.
    pub unpack: bool,
    /// Whether the store does not keep the image (`store=false`).
    pub discard: bool,
    /// Annotations of this output alone, after those of the request.
    pub annotations: Vec<Annotation>,
}

impl ImageAttributes {
    /// Whether they ask for other bytes than those of the image as it is built.
    pub fn change_the_image(&self) -> bool {
        let Self { compression, compression_level, force_compression, oci_media_types, .. } = self;
        let of_blobs = compression.is_some() || compression_level.is_some() || *force_compression;
        of_blobs || oci_media_types.is_some() || self.rewrite_timestamp || !self.annotations.is_empty()
    }
}

/// What is said of the images of a build beside them; by default nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attestations {
    /// Which packages they have.
    pub sbom: bool,
    /// How they came to be.
    pub provenance: Option<Provenance>,
}

/// What is said of how an image came to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provenance {
    /// How much.
    pub mode: ProvenanceMode,
    /// Who built it: a URI.
    pub builder: Option<String>,
    /// Whether the user says that the same build gives the same image.
    pub reproducible: bool,
}

/// How much is said of how an image came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProvenanceMode {
    /// What it was made of, and no value that was given.
    Min,
    /// And what was given, the Dockerfile and the steps; never a secret.
    Max,
}

/// The codec of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayerCompression {
    /// Plain tar.
    Uncompressed,
    /// Gzip, one member.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Gzip with a member for each file, which can be fetched one by one.
    Estargz,
}

/// How registries are talked to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RegistrySettings {
    /// Hosts (`host` or `host:port`) that may be reached by plain HTTP or with an unknown certificate.
    pub insecure_hosts: Vec<String>,
    /// Where configuration is looked for; none of it need exist.
    pub files: ConfigFiles,
    /// Proxies.
    pub proxies: Proxies,
}

impl RegistrySettings {
    /// Makes a client of them; nothing is read or connected yet. `sink` hears of waits.
    pub fn client(&self, sink: SharedSink) -> Client {
        let settings = Settings {
            insecure: Insecure::Hosts(self.insecure_hosts.iter().cloned().collect()),
            files: self.files.clone(),
            proxies: self.proxies.clone(),
            ..Settings::default()
        };
        Client::telling(settings, sink)
    }

    /// Makes one that gives up soon and says nothing: for shared caches, which a build does without rather than wait.
    pub fn impatient_client(&self) -> Client {
        let retry = Retry {
            attempts: 2,
            base: Duration::from_millis(100),
            longest: Duration::from_millis(500),
            longest_asked: Duration::from_secs(1),
        };
        let settings = Settings {
            insecure: Insecure::Hosts(self.insecure_hosts.iter().cloned().collect()),
            files: self.files.clone(),
            proxies: self.proxies.clone(),
            retry,
            concurrency: remotecache::CONCURRENCY,
            ..Settings::default()
        };
        Client::new(settings)
    }
}

/// Whether to build, or only to describe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Call {
    /// Build.
    #[default]
    Build,
    /// Run the lint rules.
    Check,
    /// Describe what the target can be given.
    Outline,
    /// List the stages.
    Targets,
}
