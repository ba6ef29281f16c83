//! Where files come from: the positional argument, `--file` and `--build-context`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::environment::{self, Environment, PathKind, StdinContext};
use super::names;
use super::usage::UsageError;
use crate::builder::{ContextSource, DockerfileSource, NamedContext};
use crate::context::GitAddress;

/// The name of a Dockerfile that has no other.
const DOCKERFILE: &str = "Dockerfile";

/// Resolves the positional argument and `--file`.
pub(super) fn context_and_dockerfile(
    context: &str,
    file: Option<&str>,
    environment: &Environment,
) -> Result<(ContextSource, DockerfileSource), UsageError> {
    match (context, file) {
        ("-", Some("-")) => Err(UsageError::StdinTwice),
        ("-", _) => from_stdin(file),
        (_, Some("-")) => {
            let context = located(context, environment)?;
            Ok((context, DockerfileSource::Text { name: DOCKERFILE.to_owned(), text: environment::stdin_text()? }))
        }
        _ => {
            let context = located(context, environment)?;
            let dockerfile = dockerfile(file, &context, environment);
            Ok((context, dockerfile))
        }
    }
}

fn from_stdin(file: Option<&str>) -> Result<(ContextSource, DockerfileSource), UsageError> {
    match (environment::stdin_context()?, file) {
        (StdinContext::Tar(tar), _) => Ok((ContextSource::Tar(tar), in_context(file.unwrap_or(DOCKERFILE)))),
        (StdinContext::Dockerfile(_), Some(_)) => Err(UsageError::TwoDockerfiles),
        (StdinContext::Dockerfile(text), None) => {
            Ok((ContextSource::Empty, DockerfileSource::Text { name: DOCKERFILE.to_owned(), text }))
        }
    }
}

/// A directory or an archive comes before a URL of the same spelling, as with docker.
fn located(context: &str, environment: &Environment) -> Result<ContextSource, UsageError> {
    let path = environment.absolute(context);
    match environment::kind_of(&path) {
        Ok(PathKind::Directory) if !context.is_empty() => return Ok(ContextSource::Directory(path)),
        Ok(PathKind::File) => return archive(context, &path),
        _ => {}
    }
    if is_git(context) {
        return Ok(ContextSource::Git(context.to_owned()));
    }
    if is_http(context) {
        return Ok(ContextSource::Http(context.to_owned()));
    }
    Err(UsageError::NoContext { path: context.to_owned() })
}

fn archive(context: &str, path: &Path) -> Result<ContextSource, UsageError> {
    let opened = environment::archive(path);
    let opened = opened.map_err(|source| UsageError::ContextUnreadable { path: path.to_owned(), source })?;
    opened.map(ContextSource::Tar).ok_or_else(|| UsageError::NoArchive { path: context.to_owned() })
}

/// Whether the context is fetched by ssh, for which buildx gives the build the agent without being asked.
pub(super) fn is_by_ssh(context: &ContextSource) -> bool {
    let ContextSource::Git(url) = context else { return false };
    GitAddress::parse_context(url).is_ok_and(|address| address.is_some_and(|address| address.is_ssh()))
}

/// `--file` is looked up from the working directory for a local context, else inside the context; an absolute path is
/// this machine's with a repository or a URL.
fn dockerfile(file: Option<&str>, context: &ContextSource, environment: &Environment) -> DockerfileSource {
    use ContextSource::{Directory, Git, Http};
    match (file, context) {
        (None | Some(""), _) => in_context(DOCKERFILE),
        (Some(url), _) if is_http(url) => DockerfileSource::Http(url.to_owned()),
        (Some(path), Directory(_)) => DockerfileSource::File(environment.absolute(path)),
        (Some(path), Git(_) | Http(_)) if path.starts_with('/') => DockerfileSource::File(PathBuf::from(path)),
        (Some(path), _) => in_context(path),
    }
}

fn in_context(path: &str) -> DockerfileSource {
    DockerfileSource::InContext(PathBuf::from(path))
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// `github.com/owner/name` is a repository too where a context is meant.
fn is_git(text: &str) -> bool {
    text.starts_with("github.com/") || GitAddress::is_address(text)
}

/// Reads all `--build-context NAME=SOURCE`.
pub(super) fn named_contexts(
    typed: &[String],
    environment: &Environment,
) -> Result<BTreeMap<String, NamedContext>, UsageError> {
    typed.iter().map(|text| named_context(text, environment)).collect()
}

const BUILD_CONTEXT: &str = "--build-context";

fn named_context(text: &str, environment: &Environment) -> Result<(String, NamedContext), UsageError> {
    let malformed = |expected: &str| UsageError::malformed(BUILD_CONTEXT, text, expected);
    let (name, source) = text.split_once('=').ok_or_else(|| malformed("expected NAME=SOURCE"))?;
    if name.is_empty() || source.is_empty() {
        return Err(malformed("expected NAME=SOURCE"));
    }
    let context = if let Some(reference) = source.strip_prefix("docker-image://") {
        NamedContext::Image(names::reference(BUILD_CONTEXT, reference)?)
    } else if let Some(layout) = source.strip_prefix("oci-layout://") {
        oci_layout(layout, environment)
    } else if let Some(stage) = source.strip_prefix("target:") {
        NamedContext::Target(stage.to_lowercase())
    } else if is_git(source) {
        NamedContext::Git(source.to_owned())
    } else if is_http(source) {
        NamedContext::Http(source.to_owned())
    } else {
        let path = environment.absolute(source);
        let kind = environment::kind_of(&path).map_err(|source| UsageError::Unreadable {
            flag: BUILD_CONTEXT,
            path: path.clone(),
            source,
        })?;
        if kind != PathKind::Directory {
            return Err(malformed("not a directory"));
        }
        NamedContext::Directory(path)
    };
    Ok((names::context_name(name), context))
}

/// `DIR`, `DIR:TAG`, `DIR@DIGEST` or `DIR:TAG@DIGEST`.
fn oci_layout(layout: &str, environment: &Environment) -> NamedContext {
    let (rest, digest) = match layout.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (layout, None),
    };
    // A colon before a slash is part of a directory's name.
    let (directory, tag) = match rest.rsplit_once(':') {
        Some((directory, tag)) if !tag.contains('/') => (directory, Some(tag)),
        _ => (rest, None),
    };
    let reference = match (tag, digest) {
        (None, None) => None,
        (tag, Some(digest)) => Some(format!("{}@{digest}", tag.unwrap_or(""))),
        (Some(tag), None) => Some(tag.to_owned()),
    };
    NamedContext::OciLayout { path: environment.absolute(directory), reference }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_resolved() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("ctx")).unwrap();
        std::fs::write(scratch.path().join("file"), "").unwrap();
        let environment = Environment { directory: scratch.path().to_owned(), ..Environment::default() };
        let shown = |context: &str, file: Option<&str>| match context_and_dockerfile(context, file, &environment) {
            Ok((context, dockerfile)) => format!("{context:?} {dockerfile:?}"),
            Err(error) => error.to_string(),
        };
        let base = scratch.path().display().to_string();
        assert_eq!(shown("ctx", None), format!("Directory(\"{base}/ctx\") InContext(\"Dockerfile\")"));
        assert_eq!(shown("ctx", Some("D")), format!("Directory(\"{base}/ctx\") File(\"{base}/D\")"));
        assert_eq!(shown("ctx", Some("http://h/D")), format!("Directory(\"{base}/ctx\") Http(\"http://h/D\")"));
        assert_eq!(shown("http://h/c.tar", Some("/D")), "Http(\"http://h/c.tar\") File(\"/D\")");
        assert_eq!(shown("github.com/a/b", None), "Git(\"github.com/a/b\") InContext(\"Dockerfile\")");
        assert_eq!(shown("file", None), "unable to prepare context: `file` is neither a directory nor a tar archive");
        assert_eq!(shown("http://h/c.tar", Some("D")), "Http(\"http://h/c.tar\") InContext(\"D\")");
        assert_eq!(shown("git@h:r.git#x", None), "Git(\"git@h:r.git#x\") InContext(\"Dockerfile\")");
        assert_eq!(shown("nowhere", None), "unable to prepare context: path `nowhere` not found");
        assert_eq!(shown("-", Some("-")), UsageError::StdinTwice.to_string());

        let named = |text: &str| match named_context(text, &environment) {
            Ok((name, context)) => format!("{name} {context:?}").replace(&base, "."),
            Err(error) => error.to_string().replace(&base, "."),
        };
        assert_eq!(named("a=ctx"), "a Directory(\"./ctx\")");
        assert!(named("a=docker-image://alpine").starts_with("a Image(Reference { domain: \"docker.io\""));
        assert!(named("docker.io/library/alpine:latest=ctx").starts_with("alpine Directory("));
        assert_eq!(named("a=oci-layout://l"), "a OciLayout { path: \"./l\", reference: None }");
        assert_eq!(named("a=oci-layout:///x:1/l:t"), "a OciLayout { path: \"/x:1/l\", reference: Some(\"t\") }");
        assert_eq!(named("a=oci-layout://l@sha256:0"), "a OciLayout { path: \"./l\", reference: Some(\"@sha256:0\") }");
        assert_eq!(named("a=target:Built"), "a Target(\"built\")");
        assert_eq!(named("a=http://h/c.tar"), "a Http(\"http://h/c.tar\")");
        assert_eq!(named("a=file"), "invalid value `a=file` for --build-context: not a directory");
        assert_eq!(named("a"), "invalid value `a` for --build-context: expected NAME=SOURCE");
        assert_eq!(named("a=none"), "cannot read `./none` for --build-context");
    }
}
