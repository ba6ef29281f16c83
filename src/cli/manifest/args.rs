//! The flags of `kiln manifest` and `kiln imagetools`, as typed. They are those of docker, buildx and podman.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use crate::cli::args::StoreArguments;
use crate::cli::image_args::RegistryArguments;

/// `kiln manifest`.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum ManifestVerb {
    /// Make an index of images, in the store
    Create(CreateArguments),
    /// Say something of an image that an index lists, or of the index
    Annotate(AnnotateArguments),
    /// Show a manifest or an index, without fetching layers
    Inspect(InspectArguments),
    /// Send an index and all it lists to a registry
    Push(PushArguments),
    /// Remove indexes from the store
    Rm(RemoveArguments),
}

/// `kiln imagetools`.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum ImagetoolsVerb {
    /// Make an index of images that are in registries, and push it
    Create(CreateArguments),
    /// Show an image that is in a registry
    Inspect(InspectArguments),
}

/// `create`.
#[derive(Args, Debug, Default)]
pub(in crate::cli) struct CreateArguments {
    /// Without `-t`, the name of the index; then images: names, digests, ids. An index stands for all it lists
    #[arg(value_name = "IMAGE")]
    pub(super) images: Vec<String>,
    /// Name of the index
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(super) tag: Vec<String>,
    /// Add to what the (first) name lists already
    #[arg(short, long, visible_alias = "append")]
    pub(super) amend: bool,
    /// Annotation of the index, or with `manifest-descriptor:` or `manifest-descriptor[OS/ARCH]:` of its entries
    #[arg(long, value_name = "[LEVEL:]NAME=VALUE")]
    pub(super) annotation: Vec<String>,
    /// File that holds a name, a digest, or a descriptor (JSON) whose platform and annotations are taken over
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Vec<PathBuf>,
    /// List only the images for these
    #[arg(short, long, value_name = "OS/ARCH[,..]", value_delimiter = ',')]
    pub(super) platform: Vec<String>,
    /// Whether a single image gets an index of its own
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_possible_values = true)]
    pub(super) prefer_index: bool,
    /// Print the index, and make nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Push it, too (`imagetools` always does)
    #[arg(long)]
    pub(super) push: bool,
    /// Which registries.
    #[command(flatten)]
    pub(super) registries: RegistryArguments,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `annotate`.
#[derive(Args, Debug, Default)]
pub(in crate::cli) struct AnnotateArguments {
    /// The index
    #[arg(value_name = "INDEX")]
    pub(super) index: String,
    /// The entry: a digest, the start of one, or the name of an image
    #[arg(value_name = "IMAGE", required_unless_present = "whole", conflicts_with = "whole")]
    pub(super) image: Option<String>,
    /// Operating system
    #[arg(long, value_name = "OS", conflicts_with = "whole")]
    pub(super) os: Option<String>,
    /// Architecture
    #[arg(long, value_name = "ARCH", conflicts_with = "whole")]
    pub(super) arch: Option<String>,
    /// Variant of the architecture
    #[arg(long, value_name = "VARIANT", conflicts_with = "whole")]
    pub(super) variant: Option<String>,
    /// Version of the operating system
    #[arg(long, value_name = "VERSION", conflicts_with = "whole")]
    pub(super) os_version: Option<String>,
    /// What the operating system must have
    #[arg(long, value_name = "FEATURE[,..]", value_delimiter = ',', conflicts_with = "whole")]
    pub(super) os_features: Vec<String>,
    /// Annotation
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) annotation: Vec<String>,
    /// Annotate the index itself
    #[arg(long = "index")]
    pub(super) whole: bool,
    /// Which registries.
    #[command(flatten)]
    pub(super) registries: RegistryArguments,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `inspect`.
#[derive(Args, Debug, Default)]
pub(in crate::cli) struct InspectArguments {
    /// Name, with or without tag and digest
    #[arg(value_name = "IMAGE")]
    pub(super) image: String,
    /// Print the document byte for byte
    #[arg(long, conflicts_with = "format")]
    pub(super) raw: bool,
    /// A Go template over .Name, .Manifest and .Image, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) format: Option<String>,
    /// Which registries.
    #[command(flatten)]
    pub(super) registries: RegistryArguments,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `push`.
#[derive(Args, Debug, Default)]
pub(in crate::cli) struct PushArguments {
    /// The index
    #[arg(value_name = "INDEX")]
    pub(super) index: String,
    /// Where to [default: its name]
    #[arg(value_name = "NAME[:TAG]")]
    pub(super) destination: Option<String>,
    /// Remove it from the store when it is pushed
    #[arg(short, long, visible_alias = "rm")]
    pub(super) purge: bool,
    /// Without a meaning: all that is listed goes
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) all: Option<String>,
    /// Print the digest only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Which registries.
    #[command(flatten)]
    pub(super) registries: RegistryArguments,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}

/// `rm`.
#[derive(Args, Debug, Default)]
pub(in crate::cli) struct RemoveArguments {
    /// Indexes
    #[arg(value_name = "INDEX", required = true)]
    pub(super) indexes: Vec<String>,
    /// Which store.
    #[command(flatten)]
    pub(super) store: StoreArguments,
}
