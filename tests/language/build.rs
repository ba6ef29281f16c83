//! Builds a Dockerfile that stands in the test, and reads the image that comes out.

use std::path::Path;

use serde_json::Value;

use super::support::bases::Base;
use super::support::image::{self, Files};
use super::support::kiln::{Kiln, Output};
use super::support::{registry, scratch, write};

/// A context with a Dockerfile, and a kiln with a store of its own.
pub(crate) struct Case {
    pub(crate) kiln: Kiln,
    context: tempfile::TempDir,
}

/// What a build left.
pub(crate) struct Built {
    /// What kiln said.
    pub(crate) output: Output,
    /// The config of the image.
    pub(crate) config: Value,
    /// The config as it is written.
    pub(crate) config_text: String,
    /// Its manifest.
    pub(crate) manifest: Value,
    /// Its files.
    pub(crate) files: Files,
}

impl Case {
    /// A context whose Dockerfile is `dockerfile`; `BUSYBOX` and `DEBIAN` in it stand for the base images.
    pub(crate) fn new(dockerfile: &str) -> Self {
        let case = Self { kiln: Kiln::new(), context: scratch() };
        case.dockerfile(dockerfile);
        case
    }

    /// A context without a Dockerfile yet, for this kiln.
    pub(crate) fn of(kiln: Kiln) -> Self {
        Self { kiln, context: scratch() }
    }

    /// Replaces the Dockerfile.
    pub(crate) fn dockerfile(&self, text: &str) {
        let mut text = text.to_owned();
        for (word, base) in [("BUSYBOX", Base::Busybox), ("DEBIAN", Base::Debian)] {
            if text.contains(word) {
                text = text.replace(word, &registry::base(base));
            }
        }
        write(self.context.path(), "Dockerfile", text);
    }

    /// Writes a file of the context.
    pub(crate) fn file(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        write(self.context.path(), name, contents);
        self
    }

    /// Where the context is.
    pub(crate) fn context(&self) -> &Path {
        self.context.path()
    }

    /// Builds, which must succeed.
    #[track_caller]
    pub(crate) fn build(&self, arguments: &[&str]) -> Built {
        let archive = self.kiln.out().join("image.tar");
        let destination = format!("type=oci,dest={}", archive.display());
        let mut all = vec!["--progress=plain", "-o", &destination];
        all.extend(arguments);
        let output = self.kiln.build(self.context.path(), &all);
        output.succeeded();
        let image = image::read(&archive).expect("an OCI archive");
        let files = image::flatten(&image.layers).expect("whole layers");
        Built {
            output,
            config: image.config,
            config_text: image.config_text,
            manifest: image.manifest.unwrap_or_default(),
            files,
        }
    }

    /// Builds, which must fail with each of `words` in the message.
    #[track_caller]
    pub(crate) fn fails(&self, words: &[&str]) -> Output {
        let output = self.kiln.build(self.context.path(), &["--progress=plain", "-o", "type=cacheonly"]);
        output.failed_saying(words);
        output
    }
}

impl Built {
    /// The text of a file of the image.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        let node = self.files.get(path).unwrap_or_else(|| panic!("no {path} in the image\n{}", self.output.both()));
        String::from_utf8_lossy(&node.data).into_owned()
    }

    /// The `created_by` of the image's history, in order.
    pub(crate) fn history(&self) -> Vec<String> {
        let entries = self.config["history"].as_array().into_iter().flatten();
        entries.map(|entry| entry["created_by"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// How many steps of the build came from the cache.
    pub(crate) fn cached(&self) -> usize {
        self.output.stderr.matches("CACHED").count()
    }
}
