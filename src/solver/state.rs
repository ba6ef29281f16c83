//! The engine without IO: which step may run next, and what its end means for the others.
//!
//! One enum says where a step stands, one function changes it. Steps are numbered so that inputs come before
//! the steps that need them, which `plan` guarantees.
//!
//! ```text
//! Waiting -> Ready -> Running -> Done
//!    \         \         \-----> Failed
//!     \---------\--------------> Canceled   (after the first failure, or when the user stops the build)
//! ```

/// Where a step stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StepState {
    /// Needs this many more inputs.
    Waiting(usize),
    /// May run.
    Ready,
    /// Handed out by [`Engine::start_next`].
    Running,
    /// Ended well.
    Done,
    /// Ended badly.
    Failed,
    /// Will not run, or was stopped.
    Canceled,
}

/// How a running step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Completion {
    /// Its result is there.
    Done,
    /// It failed by itself.
    Failed,
    /// It was stopped because the build is.
    Canceled,
}

/// The states of all steps of a build.
#[derive(Debug)]
pub(super) struct Engine {
    states: Vec<StepState>,
    dependents: Vec<Vec<usize>>,
    ready: std::collections::BTreeSet<usize>,
    stopped: bool,
}

impl Engine {
    /// Takes the inputs of each step by index. An input named twice counts once.
    ///
    /// # Panics
    /// If a step names itself or a later one as its input: plans never do.
    pub(super) fn new(inputs: &[Vec<usize>]) -> Self {
        let mut dependents = vec![Vec::new(); inputs.len()];
        let mut engine = Self {
            states: Vec::with_capacity(inputs.len()),
            dependents: Vec::new(),
            ready: std::collections::BTreeSet::new(),
            stopped: false,
        };
        for (step, needs) in inputs.iter().enumerate() {
            let needs: std::collections::BTreeSet<usize> = needs.iter().copied().collect();
            for input in &needs {
                assert!(*input < step, "inputs come before the steps that need them");
                dependents[*input].push(step);
            }
            engine.states.push(StepState::Waiting(needs.len()));
        }
        engine.dependents = dependents;
        for step in 0..inputs.len() {
            if engine.states[step] == StepState::Waiting(0) {
                engine.set(step, StepState::Ready);
            }
        }
        engine
    }

    /// Hands out a ready step that `may` be started, if any: the one with the most `weight`, and of those the lowest number.
    pub(super) fn start_next(&mut self, may: impl Fn(usize) -> bool, weight: impl Fn(usize) -> u64) -> Option<usize> {
        let ready = self.ready.iter().copied().filter(|step| may(*step));
        let step = ready.max_by_key(|step| (weight(*step), std::cmp::Reverse(*step)))?;
        self.set(step, StepState::Running);
        Some(step)
    }

    /// Returns how many steps are ready.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Takes the end of a running step. After a failure nothing new becomes ready.
    pub(super) fn complete(&mut self, step: usize, completion: Completion) {
        assert_eq!(self.states[step], StepState::Running, "only a running step ends");
        match completion {
            Completion::Done => {
                self.set(step, StepState::Done);
                if !self.stopped {
                    for dependent in self.dependents[step].clone() {
                        self.input_arrived(dependent);
                    }
                }
            }
            Completion::Failed => {
                self.set(step, StepState::Failed);
                self.stop();
            }
            Completion::Canceled => {
                self.set(step, StepState::Canceled);
                self.stop();
            }
        }
    }

    /// Cancels everything that does not run yet.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        for step in 0..self.states.len() {
            if matches!(self.states[step], StepState::Waiting(_) | StepState::Ready) {
                self.set(step, StepState::Canceled);
            }
        }
    }

    /// Whether nothing runs and nothing can start.
    #[cfg(test)]
    pub(super) fn is_over(&self) -> bool {
        self.ready.is_empty() && !self.states.contains(&StepState::Running)
    }

    /// Returns where a step stands.
    #[cfg(test)]
    pub(super) fn state(&self, step: usize) -> StepState {
        self.states[step]
    }

    fn input_arrived(&mut self, step: usize) {
        match self.states[step] {
            StepState::Waiting(1) => self.set(step, StepState::Ready),
            StepState::Waiting(more) => self.set(step, StepState::Waiting(more - 1)),
            _ => {}
        }
    }

    /// The only place where a state changes, so counters and the queue cannot disagree with the states.
    fn set(&mut self, step: usize, to: StepState) {
        if to == StepState::Ready {
            self.ready.insert(step);
        } else {
            self.ready.remove(&step);
        }
        self.states[step] = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(engine: &mut Engine) -> Option<usize> {
        engine.start_next(|_| true, |_| 0)
    }

    #[test]
    fn what_weighs_most_starts_first_if_it_may() {
        let mut engine = Engine::new(&[vec![], vec![], vec![], vec![]]);
        let weights = [1, 5, 9, 5];
        let mut start = |not: usize| engine.start_next(|step| step != not, |step| weights[step]);
        assert_eq!([start(2), start(9), start(9), start(0), start(9)], [Some(1), Some(2), Some(3), None, Some(0)]);
    }
    use proptest::prelude::*;

    fn diamond() -> Engine {
        Engine::new(&[vec![], vec![0], vec![0], vec![1, 2, 1]])
    }

    #[test]
    fn independent_steps_run_side_by_side() {
        let mut engine = diamond();
        assert_eq!(next(&mut engine), Some(0));
        assert_eq!(next(&mut engine), None);
        engine.complete(0, Completion::Done);
        assert_eq!((next(&mut engine), next(&mut engine), next(&mut engine)), (Some(1), Some(2), None));
        engine.complete(2, Completion::Done);
        assert_eq!(next(&mut engine), None);
        engine.complete(1, Completion::Done);
        assert_eq!(next(&mut engine), Some(3));
        engine.complete(3, Completion::Done);
        assert!(engine.is_over());
    }

    #[test]
    fn a_failure_cancels_what_waits_and_lets_the_running_end() {
        let mut engine = diamond();
        next(&mut engine);
        engine.complete(0, Completion::Done);
        next(&mut engine);
        next(&mut engine);
        engine.complete(1, Completion::Failed);
        assert!(!engine.is_over());
        engine.complete(2, Completion::Done);
        assert!(engine.is_over());
        assert_eq!(engine.state(3), StepState::Canceled);
    }

    proptest! {
        /// On any graph, with any failures: every step is started at most once and only after its inputs are
        /// done, and the engine comes to an end.
        #[test]
        fn any_graph_ends(edges in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40),
                          fate in prop::collection::vec((any::<prop::sample::Index>(), 0u8..20), 0..80)) {
            let inputs: Vec<Vec<usize>> = edges.iter().enumerate()
                .map(|(step, picks)| if step == 0 { vec![] } else { picks.iter().map(|pick| pick.index(step)).collect() })
                .collect();
            let mut engine = Engine::new(&inputs);
            let mut running = Vec::new();
            let mut started = std::collections::BTreeSet::new();
            let mut fate = fate.into_iter();
            loop {
                while let Some(step) = next(&mut engine) {
                    prop_assert!(started.insert(step));
                    prop_assert!(inputs[step].iter().all(|input| engine.state(*input) == StepState::Done));
                    running.push(step);
                }
                if running.is_empty() { break; }
                let (pick, roll) = fate.next().map_or((0, 1), |(pick, roll)| (pick.index(running.len()), roll));
                let step = running.swap_remove(pick);
                engine.complete(step, if roll == 0 { Completion::Failed } else { Completion::Done });
            }
            prop_assert!(engine.is_over());
            let ended = |step| matches!(engine.state(step), StepState::Done | StepState::Failed | StepState::Canceled);
            prop_assert!((0..inputs.len()).all(ended));
        }
    }
}
