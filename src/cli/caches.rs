//! `--cache-from` and `--cache-to`, and the same as variables of the environment.
//!
//! ```text
//! REF                                             the same as type=registry,ref=REF
//! type=registry,ref=REPOSITORY[:TAG]              a repository; images in it with a cache of their own are read too
//! type=local,src=DIR         type=local,dest=DIR  a directory
//! type=inline                                     (to) in the config of the image
//! mode=min|max, ignore-error=BOOL                 (to)
//! ```
//!
//! `KILN_CACHE_FROM` and `KILN_CACHE_TO` hold such values, separated by blanks or lines; they count where there is no flag.

use super::environment::Environment;
use super::fields::{self, Field};
use super::usage::UsageError;
use crate::builder::{CacheMode, CacheTarget, SharedCaches};
use crate::cache::Place;
use crate::oci::Reference;
use crate::remotecache::TAG_LIMIT;

const FROM: &str = "--cache-from";
const TO: &str = "--cache-to";
/// What BuildKit has and kiln has not.
const NOT_YET: [&str; 4] = ["s3", "gha", "azblob", "reapi"];
/// Attributes of BuildKit's that ask for what a cache of kiln always is.
const ALWAYS_SO: [&str; 2] = ["image-manifest", "oci-mediatypes"];
const INSTEAD: &str = ": use type=registry or type=local";

/// Reads what was typed, or else what the environment says.
pub(super) fn shared_caches(
    from: &[String],
    to: &[String],
    environment: &Environment,
) -> Result<SharedCaches, UsageError> {
    let given = |typed: &[String], variable: &str| match typed {
        [] => words(environment.variable(variable).unwrap_or_default()),
        typed => typed.to_vec(),
    };
    let mut caches = SharedCaches::default();
    for text in given(from, "KILN_CACHE_FROM") {
        let place = source(&text, environment)?;
        if !caches.from.contains(&place) {
            caches.from.push(place);
        }
    }
    for text in given(to, "KILN_CACHE_TO") {
        match target(&text, environment)? {
            None => caches.inline = true,
            Some(target) => caches.to.push(target),
        }
    }
    Ok(caches)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn source(text: &str, environment: &Environment) -> Result<Place, UsageError> {
    let spec = Spec::parse(FROM, text)?;
    match spec.kind.as_str() {
        "registry" => {
            spec.allow(&["ref"])?;
            spec.registry()
        }
        "local" => {
            spec.allow(&["src"])?;
            Ok(Place::Directory(environment.absolute(spec.required("src")?)))
        }
        "inline" => {
            Err(UsageError::malformed(FROM, text, "an image with a cache is read with type=registry,ref=IMAGE"))
        }
        _ => Err(spec.unknown(&["registry", "local"])),
    }
}

/// `None` is the image itself.
fn target(text: &str, environment: &Environment) -> Result<Option<CacheTarget>, UsageError> {
    let spec = Spec::parse(TO, text)?;
    let place = match spec.kind.as_str() {
        "registry" => {
            spec.allow(&["ref", "mode", "ignore-error"])?;
            spec.registry()?
        }
        "local" => {
            spec.allow(&["dest", "mode", "ignore-error"])?;
            Place::Directory(environment.absolute(spec.required("dest")?))
        }
        "inline" => {
            spec.allow(&["mode"])?;
            return match spec.mode()? {
                CacheMode::Min => Ok(None),
                CacheMode::Max => {
                    Err(UsageError::malformed(TO, text, "an image holds the records of its own steps only: mode=min"))
                }
            };
        }
        _ => return Err(spec.unknown(&["registry", "local", "inline"])),
    };
    let ignore_error = spec.field("ignore-error").map_or(Ok(true), |field| field.truth(TO))?;
    Ok(Some(CacheTarget { place, mode: spec.mode()?, ignore_error }))
}

/// One value of a flag.
struct Spec<'a> {
    flag: &'static str,
    text: &'a str,
    kind: String,
    fields: Vec<Field>,
}

impl<'a> Spec<'a> {
    fn parse(flag: &'static str, text: &'a str) -> Result<Self, UsageError> {
        let mut fields = fields::parse(flag, text)?;
        if let [alone] = fields.as_slice()
            && alone.value.is_none()
        {
            let field = |key: &str, value: &str| Field { key: key.to_owned(), value: Some(value.to_owned()) };
            fields = vec![field("ref", text.trim())];
        }
        let kind = match fields.iter().find(|field| field.key == "type") {
            Some(kind) => kind.required(flag)?.to_owned(),
            None if fields.iter().any(|field| field.key == "ref") => "registry".to_owned(),
            None => return Err(UsageError::malformed(flag, text, "expected type=registry, type=local, ..")),
        };
        fields.retain(|field| field.key != "type" && !ALWAYS_SO.contains(&field.key.as_str()));
        Ok(Self { flag, text, kind, fields })
    }

    fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().rev().find(|field| field.key == key)
    }

    fn required(&self, key: &str) -> Result<&str, UsageError> {
        let missing = || UsageError::malformed(self.flag, self.text, format!("type={} needs {key}=..", self.kind));
        let value = self.field(key).ok_or_else(missing)?.required(self.flag)?;
        if value.is_empty() { Err(missing()) } else { Ok(value) }
    }

    /// BuildKit has attributes for forms of a cache that this one does not have; which are meant is not guessed.
    fn allow(&self, known: &[&str]) -> Result<(), UsageError> {
        match self.fields.iter().find(|field| !known.contains(&field.key.as_str())) {
            None => Ok(()),
            Some(field) => Err(UsageError::unknown(self.flag, self.text, &field.key, known)),
        }
    }

    fn registry(&self) -> Result<Place, UsageError> {
        let text = self.required("ref")?;
        let malformed = |why: String| UsageError::malformed(self.flag, self.text, why);
        let reference = Reference::parse(text).map_err(|error| malformed(error.to_string()))?;
        if reference.digest.is_some() {
            return Err(malformed("a cache has no digest: name a repository, with a tag or without".to_owned()));
        }
        if reference.tag.as_ref().is_some_and(|tag| tag.len() > TAG_LIMIT) {
            return Err(malformed(format!("the tag of a cache is {TAG_LIMIT} bytes at most")));
        }
        Ok(Place::Registry(reference))
    }

    fn mode(&self) -> Result<CacheMode, UsageError> {
        match self.field("mode").map(|field| field.required(self.flag)).transpose()? {
            None | Some("min") => Ok(CacheMode::Min),
            Some("max") => Ok(CacheMode::Max),
            Some(other) => Err(UsageError::unknown(self.flag, self.text, other, &["min", "max"])),
        }
    }

    fn unknown(&self, known: &[&str]) -> UsageError {
        match NOT_YET.contains(&self.kind.as_str()) {
            true => UsageError::NotYet { flag: format!("{} type={}", self.flag, self.kind), detail: INSTEAD },
            false => UsageError::unknown(self.flag, self.text, &self.kind, known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(from: &[&str], to: &[&str], variables: &[(&str, &str)]) -> Result<SharedCaches, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment { variables, directory: "/w".into(), ..Environment::default() };
        let owned = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        shared_caches(&owned(from), &owned(to), &environment).map_err(|error| error.to_string())
    }

    fn places(caches: &SharedCaches) -> (Vec<String>, Vec<String>) {
        let to = caches.to.iter().map(|target| format!("{} {:?} {}", target.place, target.mode, target.ignore_error));
        (caches.from.iter().map(Place::to_string).collect(), to.collect())
    }

    #[test]
    fn buildkits_spelling_is_read() {
        let from = ["type=registry,ref=h.example/c", "h.example/app:1", "type=local,src=dir", "h.example/app:1"];
        let to =
            ["type=registry,ref=h.example/c:main,mode=max", "type=local,dest=/d,ignore-error=false", "type=inline"];
        let caches = read(&from, &to, &[]).unwrap();
        assert!(caches.inline);
        let (from, to) = places(&caches);
        assert_eq!(from, ["registry:h.example/c", "registry:h.example/app:1", "local:/w/dir"]);
        assert_eq!(to, ["registry:h.example/c:main Max true", "local:/d Min false"]);
    }

    #[test]
    fn the_environment_counts_where_there_is_no_flag() {
        let variables =
            [("KILN_CACHE_FROM", "h.example/a\n type=local,src=/b"), ("KILN_CACHE_TO", "type=local,dest=/b,mode=max")];
        let (from, to) = places(&read(&[], &[], &variables).unwrap());
        assert_eq!((from.len(), to), (2, vec!["local:/b Max true".to_owned()]));
        let (from, _) = places(&read(&["h.example/c"], &[], &variables).unwrap());
        assert_eq!(from, ["registry:h.example/c"]);
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let refused = |from: &[&str], to: &[&str]| read(from, to, &[]).unwrap_err();
        assert!(refused(&["type=s3,bucket=b"], &[]).contains("--cache-from type=s3 is not supported yet"));
        assert!(refused(&[], &["type=gha"]).contains("--cache-to type=gha is not supported yet"));
        assert!(refused(&[], &["type=inline,mode=max"]).contains("mode=min"));
        assert!(
            refused(&[], &["type=registry,ref=h.example/c,compression=zstd"]).contains("ref, mode or ignore-error")
        );
        assert!(refused(&[], &["type=local"]).contains("needs dest="));
        assert!(refused(&["type=registri,ref=a"], &[]).contains("did you mean `registry`"));
        assert!(refused(&[&format!("h.example/c:{}", "t".repeat(60))], &[]).contains("at most"));
    }
}
