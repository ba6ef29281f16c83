//! Where an instruction stands, and what users see of that.

use super::super::scope::Scope;
use super::super::stage::Stage;
use super::Lowering;
use super::lint::Once;
use crate::dockerfile::InstructionKind;
use crate::oci::Platform;
use crate::source::Span;

/// Where an instruction stands: which stage, and which of its steps comes next.
pub(super) struct Place<'a> {
    pub(super) stage: &'a Stage<'a>,
    pub(super) stage_index: usize,
    /// `builder`, or `stage-1` for one without a name; empty when the file has a single stage without a name.
    pub(super) label: String,
    /// Of several.
    pub(super) platform: Option<String>,
    pub(super) next: usize,
    pub(super) total: usize,
    /// What its FROM names.
    pub(super) named: Span,
    /// The lines of the current instruction; of the FROM when that triggers it.
    pub(super) lines: Span,
    pub(super) once: Once,
}

impl Place<'_> {
    /// `[linux/arm64 builder 2/5]`.
    pub(super) fn shown(&self, number: usize) -> String {
        let platform = self.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
        format!("[{platform}{}{number}/{}]", self.label, self.total)
    }
}

impl Lowering<'_> {
    /// What users see of the platform of a stage, where `scope` holds; `None` when there is but one.
    pub(super) fn platform_shown(&self, platform: &Platform, scope: &Scope) -> Option<String> {
        self.options.several_platforms.then(|| format!("{platform}{}", crossing(platform, scope)))
    }
}

/// Returns `->arm64` where a stage of `platform` that has asked for its target builds for another machine.
fn crossing(platform: &Platform, scope: &Scope) -> String {
    let asked = |name: &str| scope.get(name).filter(|value| !value.is_empty());
    let target = asked("TARGETPLATFORM").map(str::to_owned).or_else(|| {
        let parts = ["TARGETOS", "TARGETARCH", "TARGETVARIANT"].map(asked);
        let os = parts[0].unwrap_or(&platform.os);
        let architecture = parts[1].unwrap_or(&platform.architecture);
        let variant = parts[2].map(|variant| format!("/{variant}")).unwrap_or_default();
        parts.iter().any(Option::is_some).then(|| format!("{os}/{architecture}{variant}"))
    });
    match target {
        Some(target) if target.parse().as_ref() != Ok(platform) => {
            format!("->{}", target.strip_prefix(&format!("{}/", platform.os)).unwrap_or(&target))
        }
        _ => String::new(),
    }
}

/// Whether users see a numbered step for it.
pub(super) fn makes_step(kind: &InstructionKind) -> bool {
    matches!(
        kind,
        InstructionKind::Run(_) | InstructionKind::Copy(_) | InstructionKind::Add(_) | InstructionKind::Workdir(_)
    )
}
