//! What a build's steps come to be: remembered for the next build of the same, which so can say what is not as it was, and does
//! first what takes long.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::why::Explaining;
use crate::cache::{Key, LastBuild, LastStep, LocalCache};
use crate::plan::{Op, Step, StepGraph};

/// The steps of one build, as they are done or found.
#[derive(Default, Debug)]
pub struct Journal {
    /// What is built; `None` is something that nobody builds again.
    build: Option<Key>,
    explains: bool,
    last: OnceLock<Option<LastBuild>>,
    names: OnceLock<Vec<String>>,
    steps: Mutex<BTreeMap<String, LastStep>>,
    /// Some step was done, or came from another machine.
    is_new: AtomicBool,
}

impl Journal {
    /// Begins that of a build; `explains` says that every step that runs is to say why.
    pub fn new(build: Key, explains: bool) -> Self {
        Self { build: Some(build), explains, ..Self::default() }
    }

    /// Hears which steps there are.
    pub fn begin(&self, graph: &StepGraph) {
        if self.explains || graph.steps.iter().any(|step| step.require_cached) {
            let _ = self.names.set(graph.steps.iter().map(|step| step.name.clone()).collect());
        }
    }

    /// Whether every step that runs is to say why.
    pub(super) fn explains(&self) -> bool {
        self.explains
    }

    /// Notes a step that the cache has now, and whether it was not there before.
    pub(super) fn note(&self, step: LastStep, is_new: bool) {
        self.is_new.fetch_or(is_new, Ordering::Relaxed);
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.entry(step.name.clone()).or_insert(step);
    }

    /// Returns what the steps were when the same was last built.
    pub fn last(&self, cache: &LocalCache) -> Option<&LastBuild> {
        self.last.get_or_init(|| cache.last_build(self.build.as_ref()?)).as_ref()
    }

    pub(super) fn explaining(&self, cache: &LocalCache) -> Explaining<'_> {
        Explaining { names: self.names.get().map_or(&[], Vec::as_slice), last: self.last(cache) }
    }

    /// Writes down what the steps of `graph` are now, if anything was done. One that cannot be written is done without.
    pub fn end(&self, graph: &StepGraph, cache: &LocalCache) {
        if let Some(build) = self.build
            && self.is_new.load(Ordering::Relaxed)
        {
            let _ = cache.put_last_build(&build, &self.steps_of(graph, self.last(cache)));
        }
    }

    /// The steps as they are; of those that were not come to, what is known from `before`.
    fn steps_of(&self, graph: &StepGraph, before: Option<&LastBuild>) -> LastBuild {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let before: BTreeMap<&str, &LastStep> =
            before.iter().flat_map(|last| &last.steps).map(|step| (step.name.as_str(), step)).collect();
        let of = |step: &Step| match &step.op {
            Op::Image(_) => Some(LastStep::of_image(&step.name)),
            _ => steps.get(&step.name).or_else(|| before.get(step.name.as_str()).copied()).cloned(),
        };
        LastBuild { steps: graph.steps.iter().filter_map(of).collect() }
    }
}
