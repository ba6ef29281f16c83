//! What a build reads before it plans: the Dockerfile, the ignore file, the contexts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::access::Access;
use super::failure::{diagnostics, environment};
use super::root::{Root, read_text};
use super::store::Open;
use super::vertices::Vertices;
use super::{
    BuildFailure, BuildRequest, Call, ContextSource, DockerfileSource, Entitlement, FailureKind, NamedContext, Network,
    Which,
};
use super::{platforms, remote};
use crate::context::{self, Ignore, Source, StatCache, without_credentials};
use crate::diag::{Diagnostic, nearest};
use crate::oci::Platform;
use crate::plan::{self, ImageSource, RunNetwork};
use crate::progress::VertexId;
use crate::snapshot::Scratch;
use crate::source::{SourceFile, SourceId, Sources, Span};

/// What was read.
pub(super) struct Loaded {
    /// The vertex under which the Dockerfile was read.
    pub(super) definition: VertexId,
    pub(super) dockerfile: SourceFile,
    /// The build context under `None`, named directories under their names.
    pub(super) contexts: BTreeMap<Option<String>, Arc<Source>>,
    /// The ignore files that were read, by the name of their context.
    ignore_files: BTreeMap<Option<String>, SourceFile>,
    caches: Vec<Arc<StatCache>>,
    _scratch: Vec<Scratch>,
}

/// Reads what `request` names.
pub(super) async fn load(
    request: &BuildRequest,
    open: &Open,
    access: &Access,
    vertices: &Vertices,
) -> Result<Loaded, BuildFailure> {
    let mut scratch = Vec::new();
    let (root, alone) = main_root(request, open, access, &mut scratch).await?;
    let name = format!("[internal] load build definition from {}", dockerfile_name(request));
    let read = vertices.show(name, async |id| {
        let (dockerfile, beside) = dockerfile(request, access, &root, alone).await?;
        vertices.transferred(id, "transferring dockerfile:", dockerfile.text().len());
        Ok::<_, BuildFailure>((id, dockerfile, beside))
    });
    let (definition, dockerfile, beside) = read.await?;
    let (contexts, ignore_files) = (BTreeMap::new(), BTreeMap::new());
    let mut loaded = Loaded { definition, dockerfile, contexts, ignore_files, caches: Vec::new(), _scratch: scratch };
    let ignore = match (beside, &request.context) {
        // Rule 15.11: only directories leave files out.
        (_, ContextSource::Git(_) | ContextSource::Http(_) | ContextSource::Tar(_)) => None,
        (Some(file), _) => Some(file),
        (None, _) => {
            let read = vertices.show("[internal] load .dockerignore".to_owned(), async |id| {
                let file = ignore_file(&root)?;
                vertices.transferred(id, "transferring context:", file.as_ref().map_or(0, |file| file.text().len()));
                Ok::<_, BuildFailure>(file)
            });
            read.await?
        }
    };
    loaded.add(request, None, root, ignore)?;
    for (name, context) in &request.build_contexts {
        match context {
            NamedContext::Directory(path) => {
                let root = Root::directory(path)?;
                let ignore = ignore_file(&root)?;
                loaded.add(request, Some(name.clone()), root, ignore)?;
            }
            NamedContext::Image(_) | NamedContext::OciLayout { .. } | NamedContext::Target(_) => {}
            NamedContext::Git(url) => {
                let (root, made) = remote::git(request, access, url, false).await?;
                loaded._scratch.push(made);
                loaded.add(request, Some(name.clone()), root, None)?;
            }
            NamedContext::Http(url) => {
                let (root, made) = remote::http_file(open, access, url).await?;
                loaded._scratch.push(made);
                loaded.add(request, Some(name.clone()), root, None)?;
            }
        }
    }
    Ok(loaded)
}

impl Loaded {
    fn add(
        &mut self,
        request: &BuildRequest,
        name: Option<String>,
        root: Root,
        file: Option<SourceFile>,
    ) -> Result<(), BuildFailure> {
        let ignore = file.as_ref().map(parse_ignore).transpose()?.unwrap_or_default();
        self.ignore_files.extend(file.map(|file| (name.clone(), file)));
        let mut source = Source::of_dir(root.dir, context::Origin::Context).with_ignore(ignore);
        if let Some(path) = root.path {
            let file = request.store.join("cache/stat").join(StatCache::file_name(&path));
            let cache = Arc::new(StatCache::open(&file, request.now));
            self.caches.push(cache.clone());
            source = source.with_cache(cache);
        }
        self.contexts.insert(name, Arc::new(source));
        Ok(())
    }

    /// Returns the texts that diagnostics may point into: the Dockerfile, which is the first, and the ignore files.
    pub(super) fn sources(&self) -> (Sources, SourceId) {
        let mut sources = Sources::default();
        let main = sources.add(self.dockerfile.clone());
        for file in self.ignore_files.values() {
            sources.add(file.clone());
        }
        (sources, main)
    }

    /// Returns where a rule of a context's ignore file stands in [`Self::sources`].
    pub(super) fn ignore_rule(&self, context: Option<&String>, line: usize) -> Option<Span> {
        let mut files = (1..).map(SourceId).zip(&self.ignore_files);
        let (id, (_, file)) = files.find(|(_, (name, _))| name.as_ref() == context)?;
        Some(file.span_of_line(id, u32::try_from(line).ok()?))
    }

    /// Writes what was learned of the context's files. A cache that cannot be written only makes the next build slower.
    pub(super) fn save_caches(&self) {
        for cache in &self.caches {
            let _ = cache.save();
        }
    }

    /// Returns the part of the request that planning needs, but for what SOURCE_DATE_EPOCH comes to.
    pub(super) fn options(&self, request: &BuildRequest, platform: &Platform) -> Result<plan::Options, BuildFailure> {
        let named_contexts = request.build_contexts.iter().map(|(name, context)| {
            let kind = match context {
                NamedContext::Image(reference) => plan::NamedContext::Image(ImageSource::Reference(reference.clone())),
                NamedContext::OciLayout { .. } => plan::NamedContext::Image(ImageSource::Layout(name.clone())),
                NamedContext::Target(stage) => plan::NamedContext::Target(stage.clone()),
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
            devices: request.devices.clone(),
            add_hosts: request.add_hosts.clone(),
            no_cache: which(&request.no_cache),
            require_cached: which(&request.require_cached),
            ignore: self.contexts.get(&None).and_then(|source| source.ignore.clone()),
            source_date_epoch: None,
        })
    }
}

fn which(steps: &Which) -> plan::Which {
    match steps {
        Which::None => plan::Which::None,
        Which::All => plan::Which::All,
        Which::Stages(names) => plan::Which::Stages(names.clone()),
    }
}

/// Opens the build context; true if it is a file behind HTTP that is no archive, and so a Dockerfile alone.
async fn main_root(
    request: &BuildRequest,
    open: &Open,
    access: &Access,
    scratch: &mut Vec<Scratch>,
) -> Result<(Root, bool), BuildFailure> {
    let (root, made, alone) = match &request.context {
        ContextSource::Directory(path) => return Ok((Root::directory(path)?, false)),
        ContextSource::Empty => {
            let (root, made) = remote::empty(open)?;
            (root, made, false)
        }
        ContextSource::Tar(file) => {
            let file = file.try_clone().map_err(|error| environment("cannot read the context", &error))?;
            let (root, made) = remote::tar(open, file).await?;
            (root, made, false)
        }
        ContextSource::Git(url) => {
            let (root, made) = remote::git(request, access, url, true).await?;
            (root, made, false)
        }
        ContextSource::Http(url) => remote::http(open, access, url).await?,
    };
    scratch.push(made);
    Ok((root, alone))
}

/// Returns what the Dockerfile is called before it is read.
fn dockerfile_name(request: &BuildRequest) -> String {
    match &request.dockerfile {
        DockerfileSource::Text { name, .. } => name.clone(),
        DockerfileSource::Http(url) => without_credentials(url),
        DockerfileSource::File(path) => file_name(path),
        DockerfileSource::InContext(path) => path.display().to_string(),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Returns the Dockerfile, and the ignore file that stands beside it and replaces the context's (rule 15.1).
async fn dockerfile(
    request: &BuildRequest,
    access: &Access,
    root: &Root,
    alone: bool,
) -> Result<(SourceFile, Option<SourceFile>), BuildFailure> {
    match &request.dockerfile {
        DockerfileSource::Text { name, text } => Ok((SourceFile::new(name.clone(), text.clone()), None)),
        DockerfileSource::Http(url) => {
            Ok((SourceFile::new(without_credentials(url), remote::text(access, url).await?), None))
        }
        DockerfileSource::File(path) => {
            let read = |path: &Path| File::open(path).and_then(read_text);
            let text = read(path).map_err(|error| {
                let beside = path.parent().and_then(|directory| Root::directory(directory).ok());
                missing(path, Some(error), &beside.map(|root| root.names(Path::new(""))).unwrap_or_default())
            })?;
            let ignore = with_suffix(path);
            let beside = read(&ignore).ok().map(|text| SourceFile::new(file_name(&ignore), text));
            Ok((SourceFile::new(file_name(path), text), beside))
        }
        DockerfileSource::InContext(path) => {
            let mut path = if alone { PathBuf::from(remote::ALONE) } else { path.clone() };
            let mut text = root.text(&path)?;
            // Rule 15.12.
            if text.is_none() && path == Path::new("Dockerfile") {
                path = PathBuf::from("dockerfile");
                text = root.text(&path)?;
            }
            let Some(text) = text else {
                let path = if path == Path::new("dockerfile") { PathBuf::from("Dockerfile") } else { path };
                let names = root.names(path.parent().unwrap_or(Path::new("")));
                return Err(missing(&path, None, &names));
            };
            let ignore = with_suffix(&path);
            let beside = root.text(&ignore)?.map(|text| SourceFile::new(ignore.display().to_string(), text));
            Ok((SourceFile::new(path.display().to_string(), text), beside))
        }
    }
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".dockerignore");
    PathBuf::from(name)
}

/// Says that there is no Dockerfile at `path`; `names` are those beside it.
fn missing(path: &Path, error: Option<io::Error>, names: &[String]) -> BuildFailure {
    let cause = error.map_or_else(|| "no such file or directory".to_owned(), |error| error.to_string());
    let message = format!("failed to read dockerfile: open {}: {cause}", path.display());
    let mut failure = BuildFailure::new(FailureKind::User, message).with_code("no-dockerfile");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some(near) = nearest(&name, names.iter().map(String::as_str)) {
        let flag = path.with_file_name(near);
        failure.help.push(format!("did you mean `-f {}`?", flag.display()));
    }
    failure.help.push("name the file with `-f FILE`, or the directory that holds it: `kiln build DIR`".to_owned());
    failure
}

fn ignore_file(root: &Root) -> Result<Option<SourceFile>, BuildFailure> {
    let text = root.text(Path::new(".dockerignore"))?;
    Ok(text.map(|text| SourceFile::new(".dockerignore", text)))
}

fn parse_ignore(file: &SourceFile) -> Result<Ignore, BuildFailure> {
    Ignore::parse(file.text()).map_err(|errors| {
        let mut sources = Sources::default();
        let id = sources.add(file.clone());
        let mistake = |error: &context::IgnoreError| {
            let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
            Diagnostic::error("ignore-file", file.span_of_line(id, line), error.to_string())
        };
        let mut failure = diagnostics(errors.iter().map(mistake).collect());
        failure.message = format!("error reading {}: {}", file.name(), failure.message);
        BuildFailure { sources, ..failure }
    })
}
