//! What a build reads before it plans: the Dockerfile, the ignore file, the contexts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::environment;
use super::root::{Root, read_text};
use super::store::Open;
use super::{
    BuildFailure, BuildRequest, Call, ContextSource, DockerfileSource, Entitlement, FailureKind, NamedContext, Network,
    NoCache,
};
use super::{platforms, remote};
use crate::context::{self, Ignore, Source, StatCache};
use crate::oci::Platform;
use crate::plan::{self, ImageSource, RunNetwork};
use crate::snapshot::Scratch;
use crate::source::SourceFile;

/// What was read.
pub(super) struct Loaded {
    pub(super) dockerfile: SourceFile,
    /// The build context under `None`, named directories under their names.
    pub(super) contexts: BTreeMap<Option<String>, Arc<Source>>,
    caches: Vec<Arc<StatCache>>,
    _scratch: Vec<Scratch>,
}

/// Reads what `request` names.
pub(super) async fn load(request: &BuildRequest, open: &Open) -> Result<Loaded, BuildFailure> {
    let mut scratch = Vec::new();
    let (root, alone) = main_root(request, open, &mut scratch).await?;
    let (dockerfile, beside) = match alone {
        Some(text) => (SourceFile::new("Dockerfile", text), None),
        None => dockerfile(request, open, &root).await?,
    };
    let mut loaded = Loaded { dockerfile, contexts: BTreeMap::new(), caches: Vec::new(), _scratch: scratch };
    let ignore = match beside {
        Some((name, text)) => parse_ignore(&name, &text)?,
        None => ignore_of(&root)?,
    };
    loaded.add(request, None, root, ignore);
    for (name, context) in &request.build_contexts {
        match context {
            NamedContext::Directory(path) => {
                let root = Root::directory(path)?;
                let ignore = ignore_of(&root)?;
                loaded.add(request, Some(name.clone()), root, ignore);
            }
            NamedContext::Image(_) | NamedContext::OciLayout { .. } => {}
            NamedContext::Git(url) => {
                let (root, made) = remote::git(open, url).await?;
                loaded._scratch.push(made);
                loaded.add(request, Some(name.clone()), root, Ignore::default());
            }
            NamedContext::Http(url) => {
                let (root, _, made) = remote::http(open, url).await?;
                loaded._scratch.push(made);
                loaded.add(request, Some(name.clone()), root, Ignore::default());
            }
        }
    }
    Ok(loaded)
}

impl Loaded {
    fn add(&mut self, request: &BuildRequest, name: Option<String>, root: Root, ignore: Ignore) {
        let mut source = Source::of_dir(root.dir, context::Origin::Context).with_ignore(ignore);
        if let Some(path) = root.path {
            let file = request.store.join("cache/stat").join(StatCache::file_name(&path));
            let cache = Arc::new(StatCache::open(&file, request.now));
            self.caches.push(cache.clone());
            source = source.with_cache(cache);
        }
        self.contexts.insert(name, Arc::new(source));
    }

    /// Writes what was learned of the context's files. A cache that cannot be written only makes the next build slower.
    pub(super) fn save_caches(&self) {
        for cache in &self.caches {
            let _ = cache.save();
        }
    }

    /// Returns SOURCE_DATE_EPOCH: the build argument, or else the environment's (rule 17.5).
    pub(super) fn source_date_epoch(&self, request: &BuildRequest) -> Result<Option<i64>, BuildFailure> {
        let given = request.build_args.iter().rev().find(|(name, _)| name == "SOURCE_DATE_EPOCH");
        match given {
            Some((_, text)) if !text.is_empty() => text.parse().map(Some).map_err(|_| {
                let message = format!("invalid SOURCE_DATE_EPOCH: {text}");
                let mut failure = BuildFailure::new(FailureKind::User, message);
                failure.help.push("give whole seconds since 1970, for example `$(git log -1 --format=%ct)`".to_owned());
                failure
            }),
            _ => Ok(request.source_date_epoch),
        }
    }

    /// Returns the part of the request that planning needs.
    pub(super) fn options(&self, request: &BuildRequest, platform: &Platform) -> Result<plan::Options, BuildFailure> {
        let named_contexts = request.build_contexts.iter().map(|(name, context)| {
            let kind = match context {
                NamedContext::Image(reference) => plan::NamedContext::Image(ImageSource::Reference(reference.clone())),
                NamedContext::OciLayout { .. } => plan::NamedContext::Image(ImageSource::Layout(name.clone())),
                NamedContext::Directory(_) | NamedContext::Git(_) | NamedContext::Http(_) => {
                    plan::NamedContext::Directory
                }
            };
            (name.clone(), kind)
        });
        Ok(plan::Options {
            target: request.target.clone(),
            every_stage: request.call == Call::Check && request.target.is_none(),
            build_args: request.build_args.iter().cloned().collect(),
            labels: request.labels.clone(),
            platform: platform.clone(),
            several_platforms: platforms::several(request)?,
            build_platform: Platform::host(),
            named_contexts: named_contexts.collect(),
            network: match request.network {
                Network::Default => RunNetwork::Default,
                Network::None => RunNetwork::None,
                Network::Host => RunNetwork::Host,
            },
            allow_network_host: request.allow.contains(&Entitlement::NetworkHost),
            allow_insecure: request.allow.contains(&Entitlement::SecurityInsecure),
            add_hosts: request.add_hosts.clone(),
            no_cache: match &request.no_cache {
                NoCache::Never => plan::NoCache::Never,
                NoCache::All => plan::NoCache::All,
                NoCache::Stages(names) => plan::NoCache::Stages(names.clone()),
            },
            source_date_epoch: self.source_date_epoch(request)?,
        })
    }
}

/// Opens the build context. A context fetched by HTTP may turn out to be a Dockerfile alone, which is then returned.
async fn main_root(
    request: &BuildRequest,
    open: &Open,
    scratch: &mut Vec<Scratch>,
) -> Result<(Root, Option<String>), BuildFailure> {
    let (root, alone, made) = match &request.context {
        ContextSource::Directory(path) => return Ok((Root::directory(path)?, None)),
        ContextSource::Empty => {
            let (root, made) = remote::empty(open)?;
            (root, None, made)
        }
        ContextSource::Tar(file) => {
            let file = file.try_clone().map_err(|error| environment("cannot read the context", &error))?;
            let (root, made) = remote::tar(open, file).await?;
            (root, None, made)
        }
        ContextSource::Git(url) => {
            let (root, made) = remote::git(open, url).await?;
            (root, None, made)
        }
        ContextSource::Http(url) => remote::http(open, url).await?,
    };
    scratch.push(made);
    Ok((root, alone))
}

/// An ignore file: its name and text.
type IgnoreText = Option<(String, Vec<u8>)>;

/// Returns the Dockerfile, and the ignore file that stands beside it and replaces the context's (rule 15.1).
async fn dockerfile(
    request: &BuildRequest,
    open: &Open,
    root: &Root,
) -> Result<(SourceFile, IgnoreText), BuildFailure> {
    match &request.dockerfile {
        DockerfileSource::Text { name, text } => Ok((SourceFile::new(name.clone(), text.clone()), None)),
        DockerfileSource::Http(url) => Ok((SourceFile::new(url.clone(), remote::text(open, url).await?), None)),
        DockerfileSource::File(path) => {
            let read = |path: &Path| File::open(path).and_then(read_text);
            let text = read(path).map_err(|error| missing(path, Some(error)))?;
            let ignore = with_suffix(path);
            let beside = read(&ignore).ok().map(|text| (ignore.display().to_string(), text));
            let name =
                path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
            Ok((SourceFile::new(name, text), beside))
        }
        DockerfileSource::InContext(path) => {
            let mut path = path.clone();
            let mut text = root.text(&path)?;
            // Rule 15.12.
            if text.is_none() && path == Path::new("Dockerfile") {
                path = PathBuf::from("dockerfile");
                text = root.text(&path)?;
            }
            let Some(text) = text else {
                return Err(if path == Path::new("dockerfile") {
                    missing(Path::new("Dockerfile"), None)
                } else {
                    missing(&path, None)
                });
            };
            let ignore = with_suffix(&path);
            let beside = root.text(&ignore)?.map(|text| (ignore.display().to_string(), text));
            Ok((SourceFile::new(path.display().to_string(), text), beside))
        }
    }
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".dockerignore");
    PathBuf::from(name)
}

fn missing(path: &Path, error: Option<io::Error>) -> BuildFailure {
    let cause = error.map_or_else(|| "no such file or directory".to_owned(), |error| error.to_string());
    let message = format!("failed to read dockerfile: open {}: {cause}", path.display());
    let mut failure = BuildFailure::new(FailureKind::User, message);
    failure.help.push("name the file with `-f FILE`, or the directory that holds it: `kiln build DIR`".to_owned());
    failure
}

fn ignore_of(root: &Root) -> Result<Ignore, BuildFailure> {
    match root.text(Path::new(".dockerignore"))? {
        Some(text) => parse_ignore(".dockerignore", &text),
        None => Ok(Ignore::default()),
    }
}

fn parse_ignore(name: &str, text: &[u8]) -> Result<Ignore, BuildFailure> {
    Ignore::parse(&String::from_utf8_lossy(text)).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|error| format!("{name}:{}: {error}", error.line())).collect();
        let mut lines = lines.into_iter();
        let mut failure = BuildFailure::new(FailureKind::User, lines.next().unwrap_or_default());
        failure.causes.extend(lines);
        failure
    })
}
