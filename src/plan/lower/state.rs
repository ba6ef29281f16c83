//! What a stage has come to after some of its instructions.
//!
//! Stages begin where others end, and a file may have very many: whatever may grow long is shared between copies.

use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync, VectorSync};

use super::super::graph::{Root, StepId};
use super::super::names::Names;
use super::super::scope::Scope;
use super::super::{HistoryItem, path};
use crate::oci::{ContainerConfig, ImageConfig, Platform, RootFs};

/// What an image has for PATH when nothing says otherwise (rule 7.12).
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage after some of its instructions.
#[derive(Clone, Debug)]
pub(super) struct StageState {
    pub(super) scope: Scope,
    /// Without what stands beside it here.
    config: Arc<ImageConfig>,
    /// `NAME=value`, by name.
    env: Names<String>,
    /// Names of `env` that an ARG of this stage has given another value.
    hidden: Vec<String>,
    pub(super) labels: RedBlackTreeMapSync<String, String>,
    pub(super) ports: RedBlackTreeSetSync<String>,
    pub(super) volumes: RedBlackTreeSetSync<String>,
    pub(super) on_build: VectorSync<String>,
    history: VectorSync<HistoryItem>,
    pub(super) root: Root,
    /// Whether CMD was set in this stage (rule 13.11).
    pub(super) cmd_set: bool,
    /// Whether this stage, or one it builds on, has a WORKDIR.
    pub(super) workdir_set: bool,
}

impl StageState {
    /// Begins with the config of an image, on the filesystem `root`.
    pub(super) fn of_image(mut config: ImageConfig, root: Root) -> Self {
        config.created = None;
        config.rootfs = RootFs::default();
        let history = std::mem::take(&mut config.history).into_iter().map(HistoryItem::Inherited).collect();
        let image = &mut config.config;
        if !image.working_dir.is_empty() {
            image.working_dir = path::workdir(&image.working_dir, &image.working_dir);
        }
        image.on_build.clear();
        let mut entries = std::mem::take(&mut image.env);
        if !entries.iter().any(|entry| entry == "PATH" || entry.starts_with("PATH=")) {
            entries.push(format!("PATH={DEFAULT_PATH}"));
        }
        let scope = Scope::from_image_env(&entries);
        let mut env = Names::default();
        for entry in entries {
            let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name).to_owned();
            env.add(&name, entry);
        }
        Self {
            scope,
            env,
            hidden: Vec::new(),
            labels: std::mem::take(&mut image.labels).into_iter().collect(),
            ports: std::mem::take(&mut image.exposed_ports).into_iter().collect(),
            volumes: std::mem::take(&mut image.volumes).into_iter().collect(),
            on_build: VectorSync::new_sync(),
            config: Arc::new(config),
            history,
            root,
            cmd_set: false,
            workdir_set: false,
        }
    }

    /// Begins with nothing (rule 7.4), on the filesystem `root`.
    pub(super) fn scratch(platform: &Platform, root: Root) -> Self {
        let mut config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        config.config.working_dir = "/".to_owned();
        Self::of_image(config, root)
    }

    /// What a stage begins with that is built on this one.
    pub(super) fn as_base(&self) -> Self {
        Self { cmd_set: false, on_build: VectorSync::new_sync(), ..self.clone() }
    }

    /// The stage after its last instruction: for what builds on it, what ENV said counts again, over ARGs of the same
    /// names (8.7).
    pub(super) fn ended(mut self) -> Self {
        for name in std::mem::take(&mut self.hidden) {
            if let Some((_, value)) = self.env.get(&name).and_then(|entry| entry.split_once('=')) {
                self.scope.set_env(&name, value.to_owned());
            }
        }
        self
    }

    /// Returns the config and the history of the image.
    pub(super) fn finish(self) -> (ImageConfig, Vec<HistoryItem>) {
        let mut config = Arc::unwrap_or_clone(self.config);
        let image = &mut config.config;
        image.env = self.env.all().iter().map(|(_, entry)| entry.clone()).collect();
        image.labels = self.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        image.exposed_ports = self.ports.iter().cloned().collect();
        image.volumes = self.volumes.iter().cloned().collect();
        image.on_build = self.on_build.iter().cloned().collect();
        (config, self.history.iter().cloned().collect())
    }

    /// What the image says of its containers, but for what has a field of its own here.
    pub(super) fn image(&self) -> &ContainerConfig {
        &self.config.config
    }

    /// The same, to change.
    pub(super) fn image_mut(&mut self) -> &mut ContainerConfig {
        &mut self.config_mut().config
    }

    /// The whole config, to change.
    pub(super) fn config_mut(&mut self) -> &mut ImageConfig {
        Arc::make_mut(&mut self.config)
    }

    /// ENV: for what follows, and for the image.
    pub(super) fn set_env(&mut self, name: &str, value: String) {
        self.env.set(name, format!("{name}={value}"));
        self.scope.set_env(name, value);
    }

    /// ARG, with its effective value if it has one.
    pub(super) fn set_arg(&mut self, name: &str, value: Option<String>) {
        if value.is_some() && self.env.get(name).is_some() {
            self.hidden.push(name.to_owned());
        }
        self.scope.set_arg(name, value);
    }

    /// Adds a history entry that made no layer.
    pub(super) fn with_history(mut self, created_by: String) -> Self {
        self.history.push_back_mut(HistoryItem::New { created_by, layer: None });
        self
    }

    /// Adds the history entry of a step and moves on to its filesystem.
    pub(super) fn with_layer(mut self, created_by: String, layer: StepId) -> Self {
        self.history.push_back_mut(HistoryItem::New { created_by, layer: Some(layer) });
        self.root = Some(layer);
        self
    }

    /// How many bytes the newest history entry takes.
    pub(super) fn newest_bytes(&self) -> usize {
        match self.history.last() {
            Some(HistoryItem::New { created_by, .. }) => created_by.len(),
            _ => 0,
        }
    }

    /// The absolute working directory.
    pub(super) fn workdir(&self) -> &str {
        match self.image().working_dir.as_str() {
            "" => "/",
            path => path,
        }
    }

    /// What shell forms are given to.
    pub(super) fn shell(&self) -> Vec<String> {
        match &self.image().shell[..] {
            [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            shell => shell.to_vec(),
        }
    }
}
