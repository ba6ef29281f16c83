//! What becomes of the result: `--output`, `--push` and `--load`.

use super::environment::Environment;
use super::fields::{self, Field};
use super::usage::{UsageError, did_you_mean};
use super::{annotations, engines, names};
use crate::builder::{
    Annotation, Destination, EngineChoice, ImageAttributes, LayerCompression, LoadInto, LocalDirectory, Output,
};
use crate::export::Form;
use crate::oci::Reference;

const OUTPUT: &str = "--output";

/// The outputs, and what they say of registries.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Never empty.
    pub(super) outputs: Vec<Output>,
    /// An output has `registry.insecure`.
    pub(super) is_insecure: bool,
}

/// Reads all `--output`; without any, the image is kept in the store.
pub(super) fn outputs(
    typed: &[String],
    push: bool,
    load: Option<&str>,
    environment: &Environment,
) -> Result<Outputs, UsageError> {
    let mut all = Outputs::default();
    for text in typed {
        let (output, is_insecure) = output(text, environment)?;
        all.outputs.push(output);
        all.is_insecure |= is_insecure;
    }
    if push && !push_image_outputs(&mut all.outputs) {
        all.outputs.push(Output::Image { push: true, attributes: ImageAttributes::default() });
    }
    let is_loaded = all.outputs.iter().any(|output| matches!(output, Output::Load { .. }));
    if let Some(engine) = engines::choice(load)?.filter(|_| !is_loaded) {
        let into = LoadInto { engine, docker_host: engines::docker_host(None, environment)? };
        all.outputs.push(Output::Load { into, attributes: ImageAttributes::default() });
    }
    if all.outputs.is_empty() {
        all.outputs.push(Output::Image { push: false, attributes: ImageAttributes::default() });
    }
    let to_stdout = |output: &&Output| matches!(destination_of(output), Some(Destination::Stdout));
    if all.outputs.iter().filter(to_stdout).count() > 1 {
        return Err(UsageError::Conflict { one: "--output to standard output", other: "another one" });
    }
    Ok(all)
}

/// `--push` turns every image output into one that is pushed; says whether there was any.
fn push_image_outputs(outputs: &mut [Output]) -> bool {
    let mut any = false;
    for output in outputs {
        if let Output::Image { push, .. } = output {
            *push = true;
            any = true;
        }
    }
    any
}

/// Returns where `output` writes, when that is one stream.
pub(super) fn destination_of(output: &Output) -> Option<&Destination> {
    match output {
        Output::Oci { destination, .. } | Output::Docker { destination, .. } | Output::Tar { destination, .. } => {
            Some(destination)
        }
        Output::Image { .. } | Output::Load { .. } | Output::Local(_) | Output::CacheOnly => None,
    }
}

/// Returns the registries that the images go to.
pub(super) fn registries(tags: &[Reference], outputs: &[Output]) -> Vec<String> {
    let of_output = |output: &Output| match output {
        Output::Image { attributes, .. } => {
            attributes.names.iter().chain(&attributes.dangling_prefix).cloned().collect()
        }
        _ => Vec::new(),
    };
    let own: Vec<Reference> = outputs.iter().flat_map(of_output).collect();
    tags.iter().chain(&own).map(|name| name.domain.clone()).collect()
}

/// Reads one output, and whether its registry may be insecure.
fn output(text: &str, environment: &Environment) -> Result<(Output, bool), UsageError> {
    if text == "-" {
        return Ok((Output::Tar { destination: stdout(environment)?, split: None }, false));
    }
    if !text.contains(['=', ',']) && !text.is_empty() {
        let local = LocalDirectory { path: environment.absolute(text), split: None, delete: false };
        return Ok((Output::Local(local), false));
    }
    let mut spec = Spec::parse(text)?;
    let kind = spec.take("type").ok_or_else(|| UsageError::malformed(OUTPUT, text, "type is required for output"))?;
    let kind = kind.required(OUTPUT)?.to_owned();
    let mut is_insecure = false;
    let output = match kind.as_str() {
        "image" | "registry" => {
            is_insecure = spec.truth("registry.insecure", false)?;
            Output::Image { push: spec.truth("push", kind == "registry")?, attributes: spec.image()? }
        }
        // Without a destination, docker's own meaning is "into the local image store".
        "docker" if !spec.has("dest") => {
            let context = spec.take("context").map(|field| field.required(OUTPUT).map(str::to_owned)).transpose()?;
            let docker_host = engines::docker_host(context.as_deref(), environment)?;
            let engine = if context.is_some() { EngineChoice::Docker } else { EngineChoice::Any };
            Output::Load { into: LoadInto { engine, docker_host }, attributes: spec.attributes()? }
        }
        "oci" | "docker" => {
            let tar = spec.truth("tar", true)?;
            let destination = spec.destination(environment)?;
            if !tar && destination == Destination::Stdout {
                return Err(UsageError::malformed(OUTPUT, text, "tar=false needs dest=DIR"));
            }
            let attributes = spec.attributes()?;
            match (kind.as_str(), tar) {
                ("docker", true) => Output::Docker { destination, attributes },
                // A directory of either is an OCI layout.
                _ => Output::Oci { destination, tar, attributes },
            }
        }
        "local" => match spec.destination(environment) {
            Ok(Destination::File(path)) => {
                Output::Local(LocalDirectory { path, split: spec.split()?, delete: spec.deletes()? })
            }
            _ => return Err(UsageError::malformed(OUTPUT, text, "dest=DIR is required for local")),
        },
        "tar" => Output::Tar { destination: spec.destination(environment)?, split: spec.split()? },
        "cacheonly" => Output::CacheOnly,
        other => return Err(unknown(text, "type", other, &TYPES)),
    };
    spec.nothing_left(&kind)?;
    Ok((output, is_insecure))
}

const TYPES: [&str; 7] = ["image", "registry", "oci", "docker", "local", "tar", "cacheonly"];
const KEYS: [&str; 23] = [
    "context",
    "type",
    "dest",
    "tar",
    "push",
    "name",
    "push-by-digest",
    "name-canonical",
    "dangling-name-prefix",
    "unpack",
    "store",
    "registry.insecure",
    "platform-split",
    "mode",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "prefer-nondist-layers",
    "rewrite-timestamp",
    "oci-artifact",
    "source-date-epoch",
    "annotation.",
];

fn unknown(text: &str, what: &str, word: &str, known: &[&str]) -> UsageError {
    UsageError::malformed(OUTPUT, text, format!("unknown {what} `{word}`{}", did_you_mean(word, known)))
}

fn stdout(environment: &Environment) -> Result<Destination, UsageError> {
    if environment.stdout_is_terminal {
        return Err(UsageError::Terminal { flag: OUTPUT, instead: "dest=FILE" });
    }
    Ok(Destination::Stdout)
}

/// The fields of one `--output`; what is understood is taken out.
struct Spec<'a> {
    text: &'a str,
    fields: Vec<Field>,
}

impl<'a> Spec<'a> {
    fn parse(text: &'a str) -> Result<Self, UsageError> {
        Ok(Self { text, fields: fields::parse(OUTPUT, text)? })
    }

    fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|field| field.key == key)
    }

    /// Takes out all fields of `key`; the last one counts.
    fn take(&mut self, key: &str) -> Option<Field> {
        self.fields.extract_if(.., |field| field.key == key).last()
    }

    fn truth(&mut self, key: &str, default: bool) -> Result<bool, UsageError> {
        self.take(key).map_or(Ok(default), |field| field.truth(OUTPUT))
    }

    fn destination(&mut self, environment: &Environment) -> Result<Destination, UsageError> {
        match self.take("dest") {
            None => stdout(environment),
            Some(field) => match field.required(OUTPUT)? {
                "-" | "" => stdout(environment),
                path => Ok(Destination::File(environment.absolute(path))),
            },
        }
    }

    /// What only an image that is kept or pushed can have, and [`Spec::attributes`].
    fn image(&mut self) -> Result<ImageAttributes, UsageError> {
        let prefix = self.take("dangling-name-prefix").map(|field| self.prefix(&field)).transpose()?;
        let attributes = ImageAttributes {
            push_by_digest: self.truth("push-by-digest", false)?,
            name_canonical: self.truth("name-canonical", false)?,
            unpack: self.truth("unpack", false)?,
            discard: !self.truth("store", true)?,
            dangling_prefix: prefix,
            ..self.attributes()?
        };
        if attributes.unpack && attributes.rewrite_timestamp {
            let reason = "unpack=true and rewrite-timestamp=true exclude each other: what is unpacked has the times of the build";
            return Err(UsageError::malformed(OUTPUT, self.text, reason));
        }
        Ok(attributes)
    }

    fn attributes(&mut self) -> Result<ImageAttributes, UsageError> {
        if self.has("source-date-epoch") {
            let detail = ": use the build argument SOURCE_DATE_EPOCH, which is for the whole build";
            return Err(UsageError::NotYet { flag: "--output source-date-epoch=".to_owned(), detail });
        }
        if !self.truth("prefer-nondist-layers", true)? {
            let detail = ": layers that a registry need not hold stay what they are";
            return Err(UsageError::NotYet { flag: "--output prefer-nondist-layers=false".to_owned(), detail });
        }
        let names = self.take("name").map(|field| field.required(OUTPUT).map(str::to_owned)).transpose()?;
        let names = names.unwrap_or_default();
        let oci_media_types = self.take("oci-mediatypes").map(|field| field.truth(OUTPUT)).transpose()?;
        let (compression, compression_level) = self.compression()?;
        if compression == Some(LayerCompression::Estargz) && oci_media_types == Some(false) {
            let reason = "compression=estargz conflicts with oci-mediatypes=false: the table is found by an annotation";
            return Err(UsageError::malformed(OUTPUT, self.text, reason));
        }
        Ok(ImageAttributes {
            names: names::tags(OUTPUT, names.split(',').filter(|name| !name.is_empty()))?,
            compression,
            compression_level,
            force_compression: self.truth("force-compression", false)?,
            oci_media_types,
            rewrite_timestamp: self.truth("rewrite-timestamp", false)?,
            attestations: match self.take("oci-artifact").map(|field| field.truth(OUTPUT)).transpose()? {
                None => Form::Referrers,
                Some(false) => Form::InIndex,
                Some(true) => Form::Artifact,
            },
            annotations: self.annotations()?,
            ..ImageAttributes::default()
        })
    }

    /// A level alone is one of gzip, the usual codec.
    fn compression(&mut self) -> Result<(Option<LayerCompression>, Option<i32>), UsageError> {
        let level = self.compression_level()?;
        let Some(field) = self.take("compression") else {
            return self.leveled(level.map(|_| LayerCompression::Gzip), level);
        };
        let compression = match field.required(OUTPUT)? {
            "uncompressed" => LayerCompression::Uncompressed,
            "gzip" => LayerCompression::Gzip,
            "zstd" => LayerCompression::Zstd,
            "estargz" => LayerCompression::Estargz,
            other => {
                return Err(unknown(self.text, "compression", other, &["uncompressed", "gzip", "zstd", "estargz"]));
            }
        };
        self.leveled(Some(compression), level)
    }

    /// Refuses a level that the codec does not have.
    fn leveled(
        &self,
        compression: Option<LayerCompression>,
        level: Option<i32>,
    ) -> Result<(Option<LayerCompression>, Option<i32>), UsageError> {
        let (name, levels) = match compression {
            Some(LayerCompression::Gzip) => ("gzip", 0..=9),
            Some(LayerCompression::Estargz) => ("estargz", 0..=9),
            Some(LayerCompression::Zstd) => ("zstd", 0..=22),
            None | Some(LayerCompression::Uncompressed) => return Ok((compression, level)),
        };
        match level {
            Some(level) if !levels.contains(&level) => {
                let expected = format!("compression-level of {name} is {} to {}", levels.start(), levels.end());
                Err(UsageError::malformed(OUTPUT, self.text, expected))
            }
            _ => Ok((compression, level)),
        }
    }

    fn compression_level(&mut self) -> Result<Option<i32>, UsageError> {
        let Some(field) = self.take("compression-level") else { return Ok(None) };
        let complain = |_| UsageError::malformed(OUTPUT, self.text, "compression-level must be a number");
        field.required(OUTPUT)?.parse().map(Some).map_err(complain)
    }

    /// A repository, without tag and digest.
    fn prefix(&self, field: &Field) -> Result<Reference, UsageError> {
        let name = names::reference(OUTPUT, field.required(OUTPUT)?)?;
        if name.tag.is_some() || name.digest.is_some() {
            let expected = "dangling-name-prefix must be a name without tag and digest";
            return Err(UsageError::malformed(OUTPUT, self.text, expected));
        }
        Ok(name)
    }

    fn split(&mut self) -> Result<Option<bool>, UsageError> {
        self.take("platform-split").map(|field| field.truth(OUTPUT)).transpose()
    }

    /// `mode=copy` or `mode=delete`.
    fn deletes(&mut self) -> Result<bool, UsageError> {
        let Some(field) = self.take("mode") else { return Ok(false) };
        match field.required(OUTPUT)?.trim().to_ascii_lowercase().as_str() {
            "" | "copy" => Ok(false),
            "delete" => Ok(true),
            other => Err(unknown(self.text, "mode", other, &["copy", "delete"])),
        }
    }

    /// Takes out `annotation[-LEVEL][[PLATFORM]].KEY=VALUE`.
    fn annotations(&mut self) -> Result<Vec<Annotation>, UsageError> {
        let taken: Vec<Field> = self.fields.extract_if(.., |field| field.key.starts_with("annotation")).collect();
        taken.iter().map(|field| annotations::of_output(OUTPUT, &field.key, field.required(OUTPUT)?)).collect()
    }

    fn nothing_left(&self, kind: &str) -> Result<(), UsageError> {
        let Some(field) = self.fields.first() else { return Ok(()) };
        field.required(OUTPUT)?;
        if KEYS.contains(&field.key.as_str()) {
            let expected = format!("`{}` is no attribute of type={kind}", field.key);
            return Err(UsageError::malformed(OUTPUT, self.text, expected));
        }
        Err(unknown(self.text, "attribute", &field.key, &KEYS))
    }
}

#[cfg(test)]
#[path = "outputs_tests.rs"]
mod tests;
