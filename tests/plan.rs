//! The plan as text: what a Dockerfile asks for, without any file, network or step.
//!
//! A golden is a directory `testdata/plan/<case>/` with a `Dockerfile`, perhaps `options` (see [`options`]), and
//! `plan.txt`: the images it asked for, then the plan and its warnings, or what is wrong. Images are those
//! of `testdata/plan/images.json`; one of another name is like `busybox`. Each has one made-up layer.
//! `UPDATE=1 cargo test --test plan` writes every `plan.txt` anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln::context::Ignore;
use kiln::diag::{self, Diagnostic};
use kiln::digest::{DiffId, Digest};
use kiln::dockerfile::{Dockerfile, parse};
use kiln::oci::{ImageConfig, Platform, Reference, descriptor, media_type};
use kiln::plan::{
    ImageKey, ImageNeed, ImageOp, ImageSource, KnownImage, KnownImages, NamedContext, Options, Plan, Planned,
    RunNetwork, StepGraph, Which, plan,
};
use kiln::source::{SourceFile, Sources};
use serde_json::Value;

/// Reads `options`: a line is the name of a flag and its value. Images and layouts of named contexts
/// are `name=docker-image://reference` and `name=oci-layout`; anything else is a directory.
fn options(text: &str) -> Options {
    let mut options = Options::new(Platform::new("linux", "amd64", None));
    for line in text.lines() {
        let (flag, value) = line.split_once(' ').unwrap_or((line, ""));
        let pair = || value.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).expect(line);
        match flag {
            "target" => options.target = Some(value.to_owned()),
            "ignore" => {
                let rules = Ignore::of_patterns(&value.split(' ').collect::<Vec<_>>()).expect(line);
                options.ignore = Some(Arc::new(rules));
            }
            "every-stage" => options.every_stage = true,
            "build-arg" => options.build_args.extend([pair()]),
            "label" => options.labels.extend([pair()]),
            "platform" => options.platform = value.parse().expect("a platform"),
            "several-platforms" => options.several_platforms = true,
            "context" => {
                let (name, given) = pair();
                options.named_contexts.insert(name.clone(), named_context(&name, &given));
            }
            "network" if value == "none" => options.network = RunNetwork::None,
            "network" if value == "host" => options.network = RunNetwork::Host,
            "allow" if value == "network.host" => options.allow_network_host = true,
            "allow" if value == "security.insecure" => options.allow_insecure = true,
            "add-host" => options.add_hosts.push(pair()),
            "no-cache" => options.no_cache = Which::All,
            "no-cache-filter" => options.no_cache = Which::Stages(vec![value.to_owned()]),
            "source-date-epoch" => options.source_date_epoch = value.parse().ok(),
            _ => panic!("no such option: {line}"),
        }
    }
    options
}

fn named_context(name: &str, given: &str) -> NamedContext {
    if let Some(stage) = given.strip_prefix("target:") {
        return NamedContext::Target(stage.to_owned());
    }
    match given.strip_prefix("docker-image://") {
        Some(image) => NamedContext::Image(ImageSource::Reference(Reference::parse(image).expect("a reference"))),
        None if given == "oci-layout" => NamedContext::Image(ImageSource::Layout(name.to_owned())),
        None => NamedContext::Directory,
    }
}

fn source_name(source: &ImageSource) -> String {
    match source {
        ImageSource::Reference(reference) => reference.familiar(),
        ImageSource::Layout(name) => format!("layout:{name}"),
    }
}

/// Returns the made-up image for a need, for whatever platform was asked.
fn image(key: &ImageKey, images: &Value) -> KnownImage {
    let name = source_name(&key.source);
    let config = images.get(&name).unwrap_or_else(|| &images["busybox"]);
    let mut config: ImageConfig = serde_json::from_value(config.clone()).expect("an image config");
    config.os.clone_from(&key.platform.os);
    config.architecture.clone_from(&key.platform.architecture);
    config.variant.clone_from(&key.platform.variant);
    let digest = Digest::of(name.as_bytes());
    let layer = (DiffId(digest), descriptor(media_type::OCI_LAYER, &digest, 1));
    let reference = match &key.source {
        ImageSource::Reference(reference) => reference.clone(),
        ImageSource::Layout(_) => Reference::parse("layout").expect("a reference"),
    };
    let image = ImageOp { reference, manifest: digest, layers: vec![layer] };
    KnownImage { image, config, platform: key.platform.clone() }
}

fn describe(need: &ImageNeed, sources: &Sources) -> String {
    let file = sources.get(need.span.source);
    let (name, line) = (source_name(&need.key.source), file.line_of(need.span.start));
    format!("{name} for {}, written `{}` at {}:{line}", need.key.platform, need.written, file.name())
}

/// Plans a Dockerfile; `asked` hears of each image that it needs.
fn planned(
    file: &Dockerfile,
    sources: &mut Sources,
    options: &Options,
    images: &Value,
    mut asked: impl FnMut(&[ImageNeed], &Sources),
) -> Result<Plan, Vec<Diagnostic>> {
    let mut known = KnownImages::new();
    loop {
        match plan(file, sources, options, &known)? {
            Planned::Ready(plan) => return Ok(*plan),
            Planned::Needs(needs) => {
                asked(&needs, sources);
                known.extend(needs.into_iter().map(|need| (need.key.clone(), image(&need.key, images))));
            }
        }
    }
}

/// Plans a Dockerfile and prints what came of it.
fn printed(text: &str, options: &Options, images: &Value) -> String {
    let mut sources = Sources::default();
    let main = sources.add(SourceFile::new("Dockerfile", text));
    let parsed = parse(&sources, main);
    let mut out = String::new();
    let mut mistakes = parsed.diagnostics;
    if mistakes.is_empty() {
        let asked = |needs: &[ImageNeed], sources: &Sources| {
            let lines = needs.iter().map(|need| format!("needs {}\n", describe(need, sources)));
            out.extend(lines.chain(["\n".to_owned()]));
        };
        match planned(&parsed.file, &mut sources, options, images, asked) {
            Ok(plan) => {
                let _ = write!(out, "{plan}");
                mistakes = plan.warnings;
            }
            Err(found) => mistakes = found,
        }
    }
    for mistake in &mistakes {
        let _ = write!(out, "\n{}", diag::render(mistake, &sources, false));
    }
    out
}

#[expect(clippy::disallowed_methods, reason = "a test lists its own cases, and sorts them")]
fn cases(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).expect("testdata is there");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    cases.retain(|case| case.join("Dockerfile").is_file());
    cases.sort();
    cases
}

fn images(root: &Path) -> Value {
    let text = std::fs::read_to_string(root.join("images.json")).expect("images.json");
    serde_json::from_str(&text).expect("images.json is JSON")
}

#[test]
fn goldens() {
    #[expect(clippy::disallowed_methods, reason = "UPDATE is for whoever runs the tests")]
    let update = std::env::var_os("UPDATE").is_some();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/plan");
    let images = images(&root);
    let mut wrong = Vec::new();
    for case in cases(&root) {
        let text = std::fs::read_to_string(case.join("Dockerfile")).expect("a Dockerfile");
        let options = options(&std::fs::read_to_string(case.join("options")).unwrap_or_default());
        let got = printed(&text, &options, &images);
        let path = case.join("plan.txt");
        if update {
            std::fs::write(&path, &got).expect("writable");
        } else if std::fs::read_to_string(&path).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn plans_share_the_steps_that_do_the_same() {
    let text = "FROM --platform=$BUILDPLATFORM busybox AS build\nRUN make\n\
                FROM --platform=$BUILDPLATFORM busybox AS cross\nARG TARGETARCH\nRUN make\n\
                FROM alpine\nCOPY --from=build /a /b /\nCOPY --from=cross /c /\n";
    let mut sources = Sources::default();
    let main = sources.add(SourceFile::new("Dockerfile", text));
    let parsed = parse(&sources, main);
    let images = images(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/plan"));
    let mut merged = StepGraph::default();
    let mut places = Vec::new();
    for platform in ["linux/amd64", "linux/arm64", "linux/amd64"] {
        let options = options(&format!("platform {platform}\nseveral-platforms\n"));
        let plan = planned(&parsed.file, &mut sources, &options, &images, |_, _| {}).expect("a plan");
        places.push(merged.merge(plan.graph).into_iter().map(|id| id.0).collect::<Vec<_>>());
    }
    // Only what has asked for the target is there for each. (The images of these tests are the same for all.)
    assert_eq!(places, [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 7, 4, 5, 8], [0, 1, 2, 3, 4, 5, 6]]);
    // Inputs come first, and are those of the same platform.
    for (at, step) in merged.steps.iter().enumerate() {
        assert!(step.op.inputs().iter().all(|input| input.index() < at), "{}", step.name);
    }
    let inputs = |at: usize| merged.steps[at].op.inputs().iter().map(|id| id.0).collect::<Vec<_>>();
    assert_eq!((inputs(6), inputs(8)), (vec![5, 3], vec![5, 7]));
}

/// Lists all files below `directory`, sorted.
#[expect(clippy::disallowed_methods, reason = "a test lists its own cases, and sorts them")]
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Every stage of each Dockerfile below `$KILN_TEST_DOCKERFILES` parses and plans, whatever its base images.
#[test]
fn collection_of_real_dockerfiles() {
    #[expect(clippy::disallowed_methods, reason = "a collection is for whoever has one")]
    let Some(directory) = std::env::var_os("KILN_TEST_DOCKERFILES") else {
        println!("KILN_TEST_DOCKERFILES gives no directory: no Dockerfile but those of testdata is tried");
        return;
    };
    let files = files_below(Path::new(&directory));
    assert!(!files.is_empty(), "KILN_TEST_DOCKERFILES is a directory without files");
    let options = options("every-stage\nallow network.host\nallow security.insecure\n");
    let images = serde_json::json!({ "busybox": { "os": "linux", "architecture": "amd64", "config": {} } });
    let mut wrong = Vec::new();
    for path in &files {
        let mut sources = Sources::default();
        let main = sources.add(SourceFile::new(path.display().to_string(), std::fs::read(path).expect("readable")));
        let parsed = parse(&sources, main);
        let mut mistakes = parsed.diagnostics;
        if mistakes.is_empty() {
            mistakes
                .extend(planned(&parsed.file, &mut sources, &options, &images, |_, _| ()).err().unwrap_or_default());
        }
        wrong.extend(mistakes.iter().map(|mistake| diag::render(mistake, &sources, false)));
    }
    println!("{} Dockerfiles", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
