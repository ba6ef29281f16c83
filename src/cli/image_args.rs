//! The flags of the verbs about images, as typed. They are docker's.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::args::StoreArguments;

/// `kiln images`.
#[derive(Args, Debug, Default)]
pub(super) struct ImagesArguments {
    /// Show these only: a name, with or without a tag
    #[arg(value_name = "NAME[:TAG]")]
    pub(super) name: Option<String>,
    /// Print the image ids only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Without a meaning: there are no images between
    #[arg(short, long, hide = true)]
    pub(super) all: bool,
    /// Show digests
    #[arg(long)]
    pub(super) digests: bool,
    /// Show whole ids
    #[arg(long)]
    pub(super) no_trunc: bool,
    /// reference=PATTERN, dangling=BOOL, label=NAME[=VALUE], before=IMAGE or since=IMAGE
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) filter: Vec<String>,
    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(super) format: String,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln inspect`.
#[derive(Args, Debug)]
pub(super) struct InspectArguments {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(super) images: Vec<String>,
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    pub(super) format: String,
    /// Which image of several platforms
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// What they are: images
    #[arg(long = "type", value_name = "TYPE", hide = true, value_parser = ["image"])]
    pub(super) kind: Option<String>,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln history`.
#[derive(Args, Debug)]
pub(super) struct HistoryArguments {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,
    /// Print sizes and dates for people
    #[arg(short = 'H', long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "true", action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true)]
    pub(super) human: bool,
    /// Show all of each line
    #[arg(long)]
    pub(super) no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(super) format: String,
    /// Which image of several platforms
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln tag`.
#[derive(Args, Debug)]
pub(super) struct TagArguments {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,
    /// Its new name
    #[arg(value_name = "NAME[:TAG]")]
    pub(super) name: String,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln rmi`.
#[derive(Args, Debug)]
pub(super) struct RemoveArguments {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(super) images: Vec<String>,
    /// Remove all names of an id; an image that is not there is no failure
    #[arg(short, long)]
    pub(super) force: bool,
    /// Without a meaning: there are no images between
    #[arg(long, hide = true)]
    pub(super) no_prune: bool,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln save`.
#[derive(Args, Debug)]
pub(super) struct SaveArguments {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(super) images: Vec<String>,
    /// Write to a file, not to standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Save the image of this platform alone
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln load`.
#[derive(Args, Debug)]
pub(super) struct LoadArguments {
    /// Read a file, or a directory that is an OCI layout, not standard input
    #[arg(short, long, value_name = "FILE")]
    pub(super) input: Option<PathBuf>,
    /// Print ids only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln import`.
#[derive(Args, Debug)]
pub(super) struct ImportArguments {
    /// A tar, compressed or not: a file, a URL, or `-` for standard input
    #[arg(value_name = "FILE | URL | -")]
    pub(super) file: String,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub(super) name: Option<String>,
    /// Instruction that changes the config, as in a Dockerfile
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(super) change: Vec<String>,
    /// Remark for the history
    #[arg(short, long, value_name = "TEXT")]
    pub(super) message: Option<String>,
    /// What it runs on
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln pull`.
#[derive(Args, Debug)]
pub(super) struct PullArguments {
    /// Name of the image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(super) name: String,
    /// Platform to fetch
    #[arg(long, value_name = "OS/ARCH", conflicts_with = "all_platforms")]
    pub(super) platform: Option<String>,
    /// Fetch the images of all platforms
    #[arg(long)]
    pub(super) all_platforms: bool,
    /// Print the name only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Which registries.
    #[command(flatten)]
    pub(super) registries: RegistryArguments,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln push`.
#[derive(Args, Debug)]
pub(super) struct PushArguments {
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub(super) name: String,
    /// Push all tags of the name
    #[arg(short, long)]
    pub(super) all_tags: bool,
    /// Push the image of this platform alone
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// Print the name only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Which registries.
    #[command(flatten)]
    pub(super) registries: RegistryArguments,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// How registries are talked to.
#[derive(Args, Debug, Default)]
pub(super) struct RegistryArguments {
    /// Registry to talk to by plain HTTP, or whose certificate is not checked
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) insecure: Vec<String>,
    /// How progress looks: auto, plain, tty, rawjson or quiet
    #[arg(long, value_name = "TYPE")]
    pub(super) progress: Option<String>,
}

/// `kiln du`.
#[derive(Args, Debug)]
pub(super) struct DuArguments {
    /// Show all that is known of each thing
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(super) format: String,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln prune`.
#[derive(Args, Debug)]
pub(super) struct PruneArguments {
    /// Remove named images, cache and cache mounts too: everything
    #[arg(short, long)]
    pub(super) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(super) force: bool,
    /// Only what matches: until=24h (last used before), label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) filter: Vec<String>,
    /// Stop when the store has no more than this: what was used longest ago goes first
    #[arg(long, alias = "max-used-space", value_name = "BYTES")]
    pub(super) keep_storage: Option<String>,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln run`.
#[derive(Args, Debug, Default)]
#[command(
    after_help = "It is a trial: what the command writes is gone with it, but for volumes. Exits as the command does; with 125 if kiln\n\
    failed, 126 if the command cannot be executed, 127 if it is not there."
)]
pub(super) struct RunArguments {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,
    /// Command and arguments, in place of the image's
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
    /// Hand over standard input
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Without a meaning: nothing is kept
    #[arg(long, hide = true)]
    pub(super) rm: bool,
    /// Variable; without a value, that of the environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<String>,
    /// Variables, one a line
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// File or directory of this machine
    #[arg(short, long, value_name = "HOST:CONTAINER[:ro]")]
    pub(super) volume: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(super) workdir: Option<String>,
    /// User, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,
    /// Port of this machine that leads to the command (takes `pasta`)
    #[arg(short, long, value_name = "[IP:]HOST:CONTAINER[/udp]")]
    pub(super) publish: Vec<String>,
    /// default, none or host
    #[arg(long, alias = "net", value_name = "MODE")]
    pub(super) network: Option<String>,
    /// Program to run in place of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(super) entrypoint: Option<String>,
    /// Host name
    #[arg(long, value_name = "NAME")]
    pub(super) hostname: Option<String>,
    /// Which image of several platforms
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// Pass signals on to the command, and kill it at the third SIGINT or SIGTERM; if false, at the first
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true)]
    pub(super) sig_proxy: bool,
    /// Say nothing of kiln's own
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln diff`.
#[derive(Args, Debug)]
pub(super) struct DiffArguments {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub(super) one: String,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub(super) other: String,
    /// An object on each line
    #[arg(long)]
    pub(super) json: bool,
    /// Exit with 1 if they differ
    #[arg(long)]
    pub(super) exit_code: bool,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `kiln cp`.
#[derive(Args, Debug)]
pub(super) struct CopyArguments {
    /// What to copy
    #[arg(value_name = "IMAGE:PATH")]
    pub(super) source: String,
    /// Where to; `-` for an archive on standard output
    #[arg(value_name = "DEST | -")]
    pub(super) destination: String,
    /// Copy what a link points to
    #[arg(short = 'L', long)]
    pub(super) follow_link: bool,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}
