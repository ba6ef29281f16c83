//! COPY and ADD as steps: key, look-up, and the layer on a miss. How files are chosen and laid out is `copy`.
//!
//! | fact of the key                                        | so that                                            |
//! |--------------------------------------------------------|----------------------------------------------------|
//! | `op`, `destination`, `chown`, `chmod`, `add`           | what is done with the files counts                 |
//! | `content`                                              | names, types, modes, owners, bytes; never times    |
//! | `remote`                                               | digest, time and name of a download; commit of a repository |
//! | `exclude`, only with a repository                      | which of its files are taken                       |
//! | `layers`                                               | where they land depends on what is below; not for `--link` |
//!
//! Files of another stage are first looked for by that stage's layers (`source-layers`, `source`), so that a step that
//! is cached needs no file of it; only when that misses are they read, and the content decides. So a stage
//! that ran again and made the same files keeps what comes after it in the cache.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::copy::{self, Along, CopyError, Former, LayerOptions, Request, Selected, Unpack, write_layer};
use super::follow::{Follower, NewLayer};
use super::layers::blocking;
use super::users::{numeric_owner, resolve_owner};
use super::worker::{Made, Next, layers_fact, on_top};
use super::{Inputs, OpError, StepResult, Worker, remote};
use crate::cache::{Key, KeySink, Keyed, Record, key_of};
use crate::context::{Ignore, Origin, Source};
use crate::digest::{ChainId, DiffId, to_hex};
use crate::fsutil::Timestamp;
use crate::plan::{CopyOp, CopySource, Step, Tree};
use crate::progress::VertexId;
use crate::source::Span;

/// Files are looked for in the former layer from this length of a tar on, in bytes.
const WORTH_A_FORMER: u64 = 256 * 1024;

/// From this length of a tar on, in bytes, it is stored by a thread of its own.
const WORTH_A_THREAD: u64 = 1024 * 1024;

/// What stands for the files in the key.
enum Files {
    Content { local: [u8; 32], remote: Vec<String> },
    Layers(Option<ChainId>),
}

struct Facts<'a> {
    op: &'a CopyOp,
    below: Option<ChainId>,
    files: Files,
}

impl Keyed for Facts<'_> {
    fn write_key(&self, sink: &mut dyn KeySink) {
        let op = self.op;
        sink.field("op", "copy/1");
        sink.field("destination", &op.destination);
        sink.field("chown", op.chown.as_deref().unwrap_or(""));
        sink.field("chmod", &op.chmod.as_ref().map(|chmod| format!("{chmod:?}")).unwrap_or_default());
        if let Some(add) = &op.add {
            sink.field("add", &format!("{:?}", add.unpack));
        }
        match &self.files {
            Files::Content { local, remote } => {
                sink.field("content", &to_hex(local));
                for identity in remote {
                    sink.field("remote", identity);
                }
                for pattern in op.exclude.iter().filter(|_| !remote.is_empty()) {
                    sink.field("exclude", pattern);
                }
            }
            Files::Layers(layers) => {
                layers_fact(sink, "source-layers", *layers);
                for source in &op.sources {
                    match source {
                        CopySource::Path { path, .. } | CopySource::InPlace { path, .. } => sink.field("source", path),
                        CopySource::Inline { name, text } => {
                            sink.field("inline", name);
                            sink.field("text", text);
                        }
                        CopySource::Url { .. } | CopySource::Git { .. } => {
                            unreachable!("ADD has no source of another stage")
                        }
                    }
                }
                sink.field("parents", yes_or_no(op.parents));
                for pattern in &op.exclude {
                    sink.field("exclude", pattern);
                }
            }
        }
        sink.field("link", yes_or_no(op.link));
        layers_fact(sink, "layers", self.below);
    }
}

/// A COPY whatever its files are: what it made last has most of what it makes next.
struct AnyFiles<'a> {
    context: String,
    op: &'a CopyOp,
}

impl Keyed for AnyFiles<'_> {
    fn write_key(&self, sink: &mut dyn KeySink) {
        sink.field("op", "former copy/1");
        sink.field("context", &self.context);
        sink.field("destination", &self.op.destination);
        for source in &self.op.sources {
            if let CopySource::Path { path, .. } | CopySource::InPlace { path, .. } = source {
                sink.field("source", path);
            }
        }
    }
}

fn yes_or_no(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// Copies, or finds that it was copied before.
pub(super) async fn perform(
    worker: &Arc<Worker>,
    op: &CopyOp,
    step: &Step,
    vertex: VertexId,
    inputs: &Inputs,
    leads_to_network: bool,
) -> Result<StepResult, OpError> {
    let layers_below = inputs.layers(op.parent);
    let below = layers_below.id().filter(|_| !op.link);
    let (source, by_layers) = match &op.from {
        Tree::Context(name) => (worker.context(name.as_deref()), None),
        Tree::Root(root) => {
            let layers = inputs.layers(*root);
            let facts = Facts { op, below, files: Files::Layers(layers.id()) };
            if let Some(record) = worker.recall(step, &facts).await {
                return Ok(on_top(&layers_below, &record, true));
            }
            let view = worker.view(&layers, vertex).await?;
            (Arc::new(Source::filesystem(view)), Some(facts))
        }
    };
    let context = source.cache.as_ref().map(|cache| cache.name());
    let any_files = context.map(|context| key_of(&AnyFiles { context, op }));
    let known = remote::ask_all(worker, op, vertex).await?;
    let (task_op, time) = (op.clone(), worker.settings.time);
    let chosen = blocking(move || choose(&task_op, &source, time)).await?;
    let remote = known.iter().map(remote::Remote::identity).collect();
    let files = Files::Content { local: copy::content_key(chosen.iter().flatten().flatten()), remote };
    let facts = Facts { op, below, files };
    let remember_layers = |record: &Record| match &by_layers {
        Some(by_layers) => worker.remember_again(step, by_layers, record),
        None => Ok(()),
    };
    if let Some(record) = worker.recall(step, &facts).await {
        remember_layers(&record)?;
        return Ok(on_top(&layers_below, &record, true));
    }
    let (chosen, what) = if worker.asks_why(step) {
        let (worker, op, step) = (worker.clone(), op.clone(), step.clone());
        blocking(move || Ok((changed(&worker, &op, &step, &chosen), chosen)))
            .await
            .map(|(what, chosen)| (chosen, what))?
    } else {
        (chosen, None)
    };
    let turn = match worker.missed((step, vertex), inputs, &[&facts], what).await? {
        Next::Do(turn) => turn,
        Next::Take(record) => {
            remember_layers(&record)?;
            return Ok(on_top(&layers_below, &record, true));
        }
    };
    let began = Instant::now();
    worker.connect_ahead(leads_to_network);
    let view = if op.link || op.parent.is_none() { None } else { Some(worker.view(&layers_below, vertex).await?) };
    let mut fetched = Vec::new();
    for remote in known {
        fetched.push(remote.fetch(worker, vertex).await?);
    }
    let (task_worker, task_op) = (worker.clone(), op.clone());
    // A command that follows will want to see it.
    let packed_on = leads_to_network.then(|| layers_below.id());
    let follower = worker.followed.get().filter(|followed| followed.steps.contains(&step.span));
    let follower = follower.map(|followed| followed.follower.clone());
    let wanted = Wanted { packed_on, any_files, follower };
    let made = blocking(move || {
        let selected = with_remote(chosen, &fetched, &task_op.exclude)?;
        make(&task_worker, &task_op, &selected, view.as_ref(), wanted)
    });
    let made = made.await?;
    let record = worker.remember(step, &facts, &made, began)?;
    remember_layers(&record)?;
    drop(turn);
    Ok(on_top(&layers_below, &record, false))
}

/// What a source gives; `None` for a remote one.
type Chosen = Option<Vec<Selected>>;

/// Selects what the sources name. Paths and remote sources keep their order; heredocs follow (rule 3.11).
fn choose(op: &CopyOp, source: &Source, time: Timestamp) -> Result<Vec<Chosen>, OpError> {
    let mut selected = Vec::new();
    let mut inline = Vec::new();
    for written in &op.sources {
        match written {
            CopySource::Path { path, span } => {
                let sources = [path.clone()];
                let request = Request { sources: &sources, exclude: &op.exclude, parents: op.parents };
                let found = copy::select(source, &request).map_err(|error| locate(error, source, path, *span))?;
                selected.push(Some(found));
            }
            CopySource::InPlace { path, span } => {
                let found = copy::select_in_place(source, path).map_err(|error| locate(error, source, path, *span))?;
                selected.push(Some(vec![found]));
            }
            CopySource::Inline { name, text } => inline.push(Selected::heredoc(name, text.as_bytes(), time)),
            CopySource::Url { .. } | CopySource::Git { .. } => selected.push(None),
        }
    }
    selected.push(Some(inline));
    Ok(selected)
}

/// What is not as it was when the same was last built.
fn changed(worker: &Worker, op: &CopyOp, step: &Step, chosen: &[Chosen]) -> Option<String> {
    let former = worker.journal.last(&worker.cache)?.step(&step.name)?.layer?;
    let tar = worker.store.open_unverified(&former.0).ok()?;
    let changes = copy::Changes { mode: op.chmod.is_some(), owner: op.chown.is_some() };
    copy::changed(chosen.iter().flatten().flatten(), &op.destination, changes, std::io::BufReader::new(tar))
}

/// Puts the remote sources, now local, where they belong.
fn with_remote(chosen: Vec<Chosen>, fetched: &[remote::Local], exclude: &[String]) -> Result<Vec<Selected>, OpError> {
    let mut fetched = fetched.iter();
    let mut selected = Vec::new();
    for source in chosen {
        match source {
            Some(local) => selected.extend(local),
            None => selected.extend(fetched.next().expect("every remote source was fetched").selected(exclude)?),
        }
    }
    Ok(selected)
}

/// What is done beside a layer that is worth it.
struct Wanted {
    /// It is packed, on top of this stack.
    packed_on: Option<Option<ChainId>>,
    /// By this key it is made out of the former one, and kept for the next.
    any_files: Option<Key>,
    /// Gets it while it is written.
    follower: Option<Arc<dyn Follower>>,
}

fn make(
    worker: &Worker,
    op: &CopyOp,
    selected: &[Selected],
    view: Option<&crate::fsutil::Dir>,
    wanted: Wanted,
) -> Result<Made, OpError> {
    let owner = match &op.chown {
        None => Ok(None),
        Some(owner) if op.link => numeric_owner(owner),
        Some(owner) => resolve_owner(view, owner),
    };
    let scratch = worker.snapshots.scratch()?;
    let options = LayerOptions {
        working_directory: "/",
        destination: &op.destination,
        owner: owner.map_err(|error| OpError::user("unknown-user", error.to_string()))?,
        mode: op.chmod.as_ref(),
        unpack: match op.add.as_ref().map(|add| add.unpack) {
            None | Some(Some(false)) => Unpack::Never,
            Some(None) => Unpack::Local,
            Some(Some(true)) => Unpack::All,
        },
        time: newest(selected).unwrap_or(worker.settings.time),
        scratch: scratch.fs(),
    };
    let estimate = copy::tar_length(selected);
    let any_files = wanted.any_files.filter(|_| estimate >= WORTH_A_FORMER);
    let former = any_files.as_ref().and_then(|key| worker.cache.former(key));
    let former = former.and_then(|layer| worker.store.open_unverified(&layer.0).ok()).map(Former::new);
    // Of a layer like the former one most is compressed already, and a command that follows does not have to wait for it.
    let mut blob = NewLayer::new(worker.store.ingest()?, wanted.follower.filter(|_| former.is_some()));
    let names = view.filter(|_| wanted.packed_on.is_some() && worker.snapshots.packs(estimate));
    let mut names = names.map(|view| worker.snapshots.begin_names(view)).transpose()?;
    let along = Along { names: names.as_mut(), former };
    let written = if estimate < WORTH_A_THREAD {
        write_layer(selected, view, &options, &mut blob, along)
    } else {
        copy::piped(&mut blob, |pipe| write_layer(selected, view, &options, pipe, along))
    };
    written.map_err(|error| explain(error, None))?;
    let (digest, length) = blob.commit()?;
    if let (Some(names), Some(below)) = (names, wanted.packed_on) {
        let chain = ChainId::on(below, DiffId(digest));
        worker.snapshots.pack_written(names, (&worker.store.path_of(&digest), length), chain)?;
    }
    if let Some(key) = &any_files {
        worker.cache.put_former(key, DiffId(digest))?;
    }
    Ok(Made { digest, length, peak_memory: None })
}

/// Puts an error at the source that it is about, and says so when the path as written was meant for another tree.
fn locate(error: CopyError, source: &Source, written: &str, span: Span) -> OpError {
    let mut error = explain(error, Some(span));
    if let OpError::NotFound { help, .. } = &mut error
        && source.origin == Origin::Context
    {
        if leads_out(written) {
            help.insert(0, "the build sees nothing above its context, so `..` stops at the top of it".to_owned());
            let other = "build from the directory above, or name it: `--build-context up=..` and `COPY --from=up`";
            help.insert(1, other.to_owned());
        } else if written.starts_with('/') && help.is_empty() {
            help.insert(0, "a source is looked for in the build context, also when it begins with `/`".to_owned());
        }
    }
    error
}

/// Whether `..` would leave the tree.
fn leads_out(path: &str) -> bool {
    let step = |depth: i64, part: &str| match part {
        "" | "." => depth,
        ".." => depth - 1,
        _ => depth + 1,
    };
    let mut depth = 0;
    path.split('/').any(|part| {
        depth = step(depth, part);
        depth < 0
    })
}

/// The time of directories that are made on the way: that of the newest thing copied, so that the layer depends on
/// nothing but what is copied (16.4).
fn newest(selected: &[Selected]) -> Option<Timestamp> {
    selected.iter().flat_map(Selected::times).max()
}

/// Turns an error of the copy room into one users understand, with help where there is any.
pub(super) fn explain(error: CopyError, span: Option<Span>) -> OpError {
    match &error {
        CopyError::NotFound { path, ignored_by, nearest } => {
            let ignored_at = ignored_by.as_ref().map(|(_, line)| *line);
            let mut help = Vec::new();
            if ignored_at.is_some() {
                help.push(format!("below that rule, the line `!{}` takes it back in", path.trim_start_matches('/')));
            }
            if !nearest.is_empty() {
                let quoted: Vec<String> = nearest.iter().map(|path| format!("`{path}`")).collect();
                help.push(format!("did you mean {}?", quoted.join(" or ")));
            }
            OpError::NotFound { path: path.clone(), ignored_at, help, span }
        }
        CopyError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            let help = "let whoever runs the build read it, or leave it out with a line in the ignore file";
            OpError::User {
                code: "unreadable-source",
                message: crate::diag::chain(&error),
                help: vec![help.to_owned()],
                span,
            }
        }
        CopyError::Io { .. } | CopyError::Write(_) => OpError::Layer(Box::new(error)),
        CopyError::Pattern { .. } | CopyError::Exclude(_) => {
            OpError::User { code: "pattern", message: error.to_string(), help: Vec::new(), span }
        }
        _ => OpError::User { code: "copy", message: error.to_string(), help: Vec::new(), span },
    }
}

/// A git tree that ADD copies: everything but what `exclude` names.
pub(super) fn whole_tree(path: &Path, exclude: &[String]) -> Result<Vec<Selected>, OpError> {
    let source = Source::context(path).map_err(OpError::io("open the fetched repository"))?;
    let source = source.with_ignore(Ignore::default());
    let sources = ["/".to_owned()];
    let request = Request { sources: &sources, exclude, parents: false };
    copy::select(&source, &request).map_err(|error| explain(error, None))
}

#[cfg(test)]
mod tests;
