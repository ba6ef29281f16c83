//! Devices of a step: `RUN --device` and `--device`, by the names that vendors gave them in files of the machine.
//!
//! A device is what its file says it brings: nodes, files and directories of the machine, environment variables, groups.
//! Nodes are shown as they are on the machine, with the mode and the owner they have there. What asks for more than that is
//! refused by name. A device must be allowed: on the command line, or by its file.

mod spec;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::OpError;
use crate::dockerfile::device::Device;
use crate::sandbox::Mount;
use spec::{Edits, Spec};

/// Where vendors put their files; of two devices with one name that of the later directory counts.
pub const DIRECTORIES: [&str; 3] = ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"];

/// Which devices a build may have without their files saying so.
#[derive(Clone, Default, Debug)]
pub struct Allowed {
    /// All.
    pub all: bool,
    /// These, written as in [`Device::name`].
    pub names: BTreeSet<String>,
}

/// What the devices of a step bring.
#[derive(Clone, Default, Debug)]
pub(super) struct Brought {
    /// Their full names, each once, in the order they were asked for.
    pub(super) names: Vec<String>,
    pub(super) mounts: Vec<Mount>,
    pub(super) env: Vec<(String, String)>,
    pub(super) gids: Vec<u32>,
}

/// Finds `wanted` in the files of `directories`.
pub(super) fn find(wanted: &[Device], allowed: &Allowed, directories: &[PathBuf]) -> Result<Brought, OpError> {
    if wanted.is_empty() {
        return Ok(Brought::default());
    }
    let known = Known::read(directories);
    let granted: BTreeSet<&str> =
        allowed.names.iter().flat_map(|name| known.named(name)).map(|one| &*one.name).collect();
    let (mut brought, mut files) = (Brought::default(), BTreeSet::new());
    for device in wanted {
        let found = known.named(&device.name);
        if found.is_empty() && device.required {
            return Err(known.missing(device));
        }
        for one in found {
            if brought.names.contains(&one.name) {
                continue;
            }
            if !(allowed.all || one.is_allowed || granted.contains(&*one.name)) {
                return Err(forbidden(device, &one.name));
            }
            brought.names.push(one.name.clone());
            let of_file = files.insert(one.file).then_some(&known.specs[one.file].container_edits);
            for edits in of_file.into_iter().chain([&one.edits]) {
                brought.add(edits).map_err(|why| refused(device, &one.name, &why))?;
            }
        }
    }
    Ok(brought)
}

/// All devices of this machine.
#[derive(Default)]
struct Known {
    specs: Vec<Spec>,
    /// By full name.
    devices: Vec<One>,
    /// Files that could not be read, and why.
    damaged: Vec<String>,
}

struct One {
    name: String,
    /// Of its file in `specs`.
    file: usize,
    is_allowed: bool,
    edits: Edits,
}

impl Known {
    fn read(directories: &[PathBuf]) -> Self {
        let mut known = Self::default();
        for path in directories.iter().flat_map(|directory| files_in(directory)) {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
            match text.and_then(|text| Spec::parse(&text)) {
                Ok(spec) => known.add(spec),
                Err(why) => known.damaged.push(format!("`{}` could not be read: {why}", path.display())),
            }
        }
        known.devices.sort_by(|a, b| a.name.cmp(&b.name));
        known
    }

    fn add(&mut self, spec: Spec) {
        for device in &spec.devices {
            let name = format!("{}={}", spec.kind, device.name);
            self.devices.retain(|known| known.name != name);
            let (file, is_allowed) = (self.specs.len(), spec.allows(device));
            self.devices.push(One { name, file, is_allowed, edits: device.container_edits.clone() });
        }
        self.specs.push(spec);
    }

    /// Those that a name stands for.
    fn named(&self, name: &str) -> Vec<&One> {
        let (kind, one) = name.split_once('=').unwrap_or((name, ""));
        let of_kind =
            self.devices.iter().filter(|known| known.name.split_once('=').is_some_and(|(its, _)| its == kind));
        match one {
            "" => of_kind.take(1).collect(),
            "*" => of_kind.collect(),
            _ => of_kind.filter(|known| known.name == name).collect(),
        }
    }

    fn missing(&self, device: &Device) -> OpError {
        let near = crate::diag::nearest(&device.name, self.devices.iter().map(|known| &*known.name));
        let near = near.map(|near| format!("did you mean `{near}`?"));
        let place = format!("devices are described in {}", DIRECTORIES.join(", "));
        let help = near.into_iter().chain(self.damaged.iter().cloned()).chain([place]).collect();
        let message = format!("required device {:?} is not registered", device.name);
        OpError::User { code: "device", message, help, span: Some(device.span) }
    }
}

/// Files with descriptions, by name.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(dir) = crate::fsutil::Dir::open(directory) else { return Vec::new() };
    let names = dir.entries().unwrap_or_default().into_iter().map(|entry| directory.join(entry.name));
    let is_description =
        |path: &PathBuf| path.extension().is_some_and(|end| ["json", "yaml", "yml"].iter().any(|known| end == *known));
    let mut files: Vec<PathBuf> = names.filter(is_description).collect();
    files.sort();
    files
}

fn forbidden(device: &Device, name: &str) -> OpError {
    OpError::User {
        code: "entitlement",
        message: format!("device {name} is requested by the build but not allowed"),
        help: vec![format!("to allow it for this build: `--allow device={name}`; all devices: `--allow device`")],
        span: Some(device.span),
    }
}

fn refused(device: &Device, name: &str, why: &str) -> OpError {
    OpError::User {
        code: "device",
        message: format!("device {name} cannot be given to a step: {why}"),
        help: Vec::new(),
        span: Some(device.span),
    }
}

impl Brought {
    /// The error is what cannot be had.
    fn add(&mut self, edits: &Edits) -> Result<(), String> {
        if let Some(what) = edits.beyond_us() {
            return Err(format!("it needs {what}"));
        }
        for node in &edits.device_nodes {
            let source = PathBuf::from(node.host_path.as_ref().unwrap_or(&node.path));
            check_node(&source, node)?;
            self.mounts.push(Mount::Device { source, target: absolute(&node.path)? });
        }
        for mount in &edits.mounts {
            let readonly = mount.options.iter().any(|option| option == "ro");
            let (source, target) = (PathBuf::from(&mount.host_path), absolute(&mount.container_path)?);
            self.mounts.push(Mount::Bind { source, subpath: PathBuf::new(), target, readonly });
        }
        for variable in &edits.env {
            let (name, value) = variable.split_once('=').ok_or_else(|| format!("`{variable}` is no variable"))?;
            self.env.push((name.to_owned(), value.to_owned()));
        }
        self.gids.extend(edits.additional_gids.iter().filter(|gid| **gid != 0));
        Ok(())
    }
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') { Ok(path.into()) } else { Err(format!("`{path}` is not absolute")) }
}

/// Whether the machine has the node, and with these numbers if the file has some.
fn check_node(source: &Path, node: &spec::Node) -> Result<(), String> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let shown = source.display();
    let found = std::fs::metadata(source).map_err(|error| format!("`{shown}`: {error}"))?;
    let kind = found.file_type();
    if !(kind.is_char_device() || kind.is_block_device() || kind.is_fifo()) {
        return Err(format!("`{shown}` is no device"));
    }
    let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
    match (node.major, node.minor) {
        (Some(wanted), _) if wanted != major && !kind.is_fifo() => Err(format!("`{shown}` is {major}:{minor}")),
        (_, Some(wanted)) if wanted != minor && !kind.is_fifo() => Err(format!("`{shown}` is {major}:{minor}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
