//! Runs images with other people's tools: umoci unpacks them, runc runs them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::tool;

/// An image unpacked for runc.
pub struct Bundle {
    directory: PathBuf,
    scratch: tempfile::TempDir,
}

/// A container that runs until this is dropped.
pub struct Running {
    name: String,
    state: PathBuf,
    child: Child,
}

impl Bundle {
    /// Unpacks the image `tag` of an OCI image layout.
    #[track_caller]
    pub fn of_layout(layout: &Path, tag: &str) -> Self {
        let scratch = super::scratch();
        let directory = scratch.path().join("bundle");
        let image = format!("{}:{tag}", layout.display());
        tool::run(tool::tool("umoci").args(["unpack", "--image", &image]).arg(&directory));
        let bundle = Self { directory, scratch };
        bundle.configure(|configuration| configuration["process"]["terminal"] = Value::Bool(false));
        bundle
    }

    /// Unpacks the only image of an OCI archive. The name `latest` is what an image without a name gets.
    #[track_caller]
    pub fn of_archive(archive: &Path) -> Self {
        let layout = super::scratch();
        let to = format!("oci:{}:latest", layout.path().join("layout").display());
        tool::run(tool::tool("skopeo").args(["copy", "-q", &format!("oci-archive:{}", archive.display()), &to]));
        Self::of_layout(&layout.path().join("layout"), "latest")
    }

    /// The root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Adds an environment variable.
    pub fn set_environment(&self, name: &str, value: &str) {
        self.configure(|configuration| {
            let environment = configuration["process"]["env"].as_array_mut().expect("the environment of the image");
            environment.retain(|entry| !entry.as_str().unwrap_or_default().starts_with(&format!("{name}=")));
            environment.push(json!(format!("{name}={value}")));
        });
    }

    /// Runs the image's command to its end; returns its standard output.
    #[track_caller]
    pub fn run(&self) -> String {
        let mut command = self.runc();
        tool::run(command.args(["run", "--bundle"]).arg(&self.directory).arg(self.name()))
    }

    /// Starts the image's command on the host's network.
    #[track_caller]
    pub fn start_on_host_network(&self) -> Running {
        self.configure(|configuration| {
            let namespaces = configuration["linux"]["namespaces"].as_array_mut().expect("the namespaces");
            namespaces.retain(|namespace| namespace["type"] != "network");
        });
        let mut command = self.runc();
        command.args(["run", "--bundle"]).arg(&self.directory).arg(self.name()).stdout(Stdio::null());
        let child = command.spawn().expect("runc starts");
        Running { name: self.name(), state: self.state(), child }
    }

    fn configure(&self, change: impl FnOnce(&mut Value)) {
        let file = self.directory.join("config.json");
        let text = std::fs::read(&file).expect("the bundle's config.json");
        let mut configuration = serde_json::from_slice(&text).expect("config.json is JSON");
        change(&mut configuration);
        std::fs::write(&file, configuration.to_string()).expect("the bundle's config.json");
    }

    fn runc(&self) -> Command {
        let mut command = tool::tool("runc");
        command.arg("--root").arg(self.state());
        command
    }

    fn state(&self) -> PathBuf {
        self.scratch.path().join("runc")
    }

    /// Names are unique on the machine: control groups are made by them.
    fn name(&self) -> String {
        self.scratch.path().file_name().expect("a scratch directory has a name").to_string_lossy().into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let delete =
            Command::new("runc").arg("--root").arg(&self.state).args(["delete", "--force", &self.name]).status();
        if !delete.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
