//! What a user does with images beside a build: `images`, `inspect`, `history`, `tag`, `rmi`.

// Tests are the edge: they list directories.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::Path;

use serde_json::Value;
use support::bases::Base;
use support::kiln::Kiln;
use support::{registry, write};
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

#[allow(dead_code, reason = "paths are made text where archives are named")]
fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}
