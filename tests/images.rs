//! What a user does with images beside a build, read back by others where they can.

// Tests are the edge: they list directories.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::Path;

use serde_json::Value;
use support::bases::Base;
use support::http::{HttpServer, Response};
use support::kiln::Kiln;
use support::{image, registry, tool, write};
use tempfile::TempDir;

#[test]
fn images_are_listed_as_docker_lists_them() {
    let (kiln, context) = (Kiln::new(), labelled());
    let id = built(&kiln, &context, &["-t", "app", "-t", "registry.example/team/app:2"]);
    let nameless = built(&kiln, &context, &["--label", "other=1"]);
    let short = |id: &str| id["sha256:".len()..][..12].to_owned();

    let table = listed(&kiln, &[]);
    let mut lines = table.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("REPOSITORY")), "{table}");
    let words: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    assert!(words.iter().any(|line| line[..3] == ["app", "latest", &short(&id)]), "{table}");
    assert!(words.iter().any(|line| line[..3] == ["<none>", "<none>", &short(&nameless)]), "{table}");

    assert_eq!(listed(&kiln, &["-q", "--no-trunc", "app"]), format!("{id}\n"));
    assert_eq!(listed(&kiln, &["-q", "--filter", "dangling=true"]), format!("{}\n", short(&nameless)));
    let names = |arguments: &[&str]| {
        let mut all = vec!["--format", "{{.Repository}}:{{.Tag}}"];
        all.extend(arguments);
        let mut lines: Vec<String> = listed(&kiln, &all).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(names(&["-f", "dangling=false"]), ["app:latest", "registry.example/team/app:2"]);
    assert_eq!(names(&["-f", "reference=*/*/app"]), ["registry.example/team/app:2"]);
    assert_eq!(names(&["-f", "reference=a*:l*"]), ["app:latest"]);
    assert_eq!(names(&["-f", "label=other"]), ["<none>:<none>"]);
    assert_eq!(names(&["-f", "label=kind=test", "docker.io/library/app"]), ["app:latest"]);
    assert_eq!(names(&["-f", "label=kind=other"]), Vec::<String>::new());
    for line in listed(&kiln, &["--format", "json"]).lines() {
        let line: Value = serde_json::from_str(line).expect("an object on each line");
        assert!(line["ID"].is_string() && line["Digest"].is_string() && line["Size"].is_string(), "{line}");
    }
    let table = listed(&kiln, &["--format", "table {{.ID}}\\t{{upper .Repository}}", "app"]);
    assert_eq!(table, format!("IMAGE ID       REPOSITORY\n{}   APP\n", short(&id)));
    assert!(listed(&kiln, &["--digests"]).contains("DIGEST"));
    kiln.run(["images", "--filter", "lable=x"]).failed_saying(&["did you mean `label`?"]);
    kiln.run(["images", "--format", "{{.ID"]).failed_saying(&["--format", "not closed"]);
}

#[test]
fn images_made_before_and_since_another_are_told_apart() {
    let kiln = Kiln::new();
    for (name, epoch) in [("first", "1000000000"), ("second", "1100000000"), ("third", "1200000000")] {
        let context = support::scratch();
        write(context.path(), "Dockerfile", format!("FROM scratch\nCOPY Dockerfile /{name}\n"));
        kiln.build(context.path(), &["-t", name, "--build-arg", &format!("SOURCE_DATE_EPOCH={epoch}")]).succeeded();
    }
    let names = |filter: &str| listed(&kiln, &["--filter", filter, "--format", "{{.Repository}} {{.CreatedAt}}"]);
    assert_eq!(names("before=second"), "first 2001-09-09 01:46:40 +0000 UTC\n");
    assert_eq!(names("since=second"), "third 2008-01-10 21:20:00 +0000 UTC\n");
    kiln.run(["images", "-f", "before=fourth"]).failed_saying(&["no such image: fourth:latest"]);
}

#[test]
fn an_image_is_inspected_as_docker_shows_it() {
    let (kiln, context) = (Kiln::new(), labelled());
    let id = built(&kiln, &context, &["-t", "app", "-t", "app:2"]);
    let output = kiln.run(["inspect", "app", &id]);
    let all: Value = serde_json::from_str(&output.succeeded().stdout).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    assert_eq!(all[0], all[1]);
    let image = &all[0];
    assert_eq!(image["Id"], id.as_str());
    assert_eq!(image["RepoTags"], serde_json::json!(["app:2", "app:latest"]));
    assert_eq!((&image["Os"], &image["Config"]["WorkingDir"]), (&Value::from("linux"), &Value::from("/w")));
    assert_eq!(image["Config"]["Labels"]["kind"], "test");
    assert!(image["Config"]["Entrypoint"].is_null() && image["Size"].as_u64() > Some(100_000), "{image}");
    let layers = image["RootFS"]["Layers"].as_array().expect("layers").len();

    let format = |format: &str| kiln.run(["inspect", "-f", format, "app"]).succeeded().stdout.clone();
    assert_eq!(format("{{.Config.Cmd}} {{json .Config.Labels}}"), "[/c] {\"kind\":\"test\"}\n");
    assert_eq!(format("{{range .Config.Env}}{{.}};{{end}}"), "PATH=/bin:/usr/bin:/sbin:/usr/sbin;X=1;\n");
    assert_eq!(format("{{len .RootFS.Layers}}"), format!("{layers}\n"));
    let output = kiln.run(["inspect", "-f", "{{.Id}}", "app", "absent"]);
    assert_eq!(output.stdout, format!("{id}\n"));
    output.failed_saying(&["no such image: absent:latest"]);
    kiln.run(["inspect", "ap"]).failed_saying(&["did you mean `app:latest`?"]);
}

#[test]
fn the_history_is_told_newest_first() {
    let (kiln, context) = (Kiln::new(), labelled());
    let id = built(&kiln, &context, &["-t", "app"]);
    let output = kiln.run(["history", "--format", "{{.ID}}|{{.CreatedBy}}|{{.Size}}", "--no-trunc", "app"]);
    let lines: Vec<&str> = output.succeeded().stdout.lines().collect();
    assert_eq!(lines[0], format!("{id}|CMD [\"/c\"]|0B"));
    assert!(lines[1].starts_with("<missing>|RUN ") && lines[1].ends_with("kB"), "{lines:?}");
    let table = kiln.run(["history", "app"]).succeeded().stdout.clone();
    assert!(table.starts_with("IMAGE          CREATED") && table.contains('…'), "{table}");
    let bytes = kiln.run(["history", "-H=false", "--format", "{{.Size}} {{.CreatedAt}}", "app"]);
    assert!(bytes.succeeded().stdout.starts_with("0 20"), "{}", bytes.stdout);
    assert_eq!(
        kiln.run(["history", "-q", "app"]).stdout.lines().filter(|line| *line == "<missing>").count(),
        lines.len() - 1
    );
}

#[test]
fn names_come_and_go_and_the_last_takes_the_image_with_it() {
    let (kiln, context) = (Kiln::new(), labelled());
    let id = built(&kiln, &context, &["-t", "app"]);
    let short = &id["sha256:".len()..][..12];
    kiln.run(["tag", short, "other.example/app:new"]).succeeded();
    kiln.run(["tag", "absent", "x"]).failed_saying(&["no such image: absent:latest"]);
    kiln.run(["tag", "app", "UPPER"]).failed_saying(&["must be lower case"]);
    kiln.run(["rmi", short]).failed_saying(&["must be forced", "other.example/app:new"]);
    assert_eq!(kiln.run(["rmi", "app"]).succeeded().stdout, "Untagged: app:latest\n");
    assert_eq!(listed(&kiln, &["-q"]), format!("{short}\n"));
    let removed = kiln.run(["rmi", short]).succeeded().stdout.clone();
    assert_eq!(removed, format!("Untagged: other.example/app:new\nDeleted: {id}\n"));
    assert_eq!(listed(&kiln, &["-q"]), "");
    kiln.run(["rmi", "app"]).failed_saying(&["no such image: app:latest"]);
    assert_eq!(kiln.run(["rmi", "-f", "app"]).code, 0);
    // What the step cache has stays: nothing is run again.
    let again = kiln.build(context.path(), &["-t", "app", "--progress=plain"]);
    assert!(again.succeeded().stderr.contains("CACHED"), "{}", again.stderr);
}

/// An image with some of everything.
fn labelled() -> TempDir {
    let context = support::scratch();
    let base = registry::base(Base::Busybox);
    write(
        context.path(),
        "Dockerfile",
        format!(
            "FROM {base}\nLABEL kind=test\nENV X=1\nWORKDIR /w\n\
             RUN cat /proc/sys/kernel/random/uuid > /made && echo {} && dd if=/dev/zero of=/zeros bs=1k count=20\nCMD [\"/c\"]\n",
            "long ".repeat(20)
        ),
    );
    context
}

/// Builds, and returns the image id.
#[track_caller]
fn built(kiln: &Kiln, context: &TempDir, arguments: &[&str]) -> String {
    let mut all = vec!["-q"];
    all.extend(arguments);
    kiln.build(context.path(), &all).succeeded().stdout.trim().to_owned()
}

#[track_caller]
fn listed(kiln: &Kiln, arguments: &[&str]) -> String {
    kiln.run(["images"].iter().chain(arguments)).succeeded().stdout.clone()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

#[test]
fn what_is_saved_is_loaded_with_the_same_digests_and_read_by_others() {
    let (kiln, context) = (Kiln::new(), labelled());
    let id = built(&kiln, &context, &["-t", "app", "-t", "other:2"]);
    let digest = digest_of(&kiln, "app");
    let archive = kiln.out().join("saved.tar");
    kiln.run(["save", "-o", text(&archive), "app", "other:2"]).succeeded();

    let second = Kiln::new();
    let loaded = second.run(["load", "-i", text(&archive)]);
    assert_eq!(loaded.succeeded().stdout, "Loaded image: app:latest\nLoaded image: other:2\n");
    assert_eq!((digest_of(&second, "app"), digest_of(&second, "other:2")), (digest.clone(), digest.clone()));
    assert_eq!(listed(&second, &["-q", "--no-trunc"]), format!("{id}\n"));
    // Saved again, it is the same file.
    let again = second.out().join("again.tar");
    second.run(["save", "-o", text(&again), "app", "other:2"]).succeeded();
    assert!(std::fs::read(&archive).expect("one") == std::fs::read(&again).expect("the other"), "the archives differ");

    // Others read it as a layout and as a docker archive.
    let oci = format!("oci-archive:{}:latest", archive.display());
    let seen: Value =
        serde_json::from_str(&tool::run(tool::tool("skopeo").args(["inspect", "--raw", &oci]))).expect("JSON");
    assert_eq!(seen["config"]["digest"], id.as_str());
    let docker = format!("docker-archive:{}:other:2", archive.display());
    let config = tool::run(tool::tool("skopeo").args(["inspect", "--config", &docker]));
    assert!(config.contains("\"kind\": \"test\""), "{config}");
    assert_eq!(image::read(&archive).expect("an archive").config["config"]["Cmd"], serde_json::json!(["/c"]));
}

#[test]
fn archives_of_others_are_loaded_and_keep_the_id() {
    let (kiln, context) = (Kiln::new(), labelled());
    let id = built(&kiln, &context, &["-t", "app"]);
    let saved = kiln.out().join("saved.tar");
    kiln.run(["save", "-o", text(&saved), "app"]).succeeded();
    let from = format!("oci-archive:{}:latest", saved.display());
    let copy = |to: &str| tool::run(tool::tool("skopeo").args(["copy", "-q", &from, to]));
    let docker = kiln.out().join("docker.tar");
    copy(&format!("docker-archive:{}:copied:1", docker.display()));
    let layout = kiln.out().join("layout");
    copy(&format!("oci:{}:named:3", layout.display()));

    let second = Kiln::new();
    let ids = |name: &str| listed(&second, &["-q", "--no-trunc", name]).trim().to_owned();
    assert_eq!(second.run(["load", "-i", text(&docker)]).succeeded().stdout, "Loaded image: copied:1\n");
    assert_eq!(ids("copied"), id);
    assert_eq!(second.run(["load", "-i", text(&layout)]).succeeded().stdout, "Loaded image: named:3\n");
    assert_eq!(ids("named"), id);
    tool::run(tool::tool("gzip").arg("-k").arg(&docker));
    let compressed = std::fs::File::open(format!("{}.gz", docker.display())).expect("the compressed archive");
    let mut command = second.command();
    let output =
        support::kiln::output_of(command.args(["load", "-q"]).stdin(compressed), std::time::Duration::from_secs(60));
    assert_eq!(output.succeeded().stdout, format!("{id}\n"));
    // What was loaded builds and runs.
    write(context.path(), "Dockerfile", "FROM copied:1\nRUN test -f /made\n");
    second.build(context.path(), &["-t", "above"]).succeeded();
}

#[test]
fn a_bad_archive_is_refused_and_names_nothing() {
    let kiln = Kiln::new();
    let archive = |name: &str, files: &[(&str, &[u8])]| {
        let path = kiln.out().join(name);
        let mut tar = tar::Builder::new(std::fs::File::create(&path).expect("an archive"));
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *bytes).expect("an entry");
        }
        tar.finish().expect("the end");
        path
    };
    let zeros = "0".repeat(64);
    let blob = format!("blobs/sha256/{zeros}");
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{zeros}","size":2}}]}}"#
    );
    let config: &[u8] = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#;
    let docker: &[u8] = br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}]"#;
    let long = vec![b' '; (16 << 20) + 1];
    for (name, files, words) in [
        ("nothing", vec![("file", &b"x"[..])], "neither index.json nor manifest.json"),
        ("wrong-digest", vec![(blob.as_str(), &b"x"[..])], "wrong digest"),
        ("absent", vec![("index.json", index.as_bytes())], "which is not in it"),
        ("no-json", vec![("index.json", &b"{"[..])], "makes no sense"),
        ("too-long", vec![("index.json", long.as_slice())], "longer than 16 MiB"),
        ("other-layer", vec![("c.json", config), ("l.tar", b"evil"), ("manifest.json", docker)], "as the config says"),
        ("no-layer", vec![("c.json", config), ("manifest.json", docker)], "`l.tar` is named"),
    ] {
        let path = archive(name, &files);
        kiln.run(["load", "-i", text(&path)]).failed_saying(&[words]);
    }
    std::fs::write(kiln.out().join("text"), "no archive at all".repeat(100)).expect("a file");
    kiln.run(["load", "-i", text(&kiln.out().join("text"))]).failed_saying(&["archive"]);
    kiln.run(["load", "-i", "/no/such/file"]).failed_saying(&["cannot open `/no/such/file`"]);
    assert_eq!(listed(&kiln, &["-q"]), "");
}

#[test]
fn a_tar_of_files_becomes_an_image() {
    let kiln = Kiln::new();
    let files = support::scratch();
    write(files.path(), "etc/greeting", "hello\n");
    let archive = kiln.out().join("files.tgz");
    tool::run(tool::tool("tar").arg("-czf").arg(&archive).arg("-C").arg(files.path()).arg("."));
    let changes = ["-c", "CMD [\"/bin/sh\"]", "-c", "ENV A=b", "--change", "LABEL x=y", "-m", "by hand"];
    let mut arguments = vec!["import"];
    arguments.extend(changes);
    arguments.extend([text(&archive), "imported:1"]);
    let id = kiln.run(arguments).succeeded().stdout.trim().to_owned();
    assert_eq!(listed(&kiln, &["-q", "--no-trunc", "imported:1"]), format!("{id}\n"));
    let shown =
        kiln.run(["inspect", "-f", "{{.Config.Cmd}} {{.Config.Env}} {{.Config.Labels}} {{.Comment}}", "imported:1"]);
    assert_eq!(shown.succeeded().stdout, "[/bin/sh] [A=b] map[x:y] by hand\n");
    let saved = kiln.out().join("saved.tar");
    kiln.run(["save", "-o", text(&saved), "imported:1"]).succeeded();
    let layers = image::read(&saved).expect("an archive").layers;
    assert_eq!(image::flatten(&layers).expect("whole layers")["/etc/greeting"].data, b"hello\n");
    // `PATH` counts where it is set.
    let env = |change: &str| {
        let id = kiln.run(["import", "-c", change, text(&archive)]).succeeded().stdout.trim().to_owned();
        kiln.run(["inspect", "-f", "{{json .Config.Env}}", &id]).succeeded().stdout.clone()
    };
    assert_eq!((env("LABEL a=PATH"), env("ENV PATHS=/x")), ("null\n".to_owned(), "[\"PATHS=/x\"]\n".to_owned()));
    assert_eq!(env("ENV PATH=/x"), "[\"PATH=/x\"]\n");
    // From a server, the same file is the same layer.
    let bytes = std::fs::read(&archive).expect("the archive");
    let server = HttpServer::start(move |request| match request.target.as_str() {
        "/files.tgz" => Response::of(bytes.clone()),
        _ => Response::status(404),
    });
    let layers = |name: &str| kiln.run(["inspect", "-f", "{{.RootFS.Layers}} {{.Comment}}", name]).stdout.clone();
    let url = format!("{}/files.tgz", server.url());
    kiln.run(["import", &url, "from-url:1"]).succeeded();
    assert_eq!(layers("from-url:1"), layers("imported:1").replace("by hand", &format!("Imported from {url}")));
    kiln.run(["import", &format!("{}/absent", server.url())]).failed_saying(&["error[network]", "cannot fetch", "404"]);
    support::leftovers::assert_no_temporary_files(kiln.store());
    kiln.run(["import", "-c", "RUN true", text(&archive)]).failed_saying(&["only instructions that change the config"]);
    kiln.run(["import", "-c", "CDM x", text(&archive)]).failed_saying(&["cannot apply the change"]);
    write(files.path(), "no-tar", "no tar ".repeat(200));
    kiln.run(["import", text(&files.path().join("no-tar"))]).failed_saying(&["cannot read it as a tar"]);
}

#[test]
fn what_is_pulled_is_pushed_byte_for_byte() {
    let kiln = Kiln::new();
    let from = registry::base(Base::Busybox);
    let pulled = kiln.run(["pull", "-q", &from]);
    assert_eq!(pulled.succeeded().stdout, format!("{from}\n"));
    let to = format!("{}/copied/busybox:new", registry::shared().address);
    kiln.run(["tag", &from, &to]).succeeded();
    let pushed = kiln.run(["push", &to]).succeeded().stdout.clone();
    assert_eq!(raw(&from), raw(&to));
    assert!(pushed.starts_with(&format!("new: digest: {} size: ", digest_of(&kiln, &to))), "{pushed}");
    let again = kiln.run(["pull", &from]);
    assert!(again.succeeded().stdout.contains("Status: Image is up to date for"), "{}", again.stdout);
    kiln.run(["pull", &format!("{}/absent", registry::shared().address)]).failed_saying(&["absent"]);

    // A manifest that kiln would write differently, with layers that are plain tars: it stays as it is.
    let odd = format!("{}/odd:1", registry::shared().address);
    let copied = format!("{}/odd/copy:1", registry::shared().address);
    tool::run(tool::tool("skopeo").args(["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]).args([
        "--dest-decompress",
        "--format=v2s2",
        &format!("docker://{from}"),
        &format!("dir:{}", kiln.out().join("dir").display()),
    ]));
    tool::run(
        tool::tool("skopeo")
            .args(["copy", "-q", "--preserve-digests", "--dest-tls-verify=false"])
            .args([format!("dir:{}", kiln.out().join("dir").display()), format!("docker://{odd}")]),
    );
    kiln.run(["pull", &odd]).succeeded();
    kiln.run(["tag", &odd, &copied]).succeeded();
    kiln.run(["push", &copied]).succeeded();
    assert_eq!(raw(&odd), raw(&copied));
}

#[test]
fn what_was_built_is_pushed_as_build_pushes_it() {
    let (kiln, context) = (Kiln::new(), labelled());
    let address = &registry::shared().address;
    let (by_build, by_push) = (format!("{address}/pushed/build:1"), format!("{address}/pushed/push:1"));
    kiln.build(context.path(), &["-t", &by_build, "--push"]).succeeded();
    kiln.run(["tag", &by_build, &by_push]).succeeded();
    kiln.run(["tag", &by_build, &format!("{address}/pushed/push:2")]).succeeded();
    kiln.run(["push", "-a", &format!("{address}/pushed/push")]).succeeded();
    assert_eq!(raw(&by_build), raw(&by_push));
    assert_eq!(raw(&by_build), raw(&format!("{address}/pushed/push:2")));
    kiln.run(["push", "absent"]).failed_saying(&["no such image: absent:latest"]);
}

#[test]
fn digests_stay_on_every_way_round() {
    let (kiln, context) = (Kiln::new(), labelled());
    let address = &registry::shared().address;
    let name = format!("{address}/round/trip:1");
    let id = built(&kiln, &context, &["-t", &name]);
    let layers =
        |kiln: &Kiln, name: &str| kiln.run(["inspect", "-f", "{{.RootFS.Layers}}", name]).succeeded().stdout.clone();
    let diff_ids = layers(&kiln, &name);
    let same_image = |kiln: &Kiln, name: &str| {
        assert_eq!(listed(kiln, &["-q", "--no-trunc", name]), format!("{id}\n"), "{name}");
        assert_eq!(layers(kiln, name), diff_ids, "{name}");
    };
    // push, pull, save, load, push: the manifest is that of the first push.
    kiln.run(["push", &name]).succeeded();
    let manifest = raw(&name);
    let (second, third) = (Kiln::new(), Kiln::new());
    second.run(["pull", "-q", &name]).succeeded();
    let archive = second.out().join("pulled.tar");
    second.run(["save", "-o", text(&archive), &name]).succeeded();
    third.run(["load", "-i", text(&archive)]).succeeded();
    assert_eq!(digest_of(&third, &name), digest_of(&second, &name));
    let again = format!("{address}/round/again:1");
    third.run(["tag", &name, &again]).succeeded();
    third.run(["push", &again]).succeeded();
    assert_eq!(raw(&again), manifest);
    for kiln in [&second, &third] {
        same_image(kiln, &name);
    }
    // A docker archive has no manifest to keep; config and layers are the same, and the layers through skopeo, too.
    let docker = kiln.out().join("docker.tar");
    let to = format!("type=docker,dest={},name=docker:1", docker.display());
    kiln.build(context.path(), &["-o", &to]).succeeded();
    let layout = kiln.out().join("layout");
    let (from, to) = (format!("docker-archive:{}", docker.display()), format!("oci:{}:oci:1", layout.display()));
    tool::run(tool::tool("skopeo").args(["copy", "-q", &from, &to]));
    let fourth = Kiln::new();
    fourth.run(["load", "-i", text(&docker)]).succeeded();
    fourth.run(["load", "-i", text(&layout)]).succeeded();
    same_image(&fourth, "docker:1");
    // skopeo writes another config for a layout.
    assert_eq!(layers(&fourth, "oci:1"), diff_ids);
    // A layout keeps its manifest.
    let index = std::fs::read_to_string(layout.join("index.json")).expect("the layout");
    assert!(index.contains(&digest_of(&fourth, "oci:1")), "{index}");
    let saved = fourth.out().join("saved.tar");
    fourth.run(["save", "-o", text(&saved), "oci:1"]).succeeded();
    let back = format!("oci-archive:{}:1", saved.display());
    let seen = tool::run(tool::tool("skopeo").args(["inspect", "--format", "{{.Digest}}", &back]));
    assert_eq!(seen.trim(), digest_of(&fourth, "oci:1"));
}

#[test]
fn an_index_goes_whole_or_the_platform_alone() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let address = &registry::shared().address;
    let name = format!("{address}/several:1");
    write(context.path(), "Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n");
    kiln.build(context.path(), &["--platform", "linux/amd64,linux/arm64", "-t", &name, "--push"]).succeeded();
    let index = raw(&name);
    let second = Kiln::new();
    second.run(["pull", "--all-platforms", &name]).succeeded();
    let whole = format!("{address}/several/whole:1");
    second.run(["tag", &name, &whole]).succeeded();
    second.run(["push", &whole]).succeeded();
    assert_eq!(raw(&whole), index);
    // The same without a round trip: what was built.
    let rebuilt = format!("{address}/several/built:1");
    kiln.run(["tag", &name, &rebuilt]).succeeded();
    kiln.run(["push", &rebuilt]).succeeded();
    assert_eq!(raw(&rebuilt), index);

    let third = Kiln::new();
    third.run(["pull", "--platform", "linux/arm64", &name]).succeeded();
    let part = format!("{address}/several/part:1");
    third.run(["tag", &name, &part]).succeeded();
    third.run(["inspect", "--platform", "linux/arm64", &name]).succeeded();
    let pushed = third.run(["push", "--platform", "linux/arm64", &part]);
    pushed.succeeded();
    let parsed: Value = serde_json::from_str(&index).expect("an index");
    let arm = parsed["manifests"]
        .as_array()
        .expect("manifests")
        .iter()
        .find(|entry| entry["platform"]["architecture"] == "arm64");
    let arm = arm.expect("the image for arm64")["digest"].as_str().expect("a digest");
    assert!(pushed.stdout.contains(arm), "{}", pushed.stdout);
    // Saved and loaded whole.
    let archive = second.out().join("several.tar");
    second.run(["save", "-o", text(&archive), &name]).succeeded();
    let fourth = Kiln::new();
    fourth.run(["load", "-i", text(&archive)]).succeeded();
    assert_eq!(digest_of(&fourth, &name), digest_of(&second, &name));
}

/// The digest that a name means.
#[track_caller]
fn digest_of(kiln: &Kiln, name: &str) -> String {
    kiln.run(["inspect", "-f", "{{.Descriptor.digest}}", name]).succeeded().stdout.trim().to_owned()
}

/// A manifest as the registry has it.
#[track_caller]
fn raw(name: &str) -> String {
    tool::run(tool::tool("skopeo").args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]))
}

#[test]
fn what_du_says_is_what_the_disk_says() {
    let (kiln, context) = (Kiln::new(), labelled());
    built(&kiln, &context, &["-t", "app"]);
    built(&kiln, &context, &["--no-cache"]);
    assert_eq!(
        kiln.run(["du", "--store", "/no/such/store"]).succeeded().stdout,
        "ID        TYPE      RECLAIMABLE   SIZE      LAST USED\nReclaimable:\t0B\nTotal:\t\t0B\n"
    );
    let said: u64 = bytes_of(&kiln.run(["du", "--format", "{{.Bytes}}"]).succeeded().stdout);
    let real = on_disk(&kiln);
    assert!(said.abs_diff(real) * 50 <= real, "du says {said}, the disk {real}");
    let table = kiln.run(["du"]).succeeded().stdout.clone();
    assert!(table.contains("step records") && table.contains("unpacked layer") && table.contains("Total:"), "{table}");
    assert!(kiln.run(["du", "-v"]).succeeded().stdout.contains("Path:"), "{table}");
    let reclaimable = kiln.run(["du", "--format", "{{if eq .Reclaimable \"true\"}}{{.Bytes}}{{else}}0{{end}}"]);
    let reclaimable = bytes_of(&reclaimable.succeeded().stdout);
    assert!(reclaimable > 20_000, "a build without a name is reclaimable: {reclaimable}");

    // What a prune says it freed is what the disk lost, and what du called reclaimable.
    let pruned = kiln.run(["prune", "-f"]).succeeded().stdout.clone();
    let freed = real - on_disk(&kiln);
    assert!(freed.abs_diff(reclaimable) * 50 <= reclaimable, "{freed} of {reclaimable}\n{pruned}");
    assert_eq!(listed(&kiln, &["--format", "{{.Repository}}"]), "app\n");
    let again = kiln.build(context.path(), &["-t", "app", "--progress=plain"]);
    assert!(again.succeeded().stderr.contains("CACHED"), "{}", again.stderr);
}

#[test]
fn a_cap_is_a_cap_and_what_was_used_last_stays() {
    let kiln = Kiln::new();
    let base = registry::base(Base::Busybox);
    let mut sizes = Vec::new();
    for name in ["first", "second", "third"] {
        let context = support::scratch();
        let made = format!("FROM {base}\nRUN dd if=/dev/urandom of=/{name} bs=1k count=3000\n");
        write(context.path(), "Dockerfile", made);
        built(&kiln, &context, &["-t", name]);
        sizes.push(on_disk(&kiln));
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let cap = sizes[1];
    // Named images stay whatever the cap.
    kiln.run(["prune", "-f", "--keep-storage", &cap.to_string()]).succeeded();
    assert_eq!(listed(&kiln, &["-q"]).lines().count(), 3);
    let pruned = kiln.run(["prune", "-f", "-a", "--keep-storage", &cap.to_string()]).succeeded().stdout.clone();
    assert!(on_disk(&kiln) <= cap, "{} is over {cap}\n{pruned}", on_disk(&kiln));
    assert_eq!(listed(&kiln, &["--format", "{{.Repository}}"]), "third\nsecond\n", "{pruned}");
    assert!(pruned.contains("removed 1 image name"), "{pruned}");
    let nothing = kiln.run(["prune", "-f", "-a", "--keep-storage", "10gb"]);
    assert_eq!(nothing.succeeded().stdout, "Total reclaimed space: 0B\n");
    kiln.run(["prune", "-f", "-a", "--keep-storage", "1"]).succeeded();
    assert_eq!(listed(&kiln, &["-q"]), "");
    kiln.run(["prune", "--keep-storage", "much"]).failed_saying(&["--keep-storage", "expected a size"]);
}

#[test]
fn filters_leave_things_where_they_are() {
    let (kiln, context) = (Kiln::new(), labelled());
    built(&kiln, &context, &["-t", "app"]);
    let other = support::scratch();
    write(other.path(), "Dockerfile", "FROM scratch\nLABEL keep=yes\nCOPY Dockerfile /kept\n");
    built(&kiln, &other, &["-t", "kept"]);
    assert_eq!(
        kiln.run(["prune", "-f", "-a", "--filter", "until=1h"]).succeeded().stdout,
        "Total reclaimed space: 0B\n"
    );
    kiln.run(["prune", "-f", "-a", "--filter", "label!=keep"]).succeeded();
    assert_eq!(listed(&kiln, &["--format", "{{.Repository}}"]), "kept\n");
    kiln.run(["prune", "-f", "-a", "--filter", "label=keep=no"]).succeeded();
    assert_eq!(listed(&kiln, &["--format", "{{.Repository}}"]), "kept\n");
    kiln.run(["prune", "-f", "-a", "--filter", "label=keep=yes"]).succeeded();
    assert_eq!(listed(&kiln, &["-q"]), "");
    kiln.run(["prune", "--filter", "untli=1h"]).failed_saying(&["did you mean `until`?"]);
    kiln.run(["prune", "--filter", "until=soon"]).failed_saying(&["expected a duration"]);
}

#[test]
fn nothing_is_taken_beside_a_build() {
    let kiln = Kiln::new();
    let context = support::scratch();
    let base = registry::base(Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base}\nRUN echo begun && sleep 3 && echo made > /made\n"));
    std::thread::scope(|scope| {
        let build = scope.spawn(|| kiln.build(context.path(), &["-t", "slow"]));
        std::thread::sleep(std::time::Duration::from_millis(1500));
        kiln.run(["prune", "-f", "-a"]).succeeded();
        kiln.run(["du"]).succeeded();
        build.join().expect("the build").succeeded();
    });
    assert!(kiln.run(["prune", "-f"]).succeeded().stdout.contains("Total reclaimed space"));
    assert_eq!(listed(&kiln, &["--format", "{{.Repository}}"]), "slow\n");
}

fn bytes_of(lines: &str) -> u64 {
    lines.lines().map(|line| line.parse::<u64>().expect("a number")).sum()
}

/// What `du` says of the store, in bytes.
fn on_disk(kiln: &Kiln) -> u64 {
    let said = tool::run(tool::tool("du").args(["-s", "-B1"]).arg(kiln.store()));
    said.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_command_is_tried_in_what_was_built() {
    run_as(&Kiln::new());
}

#[test]
fn an_ordinary_user_tries_a_command_too() {
    if support::has_root() {
        run_as(&Kiln::of(support::user::User::with_ranges()));
    }
}

fn run_as(kiln: &Kiln) {
    let context = support::scratch();
    let base = registry::base(Base::Busybox);
    let text = format!("FROM {base}\nENV X=image\nWORKDIR /w\nRUN echo built > /w/file\nCMD [\"cat\", \"file\"]\n");
    write(context.path(), "Dockerfile", text);
    kiln.build(context.path(), &["-t", "app"]).succeeded();
    let run = |arguments: &[&str]| kiln.run(["run", "--rm", "-q"].iter().chain(arguments));
    assert_eq!(run(&["app"]).succeeded().stdout, "built\n");
    let said = run(&[
        "-e",
        "X=mine",
        "-w",
        "/",
        "--hostname",
        "here",
        "app",
        "sh",
        "-c",
        "echo $X $PWD $(hostname); echo e >&2; exit 7",
    ]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (7, "mine / here\n", "e\n"));
    // What is written is gone.
    run(&["app", "sh", "-c", "echo changed > file"]).succeeded();
    assert_eq!(run(&["app"]).succeeded().stdout, "built\n");
    assert_eq!(run(&["-u", "12:34", "app", "sh", "-c", "id -u; id -g"]).succeeded().stdout, "12\n34\n");
    assert_eq!(run(&["--entrypoint", "echo", "app", "-n", "x"]).succeeded().stdout, "x");
    assert_eq!(run(&["app", "/no/such/program"]).code, 127);
    assert_eq!(run(&["app", "/w/file"]).code, 126);
    assert_eq!(run(&["app", "sh", "-c", "kill -9 $$; sleep 1"]).code, 0);
    assert_eq!(run(&["absent"]).code, 125);
    let none = run(&["--network", "none", "app", "ls", "/sys/class/net"]);
    assert_eq!(none.succeeded().stdout, "lo\n");
    let volume = kiln.out().join("volume");
    std::fs::create_dir(&volume).expect("a directory");
    std::fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("its mode");
    let writable = format!("{}:/v", volume.display());
    run(&["-v", &writable, "app", "sh", "-c", "echo kept > /v/kept"]).succeeded();
    assert_eq!(std::fs::read(volume.join("kept")).expect("the file"), b"kept\n");
    let readonly = format!("{writable}:ro");
    assert_ne!(run(&["-v", &readonly, "app", "sh", "-c", "echo x > /v/kept"]).code, 0);
    let everything = format!("{}:/v/..", volume.display());
    assert_eq!(run(&["-v", &everything, "app", "true"]).code, 125);
    // Standard input is handed over if asked for only.
    let input = kiln.out().join("input");
    std::fs::write(&input, "some input\n").expect("a file");
    for (flags, expected) in [(&["-i"][..], "some input\n"), (&[][..], "")] {
        let mut command = kiln.command();
        command.arg("run").args(flags).args(["app", "cat"]).stdin(std::fs::File::open(&input).expect("the file"));
        let output = support::kiln::output_of(&mut command, std::time::Duration::from_secs(60));
        assert_eq!(output.succeeded().stdout, expected);
    }
    // A terminal of its own: it has a name and a size, and the user's is as before afterwards.
    let output = run(&["-t", "app", "sh", "-c", "test -t 0 && test -t 1 && tty && stty size"]);
    assert_eq!(output.succeeded().stdout, "/dev/pts/0\r\n24 80\r\n", "{}", output.both());
}

#[test]
fn signals_reach_the_command() {
    passes_signals(&Kiln::new(), "");
}

#[test]
fn signals_reach_the_command_of_an_ordinary_user() {
    if support::has_root() {
        passes_signals(&Kiln::of(support::user::User::with_ranges()), "12");
        passes_signals(&Kiln::of(support::user::User::without_ranges()), "0");
    }
}

fn passes_signals(kiln: &Kiln, user: &str) {
    use std::io::{BufRead as _, BufReader};
    let context = support::scratch();
    let base = registry::base(Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base}\nRUN true\n"));
    kiln.build(context.path(), &["-t", "app"]).succeeded();
    let start = |command: &[&str]| {
        let mut child = kiln.command();
        child.args(["run", "-q", "-u", user, "app"]).args(command).stdout(std::process::Stdio::piped());
        let mut child = child.spawn().expect("kiln starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        (child, lines.map(|line| line.expect("a line")))
    };
    let send = |child: &std::process::Child, signal: &str| {
        tool::run(tool::tool("kill").args(["-s", signal, &child.id().to_string()]));
    };
    let traps = "for signal in HUP INT QUIT USR1 USR2 40; do trap \"echo heard $signal\" $signal; done; \
                 trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut child, mut lines) = start(&["sh", "-c", traps]);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    for signal in ["HUP", "INT", "QUIT", "USR1", "USR2", "40"] {
        send(&child, signal);
        assert_eq!(lines.next(), Some(format!("heard {signal}")));
    }
    send(&child, "TERM");
    assert_eq!(child.wait().expect("its end").code(), Some(9));
    // The kernel keeps what the first process has no handler for from it.
    let (mut child, mut lines) = start(&["sh", "-c", "echo ready; exec sleep 100"]);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    for signal in ["TERM", "INT"] {
        send(&child, signal);
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(child.try_wait().expect("its state").is_none(), "{signal}");
    }
    send(&child, "TERM");
    assert_eq!(child.wait().expect("its end").code(), Some(137));
}

/// Whoever sends a SIGHUP may be gone, and nobody is left to send another.
#[test]
fn a_command_that_does_not_hear_a_hangup_is_killed_in_the_end() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base}\nRUN true\n"));
    kiln.build(context.path(), &["-t", "app"]).succeeded();
    let mut command = kiln.command();
    command.args(["run", "-q", "app", "sh", "-c", "echo ready; exec sleep 100"]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("kiln starts");
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().expect("its output"), &mut ready).expect("a line");
    let sent = std::time::Instant::now();
    tool::run(tool::tool("kill").args(["-s", "HUP", &child.id().to_string()]));
    let status = support::kiln::wait(&mut child, std::time::Duration::from_secs(30)).expect("an end");
    assert_eq!((status.code(), sent.elapsed().as_secs() >= 9), (Some(137), true), "after {:?}", sent.elapsed());
}

/// Whoever has a file may open it anew, to write, and whoever has a directory has those above it.
#[test]
fn what_a_command_reads_is_no_way_to_the_machine() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base}\nRUN true\n"));
    kiln.build(context.path(), &["-t", "app"]).succeeded();
    let file = kiln.out().join("file");
    std::fs::write(&file, "of the machine").expect("a file");
    let script = "cat; (echo changed > /proc/self/fd/0) 2>/dev/null; ls /proc/self/fd/0/ 2>/dev/null; true";
    let run_with = |input: &Path, mut command: std::process::Command| {
        command.stdin(std::fs::File::open(input).expect("the input"));
        support::kiln::output_of(&mut command, std::time::Duration::from_secs(60))
    };
    let inside = |input: &Path| {
        let mut command = kiln.command();
        command.args(["run", "-i", "app", "sh", "-c", script]);
        run_with(input, command)
    };
    assert_eq!(inside(&file).succeeded().stdout, "of the machine");
    assert_eq!(std::fs::read(&file).expect("the file"), b"of the machine");
    assert_eq!(inside(&kiln.out()).succeeded().stdout, "");
    // With a terminal alone nothing is read of what the caller has more of.
    let mut command = tool::tool("sh");
    let line = format!("{} run -t app true; cat", kiln.command().get_program().to_string_lossy());
    command.args(["-c", &line]).env("KILN_ROOT", kiln.store());
    assert_eq!(run_with(&file, command).succeeded().stdout, "of the machine");
    // The control: here both are ways.
    let outside = |input: &Path| {
        let mut command = tool::tool("sh");
        command.args(["-c", script]);
        run_with(input, command)
    };
    outside(&file).succeeded();
    assert_eq!(std::fs::read(&file).expect("the file"), b"changed\n");
    assert_eq!(outside(&kiln.out()).succeeded().stdout, "file\n");
}

#[test]
fn what_is_typed_reaches_the_terminal_of_the_command() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base}\nRUN true\n"));
    kiln.build(context.path(), &["-t", "app"]).succeeded();
    let lines = ["stty size\n", "sleep 100\n", "\u{3}", "echo after $((40+2))\n", "exit 5\n"];
    let said = typed_in_a_terminal(&kiln, "run -it app sh", &lines);
    for word in ["33 101", "after 42", "code 5", "restored"] {
        assert!(said.contains(word), "`{word}` is not in {said}");
    }
}

/// The kernel refuses such a program only when it has its terminal, and it is started again, with another.
#[test]
fn a_command_in_an_emulator_has_the_terminal() {
    if !Path::new("/usr/bin/qemu-aarch64-static").exists() {
        support::skip("no emulator is installed");
        return;
    }
    let (kiln, context) = (Kiln::new(), support::scratch());
    write(context.path(), "Dockerfile", format!("FROM {}\nLABEL a=b\n", registry::base(Base::Arm64)));
    kiln.build(context.path(), &["--platform=linux/arm64", "-t", "app"]).succeeded();
    let lines = ["busybox stty size\n", "echo after $((40+2)) on $(busybox uname -m)\n", "exit 5\n"];
    let said = typed_in_a_terminal(&kiln, "run -it app sh", &lines);
    for word in ["33 101", "after 42 on aarch64", "code 5", "restored"] {
        assert!(said.contains(word), "`{word}` is not in {said}");
    }
}

/// What a terminal shows in which kiln is run with these arguments, then the code it ended with, and `restored` if the terminal
/// is as it was.
fn typed_in_a_terminal(kiln: &Kiln, arguments: &str, lines: &[&str]) -> String {
    // `script` is the user's terminal.
    let line = format!(
        "stty rows 33 cols 101; stty -a > before; KILN_ROOT={} {} {arguments}; echo code $?; stty -a > after; cmp before after && echo restored",
        kiln.store().display(),
        kiln.command().get_program().to_string_lossy()
    );
    let mut command = tool::tool("script");
    command.args(["-qec", &line, "/dev/null"]).env("SHELL", "/bin/sh").current_dir(kiln.out());
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("script starts");
    let mut typed = child.stdin.take().expect("its input");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write as _;
            for line in lines {
                std::thread::sleep(std::time::Duration::from_millis(1500));
                typed.write_all(line.as_bytes()).expect("typing");
            }
            std::thread::sleep(std::time::Duration::from_millis(1500));
        });
        let output = child.wait_with_output().expect("its end");
        String::from_utf8_lossy(&output.stdout).into_owned()
    })
}

#[test]
fn a_port_of_the_machine_leads_to_the_command() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    write(context.path(), "Dockerfile", format!("FROM {base}\nRUN true\n"));
    kiln.build(context.path(), &["-t", "app"]).succeeded();
    if support::tool::find("pasta").is_none()
        || std::fs::File::options().read(true).write(true).open("/dev/net/tun").is_err()
    {
        support::skip("ports take pasta and /dev/net/tun");
        return;
    }
    let address = registry::free_address();
    let port = address.rsplit(':').next().expect("a port");
    let publish = format!("127.0.0.1:{port}:80");
    std::thread::scope(|scope| {
        let served =
            scope.spawn(|| kiln.run(["run", "-p", &publish, "app", "sh", "-c", "echo answered | nc -l -p 80"]));
        let mut answer = String::new();
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_millis(100));
            use std::io::Read as _;
            let Ok(mut stream) = std::net::TcpStream::connect(&address) else { continue };
            if stream.read_to_string(&mut answer).is_ok() && !answer.is_empty() {
                break;
            }
        }
        assert_eq!(answer, "answered\n");
        served.join().expect("the command").succeeded();
    });
}

#[test]
fn a_udp_port_of_the_machine_leads_to_the_command() {
    if support::tool::find("pasta").is_none()
        || std::fs::File::options().read(true).write(true).open("/dev/net/tun").is_err()
    {
        support::skip("ports take pasta and /dev/net/tun");
        return;
    }
    let (kiln, context) = (Kiln::new(), support::scratch());
    write(context.path(), "Dockerfile", format!("FROM {}\n", registry::base(Base::Debian)));
    kiln.build(context.path(), &["-t", "app"]).succeeded();
    let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("its address");
    drop(free);
    // One number: the pasta of Debian 12 loses answers of another one.
    let port = address.port();
    let publish = format!("127.0.0.1:{port}:{port}/udp");
    let answer = "use IO::Socket::INET; my $s = IO::Socket::INET->new(Proto => 'udp', LocalPort => $ARGV[0]) or die; \
                  $s->recv(my $asked, 99); $s->send(\"answer to $asked\"); sleep 1";
    std::thread::scope(|scope| {
        let served = scope.spawn(|| kiln.run(["run", "-p", &publish, "app", "perl", "-e", answer, &port.to_string()]));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("a time limit");
        let mut answer = [0; 99];
        let heard = (0..100).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            socket.send_to(b"me", address).ok()?;
            socket.recv(&mut answer).ok()
        });
        assert_eq!(heard.map(|length| &answer[..length]), Some(&b"answer to me"[..]));
        served.join().expect("the command").succeeded();
    });
}

#[test]
fn files_and_config_that_differ_are_told() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    let build = |name: &str, text: &str| {
        write(context.path(), "Dockerfile", format!("FROM {base}\n{text}\n"));
        kiln.build(context.path(), &["-t", name]).succeeded();
    };
    build("one", "ENV A=1\nRUN mkdir /d && echo a > /d/a && echo b > /d/b && chmod 600 /d/b && ln -s x /l");
    build(
        "two",
        "ENV A=2\nRUN mkdir -p /d/new/deep && echo A > /d/a && echo b > /d/b && chmod 644 /d/b && ln -s x /l && chown 5 /d/b",
    );
    let output = kiln.run(["diff", "one", "two"]);
    let said = output.succeeded().stdout.clone();
    assert!(said.starts_with("config Env: [") && said.contains("\"A=1\"] -> ["), "{said}");
    let files: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(
        files,
        ["C /d/a (content)", "C /d/b (mode 0600 -> 0644, owner 0:0 -> 5:0)", "A /d/new", "A /d/new/deep"]
    );
    let back = kiln.run(["diff", "--exit-code", "two", "one"]);
    assert!(back.code == 1 && back.stdout.contains("D /d/new\n") && !back.stdout.contains("deep"), "{}", back.stdout);
    assert_eq!(kiln.run(["diff", "--exit-code", "one", "one"]).succeeded().stdout, "");
    for line in kiln.run(["diff", "--json", "one", "two"]).succeeded().stdout.lines() {
        let line: Value = serde_json::from_str(line).expect("an object on each line");
        assert!(line["kind"].is_string(), "{line}");
    }
}

#[test]
fn files_are_copied_out_of_an_image_and_no_link_leads_elsewhere() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    let base = registry::base(Base::Busybox);
    let text = format!(
        "FROM {base}\nRUN mkdir -p /d/sub && echo text > /d/sub/file && chmod 640 /d/sub/file && echo image > /etc/secret \
         && ln -s /etc/secret /d/absolute && ln -s ../../../../../../etc/secret /d/climbing && ln -s /etc /d/etc\n"
    );
    write(context.path(), "Dockerfile", text);
    kiln.build(context.path(), &["-t", "app:1"]).succeeded();
    let out = kiln.out();
    kiln.run(["cp", "app:1:/d/sub/file", text_of(&out, "copied").as_str()]).succeeded();
    assert_eq!(std::fs::read(out.join("copied")).expect("the file"), b"text\n");
    kiln.run(["cp", "app:1:/d/sub", text_of(&out, "").as_str()]).succeeded();
    assert_eq!(std::fs::read(out.join("sub/file")).expect("the file"), b"text\n");
    for path in ["/d/absolute", "/d/climbing", "/d/etc/secret"] {
        kiln.run(["cp", "-L", &format!("app:1:{path}"), text_of(&out, "followed").as_str()]).succeeded();
        assert_eq!(std::fs::read(out.join("followed")).expect("the file"), b"image\n", "{path}");
    }
    kiln.run(["cp", "app:1:/d/absolute", text_of(&out, "link").as_str()]).succeeded();
    assert_eq!(std::fs::read_link(out.join("link")).expect("a link"), Path::new("/etc/secret"));
    kiln.run(["cp", "app:1:/../../etc/passwd-of-nobody", "x"]).failed_saying(&["is not in the image"]);
    let archive = out.join("archive.tar");
    let mut command = kiln.command();
    command.args(["cp", "app:1:/d", "-"]).stdout(std::fs::File::create(&archive).expect("a file"));
    assert!(command.status().expect("kiln").success());
    let listed = tool::run(tool::tool("tar").arg("-tf").arg(&archive));
    assert!(listed.contains("d/sub/file\n"), "{listed}");
}

fn text_of(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}
