//! What is said of images beside them: bills of materials and provenance, attached in every form, read by the published readers.

// Tests are the edge: they list directories.
#![allow(clippy::disallowed_methods)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::bases::Base;
use support::http::{self, HttpServer, Response};
use support::kiln::Kiln;
use support::registry::{self, Registry};
use support::repository::Repository;
use support::user::User;
use support::{python, tool, write};
use tempfile::TempDir;

const STATEMENT: &str = "application/vnd.in-toto+json";
const SPDX: &str = "https://spdx.dev/Document";
const SLSA: &str = "https://slsa.dev/provenance/v1";

#[test]
fn packages_of_a_real_distribution_are_listed_and_valid() {
    let kiln = Kiln::new();
    let context = with_packages();
    let output =
        kiln.build(context.path(), &["-t", "app", "--sbom", "-o", &layout(&kiln), "--load", "--progress=plain"]);
    assert!(output.succeeded().stderr.contains("generating sbom"), "{}", output.stderr);
    let layout = Layout(kiln.out().join("layout"));
    let [statement] = layout.statements().try_into().expect("one statement");
    assert_eq!(statement["predicateType"], SPDX);
    let document = &statement["predicate"];
    let purls: Vec<&str> = document["packages"].as_array().expect("packages").iter().filter_map(purl).collect();
    let debian = |name: &str| {
        purls
            .iter()
            .any(|purl| purl.starts_with(&format!("pkg:deb/debian/{name}@")) && purl.contains("distro=debian-12"))
    };
    for name in ["libc6", "bash", "ca-certificates", "libstdc%2B%2B6"] {
        assert!(debian(name), "{name} is not in {purls:?}");
    }
    // What dpkg itself says is installed.
    let files = kiln.out().join("files");
    std::fs::create_dir_all(&files).expect("a directory");
    kiln.run(["cp", "app:/var/lib/dpkg", files.to_str().expect("UTF-8")]).succeeded();
    let mut query = tool::tool("dpkg-query");
    query.arg("--admindir").arg(files.join("dpkg")).args(["-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"]);
    let listed = tool::run(&mut query);
    let mut listed: Vec<&str> = listed.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    let is_debian = |package: &&Value| purl(package).is_some_and(|purl| purl.starts_with("pkg:deb/"));
    let packages = document["packages"].as_array().expect("packages").iter().filter(is_debian);
    let mut found: Vec<String> =
        packages.map(|package| format!("{} {}", text(&package["name"]), text(&package["versionInfo"]))).collect();
    listed.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, listed);
    let licence = |name: &str| {
        let packages = document["packages"].as_array().expect("packages").iter();
        packages.filter(|package| package["name"] == name).map(|package| text(&package["licenseDeclared"])).next()
    };
    assert_eq!(
        licence("libzstd1").map(|words| words.contains("BSD-3-Clause")),
        Some(true),
        "{:?}",
        licence("libzstd1")
    );
    for purl in [
        "pkg:pypi/some-project@1.0",
        "pkg:npm/%40scope/thing@2.0.0",
        "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64&distro=debian-12",
    ] {
        assert!(purls.contains(&purl), "{purl} is not in {purls:?}");
    }
    let Some(programs) = python::programs() else { return };
    let file = kiln.out().join("sbom.spdx.json");
    std::fs::write(&file, document.to_string()).expect("a file");
    // Exits with an error and a list of what is wrong.
    tool::run(python::program(&programs, "pyspdxtools").arg("-i").arg(&file));
    published_statement(&programs, &kiln.out(), &statement);
}

/// What rpm, Go's linker and pip themselves wrote.
#[test]
fn packages_of_other_tools_are_listed_and_valid() {
    let kiln = Kiln::new();
    let context = support::scratch();
    let files = context.path().join("files");
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY files /\n");
    write(context.path(), "files/etc/os-release", "ID=fedora\nVERSION_ID=40\n");
    install_rpm(context.path(), &files);
    let umoci = tool::find("umoci").expect("umoci");
    std::fs::create_dir_all(files.join("usr/bin")).expect("a directory");
    std::fs::copy(umoci, files.join("usr/bin/umoci")).expect("a copy of umoci");
    let programs = python::programs();
    if let Some(programs) = &programs {
        let packages = programs.parent().expect("the environment").join("lib");
        tool::run(tool::tool("cp").arg("-r").arg(packages).arg(files.join("opt")));
    }
    let output = kiln.build(context.path(), &["-t", "app", "--sbom", "-o", &layout(&kiln), "--progress=plain"]);
    assert!(!output.succeeded().stderr.contains("sbom: /"), "{}", output.stderr);
    let [statement] = Layout(kiln.out().join("layout")).statements().try_into().expect("one statement");
    let document = &statement["predicate"];
    let all = document["packages"].as_array().expect("packages");
    let package = |purl: &str| {
        let is_it = |package: &&Value| self::purl(package).is_some_and(|found| found.starts_with(purl));
        all.iter().find(is_it).unwrap_or_else(|| panic!("{purl} is not in {document}"))
    };
    let hello = package("pkg:rpm/fedora/hello@1.0-2?arch=noarch&distro=fedora-40&epoch=3&upstream=hello-1.0-2.src.rpm");
    assert_eq!(hello["licenseDeclared"], "MIT");
    assert_eq!(hello["supplier"], "Person: The Vendor");
    assert_eq!(package("pkg:golang/stdlib@")["sourceInfo"], "found by /usr/bin/umoci");
    let Some(programs) = programs else { return };
    assert_eq!(package("pkg:pypi/spdx-tools@0.8.5")["licenseDeclared"], "Apache-2.0");
    let file = kiln.out().join("sbom.spdx.json");
    std::fs::write(&file, document.to_string()).expect("a file");
    tool::run(python::program(&programs, "pyspdxtools").arg("-i").arg(&file));
}

/// Builds a package with rpm and installs it below `root`.
fn install_rpm(scratch: &Path, root: &Path) {
    let spec = "Name: hello\nEpoch: 3\nVersion: 1.0\nRelease: 2\nSummary: s\nLicense: MIT\nVendor: The Vendor\nBuildArch: noarch\n\
                %description\nd\n%files\n";
    write(scratch, "rpm/hello.spec", spec);
    let top = format!("_topdir {}", scratch.join("rpm").display());
    tool::run(tool::tool("rpmbuild").args(["-bb", "--define", &top]).arg(scratch.join("rpm/hello.spec")));
    std::fs::create_dir_all(root).expect("a root");
    let package = scratch.join("rpm/RPMS/noarch/hello-1.0-2.noarch.rpm");
    let install = ["--define", "_dbpath /usr/lib/sysimage/rpm", "--nodeps", "--ignorearch", "-i"];
    tool::run(tool::tool("rpm").arg("--root").arg(root).args(install).arg(package));
    std::fs::remove_dir_all(scratch.join("rpm")).expect("the workshop");
}

#[test]
fn provenance_tells_what_a_build_was_made_of_and_no_secret() {
    let kiln = Kiln::new();
    let context = support::scratch();
    let base = registry::base(Base::Busybox);
    let text = format!(
        "FROM {base} AS base\nARG SPICE\nRUN --network=none --mount=type=secret,id=token echo $SPICE >/spice\n\
         FROM base\nCOPY Dockerfile /\nWORKDIR /w\n# http://me:proxy-word@example.com/\n"
    );
    write(context.path(), "Dockerfile", &text);
    write(context.path(), "token", "do-not-tell");
    let token = format!("id=token,src={}", context.path().join("token").display());
    let proxy = "https_proxy=http://me:proxy-word@127.0.0.1:9";
    let common = [
        "--build-arg",
        "SPICE=pepper-7",
        "--build-arg",
        proxy,
        "--label",
        "l=salt-8",
        "--secret",
        &token,
        "-o",
        &layout(&kiln),
    ];
    let built = |provenance: &str| {
        let metadata = kiln.out().join("metadata");
        let mut all = vec!["--provenance", provenance, "--metadata-file", metadata.to_str().expect("UTF-8")];
        let joined = format!("--provenance={provenance}");
        all[0] = &joined;
        all.remove(1);
        all.extend(common);
        kiln.build(context.path(), &all).succeeded();
        let layout = Layout(kiln.out().join("layout"));
        let [statement] = layout.statements().try_into().expect("one statement");
        std::fs::remove_dir_all(kiln.out().join("layout")).expect("the layout");
        let metadata: Value = serde_json::from_slice(&std::fs::read(metadata).expect("metadata")).expect("JSON");
        assert_eq!(metadata["buildx.build.provenance"], statement["predicate"]);
        statement
    };
    let min = built("true");
    assert_eq!(min["predicateType"], SLSA);
    assert_eq!(built("mode=min"), min, "the same build says the same");
    let text_of_min = min.to_string();
    for word in ["pepper-7", "salt-8", "do-not-tell", "token"] {
        assert!(!text_of_min.contains(word), "{word} is in {text_of_min}");
    }
    let definition = &min["predicate"]["buildDefinition"];
    let image = &definition["resolvedDependencies"][0];
    assert!(image["uri"].as_str().is_some_and(|uri| uri.starts_with("pkg:docker/127.0.0.1:")), "{image}");
    assert_eq!(image["digest"]["sha256"], manifest_digest(&base));
    assert_eq!(definition["externalParameters"]["configSource"]["path"], "Dockerfile");
    let metadata = &min["predicate"]["runDetails"]["metadata"];
    assert_eq!(metadata["buildkit_hermetic"], false);
    let max = built("mode=max,builder-id=https://example.com/builds/7,reproducible=true");
    let text_of_max = max.to_string();
    assert!(!text_of_max.contains("do-not-tell") && !text_of_max.contains("proxy-word"));
    let request = &max["predicate"]["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"], json!({"build-arg:SPICE": "pepper-7", "label:l": "salt-8"}));
    assert_eq!(request["secrets"], json!([{"id": "token"}]));
    let run = &max["predicate"]["runDetails"];
    assert_eq!(run["builder"]["id"], "https://example.com/builds/7");
    assert_eq!(run["metadata"]["buildkit_reproducible"], true);
    assert!(run["metadata"]["startedOn"].is_string() && run["metadata"]["invocationId"].is_string());
    let steps = &max["predicate"]["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"];
    assert_eq!(steps.as_array().map(Vec::len), Some(4), "{steps}");
    assert_eq!(steps[1]["op"]["Op"]["exec"]["meta"]["args"], json!(["/bin/sh", "-c", "echo $SPICE >/spice"]));
    assert_eq!(steps[1]["inputs"], json!(["step0:0"]));
    let Some(programs) = python::programs() else { return };
    published_statement(&programs, &kiln.out(), &min);
    published_statement(&programs, &kiln.out(), &max);
}

/// A step of a trigger stands in no line of the Dockerfile.
#[test]
fn triggers_are_steps_without_a_place() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    write(context.path(), "Dockerfile", "FROM scratch\nONBUILD COPY Dockerfile /from-the-base\n");
    kiln.build(context.path(), &["-t", "base"]).succeeded();
    write(context.path(), "Dockerfile", "FROM base\nCOPY Dockerfile \\\n  /own\n");
    kiln.build(context.path(), &["--provenance=mode=max", "-o", &layout(&kiln)]).succeeded();
    let [statement] = Layout(kiln.out().join("layout")).statements().try_into().expect("one statement");
    let predicate = &statement["predicate"];
    let steps = &predicate["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"];
    let copies = |at: usize| steps[at]["op"]["Op"]["file"]["actions"][0]["Action"]["copy"]["dest"].clone();
    assert_eq!([copies(1), copies(2)], ["/from-the-base", "/own"]);
    let places = &predicate["runDetails"]["metadata"]["buildkit_metadata"]["source"]["locations"];
    assert!(places.get("step1").is_none(), "{places}");
    let range = json!({ "start": { "line": 2 }, "end": { "line": 3 } });
    assert_eq!(places["step2"]["locations"][0]["ranges"][0], range);
}

#[test]
fn a_repository_and_downloads_are_told_by_digest() {
    let (kiln, root) = (Kiln::new(), support::scratch());
    let repository = Repository::new(root.path(), "app");
    let served = root.path().to_owned();
    let server = HttpServer::start(move |request| match request.target.starts_with("/app.git") {
        true => http::repositories(&served, request),
        false => Response::of("bytes"),
    });
    let (url, digest) = (server.url(), kiln::digest::Digest::of(b"bytes").hex());
    let dockerfile = format!("FROM scratch\nADD {url}/file /\nADD --checksum=sha256:{digest} {url}/pinned /\n");
    let commit = repository.commit(&[("Dockerfile", &dockerfile)]);
    repository.publish();
    let context = format!("{url}/app.git#main");
    let build = ["build", "--provenance", "-o", &layout(&kiln), &context];
    for _ in ["at first", "from the cache"] {
        kiln.run(build).succeeded();
        let [statement] = Layout(kiln.out().join("layout")).statements().try_into().expect("one statement");
        std::fs::remove_dir_all(kiln.out().join("layout")).expect("the layout");
        let predicate = &statement["predicate"];
        let source = json!({ "uri": context, "digest": { "sha1": commit }, "path": "Dockerfile" });
        assert_eq!(predicate["buildDefinition"]["externalParameters"]["configSource"], source);
        let file = |name: &str| json!({ "uri": format!("{url}/{name}"), "digest": { "sha256": digest } });
        let repository = json!({ "uri": context, "digest": { "sha1": commit } });
        let all = json!([repository, file("file"), file("pinned")]);
        assert_eq!(predicate["buildDefinition"]["resolvedDependencies"], all);
        let completeness = json!({ "request": false, "resolvedDependencies": true });
        assert_eq!(predicate["runDetails"]["metadata"]["buildkit_completeness"], completeness);
        assert_eq!(predicate["runDetails"]["metadata"]["buildkit_hermetic"], true);
    }
}

#[test]
fn statements_go_where_the_image_goes() {
    let (kiln, registry) = (Kiln::new(), Registry::start());
    let context = with_packages();
    let name = format!("{}/app:1", registry.address);
    kiln.build(context.path(), &["-t", &name, "--sbom", "--provenance", "--push"]).succeeded();
    let pushed = |name: &str| referrers(&registry, "app", &manifest_digest(name));
    let first = pushed(&name);
    assert_eq!(kinds(&first), [SLSA, SPDX]);
    // The image is as it would be without, and no tool sees another platform.
    let plain = format!("{}/app:plain", registry.address);
    kiln.build(context.path(), &["-t", &plain, "--push"]).succeeded();
    assert_eq!(manifest_digest(&plain), manifest_digest(&name));

    // From the store, where the manifest is another one.
    let later = format!("{}/later:1", registry.address);
    kiln.run(["tag", &name, &later]).succeeded();
    assert_eq!(kiln.run(["images", "--format", "{{.Repository}}"]).succeeded().stdout.lines().count(), 3);
    kiln.run(["push", &later]).succeeded();
    let again = referrers(&registry, "later", &manifest_digest(&later));
    assert_eq!(kinds(&again), [SLSA, SPDX]);
    for entry in &again {
        let statement = statement(&registry, "later", entry);
        assert_eq!(statement["subject"][0]["digest"]["sha256"], manifest_digest(&later));
    }

    // Into an archive and out of it.
    let archive = kiln.out().join("saved.tar");
    kiln.run(["save", "-o", archive.to_str().expect("UTF-8"), &later]).succeeded();
    let other = Kiln::new();
    other.run(["load", "-i", archive.to_str().expect("UTF-8")]).succeeded();
    let index = |kiln: &Kiln| -> Value {
        let path = kiln.store().join("content/index.json");
        serde_json::from_slice(&std::fs::read(path).expect("index.json")).expect("JSON")
    };
    let attached = |kiln: &Kiln| {
        index(kiln)["manifests"]
            .as_array()
            .expect("manifests")
            .iter()
            .filter(|entry| entry["artifactType"] == STATEMENT)
            .count()
    };
    assert_eq!(attached(&other), 2);
    assert_eq!(other.run(["images", "--format", "{{.Repository}}"]).succeeded().stdout.lines().count(), 1);

    // They go with the image.
    other.run(["rmi", "-f", &later]).succeeded();
    assert_eq!(attached(&other), 0);
    other.run(["prune", "-a", "-f"]).succeeded();
    assert_eq!(std::fs::read_dir(other.store().join("content/blobs/sha256")).expect("blobs").count(), 0);
}

/// Whoever is given the image later would be given what the archive names of others, and a lie in place of the truth.
#[test]
fn an_archive_says_nothing_new_of_images_and_names_only_what_it_brings() {
    let kiln = Kiln::new();
    let context = support::scratch();
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY file /\n");
    for name in ["victim", "private"] {
        write(context.path(), "file", name);
        kiln.build(context.path(), &["-t", name, "--sbom"]).succeeded();
    }
    let unpacked = |name: &str| {
        let archive = kiln.out().join(format!("{name}.tar"));
        kiln.run(["save", "-o", archive.to_str().expect("UTF-8"), name]).succeeded();
        let layout = Layout(kiln.out().join(name));
        std::fs::create_dir_all(&layout.0).expect("a directory");
        tool::run(tool::tool("tar").arg("-xf").arg(&archive).arg("-C").arg(&layout.0));
        layout
    };
    let (victim, private) = (unpacked("victim"), unpacked("private"));
    let told = victim.statements();
    let secret = private.blob(&private.json("index.json")["manifests"][0]["digest"])["layers"][0].clone();
    let load = || kiln.run(["load", "-i", victim.0.to_str().expect("UTF-8")]);

    let index = victim.json("index.json");
    let is_statement = |entry: &&Value| entry["artifactType"] == STATEMENT;
    let entry =
        index["manifests"].as_array().expect("manifests").iter().find(is_statement).expect("a statement").clone();
    let forge = |change: &dyn Fn(&mut Value)| {
        let mut manifest = victim.blob(&entry["digest"]);
        change(&mut manifest);
        let mut forged = entry.clone();
        (forged["digest"], forged["size"]) = victim.put(&manifest);
        let mut index = index.clone();
        let entries = index["manifests"].as_array_mut().expect("manifests");
        entries.retain(|entry| entry["artifactType"] != STATEMENT);
        entries.push(forged);
        std::fs::write(victim.0.join("index.json"), index.to_string()).expect("index.json");
    };
    let lie = victim.put(&json!({"predicateType": SPDX, "subject": [], "predicate": {"packages": []}}));
    forge(&|manifest| (manifest["layers"][0]["digest"], manifest["layers"][0]["size"]) = lie.clone());
    load().succeeded();
    assert_eq!(unpacked("victim").statements(), told);
    forge(&|manifest| manifest["layers"].as_array_mut().expect("layers").push(secret.clone()));
    load().failed_saying(&[text(&secret["digest"]), "is not in it"]);

    // An index that lists a manifest beside the image of this machine.
    let image = index["manifests"][0].clone();
    let mut other = victim.blob(&image["digest"]);
    other["layers"] = json!([secret]);
    let mut listed = image.clone();
    (listed["digest"], listed["size"]) = victim.put(&other);
    listed["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let kind = "application/vnd.oci.image.index.v1+json";
    let (digest, size) = victim.put(&json!({"schemaVersion": 2, "mediaType": kind, "manifests": [image, listed]}));
    let top = json!({"schemaVersion": 2, "manifests": [{"mediaType": kind, "digest": digest, "size": size}]});
    std::fs::write(victim.0.join("index.json"), top.to_string()).expect("index.json");
    load().failed_saying(&[text(&secret["digest"]), "is not in it"]);
}

#[test]
fn the_index_lists_statements_on_request() {
    let (kiln, registry) = (Kiln::new(), Registry::start());
    let context = with_packages();
    for (artifact, kind) in
        [("false", Value::Null), ("true", json!("application/vnd.docker.attestation.manifest.v1+json"))]
    {
        let name = format!("{}/app:{artifact}", registry.address);
        let output = format!("type=image,push=true,oci-artifact={artifact}");
        let attest = ["--attest", "type=sbom", "--attest", "type=provenance,mode=max"];
        let mut all = vec!["-t", &name, "-o", &output];
        all.extend(attest);
        kiln.build(context.path(), &all).succeeded();
        for name in [name.clone(), pushed_again(&kiln, &name)] {
            let index = raw(&name);
            let [image, entry] = index["manifests"].as_array().expect("an index").as_slice() else { panic!("{index}") };
            assert_eq!(entry["platform"], json!({"architecture": "unknown", "os": "unknown"}));
            assert_eq!(entry["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
            assert_eq!(entry["annotations"]["vnd.docker.reference.digest"], image["digest"]);
            let repository = name.split('/').nth(1).and_then(|rest| rest.split(':').next()).expect("a repository");
            let manifest = manifest(&registry, repository, entry["digest"].as_str().expect("a digest"));
            assert_eq!(manifest["artifactType"], kind);
            let layers = manifest["layers"].as_array().expect("layers");
            let found: Vec<&Value> =
                layers.iter().map(|layer| &layer["annotations"]["in-toto.io/predicate-type"]).collect();
            assert_eq!(found, [&json!(SPDX), &json!(SLSA)]);
            for layer in layers {
                let statement = blob(&registry, repository, layer["digest"].as_str().expect("a digest"));
                let subject = format!("sha256:{}", statement["subject"][0]["digest"]["sha256"].as_str().expect("hex"));
                assert_eq!(subject, image["digest"].as_str().expect("a digest"));
            }
        }
        // Others find the image behind it.
        let inspected =
            tool::run(tool::tool("skopeo").args(["inspect", "--tls-verify=false", &format!("docker://{name}")]));
        assert!(inspected.contains("\"linux\""), "{inspected}");
        // And so does kiln, as a base.
        let on_top = support::scratch();
        write(on_top.path(), "Dockerfile", format!("FROM {name}\n"));
        Kiln::new().build(on_top.path(), &["-t", "x"]).succeeded();
    }
}

#[test]
fn each_platform_has_statements_of_its_own() {
    let kiln = Kiln::new();
    let context = support::scratch();
    write(context.path(), "Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /${TARGETARCH}\n");
    let platforms = ["--platform", "linux/amd64,linux/arm64", "--sbom"];
    let mut all = vec!["-o", "", "--provenance"];
    let output = layout(&kiln);
    all[1] = &output;
    all.extend(platforms);
    kiln.build(context.path(), &all).succeeded();
    let statements = Layout(kiln.out().join("layout")).statements();
    let mut subjects: Vec<String> =
        statements.iter().map(|statement| statement["subject"][0]["digest"]["sha256"].to_string()).collect();
    assert_eq!(subjects.len(), 4);
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), 2);
}

#[test]
fn a_build_that_runs_nothing_says_the_same() {
    let kiln = Kiln::new();
    let context = with_packages();
    let shown = |name: &str, format: &str| -> Value {
        let text = kiln.run(["inspect", "--format", format, name]);
        serde_json::from_str(&text.succeeded().stdout).expect("JSON")
    };
    kiln.build(context.path(), &["-t", "plain"]).succeeded();
    assert_eq!(shown("plain", "{{json .SBOM}}"), Value::Null);
    let listed = ["-t", "listed", "--sbom", "--provenance", "-o", "type=image,oci-artifact=false"];
    kiln.build(context.path(), &listed).succeeded();
    assert_eq!(shown("listed", "{{json .SBOM.SPDX.spdxVersion}}"), "SPDX-2.3");
    assert!(shown("listed", "{{json .Provenance.SLSA.buildDefinition}}").is_object());
    let built = || {
        kiln.build(context.path(), &["-t", "app", "--sbom", "--provenance"]).succeeded();
        assert_eq!(shown("app", "{{json .SBOM}}")["SPDX"], shown("listed", "{{json .SBOM}}")["SPDX"]);
        std::fs::read(kiln.store().join("content/index.json")).expect("index.json")
    };
    assert_eq!(built(), built());
}

/// What a user without privileges, and steps without overlays, leave to be read is the same.
#[test]
fn everybody_gets_the_same_list() {
    if !support::has_root() {
        return;
    }
    let context = with_packages();
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000", "-t", "app", "--sbom", "--provenance"];
    let statements = |kiln: &Kiln, more: &[&str]| {
        kiln.build(context.path(), &[&epoch[..], more].concat()).succeeded();
        let text = std::fs::read(kiln.store().join("content/index.json")).expect("index.json");
        let index: Value = serde_json::from_slice(&text).expect("JSON");
        let entries = index["manifests"].as_array().expect("manifests").iter();
        let digests =
            entries.filter(|entry| entry["artifactType"] == STATEMENT).map(|entry| entry["digest"].to_string());
        let mut digests: Vec<String> = digests.collect();
        digests.sort();
        digests
    };
    let expected = statements(&Kiln::new(), &[]);
    assert_eq!(expected.len(), 2);
    assert_eq!(statements(&Kiln::of(User::with_ranges()), &[]), expected);
    assert_eq!(statements(&Kiln::of(User::without_ranges()), &[]), expected);
    assert_eq!(statements(&Kiln::new(), &["--snapshotter", "copy"]), expected);
}

/// An image of Debian with packages of other ecosystems in it.
fn with_packages() -> TempDir {
    let context = support::scratch();
    let base = registry::base(Base::Debian);
    write(context.path(), "Dockerfile", format!("FROM {base}\nCOPY files /\n"));
    for (path, text) in [
        (
            "opt/p/some_project-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: Some_Project\nVersion: 1.0\nLicense: like BSD, but <kinder> & \"odd\"\n",
        ),
        (
            "opt/n/node_modules/@scope/thing/package.json",
            r#"{"name":"@scope/thing","version":"2.0.0","license":"(MIT OR Apache-2.0)"}"#,
        ),
        ("usr/lib/apk/db/installed", "P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\nm:N <n@a.example>\no:musl\n\n"),
        ("opt/n/node_modules/bad/package.json", "{"),
    ] {
        write(context.path(), &format!("files/{path}"), text);
    }
    context
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn purl(package: &Value) -> Option<&str> {
    package["externalRefs"][0]["referenceLocator"].as_str()
}

fn layout(kiln: &Kiln) -> String {
    format!("type=oci,tar=false,dest={}", kiln.out().join("layout").display())
}

/// An image layout on disk.
struct Layout(PathBuf);

impl Layout {
    fn json(&self, path: &str) -> Value {
        let bytes = std::fs::read(self.0.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn blob(&self, digest: &Value) -> Value {
        self.json(&format!("blobs/{}", digest.as_str().expect("a digest").replace(':', "/")))
    }

    /// Adds a document; returns its digest and size.
    fn put(&self, document: &Value) -> (Value, Value) {
        let bytes = document.to_string().into_bytes();
        let digest = kiln::digest::Digest::of(&bytes).to_string();
        std::fs::write(self.0.join("blobs").join(digest.replace(':', "/")), &bytes).expect("a blob");
        (json!(digest), json!(bytes.len()))
    }

    /// The statements about the images, of artifacts that the list names, each with its subject checked.
    fn statements(&self) -> Vec<Value> {
        let index = self.json("index.json");
        let entries = index["manifests"].as_array().expect("manifests");
        let artifacts = entries.iter().filter(|entry| entry["artifactType"] == STATEMENT);
        let statement = |entry: &Value| {
            let manifest = self.blob(&entry["digest"]);
            let statement = self.blob(&manifest["layers"][0]["digest"]);
            let subject = format!("sha256:{}", statement["subject"][0]["digest"]["sha256"].as_str().expect("hex"));
            assert_eq!(manifest["subject"]["digest"], subject);
            assert!(self.0.join("blobs").join(subject.replace(':', "/")).exists());
            assert_eq!(entry["annotations"]["in-toto.io/predicate-type"], statement["predicateType"]);
            statement
        };
        artifacts.map(statement).collect()
    }
}

/// Parses a statement with the published definitions, which refuse what they do not know.
fn published_statement(programs: &Path, scratch: &Path, statement: &Value) {
    let file = scratch.join("statement.json");
    std::fs::write(&file, statement.to_string()).expect("a file");
    let script = "
import json, sys
from google.protobuf.json_format import ParseDict
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
text = json.load(open(sys.argv[1]))
Statement.copy_from_pb(ParseDict(text, statement_pb2.Statement())).validate()
if text['predicateType'] == 'https://slsa.dev/provenance/v1':
    predicate = text['predicate']
    metadata = predicate['runDetails']['metadata']
    # The specification allows extensions, which the definition does not know.
    for name in [name for name in metadata if name.startswith('buildkit_')]:
        del metadata[name]
    known = ParseDict(predicate, provenance_pb2.Provenance())
    assert known.build_definition.build_type and known.run_details.builder.id
    for dependency in known.build_definition.resolved_dependencies:
        ResourceDescriptor.copy_from_pb(dependency).validate()
";
    python::run(programs, script, &file);
}

fn raw(name: &str) -> Value {
    let text =
        tool::run(tool::tool("skopeo").args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]));
    serde_json::from_str(&text).expect("JSON")
}

/// The digest of what a name means in its registry, in hex digits.
fn manifest_digest(name: &str) -> String {
    let format = ["inspect", "--format", "{{.Digest}}", "--tls-verify=false"];
    let text = tool::run(tool::tool("skopeo").args(format).arg(format!("docker://{name}")));
    text.trim().trim_start_matches("sha256:").to_owned()
}

fn get(registry: &Registry, path: &str) -> Value {
    let accept = ["application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"];
    let mut curl = tool::tool("curl");
    curl.args(["-sfL", &format!("http://{}/v2/{path}", registry.address)]);
    accept.iter().for_each(|kind| {
        curl.args(["-H", &format!("Accept: {kind}")]);
    });
    serde_json::from_str(&tool::run(&mut curl)).expect("JSON")
}

fn manifest(registry: &Registry, repository: &str, reference: &str) -> Value {
    get(registry, &format!("{repository}/manifests/{reference}"))
}

fn blob(registry: &Registry, repository: &str, digest: &str) -> Value {
    get(registry, &format!("{repository}/blobs/{digest}"))
}

/// What refers to an image, as this registry lists it: under a tag.
fn referrers(registry: &Registry, repository: &str, hex: &str) -> Vec<Value> {
    manifest(registry, repository, &format!("sha256-{hex}"))["manifests"].as_array().cloned().expect("a list")
}

fn kinds(referrers: &[Value]) -> Vec<&str> {
    assert!(referrers.iter().all(|entry| entry["artifactType"] == STATEMENT), "{referrers:?}");
    let mut kinds: Vec<&str> =
        referrers.iter().filter_map(|entry| entry["annotations"]["in-toto.io/predicate-type"].as_str()).collect();
    kinds.sort_unstable();
    kinds
}

fn statement(registry: &Registry, repository: &str, entry: &Value) -> Value {
    let manifest = manifest(registry, repository, entry["digest"].as_str().expect("a digest"));
    blob(registry, repository, manifest["layers"][0]["digest"].as_str().expect("a digest"))
}

/// Pushes what the store has under `name` to another repository; returns its name there.
fn pushed_again(kiln: &Kiln, name: &str) -> String {
    let other = name.replace("/app:", "/again:");
    kiln.run(["tag", name, &other]).succeeded();
    kiln.run(["push", &other]).succeeded();
    other
}
