//! Views that are kept, for others to be mounted on.
//!
//! Mounting a view costs something for each of its layers, and every COPY onto a tall stack wants one. So the view of a
//! tall stack is kept, and later ones take it for their lowest layer, as long as they have few layers more: overlayfs lets one overlay
//! be a layer of another, though not of a third, and one that lies below all others shows the same tree, if all its layers are
//! of one file system: packed ones are not. That also gives a view of more layers than an overlay may have.
//!
//! (It is not quite the same: an attribute `overlay.overlay.*` that a RUN step gave a file is to the upper mount one of
//! overlayfs. No layer carries such names, and at the bottom the only ones with a meaning are those of a whiteout, by which a step
//! could hide its own files from a COPY that follows.)

use std::sync::{Arc, Mutex, PoisonError};

use super::Merged;
use crate::digest::ChainId;

/// The most layers of one overlay beside the empty one: the kernel takes 500 (`OVL_MAX_STACK`).
pub(super) const MOST_LAYERS: usize = 499;

/// Views of fewer layers are mounted when they are wanted.
const WORTH_KEEPING: usize = 16;

/// As many views are kept, those that were used last: more than two for each stage that is built side by side.
const MOST_KEPT: usize = 32;

/// The views that are kept, the one that was used last at the end.
#[derive(Debug, Default)]
pub(super) struct Bases(Mutex<Vec<Base>>);

#[derive(Debug)]
struct Base {
    chain: ChainId,
    height: usize,
    view: Arc<Merged>,
    /// Nothing can be mounted on it: it is mounted on another one, or its files are of several file systems.
    is_top: bool,
}

impl Base {
    /// Returns what `chain` has on top of this, if that is little enough: up to the square root of twice the height, a stack
    /// that grows costs least.
    fn below<'c>(&self, chain: &'c [ChainId]) -> Option<&'c [ChainId]> {
        let (low, high) = chain.split_at_checked(self.height)?;
        let is_little = high.len().pow(2) <= 2 * self.height || self.height == MOST_LAYERS;
        let fits = if self.is_top { high.is_empty() } else { is_little };
        (fits && low.last() == Some(&self.chain)).then_some(high)
    }
}

impl Bases {
    /// Returns a view of the lowest layers of `chain`, and the layers on top of these.
    pub(super) fn below<'c>(&self, chain: &'c [ChainId]) -> Option<(Arc<Merged>, &'c [ChainId])> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = kept.iter().enumerate().filter_map(|(at, base)| Some((at, base.below(chain)?)));
        let (at, high) = fitting.min_by_key(|(_, high)| high.len())?;
        let base = kept.remove(at);
        let view = base.view.clone();
        kept.push(base);
        Some((view, high))
    }

    /// Keeps the view of `chain`; whether others may be mounted on it.
    pub(super) fn keep(&self, chain: &[ChainId], view: &Arc<Merged>, is_top: bool) {
        let Some(top) = chain.last().filter(|_| chain.len() >= WORTH_KEEPING) else { return };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MOST_KEPT {
            kept.remove(0);
        }
        kept.push(Base { chain: *top, height: chain.len(), view: view.clone(), is_top });
    }
}
