//! How steps come into the graph: named as users see them.

use std::collections::BTreeMap;

use super::super::Which;
use super::super::graph::{ImageOp, Op, Step, StepId, Tree};
use super::super::stage::Base;
use super::{Lowering, Place, StageState, copy};
use crate::context::without_credentials;
use crate::diag::Diagnostic;
use crate::dockerfile::{Instruction, Text};
use crate::source::Span;

impl Lowering<'_> {
    /// Adds the step of an instruction, named as users see it.
    pub(super) fn step(&mut self, place: &mut Place<'_>, instruction: &Instruction, op: Op) -> StepId {
        let first_line = instruction.original.lines().next().unwrap_or("");
        let name = format!("{} {}", place.shown(place.next), without_credentials(first_line));
        place.next += 1;
        let ignore_cache = place.is_of(&self.options.no_cache);
        let require_cached = place.is_of(&self.options.require_cached);
        let platform = place.platform.clone();
        self.graph.push(Step { name, span: instruction.span, platform, ignore_cache, require_cached, op })
    }

    pub(super) fn image_step(&mut self, place: &Place<'_>, image: ImageOp, span: Span) -> StepId {
        let name = format!("{} FROM {}", place.shown(1), image.reference);
        let platform = place.platform.clone();
        self.graph.push(Step { name, span, platform, ignore_cache: false, require_cached: false, op: Op::Image(image) })
    }

    /// Copies `path` of a context into a filesystem of its own, under the same path.
    pub(super) fn context_step(&mut self, context: Option<String>, path: &str, span: Span) -> StepId {
        let shown = context.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        let op = copy::whole(Tree::Context(context), path, span);
        let name = format!("[internal] load{shown} context {path}");
        self.graph.push(Step {
            name,
            span,
            platform: None,
            ignore_cache: false,
            require_cached: false,
            op: Op::Copy(op),
        })
    }

    /// Returns the filesystem that a `--from` names.
    pub(super) fn tree(
        &mut self,
        from: Option<&Text>,
        numbers: bool,
        place: &Place<'_>,
        finished: &BTreeMap<usize, StageState>,
    ) -> Result<Tree, Diagnostic> {
        let Some(from) = from else { return Ok(Tree::Context(None)) };
        Ok(match self.stages.resolve(from, place.stage_index, numbers, self.options)? {
            Base::Scratch => Tree::Root(None),
            Base::Stage(earlier) => Tree::Root(finished[&earlier].root),
            Base::Directory(name) => Tree::Context(Some(name)),
            Base::Image(key, written) => {
                let known = &self.known[&key];
                self.check_platform(&key, &written, known, from.span);
                let image = known.image.clone();
                let name = format!("FROM {written}");
                let (op, platform) = (Op::Image(image), place.platform.clone());
                let (ignore_cache, require_cached) = (false, false);
                Tree::Root(Some(self.graph.push(Step {
                    name,
                    span: from.span,
                    platform,
                    ignore_cache,
                    require_cached,
                    op,
                })))
            }
        })
    }
}

impl Place<'_> {
    fn is_of(&self, which: &Which) -> bool {
        match which {
            Which::None => false,
            Which::All => true,
            Which::Stages(names) => {
                let mine = |name: &String| self.stage.name.is_some_and(|stage| stage.eq_ignore_ascii_case(name));
                names.iter().any(mine)
            }
        }
    }
}
