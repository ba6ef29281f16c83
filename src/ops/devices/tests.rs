use super::*;
use crate::source::{SourceId, Span};

/// Two directories with descriptions of devices that every machine has.
fn machine() -> (tempfile::TempDir, Vec<PathBuf>) {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(place.path().join(name).parent().unwrap()).unwrap();
        std::fs::write(place.path().join(name), text).unwrap();
    };
    let node = |path: &str, host: &str| format!("{{deviceNodes: [{{path: {path}, hostPath: {host}}}]}}");
    write(
        "etc/v.yaml",
        &format!(
            "cdiVersion: 0.6.0\nkind: v.example/n\ndevices:\n- {{name: b, containerEdits: {}}}\n- {{name: a, containerEdits: {}}}\n\
             containerEdits: {{env: [OF=file], additionalGids: [0, 44]}}\n",
            node("/dev/b", "/dev/zero"),
            node("/dev/a", "/dev/null"),
        ),
    );
    write(
        "run/v.json",
        r#"{"cdiVersion": "1.0.0", "kind": "v.example/n", "devices": [{"name": "b", "containerEdits": {"env": ["B=run"]},
            "annotations": {"org.mobyproject.buildkit.device.autoallow": "true"}}]}"#,
    );
    write("run/broken.yml", "kind: [");
    write("run/ignored.txt", "kind: [");
    let directories = ["etc", "none", "run"].map(|name| place.path().join(name)).to_vec();
    (place, directories)
}

fn device(name: &str, required: bool) -> Device {
    Device { name: name.to_owned(), required, span: Span::new(SourceId(0), 0..0) }
}

fn names(wanted: &str, allowed: &Allowed) -> Result<Vec<String>, String> {
    let (_place, directories) = machine();
    let found = find(&[device(wanted, true)], allowed, &directories);
    found.map(|brought| brought.names).map_err(|error| error.to_string())
}

fn all() -> Allowed {
    Allowed { all: true, ..Allowed::default() }
}

#[test]
fn devices_are_found_by_name_by_class_and_all_of_a_class() {
    let full = |names: &[&str]| Ok(names.iter().map(|name| format!("v.example/n={name}")).collect());
    assert_eq!(names("v.example/n=a", &all()), full(&["a"]));
    assert_eq!(names("v.example/n", &all()), full(&["a"]));
    assert_eq!(names("v.example/n=*", &all()), full(&["a", "b"]));
    for unknown in ["v.example/n=c", "v.example/m", "v.example/n=a=b", "n"] {
        assert_eq!(names(unknown, &all()), Err(format!("required device {unknown:?} is not registered")));
    }
    let (_place, directories) = machine();
    assert!(find(&[device("v.example/n=c", false)], &all(), &directories).unwrap().names.is_empty());
}

#[test]
fn a_missing_one_is_told_with_what_could_not_be_read() {
    let (place, directories) = machine();
    let Err(OpError::User { help, .. }) = find(&[device("v.example/n=aa", true)], &all(), &directories) else {
        panic!("it is not there")
    };
    assert_eq!(help[0], "did you mean `v.example/n=a`?");
    assert!(help[1].starts_with(&format!("`{}` could not be read: ", place.path().join("run/broken.yml").display())));
}

#[test]
fn a_device_must_be_allowed() {
    let by_name = |name: &str| Allowed { names: [name.to_owned()].into(), ..Allowed::default() };
    let refused = Err("device v.example/n=a is requested by the build but not allowed".to_owned());
    assert_eq!(names("v.example/n=a", &Allowed::default()), refused);
    assert_eq!(names("v.example/n=a", &by_name("v.example/n=b")), refused);
    assert!(names("v.example/n=a", &by_name("v.example/n=a")).is_ok());
    assert!(names("v.example/n=a", &by_name("v.example/n=*")).is_ok());
    assert!(names("v.example/n=b", &Allowed::default()).is_ok(), "its file allows it");
}

#[test]
fn what_the_file_brings_comes_once_and_the_later_directory_counts() {
    let (_place, directories) = machine();
    let wanted = [device("v.example/n=a", true), device("v.example/n=*", true)];
    let brought = find(&wanted, &all(), &directories).unwrap();
    let env: Vec<_> = brought.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["OF=file", "B=run"]);
    assert_eq!(brought.gids, [44]);
    assert_eq!(brought.mounts, [Mount::Device { source: "/dev/null".into(), target: "/dev/a".into() }]);
}

#[test]
fn what_is_no_device_is_refused() {
    let place = tempfile::tempdir().unwrap();
    for (edits, why) in [
        ("{deviceNodes: [{path: /dev/x, hostPath: /etc/passwd}]}", "`/etc/passwd` is no device"),
        ("{deviceNodes: [{path: /dev/x, hostPath: /dev/null, major: 9}]}", "`/dev/null` is 1:3"),
        ("{deviceNodes: [{path: dev/x, hostPath: /dev/null}]}", "`dev/x` is not absolute"),
        ("{env: [A]}", "`A` is no variable"),
        (
            "{hooks: [{hookName: h, path: /bin/true}]}",
            "it needs hooks, programs of this machine that change the container",
        ),
    ] {
        let text = format!("cdiVersion: 0.6.0\nkind: v/n\ndevices: [{{name: a, containerEdits: {edits}}}]\n");
        std::fs::write(place.path().join("v.yaml"), text).unwrap();
        let error = find(&[device("v/n=a", true)], &all(), &[place.path().to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), format!("device v/n=a cannot be given to a step: {why}"));
    }
}
