//! What can be limited by a cgroup.

/// A controller that kiln has a limit for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Controller {
    /// Processor time.
    Cpu,
    /// Which processors and memory nodes.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// Numbers of processes.
    Pids,
}

impl Controller {
    pub(crate) const ALL: [Self; 4] = [Self::Cpu, Self::Cpuset, Self::Memory, Self::Pids];

    /// The kernel's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}
