//! What a plan depends on besides the Dockerfile.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::arguments::EPOCH;
use super::graph::RunNetwork;
use crate::context::Ignore;
use crate::oci::{Platform, Reference};

/// The part of a build's request that planning needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--target`; the last stage if `None`.
    pub target: Option<String>,
    /// Plan every stage, also those the target does not need (`--check` without a target).
    pub every_stage: bool,
    /// `--build-arg`. SOURCE_DATE_EPOCH is as in `source_date_epoch`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`: laid over the labels of the Dockerfile, without history.
    pub labels: BTreeMap<String, String>,
    /// The platform built for.
    pub platform: Platform,
    /// Whether other platforms are built for as well: steps are then shown with theirs.
    pub several_platforms: bool,
    /// The platform built on.
    pub build_platform: Platform,
    /// `--build-context`, by lower-case name.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// `--network`: what RUN gets that does not say.
    pub network: RunNetwork,
    /// `--allow network.host`.
    pub allow_network_host: bool,
    /// `--allow security.insecure`.
    pub allow_insecure: bool,
    /// `--device`: what each RUN gets, by name.
    pub devices: Vec<String>,
    /// `--add-host`: name and address.
    pub add_hosts: Vec<(String, String)>,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: Which,
    /// `--require-cached`.
    pub require_cached: Which,
    /// What the build context leaves out (lint rule CopyIgnoredFile).
    pub ignore: Option<Arc<Ignore>>,
    /// What SOURCE_DATE_EPOCH comes to, in seconds since 1970; see [`super::epoch`].
    pub source_date_epoch: Option<i64>,
}

impl Options {
    /// Returns what a build on and for `platform` asks for that says nothing else.
    pub fn new(platform: Platform) -> Self {
        Self {
            target: None,
            every_stage: false,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform: platform.clone(),
            several_platforms: false,
            build_platform: platform,
            named_contexts: BTreeMap::new(),
            network: RunNetwork::Default,
            allow_network_host: false,
            allow_insecure: false,
            devices: Vec::new(),
            add_hosts: Vec::new(),
            no_cache: Which::None,
            require_cached: Which::None,
            ignore: None,
            source_date_epoch: None,
        }
    }

    /// Returns these with what SOURCE_DATE_EPOCH comes to, which stages see as well.
    #[must_use]
    pub fn with_epoch(mut self, epoch: Option<i64>) -> Self {
        if let Some(given) = self.build_args.remove(EPOCH).and(epoch) {
            self.build_args.insert(EPOCH.to_owned(), given.to_string());
        }
        Self { source_date_epoch: epoch, ..self }
    }
}

/// A named context, as far as planning is concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NamedContext {
    /// Files of a directory.
    Directory,
    /// An image.
    Image(ImageSource),
    /// A stage of the Dockerfile, by its name in small letters.
    Target(String),
}

/// Steps, by their stages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Which {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of these stages.
    Stages(Vec<String>),
}

/// Where an image comes from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ImageSource {
    /// The local store or a registry, by reference.
    Reference(Reference),
    /// An OCI layout on disk, given as the named context of that name.
    Layout(String),
}

/// An image for a platform: the key under which a resolved image is known.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ImageKey {
    /// Which image.
    pub source: ImageSource,
    /// For which platform.
    pub platform: Platform,
}
