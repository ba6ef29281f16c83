//! The files in which vendors describe devices: Container Device Interface, versions 0.3 to 1.1, as YAML or JSON.

use serde::Deserialize;

/// One file.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    cdi_version: String,
    /// `vendor/class`.
    pub(super) kind: String,
    #[serde(default)]
    annotations: Annotations,
    pub(super) devices: Vec<Device>,
    /// What each device of the file brings besides its own.
    #[serde(default)]
    pub(super) container_edits: Edits,
}

type Annotations = std::collections::BTreeMap<String, String>;

#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default)]
    annotations: Annotations,
    pub(super) container_edits: Edits,
}

/// What becomes part of a step.
#[derive(Deserialize, Clone, PartialEq, Default, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Edits {
    /// `NAME=VALUE`.
    #[serde(default)]
    pub(super) env: Vec<String>,
    #[serde(default)]
    pub(super) device_nodes: Vec<Node>,
    #[serde(default)]
    pub(super) mounts: Vec<Mount>,
    #[serde(default)]
    pub(super) additional_gids: Vec<u32>,
    #[serde(default)]
    hooks: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    intel_rdt: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    net_devices: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize, Clone, PartialEq, Default, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Node {
    pub(super) path: String,
    pub(super) host_path: Option<String>,
    /// `b`, `c`, `u` or `p`.
    #[serde(rename = "type")]
    kind: Option<String>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Deserialize, Clone, PartialEq, Default, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Devices that every build may have, by BuildKit's annotation.
const ALLOWED: &str = "org.mobyproject.buildkit.device.autoallow";

impl Spec {
    /// Reads a file. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let spec: Self = serde_saphyr::from_str(text).map_err(|error| first_line(&error.to_string()))?;
        let numbers: Vec<u32> = spec.cdi_version.split('.').map_while(|number| number.parse().ok()).collect();
        if !matches!(numbers[..], [0, 3..=8, _] | [1, 0..=1, _]) {
            return Err(format!("version {} is not known", spec.cdi_version));
        }
        if spec.kind.split('/').filter(|part| !part.is_empty()).count() != 2 {
            return Err(format!("kind `{}` is not vendor/class", spec.kind));
        }
        let names = spec.devices.iter().map(|device| &device.name);
        if names.clone().collect::<std::collections::BTreeSet<_>>().len() != names.len() {
            return Err("two devices have one name".to_owned());
        }
        Ok(spec)
    }

    /// Whether a device needs no leave.
    pub(super) fn allows(&self, device: &Device) -> bool {
        let value = device.annotations.get(ALLOWED).or_else(|| self.annotations.get(ALLOWED));
        value.is_some_and(|value| matches!(value.as_str(), "true" | "1" | "t" | "T" | "TRUE" | "True"))
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

impl Edits {
    /// Names what they ask for that a step cannot have.
    pub(super) fn beyond_us(&self) -> Option<&'static str> {
        if !self.hooks.is_empty() {
            return Some("hooks, programs of this machine that change the container");
        }
        if self.intel_rdt.is_some() {
            return Some("intelRdt");
        }
        (!self.net_devices.is_empty()).then_some("netDevices")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_yaml_or_json() {
        let yaml = "cdiVersion: \"0.6.0\"\nkind: vendor.example/null\ndevices:\n- name: one\n  containerEdits:\n    env:\n    - A=b\n    \
                    deviceNodes:\n    - path: /dev/one\n      hostPath: /dev/null\n      type: c\n      major: 1\n      minor: 3\n\
                    containerEdits:\n  mounts:\n  - hostPath: /usr\n    containerPath: /usr2\n    options: [ro, nosuid, nodev, bind]\n";
        let json = r#"{"cdiVersion": "0.6.0", "kind": "vendor.example/null", "devices": [{"name": "one", "containerEdits": {"env": ["A=b"],
            "deviceNodes": [{"path": "/dev/one", "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3}]}}],
            "containerEdits": {"mounts": [{"hostPath": "/usr", "containerPath": "/usr2", "options": ["ro", "nosuid", "nodev", "bind"]}]}}"#;
        let (yaml, json) = (Spec::parse(yaml).unwrap(), Spec::parse(json).unwrap());
        assert_eq!(format!("{yaml:?}"), format!("{json:?}"));
        assert_eq!(yaml.devices[0].container_edits.device_nodes[0].host_path.as_deref(), Some("/dev/null"));
        assert_eq!(yaml.container_edits.mounts[0].container_path, "/usr2");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let device = "devices: [{name: a, containerEdits: {}}]";
        for (text, want) in [
            (format!("cdiVersion: 9.0.0\nkind: v/c\n{device}\n"), "version 9.0.0 is not known"),
            (format!("cdiVersion: 0.6.0\nkind: vc\n{device}\n"), "kind `vc` is not vendor/class"),
            (
                "cdiVersion: 0.6.0\nkind: v/c\ndevices: [{name: a, containerEdits: {}}, {name: a, containerEdits: {}}]"
                    .to_owned(),
                "two devices have one name",
            ),
        ] {
            assert_eq!(Spec::parse(&text).unwrap_err(), want);
        }
        for text in ["", "[", "- a", "cdiVersion: 0.6.0\nkind: v/c\ndevices: []\nother: 1\n", "a: &a [*a, *a]"] {
            assert!(!Spec::parse(text).unwrap_err().is_empty(), "{text}");
        }
    }

    #[test]
    fn what_no_step_can_have_is_named() {
        let spec = |edits: &str| {
            let text = format!("cdiVersion: 0.6.0\nkind: v/c\ndevices: [{{name: a, containerEdits: {edits}}}]\n");
            Spec::parse(&text).unwrap().devices[0].container_edits.beyond_us()
        };
        assert_eq!(spec("{}"), None);
        assert!(
            spec("{hooks: [{hookName: createContainer, path: /bin/x}]}").is_some_and(|what| what.starts_with("hooks"))
        );
        assert_eq!(spec("{intelRdt: {closID: x}}"), Some("intelRdt"));
    }
}
