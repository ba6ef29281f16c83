//! Dockerfile text to typed instructions.
//!
//! Takes a text, gives a flat list of [`Instruction`]s and all mistakes of the file, in one pass, in time
//! linear in its size, for any bytes. It does not group instructions into stages, expand variables or look at
//! files: those are `plan`'s. Everything here is pure.

pub mod chmod;
pub mod directive;
pub mod duration;
pub mod expand;
pub mod instruction;
pub mod lint;
pub mod mount;
pub mod port;
pub mod signal;

pub use directive::{CheckOptions, Directives};
pub use instruction::{CommandForm, Comment, Instruction, InstructionKind, Text};
pub use mount::{Mount, ResolvedMount};

use crate::diag::Diagnostic;
use crate::source::{SourceId, Sources};

/// A whole file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dockerfile {
    /// What stands at the top.
    pub directives: Directives,
    /// The instructions in order, those with mistakes left out.
    pub instructions: Vec<Instruction>,
}

/// What came of reading a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parsed {
    /// What could be read. Usable as a whole only when `diagnostics` has no error.
    pub file: Dockerfile,
    /// All mistakes, in order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a Dockerfile.
pub fn parse(sources: &Sources, id: SourceId) -> Parsed {
    let _ = (sources, id);
    Parsed::default()
}

/// Reads an ONBUILD trigger: one instruction, without directives, escaped by `\`.
pub fn parse_trigger(sources: &Sources, id: SourceId) -> Result<Instruction, Vec<Diagnostic>> {
    let _ = (sources, id);
    Err(Vec::new())
}
