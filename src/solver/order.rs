//! Which of the steps that could start does: those that must be cached before all others, then what the build waits for longest.

use std::collections::BTreeMap;

use crate::ops::Worker;
use crate::plan::{Op, Step, StepGraph};

/// How long a step takes of which nothing is known, in milliseconds: a command, and anything else.
const UNKNOWN: (u64, u64) = (1000, 10);

pub(super) struct Order<'a> {
    graph: &'a StepGraph,
    worker: &'a Worker,
    inputs: &'a [Vec<usize>],
    /// How many steps that must be cached have not ended: others wait for them, so that nothing runs if one is not.
    required: usize,
    /// From the start of each step to the end of what needs it, in milliseconds. Empty until there is a choice.
    longest: Vec<u64>,
}

impl<'a> Order<'a> {
    pub(super) fn new(graph: &'a StepGraph, worker: &'a Worker, inputs: &'a [Vec<usize>]) -> Self {
        let required = graph.steps.iter().filter(|step| step.require_cached).count();
        Self { graph, worker, inputs, required, longest: Vec::new() }
    }

    /// Hears whether there are more steps than can start now: then it matters which.
    pub(super) fn look(&mut self, is_choice: bool) {
        if is_choice && self.longest.is_empty() {
            self.longest = longest(self.inputs, &self.durations());
        }
    }

    pub(super) fn may_start(&self, step: usize) -> bool {
        self.required == 0 || self.graph.steps[step].require_cached
    }

    pub(super) fn weight(&self, step: usize) -> u64 {
        self.longest.get(step).copied().unwrap_or(0)
    }

    pub(super) fn ended(&mut self, step: usize) {
        self.required -= usize::from(self.graph.steps[step].require_cached);
    }

    /// How long each step took when it was last done.
    fn durations(&self) -> Vec<u64> {
        let last = self.worker.journal.last(&self.worker.cache);
        let known: BTreeMap<&str, u64> = last
            .iter()
            .flat_map(|last| &last.steps)
            .filter_map(|step| Some((step.name.as_str(), step.milliseconds?)))
            .collect();
        let guess = |step: &Step| if matches!(step.op, Op::Run(_)) { UNKNOWN.0 } else { UNKNOWN.1 };
        self.graph.steps.iter().map(|step| known.get(&*step.name).copied().unwrap_or_else(|| guess(step))).collect()
    }
}

/// Returns for each step its duration and the longest of what follows it. Inputs come before the steps that need them.
fn longest(inputs: &[Vec<usize>], durations: &[u64]) -> Vec<u64> {
    let mut longest = durations.to_vec();
    let mut after = vec![0; durations.len()];
    for step in (0..durations.len()).rev() {
        longest[step] = durations[step].saturating_add(after[step]);
        for input in &inputs[step] {
            after[*input] = after[*input].max(longest[step]);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_weighs_what_waits_for_it() {
        let inputs = [vec![], vec![], vec![0], vec![1], vec![2, 3]];
        assert_eq!(longest(&inputs, &[1, 2, 100, 3, 10]), [111, 15, 110, 13, 10]);
        assert_eq!(longest(&[], &[]), [0; 0]);
    }
}
