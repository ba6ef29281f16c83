//! Frontends: the image that `# syntax=` asks to read the file. kiln reads what `docker/dockerfile` reads, whatever its
//! tag, and runs no frontend; a file for another one has a meaning that kiln cannot know.

use std::ops::Range;

use crate::diag::Diagnostic;
use crate::source::{SourceId, Sources, Span};

use super::instruction::InstructionKind;
use super::{Parsed, directive};

/// Refuses a file for another frontend. `given` is the build argument BUILDKIT_SYNTAX, which counts instead of
/// what the file says.
pub fn check(sources: &Sources, id: SourceId, given: Option<&str>) -> Result<(), Diagnostic> {
    let text = sources.get(id).text();
    if let Some(given) = given {
        let name = first_word(given.trim());
        if is_built_in(name) {
            return Ok(());
        }
        let message = format!("failed with build-arg:BUILDKIT_SYNTAX = {given}: kiln cannot run the frontend `{name}`");
        return Err(Diagnostic::whole_file("frontend", message)
            .with_help(BUILT_IN)
            .with_help("leave the argument out"));
    }
    let Some((name, written)) = requested(text).filter(|(name, _)| !is_built_in(name)) else { return Ok(()) };
    let span = Span::new(id, written);
    let anyway = "if the file is an ordinary Dockerfile, leave the line out, \
        or build with `--build-arg BUILDKIT_SYNTAX=docker/dockerfile:1`";
    let error = Diagnostic::error("frontend", span, format!("kiln cannot run the frontend `{name}`"));
    Err(error.with_help(BUILT_IN).with_help(anyway))
}

/// Refuses devices in a file that does not ask for the labs build of the frontend, as that alone knows them. `given` is as
/// for [`check`].
pub fn check_devices(sources: &Sources, id: SourceId, given: Option<&str>, parsed: &mut Parsed) {
    let asked = requested(sources.get(id).text()).map(|(name, _)| name);
    let frontend = given.map(|given| first_word(given.trim()).to_owned()).or(asked).unwrap_or_default();
    if is_labs(&frontend) {
        return;
    }
    for instruction in &parsed.file.instructions {
        if let InstructionKind::Run(run) = &instruction.kind
            && let Some(device) = run.devices.first()
        {
            let message = "device feature is only supported in Dockerfile frontend 1.14.0-labs or later";
            let error = Diagnostic::error("unsupported-flag", device.span, message);
            parsed.diagnostics.push(error.with_help("begin the file with `# syntax=docker/dockerfile:1-labs`"));
        }
    }
    parsed.diagnostics.sort_by_key(|mistake| mistake.span.map(|span| span.start));
}

/// Whether the tag is of a labs build: `labs`, `1-labs`, `1.14.0-labs`.
fn is_labs(name: &str) -> bool {
    let tag = name.split('@').next().and_then(|name| name.rsplit('/').next()?.split_once(':'));
    tag.is_some_and(|(_, tag)| tag.split('-').any(|part| part == "labs"))
}

const BUILT_IN: &str = "the language of `docker/dockerfile` is built in, and is the only one";

fn first_word(value: &str) -> &str {
    value.split(' ').next().unwrap_or_default()
}

/// `docker/dockerfile` of any registry or mirror, with any tag and digest; its `-upstream` builds too.
fn is_built_in(name: &str) -> bool {
    let path = name.split('@').next().unwrap_or_default();
    let end = path.rfind(':').filter(|colon| !path[*colon..].contains('/')).unwrap_or(path.len());
    let mut parts = path[..end].rsplit('/');
    matches!(parts.next(), Some("dockerfile" | "dockerfile-upstream")) && parts.next() == Some("docker")
}

/// Finds the frontend that a text asks for, and where: in a directive `# syntax=`, else in `// syntax=`, else in a JSON
/// object. A first line `#!` may precede each.
fn requested(text: &str) -> Option<(String, Range<usize>)> {
    let (start, _) = directive::start(text);
    let directive = |comment| {
        let found = directive::known(text, start, comment).find(|directive| directive.name == "syntax")?;
        let name = first_word(&text[found.value.clone()]);
        Some((name.to_owned(), found.value.start..found.value.start + name.len()))
    };
    directive("#").or_else(|| directive("//")).or_else(|| {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text[start..]).ok()?;
        Some((object.get("syntax")?.as_str()?.to_owned(), start..start + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;

    #[track_caller]
    fn check_text(text: &str, given: Option<&str>, want: Option<(&str, &str)>) {
        let mut sources = Sources::default();
        let id = sources.add(SourceFile::new("Dockerfile", text));
        let got = check(&sources, id, given).err();
        let got = got.as_ref().map(|error| (&*error.message, error.span.map_or("", |span| sources.text(span))));
        assert_eq!(got, want, "{text}");
    }

    // language 2.6
    #[test]
    fn other_frontends_are_refused_wherever_they_are_asked_for() {
        let message = "kiln cannot run the frontend `a/b:1`";
        let refused = Some((message, "a/b:1"));
        check_text("# syntax=a/b:1\nFROM x", None, refused);
        check_text("\u{feff}#!/bin/x\n# escape=`\n# Syntax = a/b:1 more\nFROM x", None, refused);
        check_text("// syntax=a/b:1\nservice: x", None, refused);
        check_text("#!x\n{\"syntax\": \"a/b:1\"}", None, Some((message, "{")));
        for text in ["FROM x\n# syntax=a/b", "# other=x\n# syntax=a/b", "", "{}", "#!", "# syntax", "{\"syntax\": 1}"] {
            check_text(text, None, None);
        }
    }

    // language 2.6
    #[test]
    fn the_build_argument_counts_first() {
        check_text("# syntax=a/b:1\nFROM x", Some("docker/dockerfile:1"), None);
        let message = "failed with build-arg:BUILDKIT_SYNTAX = a/b c: kiln cannot run the frontend `a/b`";
        check_text("# syntax=docker/dockerfile:1\n", Some("a/b c"), Some((message, "")));
    }

    // language 2.6
    #[test]
    fn the_language_of_docker_dockerfile_is_built_in() {
        for name in [
            "docker/dockerfile",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile:1@sha256:00",
            "registry.example:5000/mirror/docker/dockerfile",
            "docker/dockerfile-upstream:master",
        ] {
            check_text(&format!("# syntax={name}\n"), None, None);
        }
        for name in ["dockerfile", "docker/dockerfiles", "docker/dockerfile/x", "x:docker/dockerfile-x"] {
            assert!(!is_built_in(name), "{name}");
        }
    }
}
