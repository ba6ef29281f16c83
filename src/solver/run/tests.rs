//! Graphs of COPY and WORKDIR steps, done for real in a store of their own. No step looks into a mounted filesystem,
//! so that this needs no privileges.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::cache::{DownloadCache, LocalCache};
use crate::content;
use crate::context::Source;
use crate::executor::{CancelFlag, Executor};
use crate::fsutil::Timestamp;
use crate::ops::{Fetcher, Settings};
use crate::plan::{CopyOp, CopySource, Op, Step, Tree, WorkdirOp};
use crate::progress::Sink;
use crate::registry;
use crate::snapshot::{Snapshots, Snapshotter};
use crate::source::{SourceId, Span};

/// Keeps what is told, a line each.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Sink for Lines {
    fn event(&self, event: Event) {
        let line = match event {
            Event::Started(id) => format!("{} starts", id.0),
            Event::Ended { id, outcome: Outcome::Failed(_) } => format!("{} failed", id.0),
            Event::Ended { id, outcome } => format!("{} {outcome:?}", id.0),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

/// A COPY of one heredoc with `--link`, so that nothing below needs to be looked at.
fn heredoc(name: &str, parent: Option<u32>) -> Op {
    let inline = CopySource::Inline { name: name.to_owned(), text: "text\n".to_owned() };
    copy(inline, parent)
}

/// A COPY of what the context does not have.
fn missing(parent: Option<u32>) -> Op {
    copy(CopySource::Path { path: "missing".to_owned(), span: Span::new(SourceId(0), 0..1) }, parent)
}

fn copy(source: CopySource, parent: Option<u32>) -> Op {
    Op::Copy(CopyOp {
        parent: parent.map(StepId),
        from: Tree::Context(None),
        sources: vec![source],
        destination: "/".to_owned(),
        chown: None,
        chmod: None,
        link: true,
        parents: false,
        exclude: Vec::new(),
        add: None,
    })
}

fn workdir(path: &str) -> Op {
    Op::Workdir(WorkdirOp { parent: None, path: path.to_owned(), user: String::new(), mtime_seconds: None })
}

/// What a graph gave, and what was told meanwhile.
struct Ended {
    result: Result<Vec<Arc<StepResult>>, SolveError>,
    lines: Vec<String>,
    canceled: bool,
}

/// Does the steps `ops`, `jobs` at once, in the store at `root`.
fn done(root: &Path, jobs: usize, ops: Vec<Op>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lines = Arc::new(Lines::default());
    let cancel = CancelFlag::new().unwrap();
    let context = root.join("context");
    std::fs::create_dir_all(&context).unwrap();
    let registry = registry::Client::new(registry::Settings::default());
    let fetcher = Fetcher {
        fetched: Default::default(),
        store: content::Store::open(root).unwrap(),
        snapshots: Snapshots::open(root, Snapshotter::Overlay, false).unwrap(),
        registry: registry.clone(),
        downloads: DownloadCache::open(root).unwrap(),
        secrets: BTreeMap::new(),
        agents: BTreeMap::new(),
        known_hosts: None,
    };
    let worker = Arc::new(Worker {
        store: content::Store::open(root).unwrap(),
        snapshots: Snapshots::open(root, Snapshotter::Overlay, false).unwrap(),
        cache: LocalCache::open(root).unwrap(),
        fetcher,
        registry,
        contexts: BTreeMap::from([(None, Arc::new(Source::context(&context).unwrap()))]),
        cache_mounts: root.join("mounts"),
        settings: Settings {
            created: "1970-01-01T00:00:00Z".to_owned(),
            time: Timestamp::from_seconds(0),
            epoch: None,
            resolv_conf: String::new(),
            isolation: crate::sandbox::Isolation::Namespaces,
            user_namespace: false,
            devices: Default::default(),
            device_directories: Vec::new(),
            limits: Default::default(),
        },
        executor: Executor::of_this_process(),
        sink: lines.clone(),
        cancel: cancel.clone(),
        busy: Default::default(),
        notices: Default::default(),
        followed: Default::default(),
        caches: crate::remotecache::Caches::none(),
        told: None,
        told_mount: None,
        journal: Default::default(),
    });
    let step = |(at, op)| Step {
        name: format!("step {at}"),
        span: Span::new(SourceId(0), 0..1),
        platform: None,
        ignore_cache: false,
        require_cached: false,
        op,
    };
    let graph = Arc::new(StepGraph { steps: ops.into_iter().enumerate().map(step).collect() });
    let result = runtime.block_on(solve(&graph, &worker, jobs, |step| VertexId(step.0), |_, _| ()));
    let lines = lines.0.lock().unwrap().clone();
    Ended { result, lines, canceled: cancel.is_cancelled() }
}

#[test]
fn steps_that_need_nothing_start_together_and_the_others_after_their_inputs() {
    let root = tempfile::tempdir().unwrap();
    let ops = vec![heredoc("a", None), workdir("/w"), heredoc("b", Some(0)), heredoc("c", Some(2))];
    let ended = done(root.path(), 4, ops);
    let results = ended.result.expect("all steps work");
    assert_eq!(results.iter().map(|result| result.layers.height()).collect::<Vec<_>>(), [1, 1, 2, 3]);
    assert_eq!(ended.lines[..2], ["0 starts", "1 starts"]);
    let at = |line: &str| ended.lines.iter().position(|found| found == line).expect(line);
    assert!(at("0 Done") < at("2 starts") && at("2 Done") < at("3 starts"), "{:?}", ended.lines);
    assert!(!ended.canceled);
}

#[test]
fn one_job_does_one_step_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let ended = done(root.path(), 1, vec![heredoc("a", None), heredoc("b", None)]);
    assert_eq!(ended.lines, ["0 starts", "0 Done", "1 starts", "1 Done"]);
}

#[test]
fn a_failure_stops_what_has_not_begun_and_keeps_what_is_done() {
    let root = tempfile::tempdir().unwrap();
    let ops = || vec![heredoc("a", None), missing(Some(0)), heredoc("b", Some(1)), heredoc("c", Some(2))];
    let ended = done(root.path(), 1, ops());
    assert!(matches!(ended.result, Err(SolveError::Step { step: StepId(1), .. })));
    assert_eq!(ended.lines, ["0 starts", "0 Done", "1 starts", "1 failed"]);
    assert!(ended.canceled, "a step beside it would go on");

    std::fs::write(root.path().join("context/missing"), "here now").unwrap();
    let again = done(root.path(), 1, ops());
    let results = again.result.expect("nothing is missing");
    assert_eq!(results.iter().map(|result| result.cached).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(again.lines[..2], ["0 starts", "0 Cached"]);
}
