//! A filesystem as the layers it is made of.

use super::Layer;
use crate::digest::ChainId;

/// The layers of a filesystem, bottom first. A stack with one more on top shares the others with it, so what a step gives
/// takes as little room and time on top of many layers as on top of one.
#[derive(Clone, Default, Debug)]
pub struct Stack(rpds::VectorSync<Stacked>);

#[derive(Debug)]
struct Stacked {
    layer: Layer,
    /// Of the layer and all below it.
    chain: ChainId,
}

impl Stack {
    /// Returns this stack with `layer` on top.
    #[must_use]
    pub fn with(&self, layer: Layer) -> Self {
        let chain = ChainId::on(self.id(), layer.diff_id);
        Self(self.0.push_back(Stacked { layer, chain }))
    }

    /// Returns its identity; none of an empty one.
    pub fn id(&self) -> Option<ChainId> {
        self.0.last().map(|top| top.chain)
    }

    /// Returns the identity of each layer with those below it, bottom first: the names of their snapshots.
    pub fn chain(&self) -> Vec<ChainId> {
        self.0.iter().map(|stacked| stacked.chain).collect()
    }

    /// Returns the layers, bottom first.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = &Layer> + DoubleEndedIterator {
        self.0.iter().map(|stacked| &stacked.layer)
    }

    /// Returns the layer that has `height` others below it.
    pub fn layer(&self, height: usize) -> Option<&Layer> {
        self.0.get(height).map(|stacked| &stacked.layer)
    }

    /// Returns the layer on top.
    pub fn top(&self) -> Option<&Layer> {
        self.0.last().map(|stacked| &stacked.layer)
    }

    /// Returns how many layers there are.
    pub fn height(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<Layer> for Stack {
    fn from_iter<T: IntoIterator<Item = Layer>>(layers: T) -> Self {
        layers.into_iter().fold(Self::default(), |below, layer| below.with(layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{DiffId, Digest};
    use crate::oci::{descriptor, media_type};

    #[test]
    fn one_stack_on_another_leaves_it_as_it_was() {
        let ids = ["a", "b", "c"].map(|name| DiffId(Digest::of(name.as_bytes())));
        let layer = |id: DiffId| {
            let descriptor = descriptor(media_type::OCI_LAYER, &id.0, 1);
            Layer { diff_id: id, descriptor, origin: None }
        };
        let below: Stack = ids[..2].iter().copied().map(layer).collect();
        let above = below.with(layer(ids[2]));
        assert_eq!((below.height(), above.height()), (2, 3));
        assert_eq!((below.id(), above.id()), (ChainId::of(&ids[..2]), ChainId::of(&ids)));
        assert_eq!(above.chain(), ChainId::each_of(&ids));
        assert!(above.layers().map(|layer| layer.diff_id).eq(ids));
        assert_eq!(below.top().map(|layer| layer.diff_id), Some(ids[1]));
        assert_eq!(Stack::default().id(), None);
    }
}
