//! Caches that builders share: what one made, no other makes again; and what a cache does wrong never harms a build.

// Tests are the edge: they list directories and look at the clock.
#![allow(clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod buckets;
mod contract;
mod crowd;
mod edits;
mod faults;
mod mounts;
mod places;
mod services;
mod trust;

use std::path::Path;

use support::bucket::KEY;
use support::kiln::{Kiln, Output};
use support::registry::Registry;
use support::{bases::Base, registry, write};

/// What `--cache-from` and `--cache-to` say of one place; all steps are written.
#[derive(Clone)]
struct Cache {
    from: String,
    to: String,
}

impl Cache {
    /// A repository, `HOST:PORT/NAME`.
    fn registry(repository: &str) -> Self {
        let from = format!("type=registry,ref={repository}");
        Self { to: format!("{from},mode=max"), from }
    }

    fn directory(path: &Path) -> Self {
        let path = path.display();
        Self { from: format!("type=local,src={path}"), to: format!("type=local,dest={path},mode=max") }
    }

    /// The bucket at `HOST:PORT`, below a prefix.
    fn bucket(address: &str, prefix: &str) -> Self {
        let place = format!("type=s3,bucket=kiln,region=us-east-1,endpoint_url=http://{address},use_path_style=true");
        let from = format!("{place},prefix={prefix},access_key_id={},secret_access_key={}", KEY.0, KEY.1);
        Self { to: format!("{from},mode=max"), from }
    }

    /// The service at `HOST:PORT`.
    fn service(address: &str) -> Self {
        let from = format!("type=reapi,endpoint=grpc://{address}");
        Self { to: format!("{from},mode=max"), from }
    }

    /// The same, of which only those records are read that one of these keys signed.
    fn trusting(&self, files: &[String]) -> Self {
        let trust: String = files.iter().map(|file| format!(",trust-key={file}")).collect();
        Self { from: format!("{}{trust}", self.from), to: self.to.clone() }
    }

    /// The same, with records signed by this key.
    fn signing(&self, file: &str) -> Self {
        Self { from: self.from.clone(), to: format!("{},sign-key={file}", self.to) }
    }
}

/// A builder with a store of its own.
struct Builder {
    kiln: Kiln,
}

/// What came of a build that succeeded.
struct Built {
    output: Output,
    /// The digest of the manifest that was pushed or written.
    digest: String,
}

impl Builder {
    fn new() -> Self {
        Self { kiln: Kiln::new() }
    }

    /// Builds `context`; `arguments` say which output.
    #[track_caller]
    fn build(&self, context: &Path, arguments: &[&str]) -> Built {
        let metadata = self.kiln.out().join("metadata.json");
        let mut all = vec!["--metadata-file", metadata.to_str().expect("a path of UTF-8")];
        all.extend(arguments);
        let output = self.kiln.build(context, &all);
        output.succeeded();
        let text = std::fs::read_to_string(&metadata).expect("the metadata file");
        let metadata: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let digest = metadata["containerimage.digest"].as_str().unwrap_or_default().to_owned();
        Built { output, digest }
    }

    /// Builds with a cache that is read and written.
    #[track_caller]
    fn build_with(&self, context: &Path, cache: &Cache, arguments: &[&str]) -> Built {
        self.build(context, &[&["--cache-from", &cache.from, "--cache-to", &cache.to], arguments].concat())
    }

    /// How many blobs the store has that are longer than any document of these images.
    fn layers(&self) -> usize {
        let blobs = std::fs::read_dir(self.kiln.store().join("content/blobs/sha256")).expect("the blobs");
        blobs.filter(|blob| blob.as_ref().expect("a blob").metadata().expect("its metadata").len() > 50_000).count()
    }
}

impl Built {
    /// The steps that ran, by their lines.
    fn ran(&self) -> Vec<&str> {
        ran(&self.output)
    }

    fn warnings(&self) -> Vec<&str> {
        warnings(&self.output)
    }
}

/// The vertices of steps that were neither cached nor pulled, by their names.
fn ran(output: &Output) -> Vec<&str> {
    let lines = || output.stderr.lines();
    let number = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let cached: Vec<String> = lines().filter(|line| line.ends_with(" CACHED")).map(number).collect();
    let is_step = |line: &&str| line.contains("] RUN ") || line.contains("] COPY ") || line.contains("] WORKDIR ");
    let mut ran: Vec<&str> =
        lines().filter(is_step).filter(|line| line.starts_with('#') && !cached.contains(&number(line))).collect();
    // Steps that run side by side are named whenever it is their turn to speak.
    ran.sort_unstable();
    ran.dedup();
    ran
}

fn warnings(output: &Output) -> Vec<&str> {
    output.stderr.lines().filter(|line| line.contains("WARNING: cache")).collect()
}

/// Six steps in two stages, of which `count` is the third; the layers are of some size.
fn context(count: &str) -> tempfile::TempDir {
    let directory = support::scratch();
    let base = registry::base(Base::Busybox);
    let text = format!(
        "FROM {base} AS made\nWORKDIR /made\nRUN head -c 300000 /dev/urandom > noise\nRUN echo {count} > count\n\
         FROM {base}\nCOPY file /file\nCOPY --from=made /made /made\nRUN head -c 200000 /dev/urandom > /last\n"
    );
    write(directory.path(), "Dockerfile", text);
    write(directory.path(), "file", "a file\n");
    directory
}

/// Whether the repository has a tag.
fn tags(registry: &Registry, repository: &str) -> Vec<String> {
    let mut command = support::tool::tool("skopeo");
    command.args(["list-tags", "--tls-verify=false"]).arg(format!("docker://{}/{repository}", registry.address));
    let listed = command.output().expect("skopeo runs");
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
    let tags = listed["Tags"].as_array().cloned().unwrap_or_default();
    tags.iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}
