//! The command line exactly as typed: names, shapes and help texts, nothing resolved.
//!
//! The flags of `kiln build` are those of `docker buildx build`, so that one can stand for the other. What
//! a value means is decided in [`super::request`]; a flag kiln has no answer for yet is known here, so that it
//! can be refused by name.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::account::{LoginArguments, LogoutArguments};
use super::image_args::{
    CopyArguments, DiffArguments, DuArguments, HistoryArguments, ImagesArguments, ImportArguments, InspectArguments,
    LoadArguments, PruneArguments, PullArguments, PushArguments, RemoveArguments, RunArguments, SaveArguments,
    TagArguments,
};
use super::manifest::{ImagetoolsVerb, ManifestVerb};
use super::sign::{KeyPairArguments, SignArguments, VerifyArguments};

/// The table of [`super::report::Exit`], for those who write scripts.
const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  the build failed: the Dockerfile, the context, or a command it runs
    2  the command line makes no sense
    3  this machine lacks something, or a file cannot be written
    4  a registry or another server did not answer as it should; try again
    5  a bug
    6  a step made two different layers (--verify-reproducible)
  130  canceled";

/// Builds OCI images from Dockerfiles: no daemon, no root.
#[derive(Parser, Debug)]
#[command(name = "kiln", version, max_term_width = 100, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(super) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Build an image from a Dockerfile
    Build(Box<BuildArguments>),
    /// List the images of the store
    Images(ImagesArguments),
    /// Show all that is known of images
    Inspect(InspectArguments),
    /// Show how an image was made
    History(HistoryArguments),
    /// Run a command in an image, to try it
    Run(RunArguments),
    /// Show how two images differ
    Diff(DiffArguments),
    /// Copy files out of an image
    Cp(CopyArguments),
    /// Fetch an image from its registry
    Pull(PullArguments),
    /// Send an image to a registry
    Push(PushArguments),
    /// Sign an image in its registry with a key
    Sign(SignArguments),
    /// Check the signatures of an image in its registry
    Verify(VerifyArguments),
    /// Make a pair of keys for signatures
    GenerateKeyPair(KeyPairArguments),
    /// Write images to an archive
    Save(SaveArguments),
    /// Read images from an archive
    Load(LoadArguments),
    /// Make an image of the files of a tar
    Import(ImportArguments),
    /// Make, change, look at and send indexes of images
    #[command(subcommand)]
    Manifest(ManifestVerb),
    /// The same as `docker buildx imagetools`: indexes that are in registries only
    #[command(subcommand)]
    Imagetools(ImagetoolsVerb),
    /// Give an image another name
    Tag(TagArguments),
    /// Remove images
    Rmi(RemoveArguments),
    /// Show what takes how much room
    Du(DuArguments),
    /// Remove what no image of the store needs
    Prune(PruneArguments),
    /// Log in to a registry
    Login(LoginArguments),
    /// Log out of a registry
    Logout(LogoutArguments),
    /// Say what this machine offers to a build, and what it lacks
    Doctor(StoreArguments),
}

/// Which store to work on.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct StoreArguments {
    /// Directory of images, layers and cache [default: $KILN_ROOT, else per user]
    #[arg(long = "store", alias = "root", value_name = "DIR")]
    pub(super) store: Option<PathBuf>,
}

/// `kiln build`.
#[derive(Args, Debug, Default)]
#[command(override_usage = "kiln build [OPTIONS] PATH | URL | -")]
pub(super) struct BuildArguments {
    /// The build context: a directory, a git or HTTP URL, or `-` for a tar archive or a Dockerfile on standard input
    #[arg(value_name = "PATH | URL | -")]
    pub(super) context: String,

    /// Dockerfile to build, `-` for standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<String>,
    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub(super) target: Option<String>,
    /// Value of an ARG; without a value, that of the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(super) build_arg: Vec<String>,
    /// Another context: a directory, git or HTTP URL, docker-image://REF or oci-layout://DIR
    #[arg(long, value_name = "NAME=SOURCE")]
    pub(super) build_context: Vec<String>,
    /// Platforms to build for
    #[arg(long, value_name = "OS/ARCH[,..]", value_delimiter = ',')]
    pub(super) platform: Vec<String>,

    /// Name of the image
    #[arg(short, long, value_name = "NAME[:TAG]", help_heading = "Result")]
    pub(super) tag: Vec<String>,
    /// Where the result goes: DIR, or type=image|oci|docker|local|tar|cacheonly[,dest=..][,..]
    #[arg(short, long, value_name = "SPEC", help_heading = "Result")]
    pub(super) output: Vec<String>,
    /// Push the image (type=registry)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    #[arg(help_heading = "Result")]
    pub(super) push: bool,
    /// Give the image to the engine that runs images here: docker, podman or containerd, the first that answers (type=docker);
    /// kiln keeps it in its own store only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "ENGINE", help_heading = "Result")]
    pub(super) load: Option<String>,
    /// Label for the image's config
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Result")]
    pub(super) label: Vec<String>,
    /// Annotation for manifest or index
    #[arg(long, value_name = "[LEVEL:]NAME=VALUE", help_heading = "Result")]
    pub(super) annotation: Vec<String>,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(super) iidfile: Option<PathBuf>,
    /// Write digests and names of the result to a file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(super) metadata_file: Option<PathBuf>,
    /// What is said of the image beside it.
    #[command(flatten)]
    pub(super) attestations: AttestationArguments,

    /// Make an image that does not depend on when it is built: times of new files and of the config are SOURCE_DATE_EPOCH
    /// at the latest, or else 1970
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    #[arg(help_heading = "Result")]
    pub(super) reproducible: bool,
    /// Do every step again, without the cache, and fail if a layer is another one the second time
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    #[arg(help_heading = "Result")]
    pub(super) verify_reproducible: bool,

    /// Run every step, whatever the cache holds
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    #[arg(help_heading = "Cache")]
    pub(super) no_cache: bool,
    /// Run every step of these stages
    #[arg(long, value_name = "STAGE[,..]", value_delimiter = ',', help_heading = "Cache")]
    pub(super) no_cache_filter: Vec<String>,
    /// Say of every step that runs why it was not in the cache
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    #[arg(help_heading = "Cache")]
    pub(super) explain: bool,
    /// Fail before anything runs if a step would have to, of the image or of these stages
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "", value_delimiter = ',')]
    #[arg(value_name = "STAGE[,..]", help_heading = "Cache")]
    pub(super) require_cached: Vec<String>,
    /// Read a cache that is shared with other machines: IMAGE, type=registry,ref=REPOSITORY[:TAG], type=local,src=DIR,
    /// type=s3,bucket=B,region=R or type=reapi,endpoint=grpc[s]://HOST:PORT; trust-key=FILE: only what this key signed
    /// [default: $KILN_CACHE_TRUST_KEYS] [default: $KILN_CACHE_FROM]
    #[arg(long, value_name = "SPEC", help_heading = "Cache")]
    pub(super) cache_from: Vec<String>,
    /// Write one: type=registry,ref=REPOSITORY[:TAG], type=local,dest=DIR, type=s3,bucket=B,region=R,
    /// type=reapi,endpoint=grpc[s]://HOST:PORT or type=inline; mode=min|max; sign-key=FILE
    /// [default: $KILN_CACHE_SIGN_KEY] [default: $KILN_CACHE_TO]
    #[arg(long, value_name = "SPEC", help_heading = "Cache")]
    pub(super) cache_to: Vec<String>,
    /// Resolve base images anew
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    #[arg(help_heading = "Cache")]
    pub(super) pull: bool,

    /// Secret for RUN --mount=type=secret: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SPEC", help_heading = "Steps")]
    pub(super) secret: Vec<String>,
    /// Agent socket or keys for RUN --mount=type=ssh
    #[arg(long, value_name = "default|ID[=SOCKET|KEY[,..]]", help_heading = "Steps")]
    pub(super) ssh: Vec<String>,
    /// Network of RUN: default, none or host
    #[arg(long, value_name = "MODE", help_heading = "Steps")]
    pub(super) network: Option<String>,
    /// Line for /etc/hosts
    #[arg(long, value_name = "HOST:IP", help_heading = "Steps")]
    pub(super) add_host: Vec<String>,
    /// Device of every RUN, by its CDI name
    #[arg(long, value_name = "VENDOR/CLASS=NAME", help_heading = "Steps")]
    pub(super) device: Vec<String>,
    /// Privilege the Dockerfile may use: network.host, security.insecure, device, device=NAME
    #[arg(long, value_name = "PRIVILEGE", value_delimiter = ',', help_heading = "Steps")]
    pub(super) allow: Vec<String>,
    /// How steps are isolated: default, or chroot, which does NOT isolate them, for root where there are no namespaces
    #[arg(long, value_name = "TYPE", help_heading = "Steps")]
    pub(super) isolation: Option<String>,
    /// How many steps may run at once
    #[arg(long, value_name = "NUMBER", help_heading = "Steps")]
    pub(super) jobs: Option<usize>,

    /// What each RUN may use.
    #[command(flatten)]
    pub(super) limits: LimitArguments,

    /// Describe in place of building: check, outline or targets
    #[arg(long, value_name = "METHOD", help_heading = "Output on the terminal")]
    pub(super) call: Option<String>,
    /// Run the lint rules (--call=check)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    #[arg(help_heading = "Output on the terminal")]
    pub(super) check: bool,
    /// How progress looks: auto, plain, tty, rawjson or quiet
    #[arg(long, value_name = "TYPE", help_heading = "Output on the terminal")]
    pub(super) progress: Option<String>,
    /// Print the image id only
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true)]
    #[arg(hide_default_value = true, help_heading = "Output on the terminal")]
    pub(super) quiet: bool,

    /// How layers become the tree that a step sees.
    #[arg(long, hide = true, value_name = "overlay|copy")]
    pub(super) snapshotter: Option<String>,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
    /// Registry to talk to by plain HTTP, or whose certificate is not checked
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) insecure: Vec<String>,

    /// Flags that are known and refused, or known and without a meaning here.
    #[command(flatten)]
    pub(super) foreign: ForeignArguments,
}

const LIMITS: &str = "Limits of each RUN";

/// What each `RUN` may use at most. `kiln doctor` says which of these this machine has.
#[derive(Args, Debug, Default)]
pub(super) struct LimitArguments {
    /// Memory: a number with k, m or g
    #[arg(short, long, value_name = "BYTES", help_heading = LIMITS)]
    pub(super) memory: Option<String>,
    /// Memory and swap together; -1 for any amount of swap [default: twice the memory]
    #[arg(long, value_name = "BYTES", help_heading = LIMITS, allow_hyphen_values = true)]
    pub(super) memory_swap: Option<String>,
    /// Processors: 1.5 is one and a half
    #[arg(long, value_name = "NUMBER", help_heading = LIMITS)]
    pub(super) cpus: Option<String>,
    /// Share of processor time beside others, who have 1024
    #[arg(short, long, value_name = "NUMBER", help_heading = LIMITS)]
    pub(super) cpu_shares: Option<String>,
    /// Length of a period of processor time [default: 100000]
    #[arg(long, value_name = "MICROSECONDS", help_heading = LIMITS)]
    pub(super) cpu_period: Option<String>,
    /// Processor time in each period
    #[arg(long, value_name = "MICROSECONDS", help_heading = LIMITS, allow_hyphen_values = true)]
    pub(super) cpu_quota: Option<String>,
    /// Processors it may run on: 0-3,5
    #[arg(long, value_name = "LIST", help_heading = LIMITS)]
    pub(super) cpuset_cpus: Option<String>,
    /// Memory nodes it may use: 0-1
    #[arg(long, value_name = "LIST", help_heading = LIMITS)]
    pub(super) cpuset_mems: Option<String>,
    /// Processes and threads; -1 for any number
    #[arg(long, value_name = "NUMBER", help_heading = LIMITS, allow_hyphen_values = true)]
    pub(super) pids_limit: Option<String>,
    /// Limit of each process, as nofile=1024:2048; -1 for none
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = LIMITS)]
    pub(super) ulimit: Vec<String>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "BYTES", help_heading = LIMITS)]
    pub(super) shm_size: Option<String>,
    /// Cgroup that those of the steps are made in, from the top
    #[arg(long, value_name = "PATH", help_heading = LIMITS)]
    pub(super) cgroup_parent: Option<String>,
    /// The same limits in one flag: memory=2g, cpu-quota=50000
    #[arg(long, value_name = "NAME=VALUE", help_heading = LIMITS)]
    pub(super) resource: Vec<String>,
    /// Time: a step that takes longer is killed and fails, as in 10m or 1h30m
    #[arg(long, value_name = "DURATION", help_heading = LIMITS)]
    pub(super) timeout: Option<String>,
}

/// What is said of the image beside it.
#[derive(Args, Debug, Default)]
pub(super) struct AttestationArguments {
    /// Attach a list of the packages in the image (SPDX)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    #[arg(help_heading = "Result")]
    pub(super) sbom: Option<String>,
    /// Attach how the image came to be (SLSA): mode=min or mode=max
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "MODE")]
    #[arg(help_heading = "Result")]
    pub(super) provenance: Option<String>,
    /// The same: type=sbom or type=provenance, and attributes
    #[arg(long, value_name = "ATTRIBUTES", help_heading = "Result")]
    pub(super) attest: Vec<String>,
}

/// Flags of `docker build` and `docker buildx build` that kiln knows only by name.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = None)]
pub(super) struct ForeignArguments {
    /// Security options of steps.
    #[arg(long, hide = true)]
    pub(super) security_opt: Vec<String>,
    /// One layer out of many.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) squash: Option<String>,
    /// Meaningless without a daemon to debug.
    #[arg(short = 'D', long, hide = true)]
    pub(super) debug: bool,
    /// Which of several builders; there is one.
    #[arg(long, hide = true)]
    pub(super) builder: Option<String>,
    /// Meaningless without intermediate containers.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) rm: Option<String>,
    /// Meaningless without intermediate containers.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) force_rm: Option<String>,
    /// Meaningless without a daemon.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) compress: Option<String>,
    /// Meaningless: content is always verified.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) disable_content_trust: Option<String>,
}
