//! What becomes of the result: `--output`, `--push` and `--load`.

use super::environment::Environment;
use super::fields::{self, Field};
use super::usage::{UsageError, did_you_mean};
use super::{annotations, names};
use crate::builder::{Annotation, Destination, ImageAttributes, LayerCompression, Output};
use crate::export::Form;

const OUTPUT: &str = "--output";

/// The outputs, and the annotations that some of them carry.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Never empty.
    pub(super) outputs: Vec<Output>,
    /// From `annotation.KEY=VALUE`.
    pub(super) annotations: Vec<Annotation>,
}

/// Reads all `--output`; without any, the image is kept in the store.
pub(super) fn outputs(
    typed: &[String],
    push: bool,
    load: bool,
    environment: &Environment,
) -> Result<Outputs, UsageError> {
    let mut all = Outputs::default();
    for text in typed {
        let (output, annotations) = output(text, environment)?;
        all.outputs.push(output);
        all.annotations.extend(annotations);
    }
    if push && !push_image_outputs(&mut all.outputs) {
        all.outputs.push(Output::Image { push: true, attributes: ImageAttributes::default() });
    }
    let kept = all.outputs.iter().any(|output| matches!(output, Output::Image { .. }));
    if (load && !kept) || all.outputs.is_empty() {
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
        Output::Oci { destination, .. } | Output::Docker { destination, .. } | Output::Tar(destination) => {
            Some(destination)
        }
        Output::Image { .. } | Output::Local(_) | Output::CacheOnly => None,
    }
}

fn output(text: &str, environment: &Environment) -> Result<(Output, Vec<Annotation>), UsageError> {
    if text == "-" {
        return Ok((Output::Tar(stdout(environment)?), Vec::new()));
    }
    if !text.contains(['=', ',']) && !text.is_empty() {
        return Ok((Output::Local(environment.absolute(text)), Vec::new()));
    }
    let mut spec = Spec::parse(text)?;
    let kind = spec.take("type").ok_or_else(|| UsageError::malformed(OUTPUT, text, "type is required for output"))?;
    let kind = kind.required(OUTPUT)?.to_owned();
    let annotations = spec.annotations()?;
    let output = match kind.as_str() {
        "image" | "registry" => {
            let push = spec.truth("push", kind == "registry")?;
            Output::Image { push, attributes: spec.attributes()? }
        }
        "oci" => {
            let tar = spec.truth("tar", true)?;
            let destination = spec.destination(environment)?;
            if !tar && destination == Destination::Stdout {
                return Err(UsageError::malformed(OUTPUT, text, "tar=false needs dest=DIR"));
            }
            Output::Oci { destination, tar, attributes: spec.attributes()? }
        }
        // Without a destination, docker's own meaning is "into the local image store".
        "docker" if !spec.has("dest") => Output::Image { push: false, attributes: spec.attributes()? },
        "docker" => Output::Docker { destination: spec.destination(environment)?, attributes: spec.attributes()? },
        "local" => match spec.destination(environment) {
            Ok(Destination::File(directory)) => Output::Local(directory),
            _ => return Err(UsageError::malformed(OUTPUT, text, "dest=DIR is required for local")),
        },
        "tar" => Output::Tar(spec.destination(environment)?),
        "cacheonly" => Output::CacheOnly,
        other => return Err(unknown(text, "type", other, &TYPES)),
    };
    spec.nothing_left()?;
    Ok((output, annotations))
}

const TYPES: [&str; 7] = ["image", "registry", "oci", "docker", "local", "tar", "cacheonly"];
const KEYS: [&str; 13] = [
    "type",
    "dest",
    "tar",
    "push",
    "name",
    "push-by-digest",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "rewrite-timestamp",
    "oci-artifact",
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

    fn attributes(&mut self) -> Result<ImageAttributes, UsageError> {
        let names = self.take("name").map(|field| field.required(OUTPUT).map(str::to_owned)).transpose()?;
        let names = names.unwrap_or_default();
        let oci_media_types = self.take("oci-mediatypes").map(|field| field.truth(OUTPUT)).transpose()?;
        Ok(ImageAttributes {
            names: names::tags(OUTPUT, names.split(',').filter(|name| !name.is_empty()))?,
            compression: self.compression()?,
            compression_level: self.compression_level()?,
            force_compression: self.truth("force-compression", false)?,
            oci_media_types,
            rewrite_timestamp: self.truth("rewrite-timestamp", false)?,
            push_by_digest: self.truth("push-by-digest", false)?,
            attestations: match self.take("oci-artifact").map(|field| field.truth(OUTPUT)).transpose()? {
                None => Form::Referrers,
                Some(false) => Form::InIndex,
                Some(true) => Form::Artifact,
            },
        })
    }

    fn compression(&mut self) -> Result<Option<LayerCompression>, UsageError> {
        let Some(field) = self.take("compression") else { return Ok(None) };
        match field.required(OUTPUT)? {
            "uncompressed" => Ok(Some(LayerCompression::Uncompressed)),
            "gzip" => Ok(Some(LayerCompression::Gzip)),
            "zstd" => Ok(Some(LayerCompression::Zstd)),
            "estargz" => Err(UsageError::NotYet { flag: "--output compression=estargz".to_owned(), detail: "" }),
            other => Err(unknown(self.text, "compression", other, &["uncompressed", "gzip", "zstd"])),
        }
    }

    fn compression_level(&mut self) -> Result<Option<i32>, UsageError> {
        let Some(field) = self.take("compression-level") else { return Ok(None) };
        let complain = |_| UsageError::malformed(OUTPUT, self.text, "compression-level must be a number");
        field.required(OUTPUT)?.parse().map(Some).map_err(complain)
    }

    /// Takes out `annotation[-LEVEL][[PLATFORM]].KEY=VALUE`.
    fn annotations(&mut self) -> Result<Vec<Annotation>, UsageError> {
        let taken: Vec<Field> = self.fields.extract_if(.., |field| field.key.starts_with("annotation")).collect();
        taken.iter().map(|field| annotations::of_output(OUTPUT, &field.key, field.required(OUTPUT)?)).collect()
    }

    fn nothing_left(&self) -> Result<(), UsageError> {
        let Some(field) = self.fields.first() else { return Ok(()) };
        field.required(OUTPUT)?;
        Err(unknown(self.text, "attribute", &field.key, &KEYS))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(text: &str) -> String {
        let environment = Environment { directory: PathBuf::from("/w"), ..Environment::default() };
        match output(text, &environment) {
            Ok((Output::Image { push, attributes }, _)) if attributes == ImageAttributes::default() => {
                format!("Image push={push}")
            }
            Ok((Output::Oci { destination, tar, .. }, _)) => format!("Oci {destination:?} tar={tar}"),
            Ok((Output::Docker { destination, .. }, _)) => format!("Docker {destination:?}"),
            Ok((output, _)) => format!("{output:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_type_has_its_own_rules() {
        for (text, want) in [
            ("out", "Local(\"/w/out\")"),
            ("-", "Tar(Stdout)"),
            ("type=local,dest=out", "Local(\"/w/out\")"),
            ("type=local", "invalid value `type=local` for --output: dest=DIR is required for local"),
            ("type=tar,dest=o.tar", "Tar(File(\"/w/o.tar\"))"),
            ("type=tar", "Tar(Stdout)"),
            ("type=oci,dest=/o.tar", "Oci File(\"/o.tar\") tar=true"),
            ("type=oci,tar=false,dest=o", "Oci File(\"/w/o\") tar=false"),
            ("type=oci,tar=false", "invalid value `type=oci,tar=false` for --output: tar=false needs dest=DIR"),
            ("type=docker", "Image push=false"),
            ("type=docker,dest=-", "Docker Stdout"),
            ("type=image", "Image push=false"),
            ("type=image,push=true", "Image push=true"),
            ("type=registry", "Image push=true"),
            ("type=cacheonly", "CacheOnly"),
            ("dest=a", "invalid value `dest=a` for --output: type is required for output"),
            ("type=imge", "invalid value `type=imge` for --output: unknown type `imge`: did you mean `image`?"),
            (
                "type=image,compresion=gzip",
                "invalid value `type=image,compresion=gzip` for --output: unknown attribute `compresion`: \
                 did you mean `compression`?",
            ),
            ("type=image,compression=estargz", "--output compression=estargz is not supported yet"),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn attributes_are_read() {
        let text = "type=image,\"name=a:1,b\",compression=zstd,compression-level=9,force-compression=true,\
                    oci-mediatypes=false,rewrite-timestamp=true,push-by-digest=true,annotation.k=v";
        let environment = Environment::default();
        let (Output::Image { push: false, attributes }, annotations) = output(text, &environment).unwrap() else {
            panic!("not an image")
        };
        let names: Vec<String> = attributes.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["docker.io/library/a:1", "docker.io/library/b:latest"]);
        assert_eq!((attributes.compression, attributes.compression_level), (Some(LayerCompression::Zstd), Some(9)));
        assert_eq!((attributes.force_compression, attributes.oci_media_types), (true, Some(false)));
        assert_eq!((attributes.rewrite_timestamp, attributes.push_by_digest), (true, true));
        assert_eq!((annotations[0].key.as_str(), annotations[0].value.as_str()), ("k", "v"));
    }

    #[test]
    fn push_and_load_add_an_image() {
        let environment = Environment { directory: PathBuf::from("/w"), ..Environment::default() };
        let shown = |typed: &[&str], push, load| {
            let typed: Vec<String> = typed.iter().map(ToString::to_string).collect();
            let all = outputs(&typed, push, load, &environment).unwrap().outputs;
            let word = |output: &Output| match output {
                Output::Image { push: true, .. } => "pushed",
                Output::Image { push: false, .. } => "kept",
                _ => "other",
            };
            all.iter().map(word).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&[], false, false), "kept");
        assert_eq!(shown(&[], true, false), "pushed");
        assert_eq!(shown(&["o"], false, false), "other");
        assert_eq!(shown(&["o"], false, true), "other kept");
        assert_eq!(shown(&["o"], true, true), "other pushed");
        assert_eq!(shown(&["type=image"], true, false), "pushed");
        assert!(outputs(&["-".into(), "type=oci".into()], false, false, &environment).is_err());
    }
}
