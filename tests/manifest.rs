//! Indexes of images: made in the store and in registries, annotated, looked at and pushed; read back by skopeo.

// Tests are the edge: they list directories.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::Path;

use serde_json::Value;
use support::http::{HttpServer, Response};
use support::kiln::Kiln;
use support::registry::{self, Registry};
use support::{tool, write};

#[test]
fn images_of_the_store_become_an_index_and_are_pushed() {
    let kiln = Kiln::new();
    let address = &registry::shared().address;
    for arch in ["amd64", "arm64"] {
        built(&kiln, &format!("{address}/store/{arch}:1"), arch);
    }
    let list = format!("{address}/store/all:1");
    let parts = ["amd64", "arm64"].map(|arch| format!("{address}/store/{arch}:1"));
    let created = kiln.run(["manifest", "create", &list, &parts[0], &parts[1]]);
    assert_eq!(created.succeeded().stdout, format!("Created manifest list {list}\n"));
    kiln.run(["manifest", "create", &list, &parts[0]]).failed_saying(&["name-taken", "--amend"]);
    let local = kiln.run(["manifest", "inspect", "--raw", &list]).succeeded().stdout.clone();

    let digest = kiln.run(["manifest", "push", &list]).succeeded().stdout.clone();
    assert_eq!(raw(&list), local);
    let arches = "{{range .Manifest.manifests}}{{.platform.architecture}} {{end}}{{.Manifest.digest}}";
    let shown = kiln.run(["imagetools", "inspect", "--format", arches, &list]).succeeded().stdout.clone();
    assert_eq!(shown, format!("amd64 arm64 {digest}"));
    // What an index lists is what a push of each image sends.
    kiln.run(["push", &parts[1]]).succeeded();
    let arm = kiln.run(["imagetools", "inspect", "--format", "{{.Manifest.digest}}", &parts[1]]);
    assert!(local.contains(arm.succeeded().stdout.trim()), "{local}");
    all_is_there(&list);
    // Elsewhere, and gone from here.
    let elsewhere = format!("docker://{address}/store/elsewhere:2");
    assert_eq!(kiln.run(["manifest", "push", "--purge", &list, &elsewhere]).succeeded().stdout, digest);
    assert_eq!(raw(elsewhere.trim_start_matches("docker://")), local);
    kiln.run(["manifest", "rm", &list]).failed_saying(&["no such image"]);
}

#[test]
fn images_of_registries_are_listed_without_their_layers_and_go_from_registry_to_registry() {
    let (builder, kiln) = (Kiln::new(), Kiln::new());
    let (address, other) = (&registry::shared().address, Registry::start());
    let parts = ["amd64", "s390x"].map(|arch| format!("{address}/far/{arch}:1"));
    for (name, arch) in parts.iter().zip(["amd64", "s390x"]) {
        built(&builder, name, arch);
        builder.run(["push", name]).succeeded();
    }
    let list = format!("{address}/far/all:1");
    kiln.run(["manifest", "create", &list, &parts[0]]).succeeded();
    kiln.run(["manifest", "create", "--amend", &list, &format!("docker://{}", parts[1])]).succeeded();
    let local = kiln.run(["manifest", "inspect", "--raw", &list]).succeeded().stdout.clone();
    // The index, two manifests and two configs; the first index is there, too.
    let blobs = || std::fs::read_dir(kiln.store().join("content/blobs/sha256")).expect("blobs").count();
    assert_eq!(blobs(), 6);
    kiln.run(["manifest", "push", &list]).succeeded();
    assert_eq!((raw(&list), blobs()), (local.clone(), 6), "layers were mounted, not fetched");
    all_is_there(&list);
    // An ordinary push knows, too, where the layers are.
    let copy = format!("{}/copy/all:1", other.address);
    kiln.run(["tag", &list, &copy]).succeeded();
    kiln.run(["push", &copy]).succeeded();
    assert_eq!(raw(&copy), local);
    all_is_there(&copy);
    kiln.run(["manifest", "rm", &copy, &list]).succeeded();
    // An index that was pulled for one platform is whole where it came from.
    let third = Kiln::new();
    third.run(["pull", "--platform", "linux/s390x", &list]).succeeded();
    let whole = format!("{}/whole:1", other.address);
    third.run(["manifest", "create", &whole, &list]).succeeded();
    third.run(["manifest", "push", &whole]).succeeded();
    assert_eq!(raw(&whole), local);
    all_is_there(&whole);
}

#[test]
fn imagetools_work_in_registries_as_those_of_buildx() {
    let (builder, kiln) = (Kiln::new(), Kiln::new());
    let address = &registry::shared().address;
    let [amd, arm] = ["amd64", "arm64"].map(|arch| format!("{address}/tools/{arch}:1"));
    for (name, arch) in [(&amd, "amd64"), (&arm, "arm64")] {
        built(&builder, name, arch);
        builder.run(["push", name]).succeeded();
    }
    let (one, two) = (format!("{address}/tools/list:1"), format!("{address}/tools/list:2"));
    let dry = kiln.run(["imagetools", "create", "--dry-run", "-t", &one, &amd, &arm]).succeeded().stdout.clone();
    let dry: Value = serde_json::from_str(&dry).expect("JSON");
    assert_eq!(dry["manifests"].as_array().map(Vec::len), Some(2));
    kiln.run(["imagetools", "inspect", &one]).failed_saying(&["registry"]);
    kiln.run(["imagetools", "create", "-t", &one, "-t", &two, "--annotation", "index:a=b", &amd]).succeeded();
    assert_eq!(raw(&one), raw(&two));
    assert_eq!(json(&raw(&one))["annotations"]["a"], "b");
    let append =
        ["imagetools", "create", "--append", "-t", &two, "--annotation", "manifest-descriptor[linux/arm64]:c=d"];
    kiln.run(append.iter().copied().chain([arm.as_str()])).succeeded();
    let list = json(&raw(&two));
    assert_eq!((&list["annotations"]["a"], &list["manifests"][1]["annotations"]["c"]), (&"b".into(), &"d".into()));
    assert!(list["manifests"][0]["annotations"].is_null(), "{list}");
    // The whole of one list is the same bytes; a part of it is not.
    let copy = format!("{address}/tools/copy:1");
    kiln.run(["imagetools", "create", "-t", &copy, &two]).succeeded();
    assert_eq!(raw(&copy), raw(&two));
    kiln.run(["imagetools", "create", "-t", &copy, "--platform", "linux/arm64", &two]).succeeded();
    assert_eq!(json(&raw(&copy))["manifests"].as_array().map(Vec::len), Some(1));
    kiln.run(["imagetools", "create", "-t", &copy, "--prefer-index=false", &amd]).succeeded();
    assert_eq!(raw(&copy), raw(&amd));
    kiln.run(["imagetools", "create", "-t", &copy, "--annotation", "manifest:a=b", &amd]).failed_saying(&["index:"]);

    // A descriptor says more of an image than the image does.
    let mut descriptor = list["manifests"][1].clone();
    descriptor["platform"]["os.version"] = "10.1".into();
    let file = kiln.out().join("descriptor.json");
    write(&kiln.out(), "descriptor.json", descriptor.to_string());
    let file = file.to_str().expect("a path of text");
    kiln.run(["imagetools", "create", "-t", &two, "-f", file]).succeeded();
    assert_eq!(json(&raw(&two))["manifests"][0]["platform"]["os.version"], "10.1");
    write(&kiln.out(), "descriptor.json", "{");
    kiln.run(["imagetools", "create", "-t", &two, "-f", file]).failed_saying(&["no descriptor"]);

    let page = kiln.run(["imagetools", "inspect", &one]).succeeded().stdout.clone();
    let digest = list["manifests"][0]["digest"].as_str().expect("a digest");
    for line in
        [format!("Name:      {one}"), format!("  Name:        {one}@{digest}"), "  Platform:    linux/amd64".into()]
    {
        assert!(page.contains(&line), "{page}");
    }
    let image =
        kiln.run(["imagetools", "inspect", "--format", "{{json (index .Image \"linux/amd64\").os}} {{.Name}}", &one]);
    assert_eq!(image.succeeded().stdout, format!("\"linux\" {one}\n"));
    assert_eq!(kiln.run(["imagetools", "inspect", "--raw", &one]).succeeded().stdout, raw(&one));
}

#[test]
fn an_entry_is_annotated_and_the_rest_stays() {
    let kiln = Kiln::new();
    for arch in ["amd64", "arm64"] {
        built(&kiln, arch, arch);
    }
    kiln.run(["manifest", "create", "list", "amd64", "arm64"]).succeeded();
    let before = inspected(&kiln, "list");
    let digest = before["manifests"][1]["digest"].as_str().expect("a digest").to_owned();
    let said = ["--os-version", "5", "--os-features", "a,b", "--variant", "v9", "--annotation", "x=y=z"];
    kiln.run(["manifest", "annotate", "list", "arm64"].iter().chain(&said)).succeeded();
    let after = inspected(&kiln, "list");
    assert_eq!(after["manifests"][0], before["manifests"][0]);
    let entry = &after["manifests"][1];
    assert_eq!(entry["platform"]["os.features"], serde_json::json!(["a", "b"]));
    assert_eq!((&entry["platform"]["variant"], &entry["annotations"]["x"]), (&"v9".into(), &"y=z".into()));
    kiln.run(["manifest", "annotate", "list", &digest[..15], "--os", "windows", "--arch", "x86_64"]).succeeded();
    kiln.run(["manifest", "annotate", "--index", "list", "--annotation", "of=all"]).succeeded();
    let after = inspected(&kiln, "list");
    assert_eq!(after["manifests"][1]["platform"]["os"], "windows");
    assert_eq!(
        (&after["manifests"][1]["platform"]["architecture"], &after["annotations"]["of"]),
        (&"amd64".into(), &"all".into())
    );

    kiln.run(["manifest", "annotate", "list", "absent"]).failed_saying(&["nothing is to be said"]);
    kiln.run(["manifest", "annotate", "list", "sha256:0123", "--os", "linux"])
        .failed_saying(&["no-entry", "not listed"]);
    kiln.run(["manifest", "annotate", "amd64", "arm64", "--os", "linux"]).failed_saying(&["not-an-index"]);
    kiln.run(["manifest", "create", "other"]).failed_saying(&["name the images"]);
    kiln.run(["manifest", "rm", "amd64"]).failed_saying(&["not-an-index"]);
    assert_eq!(kiln.run(["manifest", "rm", "list"]).succeeded().stdout, "Untagged: list:latest\n");
    kiln.run(["inspect", "amd64"]).succeeded();
}

#[test]
fn changes_of_one_list_at_once_are_all_kept() {
    let kiln = Kiln::new();
    built(&kiln, "amd64", "amd64");
    kiln.run(["manifest", "create", "list", "amd64"]).succeeded();
    let all = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let change = |key: &str| {
        let mut command = kiln.command();
        command.args(["manifest", "annotate", "--index", "list", "--annotation"]).arg(format!("{key}={key}"));
        command.spawn().expect("kiln")
    };
    let mut children = all.map(change);
    for child in &mut children {
        assert!(child.wait().expect("an end").success());
    }
    let annotations = inspected(&kiln, "list")["annotations"].clone();
    assert_eq!(annotations.as_object().map(serde_json::Map::len), Some(all.len()), "{annotations}");
}

#[test]
fn an_entry_is_what_is_named_and_nothing_else() {
    let kiln = Kiln::new();
    built(&kiln, "one", "amd64");
    built(&kiln, "two", "arm64");
    kiln.run(["manifest", "create", "single", "one"]).succeeded();
    for nothing in ["", "sha256:", "single@sha256:"] {
        let refused = kiln.run(["manifest", "annotate", "single", nothing, "--os", "windows"]);
        assert_eq!(refused.code, 1, "`{nothing}`: {}", refused.both());
    }
    // A name that the digest of the other entry begins with.
    kiln.run(["manifest", "create", "list", "one", "two"]).succeeded();
    let digest = |at: usize| inspected(&kiln, "list")["manifests"][at]["digest"].as_str().expect("a digest").to_owned();
    let (first, second) = (digest(0), digest(1));
    let length = (8..).find(|length| first[7..*length] != second[7..*length]).expect("other digits");
    kiln.run(["tag", "two", &first[7..length]]).succeeded();
    kiln.run(["manifest", "annotate", "list", &first[7..length], "--os-version", "7"]).succeeded();
    let after = inspected(&kiln, "list");
    assert_eq!(after["manifests"][1]["platform"]["os.version"], "7", "{after}");
}

/// A registry with one index at `list:1`, which lists these, and a manifest.
fn hostile(entries: impl Fn(&str, usize) -> Value) -> HttpServer {
    let config =
        serde_json::json!({ "os": "linux", "architecture": "amd64", "config": { "Labels": { "a": "\u{9b}31m" } } });
    let config = config.to_string();
    let digest = |text: &str| kiln::digest::Digest::of(text.as_bytes()).to_string();
    let oci = |kind: &str| format!("application/vnd.oci.image.{kind}.v1+json");
    let of_config = serde_json::json!({ "mediaType": oci("config"), "digest": digest(&config), "size": config.len() });
    let manifest =
        serde_json::json!({ "schemaVersion": 2, "mediaType": oci("manifest"), "config": of_config, "layers": [] });
    let manifest = manifest.to_string();
    let entries = entries(&digest(&manifest), manifest.len());
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": oci("index"), "manifests": entries }).to_string();
    HttpServer::start(move |request| {
        let of = |text: &str, kind: String| Response::of(text).with("content-type", &kind);
        match request.target.rsplit('/').next() {
            Some("1") => of(&index, oci("index")),
            Some(name) if name == digest(&index) => of(&index, oci("index")),
            Some(name) if name == digest(&manifest) => of(&manifest, oci("manifest")),
            Some(name) if name == digest(&config) => of(&config, oci("config")),
            _ if request.target == "/v2/" => Response::of("{}"),
            _ => Response::status(404),
        }
    })
}

#[test]
fn what_a_registry_lists_is_not_believed() {
    let kiln = Kiln::new();
    let create = |registry: &HttpServer| {
        let name = format!("{}/hostile/list:1", registry.host());
        let whole = kiln.run(["imagetools", "create", "--dry-run", "-t", "x", &name]);
        assert_eq!(whole.code, 1, "{}", whole.both());
        whole
    };
    create(&hostile(|_, _| serde_json::json!([]))).failed_saying(&["no-entry", "an index of nothing"]);
    let entry = |digest: &str, size: usize, platform: &str| {
        let platform = serde_json::json!({ "os": platform, "architecture": "\u{9d}0;" });
        let kind = "application/vnd.oci.image.manifest.v1+json";
        serde_json::json!({ "mediaType": kind, "digest": digest, "size": size, "platform": platform })
    };
    let lies = hostile(|digest, size| serde_json::json!([entry(digest, size - 1, "linux")]));
    create(&lies).failed_saying(&["descriptor", "not as long as it is listed"]);
    let moves = hostile(|digest, size| serde_json::json!([entry(digest, size, "linux\u{9b}2J\u{202e}")]));
    let name = format!("{}/hostile/list:1", moves.host());
    for arguments in
        [&["imagetools", "inspect"][..], &["imagetools", "inspect", "--format=json"], &["manifest", "inspect"]]
    {
        let shown = kiln.run(arguments.iter().copied().chain([name.as_str()])).succeeded().both();
        assert!(shown.contains("linux") && !shown.contains(['\u{9b}', '\u{9d}', '\u{202e}']), "{shown:?}");
    }
}

/// Builds an image of one platform.
#[track_caller]
fn built(kiln: &Kiln, name: &str, arch: &str) {
    let context = support::scratch();
    write(context.path(), "Dockerfile", format!("FROM scratch\nCOPY Dockerfile /{arch}\n# {name}\n"));
    kiln.build(context.path(), &["--platform", &format!("linux/{arch}"), "-t", name]).succeeded();
}

#[track_caller]
fn inspected(kiln: &Kiln, name: &str) -> Value {
    json(&kiln.run(["manifest", "inspect", name]).succeeded().stdout)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A document as the registry has it.
#[track_caller]
fn raw(name: &str) -> String {
    tool::run(tool::tool("skopeo").args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]))
}

/// Copies all images of an index out of the registry, layers and all.
#[track_caller]
fn all_is_there(name: &str) {
    let to = support::scratch();
    let to: &Path = to.path();
    let arguments = ["copy", "-q", "--all", "--preserve-digests", "--src-tls-verify=false"];
    let from = format!("docker://{name}");
    tool::run(tool::tool("skopeo").args(arguments).args([&from, &format!("dir:{}", to.display())]));
}
