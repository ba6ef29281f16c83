//! `--annotation [LEVEL[,LEVEL]:]KEY=VALUE`, and `annotation-LEVEL.KEY=VALUE` of `--output`.

use super::names;
use super::usage::{UsageError, did_you_mean};
use crate::builder::{Annotation, AnnotationLevel};
use crate::oci::Platform;

const ANNOTATION: &str = "--annotation";

/// Reads all `--annotation`; one with several levels becomes several.
pub(super) fn annotations(typed: &[String]) -> Result<Vec<Annotation>, UsageError> {
    let mut all = Vec::new();
    for text in typed {
        let malformed = || UsageError::malformed(ANNOTATION, text, "expected [LEVEL:]KEY=VALUE");
        let (head, value) = text.split_once('=').ok_or_else(malformed)?;
        // A key may hold colons itself, so what stands before the first one must be levels.
        let (levels, key) = match head.split_once(':') {
            Some((levels, key)) => (levels, key),
            None => ("manifest", head),
        };
        if key.is_empty() {
            return Err(malformed());
        }
        for part in levels.split(',') {
            let (level, platform) = level(ANNOTATION, text, part)?;
            all.push(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() });
        }
    }
    Ok(all)
}

/// Reads the key `annotation[-LEVEL][[PLATFORM]].KEY` of an output.
pub(super) fn of_output(flag: &'static str, key: &str, value: &str) -> Result<Annotation, UsageError> {
    let malformed = || UsageError::malformed(flag, key, "expected annotation[-LEVEL].KEY=VALUE");
    let rest = key.strip_prefix("annotation").ok_or_else(malformed)?;
    let (head, name) = rest.split_once('.').ok_or_else(malformed)?;
    let head = if head.starts_with('[') { format!("-manifest{head}") } else { head.to_owned() };
    let (level, platform) = level(flag, key, head.strip_prefix('-').unwrap_or("manifest"))?;
    Ok(Annotation { level, platform, key: name.to_owned(), value: value.to_owned() })
}

/// Reads `LEVEL` or `LEVEL[PLATFORM]`.
fn level(flag: &'static str, text: &str, part: &str) -> Result<(AnnotationLevel, Option<Platform>), UsageError> {
    let (word, platform) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
        Some((word, platform)) => (word, Some(names::platform(flag, platform)?)),
        None => (part, None),
    };
    let level = match word {
        "manifest" => AnnotationLevel::Manifest,
        "index" => AnnotationLevel::Index,
        "manifest-descriptor" => AnnotationLevel::ManifestDescriptor,
        "index-descriptor" => AnnotationLevel::IndexDescriptor,
        _ => {
            let near = did_you_mean(word, &["manifest", "index", "manifest-descriptor", "index-descriptor"]);
            let expected = format!(
                "unknown annotation level `{word}`: \
                 expected manifest, index, manifest-descriptor or index-descriptor{near}"
            );
            return Err(UsageError::malformed(flag, text, expected));
        }
    };
    Ok((level, platform))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match annotations(&[text.to_owned()]) {
            Ok(all) => {
                let one = |a: &Annotation| {
                    let platform = a.platform.as_ref().map(ToString::to_string);
                    format!("{:?} {platform:?} {}={}", a.level, a.key, a.value)
                };
                all.iter().map(one).collect::<Vec<_>>().join("; ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn levels_and_platforms() {
        assert_eq!(shown("a=b"), "Manifest None a=b");
        assert_eq!(shown("index,manifest:a=b=c"), "Index None a=b=c; Manifest None a=b=c");
        assert_eq!(shown("manifest[linux/amd64]:a="), "Manifest Some(\"linux/amd64\") a=");
        assert!(shown("manifst:a=b").contains("unknown annotation level `manifst`"));
        assert!(shown("a").contains("expected [LEVEL:]KEY=VALUE"));
        let one = of_output("--output", "annotation-index.a.b", "v").unwrap();
        assert_eq!((one.level, one.key.as_str()), (AnnotationLevel::Index, "a.b"));
        let one = of_output("--output", "annotation[linux/arm64].a", "v").unwrap();
        assert_eq!((one.level, one.platform), (AnnotationLevel::Manifest, Some(Platform::new("linux", "arm64", None))));
    }
}
